//! `--shard`: several workers read the same logs, and each imports the hits of its own visitors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::listening::{SHOUTCAST_HEADER, shoutcast};
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{FakeMatomo, Options};
use crate::support::folder::fixture;
use crate::support::stored::{assert_each_once, count, numbers, options, started, text};
use crate::support::{Ended, Folder, Program, logs};

/// A worker, with a state directory of its own. Its path tells its requests from those of others.
fn worker(folder: &Folder, server: &FakeMatomo, number: usize, of: usize) -> Program {
    let path = format!("--tracker-url={}worker-{number}/", server.url());
    Program::new(folder)
        .to(server)
        .arg(path)
        .args(&format!("--idsite=1 --shard={number}/{of}"))
        .args(&format!("--state-dir=state-{number}-of-{of} --quiet"))
}

/// What all workers did: the hits that each sent.
fn sent_by_worker(server: &FakeMatomo) -> BTreeMap<String, Vec<Value>> {
    let mut sent: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for call in server.log().tracker {
        let hits = call.requests();
        sent.entry(call.path).or_default().extend(hits);
    }
    sent
}

/// The visitor of a hit, as Matomo tells them apart.
fn visitor(hit: &Value) -> String {
    let known = ["uid", "cid", "_id", "cip"].map(|key| text(hit, key));
    let known = known.into_iter().find(|name| !name.is_empty());
    known.unwrap_or_default().to_owned()
}

/// The hits that a server has, without what differs between runs, sorted.
fn stored(server: &FakeMatomo) -> Vec<String> {
    let hits = server.store().hits().unwrap().into_iter();
    let mut texts: Vec<String> = hits
        .map(|mut hit| {
            hit.as_object_mut().unwrap().remove("pv_id");
            hit.to_string()
        })
        .collect();
    texts.sort_unstable();
    texts
}

/// Runs so many workers at once.
fn run_workers(folder: &Folder, server: &FakeMatomo, of: usize, args: &str) -> Vec<Ended> {
    let workers: Vec<_> = (1..=of)
        .map(|number| worker(folder, server, number, of).args(args).start())
        .collect();
    workers
        .into_iter()
        .map(|worker| worker.end().exits(0))
        .collect()
}

/// Checks that 1, 2 and 4 workers store what one run without shards stores, and that each visitor
/// belongs to one of them.
fn assert_workers_store_the_same(log: &str, args: &str, is_split: bool) {
    let folder = Folder::with_log(log);
    let alone = started(options());
    let run = Program::new(&folder)
        .to(&alone)
        .args("--idsite=1 access.log")
        .args(args);
    let expected_run = run.run().exits(0);
    let expected = stored(&alone);
    assert!(expected.len() > 30, "{}", expected.len());
    for of in [1, 2, 4] {
        let folder = Folder::with_log(log);
        let server = started(options());
        run_workers(&folder, &server, of, &format!("access.log {args}"));
        assert!(stored(&server) == expected, "{of} workers, {args}");
        let sent = sent_by_worker(&server);
        let busy = if is_split { of } else { 1 };
        assert_eq!(sent.len(), busy, "{:?}", sent.keys());
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        for (path, hits) in &sent {
            for hit in hits {
                let owner = *owners.entry(visitor(hit)).or_insert(path);
                assert_eq!(owner, path, "visitor {}", visitor(hit));
            }
        }
        // Nothing is left for a second run.
        let calls = server.log().tracker.len();
        run_workers(&folder, &server, of, &format!("access.log {args}"));
        assert_eq!(server.log().tracker.len(), calls);
    }
    drop(expected_run);
}

#[test]
fn workers_share_a_web_log_by_address_and_user() {
    assert_workers_store_the_same(&fixture("ncsa_extended"), "", true);
}

#[test]
fn workers_with_several_recorders_share_a_web_log() {
    assert_workers_store_the_same(&fixture("nginx_json"), "--recorders=3", true);
}

#[test]
fn workers_share_masked_visitors() {
    // Many addresses become one when they are masked.
    let log: String = (0..400)
        .map(|number| logs::line(number, 400).replace("10.0.", &format!("10.{}.", number % 40)))
        .collect();
    assert_workers_store_the_same(&log, "--anonymize-ip", true);
}

#[test]
fn workers_share_the_sessions_of_listeners() {
    let log: String = fixture("icecast2")
        .lines()
        .take(600)
        .fold(String::new(), |log, line| log + line + "\n");
    let args = "--log-format-name=icecast2 --enable-icecast-admin --recorders=2";
    assert_workers_store_the_same(&log, args, true);
}

#[test]
fn the_titles_of_a_listener_stay_in_one_session() {
    let mut log = SHOUTCAST_HEADER.to_owned();
    for title in 1..=6 {
        for listener in 0..20 {
            let address = format!("192.0.2.{listener}");
            log += &shoutcast(&address, title * 900 + listener, "/stream?title=x", 900);
        }
    }
    assert_workers_store_the_same(&log, "", true);
}

#[test]
fn a_session_has_one_user() {
    let mut log = SHOUTCAST_HEADER.replace("c-dns", "cs-username");
    for title in 1..=6 {
        for listener in 0..20 {
            let address = format!("192.0.2.{listener}");
            let line = shoutcast(&address, title * 900 + listener, "/stream?title=x", 900);
            // Two users of an address take turns.
            let user = format!("{address} user{} ", 2 * listener + title % 2);
            log += &line.replacen(&format!("{address} {address} "), &user, 1);
        }
    }
    assert_workers_store_the_same(&log, "--log-format-name=shoutcast", true);
}

#[test]
fn workers_share_what_is_piped_into_each() {
    let server = started(options());
    let folder = Folder::new();
    for number in 1..=3 {
        let worker = worker(&folder, &server, number, 3).arg("-");
        worker.stdin(logs::log_of(200, 40)).run().exits(0);
    }
    assert_each_once(&server, 200);
}

#[test]
fn workers_share_replayed_visitors() {
    let log: String = (0..300)
        .map(|number| {
            let visitor = match number % 4 {
                0 => format!("&uid=user{}", number % 21),
                1 => format!("&cid={:016x}", number % 17),
                2 => format!("&cip=198.51.100.{}", number % 13),
                _ => String::new(),
            };
            let page =
                format!("/matomo.php?idsite=1&rec=1&url=http%3A%2F%2Fa%2Fpage-{number}{visitor}");
            let line = logs::page(&page, number, 30);
            match number % 5 {
                // Their user comes before the other ids of the request.
                0 => line.replace(" - - [", &format!(" - ann{} [", number % 3)),
                _ => line,
            }
        })
        .collect();
    assert_workers_store_the_same(&log, "--replay-tracking", true);
}

#[test]
fn a_log_of_one_visitor_is_that_of_one_worker() {
    assert_workers_store_the_same(&logs::log_of(50, 1), "", false);
}

#[test]
fn each_line_is_counted_by_one_worker() {
    let mut log = "#Software: a server\n".to_owned();
    for number in 0..200 {
        log += &logs::line(number, 50);
        log += &logs::page(&format!("/style-{number}.css"), number, 50);
        log += &logs::line(number, 50).replace("Mozilla/5.0", "Googlebot/2.1");
        log += &format!("nonsense {number}\n");
    }
    let server = started(options());
    let run = |args: &str| {
        let folder = Folder::with_log(&log);
        let args = format!("--dry-run --idsite=1 --max-invalid=100 access.log {args}");
        Program::new(&folder).to(&server).args(&args).run().exits(0)
    };
    let of_others = |ended: &Ended| {
        let line = ended
            .out
            .lines()
            .find(|line| line.contains("lines of other shards"));
        let number = line.map(|line| line.split_whitespace().next().unwrap().parse::<u64>());
        number.map_or(0, Result::unwrap)
    };
    let alone = run("");
    assert_eq!(of_others(&alone), 0);
    let alone = alone.summary();
    for of in [1, 2, 3, 8] {
        let workers: Vec<Ended> = (1..=of)
            .map(|number| run(&format!("--shard={number}/{of}")))
            .collect();
        for name in ["imported", "invalid", "static", "bots", "ignored"] {
            let sum: u64 = workers.iter().map(|it| it.summary().known[name]).sum();
            assert_eq!(sum, alone.known[name], "{name}");
        }
        // 801 lines. All workers but one leave each of them out.
        let sum: u64 = workers.iter().map(of_others).sum();
        assert_eq!(sum, 801 * (of - 1));
    }
}

#[test]
fn workers_that_meet_at_past_days_lose_nothing() {
    let server = started(Options {
        delay: Duration::from_millis(20),
        ..options()
    });
    let log: String = (0..800)
        .map(|number| {
            let day = format!("{:02}/May", 1 + number / 100);
            logs::line(number, 60).replace("14/May", &day)
        })
        .collect();
    let folder = Folder::with_log(log);
    run_workers(
        &folder,
        &server,
        4,
        "--recorder-max-payload-size=20 access.log",
    );
    assert_each_once(&server, 800);
}

#[test]
fn a_shard_must_be_one_of_at_most_1024() {
    let folder = Folder::with_log(logs::log(3));
    let server = started(options());
    for value in [
        "",
        "0/2",
        "3/2",
        "a/b",
        "1/0",
        "1",
        "-1/2",
        "1/99999999999999999999",
        "1/1025",
    ] {
        Program::new(&folder)
            .to(&server)
            .args("--idsite=1 access.log")
            .arg(format!("--shard={value}"))
            .run()
            .exits(2)
            .says(&[&format!("--shard={value}: expected I/N"), "N at most 1024"]);
    }
    assert_eq!(server.log().calls, 0);
}

#[test]
fn a_state_directory_belongs_to_one_shard() {
    let folder = Folder::with_log(logs::log_of(100, 25));
    let server = started(options());
    let run = |dir: &str, args: &str| {
        Program::new(&folder)
            .to(&server)
            .args("--idsite=1 access.log")
            .args(args)
            .arg(format!("--state-dir={dir}"))
            .run()
    };
    run("one", "--shard=1/2").exits(0);
    let imported = count(&server);
    assert!((1..100).contains(&imported));
    for (args, now) in [
        ("--shard=2/2", "--shard=2/2"),
        ("--shard=1/3", "--shard=1/3"),
        ("--shard=1/4", "--shard=1/4"),
        ("", "no --shard"),
    ] {
        let said = format!("--state-dir=one: earlier runs had --shard=1/2 and this one has {now}");
        run("one", args).exits(1).says(&[&said]);
    }
    for args in [
        "--anonymize-ip",
        "--client-ip=x_forwarded_for",
        "--trusted-proxy=10.0.0.1",
    ] {
        let args = format!("--shard=1/2 {args}");
        run("one", &args)
            .exits(1)
            .says(&["options that decide which shard a line is in"]);
    }
    // Other options may change.
    run("one", "--shard=1/2 --recorders=2 --enable-static").exits(0);
    assert_eq!(count(&server), imported);
    run("all", "").exits(0);
    run("all", "--shard=1/2")
        .exits(1)
        .says(&["earlier runs had no --shard and this one has"]);
    // For another target, all is new.
    run(
        "all",
        "--shard=1/2 --retry-max-attempts=1 --url=http://127.0.0.1:9/",
    )
    .exits(1)
    .hides("earlier runs");
    let status = Program::new(&folder)
        .args("--status --state-dir=one")
        .run()
        .exits(0);
    assert!(status.out.contains("shard=1/2"), "{status}");
}

#[test]
fn killed_workers_resume_their_shards() {
    let server = started(Options {
        delay: Duration::from_millis(20),
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(600, 40));
    let args = "--recorder-max-payload-size=10 --request-timeout=1.5 --retry-delay=0 access.log";
    for number in 1..=2 {
        let mut kills = 0;
        loop {
            let calls = server.log().calls;
            let mut running = worker(&folder, &server, number, 2).args(args).start();
            until(LONGEST, || {
                running.has_ended() || server.log().calls >= calls + 6 + kills
            });
            if kills >= 3 || running.has_ended() {
                running.end().exits(0);
                break;
            }
            running.signal(Signal::KILL);
            assert_eq!(running.end().code, None);
            kills += 1;
        }
        assert!(kills >= 2, "{kills}");
        assert!(server.wait_idle(LONGEST));
    }
    assert_each_once(&server, 600);
    let sent = sent_by_worker(&server);
    let visitors = |hits: &Vec<Value>| hits.iter().map(visitor).collect::<BTreeSet<_>>();
    let visitors: Vec<_> = sent.values().map(visitors).collect();
    assert_eq!(visitors.len(), 2);
    assert!(visitors[0].is_disjoint(&visitors[1]));
}

#[test]
fn an_interrupted_worker_without_a_state_directory_resumes_its_shard() {
    let server = started(Options {
        delay: Duration::from_millis(50),
        ..options()
    });
    let folder = Folder::with_log(logs::log_of(300, 40));
    let args = "--idsite=1 --shard=1/2 --recorder-max-payload-size=10 access.log";
    let running = Program::new(&folder).to(&server).args(args).start();
    until(LONGEST, || count(&server) >= 20);
    running.signal(Signal::INT);
    running.end().exits(130).says(&["--state-dir="]);
    let resumed = |args: &str| {
        let state = "--state-dir=import-logs-state";
        Program::new(&folder)
            .to(&server)
            .args(state)
            .args(args)
            .run()
    };
    resumed(&args.replace("1/2", "2/2"))
        .exits(1)
        .says(&["earlier runs had --shard=1/2"]);
    resumed(args).exits(0);
    Program::new(&folder)
        .to(&server)
        .args(&args.replace("1/2", "2/2"))
        .run()
        .exits(0);
    assert_each_once(&server, 300);
}

#[test]
fn verify_asks_for_the_hits_of_its_shard_only() {
    let server = started(options());
    let folder = Folder::with_log(logs::log_of(200, 40));
    run_workers(&folder, &server, 2, "access.log");
    let verify = |number, args: &str| {
        Program::new(&folder)
            .to(&server)
            .args(&format!(
                "--idsite=1 --shard={number}/2 --state-dir=state-{number}-of-2"
            ))
            .args(&format!("access.log --verify=all {args}"))
            .run()
    };
    let number_of = |ended: &Ended, what: &str| -> usize {
        let mut lines = ended.out.lines();
        let line = lines.find_map(|line| line.trim().strip_suffix(what));
        line.unwrap_or_else(|| panic!("{ended}")).parse().unwrap()
    };
    let verified = [1, 2].map(|number| verify(number, "").exits(0));
    let hits = verified
        .each_ref()
        .map(|it| number_of(it, " hits of 1 logs are imported"));
    assert!(
        hits[0] + hits[1] == 200 && hits[0] > 0 && hits[1] > 0,
        "{hits:?}"
    );
    let delete = "DELETE FROM hits WHERE id IN (SELECT id FROM hits LIMIT 10)";
    server.store().read(|db| db.execute(delete, [])).unwrap();
    assert_eq!(numbers(&server).len(), 190);
    let verified = [1, 2].map(|number| verify(number, ""));
    let missing = verified
        .each_ref()
        .map(|it| number_of(it, " hits are missing"));
    assert_eq!(missing[0] + missing[1], 10, "{missing:?}");
    for number in 1..=2 {
        verify(number, "--repair").exits(0);
    }
    assert_each_once(&server, 200);
}

#[test]
fn workers_that_create_a_site_at_once_use_the_same() {
    let server = started(Options {
        delay: Duration::from_millis(50),
        ..Options::fixed(&[(1, "http://www.example.com")], &[])
    });
    let log: String = (0..200)
        .map(|number| logs::hosted("new.example", number))
        .collect();
    let folder = Folder::with_log(log);
    let workers: Vec<_> = (1..=4)
        .map(|number| {
            Program::new(&folder)
                .to(&server)
                .args("--add-sites-new-hosts --log-format-name=common_complete access.log")
                .arg(format!("--shard={number}/4"))
                .start()
        })
        .collect();
    workers
        .into_iter()
        .for_each(|worker| drop(worker.end().exits(0)));
    let hits = server.store().hits().unwrap();
    let sites: BTreeSet<&str> = hits.iter().map(|hit| text(hit, "idsite")).collect();
    assert_eq!((hits.len(), sites.len()), (200, 1), "{sites:?}");
}
