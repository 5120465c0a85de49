//! `--report`: figures of a run as files.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::Value;

use crate::listening;
use crate::support::fake::{Fault, Faults, Options, When};
use crate::support::folder::fixtures;
use crate::support::stored::{count, fake_matomo, options, started};
use crate::support::{Ended, Folder, Program, logs, until};

const FIXTURES: [&str; 3] = ["icecast2.log", "ncsa_extended.log", "nginx_json.log"];

fn json(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&folder.read(name)).unwrap()
}

/// The rows of a table without quoted fields, by the names of its columns.
fn table(folder: &Folder, name: &str) -> Vec<BTreeMap<String, String>> {
    let text = folder.read(name);
    let mut rows = text
        .lines()
        .map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
    let names = rows.next().unwrap();
    rows.map(|row| {
        assert_eq!(row.len(), names.len(), "{row:?}");
        names.iter().cloned().zip(row).collect()
    })
    .collect()
}

/// Checks that the counters of a report add up, and are those of the summary.
#[track_caller]
fn assert_is_summary(report: &Value, ended: &Ended) {
    let run = &report["run"];
    let number = |name: &str| run[name].as_u64().unwrap();
    let summary = ended.summary();
    for (name, in_summary) in [
        ("imported", "imported"),
        ("downloads", "downloads"),
        ("refused", "refused"),
        ("unsent", "unsent"),
        ("sites", "sites"),
    ] {
        assert_eq!(number(name), summary.get(in_summary), "{name}: {ended}");
    }
    assert_eq!(number("ignored"), summary.dropped(), "{ended}");
    let by_reason = run["ignored_by_reason"].as_object().unwrap().values();
    let by_reason: u64 = by_reason.map(|lines| lines.as_u64().unwrap()).sum();
    assert_eq!(number("ignored"), by_reason);
    let ends = [
        "headers",
        "skipped",
        "imported",
        "ignored",
        "refused",
        "lost",
        "unconfirmed",
        "unsent",
    ];
    assert_eq!(number("read"), ends.map(number).iter().sum::<u64>());
    for name in ["read", "imported", "ignored"] {
        let logs = run["logs"].as_array().unwrap().iter();
        let sum: u64 = logs.map(|log| log[name].as_u64().unwrap()).sum();
        assert_eq!(sum, number(name), "{name}");
    }
}

#[test]
fn the_counters_are_those_of_the_summary() {
    for name in FIXTURES {
        let folder = Folder::new();
        let ended = Program::new(&folder)
            .args("--sandbox=hits.db --report=r.json --report=R.CSV --report-title=Radio")
            .arg(fixtures().join("logs").join(name))
            .run()
            .exits(0);
        let report = json(&folder, "r.json");
        assert_is_summary(&report, &ended);
        assert_eq!(report["version"], 1);
        assert_eq!(report["title"], "Radio");
        assert!(report["run"]["imported"].as_u64().unwrap() > 100, "{name}");
        assert_eq!(report["run"]["dry_run"], false);
        let path = report["run"]["logs"][0]["name"].as_str().unwrap();
        assert!(path.ends_with(name));
        let db = Connection::open(folder.file("hits.db")).unwrap();
        let batches = "SELECT count(DISTINCT batch) FROM hits";
        let batches: i64 = db.query_row(batches, [], |row| row.get(0)).unwrap();
        assert_eq!(report["run"]["requests"], batches, "{name}");
        assert!(
            folder
                .read("R.CSV")
                .starts_with("kind,name,period,first_day,")
        );
    }
}

/// The answer of a query: pairs of a text and a number.
fn pairs(folder: &Folder, select: &str) -> Vec<(String, u64)> {
    let db = Connection::open(folder.file("hits.db")).unwrap();
    let mut query = db.prepare(select).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    let rows = rows.unwrap().map(Result::unwrap);
    rows.map(|(text, n)| (text, n.unsigned_abs())).collect()
}

/// The rows of a list in the JSON report.
fn listed(list: &Value, [text, number]: [&str; 2]) -> Vec<(String, u64)> {
    let rows = list.as_array().unwrap().iter();
    let text = |row: &Value| row[text].as_str().unwrap().to_owned();
    rows.map(|row| (text(row), row[number].as_u64().unwrap()))
        .collect()
}

const BY_DAY: &str = "SELECT day, count(*) FROM hits GROUP BY day ORDER BY day";
const BY_STATUS: &str = "SELECT status, count(*) FROM
    (SELECT CAST(status AS TEXT) AS status FROM hits WHERE status IS NOT NULL)
    GROUP BY status ORDER BY 2 DESC, 1 LIMIT 100";
const BY_REFERRER: &str = "SELECT referrer_host, count(*) FROM hits
    WHERE referrer_host IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100";
/// The path of `http://host/path?query`.
const BY_PAGE: &str = "SELECT path, count(*) FROM (
        SELECT CASE instr(rest, '?') WHEN 0 THEN rest ELSE substr(rest, 1, instr(rest, '?') - 1) END
            AS path
        FROM (
            SELECT substr(part, instr(part, '/')) AS rest FROM
                (SELECT substr(url, instr(url, '://') + 3) AS part FROM hits
                    WHERE kind = 'page view')
        )
    )
    GROUP BY path ORDER BY 2 DESC, 1 LIMIT 100";

#[test]
fn web_figures_are_those_of_the_sandbox() {
    for name in ["ncsa_extended.log", "nginx_json.log"] {
        let folder = Folder::new();
        Program::new(&folder)
            .args("--sandbox=hits.db --report=r.json --report=r.csv --report-timezone=UTC")
            .args("--enable-static --enable-http-errors --enable-http-redirects --enable-bots")
            .arg(fixtures().join("logs").join(name))
            .run()
            .exits(0);
        let report = json(&folder, "r.json");
        let web = &report["web"];
        assert_eq!(report["listening"], Value::Null);
        assert_eq!(web["hits"], report["run"]["imported"]);
        for (list, names, kind, select) in [
            ("days", ["day", "hits"], "web", BY_DAY),
            ("pages", ["path", "views"], "page", BY_PAGE),
            ("status", ["status", "hits"], "status", BY_STATUS),
            ("referrers", ["host", "hits"], "referrer", BY_REFERRER),
        ] {
            let found = listed(&web[list], names);
            assert!(!found.is_empty() || list == "referrers", "{name}: {list}");
            assert_eq!(found, pairs(&folder, select), "{name}: {list}");
            let rows = table(&folder, "r.csv").into_iter();
            let period = if kind == "web" { "day" } else { "total" };
            let rows = rows.filter(|row| row["kind"] == kind && row["period"] == period);
            let key = if kind == "web" { "first_day" } else { "name" };
            let rows: Vec<(String, u64)> = rows
                .map(|row| (row[key].clone(), row["hits"].parse().unwrap()))
                .collect();
            assert_eq!(rows, found, "{name}: {list}");
        }
    }
}

#[test]
fn days_are_those_of_the_log_or_of_the_zone_of_the_report() {
    // Half an hour before midnight.
    let late = logs::line(84_600, 5);
    for (log, args, zone, day) in [
        (late.clone(), "", "UTC", "2024-05-14"),
        (
            late.replace("+0000", "-0430"),
            "",
            "UTC-04:30",
            "2024-05-14",
        ),
        (
            late.clone() + &late.replace("+0000", "-0430"),
            "",
            "UTC",
            "2024-05-14",
        ),
        (
            late.clone(),
            "--report-timezone=Asia/Tokyo",
            "Asia/Tokyo",
            "2024-05-15",
        ),
        (
            late,
            "--report-timezone=Asia/Tokyo --listening-time=off",
            "Asia/Tokyo",
            "2024-05-15",
        ),
    ] {
        let folder = Folder::with_log(log);
        Program::new(&folder)
            .args("--sandbox --report=r.json --log-format-name=ncsa_extended access.log")
            .args(args)
            .run()
            .exits(0);
        let report = json(&folder, "r.json");
        assert_eq!(report["zone"], zone);
        assert_eq!(report["web"]["days"][0]["day"], day, "{zone}");
    }
}

#[test]
fn listeners_are_no_web_hits() {
    for args in ["", "--log-format-name=icecast2"] {
        let folder = Folder::new();
        Program::new(&folder)
            .args("--sandbox --report=r.json")
            .args(args)
            .arg(fixtures().join("logs/icecast2.log"))
            .run()
            .exits(0);
        assert_eq!(json(&folder, "r.json")["web"], Value::Null, "{args}");
    }
    let folder = Folder::new();
    Program::new(&folder)
        .args("--sandbox --listening-time=off --report=r.json")
        .arg(fixtures().join("logs/ncsa_extended.log"))
        .run()
        .exits(0);
    assert_ne!(json(&folder, "r.json")["web"], Value::Null);
}

#[test]
fn listening_figures_are_those_of_the_sandbox() {
    let folder = Folder::new();
    Program::new(&folder)
        .args("--sandbox=hits.db --report=r.json --report-timezone=UTC")
        .args("--log-format-name=icecast2")
        .arg(fixtures().join("logs/icecast2.log"))
        .run()
        .exits(0);
    let report = json(&folder, "r.json");
    let groups = report["listening"]["groups"].as_array().unwrap();
    let by_mount = |field: &str| -> BTreeMap<String, u64> {
        let mounts = groups.iter().filter(|group| group["kind"] == "mount");
        mounts
            .map(|group| {
                let number = group["total"][field].as_u64().unwrap();
                (group["name"].as_str().unwrap().to_owned(), number)
            })
            .collect()
    };
    for (field, select) in [
        ("sessions", "count(*)"),
        ("seconds", "sum(seconds)"),
        ("unique_listeners", "count(DISTINCT listener)"),
    ] {
        let select = format!("SELECT mount, {select} FROM listening GROUP BY mount");
        let expected = BTreeMap::from_iter(pairs(&folder, &select));
        assert!(!expected.is_empty());
        assert_eq!(by_mount(field), expected, "{field}");
    }
    let sessions: u64 = by_mount("sessions").values().sum();
    assert_eq!(groups[0]["total"]["sessions"], sessions);
    let lengths = report["listening"]["lengths"].as_array().unwrap().iter();
    let in_lengths: u64 = lengths
        .map(|class| class["sessions"].as_u64().unwrap())
        .sum();
    assert_eq!(in_lengths, sessions);
}

/// The period of an object in the JSON report, as the table names it.
fn period_of(list: &str, measures: &Value) -> [String; 4] {
    let text = |name: &str| match &measures[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    };
    let period = match list {
        "total" => "total",
        "months" => "month",
        "days" => "day",
        "hours" => "hour",
        "weekday_hours" => "weekday_hour",
        other => panic!("a list {other}"),
    };
    let day = text("month") + &text("day");
    [period.to_owned(), day, text("weekday"), text("hour")]
}

#[test]
fn the_table_has_the_same_measures_as_the_json() {
    let log: String = (0..400)
        .map(|number| {
            let mount = ["/live", "/jazz", "/news"][number % 3];
            let address = format!("192.0.2.{}", number % 50);
            let end = 20_000 * number as i64;
            listening::icecast(&address, end, mount, 900 + 37 * number)
        })
        .collect();
    let folder = Folder::with_log(log);
    Program::new(&folder)
        .args("--sandbox --report=r.json --report=r.csv --report-timezone=Europe/Berlin")
        .args("--channel=Music=/live,/jazz --log-format-name=icecast2 access.log")
        .run()
        .exits(0);
    let report = json(&folder, "r.json");
    let mut rows = BTreeMap::new();
    for row in table(&folder, "r.csv") {
        // The beginning of a month or day names it.
        let day = match row["period"].as_str() {
            "month" => row["first_day"][..7].to_owned(),
            "day" => row["first_day"].clone(),
            _ => String::new(),
        };
        let group = [row["kind"].clone(), row["name"].clone()];
        let period = [
            row["period"].clone(),
            day,
            row["weekday"].clone(),
            row["hour"].clone(),
        ];
        assert!(rows.insert((group, period), row).is_none(), "a row twice");
    }
    let mut compared = 0;
    for group in report["listening"]["groups"].as_array().unwrap() {
        let members = group.as_object().unwrap().iter();
        let name = [&group["kind"], &group["name"]].map(|it| it.as_str().unwrap().to_owned());
        for (list, periods) in members.filter(|(name, _)| *name != "kind" && *name != "name") {
            let all = match periods {
                Value::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            for measures in all {
                let key = (name.clone(), period_of(list, &measures));
                let row = rows
                    .remove(&key)
                    .unwrap_or_else(|| panic!("no row {key:?}"));
                for (field, value) in measures.as_object().unwrap() {
                    match value {
                        Value::Number(number) => {
                            let (cell, value) = (row[field].parse::<f64>(), number.as_f64());
                            assert_eq!(cell.ok(), value, "{field} in {row:?}");
                        }
                        Value::String(text) if field == "peak_at" => assert_eq!(row[field], *text),
                        _ => {}
                    }
                }
                compared += 1;
            }
        }
    }
    assert!(rows.is_empty(), "only in the table: {rows:?}");
    assert!(compared > 500, "{compared} periods");
    let zones = table(&folder, "r.csv")
        .into_iter()
        .map(|row| row["zone"].clone());
    assert!(zones.into_iter().all(|zone| zone == "Europe/Berlin"));
}

#[test]
fn untrusted_text_is_harmless_in_a_table() {
    let evil = [
        "/=cmd|'/C%20calc'!A0",
        "/<script>alert(1)</script>",
        "/tab\\x09here,comma",
        "/quote\\x22",
    ];
    let lines: String = evil
        .iter()
        .enumerate()
        .map(|(number, path)| logs::page(path, number, 5))
        .collect();
    let folder = Folder::with_log(lines);
    folder.write(
        "referrer.log",
        logs::line(9, 5).replace("\"-\"", "\"http://=cmd.example/\""),
    );
    Program::new(&folder)
        .args("--sandbox --report=r.csv --report=r.json access.log referrer.log")
        .run()
        .exits(0);
    let text = folder.read("r.csv");
    assert!(text.lines().count() > 8, "{text}");
    for row in text.lines() {
        assert!(!row.contains(|c: char| c.is_control()), "{row:?}");
        for field in row.split(',') {
            let begin = field.trim_start_matches('"').chars().next();
            assert!(!begin.is_some_and(|c| "=+-@".contains(c)), "{row}");
        }
    }
    let pages = listed(&json(&folder, "r.json")["web"]["pages"], ["path", "views"]);
    assert!(pages.iter().any(|(path, _)| path.contains("<script>")));
}

#[test]
fn an_interrupted_import_is_reported() {
    let server = started(Options {
        delay: Duration::from_millis(30),
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(5000, 200));
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=2 --report=r.json access.log")
        .start();
    assert!(until(Duration::from_secs(10), || count(&server) >= 20));
    program.signal(Signal::INT);
    let ended = program.end().exits(130);
    let report = json(&folder, "r.json");
    assert_is_summary(&report, &ended);
    assert!(report["run"]["unsent"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn an_import_that_fails_midway_is_reported() {
    let server = started(Options {
        faults: Faults {
            rules: vec![(When::From(3), Fault::Html(403))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(logs::log(400));
    let ended = Program::new(&folder)
        .to(&server)
        .args(
            "--idsite=1 --retry-delay=0 --recorder-max-payload-size=10 --report=r.json access.log",
        )
        .run()
        .exits(1);
    let report = json(&folder, "r.json");
    assert_is_summary(&report, &ended);
    assert!(report["run"]["imported"].as_u64().unwrap() > 0);
    assert!(report["run"]["unsent"].as_u64().unwrap() > 0);
}

#[test]
fn a_report_that_cannot_be_written_stops_before_the_import() {
    let folder = Folder::with_log(logs::log(3));
    folder.write("text", "");
    for (file, word) in [
        // Not even root may create a file there.
        ("/proc/r.json", "cannot be written"),
        ("no/such/r.html", "cannot be written"),
        ("text/r.csv", "cannot be written"),
        ("r.pdf", ".csv, .json, .html or .txt"),
        ("/dev/stdout", ".csv, .json, .html or .txt"),
    ] {
        let server = fake_matomo();
        Program::new(&folder)
            .to(&server)
            .arg(format!("--report={file}"))
            .args("--idsite=1 access.log")
            .run()
            .exits(2)
            .says(&[&format!("--report={file}: "), word]);
        assert_eq!(count(&server), 0);
    }
}

#[test]
fn a_report_that_fails_at_the_end_costs_neither_the_import_nor_the_other_reports() {
    let folder = Folder::with_log(logs::log(3));
    std::os::unix::fs::symlink("/dev/full", folder.file("full.csv")).unwrap();
    let server = fake_matomo();
    Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --state-dir=state --report=full.csv --report=r.csv access.log")
        .run()
        .exits(3)
        .prints(&["3 requests imported successfully"])
        .says(&[
            "--report=full.csv: cannot be written: No space left",
            "add --dry-run",
        ]);
    assert_eq!(count(&server), 3);
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --dry-run --report=full.csv access.log")
        .run()
        .exits(3);
    assert!(!ended.err.contains("add --dry-run"), "{}", ended.err);
    assert!(folder.read("r.csv").contains("2024-05-14"));
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --state-dir=state --report=r.json access.log")
        .run()
        .exits(0);
    assert_is_summary(&json(&folder, "r.json"), &ended);
    assert_eq!(count(&server), 3, "the lines are done");
}

#[test]
fn a_report_replaces_no_log_and_no_file_of_another_option() {
    let log = logs::log(3);
    let folder = Folder::with_log(&log);
    folder.write("log.txt", &log);
    folder.write("paths.txt", "/*\n");
    for args in [
        "--report=log.txt log.txt",
        "--report=r.csv --report=./r.csv access.log",
        "--report=r.csv --rejects=r.csv access.log",
        "--report=r.csv --output=r.csv access.log",
        "--report=hits.csv --sandbox=hits.csv access.log",
        "--report=token.txt --token-auth-file=token.txt access.log",
        "--report=login.txt --auth-config=login.txt access.log",
        "--report=paths.txt --include-path-from=paths.txt access.log",
        "--report=paths.txt --exclude-path-from=./paths.txt access.log",
    ] {
        let program = Program::new(&folder).args(args);
        let program = match args.contains("--sandbox") {
            true => program,
            false => program.args("--sandbox"),
        };
        let ended = program.run().exits(2);
        let said = match args.contains("--output") {
            true => folder.read("r.csv"),
            false => ended.err,
        };
        assert!(said.contains("the same file"), "{args}: {said}");
    }
    assert_eq!(folder.read("log.txt"), log);
}

#[test]
fn runs_that_import_nothing_write_no_report() {
    let folder = Folder::with_log(logs::log(3));
    for args in ["--explain", "--dump-log-regex"] {
        Program::new(&folder)
            .args(args)
            .args("--report=r.json access.log")
            .run()
            .exits(0);
        assert!(!folder.file("r.json").exists(), "{args}");
    }
    Program::new(&folder)
        .args("--sandbox --dry-run --report=r.json access.log")
        .run()
        .exits(0);
    let run = &json(&folder, "r.json")["run"];
    assert_eq!(
        (&run["dry_run"], &run["imported"]),
        (&true.into(), &3.into())
    );
    assert_eq!(run["requests"], 0);
}
