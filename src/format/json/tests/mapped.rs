//! Maps of keys: which values they lead to.

use super::*;

/// The format that `--json-map` describes.
fn by_map(map: &str, wanted: &Wanted) -> Box<dyn Format> {
    mapped(&KeyMap::new(&[map.to_owned()]).unwrap(), wanted).unwrap()
}

/// The fields that a map reads from a line, except address, status and date.
fn read_by_map(map: &str, line: &str) -> FoundFields {
    let map = format!("ip=the_ip,status=the_status,date=the_date,{map}");
    let whole = format!(r#"{{"the_ip": "::1", "the_status": 200, "the_date": "2024", {line}}}"#);
    let (format, arena, mut record) = (
        by_map(&map, &Wanted::default()),
        Bump::new(),
        Record::default(),
    );
    let fit = format.parse(whole.as_bytes(), &arena, &mut record);
    assert_eq!(fit, Fit::Record, "{whole}");
    let mut found = values(&record);
    found.retain(|(name, _)| !matches!(*name, "ip" | "status" | "date"));
    found
}

#[track_caller]
fn assert_mapped(map: &str, line: &str, want: &[(&'static str, &str)]) {
    assert_eq!(Some(read_by_map(map, line)), owned(want), "{map} {line}");
}

#[test]
fn a_map_says_where_the_fields_are() {
    let line = r#""request": {"headers": {"Referer": ["https://r/", "x"]}, "uri": "/a"}, "n": 5"#;
    let map = "path=request.uri,referrer=request.headers.Referer[0],length=n";
    let want = [("path", "/a"), ("length", "5"), ("referrer", "https://r/")];
    assert_mapped(map, line, &want);
    let second = "path=request.uri,referrer=request.headers.Referer[1]";
    assert_mapped(second, line, &[("path", "/a"), ("referrer", "x")]);
    for missing in [
        "request.headers.Referer[2]",
        "request.headers.Referer",
        "request.uri.x",
        "n[0]",
    ] {
        assert_mapped(
            &format!("path=request.uri,referrer={missing}"),
            line,
            &[("path", "/a")],
        );
    }
    let odd = r#""timestamp(ms)": "t", "cs(Referer)": "r", "x-edge-location": "x", "a\"b": "u""#;
    let map = r#"path=timestamp(ms),referrer=cs(Referer),host=x-edge-location,userid=a"b"#;
    let want = [
        ("path", "t"),
        ("host", "x"),
        ("userid", "u"),
        ("referrer", "r"),
    ];
    assert_mapped(map, odd, &want);
}

#[test]
fn a_key_may_have_dots() {
    let flat = r#""url.path": "/flat""#;
    let nested = r#""url": {"path": "/nested"}"#;
    assert_mapped("path=url.path", flat, &[("path", "/flat")]);
    assert_mapped("path=url.path", nested, &[("path", "/nested")]);
    for both in [format!("{flat}, {nested}"), format!("{nested}, {flat}")] {
        assert_mapped("path=url.path", &both, &[("path", "/flat")]);
        assert_mapped(r"path=url\.path", &both, &[("path", "/flat")]);
    }
    let labels = r#""labels": {"app.kubernetes.io/name": "/x", "a[0]": "h"}"#;
    let map = r"path=labels.app\.kubernetes\.io/name,host=labels.a\[0]";
    assert_mapped(map, labels, &[("path", "/x"), ("host", "h")]);
}

#[test]
fn the_first_key_with_a_value_counts() {
    let map = "path=p,host=a|b|o.c";
    for (line, want) in [
        (r#""a": "1", "b": "2", "o": {"c": "3"}"#, Some("1")),
        (r#""b": "2", "a": "1""#, Some("1")),
        (r#""a": "-", "b": "2""#, Some("2")),
        (r#""a": "", "b": "-", "o": {"c": "3"}"#, Some("3")),
        (r#""a": null, "o": {"c": "3"}, "b": []"#, Some("3")),
        (r#""o": {"c": "3"}, "o": {"d": "4"}, "b": "2""#, Some("2")),
        (r#""o": {"c": "3"}, "o": null"#, None),
        (r#""b": "2", "b": null"#, None),
        (r#""a": "-""#, Some("-")),
        (r#""b": "-", "o": {"c": ""}"#, Some("-")),
    ] {
        let want: Vec<_> = [("path", "/")]
            .into_iter()
            .chain(want.map(|host| ("host", host)))
            .collect();
        assert_mapped(map, &format!(r#""p": "/", {line}"#), &want);
    }
}

#[test]
fn a_key_may_hold_several_fields_and_an_extra() {
    let map = "ip=x,status=s,date=d,path=o.p,host=o.p,userid=o.list[0]";
    let wanted = ["o", "o.p", "o.list[1]", "o.list", "x", "none.p"];
    let wanted = Wanted(wanted.map(str::to_owned).to_vec());
    let format = by_map(map, &wanted);
    let line = br#"{"x": "::1", "s": 200, "d": "2024", "o": {"p": "/p", "list": ["u", 7]}}"#;
    let (arena, mut record) = (Bump::new(), Record::default());
    assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
    for field in [Field::Path, Field::Host] {
        assert_eq!(record.get(field), Some(&b"/p"[..]));
    }
    assert_eq!(record.get(Field::Userid), Some(&b"u"[..]));
    for (name, want) in [
        ("o", Some(&br#"{"p": "/p", "list": ["u", 7]}"#[..])),
        ("o.p", Some(b"/p")),
        ("o.list[1]", Some(b"7")),
        ("o.list", Some(br#"["u", 7]"#)),
        ("x", Some(b"::1")),
        ("none.p", None),
    ] {
        assert_eq!(record.extra(name), want, "{name}");
    }
}

#[test]
fn a_request_line_gives_method_and_path() {
    let get = [("path", "/a b"), ("method", "GET")];
    assert_mapped("request=r", r#""r": "GET /a b HTTP/1.1""#, &get);
    assert_mapped(
        "request=r",
        r#""r": "GET /a b ""#,
        &[("path", "/a"), ("method", "GET")],
    );
    assert_mapped("request=r", r#""r": "-""#, &[("path", "-")]);
    let keys = [("path", "/p"), ("method", "GET")];
    assert_mapped(
        "request=r,path=p",
        r#""r": "GET /a HTTP/1.1", "p": "/p""#,
        &keys,
    );
    assert_mapped("request=q|r", r#""r": "GET /p HTTP/2", "q": null"#, &keys);
}

#[test]
fn a_query_counts_if_the_path_has_none() {
    let map = "path=p,query_string=q";
    let alone = [("path", "/a?b=1")];
    assert_mapped(map, r#""p": "/a?b=1", "q": "c=2""#, &alone);
    assert_mapped(
        map,
        r#""p": "/a", "q": "c=2""#,
        &[("path", "/a"), ("query_string", "c=2")],
    );
}

#[test]
fn a_generation_time_may_be_a_number_or_a_text() {
    for (name, value, want) in [
        ("generation_time_ms", "21", ("generation_time_milli", "21")),
        (
            "generation_time_ms",
            "\"21\"",
            ("generation_time_milli", "21"),
        ),
        ("generation_time_us", "21", ("generation_time_micro", "21")),
        (
            "generation_time_s",
            "0.012",
            ("generation_time_secs", "0.012"),
        ),
        (
            "generation_time_s",
            "\"0.012s\"",
            ("generation_time_secs", "0.012"),
        ),
        (
            "generation_time_s",
            "\"21ms\"",
            ("generation_time_milli", "21"),
        ),
        (
            "generation_time_ns",
            "21000000",
            ("generation_time_milli", "21"),
        ),
        (
            "generation_time_secs",
            "\"21ms\"",
            ("generation_time_milli", "21"),
        ),
    ] {
        let line = format!(r#""p": "/", "t": {value}"#);
        assert_mapped(&format!("path=p,{name}=t"), &line, &[("path", "/"), want]);
    }
    let twice = r#""p": "/", "t": "21ms", "t": 0.1"#;
    let want = [("path", "/"), ("generation_time_secs", "0.1")];
    assert_mapped("path=p,generation_time_s=t", twice, &want);
}

#[test]
fn a_map_needs_the_required_fields() {
    let refused = |map: &str| {
        let lists: Vec<String> = map
            .split(' ')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        let map = KeyMap::new(&lists).unwrap();
        mapped(&map, &Wanted::default()).err().unwrap().to_string()
    };
    assert!(refused("").contains("--json-map=ip=KEY,date=KEY,path=KEY,status=KEY"));
    let error = refused("path=a ip=b");
    assert!(error.contains("no key for date, status:"), "{error}");
}

/// The value at a path as text.
fn walk<'v>(value: &'v serde_json::Value, steps: &[PathStep]) -> Option<&'v serde_json::Value> {
    steps.iter().try_fold(value, |value, step| match step {
        PathStep::Key(key) => value.as_object()?.get(key),
        PathStep::Element(at) => value.as_array()?.get(*at),
    })
}

fn leaf_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Values with few keys, so that paths often lead to something.
fn crowded_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i32>().prop_map(serde_json::Value::from),
        "[-x\"\\\\é]{0,2}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            3 => proptest::collection::btree_map("a|b|a\\.b|c\"", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_path_leads_to_what_serde_json_finds(
        object in proptest::collection::btree_map("a|b|a\\.b|c\"", crowded_json(), 0..5),
        paths in proptest::collection::vec(
            "(a|b|c\"|a\\\\\\.b)(\\[[0-2]\\])?(\\.(a|b|c\"|a\\\\\\.b)(\\[[0-2]\\])?){0,3}", 1..4,
        ),
        pretty in any::<bool>(),
    ) {
        let mut object: serde_json::Map<_, _> = object.into_iter().collect();
        let keys = KeyMap::new(&[format!("host={}", paths.join("|"))]).unwrap();
        let values = keys.0[0].sources.iter().filter_map(|path| {
            let value = serde_json::Value::Object(object.clone());
            walk(&value, &path.0).and_then(leaf_text)
        });
        let values: Vec<String> = values.collect();
        let present = values.iter().find(|value| !is_absent(value.as_bytes()));
        let want = present.or(values.first());
        // An extra takes a value of any kind.
        let extra = KeyPath::of_extra(&paths[0]);
        let extra = extra.iter().filter_map(|path| {
            let value = serde_json::Value::Object(object.clone());
            walk(&value, &path.0).filter(|value| !value.is_null()).cloned()
        });
        let extra: Vec<_> = extra.collect();
        for (key, value) in [("ip", "::1"), ("date", "2024"), ("path", "/"), ("status", "200")] {
            object.insert(key.to_owned(), value.into());
        }
        let line = match pretty {
            true => serde_json::to_string_pretty(&object).unwrap().replace('\n', ""),
            false => serde_json::to_string(&object).unwrap(),
        };
        let map = format!("ip=ip,date=date,path=path,status=status,host={}", paths.join("|"));
        let wanted = Wanted(vec![paths[0].clone()]);
        let (format, arena) = (by_map(&map, &wanted), Bump::new());
        let mut record = Record::default();
        prop_assert_eq!(format.parse(line.as_bytes(), &arena, &mut record), Fit::Record);
        let host = record.get(Field::Host).map(|host| String::from_utf8_lossy(host).into_owned());
        prop_assert_eq!(host.as_ref(), want, "{} {}", map, line);
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let found = record.extra(&paths[0]).map(|it| String::from_utf8_lossy(it).into_owned());
        let present = extra.iter().map(text).find(|text| !is_absent(text.as_bytes()));
        let want = present.or_else(|| extra.first().map(text));
        let found = found.map(|it| it.replace(": ", ":").split_whitespace().collect::<String>());
        let want = want.map(|it| it.split_whitespace().collect::<String>());
        prop_assert_eq!(found, want, "{} {}", paths[0], line);
    }

    #[test]
    fn any_line_and_any_map_are_handled(
        line in mutated_lines(&CADDY), bytes in proptest::collection::vec(any::<u8>(), 0..60),
        typed in ".{0,30}", keys in "[a-z.\\[\\]0|,=\\\\]{0,20}",
    ) {
        for map in [typed, format!("host={keys}")] {
            let required = "ip=request.client_ip,date=ts,path=request.uri,status=status";
            let Ok(map) = KeyMap::new(&[required.to_owned(), map]) else {
                continue;
            };
            let format = mapped(&map, &Wanted::default()).unwrap();
            for line in [&line, &bytes] {
                format.parse(line, &Bump::new(), &mut Record::default());
            }
        }
    }
}
