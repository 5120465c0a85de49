//! The figures of the summary match a simple calculation over the same sessions, and memory is
//! limited.
//!
//! The environment variable `LISTENING_SESSIONS` sets the number of sessions (100,000 if unset).

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use super::{DAY, PLAYER, Row, date, report, rows};
use crate::support::stored::fake_matomo;
use crate::support::{Ended, Folder, Program, until};

const MOUNTS: [&str; 7] = [
    "/live.mp3",
    "/live.ogg",
    "/jazz",
    "/news.opus",
    "/hd.aac",
    "/rock",
    "/talk",
];

/// Maximum memory of the figures of a million sessions.
const MAX_BYTES: u64 = 40_000_000;

/// Random numbers with a fixed seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

#[derive(Clone, Copy)]
struct TestSession {
    mount: usize,
    start: i64,
    seconds: i64,
    address: u64,
    agent: u64,
}

/// Writes sessions of two weeks, ordered by end. Some lines have no duration.
fn write_log(sessions: u64, folder: &Folder) -> Vec<TestSession> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut log = BufWriter::new(File::create(folder.file("access.log")).unwrap());
    let mut all = Vec::new();
    for number in 0..sessions {
        let end = DAY + (number * 14 * 86_400 / sessions) as i64;
        let longest = [60, 3600, 20_000, 200_000][dice.below(4) as usize];
        let session = TestSession {
            // The last mount point has the most sessions.
            mount: dice.below(49).isqrt() as usize,
            seconds: dice.below(longest) as i64,
            start: 0,
            address: dice.below(sessions / 5),
            agent: dice.below(3),
        };
        let session = TestSession {
            start: end - session.seconds,
            ..session
        };
        write_line(&mut log, session, &session.seconds.to_string());
        if number % 1000 == 0 {
            write_line(&mut log, session, "-");
        }
        all.push(session);
    }
    log.flush().unwrap();
    all
}

fn write_line(log: &mut impl Write, session: TestSession, duration: &str) {
    let TestSession {
        mount,
        start,
        seconds,
        address,
        agent,
    } = session;
    let end = date(start + seconds, "%d/%b/%Y:%H:%M:%S +0000");
    let mount = MOUNTS[mount];
    writeln!(
        log,
        "10.{}.{}.{} - - [{end}] \"GET {mount} HTTP/1.1\" 200 {} \"-\" \"{PLAYER} {agent}\" {duration}",
        address >> 16, address >> 8 & 255, address & 255, seconds * 16_000,
    )
    .unwrap();
}

/// The expected row of these sessions.
fn expected(name: &str, of: &[TestSession]) -> Row {
    let mut durations: Vec<i64> = of.iter().map(|one| one.seconds).collect();
    durations.sort_unstable();
    let middle =
        (durations[(durations.len() - 1) / 2] + durations[durations.len() / 2]) as f64 / 2.0;
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for one in of {
        *changes.entry(one.start).or_default() += 1;
        *changes.entry(one.start + one.seconds).or_default() -= 1;
    }
    let (mut now, mut peak, mut first) = (0, 0, None);
    for (time, change) in changes {
        now += change;
        if now > peak {
            (peak, first) = (now, Some(time));
        }
    }
    let listeners: HashSet<_> = of.iter().map(|one| (one.address, one.agent)).collect();
    Row {
        mount: name.into(),
        sessions: of.len() as u64,
        seconds: durations.iter().sum::<i64>().unsigned_abs(),
        median: middle,
        peak: peak.unsigned_abs(),
        peak_at: first.map(|first| date(first, "%Y-%m-%dT%H:%M:%S+00:00")),
        listeners: listeners.len() as u64,
    }
}

/// The expected seconds of each day.
fn expected_days(all: &[TestSession]) -> BTreeMap<String, i64> {
    let mut days = BTreeMap::new();
    for one in all {
        let (mut from, end) = (one.start, one.start + one.seconds);
        while from < end {
            let midnight = (from / 86_400 + 1) * 86_400;
            let until = end.min(midnight);
            *days.entry(date(from, "%Y-%m-%d")).or_default() += until - from;
            from = until;
        }
    }
    days
}

/// Returns the result of a dry run and its peak memory in bytes.
fn dry_run(folder: &Folder, args: &str) -> (Ended, u64) {
    let server = fake_matomo();
    let limit = Duration::from_secs(600);
    let mut running = Program::new(folder)
        .to(&server)
        .args("--dry-run --idsite=1 --log-format-name=icecast2 --report=report.json access.log")
        .args(args)
        .limit(limit)
        .start();
    let mut peak = 0;
    until(limit, || {
        peak = running.peak_memory().unwrap_or(0).max(peak);
        running.has_ended()
    });
    (running.end().exits(0), peak)
}

#[test]
fn figures_match_a_simple_calculation_in_limited_memory() {
    let sessions =
        std::env::var("LISTENING_SESSIONS").map_or(100_000, |number| number.parse().unwrap());
    let folder = Folder::new();
    let all = write_log(sessions, &folder);
    let (ended, peak) = dry_run(&folder, "");

    let of_mount = |mount: usize| {
        let all = all.iter().copied();
        all.filter(|one| one.mount == mount).collect::<Vec<_>>()
    };
    let mounts = MOUNTS.iter().enumerate();
    let mut want: Vec<Row> = mounts
        .map(|(mount, name)| expected(name, &of_mount(mount)))
        .collect();
    want.sort_by_key(|row| std::cmp::Reverse(row.seconds));
    want.insert(0, expected("", &all));
    assert_eq!(rows(&folder), want);

    let report = report(&folder);
    let days = report["groups"][0]["days"].as_array().unwrap().iter();
    let days = days.map(|day| {
        let name = day["day"].as_str().unwrap().to_owned();
        (name, day["seconds"].as_i64().unwrap())
    });
    assert_eq!(days.collect::<BTreeMap<_, _>>(), expected_days(&all));

    let unknown = sessions.div_ceil(1000);
    assert_eq!(report["left_out"]["without_duration"], unknown);
    assert_eq!(ended.summary().get("imported"), sessions + unknown);

    let (_, without) = dry_run(&folder, "--listening-time=off");
    let taken = peak.saturating_sub(without);
    println!("{sessions} sessions: {peak} bytes at most, {without} without listening time");
    assert!(taken < MAX_BYTES, "{taken} bytes for {sessions} sessions");
}
