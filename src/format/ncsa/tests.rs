//! What these formats make of lines, and that scanner and regex say the same.

use std::cell::Cell;

use bumpalo::Bump;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::format::Fit;
use crate::format::text::testing::{changed_lines, values};

const LINES: [&str; 10] = [
    r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /index.html HTTP/1.1" 200 5120"#,
    r#"www.example.com:80 203.0.113.9 - al [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 304 -"#,
    r#"2001:db8::8a2e - - [14/May/2024:06:25:24 +0200] "GET /a?b=c HTTP/1.1" 200 77 "-" "Mozilla/5.0 (X11)""#,
    r#"203.0.113.9 - al [4/May/2024:6:5:4 +0200] "GET /a b HTTP/1.1" 404 1 "http://r/?q="x"" "A "B" C""#,
    r#"www.example.com 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "http://r/a b" "M 5.0""#,
    r#"_:8 ::1 - - [14/May/2024:06:25:24 -0130] "HEAD * HTTP/2.0" 500 5 "" """#,
    r#"198.51.100.7 - - [14/May/2024:07:00:03 +0200] "GET /live.mp3 HTTP/1.1" 200 28912384 "-" "VLC/3.0.20" 1807"#,
    r#"198.51.100.7 - dj [14/May/2024:07:00:03 +0200] "SOURCE /jazz ICE/1.0" 200 19 "-" "libshout \" x" -"#,
    r#"2001:db8::42 - admin [14/May/2024:07:04:12 +0000] "GET /a HTTP/1.1" 401 - "http://r/" "Winamp 5.9" 0"#,
    r#"198.51.100.8 - - [14/May/2024:07:00:09 +0200] "GET /live.ogg?sid=7 HTTP/1.0" 200 40960 "-" "Lavf/60" 2"#,
];

fn format(name: &str) -> TextFormat {
    let row = ROWS.iter().find(|row| row.name == name);
    TextFormat::new(row.expect("a format of this family"))
}

/// What is in a line's record, by the regex alone and by all of the format; both must agree.
fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
    let (format, arena) = (format(name), Bump::new());
    let (mut by_regex, mut by_all) = (Record::default(), Record::default());
    let fit = format.search(line.as_bytes(), &mut by_regex);
    assert_eq!(
        fit,
        format.parse(line.as_bytes(), &arena, &mut by_all),
        "{line}"
    );
    if fit == Fit::Misfit {
        return None;
    }
    assert_eq!(values(&by_regex), values(&by_all), "{line}");
    Some(values(&by_all))
}

fn field(name: &str, line: &str, wanted: &str) -> Option<String> {
    let found = read(name, line)?.into_iter().find(|(n, _)| *n == wanted)?;
    Some(found.1)
}

#[test]
fn icecast_lines_give_every_field() {
    let want = [
        ("ip", "198.51.100.7"),
        ("date", "14/May/2024:07:00:03"),
        ("timezone", "+0200"),
        ("path", "/live.mp3"),
        ("status", "200"),
        ("length", "28912384"),
        ("userid", "-"),
        ("referrer", "-"),
        ("user_agent", "VLC/3.0.20"),
        ("method", "GET"),
        ("session_time", "1807"),
    ];
    let got = read("icecast2", LINES[6]).unwrap();
    assert_eq!(got, want.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(format("icecast2").fields().len(), want.len());
}

#[test]
fn a_host_stands_before_the_line_with_or_without_a_port_and_may_be_empty() {
    let host = |line: &str| field("common_vhost", line, "host");
    let tail = r#" 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#;
    for (written, want) in [
        ("www.example.com:80", Some("www.example.com")),
        ("a_b-c.d", Some("a_b-c.d")),
        ("büro.example:80", Some("büro.example")),
        (":443", Some("")),
        ("", Some("")),
        ("www.example.com:", None),
        ("www.example.com:http", None),
        ("www example.com", None),
        ("[::1]:80", None),
    ] {
        assert_eq!(
            host(&format!("{written}{tail}")).as_deref(),
            want,
            "{written}"
        );
    }
}

#[test]
fn quoted_fields_end_at_the_first_quote_that_lets_the_rest_fit() {
    let agent = |line: &str| field("ncsa_extended", line, "user_agent");
    let with = |quoted: &str| {
        format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 {quoted}"#)
    };
    assert_eq!(agent(&with(r#""-" "A "B" C""#)).as_deref(), Some("A "));
    assert_eq!(agent(&with(r#""a" b" "c""#)).as_deref(), Some("c"));
    assert_eq!(agent(&with(r#""" """#)).as_deref(), Some(""));
    assert_eq!(agent(&with(r#""-" "no end"#)), None);
    let icecast = with(r#""-" "A "B" C" 7"#);
    assert_eq!(
        field("icecast2", &icecast, "user_agent").as_deref(),
        Some("A \"B\" C")
    );
}

#[test]
fn a_path_may_hold_blanks_and_quotes() {
    let path = |request: &str| {
        let line = format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "{request}" 200 5"#);
        field("common", &line, "path")
    };
    assert_eq!(path("GET /a b  c HTTP/1.1").as_deref(), Some("/a b  c"));
    assert_eq!(path(r#"GET /a"b HTTP/1.1"#).as_deref(), Some("/a\"b"));
    assert_eq!(path("GET   /a\t HTTP/1.1").as_deref(), Some("/a"));
    assert_eq!(path("GET  HTTP/1.1").as_deref(), Some(""));
    assert_eq!(path("GET /a"), None);
    assert_eq!(path("-"), None);
}

#[test]
fn bytes_that_are_no_utf8_stay_as_they_are() {
    let line = b"::1 - \xe9 [14/May/2024:06:25:24 +0200] \"GET /caf\xe9 b HTTP/1.1\" 200 5 \"\xff\" \"A \xe9\"";
    let (format, arena, mut record) = (format("ncsa_extended"), Bump::new(), Record::default());
    assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
    assert_eq!(record.get(Field::Path), Some(&b"/caf\xe9 b"[..]));
    assert_eq!(record.get(Field::Userid), Some(&b"\xe9"[..]));
    assert_eq!(record.get(Field::Referrer), Some(&b"\xff"[..]));
    assert_eq!(record.get(Field::UserAgent), Some(&b"A \xe9"[..]));
}

#[test]
fn runs_of_white_space_separate_and_what_follows_is_ignored() {
    let line = "::1\t-   - \x0b[14/May/2024:06:25:24  -0130]  \"GET / HTTP/1.1\"  200   5\r";
    assert_eq!(field("common", line, "timezone").as_deref(), Some("-0130"));
    assert_eq!(field("common", line, "length").as_deref(), Some("5"));
    let longer = format!("{}  anything", LINES[2]);
    assert_eq!(
        read("ncsa_extended", &longer),
        read("ncsa_extended", LINES[2])
    );
}

#[test]
fn garbage_and_holes_do_not_fit() {
    for line in [
        "",
        " ",
        "\0\0\0\0\0\0",
        "this line is no log line",
        "# a comment",
    ] {
        for row in &ROWS {
            assert_eq!(read(row.name, line), None, "{} {line}", row.name);
        }
    }
}

#[test]
fn a_number_behind_the_agent_makes_it_icecast_whatever_follows_the_digits() {
    let line = format!("{} 0.005", LINES[2]);
    assert_eq!(
        field("icecast2", &line, "session_time").as_deref(),
        Some("0")
    );
    assert_eq!(
        field("icecast2", LINES[7], "session_time").as_deref(),
        Some("-")
    );
    assert_eq!(read("icecast2", LINES[2]), None);
}

/// Also: nothing panics, enough of the lines still fit, and the scanner takes enough of them to be worth it.
#[test]
fn scanner_and_regex_say_the_same_of_any_line() {
    for row in &ROWS {
        let (format, arena) = (TextFormat::new(row), Bump::new());
        let (lines, fitting, scanned) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let own: &'static [&'static str] = match row.name {
            "common" => &[LINES[0], LINES[2], LINES[3], LINES[6], LINES[8]],
            "common_vhost" => &[LINES[1], LINES[4], LINES[5]],
            "ncsa_extended" => &[LINES[2], LINES[3], LINES[6], LINES[7], LINES[8]],
            "common_complete" => &LINES[4..6],
            _ => &LINES[6..],
        };
        let mut runner = TestRunner::new(Config {
            cases: 4000,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&changed_lines(own), |line| {
            let (mut by_regex, mut by_scan, mut by_all) =
                (Record::default(), Record::default(), Record::default());
            let fit = format.search(&line, &mut by_regex);
            let taken = row.scan.is_some_and(|scan| scan(&line, &mut by_scan));
            assert_eq!(format.parse(&line, &arena, &mut by_all), fit);
            if taken {
                assert_eq!(fit, Fit::Record);
                assert_eq!(values(&by_scan), values(&by_regex));
            } else {
                assert_eq!(values(&by_scan), [], "a record is left alone");
            }
            lines.set(lines.get() + 1);
            fitting.set(fitting.get() + u32::from(fit == Fit::Record));
            scanned.set(scanned.get() + u32::from(taken));
            Ok(())
        });
        outcome.unwrap();
        let shares = [fitting.get(), scanned.get()].map(|n| n * 100 / lines.get());
        assert!(shares[0] >= 34, "{}: only {}% fit", row.name, shares[0]);
        assert!(shares[1] >= 30, "{}: only {}% scanned", row.name, shares[1]);
    }
}
