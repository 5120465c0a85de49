//! The fields of each format, the grammar, and that scanner, reader and serde_json agree.

mod mapped;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::format::testing::{mutated_lines, values};

const NGINX: [&str; 4] = [
    r#"{"ip": "203.0.113.9","host": "www.example.com","path": "/index.html?a=1","status": "200","referrer": "-","user_agent": "Mozilla/5.0 (X11)","length": 5120,"generation_time_milli": 0.131,"date": "2024-05-14T06:25:24+02:00"}"#,
    r#"{"ip": "::1", "path": "/b", "status": 404, "date": "2024-05-14T06:25:24Z", "request_id": "abc", "method": "GET", "n": -1.5e3}"#,
    r#"{"ip":"::1","path":"/","status":200,"date":"2024-05-14T06:25:24Z","up":"x","host":"é","userid":"","length":0}"#,
    r#"{"ip": "::1", "path": "/caf\xC3\xA9\u00e9\ud83d\ude00\"", "status": "200", "date": "2024", "o": {"a": [1, {"b": null}], "c": "}"}, "t": true}"#,
];
const TRAEFIK: [&str; 1] = [
    r#"{"ClientAddr": "203.0.113.9:52458", "ClientHost": "203.0.113.9", "ClientUsername": "-", "request_User-Agent": "Mozilla/5.0", "request_Referer": "https://r/", "DownstreamContentSize": 1523, "DownstreamStatus": 200, "Duration": 10002425284, "RequestHost": "www.example.com", "RequestMethod": "GET", "RequestPath": "/app?id=1", "level": "info", "msg": "", "time": "2024-05-14T11:39:31+02:00"}"#,
];
const CADDY: [&str; 1] = [
    r#"{"level": "info", "ts": 1715668174.8155608, "msg": "handled request", "request": {"remote_ip": "203.0.113.1", "client_ip": "203.0.113.9", "method": "GET", "host": "www.example.com", "uri": "/beta/?q=1", "headers": {"User-Agent": ["Mozilla/5.0", "x"], "Referer": ["https://r/"]}}, "user_id": "kim", "duration": 0.001335486, "size": 3609, "status": 200, "resp_headers": {"Server": ["Caddy"]}}"#,
];

type FoundFields = Vec<(&'static str, String)>;

fn format(name: &str, wanted: &Wanted) -> JsonFormat {
    let mut rows = TABLES.iter().zip(BUILT_IN.iter());
    let (table, map) = rows.find(|(table, _)| table.name == name).unwrap();
    JsonFormat::new(table, Arc::clone(map), wanted)
}

/// The lines of the fixture of a format that fit it.
fn fixture_lines(name: &str) -> &'static [Vec<u8>] {
    let log = format!("{}/fixtures/odd/{name}.log", env!("CARGO_MANIFEST_DIR"));
    let log = fs::read(log).unwrap();
    let format = format(name, &Wanted::default());
    let fits = |line: &&[u8]| {
        let fit = format.parse(line, &Bump::new(), &mut Record::default());
        // The long path leaves most edits without an effect.
        fit == Fit::Record && line.len() < 1100
    };
    let lines = log.split(|byte| *byte == b'\n').filter(fits);
    let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    assert!(lines.len() >= 5, "{name}");
    lines.leak()
}

fn recognizes(name: &str, line: &[u8]) -> bool {
    format(name, &Wanted::default()).recognizes(line, &Record::default())
}

/// The fields of a line, and the extra `request_id`.
fn read(name: &str, line: impl AsRef<[u8]>) -> Option<FoundFields> {
    let wanted = Wanted(vec!["request_id".to_owned()]);
    let format = format(name, &wanted);
    let (arena, mut record) = (Bump::new(), Record::default());
    let fit = format.parse(line.as_ref(), &arena, &mut record);
    (fit == Fit::Record).then(|| {
        let mut found = values(&record);
        if let Some(extra) = record.by_name("request_id") {
            found.push(("request_id", String::from_utf8_lossy(extra).into_owned()));
        }
        found
    })
}

fn field(name: &str, line: impl AsRef<[u8]>, wanted: &str) -> Option<String> {
    let found = read(name, line)?.into_iter().find(|(n, _)| *n == wanted)?;
    Some(found.1)
}

/// An nginx line with the required keys and these members.
fn nginx(members: &str) -> String {
    format!(r#"{{"ip": "::1", "path": "/", "status": 200, "date": "2024", {members}}}"#)
}

fn owned(want: &[(&'static str, &str)]) -> Option<FoundFields> {
    Some(
        want.iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
    )
}

#[test]
fn nginx_lines_have_the_request_time_in_seconds() {
    let want = [
        ("ip", "203.0.113.9"),
        ("date", "2024-05-14T06:25:24+02:00"),
        ("path", "/index.html?a=1"),
        ("status", "200"),
        ("length", "5120"),
        ("host", "www.example.com"),
        ("referrer", "-"),
        ("user_agent", "Mozilla/5.0 (X11)"),
        ("generation_time_secs", "0.131"),
    ];
    assert_eq!(read("nginx_json", NGINX[0]), owned(&want));
    let format = format("nginx_json", &Wanted::default());
    assert_eq!(
        format.field("generation_time_milli"),
        Some(Field::GenerationTimeSecs)
    );
    assert_eq!(format.field("host"), Some(Field::Host));
    assert_eq!(format.field("request_id"), None);
    assert!(format.has(Field::Timezone) && !format.has(Field::QueryString));
}

#[test]
fn address_path_status_and_date_are_required() {
    let whole = r#"{"ip": "::1", "path": "/", "status": 200, "date": "2024"}"#;
    assert!(read("nginx_json", whole).is_some());
    for (with, without) in [
        (r#""ip": "::1""#, r#""pi": 1"#),
        (r#""path": "/""#, r#""path": null"#),
        (r#""status": 200"#, r#""status": true"#),
        (r#""date": "2024""#, r#""date": ["2024"]"#),
    ] {
        assert_eq!(
            read("nginx_json", whole.replace(with, without)),
            None,
            "{without}"
        );
    }
}

#[test]
fn objects_arrays_and_booleans_are_extras_but_not_fields() {
    let line =
        nginx(r#""host": {"a": 1}, "referrer": null, "length": false, "request_id": [1, "x"]"#);
    assert_eq!(field("nginx_json", &line, "host"), None);
    assert_eq!(field("nginx_json", &line, "referrer"), None);
    assert_eq!(field("nginx_json", &line, "length"), None);
    assert_eq!(
        field("nginx_json", &line, "request_id").as_deref(),
        Some(r#"[1, "x"]"#)
    );
    let line = nginx(r#""request_id": null"#);
    assert_eq!(field("nginx_json", &line, "request_id"), None);
}

#[test]
fn the_last_of_repeated_keys_wins() {
    let line = nginx(r#""host": "a", "host": "b", "request_id": "a", "request_id": 7"#);
    assert_eq!(field("nginx_json", &line, "host").as_deref(), Some("b"));
    assert_eq!(
        field("nginx_json", &line, "request_id").as_deref(),
        Some("7")
    );
    assert_eq!(read("nginx_json", nginx(r#""ip": null"#)), None);
}

#[test]
fn the_last_of_repeated_objects_wins() {
    let line = CADDY[0];
    let ip = |line: &str| field("caddy_json", line, "ip");
    let with = |request: &str| line.replace("\"user_id\"", &format!("{request}, \"user_id\""));
    let again = with(r#""request": {"remote_ip": "::2", "uri": "/again"}"#);
    assert_eq!(ip(&again).as_deref(), Some("::2"));
    assert_eq!(
        field("caddy_json", &again, "path").as_deref(),
        Some("/again")
    );
    assert_eq!(field("caddy_json", &again, "user_agent"), None);
    assert_eq!(read("caddy_json", with(r#""request": null"#)), None);
}

#[test]
fn traefik_lines_have_the_duration_in_milliseconds() {
    let want = [
        ("ip", "203.0.113.9"),
        ("date", "2024-05-14T11:39:31+02:00"),
        ("path", "/app?id=1"),
        ("status", "200"),
        ("length", "1523"),
        ("host", "www.example.com"),
        ("userid", "-"),
        ("referrer", "https://r/"),
        ("user_agent", "Mozilla/5.0"),
        ("method", "GET"),
        ("generation_time_milli", "10002.425284"),
    ];
    assert_eq!(read("traefik_json", TRAEFIK[0]), owned(&want));
    for (nanoseconds, want) in [
        ("1001000000", Some("1001")),
        ("0", Some("0")),
        ("\"57000000\"", Some("57")),
        ("1e999", None),
        ("\"soon\"", None),
        ("null", None),
    ] {
        let line = TRAEFIK[0].replace("10002425284", nanoseconds);
        let found = field("traefik_json", &line, "generation_time_milli");
        assert_eq!(found.as_deref(), want, "{nanoseconds}");
    }
    let line = TRAEFIK[0].replace("\"level\"", "\"request_id\": \"r\", \"level\"");
    assert_eq!(
        field("traefik_json", &line, "request_id").as_deref(),
        Some("r")
    );
    assert_eq!(
        read(
            "traefik_json",
            TRAEFIK[0].replace("DownstreamStatus", "OriginStatus")
        ),
        None
    );
}

#[test]
fn caddy_lines_have_fields_in_nested_objects() {
    let want = [
        ("ip", "203.0.113.9"),
        ("date", "1715668174.8155608"),
        ("path", "/beta/?q=1"),
        ("status", "200"),
        ("length", "3609"),
        ("host", "www.example.com"),
        ("userid", "kim"),
        ("referrer", "https://r/"),
        ("user_agent", "Mozilla/5.0"),
        ("method", "GET"),
        ("generation_time_secs", "0.001335486"),
    ];
    assert_eq!(read("caddy_json", CADDY[0]), owned(&want));
}

#[test]
fn caddy_lines_may_lack_headers_and_the_client_address() {
    let line = CADDY[0];
    for (with, without) in [
        (
            r#"{"User-Agent": ["Mozilla/5.0", "x"], "Referer": ["https://r/"]}"#,
            "{}",
        ),
        (
            r#"{"User-Agent": ["Mozilla/5.0", "x"], "Referer": ["https://r/"]}"#,
            "null",
        ),
        (
            r#"["Mozilla/5.0", "x"], "Referer": ["https://r/"]"#,
            r#"[], "Referer": 7"#,
        ),
    ] {
        assert!(line.contains(with));
        let changed = line.replace(with, without);
        assert!(read("caddy_json", &changed).is_some());
        assert_eq!(
            field("caddy_json", &changed, "user_agent"),
            None,
            "{without}"
        );
        assert_eq!(field("caddy_json", &changed, "referrer"), None, "{without}");
    }
    let remote = line.replace(r#""client_ip": "203.0.113.9", "#, "");
    assert_eq!(
        field("caddy_json", &remote, "ip").as_deref(),
        Some("203.0.113.1")
    );
    for (key, gone) in [
        ("\"request\"", "\"r\""),
        ("_ip\"", "_ap\""),
        ("\"uri\"", "\"u\""),
    ] {
        assert_eq!(read("caddy_json", line.replace(key, gone)), None, "{gone}");
    }
}

#[test]
fn detection_recognizes_each_format_by_its_keys() {
    let lines = [
        ("nginx_json", NGINX[0]),
        ("traefik_json", TRAEFIK[0]),
        ("caddy_json", CADDY[0]),
    ];
    for (name, _) in lines {
        for (whose, line) in lines {
            assert_eq!(
                recognizes(name, line.as_bytes()),
                name == whose,
                "{name} {whose}"
            );
        }
        assert!(!recognizes(name, b"{broken"));
    }
    let other = br#"{"msg": "started", "level": "info", "time": "2024-05-14T11:39:31Z"}"#;
    assert!(!recognizes("traefik_json", other));
    let old = CADDY[0]
        .replace(
            r#""remote_ip": "203.0.113.1", "client_ip": "203.0.113.9""#,
            r#""remote_addr": "203.0.113.9:5""#,
        )
        .replace(r#", "resp_headers": {"Server": ["Caddy"]}"#, "");
    assert!(
        recognizes("caddy_json", old.as_bytes()),
        "before version 2.5"
    );
    assert_eq!(
        field("caddy_json", &old, "ip").as_deref(),
        Some("203.0.113.9:5")
    );
    assert!(
        !recognizes("nginx_json", NGINX[1].as_bytes()),
        "the line has no referrer"
    );
    assert!(!recognizes(
        "nginx_json",
        &NGINX[0].as_bytes()[..NGINX[0].len() - 1]
    ));
}

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
fn bytes_that_are_not_utf8_are_kept_and_escaped_ones_are_latin_1() {
    let wanted = Wanted::default();
    let (format, arena) = (format("nginx_json", &wanted), Bump::new());
    for (line, path) in [
        (
            &b"{\"ip\": \"1\", \"path\": \"/\xe9\", \"status\": 200, \"date\": \"2024\", \"n\": \"\xff\"}"[..],
            &b"/\xe9"[..],
        ),
        (
            br#"{"ip": "1", "path": "/\xE9", "status": 200, "date": "2024", "n": "\xff\u0041"}"#,
            "/é".as_bytes(),
        ),
        (
            b"{\"\xe9\": {\"\xe9\": \"\xe9\\xE9\"}, \"ip\": \"1\", \"path\": \"/\xe9\", \"status\": 200, \"date\": \"2\"}",
            b"/\xe9",
        ),
    ] {
        let mut record = Record::default();
        assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
        assert_eq!(record.get(Field::Path), Some(path));
    }
}

#[test]
fn numbers_are_kept_as_logged_if_they_are_valid() {
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
fn a_line_that_is_not_exactly_one_object_does_not_fit() {
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
fn deep_nesting_needs_no_stack() {
    let nested = |depth: usize| {
        let (open, close) = (r#"[{"a":"#.repeat(depth), "}]".repeat(depth));
        nginx(&format!(r#""o": {open}1{close}"#))
    };
    assert!(read("nginx_json", nested(64)).is_some());
    assert_eq!(read("nginx_json", nested(65)), None);
    assert_eq!(read("nginx_json", nested(1_000_000)), None);
    assert_eq!(read("nginx_json", "[".repeat(1_000_000)), None);
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn the_scanner_agrees_with_the_reader_on_any_line() {
    let wanted = [
        "request_id",
        "n",
        "up",
        "o",
        "ClientAddr",
        "Duration",
        "request.method",
    ];
    let wanted = Wanted(wanted.map(str::to_owned).to_vec());
    let extras = |record: &Record| -> Vec<_> {
        let names = wanted.0.iter();
        names
            .map(|name| record.by_name(name).map(<[u8]>::to_vec))
            .collect()
    };
    for table in &TABLES {
        let (name, own) = (table.name, fixture_lines(table.name));
        let format = format(name, &wanted);
        let (lines, scanned) = (Cell::new(0), Cell::new(0));
        let outcome = runner().run(&mutated_lines(own), |line| {
            let arena = Bump::new();
            let (mut by_scan, mut by_reader, mut by_all) =
                (Record::default(), Record::default(), Record::default());
            let scanned_fit = format.scan(&line, &arena, &mut by_scan);
            let is_scanned = scanned_fit == Some(Fit::Record);
            let fits = format.read(&line, &arena, &mut by_reader) == Fit::Record;
            assert!(scanned_fit != Some(Fit::Misfit) || !fits);
            let fit = format.parse(&line, &arena, &mut by_all);
            assert_eq!(fit == Fit::Record, fits);
            let all = |record: &Record| (values(record), extras(record));
            if is_scanned {
                assert!(fits);
                assert_eq!(all(&by_scan), all(&by_reader));
            }
            if fits {
                assert_eq!(all(&by_all), all(&by_reader));
            }
            lines.set(lines.get() + 1);
            scanned.set(scanned.get() + u32::from(is_scanned));
            Ok(())
        });
        outcome.unwrap();
        assert!(
            scanned.get() * 10 >= lines.get() * 3,
            "{name}: {} of {}",
            scanned.get(),
            lines.get()
        );
    }
}

#[test]
fn no_mutated_line_panics_and_most_still_fit() {
    for format in formats(&Wanted::default()) {
        let (lines, fitting) = (Cell::new(0), Cell::new(0));
        let own = fixture_lines(format.name());
        let outcome = runner().run(&mutated_lines(own), |line| {
            let (arena, mut record) = (Bump::new(), Record::default());
            let fit = format.parse(&line, &arena, &mut record);
            format.recognizes(&line, &Record::default());
            lines.set(lines.get() + 1);
            fitting.set(fitting.get() + u32::from(fit == Fit::Record));
            Ok(())
        });
        outcome.unwrap();
        assert!(
            fitting.get() * 3 >= lines.get(),
            "{}: {}",
            format.name(),
            fitting.get()
        );
    }
}

/// The members as serde_json values. serde_json parses numbers, objects and arrays.
fn members(line: &[u8]) -> Option<BTreeMap<String, serde_json::Value>> {
    let arena = Bump::new();
    let mut members = Members::of(line, &arena)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = BTreeMap::new();
    for (key, value) in &mut members {
        let value = match value {
            Value::Text(value) => serde_json::Value::String(text(value)),
            Value::Number(raw) | Value::Other(raw) => serde_json::from_slice(raw).unwrap(),
            Value::Null => serde_json::Value::Null,
        };
        found.insert(text(key), value);
    }
    members.ended_well().then_some(found)
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".*".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_that_serde_json_writes_is_read(
        object in proptest::collection::btree_map(".*", any_json(), 0..6),
        pretty in any::<bool>(),
    ) {
        let written = match pretty {
            true => serde_json::to_vec_pretty(&object).unwrap(),
            false => serde_json::to_vec(&object).unwrap(),
        };
        // Parsed again, because serde_json writes NaN and infinity as null.
        let want: BTreeMap<_, _> = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(members(&written), Some(want));
    }

    #[test]
    fn any_object_that_serde_json_reads_is_read_the_same(line in mutated_lines(&CADDY)) {
        if let Ok(want) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&line) {
            prop_assert_eq!(members(&line), Some(want));
        }
    }
}
