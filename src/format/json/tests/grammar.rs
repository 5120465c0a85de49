//! What is JSON to these formats, and what is not.

use super::*;

#[test]
fn strings_are_unescaped() {
    for (written, want) in [
        (r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz"),
        (r"\u00e9\u20AC", "é€"),
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00\ud83dA", "\u{fffd}\u{fffd}A"),
        (r"\ud83d\u0041\ud83d\ud83d\ude00", "\u{fffd}A\u{fffd}😀"),
        (r"caf\xC3\xA9", "café"),
        (r"\x22\x5C\x0A", "\"\\\n"),
        (r"\\xC3\\xA9", r"\xC3\xA9"),
        (r"\\\xC3\xA9", r"\é"),
        ("tab\there", "tab\there"),
    ] {
        let line = nginx(&format!(r#""host": "{written}""#));
        assert_eq!(
            field("nginx_json", &line, "host").as_deref(),
            Some(want),
            "{written}"
        );
    }
    for broken in [
        r"\",
        r"\q",
        r"\x",
        r"\xG0",
        r"\xC",
        r"\u12",
        r"\u12g4",
        r"\ud83d\u1",
    ] {
        let line = nginx(&format!(r#""host": "{broken}""#));
        assert_eq!(read("nginx_json", &line), None, "{broken}");
    }
    let line = nginx(r#""\u0068ost": "x""#);
    assert_eq!(field("nginx_json", &line, "host").as_deref(), Some("x"));
}

#[test]
fn bytes_that_are_no_utf8_stay_as_they_are() {
    let wanted = Wanted::default();
    let (format, arena) = (nginx::NginxJson::new(&wanted), Bump::new());
    for line in [
        &b"{\"ip\": \"1\", \"path\": \"/\xe9\", \"status\": 200, \"date\": \"2024\", \"n\": \"\xff\"}"[..],
        br#"{"ip": "1", "path": "/\xE9", "status": 200, "date": "2024", "n": "\xff\u0041"}"#,
        b"{\"\xe9\": {\"\xe9\": \"\xe9\\xE9\"}, \"ip\": \"1\", \"path\": \"/\xe9\", \"status\": 200, \"date\": \"2\"}",
    ] {
        let mut record = Record::default();
        assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
        assert_eq!(record.get(Field::Path), Some(&b"/\xe9"[..]));
    }
}

#[test]
fn numbers_stand_as_they_are_and_only_numbers_are_numbers() {
    for number in [
        "0",
        "-0",
        "5120",
        "0.131",
        "1.5e3",
        "1E-7",
        "-12.50E+2",
        "NaN",
        "-Infinity",
    ] {
        for line in [
            nginx(&format!(r#""length": {number}"#)),
            nginx(&format!(r#""length" : {number} "#)),
        ] {
            assert_eq!(
                field("nginx_json", &line, "length").as_deref(),
                Some(number)
            );
        }
    }
    for number in [
        "", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x10", "1 2", "nul", "-NaN", "1.e5",
    ] {
        let line = nginx(&format!(r#""length": {number}"#));
        assert_eq!(read("nginx_json", &line), None, "{number}");
    }
}

#[test]
fn what_is_not_one_whole_object_does_not_fit() {
    let whole = NGINX[0];
    assert!(read("nginx_json", format!(" \t{whole} \r")).is_some());
    let odd = [
        "",
        "{}",
        "[1,2]",
        "\"x\"",
        "null",
        "{broken json",
        "{",
        "{\"ip\"",
        "\0\0",
    ];
    let changed = [
        format!("{whole}{whole}"),
        format!("{whole},"),
        format!("[{whole}]"),
        whole.replace('}', ",}"),
        whole.replace("{", "{,"),
        whole.replacen(": ", " ", 1),
        whole.replacen(',', "", 1),
        whole.replacen("\"ip\"", "ip", 1),
        whole.replace('"', "'"),
        nginx(r#""o": [1 2]"#),
        nginx(r#""o": {"a" 1}"#),
        nginx(r#""o": {"a": 1]"#),
        nginx(r#""o": [1,]"#),
        nginx(r#""o": {1: 2}"#),
        nginx(r#""o": {"a": }"#),
    ];
    for line in odd.into_iter().chain(changed.iter().map(String::as_str)) {
        assert_eq!(read("nginx_json", line), None, "{line}");
    }
    for length in 0..whole.len() {
        assert_eq!(read("nginx_json", &whole[..length]), None);
    }
}

#[test]
fn deep_nesting_costs_no_stack() {
    let nested = |depth: usize| {
        let (open, close) = (r#"[{"a":"#.repeat(depth), "}]".repeat(depth));
        nginx(&format!(r#""o": {open}1{close}"#))
    };
    assert!(read("nginx_json", nested(64)).is_some());
    assert_eq!(read("nginx_json", nested(65)), None);
    assert_eq!(read("nginx_json", nested(1_000_000)), None);
    assert_eq!(read("nginx_json", "[".repeat(1_000_000)), None);
}
