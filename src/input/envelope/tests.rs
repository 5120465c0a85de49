use proptest::prelude::*;

use super::*;

/// A way to write a line into an envelope.
pub(crate) struct Wrapper {
    pub name: &'static str,
    pub envelope: LogEnvelope,
    /// Blanks before a line belong to the envelope.
    pub takes_blanks: bool,
    pub wrap: fn(&[u8]) -> Vec<u8>,
}

/// Writes a line in Docker's json-file. `log` is its text with the line break.
pub(crate) fn docker(log: &[u8], stream: &str) -> Vec<u8> {
    let mut line = b"{\"log\":\"".to_vec();
    for byte in log {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'&' | b'<' | b'>' | ..0x20 => line.extend(format!("\\u{byte:04x}").bytes()),
            _ => line.push(*byte),
        }
    }
    line.extend(
        format!("\",\"stream\":\"{stream}\",\"time\":\"2024-05-14T04:25:24.1Z\"}}").bytes(),
    );
    line
}

fn behind(prefix: &str, line: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), line].concat()
}

pub(crate) const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        name: "Docker",
        envelope: LogEnvelope::Docker,
        takes_blanks: false,
        wrap: |line| docker(&[line, b"\n"].concat(), "stdout"),
    },
    Wrapper {
        name: "CRI",
        envelope: LogEnvelope::Cri,
        takes_blanks: false,
        wrap: |line| behind("2024-05-14T04:25:24.497999999+00:00 stdout F ", line),
    },
    Wrapper {
        name: "RFC 3164",
        envelope: LogEnvelope::Syslog,
        takes_blanks: true,
        wrap: |line| behind("<190>May 14 06:25:24 web1 nginx: ", line),
    },
    Wrapper {
        name: "RFC 5424",
        envelope: LogEnvelope::Syslog,
        takes_blanks: false,
        wrap: |line| {
            behind(
                "<190>1 2024-05-14T06:25:24.003Z web1 nginx 2869 - [a@1 b=\"c \\\"]\"][d] \u{feff}",
                line,
            )
        },
    },
    Wrapper {
        name: "rsyslog",
        envelope: LogEnvelope::Syslog,
        takes_blanks: true,
        wrap: |line| behind("2024-05-14T06:25:24.123456+02:00 web1 nginx: ", line),
    },
    Wrapper {
        name: "journald",
        envelope: LogEnvelope::Syslog,
        takes_blanks: true,
        wrap: |line| behind("May 14 06:25:24 web1 nginx[2869]: ", line),
    },
    Wrapper {
        name: "Compose",
        envelope: LogEnvelope::Compose,
        takes_blanks: false,
        wrap: |line| behind("web-1  | ", line),
    },
    Wrapper {
        name: "Compose with timestamps",
        envelope: LogEnvelope::Compose,
        takes_blanks: false,
        wrap: |line| behind("web-1  | 2024-05-14T04:25:24.497999999Z ", line),
    },
    Wrapper {
        name: "timestamps",
        envelope: LogEnvelope::Timestamps,
        takes_blanks: false,
        wrap: |line| behind("2024-05-14T04:25:24.497999999Z ", line),
    },
];

/// The text in an envelope, and whether it is a part.
fn opened(envelope: LogEnvelope, line: &str) -> Option<(String, bool)> {
    let mut text = b"before".to_vec();
    let piece = envelope.open(line.as_bytes(), &mut text);
    let text = String::from_utf8(text).unwrap();
    let text = text.strip_prefix("before").unwrap().to_owned();
    assert!(piece.is_some() || text.is_empty());
    piece.map(|piece| (text, piece.is_partial))
}

fn whole(envelope: LogEnvelope, line: &str) -> Option<String> {
    let (text, is_partial) = opened(envelope, line)?;
    assert!(!is_partial, "{line}");
    Some(text)
}

#[test]
fn every_name_finds_an_envelope() {
    for (name, envelope) in LogEnvelope::NAMES {
        assert_eq!(
            EnvelopeChoice::by_name(name),
            Some(EnvelopeChoice::Named(envelope))
        );
    }
    for name in EnvelopeChoice::names() {
        assert!(EnvelopeChoice::by_name(name).is_some(), "{name}");
    }
    assert_eq!(EnvelopeChoice::by_name("Docker"), None);
    assert_eq!(LogEnvelope::Syslog.name(), "syslog");
}

#[test]
fn each_envelope_is_recognized_and_no_other() {
    let all = [
        LogEnvelope::Docker,
        LogEnvelope::Cri,
        LogEnvelope::Syslog,
        LogEnvelope::Compose,
        LogEnvelope::Timestamps,
    ];
    for Wrapper {
        name,
        envelope,
        wrap,
        ..
    } in WRAPPERS
    {
        let line = wrap(b"GET \"/a\\b\"");
        assert_eq!(LogEnvelope::of(&line), Some(*envelope), "{name}");
        for other in all {
            assert_eq!(
                other.is_around(&line),
                other == *envelope,
                "{name}: {other:?}"
            );
        }
        let line = String::from_utf8(line).unwrap();
        assert_eq!(
            whole(*envelope, &line).as_deref(),
            Some("GET \"/a\\b\""),
            "{name}"
        );
    }
}

#[test]
fn docker_keys_come_in_any_order_and_with_blanks() {
    let time = "\"time\":\"2024-05-14T04:25:24Z\"";
    for line in [
        format!("{{\"log\":\"a\\n\",{time}}}"),
        format!(" {{ {time} , \"log\" : \"a\\r\\n\" , \"stream\" : \"stderr\" }} "),
        format!("{{\"attrs\":{{\"a\":\"}}\\\"\",\"b\":{{\"c\":[]}}}},{time},\"log\":\"a\\n\"}}"),
        format!("{{\"attrs\":null,{time},\"log\":\"a\\n\"}}"),
    ] {
        assert_eq!(
            whole(LogEnvelope::Docker, &line).as_deref(),
            Some("a"),
            "{line}"
        );
    }
    let line = format!("{{\"log\":\"a\",\"stream\":\"stderr\",{time}}}");
    let mut text = Vec::new();
    assert_eq!(
        LogEnvelope::Docker.open(line.as_bytes(), &mut text),
        Some(Piece {
            stream: ContainerStream::Stderr,
            is_partial: true
        })
    );
}

#[test]
fn escapes_in_docker_logs_are_decoded() {
    let line = r#"{"log":"\u0026\u003c\u003e \"\\x22\/\b\f\t\u00e4\ud83d\ude00 \ud83d \ude00\ud83d\u0041\n","time":"2024-05-14T04:25:24Z"}"#;
    let text = "&<> \"\\x22/\u{8}\u{c}\t\u{e4}\u{1f600} \u{fffd} \u{fffd}\u{fffd}A";
    assert_eq!(whole(LogEnvelope::Docker, line).as_deref(), Some(text));
}

#[test]
fn other_json_is_not_docker_s() {
    let time = "\"time\":\"2024-05-14T04:25:24Z\"";
    for line in [
        "{}".to_owned(),
        "{\"log\":\"a\\n\"}".to_owned(),
        format!("{{{time}}}"),
        format!("{{\"log\":\"a\\n\",\"status\":200,{time}}}"),
        format!("{{\"log\":\"a\\n\",\"stream\":\"x\",{time}}}"),
        format!("{{\"log\":\"a\\n\",\"log\":\"b\\n\",{time}}}"),
        format!("{{\"log\":1,{time}}}"),
        format!("{{\"log\":\"a\\q\\n\",{time}}}"),
        format!("{{\"log\":\"a\\u12\",{time}}}"),
        format!("{{\"log\":\"a\\n\",{time}}} x"),
        format!("{{\"log\":\"a\\n\",{time}"),
        format!("{{\"log\":\"a\\n\",{time},\"attrs\":{{}}"),
        format!("{{\"log\":\"a\\n\",{time},\"attrs\":{{\"a\\"),
        format!("{{\"log\":\"a\\nb\\n\",{time}}}"),
        format!("{{\"log\":\"a\\rb\\n\",{time}}}"),
        "{\"log\":\"a\\n\",\"time\":\"14/May/2024:06:25:24\"}".to_owned(),
        "{\"log\":\"a\\n\",\"time\":\"2024-05-14T04:25:24Z \"}".to_owned(),
    ] {
        assert_eq!(opened(LogEnvelope::Docker, &line), None, "{line}");
    }
}

#[test]
fn cri_tags_say_whether_the_line_goes_on() {
    let date = "2024-05-14T04:25:24.1Z";
    for (rest, expected) in [
        (" stdout F a b", Some(("a b", false))),
        (" stderr P  a ", Some((" a ", true))),
        (" stdout P:x:F a", Some(("a", true))),
        (" stdout F ", Some(("", false))),
        (" stdout F", Some(("", false))),
        (" stdout G a", None),
        (" stdin F a", None),
        (" stdout", None),
        ("  stdout F a", None),
    ] {
        let found = opened(LogEnvelope::Cri, &format!("{date}{rest}"));
        let expected = expected.map(|(text, is_partial)| (text.to_owned(), is_partial));
        assert_eq!(found, expected, "{rest}");
    }
    assert_eq!(
        opened(LogEnvelope::Cri, "2024-05-14 04:25:24 stdout F a"),
        None
    );
}

#[test]
fn syslog_is_read_in_all_its_forms() {
    for header in [
        "<0>May 14 06:25:24 web1 nginx: ",
        "<191>May  4 06:25:24 web1 nginx[2869]: ",
        "May 4 06:25:24 nginx: ",
        "May 14 06:25:24.123456 web1.example.com php-fpm8.2[1]: ",
        "<13>2024-05-14T06:25:24+02:00 2001:db8::1 docker/web/3f[77]: ",
        "2024-05-14T06:25:24+0200 web1 apache2:   ",
        "2024-05-14T06:25:24,5Z nginx: ",
        "<189>May 14 2024 06:25:24 web1 nginx: ",
        "May  4 2024 06:25:24.123 nginx: ",
        "Tue 2024-05-14 06:25:24 CEST web1 nginx[2869]: ",
        "Tue 2024-05-14 06:25:24.123456 +03 web1 nginx[2869]: ",
        "<190>1 2024-05-14T06:25:24.003Z web1 nginx 2869 - - ",
        "1 2024-05-14T06:25:24.003Z - - - - - ",
        "<190>1 - web1 nginx - access [x] ",
        "<190>1 2024-05-14T06:25:24Z web1 nginx - - [a b=\"]\\\\\\\"\" c=\"\"][d] \u{feff}",
    ] {
        let line = format!("{header}a: b");
        let found = LogEnvelope::of(line.as_bytes());
        assert_eq!(found, Some(LogEnvelope::Syslog), "{header}");
        assert_eq!(
            whole(LogEnvelope::Syslog, &line).as_deref(),
            Some("a: b"),
            "{header}"
        );
    }
    let empty = "<190>1 2024-05-14T06:25:24Z web1 nginx - - -";
    assert_eq!(whole(LogEnvelope::Syslog, empty).as_deref(), Some(""));
}

#[test]
fn other_lines_are_not_those_of_syslog() {
    for line in [
        "",
        "<192>May 14 06:25:24 web1 nginx: a",
        "<>May 14 06:25:24 web1 nginx: a",
        "<1a>May 14 06:25:24 web1 nginx: a",
        "<0190>May 14 06:25:24 web1 nginx: a",
        "May 14 06:25:24 web1 nginx a: b",
        "May 14 06:25:24 web1 : a",
        "May 14 06:25:24 web1 \"a\": b",
        "May 14 06:25:24 web1 a]: b",
        "May 14 06:25:24",
        "Mai 14 06:25:24 web1 nginx: a",
        "May 14 2024 web1 nginx: a",
        "2024-05-14 06:25:24 web1 nginx: a",
        "2024-05-14T06:25:24.497999999Z /docker-entrypoint.sh: a",
        "Tag 2024-05-14 06:25:24 CEST web1 nginx: a",
        "Tue 2024-05-14 06:25:24 web1: nginx",
        "Tue 2024-05-14 06:25:24  web1 nginx: a",
        "2024-05-14T06:25:24 web1 nginx: a",
        "2024-05-14T23:39:43.945958Z my-lb 192.0.2.1:2817 10.0.0.1:80 0.1 200 \"GET http://a/\"",
        "1 - web1 nginx - - - a",
        "<190>1 2024-05-14T06:25:24Z web1 nginx - - a",
        "<190>1 2024-05-14T06:25:24Z web1 nginx - - [a b=\"c]",
        "<190>1 2024-05-14T06:25:24Z web1 nginx - - [a]b",
        "<190>1 2024-05-14T06:25:24Z web1  nginx - - a",
        "<190>2 2024-05-14T06:25:24Z web1 nginx - - - a",
    ] {
        assert_eq!(opened(LogEnvelope::Syslog, line), None, "{line}");
    }
}

#[test]
fn compose_names_a_container_before_a_bar() {
    for (line, text) in [
        ("web-1  | a | b", Some("a | b")),
        ("web_1    | a", Some("a")),
        ("web.1.k3x@node-1    | a", Some("a")),
        ("my.web | ", Some("")),
        ("web |", Some("")),
        ("\x1b[36mweb-1  | \x1b[0ma", Some("a")),
        ("\x1b[1;36mweb-1  |\x1b[0m a", Some("a")),
        ("web-1  | 2024-05-14T04:25:24.497999999Z a", Some("a")),
        ("web-1  | 2024-05-14T04:25:24.497999999Z ", Some("")),
        (
            "web-1  | 2024-05-14T04:25:24.497999Z my-lb",
            Some("2024-05-14T04:25:24.497999Z my-lb"),
        ),
        ("web-1| a", None),
        ("web-1  |a", None),
        ("192.0.2.1 | - | a", None),
        ("-web | a", None),
        (" | a", None),
        ("web 1 | a", None),
        (
            "MISS|200|1715660724321|5120|1|203.0.113.0|-|https://a/|DE|b|c|DE",
            None,
        ),
    ] {
        assert_eq!(whole(LogEnvelope::Compose, line).as_deref(), text, "{line}");
    }
}

#[test]
fn timestamps_have_nine_digits_of_a_second() {
    for (line, text) in [
        ("2024-05-14T04:25:24.497999999Z a: b", Some("a: b")),
        ("2024-05-14T04:25:24.000000000+02:00 ", Some("")),
        ("2024-05-14T04:25:24.497999999Z", None),
        ("2024-05-14T04:25:24.497999Z a", None),
        ("2024-05-14T04:25:24.4979999990Z a", None),
        ("2024-05-14T04:25:24.497999999 a", None),
        ("2024-05-14T04:25:24.497999999Z stdout F a", None),
    ] {
        let found = whole(LogEnvelope::Timestamps, line);
        assert_eq!(found.as_deref(), text, "{line}");
    }
}

/// What envelopes consist of, so that random lines are nearly envelopes.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b"\"",
        b"\\",
        b"\\u00",
        b"\\ud83d",
        b":",
        b",",
        b" ",
        b"[",
        b"]",
        b"|",
        b"=",
        b"\"log\":",
        b"\"time\":\"2024-05-14T04:25:24Z\"",
        b"\"stream\":\"stdout\"",
        b"\"attrs\":",
        b"2024-05-14T04:25:24Z",
        b"2024-05-14T04:25:24.497999999Z",
        b"Tue 2024-05-14 06:25:24 CEST",
        b"May 14 06:25:24",
        b"<190>",
        b"1 ",
        b"- ",
        b" stdout P",
        b"web1",
        b" nginx: ",
        b"\x1b[36m",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b"\xff",
        b"\0",
    ];
    prop::collection::vec(prop::sample::select(known), 0..16).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_bytes_have_an_envelope_or_none(line in fragments(), other in any::<Vec<u8>>()) {
        for line in [line, other] {
            let found = LogEnvelope::of(&line);
            for (_, envelope) in LogEnvelope::NAMES {
                let mut text = b"before".to_vec();
                let piece = envelope.open(&line, &mut text);
                prop_assert_eq!(piece.is_some(), envelope.is_around(&line));
                prop_assert!(text.starts_with(b"before"));
                prop_assert!(text.len() <= line.len() + 6);
                if piece.is_none() {
                    prop_assert_eq!(text.len(), 6);
                } else {
                    prop_assert!(found.is_some());
                }
            }
        }
    }

    #[test]
    fn any_text_comes_out_as_it_went_in(text in "[^\r\n]{0,40}", bytes in any::<Vec<u8>>()) {
        for text in [text.into_bytes(), bytes] {
            if memchr::memchr2(b'\n', b'\r', &text).is_some() {
                continue;
            }
            for Wrapper { name, envelope, wrap, .. } in WRAPPERS {
                let mut found = Vec::new();
                let piece = envelope.open(&wrap(&text), &mut found);
                prop_assert_eq!(piece, Some(Piece::WHOLE), "{}", name);
                let text = match envelope {
                    // Blanks, a mark or a color before the text belong to the envelope.
                    LogEnvelope::Syslog | LogEnvelope::Compose => {
                        prop_assert!(text.ends_with(&found), "{}", name);
                        continue;
                    }
                    _ => &text,
                };
                prop_assert_eq!(&found, text, "{}", name);
            }
        }
    }

    #[test]
    fn docker_s_json_is_decoded_like_any_json(log in any::<String>()) {
        let json = serde_json::json!({ "log": log, "time": "2024-05-14T04:25:24Z" }).to_string();
        let mut text = Vec::new();
        let piece = LogEnvelope::Docker.open(json.as_bytes(), &mut text);
        let line = log.strip_suffix('\n').map_or(&log[..], |line| line.strip_suffix('\r').unwrap_or(line));
        let inside = line.strip_suffix('\r').unwrap_or(line);
        prop_assert_eq!(piece.is_some(), !inside.contains(['\n', '\r']));
        if piece.is_some() {
            prop_assert_eq!(String::from_utf8(text).unwrap(), line);
        }
    }
}
