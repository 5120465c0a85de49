//! The days of hits as Matomo counts them: in the time zone of their site.
//!
//! Matomo notes for each site and past day that its reports are out of date. Requests that note
//! different days of a site at the same time can deadlock, so the recorders have to know which
//! days a hit touches (guide/guarantees.md, "Avoiding deadlocks").

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::failpoint;

const DAY: i64 = 86_400;

/// All time zones of today differ by multiples of this, so a day never begins within such a slot.
const SLOT: i64 = 900;

/// A day counts as past from this many seconds before its end. A hit is sent some time after its
/// day is determined, and the server's clock may be ahead.
const MARGIN: i64 = 3600;

/// The days of a request, or of all requests of a listening session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HitDays {
    /// The present day. Matomo notes nothing for it.
    #[default]
    Today,
    /// A single past day, counted from 1970. A day of the future counts as past: if the clock of
    /// this machine is behind, it is one.
    Past(i32),
    /// More than one day, at least one of them past.
    Several,
}

/// The time zone of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i64),
}

impl Zone {
    pub const UTC: Self = Self::Fixed(0);

    /// Reads a name as Matomo has it: `Europe/Berlin`, `UTC`, `UTC+5.5`.
    pub fn parse(name: &str) -> Option<Self> {
        if let Ok(zone) = name.parse() {
            return Some(Self::Named(zone));
        }
        let hours: f64 = name.strip_prefix("UTC")?.parse().ok()?;
        (hours.abs() <= 24.0).then_some(Self::Fixed((hours * 3600.0) as i64))
    }

    /// The day of a time, counted from 1970.
    pub fn day(self, time: i64) -> i32 {
        let offset = match self {
            Self::Fixed(offset) => offset,
            Self::Named(zone) => DateTime::from_timestamp(time, 0).map_or(0, |time| {
                let offset = zone.offset_from_utc_datetime(&time.naive_utc());
                i64::from(offset.fix().local_minus_utc())
            }),
        };
        time.saturating_add(offset).div_euclid(DAY) as i32
    }
}

/// Tells the days of a site's hits.
#[derive(Debug, Default)]
pub struct SiteCalendar {
    /// `None`: not known. Days are those of UTC then, and all of them count as past: somewhere a
    /// day ended a few minutes ago.
    zone: Option<Zone>,
    last: Cell<Option<SlotDay>>,
}

/// The day of the last hit. The next one is usually in the same slot.
#[derive(Clone, Copy, Debug)]
struct SlotDay {
    slot: i64,
    day: i32,
    is_past: bool,
}

impl SiteCalendar {
    /// Takes the site's time zone as Matomo returns it.
    pub fn new(zone: Option<&str>) -> Self {
        Self {
            zone: zone.and_then(Zone::parse),
            last: Cell::default(),
        }
    }

    /// The day of a time (seconds since 1970), counted from 1970, in UTC if the site's time zone
    /// is unknown.
    pub fn day(&self, time: i64) -> i32 {
        self.zone.unwrap_or(Zone::UTC).day(time)
    }

    /// The days of hits from `first` to `last` (seconds since 1970).
    pub fn days(&self, first: i64, last: i64) -> HitDays {
        match (self.past_day(first), self.past_day(last)) {
            (None, None) => HitDays::Today,
            (Some(first), Some(last)) if first == last => HitDays::Past(first),
            _ => HitDays::Several,
        }
    }

    /// The day of a time, unless that is the present one.
    fn past_day(&self, time: i64) -> Option<i32> {
        self.past_day_at(time, || {
            let now = failpoint::now().duration_since(UNIX_EPOCH);
            now.map_or(0, |now| now.as_secs() as i64)
        })
    }

    fn past_day_at(&self, time: i64, now: impl FnOnce() -> i64) -> Option<i32> {
        let slot = time.div_euclid(SLOT);
        let mut last = match self.last.get() {
            Some(last) if last.slot == slot => last,
            _ => SlotDay {
                slot,
                day: self
                    .zone
                    .map_or_else(|| time.div_euclid(DAY) as i32, |zone| zone.day(time)),
                is_past: self.zone.is_none(),
            },
        };
        if let Some(zone) = self.zone.filter(|_| !last.is_past) {
            let now = now();
            last.is_past = last.day < zone.day(now + MARGIN) || last.day > zone.day(now);
        }
        self.last.set(Some(last));
        last.is_past.then_some(last.day)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn time(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    /// The day of a time in this zone, in days after that of `2026-11-15`.
    fn past_day(zone: &str, at: &str, now: &str) -> Option<i32> {
        let calendar = SiteCalendar::new(Some(zone));
        let first = time("2026-11-15T00:00:00Z").div_euclid(DAY) as i32;
        let day = calendar.past_day_at(time(at), || time(now));
        day.map(|day| day - first)
    }

    #[test]
    fn days_are_those_of_the_sites_time_zone() {
        let now = "2026-11-29T12:00:00Z";
        for (zone, at, day) in [
            ("UTC", "2026-11-15T23:59:59Z", 0),
            ("Europe/Berlin", "2026-11-15T22:59:59Z", 0),
            ("Europe/Berlin", "2026-11-15T23:00:00Z", 1),
            ("America/New_York", "2026-11-15T04:59:59Z", -1),
            ("UTC+5.5", "2026-11-15T18:29:59Z", 0),
            ("UTC+5.5", "2026-11-15T18:30:00Z", 1),
            ("UTC-3", "2026-11-15T02:59:59Z", -1),
        ] {
            assert_eq!(past_day(zone, at, now), Some(day), "{zone} {at}");
        }
    }

    #[test]
    fn only_today_is_not_past() {
        let now = "2026-11-29T12:00:00Z";
        for at in ["2026-11-29T00:00:00Z", "2026-11-29T23:59:59Z"] {
            assert_eq!(past_day("UTC", at, now), None, "{at}");
        }
        assert_eq!(past_day("UTC", "2026-11-28T23:59:59Z", now), Some(13));
        assert_eq!(past_day("UTC", "2026-11-30T00:00:00Z", now), Some(15));
    }

    #[test]
    fn a_day_counts_as_past_shortly_before_its_end() {
        let at = "2026-11-28T23:10:00Z";
        assert_eq!(past_day("UTC", at, "2026-11-28T22:59:00Z"), None);
        assert_eq!(past_day("UTC", at, "2026-11-28T23:10:00Z"), Some(13));
    }

    #[test]
    fn a_day_that_ends_meanwhile_becomes_past() {
        let calendar = SiteCalendar::new(Some("UTC"));
        let at = time("2026-11-28T12:00:00Z");
        assert_eq!(calendar.past_day_at(at, || at), None);
        let next_day = calendar.past_day_at(at, || at + DAY);
        assert_eq!(next_day, Some(at.div_euclid(DAY) as i32));
    }

    #[test]
    fn without_a_known_time_zone_every_day_is_past() {
        for zone in [None, Some("Mars/Olympus"), Some("UTC+999")] {
            let calendar = SiteCalendar::new(zone);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let now = now.as_secs() as i64;
            let today = HitDays::Past(now.div_euclid(DAY) as i32);
            assert_eq!(calendar.days(now, now), today, "{zone:?}");
        }
    }

    #[test]
    fn a_session_over_midnight_has_several_days() {
        let calendar = SiteCalendar::new(Some("UTC"));
        let midnight = time("2026-11-15T00:00:00Z");
        assert_eq!(calendar.days(midnight - 1, midnight), HitDays::Several);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_secs() as i64;
        assert_eq!(calendar.days(midnight, now + DAY), HitDays::Several);
        assert_eq!(calendar.days(now + DAY, now + 2 * DAY), HitDays::Several);
    }
}
