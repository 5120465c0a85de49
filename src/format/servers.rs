//! Formats of web hosts, reverse proxies and content delivery networks; see guide/formats.md,
//! "Formats of hosts and proxies".

use super::date::{DateFormat, Strptime};
use super::text::{TextSpec, prefer_forwarded};
use super::{Field, Record};

/// A host may precede the address. Only what looks like an address is one.
const OPENLITESPEED_CLIENT: &str = concat!(
    r"(?:(?P<host>[\w.:*\[\]\x80-\xff-]*)\s+)??",
    r"(?P<ip>\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]*:[0-9a-fA-F]*:[0-9a-fA-F:.]*)"
);

/// The status of the cache, that of the upstream servers, and the one sent. Only the last is always
/// there.
const PROXY_MANAGER_STATUS: &str = r"(?:\S+\s+(?:\S+,\s+)*\S+\s+)?(?P<status>\d+)";
/// Hosts that only redirect have none.
const PROXY_MANAGER_SERVER: &str = r"(?:\s+\[Sent-to [^\]]*\])?";

/// Month/day/year and the time, in the server's time zone.
const IIS_DATE: &str = r"(?P<date>[\d/]+,\s+[\d:]+)";
/// Each value is followed by a comma, and a query may have some, too.
const IIS_QUERY: &str = r"(?P<query_string>\S*),";

/// The formats of this family.
pub static SPECS: [TextSpec; 12] = [
    TextSpec::new(
        "ionos",
        r#"%h %l %u %t "%r" %>s %b %v "%{Referer}i" "%{User-Agent}i" "%{X-Forwarded-For}i""#,
    ),
    TextSpec {
        pieces: &[
            ("statuses", PROXY_MANAGER_STATUS),
            ("server", PROXY_MANAGER_SERVER),
        ],
        ..TextSpec::new(
            "nginx_proxy_manager",
            concat!(
                r#"[$time_local] $statuses - $request_method $scheme $host "$request_uri" "#,
                r#"[Client $remote_addr] [Length $body_bytes_sent] [Gzip $gzip_ratio]$server "#,
                r#""$http_user_agent" "$http_referer""#
            ),
        )
    },
    TextSpec::new(
        "ingress_nginx",
        concat!(
            r#"$remote_addr $identity $remote_user [$time_local] "$request" $status "#,
            r#"$body_bytes_sent "$http_referer" "$http_user_agent" $request_length "#,
            r#"$request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] "#,
            r#"$upstream_addr $upstream_response_length $upstream_response_time "#,
            r#"$upstream_status $req_id"#
        ),
    ),
    TextSpec::new(
        "traefik_clf",
        concat!(
            r#"$remote_addr $identity $remote_user [$time_local] "$request" $status $bytes_sent "#,
            r#""$http_referer" "$http_user_agent" $request_count "$router" "$service_url" "#,
            r#"${generation_time_milli}ms"#
        ),
    ),
    TextSpec {
        pieces: &[("client", OPENLITESPEED_CLIENT)],
        ..TextSpec::new(
            "openlitespeed",
            concat!(
                r#""$client $identity $remote_user [$time_local] "$request" $status $bytes_sent "#,
                r#""$http_referer" "$http_user_agent""#
            ),
        )
    },
    TextSpec {
        recognizes: Some(has_domain),
        may_recognize: Some(has_second_word),
        ..TextSpec::new(
            "lighttpd",
            r#"%h %V %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
        )
    },
    TextSpec {
        begins: Some(begins_with_epoch),
        date_pattern: Some("%s"),
        ..TextSpec::new(
            "squid",
            concat!(
                "escape=none '$msec $generation_time_milli $remote_addr $result/$status ",
                "$bytes_sent $request_method $request_uri $remote_user $hierarchy ",
                "$content_type'"
            ),
        )
    },
    // Referrer and user agent are always empty.
    TextSpec::new(
        "haproxy_clf",
        concat!(
            r#"$remote_addr $identity $remote_user [$time_local] "$request" $status $bytes_sent "#,
            r#""$http_referer" "$http_user_agent" $client_port $fraction "$frontend" "$backend" "#,
            r#""$server" $request_ms $queue_ms $connect_ms $response_ms $generation_time_milli "#,
            r#"$state $connections $frontend_connections $backend_connections "#,
            r#"$server_connections $retries $server_queue $backend_queue "$request_cookie" "#,
            r#""$response_cookie""#
        ),
    ),
    TextSpec {
        date_pattern: Some("%Y-%m-%dT%H:%M:%S.%f%z"),
        ..TextSpec::new(
            "envoy",
            concat!(
                r#"[$time_iso8601] "$request" $status $flags $received_bytes $bytes_sent "#,
                r#"$generation_time_milli $upstream_ms "$http_x_forwarded_for" "#,
                r#""$http_user_agent" "$request_id" "$host" "$upstream_host""#
            ),
        )
    },
    // Requests from within the cluster have no forwarded address.
    TextSpec {
        date_pattern: Some("%Y-%m-%dT%H:%M:%S.%f%z"),
        adjust: Some(prefer_forwarded),
        ..TextSpec::new(
            "istio",
            concat!(
                r#"[$time_iso8601] "$request" $status $flags $details $termination "$failure" "#,
                r#"$received_bytes $bytes_sent $generation_time_milli $upstream_ms "#,
                r#""$http_x_forwarded_for" "$http_user_agent" "$request_id" "$host" "#,
                r#""$upstream_host" $cluster $upstream_local $local $remote_addr:$remote_port "#,
                r#"$requested_name $route"#
            ),
        )
    },
    TextSpec {
        pieces: &[("date", IIS_DATE), ("query", IIS_QUERY)],
        dates: Some(&DateFormat::Strptime(Strptime::IIS)),
        date_pattern: Some("%m/%d/%Y, %H:%M:%S"),
        ..TextSpec::new(
            "iis_native",
            concat!(
                "escape=none '$remote_addr, $remote_user, $date, $service, $computer, ",
                "$server_addr, $generation_time_milli, $received_bytes, $bytes_sent, $status, ",
                "$win32_status, $request_method, $uri, $query'"
            ),
        )
    },
    TextSpec {
        date_pattern: Some("%s"),
        ..TextSpec::new(
            "bunny",
            concat!(
                "escape=none '$cache|$status|$msec|$bytes_sent|$pull_zone|$remote_addr|",
                "$http_referer|$request_uri|$edge|$http_user_agent|$request_id|$country'"
            ),
        )
    },
];

/// In other formats the user that `identd` reports is in the place of the host.
fn has_domain(record: &Record) -> bool {
    let host = record.get(Field::Host).unwrap_or_default();
    host == b"localhost" || (host.contains(&b'.') && host.iter().any(u8::is_ascii_alphabetic))
}

fn has_second_word(line: &[u8]) -> bool {
    let blank = memchr::memchr(b' ', line).unwrap_or(line.len());
    !line[blank..].starts_with(b" - ")
}

/// Whether a line begins with seconds and their fraction.
fn begins_with_epoch(line: &[u8]) -> bool {
    match line.split_first_chunk::<11>() {
        Some(([seconds @ .., b'.'], _)) => seconds.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::Path;

    use bumpalo::Bump;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::testing::{mutated_lines, values};
    use crate::format::text::TextFormat;
    use crate::format::{Fit, Format};

    /// The lines of the format's fixture that fit it.
    fn lines(format: &TextFormat) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/odd");
        let log = fs::read(folder.join(format!("{}.log", format.name()))).unwrap();
        let lines = log.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        let fits = |line: &Vec<u8>| {
            format.parse(line, &Bump::new(), &mut Record::default()) == Fit::Record
        };
        lines.filter(fits).collect()
    }

    #[test]
    fn the_scanner_agrees_with_the_regex_on_any_line() {
        for format in SPECS.iter().map(TextFormat::new) {
            let lines: &'static [Vec<u8>] = lines(&format).leak();
            assert!(lines.len() >= 10, "{}", format.name());
            let (all, scanned) = (Cell::new(0), Cell::new(0));
            let mut runner = TestRunner::new(Config {
                cases: 1000,
                failure_persistence: None,
                ..Config::default()
            });
            let outcome = runner.run(&mutated_lines(lines), |line| {
                let arena = Bump::new();
                let (mut by_regex, mut by_scan) = (Record::default(), Record::default());
                let found = format.search(&line, &arena, &mut by_regex);
                let scan = format.layout().scan(&line, &arena, &mut by_scan);
                if scan.is_some() {
                    assert_eq!(scan, found);
                    assert_eq!(values(&by_scan), values(&by_regex));
                }
                if found.is_some() {
                    assert!(format.layout().may_fit(&line));
                }
                all.set(all.get() + 1);
                scanned.set(scanned.get() + usize::from(scan.is_some()));
                Ok(())
            });
            outcome.unwrap();
            let has_pieces = SPECS
                .iter()
                .any(|spec| spec.name == format.name() && !spec.pieces.is_empty());
            // Squid pads numbers with blanks.
            let needs_regex = has_pieces || format.name() == "squid";
            assert_eq!(
                scanned.get() * 3 < all.get(),
                needs_regex,
                "{}",
                format.name()
            );
        }
    }

    #[test]
    fn a_backslash_is_itself_in_formats_without_escapes() {
        for (name, line, fields) in [
            (
                "iis_native",
                r"192.0.2.7, CORP\nora, 5/14/2024, 6:25:24, W3SVC1, WEB1, 10.0.0.1, 21, 300, 5120, 200, 0, GET, /a\new, x=\t,",
                [
                    ("userid", r"CORP\nora"),
                    ("path", r"/a\new"),
                    ("query_string", r"x=\t"),
                ]
                .as_slice(),
            ),
            (
                "squid",
                r"1715673601.123 12 192.0.2.7 TCP_MISS/200 5120 GET http://h/a\n CORP\bob HIER_NONE/- text/html",
                &[("userid", r"CORP\bob"), ("path", r"http://h/a\n")],
            ),
            (
                "bunny",
                r"MISS|200|1715660724321|5120|1|203.0.113.0|https://r/\t|https://h/\n|DE|C:\\b|id|DE",
                &[
                    ("referrer", r"https://r/\t"),
                    ("path", r"https://h/\n"),
                    ("user_agent", r"C:\\b"),
                ],
            ),
        ] {
            let spec = SPECS.iter().find(|spec| spec.name == name).unwrap();
            let (format, arena, mut record) =
                (TextFormat::new(spec), Bump::new(), Record::default());
            assert_eq!(
                format.parse(line.as_bytes(), &arena, &mut record),
                Fit::Record
            );
            let found = values(&record);
            for (field, value) in fields {
                let value = (*field, (*value).to_owned());
                assert!(found.contains(&value), "{name}: {value:?} in {found:?}");
            }
        }
    }

    #[test]
    fn a_host_of_lighttpd_has_a_dot() {
        let format = SPECS
            .iter()
            .find(|spec| spec.name == "lighttpd")
            .map(TextFormat::new);
        let format = format.unwrap();
        let recognizes = |host: &str| {
            let line = format!(
                r#"::1 {host} - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "-""#
            );
            let (arena, mut record) = (Bump::new(), Record::default());
            assert_eq!(
                format.parse(line.as_bytes(), &arena, &mut record),
                Fit::Record
            );
            format.recognizes(line.as_bytes(), &record)
        };
        for host in ["www.example.com", "localhost", "a.b:8080"] {
            assert!(recognizes(host), "{host}");
        }
        for user in ["-", "frank", "10.0.0.1", ""] {
            assert!(!recognizes(user), "{user}");
        }
    }

    #[test]
    fn lines_of_other_formats_are_refused_before_the_regex() {
        let combined = br#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /a(b) HTTP/1.1" 200 5 "http://r/a,b|c" "Mozilla/5.0 (X11)""#;
        for format in SPECS.iter().map(TextFormat::new) {
            let is_refused = !format.layout().may_fit(combined) || format.name() == "squid";
            assert_eq!(is_refused, format.name() != "lighttpd", "{}", format.name());
        }
        assert!(!begins_with_epoch(combined));
        assert!(begins_with_epoch(b"1715660724.123 "));
    }
}
