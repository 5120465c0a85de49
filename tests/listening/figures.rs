//! The figures of the summary match a simple calculation over the same sessions, and memory is
//! limited.
//!
//! The environment variable `LISTENING_SESSIONS` sets the number of sessions (100,000 if unset).

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use super::{DAY, PLAYER, Row, date, rows};
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
    let seconds: i64 = durations.iter().sum();
    let middle =
        (durations[(durations.len() - 1) / 2] + durations[durations.len() / 2]) as f64 / 2.0;
    let mut changes: BTreeMap<i64, i64> = BTreeMap::new();
    for one in of {
        *changes.entry(one.start).or_default() += 1;
        *changes.entry(one.start + one.seconds).or_default() -= 1;
    }
    let (mut now, mut most, mut first) = (0, 0, None);
    for (time, change) in changes {
        now += change;
        if now > most {
            (most, first) = (now, Some(time));
        }
    }
    let listeners: HashSet<_> = of.iter().map(|one| (one.address, one.agent)).collect();
    Row {
        mount: name.into(),
        connections: of.len() as u64,
        seconds: seconds.unsigned_abs(),
        hours: format!("{:.2}", seconds as f64 / 3600.0),
        average: decimal(seconds as f64 / of.len() as f64),
        median: decimal(middle),
        most: most.unsigned_abs(),
        first: first.map_or("-".into(), |first| date(first, "%Y-%m-%d %H:%M:%S")),
        listeners: listeners.len() as u64,
    }
}

fn decimal(number: f64) -> String {
    format!("{number:.1}").trim_end_matches(".0").to_owned()
}

/// The expected rows of the table of days: the date, then the hours of all mount points, of those
/// in `columns`, and of the others.
fn expected_days(all: &[TestSession], columns: &[usize]) -> Vec<String> {
    let mut days: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for one in all {
        let (mut from, end) = (one.start, one.start + one.seconds);
        while from < end {
            let day = from / 86_400;
            let until = end.min((day + 1) * 86_400);
            let seconds = days.entry(day).or_insert_with(|| vec![0; MOUNTS.len() + 1]);
            seconds[MOUNTS.len()] += until - from;
            seconds[one.mount] += until - from;
            from = until;
        }
    }
    let line = |(day, seconds): (i64, Vec<i64>)| {
        let all = seconds[MOUNTS.len()];
        let shown = columns.iter().map(|column| seconds[*column]);
        let others = all - shown.clone().sum::<i64>();
        let shown = std::iter::once(all).chain(shown).chain([others]);
        let hours = shown.map(|seconds| format!(" {:.2}", seconds as f64 / 3600.0));
        date(day * 86_400, "%Y-%m-%d") + &hours.collect::<String>()
    };
    days.into_iter().map(line).collect()
}

/// Returns the result of a dry run and its peak memory in bytes.
fn dry_run(folder: &Folder, args: &str) -> (Ended, u64) {
    let server = fake_matomo();
    let limit = Duration::from_secs(600);
    let mut running = Program::new(folder)
        .to(&server)
        .args("--dry-run --idsite=1 --log-format-name=icecast2 access.log")
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

    let mut mounts: Vec<(usize, Row)> = MOUNTS
        .iter()
        .enumerate()
        .map(|(mount, name)| {
            let of: Vec<_> = all
                .iter()
                .copied()
                .filter(|one| one.mount == mount)
                .collect();
            (mount, expected(name, &of))
        })
        .collect();
    mounts.sort_by_key(|(_, row)| std::cmp::Reverse(row.seconds));
    let columns: Vec<usize> = mounts.iter().take(6).map(|(mount, _)| *mount).collect();
    let mut want: Vec<Row> = mounts.into_iter().map(|(_, row)| row).collect();
    want.push(expected("(all)", &all));
    assert_eq!(rows(&ended.out), want);

    let (_, days) = ended
        .out
        .split_once("Listening hours per day (UTC):\n\n")
        .unwrap();
    let days = days.lines().skip(1).take_while(|line| !line.is_empty());
    let days: Vec<String> = days
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(days, expected_days(&all, &columns));

    let unknown = sessions.div_ceil(1000);
    assert!(
        ended.out.contains(&format!(
            "    {unknown} connections without usable duration"
        )),
        "{ended}"
    );
    assert_eq!(ended.summary().get("imported"), sessions + unknown);

    let (_, without) = dry_run(&folder, "--listening-time=off");
    let taken = peak.saturating_sub(without);
    println!("{sessions} sessions: {peak} bytes at most, {without} without listening time");
    assert!(taken < MAX_BYTES, "{taken} bytes for {sessions} sessions");
}
