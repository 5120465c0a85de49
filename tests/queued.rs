//! `--queued-tracking`: Matomo puts hits into a queue of its own and stores them at any later time.
//! No line is lost and none is doubled, whenever it does that.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::listening::{icecast, sorted_hits};
use crate::reliability::job::{From, Job};
use crate::reliability::random::Random;
use crate::reliability::world::{World, assert_adds_up};
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Options, Plugin, Version};
use crate::support::folder::gzip;
use crate::support::stored::{
    assert_each_once, fake_matomo, number, numbers, options, seen_through, started, text,
};
use crate::support::{Ended, Folder, Program, at_once, logs};

const WORKERS: usize = 4;
const LINES: usize = 120;
/// What the workers of a queue that is worked off meanwhile wait for between two sets.
const PACE: Duration = Duration::from_millis(20);
/// The longest pause between two questions about the queue, in seconds.
const PAUSE: &str = "0.1";

fn queued() -> Options {
    with_queue(options())
}

fn with_queue(options: Options) -> Options {
    Options {
        queue: Plugin::Workers(WORKERS),
        ..options
    }
}

fn faulty(script: Vec<Option<Fault>>) -> Options {
    Options {
        faults: Faults {
            script,
            ..Faults::default()
        },
        ..queued()
    }
}

/// A server with a queue, a log, and a ledger.
struct Site {
    server: FakeMatomo,
    folder: Folder,
    /// The arguments of every run.
    args: String,
}

impl Site {
    fn new(options: Options) -> Self {
        let site = Self {
            server: started(options),
            folder: Folder::new(),
            args: "--recorders=1 --recorder-max-payload-size=20 --retry-delay=0 \
                   --request-timeout=1 --state-dir=state"
                .to_owned(),
        };
        site.write("access.log", 0..LINES);
        site.args("--idsite=1")
    }

    fn args(mut self, args: &str) -> Self {
        self.args = format!("{} {args}", self.args);
        self
    }

    fn write(&self, name: &str, lines: std::ops::Range<usize>) {
        let lines: String = lines.map(|number| logs::line(number, 25)).collect();
        self.folder.write(name, lines);
    }

    fn append(&self, name: &str, lines: std::ops::Range<usize>) {
        let lines: String = lines.map(|number| logs::line(number, 25)).collect();
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.folder.file(name))
            .unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    fn program(&self) -> Program {
        let program = Program::new(&self.folder).to(&self.server);
        program.args(&self.args).env("IMPORT_LOGS_PAUSE", PAUSE)
    }

    fn run(&self, args: &str) -> Ended {
        let ended = assert_adds_up(self.program().args(args).run());
        assert!(self.server.wait_idle(Duration::from_secs(10)));
        ended
    }

    /// Imports these logs into the queue.
    fn queue(&self, logs: &str) -> Ended {
        self.run(&format!("--queued-tracking {logs}"))
    }

    fn work_all_off(&self) {
        self.server.queue().work_all_off();
    }

    /// The hits sent so far, whether they were stored or not.
    fn sent(&self) -> usize {
        self.server.log().sent().len()
    }

    fn status(&self) -> String {
        let program = Program::new(&self.folder).args("--state-dir=state --status");
        program.run().exits(0).out
    }

    /// The hits that `--status` lists, by the states of their batches.
    fn open_hits(&self, state: &str) -> usize {
        let status = self.status();
        let lines = status
            .lines()
            .filter(|line| line.contains(&format!("; {state}, sent ")));
        let hits = lines.map(|line| {
            let (before, _) = line.split_once(" hits of ").unwrap();
            before.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
        });
        hits.sum()
    }

    /// The numbers of the lines that are listed as `queuing`.
    fn doubtful(&self) -> BTreeSet<usize> {
        let status = self.status();
        let (before, _) = status.split_once("; queuing, sent ").unwrap();
        let (_, lines) = before.rsplit_once(" hits of lines ").unwrap();
        let ranges = lines.split(", ").map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            first.parse::<usize>().unwrap() - 1..last.parse().unwrap()
        });
        ranges.flatten().collect()
    }

    #[track_caller]
    fn assert_nothing_open(&self) {
        let status = self.status();
        for word in ["Pending", "nconfirmed"] {
            assert!(!status.contains(word), "{status}");
        }
    }

    /// Checks that each line is stored exactly once, that the ledger knows it, and that another run
    /// sends nothing.
    #[track_caller]
    fn assert_complete(&self, lines: usize, logs: &str) {
        assert_each_once(&self.server, lines);
        self.assert_nothing_open();
        let sent = self.sent();
        self.queue(logs).exits(0);
        assert_eq!(self.sent(), sent, "another run sent hits");
        self.assert_nothing_open();
    }
}

/// When the queue is worked off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Works {
    BetweenRuns,
    Meanwhile,
    AfterThreeRuns,
}

#[test]
fn each_line_is_stored_once_whenever_the_queue_is_worked_off() {
    let mut rows = Vec::new();
    for works in [Works::BetweenRuns, Works::Meanwhile, Works::AfterThreeRuns] {
        for recorders in [1, 4] {
            for log in ["access.log", "access.log.gz"] {
                rows.push((works, recorders, log));
            }
        }
    }
    at_once(rows, |(works, recorders, log)| {
        let site = Site::new(queued()).args(&format!("--recorders={recorders}"));
        let content = fs::read(site.folder.file("access.log")).unwrap();
        site.folder.write("access.log.gz", gzip(content));
        let queue = site.server.queue();
        let working = (works == Works::Meanwhile).then(|| queue.work_off_every(PACE));
        for run in 1..=3 {
            let ended = site.queue(log).exits(0);
            assert_eq!(site.sent(), LINES, "{works:?}, run {run}: {ended}");
            let calls = site.server.log().tracker;
            assert!(calls.iter().all(|call| call.query == "queuedtracking=1"));
            if run == 1 {
                assert_eq!(ended.summary().get("imported"), LINES as u64);
            }
            if works == Works::AfterThreeRuns || (run, works) == (1, Works::BetweenRuns) {
                assert_eq!(site.open_hits("queued"), LINES, "{}", site.status());
            }
            if works == Works::BetweenRuns {
                site.work_all_off();
            }
        }
        drop(working);
        site.work_all_off();
        site.queue(log).exits(0);
        assert_eq!(site.sent(), LINES);
        site.assert_complete(LINES, log);
    });
}

#[test]
fn a_run_says_that_its_hits_are_in_the_queue() {
    let site = Site::new(queued());
    let ended = site.queue("access.log").exits(0);
    ended.prints(&[&format!(
        "{LINES} hits in Matomo's queue, not confirmed yet"
    )]);
    let ended = site.queue("access.log").exits(0);
    ended.prints(&[&format!(
        "{LINES} hits in Matomo's queue, not confirmed yet"
    )]);
    site.work_all_off();
    let ended = site.queue("access.log").exits(0);
    ended.hides("Matomo's queue");
    site.assert_complete(LINES, "access.log");
}

#[test]
fn a_run_waits_until_the_queue_is_worked_off() {
    // Whether another run sends the hits before.
    at_once(vec![false, true], |is_earlier| {
        let site = Site::new(queued());
        if is_earlier {
            site.queue("access.log").exits(0);
        }
        let queue = site.server.queue();
        let working = queue.work_off_every(Duration::from_millis(200));
        let ended = site.queue("--wait-for-queue=100 access.log").exits(0);
        drop(working);
        assert_eq!(queue.waiting(), [0; WORKERS]);
        ended.hides("not confirmed yet").hides("are still in");
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn a_run_goes_on_waiting_while_matomo_cannot_be_asked() {
    let site = Site::new(queued());
    let queue = site.server.queue();
    site.server.set_faults(Faults {
        // The first calls are about the server and the site.
        api: [vec![None; 2], vec![Some(Fault::Busy(503, None)); 6]].concat(),
        ..Faults::default()
    });
    let working = queue.work_off_every(PACE);
    let args = "--retry-max-attempts=1 --wait-for-queue=100 access.log";
    site.queue(args).exits(0).hides("not confirmed yet");
    drop(working);
    assert!(site.server.log().api.len() > 8);
    site.assert_complete(LINES, "access.log");
}

#[test]
fn a_run_waits_for_hits_of_users() {
    // All or some of the visitors are users.
    at_once(vec![1, 2], |every| {
        let site = Site::new(queued());
        let line = |number: usize| match number % every {
            0 => logs::line(number, 25).replace(" - - [", &format!(" - user{} [", number % 7)),
            _ => logs::line(number, 25),
        };
        let log: String = (0..LINES).map(line).collect();
        site.folder.write("access.log", log);
        let queue = site.server.queue();
        let working = queue.work_off_every(PACE);
        site.queue("--wait-for-queue=100 access.log").exits(0);
        drop(working);
        assert_eq!(queue.waiting(), [0; WORKERS]);
        let sent = site.server.log().sent();
        assert!(sent.iter().any(|hit| text(hit, "uid") == "user3"));
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn a_run_confirms_many_batches_in_a_short_time() {
    let site = Site::new(queued()).args("--recorder-max-payload-size=1");
    site.write("access.log", 0..400);
    let working = site.server.queue().work_off_every(Duration::from_millis(1));
    // Without the shorter pauses of the other tests.
    let program = site.program().env("IMPORT_LOGS_PAUSE", "100");
    let program = program.args("--queued-tracking --wait-for-queue=30 access.log");
    assert_adds_up(program.run()).exits(0);
    drop(working);
    site.assert_complete(400, "access.log");
}

#[test]
fn a_run_does_not_wait_longer_than_it_may() {
    at_once(vec![false, true], |is_earlier| {
        let site = Site::new(queued());
        if is_earlier {
            site.queue("access.log").exits(0);
        }
        let ended = site.queue("--wait-for-queue=1 access.log");
        ended.exits(3).says(&[
            "Matomo's queue",
            "--wait-for-queue",
            "queuedtracking:process",
        ]);
        assert_eq!(site.open_hits("queued"), LINES);
        site.work_all_off();
        site.queue("--wait-for-queue=1 access.log").exits(0);
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn a_batch_is_done_when_the_last_worker_has_stored_its_part() {
    at_once(vec![false, true], |waits| {
        // All hits in one batch.
        let site = Site::new(queued()).args("--recorder-max-payload-size=200");
        let queue = site.server.queue();
        site.queue("access.log").exits(0);
        assert!(!queue.waiting().contains(&0), "{:?}", queue.waiting());
        for worker in [2, 0, 3, 1] {
            assert_eq!(site.open_hits("queued"), LINES, "{worker}");
            queue.work_off(worker);
            let args = if waits { "--wait-for-queue=0.1" } else { "" };
            site.queue(&format!("{args} access.log"));
        }
        assert_eq!(site.sent(), LINES);
        site.assert_complete(LINES, "access.log");
    });
}

/// What the queue loses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loses {
    ASet,
    BehindAHit,
    AHitAtTheEnd,
    Everything,
}

#[test]
fn what_the_queue_lost_is_sent_again_only_when_the_user_says_that_it_is_empty() {
    let all = [
        Loses::ASet,
        Loses::BehindAHit,
        Loses::AHitAtTheEnd,
        Loses::Everything,
    ];
    at_once(all.into(), |loses| {
        let site = Site::new(queued());
        let queue = site.server.queue();
        site.queue("access.log").exits(0);
        match loses {
            Loses::ASet => assert!(!queue.drop_set(1).is_empty()),
            Loses::BehindAHit => queue.fail_at("/page-30"),
            Loses::AHitAtTheEnd => queue.fail_at("/page-119"),
            Loses::Everything => queue.drop_all(),
        }
        site.work_all_off();
        let is_stored: BTreeSet<usize> = numbers(&site.server).into_iter().collect();
        let missing: Vec<usize> = (0..LINES).filter(|it| !is_stored.contains(it)).collect();
        assert!(!missing.is_empty(), "{loses:?}");
        for run in 2..4 {
            site.queue("access.log").exits(0);
            assert_eq!(site.sent(), LINES, "{loses:?}, run {run}");
        }
        // Only batches with such hits are open.
        let calls = site.server.log().tracker.into_iter();
        let batches = calls.map(|call| call.requests());
        let is_missing = |hit: &Value| missing.contains(&number(hit));
        let open = batches.filter(|batch| batch.iter().any(is_missing));
        let open: usize = open.map(|batch| batch.len()).sum();
        assert_eq!(site.open_hits("queued"), open, "{loses:?}");
        site.run("--queue-is-empty access.log").exits(0);
        let mut sent: Vec<usize> = site.server.log().sent().iter().map(number).collect();
        let mut again = sent.split_off(LINES);
        again.sort_unstable();
        assert_eq!(again, missing, "{loses:?}");
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn lost_answers_stop_the_run_and_double_nothing() {
    // Whether the hits are in the queue.
    let rows = vec![
        (Fault::CommitClose, true),
        (Fault::CommitHtml(504), true),
        (Fault::CommitStall(Duration::from_secs(3)), true),
        (Fault::RollBack, false),
        (Fault::Empty500, false),
        (Fault::Answer(204, ""), false),
        (Fault::CloseInBody, false),
        (Fault::Html(200), false),
        (Fault::Stall(Duration::from_secs(3)), false),
    ];
    at_once(rows, |(fault, is_queued)| {
        let what = format!("{fault:?}");
        let site = Site::new(faulty(vec![None, Some(fault)]));
        let ended = site.queue("access.log").exits(1);
        ended.says(&["20 hits of access.log:", "may be in Matomo's queue"]);
        assert_eq!(site.open_hits("queuing"), 20, "{what}");
        let first = site.server.log().tracker.remove(0).requests();
        let first: BTreeSet<usize> = first.iter().map(number).collect();
        let doubtful = site.doubtful();
        for _ in 0..2 {
            // The other lines.
            site.queue("access.log").exits(0);
            let mut sent: Vec<usize> = site.server.log().sent().iter().map(number).collect();
            sent.sort_unstable();
            // Some requests were not read to their end.
            sent.retain(|number| !doubtful.contains(number));
            let others: Vec<usize> = (0..LINES).filter(|it| !doubtful.contains(it)).collect();
            assert_eq!(sent, others, "{what}");
            assert!(first.is_disjoint(&doubtful));
        }
        site.work_all_off();
        site.queue("access.log").exits(0);
        let open = if is_queued { 0 } else { 20 };
        assert_eq!(site.open_hits("queuing"), open, "{what}");
        assert_eq!(site.open_hits("queued"), 0, "{what}");
        site.run("--queue-is-empty access.log").exits(0);
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn busy_servers_are_asked_again() {
    for fault in [Fault::Busy(503, None), Fault::Refuse] {
        let is_refused = fault == Fault::Refuse;
        let site = Site::new(faulty(vec![None, Some(fault)]));
        let ended = site.queue("access.log");
        if is_refused {
            // Nobody knows whether Matomo has read the request.
            ended.exits(1);
            continue;
        }
        ended.exits(0);
        site.work_all_off();
        site.queue("access.log").exits(0);
        site.assert_complete(LINES, "access.log");
    }
}

#[test]
fn a_bad_hit_is_found_and_the_others_are_queued() {
    let mut options = queued();
    options
        .sites
        .insert(9, "http://other.example.org".to_owned());
    options.hosts.insert("other.example.org".to_owned(), 9);
    let site = Site::new(options);
    site.server.queue().refuse_site(9);
    let bad = [45, 99];
    let host = |number| match bad.contains(&number) {
        true => "other.example.org",
        false => "www.example.com",
    };
    let log: String = (0..LINES).map(|it| logs::hosted(host(it), it)).collect();
    site.folder.write("hosts.log", log);
    let args = "--recorders=1 --recorder-max-payload-size=20 --retry-delay=0 --state-dir=state \
                --queued-tracking hosts.log";
    let run = || Program::new(&site.folder).to(&site.server).args(args).run();
    let ended = assert_adds_up(run()).exits(3);
    assert_eq!(ended.summary().get("refused"), 2, "{ended}");
    ended.says(&["hosts.log:46", "hosts.log:100"]);
    site.work_all_off();
    run().exits(0);
    let good: Vec<usize> = (0..LINES).filter(|it| !bad.contains(it)).collect();
    assert_eq!(numbers(&site.server), good);
    site.assert_nothing_open();
}

#[test]
fn no_line_is_refused_because_the_token_has_expired() {
    at_once(
        vec![(1, 3), (4, 3), (4, 5), (1, 0)],
        |(recorders, holds)| {
            let site = Site::new(Options {
                // So that some requests are accepted while others are rejected.
                delay: Duration::from_millis(20),
                faults: Faults {
                    token_holds: Some(holds),
                    ..Faults::default()
                },
                ..queued()
            });
            let ended = site.queue(&format!("--recorders={recorders} access.log"));
            let ended = ended.exits(1).says(&["token"]);
            assert_eq!(ended.summary().get("refused"), 0, "{ended}");
            site.server.set_faults(Faults::default());
            site.queue("access.log").exits(0);
            site.work_all_off();
            site.queue("access.log").exits(0);
            site.assert_complete(LINES, "access.log");
        },
    );
}

#[test]
fn a_queue_that_is_switched_off_stores_at_once() {
    for plugin in [Plugin::SwitchedOff, Plugin::Workers(WORKERS)] {
        let site = Site::new(Options {
            queue: plugin,
            ..options()
        });
        site.server.queue().switch_off();
        let ended = site.queue("access.log").exits(0);
        ended
            .says(&["its queue is switched off"])
            .hides("not confirmed yet");
        site.assert_complete(LINES, "access.log");
    }
}

#[test]
fn a_plugin_that_is_not_active_stops_the_run() {
    let site = Site::new(Options {
        queue: Plugin::Inactive,
        ..options()
    });
    site.queue("access.log")
        .exits(1)
        .says(&["QueuedTracking is not active"]);
    assert_eq!(site.sent(), 0);
    site.run("access.log").exits(0);
    site.assert_nothing_open();
    assert_each_once(&site.server, LINES);
}

#[test]
fn a_token_without_view_access_relies_on_the_answers() {
    let site = Site::new(with_queue(seen_through(Live::Closed)));
    site.queue("access.log").exits(0);
    let ended = site.queue("access.log").exits(0);
    ended.says(&["this run relies on its answer"]);
    assert_eq!(site.sent(), LINES);
    site.assert_nothing_open();
    site.append("access.log", LINES..LINES + 30);
    let ended = site.queue("--wait-for-queue=100 access.log").exits(0);
    ended.says(&["relies on its answer"]);
    site.assert_nothing_open();
    site.work_all_off();
    site.assert_complete(LINES + 30, "access.log");
}

#[test]
fn hits_of_assistants_are_stored_at_once() {
    const ASSISTANT: &str = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; \
                             ChatGPT-User/1.0; +https://openai.com/bot";
    let site = Site::new(Options {
        version: Version(5, 8),
        ..queued()
    });
    let line = |number: usize| match number % 3 {
        0 => logs::line(number, 25).replace(logs::AGENT, ASSISTANT),
        _ => logs::line(number, 25),
    };
    let log: String = (0..LINES).map(line).collect();
    site.folder.write("access.log", log);
    let args = "--ai-assistants=on access.log";
    site.queue(args).exits(0);
    for call in site.server.log().tracker {
        let is_direct = call.query == "queuedtracking=0";
        for hit in call.requests() {
            assert_eq!(is_direct, number(&hit).is_multiple_of(3), "{hit}");
        }
    }
    assert_eq!(numbers(&site.server).len(), LINES / 3);
    site.work_all_off();
    site.queue(args).exits(0);
    site.assert_complete(LINES, args);
}

#[test]
fn a_pipe_is_imported_once() {
    let site = Site::new(queued());
    let pipe = |input: &str| {
        let program = site.program().args("--queued-tracking -").stdin(input);
        assert_adds_up(program.run()).exits(0)
    };
    let log = fs::read_to_string(site.folder.file("access.log")).unwrap();
    let middle = log.len() / 2;
    let middle = middle + log[middle..].find('\n').unwrap() + 1;
    pipe(&log[..middle]);
    assert!(site.sent() > 0);
    pipe("");
    pipe(&log[middle..]);
    assert_eq!(site.sent(), LINES);
    site.work_all_off();
    pipe("");
    assert_eq!(site.sent(), LINES);
    assert_each_once(&site.server, LINES);
    site.assert_nothing_open();
    let left = fs::read_dir(site.folder.file("state")).unwrap();
    let left = left.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let spools: Vec<String> = left.filter(|name| name.starts_with("spool.")).collect();
    assert!(spools.is_empty(), "{spools:?}");
}

#[test]
fn rotated_logs_are_imported_once() {
    // Whether the runs see the rotated logs.
    at_once(vec!["access.log", "access.log*"], |names| {
        let site = Site::new(queued());
        let (path, rotated) = (
            site.folder.file("access.log"),
            site.folder.file("access.log.1"),
        );
        let packed = site.folder.file("access.log.2.gz");
        site.queue(names).exits(0);
        fs::rename(&path, &rotated).unwrap();
        site.write("access.log", LINES..LINES + 50);
        site.queue(names).exits(0);
        assert_eq!(site.sent(), LINES + 50);
        fs::write(&packed, gzip(fs::read(&rotated).unwrap())).unwrap();
        fs::rename(&path, &rotated).unwrap();
        site.write("access.log", LINES + 50..LINES + 70);
        site.queue(names).exits(0);
        site.work_all_off();
        // A rotated log that no run sees any more cannot be asked about.
        site.queue("access.log*").exits(0);
        assert_eq!(site.sent(), LINES + 70);
        site.assert_complete(LINES + 70, "access.log*");
    });
}

#[test]
fn a_log_that_grows_is_imported_every_minute() {
    at_once(vec![1, 4], |recorders| {
        let site = Site::new(queued()).args(&format!("--recorders={recorders}"));
        site.folder.write("grows.log", "");
        for minute in 0..8 {
            site.append("grows.log", minute * 15..(minute + 1) * 15);
            site.queue("grows.log").exits(0);
            assert_eq!(site.sent(), (minute + 1) * 15);
            if minute % 2 == 1 {
                site.server.queue().work_off(minute / 2);
            }
        }
        site.work_all_off();
        site.queue("grows.log").exits(0);
        site.assert_complete(120, "grows.log");
    });
}

#[test]
fn a_log_with_two_names_is_imported_once() {
    let names = ["access.log other.log", "other.log access.log"];
    let mut rows = Vec::new();
    for names in names {
        for more in [None, Some(0), Some(30)] {
            rows.push((names, more));
        }
    }
    at_once(rows, |(names, more)| {
        let site = Site::new(queued());
        let other = site.folder.file("other.log");
        match more {
            None => fs::hard_link(site.folder.file("access.log"), other).unwrap(),
            Some(more) => site.write("other.log", 0..LINES + more),
        }
        let lines = LINES + more.unwrap_or(0);
        // A log that continues another one may be left to a run that sees the first one done.
        let ended = site.queue(names);
        let sent = site.server.log().sent();
        let different: BTreeSet<usize> = sent.iter().map(number).collect();
        assert_eq!(different.len(), sent.len(), "{names} {more:?}: {ended}");
        site.queue(names);
        site.work_all_off();
        for _ in 0..3 {
            site.queue(names);
            site.work_all_off();
        }
        assert_eq!(site.sent(), lines, "{names} {more:?}");
        site.assert_complete(lines, names);
    });
}

/// The hits without what says how they were sent.
fn sessions(server: &FakeMatomo) -> Vec<String> {
    let hits = sorted_hits(server).into_iter();
    let hits = hits.map(|hit| hit.replace("\"queuedtracking\":1", "\"queuedtracking\":0"));
    let mut hits: Vec<String> = hits.collect();
    hits.sort_unstable();
    hits
}

#[test]
fn listening_sessions_are_imported_once() {
    const DURATIONS: [i64; 8] = [0, 60, 12_000, 1501, 5400, 9000, 31, 20_000];
    let session = |(number, seconds): (usize, &i64)| {
        let address = format!("192.0.2.{}", number % 5);
        icecast(&address, 40_000 + number as i64, "/live", seconds)
    };
    let log: String = DURATIONS.iter().enumerate().map(session).collect();
    let args = "--idsite=1 --listening-time=events --recorder-max-payload-size=3 access.log";
    let expected = fake_matomo();
    let folder = Folder::with_log(&log);
    let direct = Program::new(&folder).to(&expected).args(args);
    direct.run().exits(0);
    let expected = sessions(&expected);
    at_once(
        vec![(1, false), (2, false), (1, true), (2, true)],
        |(recorders, loses)| {
            let site = Site::new(queued());
            site.folder.write("access.log", &log);
            let args = format!("{args} --recorders={recorders}");
            site.queue(&args).exits(0);
            assert_eq!(site.sent(), expected.len());
            let queue = site.server.queue();
            queue.work_off(3);
            site.queue(&args).exits(0);
            if loses {
                assert!((0..3).any(|worker| !queue.drop_set(worker).is_empty()));
            }
            site.work_all_off();
            site.queue(&args).exits(0);
            assert_eq!(site.sent(), expected.len());
            if loses {
                assert!(site.open_hits("queued") > 0);
                site.run(&format!("--queue-is-empty {args}")).exits(0);
            }
            assert_eq!(sessions(&site.server), expected, "{recorders} {loses}");
            site.assert_nothing_open();
            let sent = site.sent();
            site.queue(&args).exits(0);
            assert_eq!(site.sent(), sent);
        },
    );
}

#[test]
fn options_that_do_not_fit_are_wrong() {
    let folder = Folder::with_log(logs::log(5));
    let rows = [
        ("--sandbox --queued-tracking", "--sandbox"),
        (
            "--sqs-queue=https://sqs.eu-central-1.amazonaws.com/123456789012/logs --queued-tracking",
            "--sqs-queue",
        ),
        (
            "--queued-tracking --wait-for-queue=soon",
            "--wait-for-queue",
        ),
        ("--queued-tracking --replay-tracking", "--replay-tracking"),
    ];
    for (args, word) in rows {
        let ended = Program::new(&folder)
            .args("--url=http://127.0.0.1:9/ --idsite=1 --state-dir=state")
            .env("MATOMO_TOKEN_AUTH", crate::support::TOKEN)
            .args(args)
            .run();
        ended.exits(2).says(&[word]);
    }
}

#[test]
fn hits_of_excluded_visitors_are_settled_when_the_queue_is_empty() {
    let site = Site::new(Options {
        excluded: Some("10.0.0.4"),
        ..queued()
    });
    site.queue("access.log").exits(0);
    site.work_all_off();
    site.queue("access.log").exits(0);
    assert_eq!(site.sent(), LINES);
    assert!(site.open_hits("queued") > 0);
    site.run("--queue-is-empty access.log").exits(0);
    site.assert_nothing_open();
    let all: Vec<usize> = (0..LINES).filter(|number| number % 25 != 3).collect();
    assert_eq!(numbers(&site.server), all);
    let addresses = site.server.log().sent().split_off(LINES);
    assert!(addresses.iter().all(|hit| text(hit, "cip") == "10.0.0.4"));
}

/// The number of API calls so far.
fn api_calls(site: &Site) -> usize {
    site.server.log().api.len()
}

#[test]
fn questions_that_fail_send_nothing_again() {
    let refused = r#"{"result": "error", "message": "The visits log is busy."}"#;
    let rows = vec![
        Fault::Answer(200, refused),
        Fault::Html(200),
        Fault::Html(404),
        Fault::HalfJson,
        Fault::Busy(503, None),
        Fault::RollBack,
    ];
    at_once(rows, |fault| {
        let what = format!("{fault:?}");
        // A lost answer, too.
        let site = Site::new(faulty(vec![None, None, Some(Fault::Empty500)]));
        site.queue("access.log").exits(1);
        site.queue("access.log").exits(0);
        let sent = site.sent();
        assert_eq!(sent, LINES, "{what}");
        // The first question of a run about its queue comes after other calls.
        let before = api_calls(&site);
        site.queue("access.log").exits(0);
        let calls = site.server.log().api.split_off(before);
        let first = calls
            .iter()
            .position(|call| call.method.starts_with("Live."));
        let mut api = vec![None; first.unwrap()];
        api.push(Some(fault));
        site.server.set_faults(Faults {
            api,
            ..Faults::default()
        });
        site.queue("--retry-max-attempts=1 access.log").exits(0);
        assert_eq!(site.sent(), sent, "{what}");
        site.work_all_off();
        site.queue("access.log").exits(0);
        assert_eq!(site.open_hits("queuing"), 20, "{what}");
        site.run("--queue-is-empty access.log").exits(0);
        site.assert_complete(LINES, "access.log");
    });
}

#[test]
fn a_batch_without_an_answer_stays_open_if_matomo_cannot_be_asked() {
    let site = Site::new(Options {
        live: Live::Closed,
        ..faulty(vec![None, Some(Fault::CommitClose)])
    });
    site.queue("access.log").exits(1);
    for _ in 0..2 {
        site.queue("access.log").exits(0);
    }
    site.queue("access.log").exits(0);
    assert_eq!(site.sent(), LINES);
    assert_eq!(site.open_hits("queuing"), 20);
    assert_eq!(site.open_hits("queued"), 0);
    site.work_all_off();
    let ended = site
        .run("--queue-is-empty --in-doubt=skip access.log")
        .exits(3);
    ended.says(&["not sent again"]);
    assert_each_once(&site.server, LINES);
}

#[test]
fn verification_leaves_out_what_is_in_the_queue() {
    let site = Site::new(queued());
    site.queue("access.log").exits(0);
    let queue = site.server.queue();
    queue.drop_set(0);
    let verify = |args: &str, logs: &str| {
        let ended = site.run(&format!("{args} access.log")).exits(3);
        ended
            .prints(&[logs, "0 hits are missing"])
            .says(&["hits are in Matomo's queue, not confirmed yet"]);
        assert_eq!(site.sent(), LINES, "{args}");
    };
    let all = ["--verify", "--verify=all", "--verify=all --repair"];
    for args in all {
        verify(args, "0 hits of 0 logs are imported");
    }
    site.work_all_off();
    site.queue("access.log").exits(0);
    let open = site.open_hits("queued");
    assert!(open > 0);
    for args in all {
        let ended = site.run(&format!("{args} access.log"));
        ended
            .prints(&[&format!("{} hits of 1 logs are imported", LINES - open)])
            .says(&[&format!(
                "{open} hits are in Matomo's queue, not confirmed yet"
            )]);
    }
    assert_eq!(site.sent(), LINES);
    site.run("--queue-is-empty access.log").exits(0);
    site.assert_complete(LINES, "access.log");
    let ended = site.run("--verify=all access.log").exits(0);
    ended.prints(&["0 hits are missing"]);
}

#[test]
fn a_log_may_be_rotated_while_matomo_is_asked_about_its_queue() {
    // Whether there is a new log at once, and whether the log is followed.
    let rows = [(true, false), (false, false), (true, true), (false, true)];
    at_once(rows.into(), |(is_new, is_followed)| {
        let site = Site::new(queued());
        site.queue("access.log").exits(0);
        site.work_all_off();
        site.server.hold_questions();
        let follow = if is_followed {
            "--follow --poll-interval=0.1"
        } else {
            ""
        };
        let program = site.program().args("--queued-tracking access.log");
        let mut running = program.args(follow).start();
        assert!(until(LONGEST, || site.server.holds_a_question()));
        let path = site.folder.file("access.log");
        fs::rename(&path, site.folder.file("access.log.1")).unwrap();
        if is_new {
            site.write("access.log", LINES..LINES + 30);
        }
        site.server.release_questions();
        if is_followed {
            if !is_new {
                site.write("access.log", LINES..LINES + 30);
            }
            let is_sent = until(LONGEST, || running.has_ended() || site.sent() == LINES + 30);
            assert!(is_sent && !running.has_ended(), "{is_new}");
            running.signal(Signal::TERM);
            assert_adds_up(running.end()).exits(0);
        } else {
            let ended = assert_adds_up(running.end()).exits(3);
            ended.says(&["access.log: the log was replaced"]);
            if !is_new {
                site.write("access.log", LINES..LINES + 30);
            }
        }
        site.queue("access.log*").exits(0);
        site.work_all_off();
        site.queue("access.log*").exits(0);
        assert_eq!(site.sent(), LINES + 30);
        site.assert_complete(LINES + 30, "access.log*");
    });
}

#[test]
fn options_may_change_while_hits_are_in_the_queue() {
    let rows = [
        "--exclude-path=/page-5 --exclude-path=/page-77",
        "--include-path=/page-*",
        "--recorder-max-payload-size=7 --recorders=4",
        "--log-format-name=ncsa_extended",
    ];
    at_once(rows.into(), |args| {
        let site = Site::new(queued());
        site.queue("access.log").exits(0);
        let args = format!("{args} access.log");
        site.queue(&args).exits(0);
        site.work_all_off();
        site.queue(&args).exits(0);
        assert_eq!(site.sent(), LINES, "{args}");
        site.assert_complete(LINES, &args);
    });
}

#[test]
fn lines_in_the_queue_stay_open_while_no_option_makes_hits_of_them() {
    let site = Site::new(queued());
    site.queue("access.log").exits(0);
    for _ in 0..2 {
        site.queue("--exclude-path=/page-* access.log").exits(0);
        assert_eq!(site.open_hits("queued"), LINES);
        site.work_all_off();
    }
    site.queue("access.log").exits(0);
    assert_eq!(site.sent(), LINES);
    site.assert_complete(LINES, "access.log");
}

#[test]
fn hits_that_are_in_the_queue_for_a_day_are_reported() {
    let site = Site::new(queued());
    let clock = site.folder.write("clock", "0");
    let run = |logs: &str| {
        let program = site.program().args("--queued-tracking").args(logs);
        let program = program.env("IMPORT_LOGS_CLOCK", clock.to_str().unwrap());
        assert_adds_up(program.run())
    };
    run("access.log").exits(0);
    run("access.log").exits(0);
    site.folder.write("clock", "90000");
    let ended = run("access.log").exits(3);
    let warning = format!("{LINES} hits went into Matomo's queue up to 25 hours ago");
    let ended = ended.says(&[&warning, "--queue-is-empty"]);
    assert_eq!(ended.err.matches("hours ago").count(), 1, "{ended}");
    site.work_all_off();
    run("access.log").exits(0);
    assert_eq!(site.sent(), LINES);
    site.assert_complete(LINES, "access.log");
}

#[test]
fn a_log_that_comes_back_is_not_sent_again() {
    let site = Site::new(queued());
    site.queue("access.log").exits(0);
    let (path, away) = (site.folder.file("access.log"), site.folder.file("away"));
    fs::rename(&path, &away).unwrap();
    site.write("other.log", LINES..LINES + 20);
    for _ in 0..2 {
        site.queue("other.log").exits(0);
    }
    // A copy is another file.
    fs::copy(&away, &path).unwrap();
    fs::remove_file(&away).unwrap();
    site.queue("access.log").exits(0);
    assert_eq!(site.sent(), LINES + 20);
    site.work_all_off();
    site.queue("access.log other.log").exits(0);
    site.assert_nothing_open();
    assert_eq!(site.sent(), LINES + 20);
    assert_each_once(&site.server, LINES + 20);
}

#[test]
fn all_logs_wait_for_the_queue_together() {
    let site = Site::new(queued());
    let names: Vec<String> = (0..20).map(|number| format!("{number}.log")).collect();
    for (number, name) in names.iter().enumerate() {
        site.write(name, number * 5..number * 5 + 5);
    }
    let names = names.join(" ");
    site.queue(&names).exits(0);
    let begun = Instant::now();
    site.queue(&format!("--wait-for-queue=1 {names}")).exits(3);
    assert!(begun.elapsed() < Duration::from_secs(10));
    site.work_all_off();
    site.queue(&names).exits(0);
    site.assert_complete(100, &names);
}

/// The states of batches in a copy of the ledger of a run.
fn open_batches(site: &Site) -> String {
    let copy = Folder::new();
    for entry in fs::read_dir(site.folder.file("state")).unwrap() {
        let path = entry.unwrap().path();
        // Files of the ledger come and go.
        let _ = fs::copy(
            &path,
            copy.file(path.file_name().unwrap().to_str().unwrap()),
        );
    }
    let program = Program::new(&copy).args("--state-dir=. --status");
    let (_, open) = match program.run().out.split_once("Pending") {
        Some((before, open)) => (before.to_owned(), open.to_owned()),
        None => return String::new(),
    };
    open
}

#[test]
fn a_followed_log_is_confirmed_while_the_run_goes_on() {
    at_once(vec![1, 4], |recorders| {
        let site = Site::new(queued()).args(&format!("--recorders={recorders}"));
        // An earlier run sent some of it.
        site.queue("access.log").exits(0);
        let working = site.server.queue().work_off_every(PACE);
        let program = site.program().args("--queued-tracking access.log");
        let running = program
            .args("--follow --poll-interval=0.1 --flush-interval=0.1")
            .start();
        for round in 0..3 {
            site.append("access.log", LINES + round * 10..LINES + round * 10 + 10);
            let lines = LINES + round * 10 + 10;
            let is_there = until(LONGEST, || numbers(&site.server).len() == lines);
            assert!(is_there, "round {round}");
        }
        let mut open = String::new();
        let is_confirmed = until(LONGEST, || {
            open = open_batches(&site);
            open.is_empty()
        });
        assert!(is_confirmed, "{open}");
        running.signal(Signal::TERM);
        assert_adds_up(running.end())
            .exits(0)
            .hides("not confirmed");
        drop(working);
        assert_eq!(site.sent(), LINES + 30);
        site.assert_complete(LINES + 30, "access.log");
    });
}

#[test]
fn a_run_that_is_stopped_leaves_its_hits_in_the_queue() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new(Options {
            delay: Duration::from_millis(20),
            ..queued()
        });
        let mut running = site
            .program()
            .args("--queued-tracking --wait-for-queue=100 access.log")
            .start();
        assert!(until(LONGEST, || running.has_ended() || site.sent() > 20));
        running.signal(signal);
        assert_ne!(assert_adds_up(running.end()).code, Some(0));
        site.queue("access.log").exits(0);
        assert_eq!(site.sent(), LINES);
        site.work_all_off();
        site.queue("access.log").exits(0);
        site.assert_complete(LINES, "access.log");
    }
}

/// A job whose hits go into the queue.
fn queuing_job(from: From, lines: usize, recorders: usize) -> Job {
    let world = World::with(Options {
        delay: Duration::from_millis(2),
        ..queued()
    });
    Job::new(world.args("--queued-tracking"), from, lines, recorders)
}

/// Completes a job: works the queue off, asks about that, and then sends what is missing.
fn finish(mut job: Job, what: &str) {
    let running = job.start(|program| program);
    let ended = job.end(running);
    assert_eq!(ended.code, Some(0), "{what}: {ended}");
    job.world.server.queue().work_all_off();
    let running = job.start(|program| program);
    let ended = job.end(running);
    assert_eq!(ended.code, Some(0), "{what}: {ended}");
    job.world.args = job
        .world
        .args
        .replace("--queued-tracking", "--queue-is-empty");
    job.finish(what);
}

/// The failpoints, and at which visits the program is aborted.
const POINTS: [(&str, u32); 10] = [
    ("after-spool-append", 2),
    ("after-intent", 1),
    ("after-intent", 9),
    ("in-body", 3),
    ("after-answer", 1),
    ("after-answer", 8),
    ("after-settled", 3),
    ("before-rename", 1),
    ("after-rename", 1),
    ("between-files", 1),
];

#[test]
fn each_line_is_stored_once_after_aborts_at_any_failpoint() {
    let mut rows = Vec::new();
    for from in [From::Plain, From::TwoFiles, From::Pipe] {
        let all: &[usize] = if from == From::TwoFiles {
            &[4]
        } else {
            &[1, 4]
        };
        for recorders in all.iter().copied() {
            let points = POINTS.into_iter();
            let points =
                points.filter(|(point, _)| *point != "after-spool-append" || from == From::Pipe);
            rows.extend(points.map(|(point, time)| (from, recorders, point, time)));
        }
    }
    at_once(rows, |(from, recorders, point, time)| {
        let what = format!("{from:?}, {recorders} recorders, {point}:{time}");
        let mut job = queuing_job(from, 150, recorders);
        let abort_at = format!("{point}:{time}");
        if point == "after-settled" {
            let running = job.start(|program| program);
            job.end(running).exits(0);
            job.world.server.queue().work_all_off();
        }
        for run in 0..2 {
            let dying = job.start(|program| program.env("IMPORT_LOGS_ABORT_AT", &abort_at));
            let ended = job.end(dying);
            assert!(
                run > 0 || ended.code.is_none(),
                "{what} is never reached: {ended}"
            );
            job.world.server.queue().work_off(run);
        }
        finish(job, &what);
    });
}

#[test]
fn each_line_is_stored_once_after_random_kills() {
    let mut rows = Vec::new();
    for from in [From::Plain, From::Pipe] {
        for recorders in [1, 4] {
            for works in [false, true] {
                rows.push((from, recorders, works));
            }
        }
    }
    at_once(rows, |(from, recorders, works)| {
        let what = format!("{from:?}, {recorders} recorders, {works}");
        let mut random = Random::new(&what);
        let mut job = queuing_job(from, 300, recorders);
        let queue = job.world.server.queue();
        let working = works.then(|| queue.work_off_every(PACE));
        for _ in 0..4 {
            let calls = job.world.calls() + random.within(1..12);
            let mut running = job.start(|program| program);
            until(LONGEST, || {
                running.has_ended() || job.world.calls() >= calls
            });
            sleep(Duration::from_millis(random.below(10)));
            running.signal(Signal::KILL);
            job.end(running);
        }
        drop(working);
        finish(job, &what);
    });
}

#[test]
fn what_is_missing_can_be_queued_again() {
    let site = Site::new(queued());
    site.queue("access.log").exits(0);
    let lost = site.server.queue().drop_set(2).len();
    site.work_all_off();
    site.queue("--queue-is-empty access.log").exits(0);
    assert_eq!(site.sent(), LINES + lost);
    // What is in the queue again is not missing.
    site.queue("access.log").exits(0);
    assert_eq!(site.sent(), LINES + lost);
    site.work_all_off();
    site.queue("access.log").exits(0);
    site.assert_complete(LINES, "access.log");
}
