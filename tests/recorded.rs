//! The recorded cases of `fixtures/cases`: what the program sends to Matomo and reports for a log
//! and its options. Most were recorded with Matomo's own importer; the others are deliberate
//! differences from it. `fixtures/cases/README.md` describes the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use chrono::{Duration, NaiveDateTime};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::folder::fixtures;
use crate::support::http::Server;
use crate::support::matomo::{ApiCall, Matomo, Seen, from_base64};
use crate::support::{Ended, Folder, Program, TOKEN};

/// Cases that run concurrently. They mostly wait.
const THREADS: usize = 4;

/// Guards against cases that get lost by mistake.
const MIN_CASES: usize = 310;

/// The most differences reported for a case.
const MAX_DIFFERENCES: usize = 12;

/// Cases that contradict another case, and exactly how the program differs from them.
const CONTRADICTIONS: [(&str, &[&str]); 1] = [
    // Recorded with a race between the script's recorders: a site that was created is also
    // counted as one that existed. `better/add_site_twice` expects one count.
    (
        "hosts/add_sites_recorders",
        &[
            "summary sites: expected 3, got 2",
            "summary sites_existed: expected 2, got 1",
        ],
    ),
];

/// The counters of the summary; a case names those that are not zero.
const COUNTERS: [&str; 16] = [
    "imported",
    "downloads",
    "ignored",
    "http_errors",
    "http_redirects",
    "invalid",
    "filtered",
    "no_site",
    "hostname",
    "bots",
    "static",
    "skipped_downloads",
    "sites",
    "sites_existed",
    "sites_created",
    "hosts_ignored",
];

#[test]
fn recorded_cases_are_sent_and_reported_as_expected() {
    let cases = load_cases();
    assert!(
        cases.len() >= MIN_CASES,
        "only {} cases, expected at least {MIN_CASES}",
        cases.len()
    );
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = case.run();
                    let differences = case.expect.differences(&run);
                    let known = CONTRADICTIONS.iter().find(|(known, _)| known == name);
                    if differences != known.map_or(&[][..], |(_, differences)| *differences) {
                        let failure = describe_failure(name, case, &run, &differences);
                        failed.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

fn describe_failure(name: &str, case: &Case, run: &CaseRun, differences: &[String]) -> String {
    let mut failure = format!("fixtures/cases/{name}.toml: {}\n", case.about);
    for difference in differences.iter().take(MAX_DIFFERENCES) {
        failure += &format!("    {difference}\n");
    }
    if differences.len() > MAX_DIFFERENCES {
        let more = differences.len() - MAX_DIFFERENCES;
        failure += &format!("    and {more} more\n");
    }
    for line in run.ended.err.lines().take(MAX_DIFFERENCES) {
        failure += &format!("    stderr: {line}\n");
    }
    failure
}

/// All cases, named `FOLDER/FILE` without the extension.
fn load_cases() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for folder in sorted_entries(&fixtures().join("cases")) {
        if !folder.is_dir() {
            continue;
        }
        for file in sorted_entries(&folder) {
            let toml = fs::read_to_string(&file).unwrap();
            let case =
                toml::from_str(&toml).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let name = format!("{}/{}", stem(&folder), stem(&file));
            cases.push((name, case));
        }
    }
    cases
}

fn sorted_entries(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    args: Vec<String>,
    /// Arguments that name the logs, if they are not simply the names of `files`.
    logs: Option<Vec<String>>,
    /// Content of `access.log`.
    log: Option<String>,
    #[serde(default)]
    files: Vec<CaseFile>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Whether `--token-auth` is passed.
    #[serde(default = "yes")]
    token: bool,
    /// Whether `--keep-internal-referrers` is passed, because the script sends them.
    #[serde(default = "yes")]
    internal_referrers: bool,
    /// Path of `--url`.
    #[serde(default = "root")]
    url_path: String,
    /// Sites and faults of the server, see `support::matomo`.
    #[serde(default)]
    server: Map<String, Value>,
    expect: Expectation,
}

/// A file in the working directory of the program, with exactly one of `text`, `bytes` and
/// `base64`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    name: String,
    /// Whether the file is a log to pass as an argument.
    #[serde(default = "yes")]
    argument: bool,
    /// How often the content is repeated.
    #[serde(default = "once")]
    times: usize,
    text: Option<String>,
    /// Text in which `\xHH` is a byte.
    bytes: Option<String>,
    base64: Option<String>,
}

fn yes() -> bool {
    true
}

fn once() -> usize {
    1
}

fn root() -> String {
    "/".to_owned()
}

impl CaseFile {
    fn content(&self) -> Vec<u8> {
        let content = match (&self.text, &self.bytes, &self.base64) {
            (Some(text), None, None) => text.clone().into_bytes(),
            (None, Some(escaped), None) => unescape(escaped),
            (None, None, Some(base64)) => from_base64(base64),
            _ => panic!("{}: needs one of text, bytes and base64", self.name),
        };
        content.repeat(self.times)
    }
}

/// Replaces each `\xHH` with its byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split(r"\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// What the server received and how the program ended.
struct CaseRun {
    ended: Ended,
    seen: Seen,
}

impl Case {
    fn run(&self) -> CaseRun {
        let folder = Folder::new();
        for (name, content) in self.file_contents() {
            folder.write(name, content);
        }
        let matomo = Arc::new(Matomo::new(&self.server_spec()));
        let answering = Arc::clone(&matomo);
        let server = Server::start(move |request| answering.answer(request));
        let mut program =
            Program::new(&folder).arg(format!("--url={}{}", server.url(), self.url_path));
        if self.token {
            program = program.arg(format!("--token-auth={TOKEN}"));
        }
        if self.internal_referrers {
            program = program.arg("--keep-internal-referrers");
        }
        for arg in self.args.iter().chain(&self.log_args()) {
            program = program.arg(arg);
        }
        for (name, value) in &self.env {
            program = program.env(name, value);
        }
        let ended = program.stdin(&self.stdin).run();
        CaseRun {
            ended,
            seen: matomo.seen(),
        }
    }

    /// Names and contents of all files.
    fn file_contents(&self) -> Vec<(&str, Vec<u8>)> {
        let log = self.log.iter();
        let log = log.map(|log| ("access.log", log.clone().into_bytes()));
        let files = self.files.iter();
        log.chain(files.map(|file| (file.name.as_str(), file.content())))
            .collect()
    }

    fn log_args(&self) -> Vec<String> {
        if let Some(logs) = &self.logs {
            return logs.clone();
        }
        let log = self.log.iter().map(|_| "access.log".to_owned());
        let files = self.files.iter().filter(|file| file.argument);
        log.chain(files.map(|file| file.name.clone())).collect()
    }

    /// `server`, with each fault repeated as often as its `times` says.
    fn server_spec(&self) -> Value {
        let mut spec = Value::Object(self.server.clone());
        if let Some(faults) = spec.get_mut("tracker_faults") {
            let mut repeated = Vec::new();
            for fault in faults.as_array().unwrap() {
                let mut fault = fault.clone();
                let times = fault.as_object_mut().unwrap().remove("times");
                let times = times.map_or(1, |times| times.as_u64().unwrap());
                repeated.extend((0..times).map(|_| fault.clone()));
            }
            *faults = Value::Array(repeated);
        }
        spec
    }
}

/// What the program sends and reports. Optional keys that are left out are not compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    /// 0, or 1 for any failure.
    exit: u8,
    summary: Option<ExpectedSummary>,
    api: Option<Vec<Map<String, Value>>>,
    tracker: Option<BTreeSet<String>>,
    token_sent: Option<BTreeSet<String>>,
    #[serde(default)]
    every_hit: Map<String, Value>,
    #[serde(default)]
    like: BTreeMap<String, Map<String, Value>>,
    hits: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ExpectedSummary {
    /// `false`: no summary is printed.
    Printed(bool),
    /// The counters that are not zero.
    Counts(BTreeMap<String, u64>),
}

impl Expectation {
    fn differences(&self, run: &CaseRun) -> Vec<String> {
        let mut differences = Vec::new();
        let exit = u8::from(run.ended.code != Some(0));
        compare("exit", &json!(self.exit), &json!(exit), &mut differences);
        if self.summary.is_some() {
            let expected = self.counters();
            let printed = run.ended.summary().known;
            for name in distinct(COUNTERS.into_iter().chain(printed.keys().copied())) {
                let expected = expected.get(name).map_or(Value::Null, |count| json!(count));
                let got = printed.get(name).map_or(Value::Null, |count| json!(count));
                compare(
                    &format!("summary {name}"),
                    &expected,
                    &got,
                    &mut differences,
                );
            }
        }
        if let Some(expected) = &self.tracker {
            compare_sets("tracker", expected, &run.seen.tracker, &mut differences);
        }
        if let Some(expected) = &self.token_sent {
            compare_sets("token_sent", expected, &run.seen.tokens, &mut differences);
        }
        if let Some(expected) = self.api_calls() {
            compare_sets("api", &expected, &run.seen.api, &mut differences);
        }
        let got = by_visitor(run.seen.hits.iter().map(plain).collect());
        compare_hits(&self.all_hits(), &got, &mut differences);
        differences
    }

    /// All counters that are expected to be printed.
    fn counters(&self) -> BTreeMap<&str, u64> {
        match &self.summary {
            None | Some(ExpectedSummary::Printed(false)) => BTreeMap::new(),
            Some(ExpectedSummary::Printed(true)) => panic!("summary = true says no counters"),
            Some(ExpectedSummary::Counts(counts)) => {
                let unknown = |name: &&String| !COUNTERS.contains(&name.as_str());
                let unknown = counts.keys().find(unknown);
                assert_eq!(unknown, None, "unknown counter in summary");
                let count = |name| counts.get(name).copied().unwrap_or(0);
                COUNTERS.map(|name| (name, count(name))).into()
            }
        }
    }

    /// The expected API calls, with the parameters that every call has.
    fn api_calls(&self) -> Option<BTreeSet<ApiCall>> {
        let complete = |call: &Map<String, Value>| {
            let common = [
                ("module", "API"),
                ("format", "json"),
                ("filter_limit", "-1"),
            ];
            let common = common.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let mut form = BTreeMap::from(common);
            form.extend(
                call.iter()
                    .map(|(name, value)| (name.clone(), spelt(value))),
            );
            let path = form.remove("path").unwrap_or_else(root);
            (path, form)
        };
        Some(self.api.as_ref()?.iter().map(complete).collect())
    }

    /// The expected hits in the order of `by_visitor`: rows completed by `every_hit` and `like`,
    /// and repeated.
    fn all_hits(&self) -> Vec<Value> {
        let mut hits = Vec::new();
        for row in &self.hits {
            let mut row = row.clone();
            let mut take = |key| row.remove(key);
            let times = take("times").map_or(1, |times| times.as_i64().unwrap());
            let minutes_apart = take("minutes_apart").map_or(0, |apart| apart.as_i64().unwrap());
            let mut hit = self.every_hit.clone();
            if let Some(like) = take("like") {
                let like = spelt(&like);
                let template = self.like.get(&like);
                hit.extend(template.unwrap_or_else(|| panic!("no like.{like}")).clone());
            }
            hit.extend(row);
            for turn in 0..times {
                let mut hit = hit.clone();
                if minutes_apart > 0 {
                    let later = Duration::minutes(turn * minutes_apart);
                    hit["cdt"] = json!(shift(&spelt(&hit["cdt"]), later));
                }
                hits.push(plain(&Value::Object(hit)));
            }
        }
        by_visitor(hits)
    }
}

fn shift(date: &str, later: Duration) -> String {
    const FORMAT: &str = "%Y-%m-%d %H:%M:%S";
    let date = NaiveDateTime::parse_from_str(date, FORMAT).unwrap();
    (date + later).format(FORMAT).to_string()
}

fn compare(what: &str, expected: &Value, got: &Value, differences: &mut Vec<String>) {
    if expected != got {
        let [expected, got] = [expected, got].map(|value| match value {
            Value::Null => "none".to_owned(),
            value => value.to_string(),
        });
        differences.push(format!("{what}: expected {expected}, got {got}"));
    }
}

fn compare_sets<T: Ord + Debug>(
    what: &str,
    expected: &BTreeSet<T>,
    got: &BTreeSet<T>,
    differences: &mut Vec<String>,
) {
    let missing = expected.difference(got);
    differences.extend(missing.map(|item| format!("{what}: missing {item:?}")));
    let unexpected = got.difference(expected);
    differences.extend(unexpected.map(|item| format!("{what}: unexpected {item:?}")));
}

/// Compares parameter by parameter if the numbers of hits agree. Otherwise reports the hits
/// between the first and the last that differ.
fn compare_hits(expected: &[Value], got: &[Value], differences: &mut Vec<String>) {
    if expected.len() == got.len() {
        for (number, (expected, got)) in (1..).zip(expected.iter().zip(got)) {
            for key in distinct(keys(expected).chain(keys(got))) {
                let visitor = visitor(expected);
                let what = format!("hit {number} ({}) {key}", visitor.unwrap_or("no visitor"));
                compare(&what, &expected[key], &got[key], differences);
            }
        }
        return;
    }
    compare(
        "hits",
        &json!(expected.len()),
        &json!(got.len()),
        differences,
    );
    let equal = |pair: &(&Value, &Value)| pair.0 == pair.1;
    let before = expected.iter().zip(got).take_while(equal).count();
    let (expected, got) = (&expected[before..], &got[before..]);
    let after = expected.iter().rev().zip(got.iter().rev());
    let after = after.take_while(equal).count();
    let missing = expected[..expected.len() - after].iter();
    differences.extend(missing.map(|hit| format!("missing hit {hit}")));
    let unexpected = got[..got.len() - after].iter();
    differences.extend(unexpected.map(|hit| format!("unexpected hit {hit}")));
}

/// Each name once, in the order of its first appearance.
fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| seen.insert(*name)).collect()
}

/// A hit with values as text and custom variables as objects, so that their notation in JSON does
/// not matter.
fn plain(hit: &Value) -> Value {
    let Value::Object(hit) = hit else {
        return Value::Null;
    };
    let mut plain = Map::new();
    for (key, value) in hit {
        let value = match (key.as_str(), value) {
            // The program's own hit identifier; the script sends none.
            ("pv_id", _) => continue,
            // An empty user ID is the same as none.
            ("uid", value) if value == "" => continue,
            ("cvar" | "_cvar", value) => custom_variables(value),
            // Fractions of a second are optional.
            ("cdt", value) => json!(spelt(value).chars().take(19).collect::<String>()),
            (_, value @ (Value::Object(_) | Value::Array(_))) => value.clone(),
            (_, value) => json!(spelt(value)),
        };
        plain.insert(key.clone(), value);
    }
    Value::Object(plain)
}

fn custom_variables(value: &Value) -> Value {
    let parsed = match value {
        Value::String(text) if text.starts_with(['{', '[']) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    let Value::Object(variables) = parsed else {
        return parsed;
    };
    let pairs = variables.iter().map(|(number, pair)| {
        let pair = pair.as_array().into_iter().flatten();
        (number.clone(), pair.map(spelt).collect())
    });
    Value::Object(pairs.collect())
}

/// A value as the recordings write it, in Python's notation.
fn spelt(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Null => "None".into(),
        other => other.to_string(),
    }
}

/// Groups hits by visitor and keeps the order of each visitor's hits: recorders may interleave
/// visitors in any way.
fn by_visitor(hits: Vec<Value>) -> Vec<Value> {
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for hit in hits {
        let visitor = visitor(&hit).unwrap_or_default().to_owned();
        groups.entry(visitor).or_default().push(hit);
    }
    groups.into_values().flatten().collect()
}

fn visitor(hit: &Value) -> Option<&str> {
    ["uid", "cid", "cip"]
        .into_iter()
        .find_map(|name| hit[name].as_str())
}

fn keys(hit: &Value) -> impl Iterator<Item = &str> {
    hit.as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
}
