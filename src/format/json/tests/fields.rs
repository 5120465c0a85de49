//! Which fields each format finds in its lines, and how its lines are known.

use super::*;

fn owned(want: &[(&'static str, &str)]) -> Option<Found> {
    Some(
        want.iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
    )
}

#[test]
fn nginx_lines_give_their_fields_and_the_request_time_in_seconds() {
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
    assert_eq!(
        nginx::field_of("generation_time_milli"),
        Some(Field::GenerationTimeSecs)
    );
    assert_eq!(nginx::field_of("host"), Some(Field::Host));
    assert_eq!(nginx::field_of("request_id"), None);
}

#[test]
fn only_address_path_status_and_date_are_needed() {
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
fn values_that_are_no_text_are_absent_as_fields_and_raw_as_extras() {
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
fn of_repeated_keys_the_last_wins() {
    let line = nginx(r#""host": "a", "host": "b", "request_id": "a", "request_id": 7"#);
    assert_eq!(field("nginx_json", &line, "host").as_deref(), Some("b"));
    assert_eq!(
        field("nginx_json", &line, "request_id").as_deref(),
        Some("7")
    );
    assert_eq!(read("nginx_json", nginx(r#""ip": null"#)), None);
}

#[test]
fn traefik_lines_give_their_fields_and_the_duration_in_milliseconds() {
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
fn caddy_lines_give_their_fields_also_those_of_the_request() {
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
fn caddy_lines_may_lack_headers_and_the_client() {
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
fn detection_knows_each_format_by_its_keys() {
    let lines = [
        ("nginx_json", NGINX[0]),
        ("traefik_json", TRAEFIK[0]),
        ("caddy_json", CADDY[0]),
    ];
    for (name, _) in lines {
        for (whose, line) in lines {
            assert_eq!(
                recognises(name, line.as_bytes()),
                name == whose,
                "{name} {whose}"
            );
        }
        assert!(!recognises(name, b"{broken"));
    }
    let other = br#"{"msg": "started", "level": "info", "time": "2024-05-14T11:39:31Z"}"#;
    assert!(!recognises("traefik_json", other));
    assert!(
        !recognises("nginx_json", NGINX[1].as_bytes()),
        "it has no referrer"
    );
    assert!(!recognises(
        "nginx_json",
        &NGINX[0].as_bytes()[..NGINX[0].len() - 1]
    ));
    assert!(!recognises("common", NGINX[0].as_bytes()));
}
