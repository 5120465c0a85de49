//! Dates as servers write them, and as they should not.

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use proptest::prelude::*;

use super::*;

/// What a format reads from these fields, as `2024-05-14 06:25:24 +7200`; the offset only where it is known.
fn read(format: &DateFormat, fields: &[(Field, &[u8])]) -> Option<String> {
    let mut record = Record::default();
    for (field, value) in fields {
        record.set(*field, value);
    }
    let moment = format.read(&record)?;
    let local = chrono::DateTime::from_timestamp(moment.local, 0).unwrap();
    let date = local.format("%Y-%m-%d %H:%M:%S");
    Some(match moment.offset {
        Some(offset) => format!("{date} {offset:+}"),
        None => date.to_string(),
    })
}

fn date(format: &DateFormat, date: &str) -> Option<String> {
    read(format, &[(Field::Date, date.as_bytes())])
}

fn zoned(date: &str, zone: &str) -> Option<String> {
    let fields = [
        (Field::Date, date.as_bytes()),
        (Field::Timezone, zone.as_bytes()),
    ];
    read(&DateFormat::Clf, &fields)
}

fn w3c(date: &str, time: &str) -> Option<String> {
    let fields = [
        (Field::Date, date.as_bytes()),
        (Field::Time, time.as_bytes()),
    ];
    read(&DateFormat::W3c, &fields)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

#[test]
fn a_line_without_date_is_invalid() {
    assert_eq!(read(&DateFormat::Clf, &[(Field::Timezone, b"+0200")]), None);
    assert_eq!(
        read(&DateFormat::W3c, &[(Field::Date, b"2024-05-14")]),
        None
    );
}

#[test]
fn servers_dates_are_read_as_strptime_reads_them() {
    let good = some("2024-05-14 06:05:04");
    for text in [
        "14/May/2024:06:05:04",
        "14/MAY/2024:6:5:4",
        "14/may/2024:06:5:04",
    ] {
        assert_eq!(date(&DateFormat::Clf, text), good, "{text}");
    }
    assert_eq!(
        date(&DateFormat::Clf, "4/May/2024:6:5:4"),
        some("2024-05-04 06:05:04")
    );
    for text in [
        "14/Mai/2024:06:05:04",
        "14/Mayy/2024:06:05:04",
        "14/May/2024:06:05:60",
        "14/May/2024:06:05:04 ",
        "31/Feb/2024:06:05:04",
        "00/May/2024:06:05:04",
        "14/May/0000:06:05:04",
        "-",
        "",
    ] {
        assert_eq!(date(&DateFormat::Clf, text), None, "{text}");
    }
}

#[test]
fn zones_are_numbers_with_or_without_sign_and_colon() {
    for (zone, want) in [
        ("+0200", "+7200"),
        ("0200", "+7200"),
        ("+02:00", "+7200"),
        (" -0130", "-5400"),
        ("+0545", "+20700"),
        ("-0000", "+0"),
        ("+02", "+7200"),
        ("+2", "+7200"),
        ("+200", "+7200"),
        ("-2:30", "-9000"),
        ("+2359", "+86340"),
    ] {
        let want = format!("2024-05-14 06:05:04 {want}");
        assert_eq!(zoned("14/May/2024:06:05:04", zone), Some(want), "{zone}");
    }
}

#[test]
fn an_empty_zone_is_none() {
    assert_eq!(
        zoned("14/May/2024:06:05:04", ""),
        some("2024-05-14 06:05:04")
    );
    assert_eq!(
        zoned("14/May/2024:06:05:04", " "),
        some("2024-05-14 06:05:04")
    );
}

#[test]
fn a_zone_that_is_no_number_makes_the_line_invalid() {
    for zone in [
        "Z",
        "UTC",
        "+",
        "-",
        "+2400",
        "-9999",
        "+99999999999999999999",
        "++200",
        "+02:0",
        "+0 20",
        ":",
        "é",
    ] {
        assert_eq!(zoned("14/May/2024:06:05:04", zone), None, "{zone}");
    }
}

#[test]
fn w3c_dates_name_no_zone_and_may_be_quoted_and_have_a_fraction() {
    let good = some("2024-05-14 06:05:04");
    for (date, time) in [
        ("2024-05-14", "06:05:04"),
        ("\"2024-05-14\"", "\"06:05:04\""),
        ("2024-5-14", "6:5:4"),
        ("2024-05-14", "06:05:04.999"),
        ("2024-05-14", "\"06:05:04.9\""),
        ("2024-05-14", "06:05:04."),
    ] {
        assert_eq!(w3c(date, time), good, "{date} {time}");
    }
    for (date, time) in [
        ("2024-02-30", "06:05:04"),
        ("2024-05-14", "24:05:04"),
        ("2024-05-14", "06:05:60"),
        ("2024-05-14", "06:05:61"),
        ("2024-05-14", "06:05:04.x"),
        ("2024-05-14", "06:05"),
        ("24-05-14", "06:05:04"),
        ("-", "-"),
    ] {
        assert_eq!(w3c(date, time), None, "{date} {time}");
    }
}

#[test]
fn iso_seconds_are_utc() {
    let format = DateFormat::IsoSeconds;
    assert_eq!(
        date(&format, "2024-05-14T23:39:43"),
        some("2024-05-14 23:39:43 +0")
    );
    assert_eq!(
        date(&format, "2024-5-4T3:9:3"),
        some("2024-05-04 03:09:03 +0")
    );
    for text in [
        "2024-05-14T23:39:60",
        "2024-05-14 23:39:43",
        "2024-05-14T",
        "T",
        "2024-05-14T23:39:43Z",
    ] {
        assert_eq!(date(&format, text), None, "{text}");
    }
}

#[test]
fn iso_8601_takes_offset_and_fraction() {
    for (text, want) in [
        ("2024-05-14T06:25:24+02:00", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T06:25:24-0130", "2024-05-14 06:25:24 -5400"),
        ("2024-05-14T06:25:24Z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14T06:25:24.123456789Z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14T06:25:24.5+02:00", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T06:25:24", "2024-05-14 06:25:24"),
    ] {
        assert_eq!(date(&DateFormat::Iso8601, text), some(want), "{text}");
    }
    for text in [
        "2024-05-14T06:25:24ZZ",
        "2024-05-14T06:25:24+",
        "2024-05-14T06:25:24+25:00",
        "2024-05-14T06:25:24.5x+02:00",
        "2024-05-14T06:25:60Z",
        "2024-05-14",
        "null",
    ] {
        assert_eq!(date(&DateFormat::Iso8601, text), None, "{text}");
    }
}

#[test]
fn epoch_seconds_are_cut_to_whole_ones() {
    for (text, want) in [
        ("1715668174.8155608", "2024-05-14 06:29:34 +0"),
        ("1715668174", "2024-05-14 06:29:34 +0"),
        ("1.715668174815e9", "2024-05-14 06:29:34 +0"),
        ("-0.5", "1969-12-31 23:59:59 +0"),
        ("253402300799.9", "9999-12-31 23:59:59 +0"),
    ] {
        assert_eq!(date(&DateFormat::EpochSeconds, text), some(want), "{text}");
    }
    for text in [
        "253402300800",
        "-62135596801",
        "1e300",
        "inf",
        "NaN",
        "",
        "-",
        "12x",
        "0x10",
    ] {
        assert_eq!(date(&DateFormat::EpochSeconds, text), None, "{text}");
    }
}

#[test]
fn a_pattern_reads_date_and_time_and_the_zone_of_either() {
    let pattern = |text| DateFormat::Strptime(Strptime::new(text).unwrap());
    let both: [(Field, &[u8]); 2] = [(Field::Date, b"2024-05-14"), (Field::Time, b"06:25:24")];
    assert_eq!(
        read(&pattern("%Y-%m-%d %H:%M:%S"), &both),
        some("2024-05-14 06:25:24")
    );
    assert_eq!(
        date(&pattern("%Y-%m-%d"), "2024-05-14"),
        some("2024-05-14 00:00:00")
    );

    let zone: [(Field, &[u8]); 2] = [(Field::Date, b"2024-05-14"), (Field::Timezone, b"-0130")];
    assert_eq!(
        read(&pattern("%Y-%m-%d"), &zone),
        some("2024-05-14 00:00:00 -5400")
    );
    let twice: [(Field, &[u8]); 2] = [(Field::Date, b"2024 +02:00"), (Field::Timezone, b"-0130")];
    assert_eq!(
        read(&pattern("%Y %z"), &twice),
        some("2024-01-01 00:00:00 +7200")
    );
    let no_zone: [(Field, &[u8]); 2] = [(Field::Date, b"2024"), (Field::Timezone, b"CEST")];
    assert_eq!(read(&pattern("%Y"), &no_zone), None);
}

#[test]
fn days_are_those_of_the_calendar() {
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
    let dates = first.iter_days().take_while(|date| date.year() < 10_000);
    for (date, days) in dates.zip(days_from_civil(1, 1, 1)..) {
        let (year, month, day) = (date.year(), date.month(), date.day());
        assert_eq!(days_from_civil(year, month, day), days, "{date}");
        if date.succ_opt().is_some_and(|next| next.day() == 1) {
            assert_eq!(days_in_month(year, month), day, "{date}");
        }
    }
    assert_eq!(days_from_civil(1970, 1, 1), 0);
}

proptest! {
    #[test]
    fn the_short_way_reads_what_the_pattern_reads(text in "[0-3][0-9]/[A-Za-z]{3}/[0-9]{4}:[0-2][0-9]:[0-9]{2}:[0-9]{2}") {
        let long = Strptime::CLF.read(text.as_bytes()).map(|moment| moment.local);
        if let Some(local) = usual_clf(text.as_bytes()) {
            prop_assert_eq!(Some(local), long);
        }
        let record_says = date(&DateFormat::Clf, &text).is_some();
        prop_assert_eq!(record_says, long.is_some());
    }

    #[test]
    fn every_second_is_read_back(seconds in -62_135_596_800i64..253_402_300_800) {
        let moment = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let text = |format: &str| moment.format(format).to_string();
        let (clf, iso) = (text("%d/%b/%Y:%H:%M:%S"), text("%Y-%m-%dT%H:%M:%S"));
        prop_assert_eq!(usual_clf(clf.as_bytes()), Some(seconds));
        prop_assert_eq!(iso_seconds(iso.as_bytes()), Some(seconds));
        prop_assert_eq!(epoch_seconds(seconds.to_string().as_bytes()), Some(seconds));
    }

    #[test]
    fn an_iso_date_is_read_as_chrono_reads_it(text in "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]") {
        let want = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S");
        prop_assert_eq!(iso_seconds(text.as_bytes()), want.ok().map(|date| date.and_utc().timestamp()));
    }

    #[test]
    fn no_bytes_panic(date: Vec<u8>, time: Vec<u8>, zone in "[0-9:+-]{0,30}") {
        let fields = [(Field::Date, &date[..]), (Field::Time, &time), (Field::Timezone, zone.as_bytes())];
        let pattern = DateFormat::Strptime(Strptime::CLF);
        use DateFormat::{Clf, EpochSeconds, Iso8601, IsoSeconds, W3c};
        for format in [Clf, W3c, IsoSeconds, Iso8601, EpochSeconds, pattern] {
            let _ = read(&format, &fields);
        }
        let _ = numeric_zone(zone.as_bytes());
    }
}
