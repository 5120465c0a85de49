//! The NCSA family: the common log format and its extensions; see guide/formats.md, "Web server
//! formats".

use super::text::TextSpec;

/// The formats of this family.
pub static SPECS: [TextSpec; 4] = [
    TextSpec::new("common", r#"%h %l %u %t "%r" %>s %b"#),
    TextSpec::new("common_vhost", r#"%v %h %l %u %t "%r" %>s %b"#),
    TextSpec::new(
        "ncsa_extended",
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    ),
    TextSpec::new(
        "common_complete",
        r#"%v %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    ),
];

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bumpalo::Bump;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::address::looks_like_address;
    use crate::format::escapes::latin_1_as_utf_8;
    use crate::format::testing::{mutated_lines, values};
    use crate::format::text::TextFormat;
    use crate::format::{Field, Fit, Format, Record, icecast};

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

    /// The formats of web servers and Icecast.
    fn specs() -> impl Iterator<Item = &'static TextSpec> {
        SPECS.iter().chain([&icecast::ORDINARY])
    }

    fn format(name: &str) -> TextFormat {
        let spec = specs().find(|spec| spec.name == name);
        TextFormat::new(spec.expect("a format with a scanner"))
    }

    /// The fields of a line. Asserts that the regex alone finds the same.
    fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
        let (format, arena) = (format(name), Bump::new());
        let (mut by_regex, mut by_all) = (Record::default(), Record::default());
        let found = format.search(line.as_bytes(), &arena, &mut by_regex);
        if format.parse(line.as_bytes(), &arena, &mut by_all) == Fit::Misfit {
            return None;
        }
        assert!(found.is_some(), "{line}");
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
    fn the_host_may_be_empty_or_have_a_port() {
        let host = |line: &str| field("common_vhost", line, "host");
        let tail = r#" 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#;
        for (written, want) in [
            ("www.example.com:80", Some("www.example.com:80")),
            ("a_b-c.d", Some("a_b-c.d")),
            ("büro.example:80", Some("büro.example:80")),
            (":443", Some(":443")),
            ("", Some("")),
            ("[::1]:80", Some("[::1]:80")),
            ("*.example.com:443", Some("*.example.com:443")),
        ] {
            assert_eq!(
                host(&format!("{written}{tail}")).as_deref(),
                want,
                "{written}"
            );
        }
    }

    #[test]
    fn a_quoted_field_ends_at_the_first_quote_that_lets_the_rest_fit() {
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
    fn a_path_may_contain_blanks_and_quotes() {
        let path = |request: &str| {
            let line = format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "{request}" 200 5"#);
            field("common", &line, "path")
        };
        assert_eq!(path("GET /a b  c HTTP/1.1").as_deref(), Some("/a b  c"));
        assert_eq!(path(r#"GET /a"b HTTP/1.1"#).as_deref(), Some("/a\"b"));
        assert_eq!(path("GET   /a\t HTTP/1.1").as_deref(), Some("/a"));
        assert_eq!(path("GET  HTTP/1.1").as_deref(), Some(""));
    }

    #[test]
    fn a_request_may_lack_its_protocol_or_be_none() {
        let request = |request: &str| {
            let line = format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "{request}" 400 5"#);
            let values = read("common", &line).unwrap();
            let value = |wanted| values.iter().find(|(name, _)| *name == wanted).cloned();
            (value("method").map(|it| it.1), value("path").unwrap().1)
        };
        let get = Some("GET".to_owned());
        assert_eq!(request("GET /a"), (get.clone(), "/a".to_owned()));
        assert_eq!(request("GET /a "), (get, "/a".to_owned()));
        for odd in ["-", "", "<BADREQ>", "GET", " GET /a"] {
            assert_eq!(request(odd), (None, odd.to_owned()), "{odd}");
        }
        assert_eq!(request(r"\x16\x03"), (None, "\x16\x03".to_owned()));
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_value() {
        let line = r#"::1 - - [14/May/2024:06:25:24 +0200] "GET /caf\xc3\xa9?q=\"a b\" HTTP/1.1" 200 5 "http://r/?q=\"a\"" "Tab 10\" Build/A1 \t C:\\x""#;
        let values = |wanted| field("ncsa_extended", line, wanted);
        assert_eq!(values("path").as_deref(), Some("/café?q=\"a b\""));
        assert_eq!(values("referrer").as_deref(), Some("http://r/?q=\"a\""));
        assert_eq!(
            values("user_agent").as_deref(),
            Some("Tab 10\" Build/A1 \t C:\\x")
        );
    }

    #[test]
    fn a_server_that_does_not_escape_may_write_backslashes() {
        let with = |quoted: &str| {
            let line =
                format!(r#"::1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 {quoted}"#);
            ["referrer", "user_agent"].map(|name| field("ncsa_extended", &line, name).unwrap())
        };
        assert_eq!(
            with(r#""C:\Program Files\" "UA""#),
            [r"C:\Program Files\", "UA"]
        );
        assert_eq!(with(r#""-" "UA\a\"b" "-""#), ["-", r#"UA\a\"b"#]);
        assert_eq!(with(r#""-" "UA\""#), ["-", r"UA\"]);
    }

    #[test]
    fn a_user_name_may_have_blanks() {
        let user = |user: &str| {
            let line =
                format!(r#"::1 - {user} [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#);
            field("common", &line, "userid")
        };
        for name in [
            "john doe",
            "CN=Jane Doe,O=Example",
            "- -",
            "a  b",
            "x [y] z",
            "\"\"",
        ] {
            assert_eq!(user(name).as_deref(), Some(name));
        }
        for spliced in ["al\"ice b", "- [14/May/2024 \"GET / HTTP/1.1\" 200 5"] {
            assert_eq!(user(spliced), None);
        }
        assert_eq!(user("al\"ice").as_deref(), Some("al\"ice"));
    }

    #[test]
    fn addresses_may_be_a_list() {
        let ip = |ip: &str| {
            let line = format!(r#"{ip} - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#);
            field("common", &line, "ip")
        };
        for list in [
            "203.0.113.9, 10.0.0.4",
            "203.0.113.9,10.0.0.4",
            "a,  b, c",
            "[::1]:80",
        ] {
            assert_eq!(ip(list).as_deref(), Some(list));
        }
    }

    #[test]
    fn a_line_that_begins_with_a_host_does_not_fit() {
        let line = LINES[4];
        assert!(line.starts_with("www.example.com 203.0.113.9 "));
        assert_eq!(read("ncsa_extended", line), None);
        assert_eq!(read("common", line), None);
        assert!(read("common_complete", line).is_some());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let line = b"::1 - \xe9 [14/May/2024:06:25:24 +0200] \"GET /caf\xe9 b HTTP/1.1\" 200 5 \"\xff\" \"A \xe9\"";
        let (format, arena, mut record) = (format("ncsa_extended"), Bump::new(), Record::default());
        assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
        assert_eq!(record.get(Field::Path), Some(&b"/caf\xe9 b"[..]));
        assert_eq!(record.get(Field::Userid), Some(&b"\xe9"[..]));
        assert_eq!(record.get(Field::Referrer), Some(&b"\xff"[..]));
        assert_eq!(record.get(Field::UserAgent), Some(&b"A \xe9"[..]));
    }

    #[test]
    fn any_white_space_separates_and_the_rest_of_the_line_is_ignored() {
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
    fn garbage_does_not_fit() {
        for line in [
            "",
            " ",
            "\0\0\0\0\0\0",
            "this is not a log line",
            "# a comment",
        ] {
            for spec in specs() {
                assert_eq!(read(spec.name, line), None, "{} {line}", spec.name);
            }
        }
    }

    #[test]
    fn any_number_after_the_user_agent_is_listening_time() {
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

    /// A line of a server that does not escape, with a whole request and a user of one word.
    fn plain_regex(name: &str) -> regex::bytes::Regex {
        let host = match name {
            "common_vhost" | "common_complete" => r"(?P<host>[\w.\x80-\xff-]*)(?::\d+)?\s+",
            _ => "",
        };
        let quoted = match name {
            "common" | "common_vhost" => "",
            _ => r#"\s+"(?P<referrer>.*?)"\s+"(?P<user_agent>.*?)""#,
        };
        let seconds = if name == "icecast2" {
            r"\s+(?P<session_time>\d+|-)"
        } else {
            ""
        };
        let regex = format!(
            r#"^{host}(?P<ip>[\w*.:-]+)\s+\S+\s+(?P<userid>\S+)\s+\[(?P<date>\S+)\s+(?P<timezone>\S*)\]\s+"(?P<method>\S+)\s+(?P<path>.*?)\s+\S+"\s+(?P<status>\d+)\s+(?P<length>\S+){quoted}{seconds}"#
        );
        let mut builder = regex::bytes::RegexBuilder::new(&regex);
        builder
            .unicode(false)
            .dot_matches_new_line(true)
            .build()
            .unwrap()
    }

    #[test]
    fn a_plain_line_still_fits() {
        for spec in specs() {
            let (format, plain, arena) =
                (TextFormat::new(spec), plain_regex(spec.name), Bump::new());
            let fitting = Cell::new(0);
            let mut runner = TestRunner::new(Config {
                cases: 4000,
                failure_persistence: None,
                ..Config::default()
            });
            let outcome = runner.run(&mutated_lines(&LINES), |line| {
                if !plain.is_match(&line) {
                    return Ok(());
                }
                let mut record = Record::default();
                let fit = format.parse(&line, &arena, &mut record);
                let before_date = line.split(|byte| *byte == b'[').next();
                let mut words = before_date
                    .unwrap_or_default()
                    .split(u8::is_ascii_whitespace);
                let begins_with_host = !spec.name.starts_with("common_")
                    && !words.next().is_some_and(looks_like_address)
                    && words.any(looks_like_address);
                assert_eq!(fit == Fit::Record, !begins_with_host);
                fitting.set(fitting.get() + 1);
                Ok(())
            });
            outcome.unwrap();
            assert!(fitting.get() > 400, "{}: {}", spec.name, fitting.get());
        }
    }

    /// Any text, escaped as servers do it, is read back, wherever quotes and backslashes are.
    #[test]
    fn no_value_ends_at_an_escaped_quote() {
        let format = format("ncsa_extended");
        let value =
            || proptest::collection::vec(proptest::sample::select(&b"ab \\\"\t\xe9x/2"[..]), 0..20);
        let mut runner = TestRunner::new(Config {
            cases: 2000,
            failure_persistence: None,
            ..Config::default()
        });
        let escaped = |value: &[u8]| -> Vec<u8> {
            let escape = |byte: &u8| match byte {
                b'"' => b"\\\"".to_vec(),
                b'\\' => br"\\".to_vec(),
                b'\t' => br"\t".to_vec(),
                0x80.. => format!(r"\x{byte:02x}").into_bytes(),
                _ => vec![*byte],
            };
            value.iter().flat_map(escape).collect()
        };
        let outcome = runner.run(&(value(), value()), |(referrer, agent)| {
            let before = br#"::1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 ""#;
            let (referrer_out, agent_out) = (escaped(&referrer), escaped(&agent));
            let line = [&before[..], &referrer_out, b"\" \"", &agent_out, b"\""].concat();
            let (arena, mut record) = (Bump::new(), Record::default());
            assert_eq!(format.parse(&line, &arena, &mut record), Fit::Record);
            for (field, value) in [(Field::Referrer, &referrer), (Field::UserAgent, &agent)] {
                assert_eq!(record.get(field), Some(latin_1_as_utf_8(value, &arena)));
            }
            assert!(record.is_whole());
            Ok(())
        });
        outcome.unwrap();
    }

    /// Also checks that enough lines fit, and that the scanner reads enough of them.
    #[test]
    fn the_scanner_agrees_with_the_regex_on_any_line() {
        for spec in specs() {
            let (format, arena) = (TextFormat::new(spec), Bump::new());
            let (lines, fitting, scanned) = (Cell::new(0), Cell::new(0), Cell::new(0));
            let own: &'static [&'static str] = match spec.name {
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
            let outcome = runner.run(&mutated_lines(own), |line| {
                let (mut by_regex, mut by_scan, mut by_all) =
                    (Record::default(), Record::default(), Record::default());
                let found = format.search(&line, &arena, &mut by_regex);
                let scan = format.layout().scan(&line, &arena, &mut by_scan);
                if scan.is_some() {
                    assert_eq!(scan, found);
                    assert_eq!(values(&by_scan), values(&by_regex));
                }
                let fit = format.parse(&line, &arena, &mut by_all);
                if fit == Fit::Record {
                    assert!(found.is_some());
                    assert_eq!(values(&by_all), values(&by_regex));
                }
                lines.set(lines.get() + 1);
                fitting.set(fitting.get() + u32::from(fit == Fit::Record));
                scanned.set(scanned.get() + u32::from(scan.is_some()));
                Ok(())
            });
            outcome.unwrap();
            let shares = [fitting.get(), scanned.get()].map(|n| n * 100 / lines.get());
            assert!(shares[0] >= 34, "{}: only {}% fit", spec.name, shares[0]);
            assert!(
                shares[1] >= 30,
                "{}: only {}% scanned",
                spec.name,
                shares[1]
            );
        }
    }
}
