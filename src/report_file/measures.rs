//! The fields of report files: one list of names and values for all formats.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::{Serialize, Serializer};

use crate::radio::{GroupKind, Measures, ReportZone};

/// Maximum characters of a name from a log.
const MAX_NAME_CHARS: usize = 1000;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FieldValue {
    Whole(u64),
    #[serde(serialize_with = "serialize_rounded")]
    Decimal(f64),
    /// `None` is empty in CSV and `null` in JSON.
    Text(Option<String>),
}

/// Number of fields of [`measure_fields`].
pub const MEASURES: usize = 13;

/// The measures of a group in a period, with their names (guide/listening.md, "Measures in report
/// files").
pub fn measure_fields(
    measures: &Measures,
    zone: ReportZone,
) -> [(&'static str, FieldValue); MEASURES] {
    use FieldValue::{Decimal, Text, Whole};
    let peak_at = measures.peak_at.map(|time| local_time(zone, time));
    [
        ("listening_hours", Decimal(measures.hours())),
        ("seconds", Whole(measures.seconds)),
        ("sessions", Whole(measures.sessions)),
        ("long_sessions", Whole(measures.long_sessions)),
        ("session_seconds", Whole(measures.session_seconds)),
        (
            "average_session_seconds",
            Decimal(measures.average_session()),
        ),
        ("median_session_seconds", Decimal(measures.median)),
        ("average_listeners", Decimal(measures.average_listeners())),
        ("unique_listeners", Whole(measures.listeners)),
        ("hours_per_listener", Decimal(measures.hours_per_listener())),
        ("peak_listeners", Whole(measures.peak)),
        ("peak_at", Text(peak_at)),
        ("period_seconds", Whole(measures.period_seconds)),
    ]
}

/// Rounds to six decimals, which hides the errors of binary fractions.
pub fn rounded(number: f64) -> f64 {
    let rounded = (number * 1e6).round() / 1e6;
    // Also without a sign of zero.
    if rounded.is_finite() {
        rounded + 0.0
    } else {
        0.0
    }
}

fn serialize_rounded<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*number))
}

/// A time in seconds since 1970, UTC, on the clocks of a zone with its offset:
/// `2026-09-14T20:15:00+02:00`.
pub fn local_time(zone: ReportZone, time: i64) -> String {
    let utc = DateTime::from_timestamp(time, 0).unwrap_or_default();
    let offset = zone.local(time).and_utc().timestamp() - utc.timestamp();
    let offset = i32::try_from(offset).ok().and_then(FixedOffset::east_opt);
    match offset {
        Some(offset) => utc
            .with_timezone(&offset)
            .to_rfc3339_opts(SecondsFormat::Secs, false),
        None => utc.to_rfc3339_opts(SecondsFormat::Secs, false),
    }
}

/// The name of a kind of groups in report files.
pub fn kind_name(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::All => "all",
        GroupKind::Channel => "channel",
        GroupKind::Mount => "mount",
        GroupKind::Country => "country",
        GroupKind::Player => "player",
    }
}

/// A name of a report file, shortened: it may fill a whole line of a log, and is repeated in every
/// row.
pub fn short_name(name: &str) -> &str {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_offset_of_the_zone() {
        let berlin = ReportZone::Named(chrono_tz::Europe::Berlin);
        // 2024-05-14 00:00:00, UTC, and half a year later.
        assert_eq!(
            local_time(berlin, 1_715_644_800),
            "2024-05-14T02:00:00+02:00"
        );
        assert_eq!(
            local_time(berlin, 1_731_542_400),
            "2024-11-14T01:00:00+01:00"
        );
        assert_eq!(local_time(ReportZone::Utc, 0), "1970-01-01T00:00:00+00:00");
        let west = ReportZone::OfLog(FixedOffset::west_opt(5400).unwrap());
        assert_eq!(local_time(west, 0), "1969-12-31T22:30:00-01:30");
        // No panic outside the calendar.
        local_time(berlin, i64::MAX);
        local_time(berlin, i64::MIN);
    }

    #[test]
    fn decimals_are_rounded_and_finite() {
        for (number, expected) in [
            (1.0 / 3.0, "0.333333"),
            (0.1 + 0.2, "0.3"),
            (1e-9, "0"),
            (-1e-9, "0"),
            (2.0, "2"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (123_456_789.123_456_7, "123456789.123457"),
        ] {
            assert_eq!(rounded(number).to_string(), expected, "{number}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(short_name("/live"), "/live");
        assert_eq!(
            short_name(&"ä".repeat(5000)).chars().count(),
            MAX_NAME_CHARS
        );
    }
}
