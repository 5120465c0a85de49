//! Formats of web hosts, proxies and clouds; see guide/formats.md, "Cloud formats".

use super::date::DateFormat;
use super::text::TextSpec;
use super::{Field, Record};

/// Application load balancers log their type first. The date is in UTC, so what follows the
/// fraction of a second is skipped.
const ELB_DATE: &str = r"(?:\S+\s+)?(?P<date>[\d-]+T[\d:]+)\.\S*";
/// The request is for a whole URL.
const ELB_TARGET: &str = r#""\S+\s+\w+://(?P<host>[^\s/]*):\d+(?P<path>/.*?)\s+\S+""#;
/// An address and its port: an IPv6 address has no brackets.
const IP_PORT: &str = r"(?P<ip>[\w*.:-]+):\d+";

/// The prefix that syslog adds.
const SYSLOG: &str = r"(?:.*?:\s+)??";
const HAPROXY_DATE: &str = r"\[(?P<date>[^\s\].]+)\.\d+\]";
/// Frontend, backend and timers, then the status.
const HAPROXY_STATUS: &str = r".*?\s+(?P<status>\d{3})";
/// With `option logasap` the line is logged before the response ends. A plus marks such lengths.
const HAPROXY_LENGTH: &str = r"(?P<length>[+-]?\d+)";
/// The captured cookies of request and response (`-` if none), then the state of the proxy.
const HAPROXY_STATE: &str = r"\S+\s+\S+.*?";

/// HAProxy cuts a line that is too long, within its last field.
const HAPROXY_END: &str = r#"(?:"|$)"#;

/// The formats of this family.
pub static SPECS: [TextSpec; 5] = [
    TextSpec {
        adjust: Some(drop_bucket),
        ..TextSpec::new(
            "s3",
            concat!(
                r#"$owner $host [$time_local] $remote_addr $remote_user $request_id $operation "#,
                r#"$key "$request" $status $error_code $bytes_sent $object_size $total_time "#,
                r#"$turn_around_time "$http_referer" "$http_user_agent""#
            ),
        )
    },
    TextSpec {
        pieces: &[
            ("elb_date", ELB_DATE),
            ("elb_target", ELB_TARGET),
            ("ip_port", IP_PORT),
        ],
        dates: Some(&DateFormat::IsoSeconds),
        ..TextSpec::new(
            "elb",
            concat!(
                r#"$elb_date $elb $ip_port $backend $request_processing_time "#,
                r#"$generation_time_secs $response_processing_time $status $backend_status "#,
                r#"$received_bytes $bytes_sent $elb_target "$http_user_agent" $cipher $tls"#
            ),
        )
    },
    TextSpec::new(
        "ovh",
        concat!(
            r#"$remote_addr $host $remote_user [$time_local] "$request_without_method" "#,
            r#"$status $bytes_sent "$http_referer" "$http_user_agent""#
        ),
    ),
    TextSpec {
        pieces: &[
            ("syslog", SYSLOG),
            ("ip_port", IP_PORT),
            ("haproxy_date", HAPROXY_DATE),
            ("haproxy_status", HAPROXY_STATUS),
            ("haproxy_length", HAPROXY_LENGTH),
            ("haproxy_state", HAPROXY_STATE),
            ("haproxy_end", HAPROXY_END),
        ],
        ..TextSpec::new(
            "haproxy",
            concat!(
                r#"$syslog$ip_port $haproxy_date $haproxy_status $haproxy_length "#,
                r#"$haproxy_state "$request$haproxy_end"#
            ),
        )
    },
    TextSpec::new(
        "gandi",
        // Times such as `2 s` are captured too, but are not numbers, so the hit has none.
        concat!(
            r#"$host $remote_addr $identity $remote_user [$time_local] ($generation_time_secs) "#,
            r#""$request" $status $bytes_sent "$http_referer" "$http_user_agent""#
        ),
    ),
];

/// Drops the bucket from the path of a path-style request to S3: it is the host already.
fn drop_bucket<'a>(line: &'a [u8], record: &mut Record<'a>) {
    const KEY: usize = 8;
    let bucket = record.get(Field::Host).unwrap_or_default();
    let path = record.get(Field::Path).unwrap_or_default();
    let within = |text: &'a [u8]| {
        let rest = text.strip_prefix(bucket)?;
        matches!(rest.first(), None | Some(b'/' | b'?')).then_some(rest)
    };
    let Some(rest) = path.strip_prefix(b"/").and_then(within) else {
        return;
    };
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    // A virtual host's folder may have the name of the bucket. Then its key begins with it, too.
    let key = words.nth(KEY).unwrap_or_default();
    if within(key).is_none() {
        record.set(Field::Path, if rest.is_empty() { b"/" } else { rest });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bumpalo::Bump;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::testing::{mutated_lines, values};
    use crate::format::text::TextFormat;
    use crate::format::{Fit, Format, Record};

    const S3: [&str; 2] = [
        r#"b659b576cff1e15e4c www.example.com [14/May/2024:06:42:07 +0000] 203.0.113.9 arn:aws:iam::1:user/joe EB35 WEBSITE.GET.OBJECT index.html "GET /index.html?x=1 HTTP/1.1" 200 - 368 369 10 9 "-" "Mozilla/5.0 (X11)""#,
        r#"b659b576cff1e15e4c my_bucket [14/May/2024:06:43:07 +0000] 203.0.113.10 - EB36 WEBSITE.GET.OBJECT key "GET /key HTTP/1.1" 404 NoSuchKey 297 - 38 - "https://r.example.net/" "M "5" 0" -"#,
    ];
    const ELB: [&str; 3] = [
        r#"2024-05-14T23:39:43.945958Z my-lb 203.0.113.9:2817 10.0.0.1:80 0.000086 0.001048 0.001337 200 201 1 57 "GET https://www.example.com:443/path/index.html?a=b HTTP/1.1" "Mozilla/5.0 (X11)" DHE-RSA-AES128-SHA TLSv1.2"#,
        r#"https 2024-05-14T23:39:43.945958Z app/my-lb/50dc 2001:db8::9:2817 - 0.086 0.048 0.037 200 200 0 57 "GET https://www.example.com:443/ HTTP/1.1" "Mozilla/5.0" ECDHE TLSv1.2 arn:aws:x "Root=1" "-" "-" 0"#,
        r#"2024-05-14T23:39:44.945958Z my-lb 203.0.113.10:2817 10.0.0.1:80 0.001069 0.000028 0.000041 - - 82 305 "- - - " "-" - -"#,
    ];
    const OVH: [&str; 2] = [
        r#"203.0.113.9 www.example.com alice [14/May/2024:06:42:07 -0500] "GET /a?b=c HTTP/1.1" 200 368 "-" "Mozilla/5.0""#,
        r#"203.0.113.10 www.example.com:80 - [14/May/2024:06:42:09 -0500] "GET / HTTP/1.1" 301 - "https://r.example.net/" "M""#,
    ];
    const HAPROXY: [&str; 2] = [
        r#"May 14 06:05:27 lb1 haproxy[6801]: 2001:db8::9:55008 [14/May/2024:06:05:27.584] ft_https~ bk_https/web1 0/0/0/72/72 200 7456 - - ---- 5/4/0/1/0 0/0 "GET /user/?id=3 HTTP/1.1""#,
        r#"May 14 06:05:28 lb1 haproxy[6801]: 203.0.113.10:55009 [14/May/2024:06:05:28.001] ft_https~ bk_https/web1 0/0/0/72/72 503 212 - - SC-- 5/4/0/1/0 0/0 {a: b|c} "POST /user/ x HTTP/1.1""#,
    ];
    const GANDI: [&str; 2] = [
        r#"www.example.com 203.0.113.9 - alice [14/May/2024:06:42:07 -0500] (2 s) "GET /a HTTP/1.1" 200 368 "-" "Mozilla/5.0""#,
        r#"www.example.com 203.0.113.10 - - [14/May/2024:06:42:08 -0500] (0.25) "GET /b?c=d HTTP/1.1" 200 1124 "https://r/" "M""#,
    ];

    fn lines(name: &str) -> &'static [&'static str] {
        match name {
            "s3" => &S3,
            "elb" => &ELB,
            "ovh" => &OVH,
            "haproxy" => &HAPROXY,
            _ => &GANDI,
        }
    }

    fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
        let format = SPECS
            .iter()
            .find(|spec| spec.name == name)
            .map(TextFormat::new);
        let (format, arena, mut record) = (format.unwrap(), Bump::new(), Record::default());
        let fit = format.parse(line.as_bytes(), &arena, &mut record);
        let found = (fit == Fit::Record).then(|| values(&record))?;
        assert_eq!(
            found.len(),
            format.fields().len(),
            "every field is set: {line}"
        );
        Some(found)
    }

    fn field(name: &str, line: &str, wanted: &str) -> Option<String> {
        let found = read(name, line)?.into_iter().find(|(n, _)| *n == wanted)?;
        Some(found.1)
    }

    fn check(name: &str, line: &str, want: &[(&str, &str)]) {
        for (wanted, value) in want {
            let found = field(name, line, wanted);
            assert_eq!(found.as_deref(), Some(*value), "{name} {wanted}");
        }
    }

    #[test]
    fn s3_takes_the_bucket_as_host_and_the_bytes_sent_as_length() {
        check(
            "s3",
            S3[0],
            &[
                ("host", "www.example.com"),
                ("date", "14/May/2024:06:42:07"),
                ("timezone", "+0000"),
                ("ip", "203.0.113.9"),
                ("userid", "arn:aws:iam::1:user/joe"),
                ("method", "GET"),
                ("path", "/index.html?x=1"),
                ("status", "200"),
                ("length", "368"),
                ("referrer", "-"),
                ("user_agent", "Mozilla/5.0 (X11)"),
            ],
        );
        check(
            "s3",
            S3[1],
            &[("status", "404"), ("length", "297"), ("host", "my_bucket")],
        );
    }

    #[test]
    fn s3_does_not_repeat_the_bucket_of_a_path_style_request() {
        let path = |bucket: &str, key: &str, path: &str| {
            let line = S3[1].replace(" my_bucket ", &format!(" {bucket} "));
            let line = line
                .replace(" key ", &format!(" {key} "))
                .replace("/key ", path);
            field("s3", &line.replace("HTTP", " HTTP"), "path").unwrap()
        };
        assert_eq!(path("b", "a/x.txt", "/b/a/x.txt?v=1"), "/a/x.txt?v=1");
        assert_eq!(path("b", "-", "/b?list-type=2"), "?list-type=2");
        assert_eq!(path("b", "-", "/b"), "/");
        assert_eq!(path("b", "x", "/bb/x"), "/bb/x");
        assert_eq!(
            path("b", "b/x", "/b/x"),
            "/b/x",
            "a folder of a virtual host"
        );
    }

    #[test]
    fn elb_takes_classic_and_application_load_balancers() {
        check(
            "elb",
            ELB[0],
            &[
                ("date", "2024-05-14T23:39:43"),
                ("ip", "203.0.113.9"),
                ("generation_time_secs", "0.001048"),
                ("status", "200"),
                ("length", "57"),
                ("host", "www.example.com"),
                ("path", "/path/index.html?a=b"),
                ("user_agent", "Mozilla/5.0 (X11)"),
            ],
        );
        check(
            "elb",
            ELB[1],
            &[
                ("date", "2024-05-14T23:39:43"),
                ("ip", "2001:db8::9"),
                ("generation_time_secs", "0.048"),
                ("path", "/"),
                ("user_agent", "Mozilla/5.0"),
            ],
        );
        assert_eq!(read("elb", ELB[2]), None, "a connection without a request");
    }

    #[test]
    fn ovh_has_no_method_and_perhaps_a_port() {
        check(
            "ovh",
            OVH[0],
            &[
                ("ip", "203.0.113.9"),
                ("host", "www.example.com"),
                ("userid", "alice"),
                ("date", "14/May/2024:06:42:07"),
                ("timezone", "-0500"),
                ("path", "/a?b=c"),
                ("status", "200"),
                ("length", "368"),
                ("referrer", "-"),
                ("user_agent", "Mozilla/5.0"),
            ],
        );
        check(
            "ovh",
            OVH[1],
            &[("host", "www.example.com:80"), ("length", "-")],
        );
    }

    #[test]
    fn haproxy_addresses_have_a_port_also_ipv6() {
        check(
            "haproxy",
            HAPROXY[0],
            &[
                ("ip", "2001:db8::9"),
                ("date", "14/May/2024:06:05:27"),
                ("status", "200"),
                ("length", "7456"),
                ("method", "GET"),
                ("path", "/user/?id=3"),
            ],
        );
        check(
            "haproxy",
            HAPROXY[1],
            &[
                ("ip", "203.0.113.10"),
                ("status", "503"),
                ("length", "212"),
                ("path", "/user/ x"),
            ],
        );
    }

    #[test]
    fn haproxy_finds_the_status_whatever_cookies_were_captured() {
        for cookies in [
            "- -",
            "SID=abc -",
            "- SID=abc",
            "SID=abc SID=404",
            "404 200",
        ] {
            let line = HAPROXY[0].replace(" - - ", &format!(" {cookies} "));
            check("haproxy", &line, &[("status", "200"), ("length", "7456")]);
        }
        let early = HAPROXY[0].replace(" 7456 ", " +7456 ");
        check("haproxy", &early, &[("status", "200"), ("length", "+7456")]);
    }

    #[test]
    fn haproxy_needs_no_prefix_and_may_cut_the_request() {
        let plain = HAPROXY[0].split_once("]: ").unwrap().1;
        check(
            "haproxy",
            plain,
            &[("ip", "2001:db8::9"), ("path", "/user/?id=3")],
        );
        let cut = plain.split_once(" HTTP/1.1").unwrap().0;
        check(
            "haproxy",
            cut,
            &[("method", "GET"), ("path", "/user/?id=3")],
        );
    }

    #[test]
    fn gandi_takes_the_text_in_parentheses_as_seconds() {
        check(
            "gandi",
            GANDI[0],
            &[
                ("host", "www.example.com"),
                ("ip", "203.0.113.9"),
                ("userid", "alice"),
                ("generation_time_secs", "2 s"),
                ("path", "/a"),
                ("user_agent", "Mozilla/5.0"),
            ],
        );
        check(
            "gandi",
            GANDI[1],
            &[("generation_time_secs", "0.25"), ("length", "1124")],
        );
    }

    #[test]
    fn no_format_fits_the_lines_of_another() {
        for format in &SPECS {
            for line in SPECS
                .iter()
                .filter(|spec| spec.name != format.name)
                .flat_map(|spec| lines(spec.name))
            {
                assert_eq!(read(format.name, line), None, "{}: {line}", format.name);
            }
        }
    }

    #[test]
    fn no_mutated_line_panics_and_most_still_fit() {
        for format in SPECS.iter().map(TextFormat::new) {
            let (arena, total, fitting) = (Bump::new(), Cell::new(0), Cell::new(0));
            let own = match lines(format.name()) {
                elb if elb.len() == ELB.len() => &elb[..2],
                own => own,
            };
            let mut runner = TestRunner::new(Config {
                cases: 1000,
                failure_persistence: None,
                ..Config::default()
            });
            let outcome = runner.run(&mutated_lines(own), |line| {
                let mut record = Record::default();
                let fit = format.parse(&line, &arena, &mut record);
                total.set(total.get() + 1);
                fitting.set(fitting.get() + u32::from(fit == Fit::Record));
                Ok(())
            });
            outcome.unwrap();
            assert!(
                fitting.get() * 3 >= total.get(),
                "{}: {}",
                format.name(),
                fitting.get()
            );
        }
    }

    #[test]
    fn the_python_regex_names_every_field_once() {
        for format in SPECS.iter().map(TextFormat::new) {
            let regex = format.regex().unwrap();
            for field in format.fields() {
                let group = format!("(?P<{}>", field.name());
                assert_eq!(regex.matches(&group).count(), 1, "{regex}");
            }
            assert_eq!(regex.matches("(?P<").count(), format.fields().len());
        }
    }
}
