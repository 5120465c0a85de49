//! The dialects with their logs, headers and options; then properties: a line read column by column
//! gives what the regex of `--dump-log-regex` gives, and no input panics.

use proptest::prelude::*;
use regex::bytes::{Regex, RegexBuilder};

use super::*;
use crate::error::ErrorKind;
use crate::format::Wanted;
use crate::format::custom::LineText;

const W3C: &str = "#Fields: date time c-ip cs-username cs-method cs-uri-stem cs-uri-query sc-status sc-bytes \
                   time-taken cs(User-Agent) cs(Referer)";
const IIS: &str = "#Fields: date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port \
                   cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status sc-substatus \
                   sc-win32-status sc-bytes cs-bytes time-taken";
const SHOUTCAST: &str = "#Fields: c-ip c-dns date time cs-uri-stem c-status cs(User-Agent) sc-bytes x-duration \
                         avgbandwidth";
const CLOUDFRONT: &str = "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status \
                          cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id \
                          x-host-header cs-protocol cs-bytes time-taken";
const RTMP: &str = "#Fields: date time x-edge-location c-ip x-event sc-bytes x-cf-status x-cf-client-id cs-uri-stem \
                    cs-uri-query c-referrer x-page-url c-user-agent x-sname x-sname-query x-file-ext x-sid";
const INCAPSULA: &str = "#Fields: date time cs-vid c-ip cs(User-Agent) cs-sessionid cs-uri cs-version sc-action \
                         cs(Referrer) cs-method cs-uri-query sc-status cs-bytes";

const IIS_LINE: &str = "2024-05-14 00:00:13 W3SVC1 WEB1 10.0.0.5 GET /shop/cart item=7&qty=2 80 - 203.0.113.9 HTTP/1.1 \
                        Mozilla/5.0+(Windows+NT+10.0) sid=abc https://www.example.com/shop www.example.com 200 0 0 27028 \
                        214 1687";

fn dialect(name: &str) -> &'static Dialect {
    dialects()
        .iter()
        .find(|dialect| dialect.name == name)
        .unwrap()
}

fn format(name: &str, options: &W3cOptions, header: &str) -> W3c {
    let mut format = dialect(name).open(options).unwrap();
    format.header(header.as_bytes()).unwrap();
    format
}

fn plain(name: &str, header: &str) -> W3c {
    format(name, &W3cOptions::default(), header)
}

/// The fields of a line as `name=value`, in the order of `Field::all`. `None` if the line does not
/// fit.
fn read(format: &W3c, line: &str) -> Option<Vec<String>> {
    let arena = Bump::new();
    let mut record = Record::default();
    let fit = format.parse(line.as_bytes(), &arena, &mut record);
    let value = |field: Field| {
        let value = record.get(field)?;
        Some(format!(
            "{}={}",
            field.name(),
            String::from_utf8_lossy(value)
        ))
    };
    (fit == Fit::Record).then(|| Field::all().filter_map(value).collect())
}

#[track_caller]
fn assert_reads(format: &W3c, line: &str, expected: &[&str]) {
    assert_eq!(
        read(format, line).expect("the line fits"),
        expected,
        "{line}"
    );
}

#[test]
fn an_empty_column_is_an_absent_field() {
    let format = plain(
        "w3c_extended",
        "#Fields: date time c-ip cs-username cs-uri-stem sc-status cs(User-Agent)",
    );
    let day = "2024-05-14 06:00:02";
    let read = |line: &str| read(&format, line).map(|values| values.join(" "));
    let want = |others: &str| {
        let fields = "ip=::1 date=2024-05-14 time=06:00:02 path=/a status=200";
        Some(format!("{fields}{others}"))
    };
    let whole = want(" userid=al user_agent=M/5");
    assert_eq!(read(&format!("{day} ::1 al /a 200 M/5")), whole);
    assert_eq!(
        read(&format!("{day}  ::1 \t al  /a 200 M/5")),
        whole,
        "runs of blanks"
    );
    assert_eq!(
        read(&format!("{day} ::1  /a 200 M/5")),
        want(" user_agent=M/5")
    );
    assert_eq!(read(&format!("{day} ::1 al /a 200 ")), want(" userid=al"));
    assert_eq!(
        read(&format!("{day} ::1  /a 200 ").replace(' ', "\t")),
        want("")
    );
    assert_eq!(read(&format!("{day} ::1 al /a  M/5")), None, "no status");
    assert_eq!(read(&format!("{day} ::1 al  200 M/5")), None, "no path");
    assert_eq!(
        read(&format!("{day} ::1 al /a 200 -")),
        want(" userid=al user_agent=-")
    );
    assert_eq!(read(&format!("{day} ::1 al /a 200")), None, "cut off");
}

#[test]
fn w3c_extended_has_seconds_and_skips_unknown_columns() {
    assert_reads(
        &plain("w3c_extended", W3C),
        "2024-05-14 06:00:02.123 203.0.113.11 carol GET /y.asp a=1 302 - 2.5 Agent/5.0+(X11) -",
        &[
            "ip=203.0.113.11",
            "date=2024-05-14",
            "time=06:00:02",
            "path=/y.asp",
            "query_string=a=1",
            "status=302",
            "length=-",
            "userid=carol",
            "referrer=-",
            "user_agent=Agent/5.0 (X11)",
            "method=GET",
            "generation_time_secs=2.5",
        ],
    );
}

#[test]
fn invalid_values_do_not_fit_and_quotes_are_allowed() {
    let format = plain(
        "w3c_extended",
        "#Fields: date time c-ip cs-username cs-method cs-uri-stem cs-uri-query sc-status sc-bytes time-taken \
         cs(User-Agent) cs(Referer) cs-host",
    );
    for misfit in [
        "2024-05-14 06:00:01 203.0.113.1 - GET /a - 200 - - A/1 - www.example.com",
        "2024-05-14 06:00:01 203.0.113.2 - GET /a - - 5 1 A/1 - www.example.com",
        "2024-05-14 06:00:01 203.0.113.4 - GET \"/a\" - 200 5 1 A/1 - www.example.com",
        "2024-05-14 06:00:01 203.0.113.7 - GET /a - 200 5 1 A/1 -",
        " 2024-05-14 06:00:01 203.0.113.7 - GET /a - 200 5 1 A/1 - www.example.com",
        "not a line",
        "",
    ] {
        assert_eq!(read(&format, misfit), None, "{misfit}");
    }
    assert_reads(
        &format,
        "\"2024-05-14\" \t\"06:00:01.5\" \"203.0.113.6\" eve GET /a - 200 5 0.0004 \"A+B \"C D\" \"https://r/\" \
         \"W.example:8080\" what follows",
        &[
            "ip=203.0.113.6",
            "date=2024-05-14",
            "time=06:00:01",
            "path=/a",
            "query_string=-",
            "status=200",
            "length=5",
            "host=\"W.example:8080\"",
            "userid=eve",
            "referrer=\"https://r/\"",
            "user_agent=\"A+B \"C D\"",
            "method=GET",
            "generation_time_secs=0.0004",
        ],
    );
}

#[test]
fn any_target_is_a_path() {
    let format = plain(
        "w3c_extended",
        "#Fields: date time c-ip cs-uri-stem sc-status",
    );
    for path in ["*", "http://x/a", "index.html", "-", "/a"] {
        let line = format!("2024-05-14 06:00:01 203.0.113.3 {path} 200");
        let fields = read(&format, &line).unwrap();
        assert!(fields.contains(&format!("path={path}")), "{fields:?}");
    }
}

#[test]
fn the_address_that_another_column_replaces_counts_where_that_has_none() {
    let options = |map: &[(&str, &str)], regexes: &[(&str, &str)]| {
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(one, other)| ((*one).to_owned(), (*other).to_owned()));
            pairs.collect()
        };
        W3cOptions {
            map: owned(map),
            regexes: owned(regexes),
            ..W3cOptions::default()
        }
    };
    let mapped = options(&[("X-Forwarded-For", "c-ip")], &[]);
    let by_regex = options(&[], &[("X-Forwarded-For", r"(?P<ip>\S+)")]);
    for options in [mapped, by_regex] {
        for columns in [
            "date time c-ip X-Forwarded-For cs-uri-stem sc-status",
            "date time X-Forwarded-For c-ip cs-uri-stem sc-status",
        ] {
            let mut format = dialects()[0].open(&options).unwrap();
            format
                .header(format!("#Fields: {columns}").as_bytes())
                .unwrap();
            for (forwarded, ip) in [
                (
                    "203.0.113.12:4455,+203.0.113.99",
                    "203.0.113.12:4455,+203.0.113.99",
                ),
                ("-", "10.0.0.1"),
            ] {
                let line = format!("2024-05-14 06:00:01 {columns}")
                    .replace("date time ", "")
                    .replace("c-ip", "10.0.0.1")
                    .replace("X-Forwarded-For", forwarded)
                    .replace("cs-uri-stem sc-status", "/a 200");
                let fields = read(&format, &line).unwrap();
                assert!(fields.contains(&format!("ip={ip}")), "{line}: {fields:?}");
            }
        }
    }
}

#[test]
fn a_quoted_value_may_contain_a_quote_before_a_blank() {
    let format = plain(
        "w3c_extended",
        "#Fields: cs(User-Agent) date time c-ip cs-uri-stem sc-status",
    );
    // The scanner ends the user agent after `odd"`. Only the regex finds that the rest fits after
    // `agent"`.
    let fields = read(
        &format,
        "\"an \"odd\" agent\" 2024-05-14 06:00:01 203.0.113.6 /a 200",
    )
    .unwrap();
    assert!(
        fields.contains(&"user_agent=\"an \"odd\" agent\"".to_owned()),
        "{fields:?}"
    );
    assert!(fields.contains(&"path=/a".to_owned()), "{fields:?}");
}

#[test]
fn iis_has_milliseconds_and_agents_with_plus() {
    assert_reads(
        &plain("iis", IIS),
        IIS_LINE,
        &[
            "ip=203.0.113.9",
            "date=2024-05-14",
            "time=00:00:13",
            "path=/shop/cart",
            "query_string=item=7&qty=2",
            "status=200",
            "length=27028",
            "host=www.example.com",
            "userid=-",
            "referrer=https://www.example.com/shop",
            "user_agent=Mozilla/5.0 (Windows NT 10.0)",
            "method=GET",
            "generation_time_milli=1687",
        ],
    );
}

#[test]
fn shoutcast_has_its_own_status_and_listening_time() {
    let format = plain("shoutcast", SHOUTCAST);
    assert_reads(
        &format,
        "198.51.100.7 198.51.100.7 2024-05-14 10:37:05 /stream?title=Night%20Jazz 200 WinampMPEG%2F5.9%20%28Win%29 \
         6558000 640 81975",
        &[
            "ip=198.51.100.7",
            "date=2024-05-14",
            "time=10:37:05",
            "path=/stream?title=Night%20Jazz",
            "status=200",
            "length=6558000",
            "user_agent=WinampMPEG/5.9 (Win)",
            "generation_time_secs=640",
            "session_time=640",
        ],
    );
    let fields = read(&format, "198.51.100.7 x 2024-05-14 10:37:05 / 200 A 1 - 1").unwrap();
    assert!(
        !fields.iter().any(|field| field.contains("_time")),
        "{fields:?}"
    );
}

#[test]
fn cloudfront_encodes_user_agents_twice_and_has_the_requested_host() {
    assert_reads(
        &plain("amazon_cloudfront", CLOUDFRONT),
        "2024-05-14\t01:13:11\tFRA2\t182\t203.0.113.9\tGET\td1.cloudfront.net\t/view/file.html\t200\twww.ref.example\t\
         Mozilla/4.0%2520(compatible;%2520MSIE%25205.0b1)\ta=b&c=d\t-\tRefreshHit\tMRV==\twww.example.com\thttp\t-\t0.001",
        &[
            "ip=203.0.113.9",
            "date=2024-05-14",
            "time=01:13:11",
            "path=/view/file.html",
            "query_string=a=b&c=d",
            "status=200",
            "length=182",
            "host=www.example.com",
            "referrer=www.ref.example",
            "user_agent=Mozilla/4.0 (compatible; MSIE 5.0b1)",
            "method=GET",
            "generation_time_secs=0.001",
        ],
    );
}

#[test]
fn cloudfront_encodes_the_percent_signs_of_queries_and_referrers_once_more() {
    let line = |query: &str, referrer: &str| {
        format!(
            "2024-05-14\t01:13:11\tFRA2\t182\t203.0.113.9\tGET\td1.cloudfront.net\t/a%2520b\t200\t{referrer}\t-\t\
             {query}\t-\tHit\tMRV==\twww.example.com\thttp\t-\t0.001"
        )
    };
    let format = plain("amazon_cloudfront", CLOUDFRONT);
    for (logged, sent) in [
        ("a=%2520b&c=100%2525", "a=%20b&c=100%25"),
        ("a=%22b%22", "a=%22b%22"),
        ("a=1%25", "a=1%25"),
    ] {
        let fields = read(
            &format,
            &line(logged, &format!("https://r.example/?{logged}")),
        )
        .unwrap();
        for expected in [
            format!("query_string={sent}"),
            format!("referrer=https://r.example/?{sent}"),
            "path=/a%2520b".to_owned(),
        ] {
            assert!(fields.contains(&expected), "{expected}: {fields:?}");
        }
    }
    let header = CLOUDFRONT;
    let fields = read(&plain("w3c_extended", header), &line("a=%2520b", "-")).unwrap();
    assert!(
        fields.contains(&"query_string=a=%2520b".to_owned()),
        "{fields:?}"
    );
}

#[test]
fn cloudfront_rtmp_lines_are_events_with_status_200() {
    let format = plain("amazon_cloudfront", RTMP);
    assert_reads(
        &format,
        "2024-05-14\t23:51:21\tSEA4\t203.0.113.52\tplay\t3914\tOK\tbfd8\trtmp://s5c.cloudfront.example/cfx/st\tkey=value\t\
         http://player.example.com/p.swf\thttp://www.example.com/support\tWIN%252010\tmyvideo\tp=2\tflv\t1",
        &[
            "ip=203.0.113.52",
            "date=2024-05-14",
            "time=23:51:21",
            "path=/s5c.cloudfront.example/cfx/st",
            "query_string=key=value",
            "status=200",
            "length=3914",
            "user_agent=WIN 10",
            "event_category=cloudfront_rtmp",
            "event_action=play",
            "event_name=myvideo",
        ],
    );
    assert!(format.has(Field::EventCategory) && format.has(Field::Status));
}

#[test]
fn incapsula_quotes_all_columns_and_has_host_and_path_in_one() {
    let format = plain("incapsula_w3c", INCAPSULA);
    assert_reads(
        &format,
        r#""2024-05-14" "07:26:35" "a1f36498" "203.0.113.9" "Mozilla/5.0 (Windows NT 10.0)" "335" "www.example.com/rest/of/path" "HTTP" "REQ_PASSED" "www.example.com/ref" "GET" "a=1" "404" "10117""#,
        &[
            "ip=203.0.113.9",
            "date=2024-05-14",
            "time=07:26:35",
            "path=/rest/of/path",
            "query_string=a=1",
            "status=404",
            "length=10117",
            "host=www.example.com",
            "user_agent=Mozilla/5.0 (Windows NT 10.0)",
            "method=GET",
        ],
    );
    let empty = r#""2024-05-14" "07:26:37" "a1" "203.0.113.10" "" "336" "www.example.com/" "HTTP" "X" "" "GET" "" "" "0""#;
    let fields = read(&format, empty).unwrap();
    assert!(fields.contains(&"status=200".to_owned()), "{fields:?}");
    assert!(fields.contains(&"user_agent=".to_owned()), "{fields:?}");
    assert!(fields.contains(&"query_string=".to_owned()), "{fields:?}");
    let bare = "2024-05-14 07:26:37 a1 203.0.113.10 A 336 www.example.com/ HTTP X - GET - 200 0";
    assert_eq!(read(&format, bare), None);
}

#[test]
fn the_raw_user_agent_is_kept_if_decoding_changed_it() {
    let format = plain("iis", IIS);
    let arena = Bump::new();
    let mut record = Record::default();
    format.parse(IIS_LINE.as_bytes(), &arena, &mut record);
    assert_eq!(
        record.raw_agent(),
        Some(&b"Mozilla/5.0+(Windows+NT+10.0)"[..])
    );

    let line = IIS_LINE.replace("Mozilla/5.0+(Windows+NT+10.0)", "A/1");
    let mut record = Record::default();
    format.parse(line.as_bytes(), &arena, &mut record);
    assert_eq!(record.raw_agent(), None);
}

#[test]
fn time_taken_follows_the_options() {
    let millis = W3cOptions {
        time_taken_millisecs: true,
        ..W3cOptions::default()
    };
    let secs = W3cOptions {
        iis_time_taken_secs: true,
        ..W3cOptions::default()
    };
    for (name, options, field) in [
        ("w3c_extended", &millis, Field::GenerationTimeMilli),
        ("w3c_extended", &secs, Field::GenerationTimeSecs),
        ("iis", &millis, Field::GenerationTimeMilli),
        ("iis", &secs, Field::GenerationTimeSecs),
    ] {
        assert!(format(name, options, IIS).has(field), "{name}: {field:?}");
    }
}

#[test]
fn no_line_fits_before_the_header() {
    let mut format = dialect("w3c_extended")
        .open(&W3cOptions::default())
        .unwrap();
    format.header(b"#Version: 1.0").unwrap();
    assert!(!format.ready() && format.regex().is_none() && format.fields().is_empty());
    assert_eq!(
        read(
            &format,
            "2024-05-14 06:00:01 203.0.113.9 - GET /x - 200 1 1 A -"
        ),
        None
    );
    format.header(W3C.as_bytes()).unwrap();
    assert!(format.ready());
    assert!(
        read(
            &format,
            "2024-05-14 06:00:01 203.0.113.9 - GET /x - 200 1 1 A -"
        )
        .is_some()
    );
}

#[test]
fn a_later_header_takes_effect() {
    let mut format = plain("w3c_extended", W3C);
    format
        .header(b"#Fields: date time cs-uri-stem c-ip sc-status")
        .unwrap();
    assert_reads(
        &format,
        "2024-05-15 06:00:01 /late 203.0.113.44 200",
        &[
            "ip=203.0.113.44",
            "date=2024-05-15",
            "time=06:00:01",
            "path=/late",
            "status=200",
        ],
    );
}

#[test]
fn w3c_fields_may_begin_with_the_marker() {
    for fields in [
        "#Fields: date time c-ip cs-uri-stem sc-status",
        "date time c-ip cs-uri-stem sc-status",
    ] {
        let options = W3cOptions {
            fields: Some(fields.into()),
            ..W3cOptions::default()
        };
        let format = dialect("w3c_extended").open(&options).unwrap();
        assert!(read(&format, "2024-05-14 06:00:01 203.0.113.9 /a 200").is_some());
    }
}

#[test]
fn a_header_without_required_columns_is_an_error_that_names_them() {
    let mut format = dialect("w3c_extended")
        .open(&W3cOptions::default())
        .unwrap();
    let error = format
        .header(b"#Fields: date time c-ip sc-status")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped);
    assert!(error.to_string().contains("cs-uri-stem"), "{error}");
    assert!(
        format
            .header(b"#Fields:")
            .unwrap_err()
            .to_string()
            .contains("c-ip")
    );
    assert!(!format.ready());
    format.header(W3C.as_bytes()).unwrap();
    assert!(format.header(b"#Fields: date time").is_err());
    assert!(!format.ready(), "the old columns no longer apply");

    let options = W3cOptions {
        fields: Some("date time".into()),
        ..W3cOptions::default()
    };
    let error = dialect("iis").open(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("--w3c-fields"), "{error}");
}

#[test]
fn mapped_names_replace_standard_ones() {
    let options = W3cOptions {
        map: parse_map_field("my-date=date,real-ip=c-ip").unwrap(),
        ..W3cOptions::default()
    };
    let format = format(
        "w3c_extended",
        &options,
        "#Fields: my-date time c-ip real-ip cs-uri-stem sc-status",
    );
    let fields = read(&format, "2024-05-14 06:00:01 10.0.0.1 203.0.113.9 /a 200").unwrap();
    assert!(fields.contains(&"ip=203.0.113.9".to_owned()), "{fields:?}");
}

#[test]
fn a_field_regex_captures_wanted_extras() {
    let regexes =
        parse_field_regex(r"sc-win32-status=(?P<win32_status>\S+),cs(Cookie)=sid=(?P<sid>\S+)")
            .unwrap();
    let wanted = Wanted(vec!["win32_status".to_owned()]);
    let options = W3cOptions {
        regexes,
        wanted,
        ..W3cOptions::default()
    };
    let format = format("iis", &options, IIS);
    let arena = Bump::new();
    let mut record = Record::default();
    assert_eq!(
        format.parse(IIS_LINE.as_bytes(), &arena, &mut record),
        Fit::Record
    );
    assert_eq!(record.by_name("win32_status"), Some(&b"0"[..]));
    assert_eq!(record.by_name("sid"), None);
    assert_eq!(record.get(Field::GenerationTimeMilli), Some(&b"1687"[..]));
    assert_eq!(format.richness(), plain("iis", IIS).richness() + 2);
}

#[test]
fn a_field_regex_for_a_field_replaces_the_built_in_column() {
    let regexes = parse_field_regex(r"x-forwarded-for=(?P<ip>[0-9.]+)\S*").unwrap();
    let options = W3cOptions {
        regexes,
        ..W3cOptions::default()
    };
    let format = format(
        "iis",
        &options,
        "#Fields: date time c-ip x-forwarded-for cs-uri-stem sc-status",
    );
    let fields = read(
        &format,
        "2024-05-14 06:00:01 10.0.0.1 203.0.113.9,10.0.0.2 /a 200",
    )
    .unwrap();
    assert!(fields.contains(&"ip=203.0.113.9".to_owned()), "{fields:?}");
}

#[test]
fn a_field_regex_may_use_look_around_and_back_references() {
    let regexes =
        parse_field_regex(r#"x-a=(?P<q>["'])(?P<a>[^'"]+)(?P=q),x-b=(?P<b>\S+?)(?=;|$)\S*"#)
            .unwrap();
    let options = W3cOptions {
        regexes,
        wanted: Wanted(vec!["a".to_owned(), "b".to_owned()]),
        ..W3cOptions::default()
    };
    let format = format(
        "w3c_extended",
        &options,
        "#Fields: date time c-ip cs-uri-stem sc-status cs(User-Agent) x-a x-b",
    );
    let extras = |line: &[u8]| {
        let arena = Bump::new();
        let mut record = Record::default();
        let fit = format.parse(line, &arena, &mut record);
        let text = |name| {
            let value = record.by_name(name)?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        (fit == Fit::Record).then(|| ["a", "b", "user_agent"].map(text))
    };
    let gives = |values: [&str; 3]| Some(values.map(|value| Some(value.to_owned())));
    let line = b"2024-05-14 06:00:01 203.0.113.9 /a 200 x\xc2\xa0y 'k v' one;two";
    assert_eq!(extras(line), gives(["k v", "one", "x\u{a0}y"]));
    let line = b"2024-05-14 06:00:01 203.0.113.9 /a 200 \xff+z \"k\" one";
    assert_eq!(extras(line), gives(["k", "one", "\u{fffd} z"]));
    assert_eq!(
        extras(b"2024-05-14 06:00:01 203.0.113.9 /a 200 x 'k\" one"),
        None
    );
}

#[test]
fn a_field_regex_has_the_semantics_of_python() {
    for (regex, value, gives) in [
        (r"\<(?P<k>[^>]+)\>", "<abc>", Some("abc")),
        (r"(?P<k>[\w&&=]+)", "a&b=c", Some("a&b=c")),
        (r"(?P<k>[\w~~]+)", "a~b", Some("a~b")),
        (r"(?P<k>[a-z--]+)", "a-b", Some("a-b")),
        (r"(?P<k>[a-z&&b]+)", "a&b", Some("a&b")),
        (r"(?P<k>.)", "é", Some("é")),
        (r"(?P<k>\w+)", "éa", Some("éa")),
        (r"(?P<k>\S{,3})", "abc", Some("abc")),
        (r"(?P<k>(?a:\w))", "é", None),
    ] {
        let options = W3cOptions {
            regexes: parse_field_regex(&format!("x-y={regex}")).unwrap(),
            wanted: Wanted(vec!["k".to_owned()]),
            ..W3cOptions::default()
        };
        let header = "#Fields: date time c-ip cs-uri-stem x-y sc-status";
        let format = format("w3c_extended", &options, header);
        let line = format!("2024-05-14 06:00:01 203.0.113.9 /a {value} 200");
        let (arena, mut record) = (Bump::new(), Record::default());
        let fit = format.parse(line.as_bytes(), &arena, &mut record);
        let found = (fit == Fit::Record).then(|| record.by_name("k")).flatten();
        assert_eq!(found, gives.map(str::as_bytes), "{regex} on {value}");
    }
}

#[test]
fn field_regexes_with_the_same_group_are_an_error() {
    let regexes = parse_field_regex("a=(?P<x>.),b=(?P<x>.)").unwrap();
    let options = W3cOptions {
        regexes,
        ..W3cOptions::default()
    };
    let mut format = dialect("iis").open(&options).unwrap();
    let error = format.header(format!("{IIS} a b").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("--w3c-field-regex"), "{error}");
}

#[test]
fn the_first_column_for_a_field_counts() {
    let format = plain(
        "w3c_extended",
        "#Fields: date time c-ip cs-uri-stem cs-uri-stem sc-status c-ip",
    );
    let fields = read(&format, "2024-05-14 06:00:01 203.0.113.9 /a - 200 -").unwrap();
    assert_eq!(
        fields,
        [
            "ip=203.0.113.9",
            "date=2024-05-14",
            "time=06:00:01",
            "path=/a",
            "status=200"
        ]
    );
}

#[test]
fn a_header_may_have_many_columns_but_not_any_number() {
    let many = |count: usize| format!("{W3C}{}", " x".repeat(count));
    let format = plain("w3c_extended", &many(900));
    let line = format!(
        "2024-05-14 06:00:01 203.0.113.9 - GET /x - 200 1 1 A -{}",
        " \"y z\"".repeat(900)
    );
    assert!(read(&format, &line).is_some());
    let mut format = dialect("w3c_extended")
        .open(&W3cOptions::default())
        .unwrap();
    assert!(format.header(many(5000).as_bytes()).is_err());
}

#[test]
fn a_dialect_is_recognized_by_its_columns() {
    let options = W3cOptions::default();
    for (header, name) in [
        (W3C, "w3c_extended"),
        (IIS, "iis"),
        (SHOUTCAST, "shoutcast"),
        (CLOUDFRONT, "amazon_cloudfront"),
        (RTMP, "amazon_cloudfront"),
        (INCAPSULA, "incapsula_w3c"),
        (
            "#Fields: date time c-ip cs-uri-stem cs-uri sc-status",
            "w3c_extended",
        ),
    ] {
        let lines = [&b"#Version: 1.0"[..], header.as_bytes()];
        let by: Vec<_> = dialects()
            .iter()
            .filter(|d| d.recognizes(&lines, &options))
            .map(|d| d.name)
            .collect();
        assert_eq!(by, [name], "{header}");
    }
    for dialect in dialects() {
        assert!(!dialect.recognizes(
            &[b"#Software: Microsoft Internet Information Services 10.0"],
            &options
        ));
    }
    let options = W3cOptions {
        fields: Some(IIS.into()),
        ..options
    };
    assert!(dialect("iis").recognizes(&[], &options));
}

#[test]
fn a_wrong_unit_of_time_taken_gives_a_hint() {
    let software = &b"#Software: Microsoft Internet Information Services 10.0"[..];
    let options = W3cOptions::default();
    let hint = |name: &str, options: &W3cOptions, header: &[&[u8]], lines: &[&[u8]]| {
        iis_hint(name, options, header, lines)
    };
    let text = hint("w3c_extended", &options, &[software, W3C.as_bytes()], &[]).unwrap();
    assert!(text.contains("--w3c-time-taken-millisecs"), "{text}");
    let millis = W3cOptions {
        time_taken_millisecs: true,
        ..W3cOptions::default()
    };
    assert_eq!(
        hint("w3c_extended", &millis, &[software, W3C.as_bytes()], &[]),
        None
    );
    assert_eq!(hint("w3c_extended", &options, &[W3C.as_bytes()], &[]), None);

    let header = [software, IIS.as_bytes()];
    let seconds = IIS_LINE.replace("1687", "1.687");
    let text = hint("iis", &options, &header, &[seconds.as_bytes()]).unwrap();
    assert!(text.contains("--w3c-time-taken-millisecs"), "{text}");
    assert_eq!(hint("iis", &options, &header, &[IIS_LINE.as_bytes()]), None);
    assert_eq!(hint("iis", &millis, &header, &[seconds.as_bytes()]), None);
}

fn pairs(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    entries.iter().map(owned).collect()
}

#[test]
fn a_mapping_is_parsed() {
    assert_eq!(
        parse_map_field("my-date=date,my-time=time").unwrap(),
        pairs(&[("my-date", "date"), ("my-time", "time")])
    );
}

#[test]
fn an_invalid_mapping_is_an_error_that_names_the_entry() {
    for (typed, part) in [
        ("a=date,b=nosuch", "entry 2"),
        ("a", "entry 1"),
        ("", "entry 1"),
        ("=date", "entry 1"),
        ("a=date,", "entry 2"),
    ] {
        let error = parse_map_field(typed).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
        let text = error.to_string();
        assert!(
            text.contains("--w3c-map-field") && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn field_regexes_are_split_before_the_next_field() {
    for (typed, entries) in [
        (r"a=(?P<x>\S+)", vec![("a", r"(?P<x>\S+)")]),
        (
            r"a=(?P<x>\d{1,3}=),b=(?P<y>.)",
            vec![("a", r"(?P<x>\d{1,3}=)"), ("b", "(?P<y>.)")],
        ),
        (r"a=(?P<x>k,v=\d)", vec![("a", r"(?P<x>k,v=\d)")]),
        (
            r"cs(Cookie)=(?P<c>\S+),x-y=(?P<y>a|b)",
            vec![("cs(Cookie)", r"(?P<c>\S+)"), ("x-y", "(?P<y>a|b)")],
        ),
        (
            r"a=(?P<x>\S+?)(?=,|;)\S+,b=(?P<y>.)(?P=y)",
            vec![("a", r"(?P<x>\S+?)(?=,|;)\S+"), ("b", "(?P<y>.)(?P=y)")],
        ),
    ] {
        assert_eq!(
            parse_field_regex(typed).unwrap(),
            pairs(&entries),
            "{typed}"
        );
    }
}

#[test]
fn an_invalid_field_regex_is_an_error_that_names_the_entry() {
    for (typed, part) in [
        (r"sc-win32-status=\S+", "field sc-win32-status"),
        (r"a=\S+,b=(?P<x>\S+)", "entry 1"),
        (r"a=(?P<x>.),b=(?P<", "entry 2"),
        (r"a=(?P<x>.)\1", "(?P=name)"),
        (r"a=(?P<x>a\pN)", "character 8"),
        (r"a=(?i)(?P<x>a)", "(?i:...)"),
        (r"a=(?P<x>.)(?=b", "entry 1"),
        (r"a=(?=b)", "a named group"),
        ("a", "entry 1"),
        ("", "entry 1"),
    ] {
        let error = parse_field_regex(typed).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
        let text = error.to_string();
        assert!(
            text.contains("--w3c-field-regex") && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn a_standard_name_with_a_mapping_has_no_meaning_in_the_header() {
    let options = W3cOptions {
        map: pairs(&[("d", "date")]),
        ..W3cOptions::default()
    };
    assert_eq!(options.standard_name(b"d"), Some(&b"date"[..]));
    assert_eq!(options.standard_name(b"date"), None);
    assert_eq!(options.standard_name(b"time"), Some(&b"time"[..]));
}

/// A column that some dialect knows, or another one.
fn column_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        [W3C, IIS, SHOUTCAST, CLOUDFRONT, RTMP, INCAPSULA]
            .iter()
            .flat_map(|header| header.split_whitespace().skip(1))
            .collect::<Vec<_>>(),
    )
}

/// Values that fit the column in most dialects.
fn fitting(name: &str) -> &'static [&'static str] {
    match name {
        "date" => &["2024-05-14", "\"2024-05-14\""],
        "time" => &["06:00:01", "06:00:01.25", "\"06:00:01\"", "\"6:0:1.\""],
        "c-ip" => &["203.0.113.9", "2001:db8::1", "\"203.0.113.9\""],
        "cs-uri-stem" => &["/a", "/", "rtmp://h/a", "rtmp:/a"],
        "cs-uri" => &["\"h/a b\"", "\"/\"", "\"h.example/\"x\" y\""],
        "sc-status" | "c-status" => &["200", "404", "\"200\"", "\"\""],
        "time-taken" | "x-duration" => &["1", "0.25", "-", "\"1.5\""],
        _ => &[
            "x",
            "-",
            "\"x\"",
            "\"x y\"",
            "\"x\" y\"",
            "\"\"",
            "\"",
            "\"x \"y\" z\"",
        ],
    }
}

fn value(name: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        40 => prop::sample::select(fitting(name)).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\"", "\" \"", "a\"b", "200x", "/\"", "-1", "\u{e9}\""]).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ]
}

fn header_and_line() -> impl Strategy<Value = (Vec<&'static str>, String)> {
    prop::collection::vec(column_name(), 1..9).prop_flat_map(|names| {
        let values: Vec<_> = names.iter().map(|name| value(name)).collect();
        let blanks = prop::collection::vec(
            prop::sample::select(vec![" ", " ", " ", "\t", "  ", "\x0b"]),
            names.len(),
        );
        let tail = prop::sample::select(vec!["", "", " ", "x", " \"x\" /y 200", "\""]);
        (Just(names), values, blanks, tail).prop_map(|(names, values, blanks, tail)| {
            let columns = values.iter().zip(&blanks).enumerate();
            let line: String = columns
                .flat_map(|(at, (value, blank))| {
                    [if at == 0 { "" } else { *blank }, value.as_str()]
                })
                .collect();
            (names, line + tail)
        })
    })
}

/// The fields that the regex of `--dump-log-regex` captures.
fn by_regex<'a>(regex: &Regex, line: &'a [u8]) -> Option<Vec<(Field, &'a [u8])>> {
    let captures = regex.captures(line)?;
    let value = |field: Field| Some((field, captures.name(field.name())?.as_bytes()));
    Some(Field::all().filter_map(value).collect())
}

fn by_columns<'a>(
    columns: &'a LogColumns,
    line: &'a [u8],
    arena: &'a Bump,
) -> Option<Vec<(Field, &'a [u8])>> {
    let mut record = Record::default();
    let fits = columns.read_columns(line, arena, &mut record);
    let value = |field: Field| Some((field, record.get(field)?));
    fits.then(|| Field::all().filter_map(value).collect())
}

fn columns_and_regex(dialect: &'static Dialect, names: &str) -> (LogColumns, Regex) {
    let columns = LogColumns::new(dialect, &W3cOptions::default(), names.as_bytes()).unwrap();
    let regex = RegexBuilder::new(&format!("^{}", columns.python()))
        .unicode(false)
        .dot_matches_new_line(true)
        .build()
        .unwrap();
    (columns, regex)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_scanner_agrees_with_the_regex((names, line) in header_and_line()) {
        let arena = Bump::new();
        for dialect in dialects() {
            let (columns, regex) = columns_and_regex(dialect, &names.join(" "));
            prop_assert_eq!(
                by_columns(&columns, line.as_bytes(), &arena),
                by_regex(&regex, line.as_bytes()),
                "{}: {:?} of {:?}", dialect.name, line, names
            );
        }
    }
}

proptest! {
    #[test]
    fn look_around_does_not_change_what_built_in_columns_match((names, line) in header_and_line()) {
        let arena = Bump::new();
        for dialect in dialects() {
            let (columns, regex) = columns_and_regex(dialect, &names.join(" "));
            let python = format!("{}(?=.?)", columns.python());
            let around = python_over_bytes(&python).unwrap();
            prop_assert!(around.backtracks);
            let text = LineText::new(line.as_bytes(), &arena);
            let found = around.captures(text.as_str());
            let value = |field: Field| {
                let (_, number) = around.names.iter().find(|(name, _)| name == field.name())?;
                Some((field, text.bytes(found.as_ref()?.get(*number)?.range())))
            };
            prop_assert_eq!(
                found.is_some().then(|| Field::all().filter_map(value).collect()),
                by_regex(&regex, line.as_bytes()),
                "{}: {:?} of {:?}", dialect.name, line, names
            );
        }
    }
}

proptest! {
    #[test]
    fn no_header_or_line_panics(
        header in prop::collection::vec(any::<u8>(), 0..60),
        line in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut header_line = b"#Fields: date time c-ip cs(User-Agent) cs-uri-stem sc-status ".to_vec();
        header_line.extend(header);
        let arena = Bump::new();
        for dialect in dialects() {
            let mut format = dialect.open(&W3cOptions::default()).unwrap();
            // The header may be invalid.
            let _ = format.header(&header_line);
            let _ = format.parse(&line, &arena, &mut Record::default());
        }
    }
}

#[test]
fn many_generated_lines_fit() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let fits = (0..300).filter(|_| {
        let (names, line) = header_and_line().new_tree(&mut runner).unwrap().current();
        dialects().iter().any(|dialect| {
            columns_and_regex(dialect, &names.join(" "))
                .1
                .is_match(line.as_bytes())
        })
    });
    assert!(fits.count() > 100);
}
