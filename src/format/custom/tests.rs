//! Regexes of the user's own on lines, well-formed and not.

use proptest::prelude::*;

use super::*;
use crate::error::Kind;
use crate::format::date::Moment;

const NCSA: &str = r#"(?P<ip>\S+) \S+ \S+ \[(?P<date>.*?) (?P<timezone>.*?)\] "\S+ (?P<path>.*?) \S+" (?P<status>\S+) (?P<length>\S+)"#;
const LINE: &str = r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /a?b HTTP/1.1" 200 512"#;
/// 2024-05-14 06:25:24
const MAY: i64 = 1_715_667_924;

fn custom(regex: &str) -> Custom {
    Custom::new(regex, None, &Wanted::default()).unwrap()
}

fn with_dates(regex: &str, dates: &str) -> Custom {
    Custom::new(
        regex,
        Some(Strptime::new(dates).unwrap()),
        &Wanted::default(),
    )
    .unwrap()
}

fn refusal(regex: &str) -> String {
    let error = Custom::new(regex, None, &Wanted::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    error.to_string()
}

/// A field of a line, as text; `None` where the line is a misfit or lacks it.
fn field(format: &Custom, line: &[u8], name: &str) -> Option<String> {
    let arena = Bump::new();
    let mut record = Record::default();
    match format.parse(line, &arena, &mut record) {
        Fit::Record => record
            .by_name(name)
            .map(|value| String::from_utf8_lossy(value).into_owned()),
        Fit::Misfit => None,
    }
}

fn moment(format: &Custom, line: &str) -> Option<Moment> {
    let arena = Bump::new();
    let mut record = Record::default();
    match format.parse(line.as_bytes(), &arena, &mut record) {
        Fit::Record => format.dates().read(&record),
        Fit::Misfit => None,
    }
}

#[test]
fn groups_become_fields() {
    let format = custom(NCSA);
    for (name, want) in [
        ("ip", "203.0.113.9"),
        ("date", "14/May/2024:06:25:24"),
        ("timezone", "+0200"),
        ("path", "/a?b"),
        ("status", "200"),
        ("length", "512"),
    ] {
        assert_eq!(
            field(&format, LINE.as_bytes(), name).as_deref(),
            Some(want),
            "{name}"
        );
    }
    assert_eq!(
        moment(&format, LINE),
        Some(Moment {
            local: MAY,
            offset: Some(7200)
        })
    );
    assert_eq!(format.name(), "custom");
    assert_eq!(format.regex().as_deref(), Some(NCSA));
    assert_eq!(format.fields().len(), 6);
    assert!(format.has(Field::Timezone) && !format.has(Field::Host));
}

#[test]
fn a_line_must_fit_from_its_beginning_but_not_to_its_end() {
    let format = custom(NCSA);
    assert_eq!(
        field(&format, format!("x{LINE}").as_bytes(), "ip").as_deref(),
        Some("x203.0.113.9")
    );
    assert_eq!(field(&format, format!(" {LINE}").as_bytes(), "ip"), None);
    assert!(field(&format, format!("{LINE} and more").as_bytes(), "ip").is_some());
}

#[test]
fn a_prefix_before_the_line_is_the_regex_own_affair() {
    let format = custom(&format!(".* ({NCSA}).*"));
    let line = format!("May 14 06:25:24 web1 nginx: {LINE} 365 www.example.com");
    assert_eq!(
        field(&format, line.as_bytes(), "ip").as_deref(),
        Some("203.0.113.9")
    );
}

#[test]
fn the_final_newline_is_seen() {
    let base = r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) ";
    let line = b"203.0.113.9 x / 200";
    for end in [
        r"(?P<status>\d+)$",
        r"(?P<status>\d+)\n",
        r"(?P<status>\d+)\s+\Z",
        r"(?P<status>.*)",
    ] {
        let format = custom(&format!("{base}{end}"));
        assert_eq!(
            field(&format, line, "status").as_deref(),
            Some("200"),
            "{end}"
        );
        assert_eq!(
            field(&format, b"203.0.113.9 x / 200 ", "status").is_some(),
            end.contains(".*") || end.contains(r"\s")
        );
    }
    let format = custom(&format!(r"{base}(?P<status>[^x]+)"));
    assert_eq!(field(&format, line, "status").as_deref(), Some("200\n"));
}

#[test]
fn dates_have_the_users_pattern() {
    let regex = r"(?P<ip>\S+) (?P<date>\S+ \S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y.%m.%d %H-%M-%S");
    let want = Some(Moment {
        local: MAY,
        offset: None,
    });
    assert_eq!(
        moment(&format, "203.0.113.9 2024.05.14 06-25-24 /a?b 200"),
        want
    );

    let regex = r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y-%m-%dT%H:%M:%S.%f");
    assert_eq!(
        moment(&format, "203.0.113.9 2024-05-14T06:25:24.5 /a?b 200"),
        want
    );

    let regex = r"(?P<ip>\S+) (?P<date>\S+) (?P<time>\S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y-%m-%d %H:%M:%S");
    assert_eq!(
        moment(&format, "203.0.113.9 2024-05-14 06:25:24 /a?b 200"),
        want
    );
}

#[test]
fn without_a_pattern_a_time_group_still_belongs_to_the_date() {
    let format =
        custom(r"(?P<ip>\S+) (?P<date>\S+)( (?P<time>\d\S*))? (?P<path>\S+) (?P<status>\d+)");
    assert_eq!(
        moment(&format, "h 14/May/2024:06:25:24 06:25:24 / 200"),
        None
    );
    assert!(moment(&format, "h 14/May/2024:06:25:24 / 200").is_some());
}

#[test]
fn look_around_and_back_references_work() {
    let regex = r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>(?!/private)\S+) (?P<status>\d+)";
    let format = custom(regex);
    assert_eq!(
        field(&format, b"h 1 /a?b 200", "path").as_deref(),
        Some("/a?b")
    );
    assert_eq!(field(&format, b"h 1 /private/x 200", "path"), None);

    let format =
        custom(r#"(?P<ip>\S+) (?P<q>["'])(?P<path>.*?)(?P=q) (?P<date>\S+) (?P<status>\d+)"#);
    assert_eq!(
        field(&format, b"h '/a\" b' 1 200", "path").as_deref(),
        Some("/a\" b")
    );
    assert_eq!(field(&format, b"h '/a\" 1 200", "path"), None);
}

#[test]
fn a_group_that_took_no_part_is_an_absent_field() {
    for regex in [
        r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)(?: (?P<host>\S+))?",
        r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)(?: (?P<host>\S+))?",
    ] {
        let format = custom(regex);
        assert_eq!(
            field(&format, b"h 1 / 200 www", "host").as_deref(),
            Some("www")
        );
        assert_eq!(field(&format, b"h 1 / 200", "host"), None);
        assert!(field(&format, b"h 1 / 200", "ip").is_some());
    }
}

#[test]
fn other_names_are_kept_where_they_are_wanted() {
    let regex =
        r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+) (?P<pool>\S+) (?P<zone>\S+)";
    let format = Custom::new(regex, None, &Wanted(vec!["pool".to_string()])).unwrap();
    assert_eq!(
        field(&format, b"h 1 / 200 p z", "pool").as_deref(),
        Some("p")
    );
    assert_eq!(field(&format, b"h 1 / 200 p z", "zone"), None);
    assert_eq!(format.richness(), 6);
    assert_eq!(format.fields().len(), 4);
}

#[test]
fn missing_groups_are_named() {
    let text = refusal(r"(?P<ip>\S+) (?P<path>\S+)");
    assert!(
        text.contains("--log-format-regex lacks (?P<date>...), (?P<status>...)"),
        "{text}"
    );
}

#[test]
fn a_regex_that_cannot_be_read_is_refused_with_the_place() {
    let text = refusal(r"é (?P<ip>\S+");
    assert!(
        text.contains("--log-format-regex") && text.contains("character 3"),
        "{text}"
    );
    let text = refusal(r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\w{1,999999}) (?P<status>\d+)");
    assert!(text.contains("cannot be used"), "{text}");
}

#[test]
fn a_regex_that_is_nested_too_deeply_is_refused() {
    for inside in ["a", "(?=a)"] {
        let nested = format!("{}{inside}{}", "(".repeat(50_000), ")".repeat(50_000));
        let regex = format!("(?P<ip>.)(?P<date>.)(?P<path>.)(?P<status>.){nested}");
        assert!(refusal(&regex).contains("cannot be used"));
    }
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let arena = Bump::new();
    let mut record = Record::default();
    let format =
        custom(r#"(?P<ip>\S+) (?P<date>\S+) "(?P<path>[^"]*)" (?P<status>\d+) (?P<host>.*)"#);
    let line = b"\xc3\xa9 1 \"/caf\xe9\" 200 \xff\xc3\xa9\xfe";
    assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
    assert_eq!(record.get(Field::Ip), Some(&b"\xc3\xa9"[..]));
    assert_eq!(record.get(Field::Path), Some(&b"/caf\xe9"[..]));
    assert_eq!(record.get(Field::Status), Some(&b"200"[..]));
    assert_eq!(record.get(Field::Host), Some(&b"\xff\xc3\xa9\xfe"[..]));
}

#[test]
fn a_line_that_takes_too_many_tries_is_a_misfit() {
    let format = custom(r"(?P<ip>(a|b|ab)*(?=c)) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    assert_eq!(field(&format, "ab".repeat(500).as_bytes(), "ip"), None);
    let format = custom(r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    let line = format!("{} 1 / 200", "a".repeat(1 << 20));
    assert_eq!(field(&format, line.as_bytes(), "ip"), None);
}

#[test]
fn a_long_line_is_no_trouble_for_a_plain_regex() {
    let format = custom(r"(?P<ip>(a*)*) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    let line = format!("{} 1 / 200", "a".repeat(1 << 16));
    assert_eq!(
        field(&format, line.as_bytes(), "status").as_deref(),
        Some("200")
    );
}

proptest! {
    #[test]
    fn no_line_panics(line: Vec<u8>) {
        let arena = Bump::new();
        for regex in [NCSA.to_string(), format!("(?!x){NCSA}")] {
            let _ = custom(&regex).parse(&line, &arena, &mut Record::default());
        }
    }

    #[test]
    fn every_byte_of_a_line_is_kept(line: Vec<u8>) {
        let arena = Bump::new();
        for ahead in ["", "(?=.)"] {
            let format = custom(&format!(r"(?s){ahead}(?P<ip>.?)(?P<date>\S*)(?P<path>[^a]*)(?P<status>.*)"));
            let mut record = Record::default();
            prop_assert_eq!(format.parse(&line, &arena, &mut record), Fit::Record);
            let parts = REQUIRED.map(|field| record.get(field).unwrap_or_default());
            prop_assert_eq!(parts.concat(), [&line[..], b"\n"].concat());
        }
    }

    #[test]
    fn no_regex_panics(
        middle in r#"([ab1. "\[\](){}*+?|^$\\-]|\\[dswDSWbBAZ1]|\(\?[:=!>#]|\(\?<[=!]|\(\?P<x>|\(\?P=x\)|\(\?i\)|é){0,12}"#,
        line: Vec<u8>,
    ) {
        let regex = format!("(?P<ip>.?)(?P<date>.?)(?P<path>.?)(?P<status>.?){middle}");
        if let Ok(format) = Custom::new(&regex, None, &Wanted::default()) {
            let arena = Bump::new();
            let _ = format.parse(&line, &arena, &mut Record::default());
            let _ = format.parse(b"ab1 \"-ab", &arena, &mut Record::default());
        }
        let _ = python::translate(&middle);
    }

    #[test]
    fn the_default_date_is_read_as_its_pattern_is(
        date in "[0-9 ]?[0-9]/([A-Z][a-z]{2}|may|JUN)/[0-9]{4}:[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}",
        zone in "[+-]?[0-9]{0,4}|Z|[+-][0-9]{2}:[0-9]{2}",
    ) {
        let regex = r"(?P<ip>)(?P<path>)(?P<status>)(?P<date>.*) \[(?P<timezone>.*)\]";
        let line = format!("{date} [{zone}]");
        let (default, pattern) = (custom(regex), with_dates(regex, "%d/%b/%Y:%H:%M:%S"));
        prop_assert_eq!(moment(&default, &line), moment(&pattern, &line));
    }
}

#[test]
fn a_line_without_a_needed_field_is_a_misfit() {
    let format = custom(r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+)(?: (?P<status>\d+))?");
    assert_eq!(
        field(&format, b"1.2.3.4 x /a 200", "path").as_deref(),
        Some("/a")
    );
    assert_eq!(field(&format, b"1.2.3.4 x /a", "path"), None);
}
