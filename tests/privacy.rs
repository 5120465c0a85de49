//! `--anonymize-ip` and `--privacy`: what of a visitor is sent, written and printed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::listening::{SHOUTCAST_HEADER, icecast, shoutcast};
use crate::support::fake::{FakeMatomo, Fault, Faults, Mask, Options};
use crate::support::stored::{assert_each_once, count, fake_matomo, options, started, text};
use crate::support::{Ended, Folder, Program, at_once, folder, logs, until};

/// Both ways to hide addresses.
const WAYS: [&str; 2] = ["--anonymize-ip", "--privacy=cnil"];

const FORMAT: &str =
    r#"--log-format=%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" "%{X-Forwarded-For}i""#;

/// Addresses of visitors and proxies in the logs below.
const ADDRESSES: [&str; 16] = [
    "198.51.100.11",
    "198.51.100.12",
    "198.51.100.13",
    "198.51.100.14",
    "198.51.100.15",
    "198.51.100.16",
    "198.51.100.17",
    "198.51.100.18",
    "203.0.113.21",
    "203.0.113.22",
    "203.0.113.23",
    "192.0.2.1",
    "192.0.2.130",
    "2001:db8:1:2:3:4:5:6",
    "2001:db8:2:7::8",
    "10.11.12.13",
];

/// Lines that are imported, filtered, refused and invalid, with addresses wherever a line may have
/// them.
fn web_log() -> String {
    let agent = logs::AGENT;
    let at = "[14/May/2024:06:25:24 +0000]";
    [
        format!(r#"198.51.100.11 - - {at} "GET /page-0 HTTP/1.1" 200 5 "-" "{agent}" "-""#),
        format!(r#"10.11.12.13 - - {at} "GET /page-1?ip=198.51.100.12&next=203.0.113.21 HTTP/1.1" 200 5 "https://other.example/198.51.100.12?from=198.51.100.12" "{agent} (for 198.51.100.12)" "203.0.113.22, 198.51.100.12""#),
        format!(r#"10.11.12.13 - 198.51.100.13 {at} "GET /of/198.51.100.13/page-2 HTTP/1.1" 200 5 "-" "{agent}" "198.51.100.13:4711""#),
        format!(r#"2001:db8:1:2:3:4:5:6 - - {at} "GET /page-3?ip=2001%3Adb8%3A1%3A2%3A3%3A4%3A5%3A6 HTTP/1.1" 200 5 "-" "{agent}" "-""#),
        format!(r#"10.11.12.13 - - {at} "GET /2001:db8:2:7::8/page-4 HTTP/1.1" 200 5 "-" "{agent}" "[2001:db8:2:7::8]:443, 10.11.12.13""#),
        format!(r#"::ffff:198.51.100.14 - - {at} "GET /page-5 HTTP/1.1" 200 5 "-" "{agent}" "-""#),
        // A version is no address.
        format!(r#"198.51.100.15 - - {at} "GET /app-12.34.56.78/page-6 HTTP/1.1" 200 5 "-" "{agent}" "unknown""#),
        format!(r#"198.51.100.16 - - {at} "GET /style.css HTTP/1.1" 200 5 "-" "{agent}" "203.0.113.23""#),
        format!(r#"198.51.100.17 - - {at} "GET / HTTP/1.1" ok 5 "-" "{agent}" "203.0.113.23""#),
        format!(r#"198.51.100.18 - - [31/Feb/2024:06:25:24 +0000] "GET /?x=2001:db8:2:7::8 HTTP/1.1" 200 5 "-" "{agent}" "203.0.113.23, 2001:db8:2:7::8""#),
        "junk 203.0.113.23 [2001:db8:1:2:3:4:5:6]:80 ::ffff:198.51.100.18".to_owned(),
        String::new(),
    ]
    .join("\n")
}

/// All files below a folder but the logs.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("access.log") {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

/// Fails if a text has a whole address.
#[track_caller]
fn assert_hidden(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text).to_lowercase();
    for address in ADDRESSES {
        for spelling in [address.to_owned(), address.replace(':', "%3a")] {
            assert!(!text.contains(&spelling), "{what} has {spelling}:\n{text}");
        }
    }
}

#[track_caller]
fn assert_all_hidden(folder: &Folder, server: &FakeMatomo, ended: &Ended) {
    assert_hidden("stdout", ended.out.as_bytes());
    assert_hidden("stderr", ended.err.as_bytes());
    for (name, content) in files(folder.path()) {
        assert_hidden(&name, &content);
    }
    let log = server.log();
    for call in &log.tracker {
        assert_hidden("a tracking request", &call.body);
    }
    for call in &log.api {
        assert_hidden("a question", format!("{:?}", call.form).as_bytes());
    }
}

fn import(folder: &Folder, server: &FakeMatomo, args: &str) -> Ended {
    Program::new(folder)
        .to(server)
        .args("--idsite=1 --max-invalid=100 --retry-delay=0")
        .args(args)
        .run()
}

fn web_program(folder: &Folder, server: &FakeMatomo, way: &str) -> Program {
    Program::new(folder)
        .to(server)
        .arg(FORMAT)
        .args("--idsite=1 --max-invalid=100 --retry-delay=0 --client-ip=x_forwarded_for,ip")
        .args("--trusted-proxy=10.0.0.0/8 --dimension=2=user_agent")
        .args(way)
        .args(match way {
            "--privacy=cnil" => "",
            _ => "--dimension=1=x_forwarded_for --regex-group-to-page-cvar=x_forwarded_for=Proxies",
        })
}

#[test]
fn no_output_of_a_web_log_has_a_whole_address() {
    for way in WAYS {
        let server = started(Options {
            faults: Faults {
                script: vec![Some(Fault::Invalid(vec![2, 4]))],
                ..Faults::default()
            },
            ..options()
        });
        let folder = Folder::with_log(web_log());
        let ended = web_program(&folder, &server, way)
            .args("--state-dir=state --rejects=rejects.log -dd --debug-tracker --show-progress")
            .args("--report=report.csv --report=report.json --report=report.html")
            .args("--output=output.txt --read-back=on access.log")
            .run()
            .exits(3);
        assert_all_hidden(&folder, &server, &ended);
        let rejects = folder.read("rejects.log");
        assert_eq!(rejects.matches("refused").count(), 2, "{rejects}");
        assert_eq!(rejects.matches("invalid").count(), 3, "{rejects}");
        for masked in [
            "junk 203.0.0.0 [2001:db8:1::]:80 ::ffff:198.51.0.0",
            "198.51.0.0 - - [31/Feb/2024:06:25:24 +0000] \"GET /?x=2001:db8:2:: ",
        ] {
            assert!(rejects.contains(masked), "{rejects}");
        }
        let sent = server.log().sent();
        assert_eq!(sent.len(), 7);
        let has_version = |hit: &Value| text(hit, "url").contains("/app-12.34.56.78/");
        assert!(sent.iter().any(has_version), "{sent:?}");
        // What was refused can be imported.
        let again = import(&folder, &server, &format!("{way} rejects.log"));
        assert_eq!(again.summary().get("imported"), 2, "{again}");
        for more in [
            "--explain=20",
            "--dump-log-regex",
            "--dry-run -dd",
            "--state-dir=state --status",
        ] {
            let program = match more.contains("--status") {
                true => Program::new(&folder),
                false => web_program(&folder, &server, way).arg("access.log"),
            };
            let ended = program.args(more).run().exits(0);
            assert_all_hidden(&folder, &server, &ended);
        }
        let ended = Program::new(&folder)
            .arg(FORMAT)
            .args("--sandbox=sandbox.db --idsite=1 --client-ip=x_forwarded_for,ip access.log")
            .args(way)
            .run()
            .exits(0);
        assert_all_hidden(&folder, &server, &ended);
    }
}

#[test]
fn no_output_of_a_radio_log_has_a_whole_address() {
    let listeners = [
        "192.0.2.1",
        "192.0.2.130",
        "2001:db8:2:7::8",
        "198.51.100.11",
    ];
    let icecast_log: String = (0..8)
        .map(|number| icecast(listeners[number % 4], 4000 + number as i64, "/live", 600))
        .collect::<String>()
        + "198.51.100.12 junk\n";
    let shoutcast_log = SHOUTCAST_HEADER.to_owned()
        + &(0..8)
            .map(|number| shoutcast(listeners[number % 4], 4000 + number as i64, "/live", 600))
            .collect::<String>()
        + "198.51.100.12 198.51.100.12 junk\n";
    let countries = folder::fixtures().join("countries.mmdb");
    for (log, format) in [(&icecast_log, "icecast2"), (&shoutcast_log, "shoutcast")] {
        for way in WAYS {
            let (server, folder) = (fake_matomo(), Folder::with_log(log));
            let args = format!(
                "--log-format-name={format} --geoip-database={} --relay=198.51.100.11 {way} \
                 --report=report.csv --report=report.json --report=report.html --report=listeners.txt \
                 --state-dir=state --rejects=rejects.log -dd --debug-tracker access.log",
                countries.display()
            );
            let ended = import(&folder, &server, &args);
            assert_all_hidden(&folder, &server, &ended);
            // The relay and the countries are known by the whole address.
            let report = folder.read("report.json");
            let report: Value = serde_json::from_str(&report).unwrap();
            let report = report.to_string();
            for country in ["\"US\"", "\"DE\""] {
                assert!(report.contains(country), "{way}: {report}");
            }
            assert!(count(&server) > 0);
            let relayed = |hit: &Value| text(hit, "cip").starts_with("198.");
            assert!(!server.log().sent().iter().any(relayed), "{way}");
            let listeners = folder.read("listeners.txt");
            assert!(listeners.contains("192.0.0.0"), "{way}: {listeners}");
        }
    }
}

#[test]
fn rejects_in_utf_16_are_masked() {
    let log: Vec<u8> = format!("\u{feff}{}", web_log())
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let (server, folder) = (fake_matomo(), Folder::with_log(log));
    web_program(&folder, &server, "--anonymize-ip=1")
        .args("--encoding=utf-16 --rejects=rejects.log access.log")
        .run()
        .exits(0);
    let rejects = fs::read(folder.file("rejects.log")).unwrap();
    let (units, _) = rejects.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    let rejects = String::from_utf16(&units).unwrap();
    assert!(
        rejects.contains("junk 203.0.113.0 [2001:db8:1:2::]:80"),
        "{rejects}"
    );
    assert_hidden("the file of rejects", rejects.as_bytes());
}

#[test]
fn a_spool_is_for_its_owner_and_leaves_nothing() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let mut running = web_program(&folder, &server, "--privacy=cnil")
        .args("--state-dir=state --flush-interval=0.1 -")
        .start();
    running.write(&web_log());
    let is_spool = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("spool.")
    };
    let spools = || {
        let entries = fs::read_dir(folder.file("state")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(is_spool).collect::<Vec<_>>()
    };
    assert!(until(Duration::from_secs(20), || {
        count(&server) == 7 && !spools().is_empty()
    }));
    for spool in spools() {
        let mode = fs::metadata(&spool).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", spool.display());
    }
    let ended = running.end().exits(0);
    assert_all_hidden(&folder, &server, &ended);
}

/// The hits of a log of three days and four people behind one masked address, one line each.
fn people(way: &str) -> Vec<Value> {
    let server = started(Options {
        timezone: Some("Europe/Berlin"),
        ..options()
    });
    let folder = Folder::with_log(days(&[
        "14/May/2024:12",
        "14/May/2024:23",
        "15/May/2024:12",
    ]));
    import(
        &folder,
        &server,
        &format!("--recorders=2 --keep-order {way} access.log"),
    )
    .exits(0);
    let mut sent = server.log().sent();
    sent.sort_by_key(|hit| text(hit, "url").to_owned());
    sent
}

/// A line of each of four people at each of these times.
fn days(times: &[&str]) -> String {
    let mut log = String::new();
    for (day, time) in times.iter().enumerate() {
        for person in 0..4 {
            let number = 1 + person / 2;
            let agent = if person % 2 == 0 {
                logs::AGENT
            } else {
                "Mozilla/5.0 (X11)"
            };
            log += &format!(
                "203.0.113.{number} - ann [{time}:00:00 +0000] \"GET /{day}/{person}?utm_source=x \
                 HTTP/1.1\" 200 5 \"https://other.example/search?q=ann\" \"{agent}\"\n"
            );
        }
    }
    log
}

fn ids(hits: &[Value]) -> Vec<&str> {
    hits.iter().map(|hit| text(hit, "cid")).collect()
}

#[test]
fn cnil_tells_people_apart_for_a_day_of_the_site() {
    let hits = people("--privacy=cnil");
    assert_eq!(hits.len(), 12);
    let ids = ids(&hits);
    let is_id = |id: &&str| id.len() == 16 && id.bytes().all(|it| it.is_ascii_hexdigit());
    assert!(ids.iter().all(is_id), "{ids:?}");
    let day: HashSet<&&str> = ids[..4].iter().collect();
    assert_eq!(day.len(), 4, "people behind one address have the same id");
    // In Berlin, 23:00 UTC is on the next day.
    assert_eq!(ids[4..8], ids[8..], "one day has several ids");
    assert!(
        !ids[4..8].iter().any(|id| day.contains(id)),
        "days share ids"
    );
    for (hit, number) in hits.iter().zip(0..) {
        assert_eq!(hit["cip"], "203.0.0.0");
        assert_eq!(
            hit["url"],
            format!("http://www.example.com/{}/{}", number / 4, number % 4)
        );
        assert_eq!(hit["urlref"], "https://other.example/");
        assert_eq!(hit["uid"], Value::Null);
    }
}

#[test]
fn anonymized_hits_have_no_id() {
    for (bytes, masked) in [
        ("", "203.0.0.0"),
        ("=1", "203.0.113.0"),
        ("=3", "203.0.0.0"),
    ] {
        for hit in people(&format!("--anonymize-ip{bytes}")) {
            assert_eq!(hit["cip"], masked);
            assert_eq!(hit["cid"], Value::Null);
            assert_eq!(hit["uid"], "ann");
            assert_eq!(hit["urlref"], "https://other.example/search?q=ann");
        }
    }
}

#[test]
fn a_resumed_day_has_the_same_ids_and_another_run_has_others() {
    let server = fake_matomo();
    let folder = Folder::with_log(days(&["14/May/2024:12"]));
    let run = |args: &str| {
        let before = server.log().sent().len();
        import(
            &folder,
            &server,
            &format!("--privacy=cnil --keep-order access.log {args}"),
        )
        .exits(0);
        let sent = server.log().sent().split_off(before);
        ids(&sent)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let first = run("--state-dir=state");
    assert_eq!(first.len(), 4);
    folder.write("access.log", days(&["14/May/2024:12", "14/May/2024:13"]));
    assert_eq!(run("--state-dir=state"), first);
    let (one, two) = (run(""), run(""));
    assert!(!one.iter().any(|id| first.contains(id) || two.contains(id)));
    let ledger = fs::metadata(folder.file("state/ledger.db"));
    assert_eq!(ledger.unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn lost_and_unconfirmed_hits_are_found_by_what_was_sent() {
    at_once(vec![Mask::default(), Mask::Off], |mask| {
        for way in WAYS {
            let script = [
                None,
                Some(Fault::CommitClose),
                Some(Fault::Swallowed(6)),
                None,
            ];
            let server = started(Options {
                mask,
                faults: Faults {
                    script: script.into(),
                    ..Faults::default()
                },
                ..options()
            });
            let folder = Folder::with_log(logs::log_of(600, 100));
            let args =
                "--recorders=4 --recorder-max-payload-size=20 --request-timeout=1 access.log";
            let ended = import(&folder, &server, &format!("{way} {args}")).exits(0);
            assert_each_once(&server, 600);
            assert!(
                ended.out.contains("6 hits had been lost by Matomo"),
                "{way}: {ended}"
            );
        }
    });
}

/// A run that ends while the server stores its second batch, and the arguments of all runs.
fn interrupted(way: &str, state_dir: &str, signals: &[Signal]) -> (FakeMatomo, Folder) {
    let server = started(Options {
        faults: Faults {
            script: vec![None, Some(Fault::CommitStall(Duration::from_secs(6)))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(60, 25));
    let mut running = small_batches(&folder, &server, way)
        .args("--request-timeout=30")
        .args(state_dir)
        .start();
    assert!(until(Duration::from_secs(20), || count(&server) == 40));
    for signal in signals {
        running.signal(*signal);
        let has_heard = || running.has_ended() || running.has_said("a second signal ends");
        assert!(until(Duration::from_secs(20), has_heard));
    }
    running.end();
    (server, folder)
}

fn small_batches(folder: &Folder, server: &FakeMatomo, way: &str) -> Program {
    Program::new(folder)
        .to(server)
        .args("--idsite=1 --recorder-max-payload-size=20 --request-timeout=1 access.log")
        .args(way)
}

#[test]
fn hits_of_a_killed_run_are_found_by_what_was_sent() {
    for way in WAYS {
        let (server, folder) = interrupted(way, "--state-dir=state", &[Signal::KILL]);
        let ended = small_batches(&folder, &server, way)
            .args("--state-dir=state")
            .run();
        assert_each_once(&server, 60);
        ended.exits(0).says(&["all 20 are there"]);
    }
}

#[test]
fn a_ledger_that_is_left_behind_keeps_the_key() {
    let (server, folder) = interrupted("--privacy=cnil", "", &[Signal::INT, Signal::INT]);
    let ended = small_batches(&folder, &server, "--privacy=cnil")
        .args("--state-dir=import-logs-state")
        .run();
    assert_each_once(&server, 60);
    ended.exits(0).says(&["all 20 are there"]);
    let sent = server.log().sent();
    let visitor = |hit: &Value| (text(hit, "cip").to_owned(), text(hit, "cid").to_owned());
    let visitors: HashSet<_> = sent.iter().map(visitor).collect();
    assert_eq!(visitors.len(), 25);
}

#[test]
fn verification_finds_what_was_sent() {
    for way in WAYS {
        let server = fake_matomo();
        let folder = Folder::with_log(logs::log_of(60, 25));
        let args = format!("{way} --state-dir=state access.log");
        import(&folder, &server, &args).exits(0);
        let verify = |more: &str| import(&folder, &server, &format!("{args} {more}"));
        let ended = verify("--verify=all").exits(0);
        assert_all_hidden(&folder, &server, &ended);
        let delete = "DELETE FROM hits WHERE url LIKE '%/page-7'";
        let deleted = server.store().read(|db| db.execute(delete, []));
        assert_eq!(deleted.unwrap(), 1);
        verify("--verify=all --repair");
        assert_each_once(&server, 60);
    }
}

#[test]
fn listeners_behind_one_masked_address_stay_apart() {
    // Two listeners with three titles each, at the same time.
    let log = SHOUTCAST_HEADER.to_owned()
        + &(1..=3)
            .flat_map(|title| [("192.0.2.1", title), ("192.0.2.2", title)])
            .map(|(address, title)| shoutcast(address, 600 * title, "/live", 600))
            .collect::<String>();
    for way in ["", "--anonymize-ip", "--privacy=cnil"] {
        let (server, folder) = (fake_matomo(), Folder::with_log(&log));
        let args = format!("--log-format-name=shoutcast {way} access.log");
        import(&folder, &server, &args).exits(0);
        let sent = server.log().sent();
        let views = sent.iter().filter(|hit| hit["new_visit"] == 1).count();
        assert_eq!(views, 2, "{way}");
        let visitor = |hit: &Value| (text(hit, "cip").to_owned(), text(hit, "cid").to_owned());
        let visitors: HashSet<_> = sent.iter().map(visitor).collect();
        assert_eq!(
            visitors.len(),
            if way == "--anonymize-ip" { 1 } else { 2 },
            "{way}"
        );
    }
}

#[test]
fn filters_see_the_whole_address() {
    for way in WAYS {
        let (server, folder) = (fake_matomo(), Folder::with_log(logs::log_of(50, 25)));
        let args = format!("{way} --exclude-ip=10.0.0.3 access.log");
        let ended = import(&folder, &server, &args).exits(0);
        assert_eq!(ended.summary().get("imported"), 48, "{way}");
    }
}

#[test]
fn replayed_requests_have_masked_addresses() {
    let server = fake_matomo();
    let agent = logs::AGENT;
    let folder = Folder::with_log(format!(
        "198.51.100.11 - - [14/May/2024:06:25:24 +0000] \"GET /piwik.php?idsite=1&rec=1&\
         url=http%3A%2F%2Fa%2F1.2.3.4%2F198.51.100.11&cip=203.0.113.21&\
         cvar%5B1%5D%5B0%5D=IP&cvar%5B1%5D%5B1%5D=203.0.113.22 HTTP/1.1\" 200 5 \"-\" \"{agent}\"\n"
    ));
    let args = "--replay-tracking --anonymize-ip access.log";
    let ended = import(&folder, &server, args).exits(0);
    assert_all_hidden(&folder, &server, &ended);
    let sent = server.log().sent();
    assert_eq!(sent[0]["cip"], "203.0.0.0");
    assert_eq!(sent[0]["url"], "http://a/1.2.3.4/198.51.0.0");
    assert!(
        sent[0]["cvar"].to_string().contains("203.0.0.0"),
        "{sent:?}"
    );
}

/// The visitor id of a text that is no address.
fn fnv1a(text: &[u8]) -> String {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn addresses_in_odd_spellings_are_masked() {
    let at = "[14/May/2024:06:25:24 +0000]";
    let agent = logs::AGENT;
    let line = |address: &str, path: &str| {
        format!("{address} - - {at} \"GET {path} HTTP/1.1\" 200 5 \"-\" \"{agent}\"\n")
    };
    let log = [
        line("198.051.100.011", "/page-0/198.51.100.11"),
        line(
            "198.51.100.12",
            "/page-1?ip=2001%253Adb8%253A2%253A7%253A%253A8",
        ),
        line("198.51.100.12", "/page-2?ip=198%252E51%252E100%252E13"),
    ];
    for way in WAYS {
        let server = fake_matomo();
        let folder = Folder::with_log(log.concat());
        let args = format!("{way} --state-dir=state --rejects=rejects.log access.log");
        let ended = import(&folder, &server, &args).exits(0);
        assert_all_hidden(&folder, &server, &ended);
        let sent = server.log().sent();
        assert_eq!(sent.len(), 3);
        // An id of the whole text could be found by trying all addresses.
        let odd = sent.iter().find(|hit| text(hit, "url").contains("page-0"));
        let id = text(odd.unwrap(), "cid");
        assert_eq!(id.len(), 16, "{way}");
        assert_ne!(id, fnv1a(b"198.051.100.011"), "{way}");
        if way == "--anonymize-ip" {
            assert_eq!(id, fnv1a(b"198.051.0.0"));
        }
    }
}

#[test]
fn daily_ids_need_the_time_zone_of_the_site() {
    let server = started(Options {
        faults: Faults {
            // The first call is about the host.
            api: [vec![None], vec![Some(Fault::Html(502)); 3]].concat(),
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(logs::hosted("www.example.com", 0));
    let program = |args: &str| {
        let all = "--retry-delay=0 --state-dir=state --privacy=cnil access.log";
        Program::new(&folder).to(&server).args(all).args(args).run()
    };
    program("").exits(1).says(&["502"]);
    assert_eq!(count(&server), 0);
    program("").exits(0);
    assert_eq!(count(&server), 1);
}

#[test]
fn options_that_would_identify_visitors_are_refused() {
    let folder = Folder::with_log(logs::log(1));
    for (args, words) in [
        ("--anonymize-ip=4", "--anonymize-ip=4: expected 1, 2 or 3"),
        ("--anonymize-ip=0", "--anonymize-ip=0: expected 1, 2 or 3"),
        ("--privacy=cnil --anonymize-ip=1", "masks at least 2 bytes"),
        ("--privacy=cnil --replay-tracking", "--replay-tracking"),
        (
            "--privacy=cnil --regex-group-to-visit-cvar=userid=User",
            "hides the field userid",
        ),
        (
            "--privacy=cnil --dimension=3=referrer",
            "hides the field referrer",
        ),
        (
            "--privacy=cnil --dimension=3=remote_user",
            "hides the field remote_user",
        ),
        ("--privacy=dnt", "cnil"),
    ] {
        let program = Program::new(&folder).args("--url=http://localhost access.log");
        program.args(args).run().exits(2).says(&[words]);
    }
}
