//! The recorded cases: what Matomo's own importer sends and says for the same logs and options, and where we do
//! better on purpose. Each case holds log files, arguments, how the server behaves, and what is expected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Map, Value, json};

use crate::support::folder::fixtures;
use crate::support::http::Server;
use crate::support::matomo::{ApiCall, Matomo, Seen, from_base64};
use crate::support::{Ended, Folder, Program, TOKEN};

/// Cases run at once: most of the time they wait.
const THREADS: usize = 4;

/// Cases that contradict others, and in what exactly we differ from them.
const CONTRADICTIONS: [(&str, &[&str]); 1] = [
    // It holds a race of the script's between its recorders: the site that was created counts as one that existed,
    // too. `better/add_site_twice` wants it counted once, and so do we.
    (
        "hosts/add_sites_recorders",
        &[
            "summary sites: expected 3, got 2",
            "summary sites_existed: expected 2, got 1",
        ],
    ),
];

#[test]
fn the_program_sends_and_says_what_was_recorded() {
    let help = Program::new(&Folder::new())
        .args("--help")
        .run()
        .exits(0)
        .out;
    let cases = cases();
    assert!(cases.len() >= 198, "{} cases", cases.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let rows = differences(&case["expect"], case, &run(case, &help));
                    let known = CONTRADICTIONS.iter().find(|(known, _)| known == name);
                    if rows != known.map_or(&[][..], |(_, rows)| *rows) {
                        failed.lock().unwrap().push(told(name, case, &rows));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} cases differ:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// All cases, named `file/case`.
fn cases() -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    let mut files: Vec<_> = fs::read_dir(fixtures().join("cases"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let group = file.file_stem().unwrap().to_string_lossy().into_owned();
        let Ok(Value::Array(own)) = serde_json::from_slice(&fs::read(&file).unwrap()) else {
            panic!("{} holds no list of cases", file.display());
        };
        cases.extend(
            own.into_iter()
                .map(|case| (format!("{group}/{}", text(&case["name"])), case)),
        );
    }
    cases
}

fn told(name: &str, case: &Value, rows: &[String]) -> String {
    let shown: Vec<String> = rows
        .iter()
        .take(6)
        .map(|row| format!("    {row}"))
        .collect();
    format!("{name} - {}\n{}", text(&case["about"]), shown.join("\n"))
}

/// What the server saw and the program said.
struct Got {
    ended: Ended,
    seen: Seen,
}

fn run(case: &Value, help: &str) -> Got {
    let folder = Folder::new();
    let mut names = Vec::new();
    for file in list(&case["files"]) {
        let content = match file.get("base64") {
            Some(packed) => from_base64(text(packed)),
            None => text(&file["text"]).into(),
        };
        folder.write(text(&file["name"]), content);
        if file.get("aside").is_none() {
            names.push(file["name"].clone());
        }
    }
    let matomo = Arc::new(Matomo::new(&case["server"]));
    let answering = Arc::clone(&matomo);
    let server = Server::start(move |request| answering.answer(request));
    let path = case.get("url_path").map_or("/", text);
    let mut program = Program::new(&folder).arg(format!("--url={}{path}", server.url()));
    if case.get("token") != Some(&Value::Bool(false)) {
        program = program.arg(format!("--token-auth={TOKEN}"));
    }
    // Options that the recorded importer did not have, which make ours behave as that did.
    let newer = list(&case["if_known"]).iter();
    let newer = newer.filter(|arg| help.contains(text(arg).split('=').next().unwrap_or_default()));
    let names = case.get("names").map_or(&names[..], list);
    for arg in list(&case["args"]).iter().chain(newer).chain(names) {
        program = program.arg(text(arg));
    }
    for (name, value) in case["env"].as_object().into_iter().flatten() {
        program = program.env(name, text(value));
    }
    let ended = program
        .stdin(case["stdin"].as_str().unwrap_or_default())
        .run();
    Got {
        ended,
        seen: matomo.seen(),
    }
}

/// What a user of the server sees, and what a script that reads the summary does.
fn differences(want: &Value, case: &Value, got: &Got) -> Vec<String> {
    let ignored = |key: &str| {
        want.get(key).is_none() || list(&case["ignore"]).iter().any(|ignored| ignored == key)
    };
    let mut rows = Vec::new();
    let mut compare = |what: String, want: Value, got: Value| {
        if want != got {
            rows.push(format!("{what}: expected {want}, got {got}"));
        }
    };
    if !ignored("exit") {
        compare(
            "exit".into(),
            want["exit"].clone(),
            json!(u8::from(got.ended.code != Some(0))),
        );
    }
    if !ignored("summary") {
        let told = got.ended.summary().known;
        let known = want["summary"].as_object().unwrap();
        for name in distinct(known.keys().map(String::as_str).chain(told.keys().copied())) {
            let told = told.get(name).map_or(Value::Null, |number| json!(number));
            compare(
                format!("summary {name}"),
                want["summary"][name].clone(),
                told,
            );
        }
    }
    if !ignored("tracker") {
        compare(
            "tracker".into(),
            want["tracker"].clone(),
            json!(got.seen.tracker),
        );
    }
    if !ignored("token_sent") {
        compare(
            "token_sent".into(),
            want["token_sent"].clone(),
            json!(got.seen.tokens),
        );
    }
    if !ignored("api") {
        let wanted: BTreeSet<ApiCall> = list(&want["api"]).iter().map(api_call).collect();
        compare("api".into(), json!(wanted), json!(got.seen.api));
    }
    if !ignored("hits") {
        let sent = ordered(got.seen.hits.iter().map(plain).collect());
        let wanted = list(&want["hits"]);
        compare("hits".into(), json!(wanted.len()), json!(sent.len()));
        for (place, (wanted, sent)) in wanted.iter().zip(&sent).enumerate() {
            for key in distinct(keys(wanted).chain(keys(sent))) {
                compare(
                    format!("hit {place} {key}"),
                    wanted[key].clone(),
                    sent[key].clone(),
                );
            }
        }
    }
    rows
}

/// Names in the order in which they come, each once.
fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

fn api_call(call: &Value) -> ApiCall {
    let form = call["form"].as_object().unwrap().iter();
    let form = form.map(|(key, value)| (key.clone(), text(value).to_owned()));
    (text(&call["path"]).to_owned(), form.collect())
}

/// One hit with values as text, and custom variables as objects: how a value is spelt in JSON does not matter.
fn plain(hit: &Value) -> Value {
    let Value::Object(hit) = hit else {
        return Value::Null;
    };
    let mut plain = Map::new();
    for (key, value) in hit {
        let value = match (key.as_str(), value) {
            // A mark of our own, by which we can ask for a hit; an empty user id is the same as none.
            ("pv_id", _) => continue,
            ("uid", value) if value == "" => continue,
            ("cvar" | "_cvar", value) => variables(value),
            // Fractions of a second are optional.
            ("cdt", value) => json!(spelt(value).chars().take(19).collect::<String>()),
            (_, value @ (Value::Object(_) | Value::Array(_))) => value.clone(),
            (_, value) => json!(spelt(value)),
        };
        plain.insert(key.clone(), value);
    }
    Value::Object(plain)
}

fn variables(value: &Value) -> Value {
    let parsed = match value {
        Value::String(text) if text.starts_with(['{', '[']) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    let Value::Object(variables) = parsed else {
        return parsed;
    };
    let pairs = variables.iter().map(|(number, pair)| {
        let pair: Vec<String> = list(pair).iter().map(spelt).collect();
        (number.clone(), json!(pair))
    });
    Value::Object(pairs.collect())
}

/// A plain value as the recordings spell it, which is Python's way.
fn spelt(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Null => "None".into(),
        other => other.to_string(),
    }
}

/// Hits grouped by visitor, each visitor's own order kept: recorders may interleave visitors in any way.
fn ordered(hits: Vec<Value>) -> Vec<Value> {
    let mut by_visitor: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for hit in hits {
        let visitor = [&hit["uid"], &hit["cip"]]
            .into_iter()
            .find_map(Value::as_str)
            .unwrap_or_default();
        by_visitor.entry(visitor.to_owned()).or_default().push(hit);
    }
    by_visitor.into_values().flatten().collect()
}

fn keys(hit: &Value) -> impl Iterator<Item = &str> {
    hit.as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
