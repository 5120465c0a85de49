//! The account: for any log, each line that was read is counted exactly once, and the server, the
//! summary and the messages agree.

use std::collections::BTreeSet;

use crate::support::fake::{Fault, Faults, Options};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use regex::Regex;

use crate::support::mutate::{changed, formats, lines};
use crate::support::stored::{count, options, started};
use crate::support::{Ended, Folder, Program, logs};

/// A log's line in the summary: the lines read, and each number with its label.
fn of_log(ended: &Ended, log: &str) -> Option<(u64, Vec<(u64, String)>)> {
    let begin = format!("    {log}: ");
    let line = ended
        .out
        .lines()
        .find_map(|line| line.strip_prefix(&begin))
        .filter(|line| *line != "not read")?;
    let mut numbers = line.split(", ").map(|part| {
        let (number, words) = part.split_once(' ').unwrap();
        (number.parse::<u64>().unwrap(), words.to_owned())
    });
    let (read, words) = numbers.next()?;
    assert_eq!(words, "lines");
    Some((read, numbers.collect()))
}

/// The lines that `-dd` names with a reason, in order.
fn named(ended: &Ended, log: &str) -> Vec<u64> {
    let place = Regex::new(&format!(
        r"(?m)^import-logs: debug: {}:(\d+): ",
        regex::escape(log)
    ))
    .unwrap();
    place
        .captures_iter(&ended.err)
        .map(|place| place[1].parse().unwrap())
        .collect()
}

/// Counts the lines independently of the program.
fn lines_of(log: &[u8]) -> u64 {
    let is_end = |(at, byte): (usize, &u8)| {
        *byte == b'\n' || *byte == b'\r' && log.get(at + 1) != Some(&b'\n')
    };
    let ends = log.iter().enumerate().filter(|it| is_end(*it)).count();
    let last = log.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next();
    // A run of zeros is not a line.
    let has_rest = last.is_some_and(|last| last.iter().any(|byte| *byte != 0));
    (ends + usize::from(has_rest)) as u64
}

/// Checks a run over `access.log`, and over `other.log` with one good line.
fn check(ended: &Ended, log: &[u8], stored: u64) -> Result<(), TestCaseError> {
    let Some((read, ends)) = of_log(ended, "access.log") else {
        // The run stopped before it read a line.
        prop_assert_eq!(ended.code, Some(1), "{}", ended);
        return Ok(());
    };
    let (others, other_ends) = of_log(ended, "other.log").unwrap_or_default();
    let of = |ends: &[(u64, String)], name: &str| {
        let found = ends.iter().find(|(_, words)| words == name);
        found.map_or(0, |(number, _)| *number)
    };
    let of_both = |name: &str| of(&ends, name) + of(&other_ends, name);
    prop_assert!(!ended.err.contains("does not add up"), "{}", ended);
    prop_assert_eq!(
        ends.iter().map(|(number, _)| number).sum::<u64>(),
        read,
        "{}",
        ended
    );
    let summary = ended.summary();
    prop_assert_eq!(summary.get("ignored"), summary.dropped(), "{}", ended);
    prop_assert_eq!(
        summary.get("imported")
            + summary.get("refused")
            + summary.get("lost")
            + summary.get("unsent")
            + summary.dropped()
            + of_both("header lines")
            + of_both("skipped"),
        read + others,
        "{}",
        ended
    );
    prop_assert_eq!(summary.get("imported"), stored, "{}", ended);
    let named = named(ended, "access.log");
    prop_assert_eq!(named.len() as u64, of(&ends, "ignored"), "{}", ended);
    prop_assert!(named.windows(2).all(|two| two[0] < two[1]), "{}", ended);
    match ended.code {
        // An unusable header ends the log there.
        Some(1) => prop_assert!(read <= lines_of(log), "{}", ended),
        _ => prop_assert_eq!(read, lines_of(log), "{}", ended),
    }
    Ok(())
}

/// Faults that leave no hit unconfirmed.
fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        4 => Just(None),
        1 => proptest::collection::btree_set(0..10_usize, 1..4)
            .prop_map(|places: BTreeSet<usize>| Some(Fault::Invalid(places.into_iter().collect()))),
        1 => (1..3_usize).prop_map(|hits| Some(Fault::Lost(hits))),
        1 => Just(Some(Fault::RollBack)),
        1 => Just(Some(Fault::TooLarge)),
        1 => Just(Some(Fault::Busy(429, None))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_line_is_counted_once(
        format in proptest::sample::select(formats()),
        seeds in proptest::collection::vec(any::<u64>(), 1..120),
        skip in prop_oneof![3 => Just(0_u32), 1 => 0..40_u32],
        recorders in 1..4_usize,
        script in proptest::collection::vec(fault(), 0..6),
        whole in any::<bool>(),
    ) {
        let mut log = changed(&lines(&format), &seeds);
        if !whole {
            log.pop();
        }
        let folder = Folder::with_log(&log);
        folder.write("other.log", logs::log(1));
        let server = started(Options {
            faults: Faults { script, ..Faults::default() },
            ..options()
        });
        let ended = Program::new(&folder)
            .to(&server)
            .args("-dd --idsite=1 --recorder-max-payload-size=10 --retry-delay=0 --retry-max-attempts=9")
            .args("--listening-time=off access.log other.log")
            .arg(format!("--log-format-name={format}"))
            .arg(format!("--skip={skip}"))
            .arg(format!("--recorders={recorders}"))
            .run();
        check(&ended, &log, count(&server))?;
    }
}

#[test]
fn each_outcome_has_its_own_counter() {
    let page = |path: &str| logs::page(path, 0, 1);
    let log = [
        logs::line(0, 1).repeat(7),
        page("/old").replace(" 200 ", " 301 ").repeat(2),
        page("/none").replace(" 200 ", " 404 ").repeat(3),
        "nothing\n".repeat(4),
        "# a comment\n".repeat(5),
        page("/private/a").repeat(6),
        page("/a").replace(logs::AGENT, "curl/8").repeat(8),
        page("/a.css").repeat(9),
        page("/a.mp3").repeat(10),
        page("/a.pdf").repeat(11),
    ];
    let folder = Folder::with_log(log.concat());
    folder.write("other.log", logs::line(0, 1));
    let server = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Invalid(vec![0]))],
            ..Faults::default()
        },
        ..options()
    });
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --skip=2 --exclude-path=/private/* --download-extensions=pdf")
        .args("--log-format-name=ncsa_extended access.log other.log")
        .run()
        .exits(3);
    let expected = "    access.log: 65 lines, 15 imported, 42 ignored, 5 header lines, 2 skipped, 1 refused by the server\n";
    assert!(ended.out.contains(expected), "{ended}");
    let summary = ended.summary();
    let numbers = [
        ("imported", 16),
        ("downloads", 11),
        ("refused", 1),
        ("http_redirects", 2),
        ("http_errors", 3),
        ("invalid", 4),
        ("filtered", 6),
        ("bots", 8),
        ("static", 9),
        ("skipped_downloads", 10),
        ("no_site", 0),
        ("hostname", 0),
    ];
    for (name, number) in numbers {
        assert_eq!(summary.get(name), number, "{name}: {ended}");
    }
    assert_eq!(count(&server), 16);
}

#[test]
fn every_log_has_a_summary_line_even_if_nothing_is_read() {
    let folder = Folder::with_log(logs::log(3));
    folder.write("empty.log", "");
    folder.write("blank.log", "\n\n");
    folder.write("binary.log", b"\0\x01\x02\x03".repeat(100));
    std::fs::create_dir(folder.file("folder.log")).unwrap();
    let server = started(options());
    let names = "empty.log binary.log access.log folder.log blank.log";
    for (more, read) in [
        ("", "3 lines, 3 imported"),
        ("--state-dir=state", "3 lines, 3 imported"),
        ("--state-dir=state", "0 lines, 0 imported"),
    ] {
        let ended = Program::new(&folder)
            .to(&server)
            .args("--idsite=1")
            .args(more)
            .args(names)
            .run()
            .exits(3);
        let (_, part) = ended.out.split_once("\nLog files\n---------\n\n").unwrap();
        let part: Vec<&str> = part.lines().take_while(|line| !line.is_empty()).collect();
        let access = format!("    access.log: {read}, 0 ignored");
        let expected = [
            "    empty.log: 0 lines, 0 imported, 0 ignored",
            "    binary.log: not read",
            &access,
            "    folder.log: not read",
            "    blank.log: 0 lines, 0 imported, 0 ignored",
        ];
        assert_eq!(part, expected, "{more}");
    }
}
