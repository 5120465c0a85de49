//! What Icecast's lines in the wild give, and that ordinary ones give what they always gave.

use proptest::prelude::*;

use super::*;
use crate::format::registry::{FormatOptions, by_name};
use crate::format::text::testing::{changed_lines, values};

fn format() -> Box<dyn Format> {
    by_name("icecast2", &FormatOptions::default()).unwrap()
}

fn read(line: &str) -> Option<Vec<(&'static str, String)>> {
    let (format, arena, mut record) = (format(), Bump::new(), Record::default());
    let fit = format.parse(line.as_bytes(), &arena, &mut record);
    (fit == Fit::Record).then(|| values(&record))
}

fn field(line: &str, name: &str) -> Option<String> {
    let found = read(line)?.into_iter().find(|(known, _)| *known == name)?;
    Some(found.1)
}

/// A line of Icecast-KH's with this request, which it cuts off at 235 bytes.
fn kh(request: &str) -> String {
    let request = &request[..request.len().min(235)];
    format!(
        r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "{request}" 200 28912384 "-" "VLC/3.0.20" 1807"#
    )
}

#[test]
fn a_request_that_was_cut_off_lacks_its_protocol() {
    let whole = |length: usize| format!("GET /{} HTTP/1.1", "x".repeat(length));
    for (length, kept) in [
        // All is there; one letter of the protocol is; only the blank before it; not even that.
        (221, 222),
        (228, 229),
        (230, 231),
        (231, 231),
        (232, 231),
        (1000, 231),
    ] {
        let line = kh(&whole(length));
        let path = field(&line, "path").unwrap();
        assert_eq!(path.len(), kept.min(length + 1), "{length}");
        assert_eq!(field(&line, "session_time").as_deref(), Some("1807"));
        assert_eq!(field(&line, "method").as_deref(), Some("GET"));
        assert_eq!(field(&line, "user_agent").as_deref(), Some("VLC/3.0.20"));
    }
}

#[test]
fn a_cut_request_may_hold_quotes_and_a_query() {
    let query = format!("/live?q=\"{}\"&n=", "é".repeat(100));
    let line = kh(&format!("SOURCE {query}{} ICE/1.0", "1".repeat(200)));
    let path = field(&line, "path").unwrap();
    assert_eq!(path, query + &"1".repeat(15));
    assert_eq!(field(&line, "status").as_deref(), Some("200"));
    assert_eq!(field(&line, "length").as_deref(), Some("28912384"));
}

#[test]
fn a_short_request_without_protocol_is_none() {
    for request in ["GET /live.mp3", "GET /live.mp3 ", "GET", "-", ""] {
        assert_eq!(read(&kh(request)), None, "{request}");
    }
    assert_eq!(read(&kh(&format!("GET /{}", "x".repeat(200)))), None);
}

#[test]
fn quotes_need_not_be_escaped() {
    let line = r#"- - - [14/May/2024:07:00:03 +0200] "GET /live?a="b" HTTP/1.1" 200 5 "http://r/?q="x"" "My "best" player" 17"#;
    for (name, value) in [
        ("ip", "-"),
        ("path", "/live?a=\"b\""),
        ("referrer", "http://r/?q=\"x\""),
        ("user_agent", "My \"best\" player"),
        ("session_time", "17"),
    ] {
        assert_eq!(field(line, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn percent_encoded_fields_stand_without_quotes_and_brackets() {
    let want = [
        ("ip", "2001:db8::42"),
        ("date", "14/May/2024:00:00:05"),
        ("timezone", "+0200"),
        ("path", "/live%20one.mp3?sid=7"),
        ("status", "200"),
        ("length", "4096"),
        ("userid", "my dj"),
        ("referrer", "http://r/a b"),
        ("user_agent", "VLC/3.0.20 \"LibVLC\""),
        ("method", "GET"),
        ("session_time", "1807"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let behind = "GET%20/live%2520one.mp3%3Fsid=7%20HTTP/1.1 200 4096 http%3A//r/a%20b VLC/3.0.20%20%22LibVLC%22 1807";
    for date in [
        "14/May/2024:00:00:05%20+0200",
        "14/May/2024:00:00:05 +0200",
        "14%2fMay%2f2024%3A00%3a00%3A05%20%2B0200",
    ] {
        let line = format!("2001:db8::42 - my%20dj {date} {behind}");
        assert_eq!(read(&line).as_deref(), Some(&want[..]), "{date}");
        let encoded = line.replace("::", "%3A%3A").replace(' ', "\t ");
        assert_eq!(read(&encoded).as_deref(), Some(&want[..]), "{date}");
    }
}

#[test]
fn an_encoded_request_may_be_cut_off_as_well() {
    let path = |request: &str| {
        field(
            &format!("- - - 14/May/2024:00:00:05%20+0200 {request} 200 1 - - -"),
            "path",
        )
    };
    assert_eq!(path("GET%20/live").as_deref(), Some("/live"));
    assert_eq!(path("GET%20/live%20").as_deref(), Some("/live"));
    assert_eq!(path("GET%20/a%20b%20HT").as_deref(), Some("/a b"));
    assert_eq!(path("GET%20/a%2").as_deref(), Some("/a%2"));
    assert_eq!(path("GET"), None);
    assert_eq!(path("-"), None);
}

#[test]
fn words_without_a_date_and_seconds_where_they_belong_are_something_else() {
    let good = "192.0.2.1 - - 14/May/2024:00:00:05%20+0200 GET%20/live%20HTTP/1.1 200 5 - A 17";
    assert!(read(good).is_some());
    assert_eq!(
        field(&good.replace("17", "-"), "session_time").as_deref(),
        Some("-")
    );
    assert_eq!(
        field(&good.replace("17", "-17"), "session_time").as_deref(),
        Some("-")
    );
    for (part, other) in [
        ("14/May/2024", "14/Mai/2024"),
        ("14/May/2024", "2024-05-14"),
        ("+0200", "CEST"),
        ("%20+0200", ""),
        ("GET%20/live%20HTTP/1.1", "GET"),
        (" 200 5", " OK 5"),
        ("17", "seconds"),
        (" 17", ""),
        ("192.0.2.1", "[::1]"),
    ] {
        assert_eq!(read(&good.replace(part, other)), None, "{other}");
    }
}

#[test]
fn such_a_log_is_detected_and_its_regex_is_the_ordinary_one() {
    let regex = format().regex().unwrap();
    assert!(
        regex.ends_with(SESSION_TIME) && !regex.contains("225"),
        "{regex}"
    );
    assert_eq!(format().richness(), 11);
}

const LINES: [&str; 4] = [
    r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "GET /live.mp3 HTTP/1.1" 200 28912384 "-" "VLC/3.0.20" 1807"#,
    "192.0.2.1 - - 14/May/2024:00:00:05%20+0200 GET%20/live%20HTTP/1.1 200 5 - VLC%2F3 17",
    "2001:db8::1 - dj%20x 14/May/2024:00:00:05 +0200 SOURCE%20/live%20ICE/1.0 200 5 http:%2f%2fr/ %5C%22 -",
    r#"- - - [14/May/2024:07:00:03 +0200] "GET /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" 200 5 "-" "A "B" C" 7"#,
];

proptest! {
    #[test]
    fn what_fits_the_ordinary_format_is_what_it_always_was(line in changed_lines(&LINES)) {
        let regex = regex::bytes::RegexBuilder::new(&format!("^{}", format().regex().unwrap()))
            .unicode(false)
            .dot_matches_new_line(true)
            .build()
            .unwrap();
        let (format, arena, mut record) = (format(), Bump::new(), Record::default());
        let fit = format.parse(&line, &arena, &mut record);
        if let Some(found) = regex.captures(&line) {
            prop_assert_eq!(fit, Fit::Record);
            for field in format.fields() {
                prop_assert_eq!(record.get(*field), found.name(field.name()).map(|value| value.as_bytes()));
            }
        }
    }
}
