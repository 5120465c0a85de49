//! Counts the hits that are not listeners, for the web figures of a report.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use url::Url;

use super::figures::WebFigures;
use crate::hit::Hit;
use crate::radio::{LogClock, ReportZone};

/// Seconds. Every time zone in use is a multiple of this away from UTC, so each quarter of an hour
/// belongs to one day of any zone.
const QUARTER: i64 = 900;
const QUARTERS_A_DAY: usize = 96;

/// Maximum number of days that are counted apart: more than the 20 years that Matomo accepts, and
/// 6 MiB.
const MAX_DAYS: usize = 8000;

/// Maximum number of distinct texts that are counted apart.
const MAX_TEXTS: usize = 20_000;
/// How many of them stay when there are more: those with the highest counts.
const KEPT_TEXTS: usize = MAX_TEXTS / 2;
/// A longer text is cut.
const MAX_TEXT_BYTES: usize = 500;

/// Maximum length of the lists in the report.
const MAX_LISTED: usize = 100;

/// Counts hits when they are handed to the queue of the recorders. So it includes hits that the
/// server refuses or loses later, but none that a filter drops.
///
/// Memory is bounded: above [`MAX_TEXTS`] distinct pages or hosts, rare ones are forgotten, and
/// their counts may be too low.
#[derive(Debug, Default)]
pub struct WebCounter {
    /// Hits in each quarter of an hour, by day since 1970, UTC.
    days: HashMap<i64, Box<[u64; QUARTERS_A_DAY]>, RandomState>,
    pages: Tally,
    status: Tally,
    referrers: Tally,
    hits: u64,
    /// The clock of the lines.
    pub clock: LogClock,
}

impl WebCounter {
    /// Counts a hit. With `--replay-tracking`, page and referrer of a line are those of the
    /// tracking request, which are of no interest.
    pub fn add(&mut self, hit: &Hit, is_replayed: bool) {
        let request = hit.request;
        let is_page = !is_replayed && !request.is_download && hit.event.is_none();
        self.add_parts(
            hit.time,
            is_page.then_some(request.path),
            request.status,
            if is_replayed { b"" } else { request.referrer },
        );
    }

    /// `time` is in seconds since 1970, UTC.
    fn add_parts(&mut self, time: i64, page: Option<&[u8]>, status: &[u8], referrer: &[u8]) {
        self.hits += 1;
        let quarter = time.div_euclid(QUARTER);
        let day = quarter.div_euclid(QUARTERS_A_DAY as i64);
        let is_known = self.days.len() < MAX_DAYS || self.days.contains_key(&day);
        if is_known {
            let quarters = self.days.entry(day).or_insert([0; QUARTERS_A_DAY].into());
            // Below 96.
            quarters[quarter.rem_euclid(QUARTERS_A_DAY as i64) as usize] += 1;
        }
        if let Some(page) = page {
            self.pages.add(page);
        }
        if !status.is_empty() {
            self.status.add(status);
        }
        if referrer.is_empty() {
            return;
        }
        match plain_host(referrer) {
            Some(host) => self.referrers.add(host),
            None => {
                let url = Url::parse(&String::from_utf8_lossy(referrer));
                if let Some(host) = url.ok().as_ref().and_then(Url::host_str) {
                    self.referrers.add(host.as_bytes());
                }
            }
        }
    }

    /// The figures, with days in a time zone. `None` without hits.
    pub fn figures(&self, zone: ReportZone) -> Option<WebFigures> {
        if self.hits == 0 {
            return None;
        }
        let mut days = std::collections::BTreeMap::new();
        for (day, quarters) in &self.days {
            for (quarter, hits) in quarters.iter().enumerate().filter(|(_, hits)| **hits > 0) {
                let quarter = day * QUARTERS_A_DAY as i64 + quarter as i64;
                *days
                    .entry(zone.local(quarter * QUARTER).date())
                    .or_insert(0) += hits;
            }
        }
        Some(WebFigures {
            days: days.into_iter().collect(),
            pages: self.pages.top(),
            status: self.status.top(),
            referrers: self.referrers.top(),
            hits: self.hits,
        })
    }
}

/// The host of an address that needs no decoding: letters in lower case, digits, dots and dashes.
fn plain_host(url: &[u8]) -> Option<&[u8]> {
    let rest = url.strip_prefix(b"https://");
    let rest = rest.or_else(|| url.strip_prefix(b"http://"))?;
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let length = rest.iter().take_while(|byte| is_plain(byte)).count();
    let (host, rest) = rest.split_at(length);
    // The parser rewrites numbers, and names in Punycode may be invalid.
    let has_letters = host.first().is_some_and(u8::is_ascii_lowercase)
        && host.last().is_some_and(u8::is_ascii_lowercase)
        && memchr::memmem::find(host, b"xn--").is_none();
    (has_letters && matches!(rest, [] | [b'/', ..])).then_some(host)
}

/// Counts texts.
#[derive(Debug, Default)]
struct Tally {
    counts: HashMap<Box<[u8]>, u64, RandomState>,
}

impl Tally {
    fn add(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
            return;
        }
        if self.counts.len() == MAX_TEXTS {
            self.forget_rare();
        }
        self.counts.insert(text.into(), 1);
    }

    /// Keeps the [`KEPT_TEXTS`] with the highest counts.
    fn forget_rare(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let Some(&lowest) = counts.get(KEPT_TEXTS - 1) else {
            return;
        };
        let higher = counts.partition_point(|count| *count > lowest);
        let mut room = KEPT_TEXTS - higher;
        self.counts.retain(|_, count| {
            let is_tie = *count == lowest && room > 0;
            room -= usize::from(is_tie);
            is_tie || *count > lowest
        });
    }

    /// The first of all texts by count, then by text.
    fn top(&self) -> Vec<(String, u64)> {
        let mut all: Vec<(&[u8], u64)> =
            self.counts.iter().map(|(text, n)| (&**text, *n)).collect();
        all.sort_unstable_by(|one, other| (other.1, one.0).cmp(&(one.1, other.0)));
        all.truncate(MAX_LISTED);
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        all.into_iter()
            .map(|(it, count)| (text(it), count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-14 00:00:00, UTC.
    const MIDNIGHT: i64 = 1_715_644_800;

    fn page(counter: &mut WebCounter, time: i64, path: &str) {
        counter.add_parts(time, Some(path.as_bytes()), b"200", b"");
    }

    #[test]
    fn no_hits_have_no_figures() {
        assert!(WebCounter::default().figures(ReportZone::Utc).is_none());
    }

    #[test]
    fn days_begin_in_the_zone_of_the_report() {
        let mut counter = WebCounter::default();
        for time in [-1, 0, 900, 86_399, 86_400] {
            page(&mut counter, MIDNIGHT + time, "/");
        }
        let days = |zone| {
            let days = counter.figures(zone).unwrap().days.into_iter();
            days.map(|(day, hits)| (day.to_string(), hits))
                .collect::<Vec<_>>()
        };
        let expected = [("2024-05-13", 1), ("2024-05-14", 3), ("2024-05-15", 1)];
        assert_eq!(days(ReportZone::Utc), expected.map(|(d, n)| (d.into(), n)));
        let expected = [("2024-05-14", 3), ("2024-05-15", 2)];
        let berlin = ReportZone::Named(chrono_tz::Europe::Berlin);
        assert_eq!(days(berlin), expected.map(|(d, n)| (d.into(), n)));
        // 5:45 hours ahead of UTC.
        page(&mut counter, MIDNIGHT + 65_699, "/");
        page(&mut counter, MIDNIGHT + 65_700, "/");
        let kathmandu = ReportZone::Named(chrono_tz::Asia::Kathmandu);
        let figures = counter.figures(kathmandu).unwrap();
        let day = |day| NaiveDate::from_ymd_opt(2024, 5, day).unwrap();
        assert_eq!(figures.days, [(day(14), 4), (day(15), 3)]);
    }

    #[test]
    fn pages_status_and_hosts_are_counted_and_sorted() {
        let mut counter = WebCounter::default();
        for (page, status, referrer) in [
            (Some("/a"), "200", "http://b.example/x?y"),
            (Some("/b"), "200", "https://a.example"),
            (Some("/b"), "404", "https://A.example:8080/"),
            (None, "200", "not an address"),
            (Some("/<script>"), "", ""),
        ] {
            let page = page.map(str::as_bytes);
            counter.add_parts(MIDNIGHT, page, status.as_bytes(), referrer.as_bytes());
        }
        let figures = counter.figures(ReportZone::Utc).unwrap();
        let list = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            list.iter()
                .map(|(text, n)| ((*text).to_owned(), *n))
                .collect()
        };
        assert_eq!(
            figures.pages,
            list(&[("/b", 2), ("/<script>", 1), ("/a", 1)])
        );
        assert_eq!(figures.status, list(&[("200", 3), ("404", 1)]));
        assert_eq!(
            figures.referrers,
            list(&[("a.example", 2), ("b.example", 1)])
        );
        assert_eq!(figures.hits, 5);
    }

    #[test]
    fn many_texts_keep_the_frequent_ones_and_bounded_memory() {
        let mut tally = Tally::default();
        for number in 0..100_000 {
            tally.add(b"/often");
            tally.add(format!("/{number}").as_bytes());
        }
        assert!(tally.counts.len() <= MAX_TEXTS);
        assert_eq!(tally.top()[0], ("/often".to_owned(), 100_000));
        assert_eq!(tally.top().len(), MAX_LISTED);
        let mut tally = Tally::default();
        tally.add(&[b'x'; 10_000]);
        assert_eq!(tally.top()[0].0.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn ties_fill_the_room_that_is_left() {
        let mut tally = Tally::default();
        for number in 0..MAX_TEXTS {
            let text = number.to_string();
            (0..=usize::from(number < 10)).for_each(|_| tally.add(text.as_bytes()));
        }
        tally.forget_rare();
        assert_eq!(tally.counts.len(), KEPT_TEXTS);
        assert!((0..10).all(|number| tally.counts[number.to_string().as_bytes()] == 2));
    }

    #[test]
    fn days_beyond_the_limit_count_as_hits_only() {
        let mut counter = WebCounter::default();
        for day in 0..MAX_DAYS as i64 + 5 {
            page(&mut counter, day * 86_400, "/");
        }
        page(&mut counter, 0, "/");
        let figures = counter.figures(ReportZone::Utc).unwrap();
        assert_eq!(figures.days.len(), MAX_DAYS);
        assert_eq!(figures.days[0].1, 2);
        assert_eq!(figures.hits, MAX_DAYS as u64 + 6);
    }

    proptest! {
        #[test]
        fn a_plain_host_is_what_the_url_parser_finds(
            url in "https?://[a-zA-Z0-9.@:_-]{0,20}[/?#]?[a-z:@/]{0,5}",
        ) {
            if let Some(host) = plain_host(url.as_bytes()) {
                let parsed = Url::parse(&url).unwrap();
                prop_assert_eq!(parsed.host_str().map(str::as_bytes), Some(host));
            }
        }
    }
}
