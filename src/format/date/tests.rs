//! Valid and invalid dates, in built-in formats and by `--log-date-format`.

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use proptest::prelude::*;

use super::*;

/// What a format reads from these fields, as `2024-05-14 06:25:24 +7200`, the offset only if known.
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
fn a_line_without_a_date_is_invalid() {
    assert_eq!(read(&DateFormat::Clf, &[(Field::Timezone, b"+0200")]), None);
    assert_eq!(
        read(&DateFormat::W3c, &[(Field::Date, b"2024-05-14")]),
        None
    );
}

#[test]
fn the_year_of_iis_has_four_digits_or_two() {
    let iis = DateFormat::Strptime(Strptime::IIS);
    let good = some("2024-05-14 06:05:04");
    for text in [
        "5/14/2024, 6:05:04",
        "05/14/24, 6:05:04",
        "5/14/24,  06:05:04",
    ] {
        assert_eq!(date(&iis, text), good, "{text}");
    }
    assert_eq!(date(&iis, "3/20/99, 7:55:20"), some("1999-03-20 07:55:20"));
    for text in [
        "5/14/4, 6:05:04",
        "5/14/024, 6:05:04",
        "5/14/12024, 6:05:04",
        "14/5/24, 6:05:04",
    ] {
        assert_eq!(date(&iis, text), None, "{text}");
    }
}

#[test]
fn common_log_dates_are_read_as_strptime_reads_them() {
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
fn zones_are_numbers_with_or_without_a_sign_and_a_colon() {
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
fn an_empty_zone_counts_as_none() {
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
fn a_zone_that_is_not_a_number_makes_the_line_invalid() {
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
fn w3c_dates_have_no_zone_and_may_have_quotes_and_a_fraction() {
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
fn json_dates_are_written_in_many_ways() {
    for (text, want) in [
        ("2024-05-14T06:25:24+02:00", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T06:25:24-0130", "2024-05-14 06:25:24 -5400"),
        ("2024-05-14T06:25:24+02", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T06:25:24Z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14t06:25:24z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14T06:25:24.123456789Z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14T06:25:24,123Z", "2024-05-14 06:25:24 +0"),
        ("2024-05-14T06:25:24.5+02:00", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T06:25:24", "2024-05-14 06:25:24"),
        ("2024-05-14 06:25:24", "2024-05-14 06:25:24"),
        ("2024-05-14 06:25:24 +0200", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14 06:25:24.7 UTC", "2024-05-14 06:25:24 +0"),
        ("2024/05/14 06:25:24", "2024-05-14 06:25:24"),
        ("2024/05/14 06:25:24.000", "2024-05-14 06:25:24"),
        ("14/May/2024:06:25:24 +0200", "2024-05-14 06:25:24 +7200"),
        ("14/May/2024:06:25:24", "2024-05-14 06:25:24"),
        (
            "14/May/2024:06:25:24.123 +0200",
            "2024-05-14 06:25:24 +7200",
        ),
        ("[14/May/2024:06:25:24 +0200]", "2024-05-14 06:25:24 +7200"),
        ("[2024-05-14 06:25:24]", "2024-05-14 06:25:24"),
    ] {
        assert_eq!(date(&DateFormat::Json, text), some(want), "{text}");
    }
    for text in [
        "2024-05-14T06:25:24ZZ",
        "2024-05-14T06:25:24+",
        "2024-05-14T06:25:24+25:00",
        "2024-05-14T06:25:24.5x+02:00",
        "2024-05-14T06:25:60Z",
        "2024-05-14",
        "14/May/2024",
        "14/May/2024:06:25:24 CEST",
        "14/May/2024:06:25:24.5x +0200",
        "[14/May/2024:06:25:24 +0200",
        "[]",
        "null",
    ] {
        assert_eq!(date(&DateFormat::Json, text), None, "{text}");
    }
}

#[test]
fn a_json_date_without_a_time_goes_with_the_time() {
    let joined = |date: &'static str, time: &'static str| {
        let fields = [(Field::Date, date), (Field::Time, time)];
        let fields = fields.map(|(field, text)| (field, text.as_bytes()));
        read(&DateFormat::Json, &fields)
    };
    for (day, time, want) in [
        ("2024-05-14", "06:25:24", "2024-05-14 06:25:24"),
        ("2024/05/14", " 06:25:24.5Z ", "2024-05-14 06:25:24 +0"),
        ("2024-05-14", "06:25:24+02:00", "2024-05-14 06:25:24 +7200"),
        ("2024-05-14T01:02:03Z", "06:25:24", "2024-05-14 01:02:03 +0"),
    ] {
        assert_eq!(joined(day, time), some(want), "{day} {time}");
    }
    for (day, time) in [
        ("2024-05-14", ""),
        ("today", "06:25:24"),
        ("2024-05-14", "noon"),
    ] {
        assert_eq!(joined(day, time), None, "{day} {time}");
    }
}

#[test]
fn a_zone_of_its_own_counts_if_a_json_date_has_none() {
    let zoned = |date: &[u8]| {
        let zone: (Field, &[u8]) = (Field::Timezone, b"+0100");
        read(&DateFormat::Json, &[(Field::Date, date), zone])
    };
    assert_eq!(
        zoned(b"2024-05-14T06:25:24"),
        some("2024-05-14 06:25:24 +3600")
    );
    assert_eq!(
        zoned(b"2024-05-14T06:25:24Z"),
        some("2024-05-14 06:25:24 +0")
    );
}

#[test]
fn numbers_are_times_since_1970_in_the_unit_that_fits() {
    let own = DateFormat::Strptime(Strptime::new("%s").unwrap());
    for (text, want) in [
        ("1715668174.8155608", "2024-05-14 06:29:34 +0"),
        ("1715668174", "2024-05-14 06:29:34 +0"),
        ("1715668174815", "2024-05-14 06:29:34 +0"),
        ("1715668174815.56", "2024-05-14 06:29:34 +0"),
        ("1715668174815560", "2024-05-14 06:29:34 +0"),
        ("1715668174815560800", "2024-05-14 06:29:34 +0"),
        ("1715668174999999999", "2024-05-14 06:29:34 +0"),
        ("1.715668174815e9", "2024-05-14 06:29:34 +0"),
        ("-0.5", "1969-12-31 23:59:59 +0"),
        ("99999999999.9", "5138-11-16 09:46:39 +0"),
    ] {
        for format in [&DateFormat::Json, &own] {
            assert_eq!(date(format, text), some(want), "{text}");
        }
    }
    for text in ["1e300", "inf", "NaN", "", "-", "12x", "0x10"] {
        for format in [&DateFormat::Json, &own] {
            assert_eq!(date(format, text), None, "{text}");
        }
    }
}

#[test]
fn an_epoch_is_the_whole_date_format() {
    assert!(Strptime::new("%s").unwrap().has_zone());
    for format in ["%s %z", "%Y %s", "[%s]"] {
        let error = Strptime::new(format).unwrap_err().to_string();
        assert!(error.contains("%s is a whole date"), "{error}");
    }
}

#[test]
fn a_date_format_reads_date_and_time_and_an_offset_in_either() {
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
fn days_match_the_calendar() {
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
    fn the_fast_reader_agrees_with_the_date_format(text in "[0-3][0-9]/[A-Za-z]{3}/[0-9]{4}:[0-2][0-9]:[0-9]{2}:[0-9]{2}") {
        let long = Strptime::CLF.read(text.as_bytes()).map(|moment| moment.local);
        if let Some(local) = usual_clf(text.as_bytes(), &LastDate::default()) {
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
        prop_assert_eq!(usual_clf(clf.as_bytes(), &LastDate::default()), Some(seconds));
        prop_assert_eq!(iso_seconds(iso.as_bytes()), Some(seconds));
    }

    /// Whatever the last date was. Some are no dates, and some zones are blank.
    #[test]
    fn a_date_means_the_same_after_any_other(
        texts in prop::collection::vec(
            (
                "[ 0-3][0-4]/(Feb|May|Foo)/20[2-3]{2}:0[56]:00:00",
                "[ +-]0[0-2 ][0 ]{2}",
                "[ +Z]0[0-2 ]:[0 ]{2}",
            ),
            1..12,
        ),
    ) {
        let last = LastDate::default();
        for (clf, zone, iso_zone) in &texts {
            let iso = format!("{}-0{}-{}T05:00:00{iso_zone}", &clf[7..11], &clf[1..2], &clf[..2]);
            for (format, date, zone) in [
                (DateFormat::Clf, clf, Some(zone)),
                (DateFormat::Json, &iso, None),
                (DateFormat::Json, clf, Some(zone)),
            ] {
                let mut record = Record::default();
                record.set(Field::Date, date.as_bytes());
                if let Some(zone) = zone {
                    record.set(Field::Timezone, zone.as_bytes());
                }
                prop_assert_eq!(format.read_after(&last, &record), format.read(&record));
            }
        }
    }

    #[test]
    fn every_unit_is_read_back(seconds in 1_000_000_000i64..4_000_000_000, rest in 0..1_000_000_000i64) {
        let nanoseconds = seconds * 1_000_000_000 + rest;
        for unit in [1, 1_000, 1_000_000, 1_000_000_000] {
            let text = (nanoseconds / unit).to_string();
            prop_assert_eq!(epoch_seconds(text.as_bytes()), Some(seconds), "{}", text);
        }
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
        use DateFormat::{Clf, IsoSeconds, Json, W3c};
        for format in [Clf, W3c, IsoSeconds, Json, pattern] {
            let _ = read(&format, &fields);
        }
        let _ = numeric_zone(zone.as_bytes());
    }
}

/// A date format, a text, and what Python 3.11's `datetime.strptime` reads, without the fraction
/// and with the offset in seconds, if any.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "%d/%b/%Y:%H:%M:%S",
        "14/May/2024:06:25:24",
        "2024-05-14 06:25:24",
    ),
    (
        "%d/%b/%Y:%H:%M:%S",
        "4/May/2024:6:5:4",
        "2024-05-04 06:05:04",
    ),
    (
        "%d/%b/%Y:%H:%M:%S",
        " 4/May/2024:06:05:04",
        "2024-05-04 06:05:04",
    ),
    (
        "%d/%b/%Y:%H:%M:%S",
        "14/MAY/2024:06:05:04",
        "2024-05-14 06:05:04",
    ),
    (
        "%d/%b/%Y:%H:%M:%S",
        "14/may/2024:06:05:04",
        "2024-05-14 06:05:04",
    ),
    ("%d/%b/%Y:%H:%M:%S", "14/Mai/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/Mayy/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/Ma/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "00/May/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "31/Feb/2024:06:05:04", "no date"),
    (
        "%d/%b/%Y:%H:%M:%S",
        "29/Feb/2024:06:05:04",
        "2024-02-29 06:05:04",
    ),
    ("%d/%b/%Y:%H:%M:%S", "29/Feb/2023:06:05:04", "no date"),
    (
        "%d/%b/%Y:%H:%M:%S",
        "29/Feb/2000:06:05:04",
        "2000-02-29 06:05:04",
    ),
    ("%d/%b/%Y:%H:%M:%S", "29/Feb/1900:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "32/May/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/0000:06:05:04", "no date"),
    (
        "%d/%b/%Y:%H:%M:%S",
        "1/Jan/0001:00:00:00",
        "0001-01-01 00:00:00",
    ),
    (
        "%d/%b/%Y:%H:%M:%S",
        "31/Dec/9999:23:59:59",
        "9999-12-31 23:59:59",
    ),
    ("%d/%b/%Y:%H:%M:%S", "14/May/24:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/02024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:24:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:23:60:04", "no date"),
    (
        "%d/%b/%Y:%H:%M:%S",
        "14/May/2024:23:59:59",
        "2024-05-14 23:59:59",
    ),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:23:59:60", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:23:59:61", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:23:59:62", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:06:05:04 ", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:06:05:04.5", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024 06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "014/May/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "+4/May/2024:06:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "14/May/2024:006:05:04", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "", "no date"),
    ("%d/%b/%Y:%H:%M:%S", "é", "no date"),
    (
        "%Y-%m-%dT%H:%M:%S",
        "2024-05-14T06:25:24",
        "2024-05-14 06:25:24",
    ),
    (
        "%Y-%m-%dT%H:%M:%S",
        "2024-05-14t06:25:24",
        "2024-05-14 06:25:24",
    ),
    ("%Y-%m-%d", "2024-05-14", "2024-05-14 00:00:00"),
    ("%Y-%m-%d", "2024-5-4", "2024-05-04 00:00:00"),
    ("%Y-%m-%d", "2024-05-14\n", "no date"),
    ("%Y-%m-%d", "2024-13-14", "no date"),
    ("%Y-%m-%d", "2024-00-14", "no date"),
    (
        "%Y-%m-%dT%H:%M:%S.%f",
        "2024-05-14T06:25:24.5",
        "2024-05-14 06:25:24",
    ),
    (
        "%Y-%m-%dT%H:%M:%S.%f",
        "2024-05-14T06:25:24.123456",
        "2024-05-14 06:25:24",
    ),
    (
        "%Y-%m-%dT%H:%M:%S.%f",
        "2024-05-14T06:25:24.1234567",
        "no date",
    ),
    ("%Y-%m-%dT%H:%M:%S.%f", "2024-05-14T06:25:24.", "no date"),
    ("%Y%m%d%H%M%S", "20240514062524", "2024-05-14 06:25:24"),
    ("%d%m", "111", "1900-01-11 00:00:00"),
    ("%d%m", "3111", "no date"),
    ("%m%d", "123", "1900-12-03 00:00:00"),
    ("%H%M%S", "12", "no date"),
    ("%f%S", "1234567", "1900-01-01 00:00:07"),
    ("%f%S", "1", "no date"),
    ("%y", "68", "2068-01-01 00:00:00"),
    ("%y", "69", "1969-01-01 00:00:00"),
    ("%y", "00", "2000-01-01 00:00:00"),
    ("%y", "9", "no date"),
    ("%y %Y", "20 1999", "1999-01-01 00:00:00"),
    ("%I", "12", "1900-01-01 00:00:00"),
    ("%I %p", "12 AM", "1900-01-01 00:00:00"),
    ("%I %p", "12 pm", "1900-01-01 12:00:00"),
    ("%I %p", "1 PM", "1900-01-01 13:00:00"),
    ("%I %p", "13 PM", "no date"),
    ("%I %p", "0 AM", "no date"),
    ("%p %I", "PM 11", "1900-01-01 23:00:00"),
    ("%B %d", "may 5", "1900-05-05 00:00:00"),
    ("%B", "SEPTEMBER", "1900-09-01 00:00:00"),
    ("%b", "september", "no date"),
    ("%b %d", "Feb 28", "1900-02-28 00:00:00"),
    ("%b %d", "Feb 29", "no date"),
    ("%b %d %H:%M:%S", "May  4 06:25:24", "1900-05-04 06:25:24"),
    ("%b %d %H:%M:%S", "May 14 06:25:24", "1900-05-14 06:25:24"),
    ("%a, %d %b %Y", "Tue, 14 May 2024", "2024-05-14 00:00:00"),
    ("%a, %d %b %Y", "Mon, 14 May 2024", "2024-05-14 00:00:00"),
    ("%A", "tuesday", "1900-01-01 00:00:00"),
    ("%a", "tuesday", "no date"),
    ("%w", "7", "no date"),
    ("%u", "0", "no date"),
    ("%Y %j", "2024 366", "2024-12-31 00:00:00"),
    ("%Y %j", "2023 001", "2023-01-01 00:00:00"),
    ("%Y %j", "2023 0", "no date"),
    ("%Y %j", "2023 367", "no date"),
    ("%Y %j", "9999 366", "no date"),
    ("%j %Y %m %d", "100 2024 2 31", "2024-04-09 00:00:00"),
    ("%z", "Z", "1900-01-01 00:00:00 +0"),
    ("%z", "+0200", "1900-01-01 00:00:00 +7200"),
    ("%z", "+02:00", "1900-01-01 00:00:00 +7200"),
    ("%z", "-01:30", "1900-01-01 00:00:00 -5400"),
    ("%z", "+02", "no date"),
    ("%z", "0200", "no date"),
    ("%z", "+02:60", "no date"),
    ("%z", "+2359", "1900-01-01 00:00:00 +86340"),
    ("%z", "-2359", "1900-01-01 00:00:00 -86340"),
    ("%z", "+02:0030", "no date"),
    ("%z", "+0200:30", "no date"),
    ("%z", "+02:00:61", "no date"),
    ("%z", "+2400", "no date"),
    ("%z", "+9959", "no date"),
    (
        "%Y-%m-%dT%H:%M:%S%z",
        "2024-05-14T06:25:24+02:00",
        "2024-05-14 06:25:24 +7200",
    ),
    (
        "%Y-%m-%dT%H:%M:%S%z",
        "2024-05-14T06:25:24Z",
        "2024-05-14 06:25:24 +0",
    ),
    (
        "%d/%b/%Y:%H:%M:%S %z",
        "14/May/2024:06:25:24 +0200",
        "2024-05-14 06:25:24 +7200",
    ),
    ("%z%S", "+020030", "1900-01-01 00:00:30 +7200"),
    ("%Z", "CET", "no date"),
    ("%Z", "Z", "no date"),
    ("%c", "Tue May 14 06:25:24 2024", "2024-05-14 06:25:24"),
    ("%c", "tue may  4 6:25:24 2024", "2024-05-04 06:25:24"),
    ("%x", "05/14/24", "2024-05-14 00:00:00"),
    ("%X", "1:2:3", "1900-01-01 01:02:03"),
    ("%x %X", "5/4/69 23:59:59", "1969-05-04 23:59:59"),
    ("a b", "a \t b", "1900-01-01 00:00:00"),
    ("a b", "ab", "no date"),
    ("a  b", "a b", "1900-01-01 00:00:00"),
    (" %d", "4", "no date"),
    (" %d", "  4", "1900-01-04 00:00:00"),
    ("%d ", "4", "no date"),
    ("%d%%%m", "4%5", "1900-05-04 00:00:00"),
    ("%d.%m", "4.5", "1900-05-04 00:00:00"),
    ("%d.%m", "4x5", "no date"),
    ("[%d]", "[4]", "1900-01-04 00:00:00"),
    ("%Y\u{a0}%m", "2024 5", "2024-05-01 00:00:00"),
    ("%Y %m", "2024\u{a0}5", "2024-05-01 00:00:00"),
    ("%Y-%M", "2024-5", "2024-01-01 00:05:00"),
    ("", "", "1900-01-01 00:00:00"),
    ("", " ", "no date"),
    ("%S", "60", "no date"),
    ("x", "X", "1900-01-01 00:00:00"),
];

fn answer(format: &str, text: &[u8]) -> String {
    let Some(moment) = Strptime::new(format).unwrap().read(text) else {
        return "no date".to_string();
    };
    let local = chrono::DateTime::from_timestamp(moment.local, 0)
        .unwrap()
        .naive_utc();
    let date = local.format("%Y-%m-%d %H:%M:%S");
    match moment.offset {
        Some(offset) => format!("{date} {offset:+}"),
        None => date.to_string(),
    }
}

fn refusal(format: &str) -> String {
    Strptime::new(format).unwrap_err().to_string()
}

#[test]
fn date_formats_read_what_python_reads() {
    for (format, text, want) in ANSWERS {
        let got = answer(format, text.as_bytes());
        assert_eq!(&got, want, "'{text}' read by '{format}'");
    }
}

#[test]
fn utc_and_gmt_are_zones() {
    assert_eq!(answer("%H:%M %Z", b"6:25 utc"), "1900-01-01 06:25:00 +0");
    assert_eq!(answer("%H:%M %Z", b"6:25 GMT"), "1900-01-01 06:25:00 +0");
    assert_eq!(answer("%z %Z", b"+0200 UTC"), "1900-01-01 00:00:00 +7200");
}

#[test]
fn an_unknown_directive_is_refused_with_its_place() {
    let text = refusal("%d/%b/%Y:%q");
    assert!(text.contains("--log-date-format"), "{text}");
    assert!(text.contains("character 10"), "{text}");
    assert!(text.contains("%q is not a directive"), "{text}");
    assert!(refusal("é%-d").contains("character 2"));
    assert!(refusal("%d/%").contains("character 4"));
    for letter in ["E", "F", "T", "U", "W", "V", "G", "n", "é", ":z", " d"] {
        assert!(Strptime::new(&format!("%{letter}")).is_err(), "%{letter}");
    }
}

#[test]
fn a_directive_given_twice_is_refused_at_the_second_place() {
    assert!(refusal("%d/%d").contains("character 4"));
    assert!(refusal("%H %c").contains("character 4"));
    assert!(refusal("%X %S").contains("character 4"));
    assert!(Strptime::new("%y %Y %a %A %b %B %m %H %I %%%%").is_ok());
}

#[test]
fn the_built_in_date_formats_match_their_patterns() {
    assert_eq!(Strptime::CLF, Strptime::new("%d/%b/%Y:%H:%M:%S").unwrap());
    assert_eq!(Strptime::ISO_DATE, Strptime::new("%Y-%m-%d").unwrap());
    assert_eq!(Strptime::ISO_TIME, Strptime::new("%H:%M:%S").unwrap());
}

#[test]
fn long_runs_of_digits_are_read_quickly() {
    let pattern = Strptime::new("%d%m%H%M%S%j%I%y%f%w%Y/").unwrap();
    assert_eq!(pattern.read(&[b'1'; 26]), None);
    assert_eq!(pattern.read(&vec![b'1'; 1 << 20]), None);
}

proptest! {
    #[test]
    fn no_format_and_no_text_panics(format in "(%[aAwudbBmyYHIpMSfzZjcxX%]|[ -~é\t]){0,8}", text: Vec<u8>) {
        if let Ok(pattern) = Strptime::new(&format) {
            let _ = pattern.read(&text);
        }
    }

    #[test]
    fn digits_and_signs_never_panic(text in "[0-9:+. Z-]{0,24}") {
        let pattern = Strptime::new("%z%j%Y %y%w:%S.%f").unwrap();
        let _ = pattern.read(text.as_bytes());
        let _ = Strptime::new("%Y%m%d%H%M%S%z").unwrap().read(text.as_bytes());
    }
}
