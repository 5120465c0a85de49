//! What Python's `strptime` answers, and that ours answers the same.

use proptest::prelude::*;

use super::*;

/// Pattern, text, and the answer of CPython 3.11's `datetime.strptime`, cut to whole seconds, with the offset in
/// seconds where it is an aware one.
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
    ("%Y%m%d", "2024131", "2024-01-31 00:00:00"),
    ("%Y%m%d", "202411", "2024-01-01 00:00:00"),
    ("%d%m", "111", "1900-01-11 00:00:00"),
    ("%d%m", "3111", "no date"),
    ("%m%d", "123", "1900-12-03 00:00:00"),
    ("%m%d", "131", "1900-01-31 00:00:00"),
    ("%H%M%S", "1234", "1900-01-01 12:03:04"),
    ("%H%M%S", "123", "1900-01-01 01:02:03"),
    ("%H%M%S", "12", "no date"),
    ("%j%H", "3669", "1901-01-01 09:00:00"),
    ("%j%H", "400", "1900-02-09 00:00:00"),
    ("%f%S", "1234567", "1900-01-01 00:00:07"),
    ("%f%S", "1", "no date"),
    ("%y", "68", "2068-01-01 00:00:00"),
    ("%y", "69", "1969-01-01 00:00:00"),
    ("%y", "00", "2000-01-01 00:00:00"),
    ("%y", "9", "no date"),
    ("%y %Y", "20 1999", "1999-01-01 00:00:00"),
    ("%Y %y", "1999 20", "2020-01-01 00:00:00"),
    ("%I", "12", "1900-01-01 00:00:00"),
    ("%I %p", "12 AM", "1900-01-01 00:00:00"),
    ("%I %p", "12 pm", "1900-01-01 12:00:00"),
    ("%I %p", "1 PM", "1900-01-01 13:00:00"),
    ("%I %p", "13 PM", "no date"),
    ("%I %p", "0 AM", "no date"),
    ("%p %I", "PM 11", "1900-01-01 23:00:00"),
    ("%H %p", "13 AM", "1900-01-01 13:00:00"),
    ("%H %p", "1 PM", "1900-01-01 01:00:00"),
    ("%H %I %p", "9 1 PM", "1900-01-01 13:00:00"),
    ("%I %p %H", "1 PM 9", "1900-01-01 09:00:00"),
    ("%B %d", "may 5", "1900-05-05 00:00:00"),
    ("%B", "SEPTEMBER", "1900-09-01 00:00:00"),
    ("%B", "sep", "no date"),
    ("%b", "september", "no date"),
    ("%b %d", "Feb 28", "1900-02-28 00:00:00"),
    ("%b %d", "Feb 29", "no date"),
    ("%b %d %H:%M:%S", "May  4 06:25:24", "1900-05-04 06:25:24"),
    ("%b %d %H:%M:%S", "May 14 06:25:24", "1900-05-14 06:25:24"),
    ("%a, %d %b %Y", "Tue, 14 May 2024", "2024-05-14 00:00:00"),
    ("%a, %d %b %Y", "Mon, 14 May 2024", "2024-05-14 00:00:00"),
    ("%A", "tuesday", "1900-01-01 00:00:00"),
    ("%A", "tue", "no date"),
    ("%a", "tuesday", "no date"),
    ("%w", "7", "no date"),
    ("%u", "0", "no date"),
    ("%Y %j", "2024 366", "2024-12-31 00:00:00"),
    ("%Y %j", "2023 366", "2024-01-01 00:00:00"),
    ("%Y %j", "2023 001", "2023-01-01 00:00:00"),
    ("%Y %j", "2023 0", "no date"),
    ("%Y %j", "2023 367", "no date"),
    ("%Y %j", "9999 366", "no date"),
    ("%j %Y %m %d", "100 2024 2 31", "2024-04-09 00:00:00"),
    ("%Y %U %w", "2024 0 1", "2024-01-01 00:00:00"),
    ("%Y %U %w", "2024 1 0", "2024-01-07 00:00:00"),
    ("%Y %U %w", "2024 53 0", "2025-01-05 00:00:00"),
    ("%Y %U %w", "2023 0 0", "2023-01-01 00:00:00"),
    ("%Y %W %u", "2024 0 2", "2024-01-02 00:00:00"),
    ("%Y %W %u", "2024 1 2", "2024-01-02 00:00:00"),
    ("%Y %W %u", "2025 0 7", "2025-01-05 00:00:00"),
    ("%Y %W %a", "2024 20 Tue", "2024-05-14 00:00:00"),
    ("%Y %W", "2024 20", "2024-01-01 00:00:00"),
    ("%Y %U %w", "0001 00 0", "no date"),
    ("%U %W %w %Y", "1 2 1 2024", "2024-01-08 00:00:00"),
    ("%W %U %w %Y", "1 2 1 2024", "2024-01-15 00:00:00"),
    ("%G %V %u", "2020 53 1", "2020-12-28 00:00:00"),
    ("%G %V %u", "2020 1 1", "2019-12-30 00:00:00"),
    ("%G-W%V-%u", "2024-W20-2", "2024-05-14 00:00:00"),
    ("%V %G %a", "01 2025 Mon", "2024-12-30 00:00:00"),
    ("%G %V %u", "0001 1 1", "0001-01-01 00:00:00"),
    ("%G %V %u", "0000 1 1", "no date"),
    ("%G %V %u", "9999 53 7", "no date"),
    ("%G %V %u", "2020 54 1", "no date"),
    ("%z", "Z", "1900-01-01 00:00:00 +0"),
    ("%z", "z", "no date"),
    ("%z", "+0200", "1900-01-01 00:00:00 +7200"),
    ("%z", "+02:00", "1900-01-01 00:00:00 +7200"),
    ("%z", "-01:30", "1900-01-01 00:00:00 -5400"),
    ("%z", "+02", "no date"),
    ("%z", "0200", "no date"),
    ("%z", "+02:60", "no date"),
    ("%z", "+2359", "1900-01-01 00:00:00 +86340"),
    ("%z", "-2359", "1900-01-01 00:00:00 -86340"),
    ("%z", "+2400", "no date"),
    ("%z", "+9959", "no date"),
    ("%z", "+02:00:30", "1900-01-01 00:00:00 +7230"),
    ("%z", "-020030", "1900-01-01 00:00:00 -7230"),
    ("%z", "+02:0030", "no date"),
    ("%z", "+0200:30", "no date"),
    ("%z", "+02:00:30.5", "1900-01-01 00:00:00 +7230"),
    ("%z", "+02:00:30.1234567", "no date"),
    ("%z", "+02:00:61", "no date"),
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
    ("Été %Y", "ÉTÉ 2024", "2024-01-01 00:00:00"),
    ("%Y é", "2024 É", "2024-01-01 00:00:00"),
    ("%Y\u{a0}%m", "2024 5", "2024-05-01 00:00:00"),
    ("%Y %m", "2024\u{a0}5", "2024-05-01 00:00:00"),
    ("%Y %m", "2024\x1c5", "2024-05-01 00:00:00"),
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
fn answers_what_python_answers() {
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
fn a_wrong_directive_is_refused_with_its_place() {
    let text = refusal("%d/%b/%Y:%q");
    assert!(text.contains("--log-date-format"), "{text}");
    assert!(text.contains("character 10"), "{text}");
    assert!(text.contains("%q is no directive"), "{text}");
    assert!(refusal("é%-d").contains("character 2"));
    assert!(refusal("%d/%").contains("character 4"));
    for letter in ["E", "F", "T", "s", "n", "é", ":z", " d"] {
        assert!(Strptime::new(&format!("%{letter}")).is_err(), "%{letter}");
    }
}

#[test]
fn a_directive_given_twice_is_refused_at_the_second_place() {
    assert!(refusal("%d/%d").contains("character 4"));
    assert!(refusal("%H %c").contains("character 4"));
    assert!(refusal("%X %S").contains("character 4"));
    assert!(Strptime::new("%U %W %y %Y %a %A %b %B %m %H %I %%%%").is_ok());
}

#[test]
fn patterns_that_fit_no_date_are_refused() {
    assert!(refusal("%Y %V %u").contains("%V needs %G"));
    assert!(refusal("%G %u").contains("%G needs %V"));
    assert!(refusal("%G %V").contains("weekday"));
    assert!(refusal("%G %V %u %Y").contains("character 10"));
    assert!(refusal("%G %V %u %j").contains("character 10"));
}

#[test]
fn the_patterns_of_the_formats_are_what_they_say() {
    assert_eq!(Strptime::CLF, Strptime::new("%d/%b/%Y:%H:%M:%S").unwrap());
    assert_eq!(Strptime::ISO_DATE, Strptime::new("%Y-%m-%d").unwrap());
    assert_eq!(Strptime::ISO_TIME, Strptime::new("%H:%M:%S").unwrap());
}

#[test]
fn a_text_that_could_be_read_in_very_many_ways_ends_soon() {
    let pattern = Strptime::new("%d%m%H%M%S%j%U%W%I%y%f%w%Y/").unwrap();
    assert_eq!(pattern.read(&[b'1'; 26]), None);
    assert_eq!(pattern.read(&vec![b'1'; 1 << 20]), None);
}

proptest! {
    #[test]
    fn no_pattern_and_no_text_panics(format in "(%[aAwudbBmyYHIpMSfzZjUWcxXGV%]|[ -~é\t]){0,8}", text: Vec<u8>) {
        if let Ok(pattern) = Strptime::new(&format) {
            let _ = pattern.read(&text);
        }
    }

    #[test]
    fn digits_and_signs_never_panic(text in "[0-9:+. Z-]{0,24}") {
        let pattern = Strptime::new("%z%j%Y %U%w:%S.%f").unwrap();
        let _ = pattern.read(text.as_bytes());
        let _ = Strptime::new("%Y%m%d%H%M%S%z").unwrap().read(text.as_bytes());
    }
}
