use std::cell::Cell;

use bumpalo::Bump;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::format::testing::{mutated_lines, values};
use crate::format::text::TextFormat;
use crate::format::{Fit, Format, Record};

fn pasted(typed: &str) -> TextFormat {
    TextFormat::pasted(typed, &Wanted::default()).unwrap_or_else(|error| panic!("{typed}: {error}"))
}

/// The fields of a line. Asserts that the regex alone finds the same.
fn read(typed: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
    let (format, arena) = (pasted(typed), Bump::new());
    let (mut by_regex, mut by_all) = (Record::default(), Record::default());
    let line = line.as_bytes();
    let found = format.search(line, &arena, &mut by_regex);
    let scanned = format.layout().scan(line, &arena, &mut by_all);
    if scanned.is_some() {
        assert_eq!(scanned, found, "{typed}");
        assert_eq!(values(&by_all), values(&by_regex), "{typed}");
    }
    let mut record = Record::default();
    let fit = format.parse(line, &arena, &mut record);
    assert_eq!(fit == Fit::Record, found.is_some(), "{typed}");
    let time = format.dates().read(&record);
    (fit == Fit::Record && time.is_some()).then(|| values(&record))
}

#[track_caller]
fn assert_read(typed: &str, line: &str, expected: &[(&str, &str)]) {
    let found = read(typed, line).unwrap_or_else(|| panic!("{typed} does not read {line}"));
    for (field, value) in expected {
        let found = found.iter().find(|(name, _)| name == field);
        let found = found.map(|(_, value)| value.as_str());
        assert_eq!(found, Some(*value), "{field} of {typed}");
    }
}

fn error(typed: &str) -> String {
    let error = TextFormat::pasted(typed, &Wanted::default()).unwrap_err();
    error.to_string()
}

const COMBINED: &str = r#"203.0.113.9 - al [14/May/2024:06:25:24 +0200] "GET /a?b=c HTTP/1.1" 200 5120 "https://r.example/" "Mozilla/5.0 (X11)" 1234"#;

#[test]
fn a_whole_directive_or_its_text_is_read() {
    let want = [
        ("ip", "203.0.113.9"),
        ("userid", "al"),
        ("date", "14/May/2024:06:25:24"),
        ("timezone", "+0200"),
        ("method", "GET"),
        ("path", "/a?b=c"),
        ("status", "200"),
        ("length", "5120"),
        ("referrer", "https://r.example/"),
        ("user_agent", "Mozilla/5.0 (X11)"),
    ];
    let apache = r#"%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i""#;
    let escaped = apache.replace('"', "\\\"");
    let nginx = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;
    let (begin, end) = nginx.split_at(nginx.find(" $status").unwrap());
    for typed in [
        apache.to_owned(),
        escaped.clone(),
        format!("\"{escaped}\""),
        format!("LogFormat \"{escaped}\" combined"),
        format!("  LogFormat '{apache}' combined\n"),
        format!("logformat \"{escaped}\""),
        format!("CustomLog \"logs/access log\" \"{escaped}\" env=!dontlog"),
        format!("CustomLog ${{APACHE_LOG_DIR}}/access.log \"{escaped}\""),
        format!("GlobalLog logs/access_log \"{escaped}\""),
        format!("accesslog.format = \"{escaped}\""),
        format!("accesslog.format=\"{escaped}\""),
        format!("# 100%\n<IfModule mod_log_config.c>\n  LogFormat \"{escaped}\" combined\n"),
        format!("# The format\n\n{apache}"),
        format!(
            "LogFormat {}",
            format!("\"{escaped}\"").replace(" %u", " \\\n    %u")
        ),
        format!(
            "LogFormat {}",
            format!("\"{escaped}\"").replace(" %u", " \\\r\n%u")
        ),
        nginx.to_owned(),
        format!("{nginx}\n"),
        format!("'{nginx}'"),
        format!("log_format main '{nginx}';"),
        format!("log_format  main  escape=default\n  '{begin}'\n  '{end}' ;"),
        format!("'{begin}' # first\n    '{end}';"),
        format!("main '{begin}'\n'{end}';"),
        format!("log_format main \"{}\";", nginx.replace('"', "\\\"")),
        format!("\"{}\"", nginx.replace('"', "\\\"")),
        format!("escape=default '{nginx}'"),
        nginx.replace("$status", "${status}"),
        format!("# log_format old '$status';\nlog_format main '{nginx}';"),
        format!("http {{\n  # it's here\n  sendfile on;\n  log_format main '{nginx}';\n}}"),
        format!("http {{ log_format main '{nginx}'; }}"),
        format!("# The format\n'{nginx}'"),
    ] {
        assert_read(&typed, COMBINED, &want);
    }
}

#[test]
fn a_user_agent_at_the_end_of_a_line_has_its_commas_and_semicolons() {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) (KHTML, like Gecko)";
    for delimiter in [";", ","] {
        let typed = ["%h", "%t", "%U", "%>s", "%{User-Agent}i"].join(delimiter);
        let values = ["::1", "[14/May/2024:06:25:24 +0200]", "/a", "200", agent];
        let line = values.join(delimiter);
        assert_read(&typed, &line, &[("path", "/a"), ("user_agent", agent)]);
        let more = typed.replace("%{User-Agent}i", "%b");
        let line = line.replace(agent, &["5", "more"].join(delimiter));
        assert_read(&more, &line, &[("length", "5")]);
    }
}

#[test]
fn copies_of_variables_count_if_their_names_say_so() {
    let line = r#"203.0.113.9 [14/May/2024:06:25:24 +0200] "GET /a?b=[FILTERED] HTTP/1.1" 200 "r""#;
    let typed = r#"$the_real_ip [$time_local] "$request_method $gitlab_filtered_request_uri $server_protocol" $status "$filtered_http_referer""#;
    assert_read(
        typed,
        line,
        &[
            ("ip", "203.0.113.9"),
            ("method", "GET"),
            ("path", "/a?b=[FILTERED]"),
            ("referrer", "r"),
        ],
    );
    let both = r#"[$time_local] $remote_addr $clean_request_uri $request_uri $status"#;
    let line = "[14/May/2024:06:25:24 +0200] 203.0.113.9 /a /a?b 200";
    assert_read(both, line, &[("path", "/a?b")]);
    let hint = "write the name of the field in its place: $path, $status or $ip";
    let own = error(r#"$remote_addr [$time_local] $my_path $status"#);
    assert!(
        own.contains("no path (such as $request)") && own.contains(hint),
        "{own}"
    );
    assert_read(
        r#"$remote_addr [$time_local] $path $status"#,
        "::1 [14/May/2024:06:25:24 +0200] /a 200",
        &[("path", "/a")],
    );
}

#[test]
fn a_name_has_no_variables() {
    assert_eq!(Language::of("combined"), None);
    assert_eq!(Language::of("%h"), Some(Language::Apache));
    assert_eq!(Language::of("$host"), Some(Language::Nginx));
    assert_eq!(
        Language::of("CustomLog ${D}/a %h %t"),
        Some(Language::Apache)
    );
    assert_eq!(Language::of("$a $b 100%"), Some(Language::Nginx));
}

#[test]
fn variables_of_apache_have_modifiers() {
    assert_read(
        r#"%!401,304{Referer}i %400,501{User-agent}i|%a %t %m %U%q %H %<s %>s 100%% %^FB %{c}a"#,
        r#"https://r.example/ X 1|203.0.113.9 [14/May/2024:06:25:24 +0200] GET /a?b HTTP/1.1 301 200 100% 5 10.0.0.1"#,
        &[
            ("referrer", "https://r.example/"),
            ("user_agent", "X 1"),
            ("ip", "203.0.113.9"),
            ("method", "GET"),
            ("path", "/a?b"),
            ("status", "200"),
        ],
    );
}

#[test]
fn hosts_and_addresses_may_have_a_port() {
    let rest = r#"%t "%r" %>s"#;
    let line = r#"[14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200"#;
    assert_read(
        &format!("%v:%p %a {rest}"),
        &format!("www.example.com:443 203.0.113.9 {line}"),
        &[("host", "www.example.com:443"), ("ip", "203.0.113.9")],
    );
    assert_read(
        &format!("%a:%{{remote}}p {rest}"),
        &format!("2001:db8::9:2817 {line}"),
        &[("ip", "2001:db8::9")],
    );
    assert_read(
        r#"$remote_addr:$remote_port $http_host:$server_port [$time_local] "$request" $status"#,
        &format!("203.0.113.9:99 www.example.com:81 {line}"),
        &[("host", "www.example.com:81"), ("ip", "203.0.113.9")],
    );
}

#[test]
fn the_best_variable_of_a_field_counts() {
    assert_read(
        r#"$server_name $http_host $host $remote_addr $http_x_real_ip [$time_local] "$request" "$uri" $status $upstream_status $upstream_response_time $request_time"#,
        r#"_ h.example:80 h.example 203.0.113.9 10.0.0.1 [14/May/2024:06:25:24 +0200] "GET /a HTTP/1.1" "/index.php" 200 502, 200 0.001, 0.200 0.250"#,
        &[
            ("host", "h.example"),
            ("ip", "203.0.113.9"),
            ("path", "/a"),
            ("status", "200"),
            ("generation_time_secs", "0.250"),
        ],
    );
}

#[test]
fn the_address_that_comes_first_counts() {
    let typed = r#"%{X-Forwarded-For}i %h %l %u %t "%r" %>s %b"#;
    let line = |forwarded: &str| {
        format!(r#"{forwarded} 10.0.0.1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#)
    };
    let list = "203.0.113.9, 198.51.100.7";
    assert_read(
        typed,
        &line(list),
        &[("ip", list), ("x_forwarded_for", list)],
    );
    assert_read(
        typed,
        &line("-"),
        &[("ip", "10.0.0.1"), ("x_forwarded_for", "-")],
    );
    let last = r#"%h %l %u %t "%r" %>s %b "%{X-Forwarded-For}i""#;
    let line = r#"10.0.0.1 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "203.0.113.9""#;
    assert_read(
        last,
        line,
        &[("ip", "10.0.0.1"), ("x_forwarded_for", "203.0.113.9")],
    );
    let only = r#"%{X-Forwarded-For}i %t "%r" %>s"#;
    let line = r#"203.0.113.9 [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200"#;
    assert_read(only, line, &[("ip", "203.0.113.9")]);
}

#[test]
fn dates_are_read_however_they_are_written() {
    use chrono::DateTime;
    for (typed, written) in [
        ("%t", "[14/May/2024:06:25:24 +0200]"),
        ("[%{%d/%b/%Y:%H:%M:%S %z}t]", "[14/May/2024:06:25:24 +0200]"),
        (
            "[%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t]",
            "[14/May/2024 06:25:24.123 +0200]",
        ),
        ("%{%Y-%m-%dT%H:%M:%S%z}t", "2024-05-14T06:25:24+0200"),
        (
            "%{begin:%Y-%m-%d %H:%M:%S}t.%{begin:msec_frac}t %{begin:%z}t",
            "2024-05-14 06:25:24.5 +0200",
        ),
        ("\"%{%F %T %z}t\"", "\"2024-05-14 06:25:24 +0200\""),
        ("%{%a %b %e %T %Y %z}t", "Tue May 14 06:25:24 2024 +0200"),
        (
            "%{%m/%d/%y}t;%{%I:%M:%S %p}t;%{%z}t",
            "05/14/24;06:25:24 AM;+0200",
        ),
        ("%{sec}t", "1715660724"),
        ("%{sec}t.%{usec_frac}t", "1715660724.000123"),
        ("%{msec}t", "1715660724815"),
        ("%{end:usec}t", "1715660724815123"),
        ("%t %{msec}t", "[14/May/2024:06:25:24 +0200] 1715660724815"),
    ] {
        let typed = format!(r#"{typed} %h "%r" %>s"#);
        let line = format!(r#"{written} ::1 "GET / HTTP/1.1" 200"#);
        assert_read(&typed, &line, &[("ip", "::1"), ("status", "200")]);
        let (format, arena, mut record) = (pasted(&typed), Bump::new(), Record::default());
        format.parse(line.as_bytes(), &arena, &mut record);
        let moment = format.dates().read(&record).unwrap();
        let utc = moment.local - i64::from(moment.offset.unwrap());
        let want = DateTime::parse_from_rfc3339("2024-05-14T06:25:24+02:00").unwrap();
        assert_eq!(utc, want.timestamp(), "{typed}");
        assert!(format.has(Field::Timezone), "{typed}");
        // What is printed of the format reads the same date, with the offset if it is apart.
        let pattern = Strptime::new(format.date_pattern().unwrap()).unwrap();
        let mut date = record.get(Field::Date).unwrap().to_vec();
        if let Some(time) = record.get(Field::Time) {
            date.extend([b" ", time].concat());
        }
        let date = pattern.read(&date).unwrap();
        assert_eq!(date.local, moment.local, "{typed}");
    }
    for (typed, written) in [
        ("$time_iso8601", "2024-05-14T06:25:24+02:00"),
        ("$msec", "1.5"),
    ] {
        assert_read(
            &format!("{typed} $remote_addr $request_uri $status"),
            &format!("{written} ::1 / 200"),
            &[("date", written)],
        );
    }
}

#[test]
fn a_request_may_be_in_parts() {
    for (typed, line, want) in [
        (
            r#""$request_method $scheme://$host$request_uri $server_protocol""#,
            r#""GET https://h.example/a?b HTTP/2.0""#,
            &[
                ("path", "/a?b"),
                ("host", "h.example"),
                ("scheme", "https"),
                ("method", "GET"),
            ][..],
        ),
        (
            "$scheme|$host|$uri$is_args$args|",
            "http|h.example|/a b?c|",
            &[("path", "/a b?c"), ("scheme", "http")],
        ),
        (
            "$uri?$args",
            "/a?b=c",
            &[("path", "/a"), ("query_string", "b=c")],
        ),
        ("$uri $args", "/a ", &[("path", "/a"), ("query_string", "")]),
        ("$request_uri", "/caf\\xC3\\xA9", &[("path", "/café")]),
    ] {
        let typed = format!("$remote_addr [$time_local] $status {typed} $body_bytes_sent");
        let line = format!("::1 [14/May/2024:06:25:24 +0200] 200 {line} 77");
        assert_read(&typed, &line, want);
        assert_read(&typed, &line, &[("length", "77")]);
    }
    assert_read(
        "%h %t %m %U %q %>s",
        "::1 [14/May/2024:06:25:24 +0200] GET /a ?b=c 200",
        &[("path", "/a"), ("query_string", "b=c")],
    );
    assert_read(
        "%h %t %U %q %>s",
        "::1 [14/May/2024:06:25:24 +0200] /a  200",
        &[("path", "/a"), ("query_string", "")],
    );
    assert_read(
        "%h %t %r %>s",
        "::1 [14/May/2024:06:25:24 +0200] GET /a b HTTP/1.1 200",
        &[("path", "/a b"), ("method", "GET")],
    );
}

#[test]
fn any_text_separates_values() {
    let want = [
        ("ip", "203.0.113.9"),
        ("path", "/a b"),
        ("user_agent", "Mozilla/5.0 (X11)"),
        ("status", "200"),
    ];
    for separator in ["\t", "|", " ;; ", ";"] {
        let typed = "%h~%t~%U%q~%>s~%{User-Agent}i".replace('~', separator);
        let line = "203.0.113.9~[14/May/2024:06:25:24 +0200]~/a b~200~Mozilla/5.0 (X11)";
        let line = line.replace('~', separator);
        if separator == " ;; " {
            continue;
        }
        assert_read(&typed, &line, &want);
    }
    assert_read(
        r"%h\t%t\t%U%q\t%>s\t%{User-Agent}i\t%D",
        "203.0.113.9\t[14/May/2024:06:25:24 +0200]\t/a b\t200\tMozilla/5.0 (X11)\t99",
        &want,
    );
    assert_read(
        r#"<%h> at (%t): "%U%q" = %>s, %{User-Agent}i, took %{ms}T ms"#,
        r#"<203.0.113.9> at ([14/May/2024:06:25:24 +0200]): "/a b" = 200, Mozilla/5.0 (X11), took 7 ms and more"#,
        &want,
    );
}

#[test]
fn objects_of_json_are_read_with_their_escapes_undone() {
    let object = r#"{"ip":"$remote_addr","t":"$time_iso8601","req":"$request","st":$status,"size":$body_bytes_sent,"ref":"$http_referer","ua":"$http_user_agent","rt":$request_time}"#;
    let line = r#"{"ip":"2001:db8::9","t":"2024-05-14T06:25:24+02:00","req":"GET /a?q=\"x\" HTTP/2.0","st":304,"size":0,"ref":"","ua":"M \"5\" caf\u00e9 \\ \/","rt":0.012}"#;
    for typed in [
        object.to_owned(),
        format!("log_format j escape=json '{object}';"),
    ] {
        assert_read(
            &typed,
            line,
            &[
                ("ip", "2001:db8::9"),
                ("path", "/a?q=\"x\""),
                ("status", "304"),
                ("length", "0"),
                ("referrer", ""),
                ("user_agent", r#"M "5" café \ /"#),
                ("generation_time_secs", "0.012"),
            ],
        );
    }
    let raw = r#"log_format r escape=none '$remote_addr $time_iso8601 "$request_uri" $status';"#;
    let line = r#"::1 2024-05-14T06:25:24Z "/\x41" 200"#;
    assert_read(raw, line, &[("path", r"/\x41")]);
}

#[test]
fn other_variables_are_extras_if_they_are_wanted() {
    let wanted = Wanted(vec!["X-Id".to_owned(), "upstream_addr".to_owned()]);
    let read = |typed: &str, line: &'static str, name: &str| {
        let format = TextFormat::pasted(typed, &wanted).unwrap();
        let (arena, mut record) = (Bump::new(), Record::default());
        assert_eq!(
            format.parse(line.as_bytes(), &arena, &mut record),
            Fit::Record
        );
        let extra = record.extra(name);
        extra.map(|it| String::from_utf8(it.to_vec()).unwrap())
    };
    let typed = r#"%h %t "%r" %>s "%{x-id}o" %{other}n"#;
    let line = r#"::1 [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 "a \"b\"" c"#;
    assert_eq!(read(typed, line, "X-Id").as_deref(), Some("a \"b\""));
    assert_eq!(read(typed, line, "other"), None);
    let typed = "$remote_addr $msec $request_uri $status $upstream_addr $pipe";
    let line = "::1 1715660724.815 / 200 10.0.0.1:80, 10.0.0.2:80 : 10.0.0.3:80 p";
    let addresses = "10.0.0.1:80, 10.0.0.2:80 : 10.0.0.3:80";
    assert_eq!(
        read(typed, line, "upstream_addr").as_deref(),
        Some(addresses)
    );
    let format = TextFormat::pasted(typed, &wanted).unwrap();
    assert_eq!(format.field("request_uri"), Some(Field::Path));
    assert_eq!(format.field("path"), Some(Field::Path));
    assert!(format.regex().unwrap().contains("(?P<upstream_addr>"));
}

#[test]
fn an_error_says_what_is_missing_or_where_the_text_is_wrong() {
    for (typed, words) in [
        (
            "%h",
            &[
                "no date (such as %t)",
                "no status (such as %>s)",
                "no path (such as %r)",
            ][..],
        ),
        ("%t %r %>s", &["no address (such as %h)"]),
        (
            "$remote_addr $request $status",
            &["no date (such as $time_local)"],
        ),
        (
            "%h %t \"%r\" %>s %c %G",
            &["character 19", "no variable %G"],
        ),
        ("%h %t \"%r\" %>s %^zz", &["no variable %^zz"]),
        ("%h %t \"%r\" %>s %{x", &["character 17", "not closed"]),
        ("%h %t \"%r\" %>s %{h}T", &["no unit"]),
        ("%h %t \"%r\" %>s 10%", &["letter is missing"]),
        (
            "%h%u %t \"%r\" %>s",
            &["character 3", "nothing separates %h from %u"],
        ),
        (
            "%h %{%Y-%m-%d %Q}t \"%r\" %>s",
            &["character 4", "%Q is not a directive"],
        ),
        (
            "$remote_addr$status",
            &["nothing separates $remote_addr from $status"],
        ),
        ("$remote_addr ${status", &["character 14", "not closed"]),
        ("cost: 5 $", &["name is missing"]),
        (
            "log_format x '$remote_addr",
            &["character 14", "not closed"],
        ),
        ("log_format x escape=xml '$status'", &["escape=json"]),
    ] {
        let error = error(typed);
        assert!(error.starts_with("--log-format"), "{error}");
        for words in words {
            assert!(error.contains(words), "{typed}: {error}");
        }
    }
}

/// The rows of the table in the guide, as (configuration, option, what is read).
fn guide_rows() -> Vec<(String, String, String)> {
    let text = include_str!("../../guide/formats.md");
    let section = text.split("## Your server's log format").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [configuration, option, read] = cells[..] else {
            panic!("{row}");
        };
        let option = code(option);
        let text = option.strip_prefix("--log-format='").unwrap();
        let text = text.strip_suffix('\'').unwrap().to_owned();
        (code(configuration), text, read.trim().to_owned())
    })
    .collect()
}

#[test]
fn the_lines_of_configuration_in_the_guide_are_read() {
    let rest = r#"[14/May/2024:06:25:24 +0200] "GET /a?b HTTP/1.1" 200 5120"#;
    let agent = r#""https://r.example/" "Mozilla/5.0 (X11)""#;
    let object = r#"{"time":"2024-05-14T06:25:24+02:00","ip":"203.0.113.9","host":"www.example.com","request":"GET /a?b HTTP/1.1","status":200,"bytes":5120,"referrer":"https://r.example/","agent":"Mozilla/5.0 (X11)","seconds":0.250}"#;
    let lines = [
        format!("203.0.113.9 - al {rest}"),
        format!("203.0.113.9 - al {rest} {agent}"),
        format!("www.example.com:443 203.0.113.9 - al {rest} {agent}"),
        format!("203.0.113.9 - al {rest} {agent} 300 5400"),
        format!("203.0.113.9 - al {rest} {agent} \"198.51.100.7, 10.0.0.1\" 250000"),
        r#"2024-05-14T06:25:24+0200 www.example.com 203.0.113.9 "GET /a?b HTTP/1.1" 200 5120 250"#
            .to_owned(),
        format!("203.0.113.9 - al {rest} {agent}"),
        format!("203.0.113.9 - al {rest} {agent} \"198.51.100.7, 10.0.0.1\""),
        format!("203.0.113.9 - al {rest} {agent} \"3.18\""),
        format!(
            r#"203.0.113.9 - al {rest} {agent} rt=0.250 uct="0.001" uht="0.200, 0.001" urt="0.200""#
        ),
        r#"2024-05-14T06:25:24+02:00 203.0.113.9 GET "https://www.example.com/a?b" 200 5120 "Mozilla/5.0 (X11)" 0.250"#.to_owned(),
        object.to_owned(),
    ];
    let rows = guide_rows();
    assert_eq!(rows.len(), lines.len());
    for ((configuration, option, named), line) in rows.into_iter().zip(lines) {
        let required = [
            ("ip", "203.0.113.9"),
            ("path", "/a?b"),
            ("status", "200"),
            ("length", "5120"),
        ];
        let further = [
            ("user", "userid", "al"),
            ("method", "method", "GET"),
            ("host", "host", "www.example.com"),
            ("scheme", "scheme", "https"),
            ("referrer", "referrer", "https://r.example/"),
            ("user agent", "user_agent", "Mozilla/5.0 (X11)"),
            (
                "forwarded addresses",
                "x_forwarded_for",
                "198.51.100.7, 10.0.0.1",
            ),
        ];
        for typed in [&configuration, &option] {
            assert_read(typed, &line, &required);
            let found = read(typed, &line).unwrap();
            let has = |name: &str| found.iter().any(|(field, _)| *field == name);
            let named: Vec<&str> = named.split(", ").collect();
            for (what, field, value) in further {
                assert_eq!(named.contains(&what), has(field), "{what} of {typed}");
                let value = value.replace(":443", "");
                let found = found.iter().find(|(name, _)| *name == field);
                assert!(
                    found.is_none_or(|(_, it)| it.starts_with(&value)),
                    "{typed}"
                );
            }
            let has_time = found
                .iter()
                .any(|(name, _)| name.starts_with("generation_time_"));
            assert_eq!(named.contains(&"generation time"), has_time, "{typed}");
            let has_zone = pasted(typed).has(Field::Timezone);
            assert_eq!(named.contains(&"time zone"), has_zone, "{typed}");
        }
    }
}

#[test]
fn a_text_of_any_length_is_read_or_refused() {
    let base = "%h %t %>s %U";
    for more in [
        " %{x}o",
        " |",
        " \"%{Referer}i\"",
        "%%",
        " %{%d}t",
        " %U%q",
        "\\\"",
    ] {
        let typed = format!("{base}{}", more.repeat(20_000));
        let format = TextFormat::pasted(&typed, &Wanted::default());
        let message = format.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(message.len() < 1000, "{message}");
    }
    let error = error(&format!("%h\n\x1b{}", "x".repeat(1000)));
    assert!(!error.contains(char::is_control), "{error}");
    assert!(error.len() < 600, "{error}");
}

/// Variables, text and parts of directives in any order.
fn any_template() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "%h",
        "%a",
        "%{c}a",
        "%l",
        "%u",
        "%t",
        "%r",
        "%>s",
        "%s",
        "%b",
        "%D",
        "%{ms}T",
        "%U%q",
        "%U",
        "%q",
        "%m",
        "%H",
        "%v:%p",
        "%p",
        "%%",
        "%",
        "%{",
        "%{Referer}i",
        "%{User-Agent}i",
        "%{X-Forwarded-For}i",
        "%{x}o",
        "%{%d/%b/%Y}t",
        "%{%H:%M:%S %z}t",
        "%{sec}t",
        "%{msec_frac}t",
        "%!400{x}C",
        "%^FB",
        "$remote_addr",
        "$remote_user",
        "$time_local",
        "$time_iso8601",
        "$msec",
        "$request",
        "$request_uri",
        "$uri",
        "$is_args$args",
        "$args",
        "$status",
        "$body_bytes_sent",
        "$http_referer",
        "$http_user_agent",
        "$request_time",
        "$upstream_response_time",
        "$host",
        "$scheme",
        "${x}",
        "$",
        "${",
        "LogFormat ",
        "CustomLog ",
        "log_format ",
        "escape=json ",
        "'",
        "\"",
        "\\\"",
        ";",
        "{",
        "}",
        "#",
        "\n",
    ]);
    let text = prop::sample::select(vec![
        " ", " ", "\" \"", "|", "] [", " - ", "\t", ",", "é", "",
    ]);
    prop::collection::vec((part, text), 0..14).prop_map(|parts| {
        let parts = parts.into_iter().map(|(part, text)| part.to_owned() + text);
        parts.collect()
    })
}

const LINES: [&str; 9] = [
    COMBINED,
    "203.0.113.9 [14/May/2024:06:25:24 +0200] /a?b=c 200 GET HTTP/1.1 - 5 \"a\\\"b\" 0.1, 0.2 : 0.3 [x]",
    "[14/May/2024:06:25:24 +0200]|203.0.113.9|/a b?c=\"d\"|200|x|y",
    r#"203.0.113.9 [14/May/2024:06:25:24 +0200] "GET /a HTTP/1.1" 200 - "" 0.1, 0.2 a|b"#,
    r#"203.0.113.9, 10.0.0.1 - - [14/May/2024:06:25:24 +0200] GET|/a?b=c|200 "-" "M \"x\"" 0.1, 0.2 : 0.3"#,
    "203.0.113.9\t2024-05-14T06:25:24+02:00\thttps\twww.example.com:443\t/a b?c\t304\t-\t\t0.003",
    r#"{"a":"::1","b":"1715660724.815","c":"/\u00e9\"","d":200,"e":""}"#,
    "[14/May/2024:06:25:24 +0200] - 200 GET /a ?b HTTP/1.1,203.0.113.9,[::1]:80,14/May/2024,06:25:24 +0200",
    "- - - - \" \" ] [ | | ; # , , \\ \\\" \\x",
];

#[test]
fn any_text_is_read_or_refused_and_the_scanner_agrees_with_the_regex() {
    let (accepted, fitting) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    });
    // More white space than usual.
    let lines = (mutated_lines(&LINES), any::<prop::sample::Index>()).prop_map(|(mut line, at)| {
        let blanks: Vec<usize> = memchr::memchr_iter(b' ', &line).collect();
        if let (Some(at), false) = (
            blanks.get(at.index(blanks.len().max(1))),
            line.len() % 3 == 0,
        ) {
            line.insert(at + 1, if line.len() % 2 == 0 { b'\t' } else { b' ' });
        }
        line
    });
    let lines = prop::collection::vec(lines, 6);
    let wanted = Wanted(vec!["x".to_owned()]);
    // Most texts lack what every hit needs.
    let base = prop_oneof![
        Just(""),
        Just("%h %t %U %>s "),
        Just("%t|%h|%U%q|%>s|"),
        Just("$remote_addr [$time_local] \"$request\" $status "),
    ];
    let outcome = runner.run(&(base, any_template(), lines), |(base, text, lines)| {
        let Ok(format) = TextFormat::pasted(&format!("{base}{text}"), &wanted) else {
            return Ok(());
        };
        accepted.set(accepted.get() + 1);
        prop_assert!(format.regex().is_some());
        for line in &lines {
            let arena = Bump::new();
            let (mut by_regex, mut by_scan, mut by_all) =
                (Record::default(), Record::default(), Record::default());
            let found = format.search(line, &arena, &mut by_regex);
            let scanned = format.layout().scan(line, &arena, &mut by_scan);
            if scanned.is_some() {
                prop_assert_eq!(scanned, found, "{}{}", base, text);
                prop_assert_eq!(values(&by_scan), values(&by_regex));
                prop_assert_eq!(by_scan.extra("x"), by_regex.extra("x"));
            }
            let fit = format.parse(line, &arena, &mut by_all);
            if fit == Fit::Record {
                prop_assert!(found.is_some());
                fitting.set(fitting.get() + 1);
            }
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(accepted.get() > 150, "only {}", accepted.get());
    assert!(fitting.get() > 30, "only {}", fitting.get());
}

/// A variable, the field that it sets, and its value.
fn any_value() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    prop_oneof![
        "[a-z]{1,8}".prop_map(|it| ("%u", "userid", it)),
        "[0-9]{1,7}".prop_map(|it| ("%b", "length", it)),
        "[0-9]{1,7}".prop_map(|it| ("%D", "generation_time_micro", it)),
        "[A-Z]{3,7}".prop_map(|it| ("%m", "method", it)),
        "[a-z]{1,5}\\.[a-z]{2,3}".prop_map(|it| ("%v", "host", it)),
        "https?://[a-zé/]{1,9}".prop_map(|it| ("%{Referer}i", "referrer", it)),
        "[A-Za-z(/.0-9)é]{1,9}".prop_map(|it| ("%{User-Agent}i", "user_agent", it)),
        "[0-9a-f]{1,9}".prop_map(|it| ("%{x}o", "", it)),
        "[a-z]{1,5}".prop_map(|it| ("%f", "", it)),
        Just(("%H", "", "HTTP/1.1".to_owned())),
    ]
}

#[test]
fn a_line_with_known_values_is_read_back() {
    let required = (
        "(/[a-z]{1,4}){1,3}(\\?[a-z=&]{0,6})?",
        "[1-5][0-9][0-9]",
        prop::sample::select(vec!["203.0.113.9", "2001:db8::9", "198.51.100.255"]),
    );
    let others = prop::collection::vec(any_value(), 0..8);
    let values_in_order = (required, others)
        .prop_map(|((path, status, ip), mut values)| {
            values.push(("%U%q", "path", path));
            values.push(("%>s", "status", status));
            values.push(("%h", "ip", ip.to_owned()));
            let date = "[14/May/2024:06:25:24 +0200]";
            values.push(("%t", "", date.to_owned()));
            values
        })
        .prop_shuffle();
    let between = prop::sample::select(vec![" ", "|", "\t", "\" \"", " = ", ";"]);
    let (scanned, all) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config {
        cases: 1500,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (values_in_order, between, any::<bool>(), any::<bool>());
    let outcome = runner.run(
        &strategy,
        |(values_in_order, between, is_nginx, has_more)| {
            let quote = if between.contains('"') { "\"" } else { "" };
            let join = |parts: Vec<&str>| format!("{quote}{}{quote}", parts.join(between));
            let mut typed = join(values_in_order.iter().map(|it| it.0).collect());
            if is_nginx {
                for (apache, nginx) in [
                    ("%{Referer}i", "$http_referer"),
                    ("%{User-Agent}i", "$http_user_agent"),
                    ("%U%q", "$uri$is_args$args"),
                    ("%{x}o", "$x"),
                    ("%>s", "$status"),
                    ("%h", "$remote_addr"),
                    ("%t", "[$time_local]"),
                    ("%u", "$remote_user"),
                    ("%b", "$bytes_sent"),
                    ("%D", "$generation_time_micro"),
                    ("%m", "$request_method"),
                    ("%v", "$host"),
                    ("%f", "$request_filename"),
                    ("%H", "$server_protocol"),
                ] {
                    typed = typed.replace(apache, nginx);
                }
            }
            let mut line = join(values_in_order.iter().map(|it| it.2.as_str()).collect());
            // The last value of a line without quotes may end anywhere.
            if has_more && !quote.is_empty() {
                line += " and \"more\"";
            }
            let wanted = Wanted(vec!["x".to_owned()]);
            let format = TextFormat::pasted(&typed, &wanted).unwrap();
            let (arena, mut record) = (Bump::new(), Record::default());
            let fit = format.parse(line.as_bytes(), &arena, &mut record);
            prop_assert_eq!(fit, Fit::Record, "{} {}", typed, line);
            let found = values(&record);
            let mut seen = Vec::new();
            for (_, field, value) in &values_in_order {
                // The first of several counts.
                if field.is_empty() || seen.contains(field) {
                    continue;
                }
                seen.push(field);
                let read = found.iter().find(|(name, _)| name == field);
                prop_assert_eq!(read.map(|it| &it.1), Some(value), "{} of {}", field, typed);
            }
            let x = values_in_order.iter().rfind(|it| it.0 == "%{x}o");
            prop_assert_eq!(record.extra("x"), x.map(|it| it.2.as_bytes()));
            prop_assert_eq!(record.get(Field::Timezone), Some(&b"+0200"[..]));
            let mut by_scan = Record::default();
            let scan = format.layout().scan(line.as_bytes(), &arena, &mut by_scan);
            scanned.set(scanned.get() + u32::from(scan.is_some()));
            all.set(all.get() + 1);
            Ok(())
        },
    );
    outcome.unwrap();
    // A user agent before a blank needs the regex.
    assert!(
        scanned.get() * 3 > all.get() * 2,
        "{} of {}",
        scanned.get(),
        all.get()
    );
}
