//! Scanner, reader and serde_json say the same of any line.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::format::text::testing::changed_lines;

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: 4000,
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn scanner_and_reader_say_the_same_of_any_line() {
    let wanted = Wanted(["request_id", "n", "up", "o"].map(str::to_owned).to_vec());
    let format = nginx::NginxJson::new(&wanted);
    let (lines, scanned) = (Cell::new(0), Cell::new(0));
    let outcome = runner().run(&changed_lines(&NGINX), |line| {
        let arena = Bump::new();
        let (mut by_scan, mut by_reader, mut by_all) =
            (Record::default(), Record::default(), Record::default());
        let taken = format.scan(&line, &mut by_scan).is_some();
        let fits = format.read(&line, &arena, &mut by_reader).is_some();
        let fit = format.parse(&line, &arena, &mut by_all);
        assert_eq!(fit == Fit::Record, fits);
        let all = |record: &Record| {
            let extras = wanted
                .0
                .iter()
                .map(|name| record.by_name(name).map(<[u8]>::to_vec));
            (values(record), extras.collect::<Vec<_>>())
        };
        if taken {
            assert!(fits);
            assert_eq!(all(&by_scan), all(&by_reader));
        }
        if fits {
            assert_eq!(all(&by_all), all(&by_reader));
        }
        lines.set(lines.get() + 1);
        scanned.set(scanned.get() + u32::from(taken));
        Ok(())
    });
    outcome.unwrap();
    assert!(
        scanned.get() * 10 >= lines.get() * 3,
        "{} of {}",
        scanned.get(),
        lines.get()
    );
}

#[test]
fn no_bytes_panic_and_most_changed_lines_still_fit() {
    for format in formats(&Wanted::default()) {
        let (lines, fitting) = (Cell::new(0), Cell::new(0));
        let own: &'static [&'static str] = match format.name() {
            "nginx_json" => &NGINX,
            "traefik_json" => &TRAEFIK,
            _ => &CADDY,
        };
        let outcome = runner().run(&changed_lines(own), |line| {
            let (arena, mut record) = (Bump::new(), Record::default());
            let fit = format.parse(&line, &arena, &mut record);
            recognises(format.name(), &line);
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

/// The members as serde_json understands them; values that are no text are read by it a second time.
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
    fn any_object_is_read_as_serde_json_wrote_it(
        object in proptest::collection::btree_map(".*", any_json(), 0..6),
        pretty in any::<bool>(),
    ) {
        let written = match pretty {
            true => serde_json::to_vec_pretty(&object).unwrap(),
            false => serde_json::to_vec(&object).unwrap(),
        };
        // As JSON has it: numbers lose nothing, but what is no number was written as null.
        let want: BTreeMap<_, _> = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(members(&written), Some(want));
    }

    #[test]
    fn whatever_serde_json_reads_is_read_the_same(line in changed_lines(&CADDY)) {
        if let Ok(want) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&line) {
            prop_assert_eq!(members(&line), Some(want));
        }
    }
}
