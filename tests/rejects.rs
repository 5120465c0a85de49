//! `--rejects` keeps the lines that could not be read or were refused, so that they can be
//! corrected and imported.

use crate::support::fake::{FakeMatomo, Fault, Faults, Options};

use crate::support::mutate::{changed, formats, lines};
use crate::support::stored::{assert_each_once, fake_matomo, numbers, options, started};
use crate::support::{Ended, Folder, Program, logs};

fn import(folder: &Folder, server: &FakeMatomo, args: &str) -> Ended {
    Program::new(folder)
        .to(server)
        .args("--idsite=1 --listening-time=off --max-invalid=100")
        .args(args)
        .run()
}

#[test]
fn corrected_rejects_can_be_imported() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let broken = logs::line(3, 25).replace(" 200 ", " ok ");
    let log = logs::log(3) + &broken + &logs::page("/style.css", 4, 25) + &logs::line(4, 25);
    folder.write("access.log", log);
    let args = "--log-format-name=ncsa_extended --rejects=rejects.log access.log";
    assert_eq!(
        import(&folder, &server, args)
            .exits(0)
            .summary()
            .get("invalid"),
        1
    );
    let rejects = folder.read("rejects.log");
    let (format, rest) = rejects.split_once('\n').unwrap();
    assert_eq!(format, "# rejected by import-logs, format: ncsa_extended");
    let (reason, line) = rest.split_once('\n').unwrap();
    assert!(reason.starts_with("# access.log:4: invalid"), "{rejects}");
    assert_eq!(line, broken, "more than the invalid line was rejected");
    folder.write("mended.log", rejects.replace(" ok ", " 200 "));
    import(&folder, &server, "mended.log").exits(0);
    assert_each_once(&server, 5);
}

#[test]
fn refused_lines_are_kept_unchanged() {
    let folder = Folder::with_log(logs::log(10));
    let server = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Invalid(vec![2, 5]))],
            ..Faults::default()
        },
        ..options()
    });
    import(&folder, &server, "--rejects=rejects.log access.log").exits(3);
    import(&folder, &server, "rejects.log").exits(0);
    assert_each_once(&server, 10);
}

#[test]
fn uncorrected_rejects_give_the_same_rejects() {
    for (seed, format) in formats().into_iter().enumerate() {
        let seeds: Vec<u64> = (0..90).map(|line| (seed * 1000 + line) as u64).collect();
        let folder = Folder::with_log(changed(&lines(&format), &seeds));
        let server = fake_matomo();
        let args = format!("--log-format-name={format}");
        import(
            &folder,
            &server,
            &format!("{args} --rejects=one.log access.log"),
        );
        import(
            &folder,
            &server,
            &format!("{args} --rejects=two.log one.log"),
        );
        // The comments differ: they name the file that was read.
        let lines = |name: &str| -> Vec<Vec<u8>> {
            let text = std::fs::read(folder.file(name)).unwrap();
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
            lines.filter(|line| !line.starts_with(b"# ")).collect()
        };
        let (one, two) = (lines("one.log"), lines("two.log"));
        assert!(one.len() > 3, "{format} has no rejects");
        assert_eq!(one, two, "{format}");
    }
}

/// Imports `access.log`, then its rejects. Returns the rejects of both imports.
#[track_caller]
fn twice(content: impl AsRef<[u8]>, args: &str) -> (Folder, [Vec<u8>; 2]) {
    let (server, folder) = (fake_matomo(), Folder::with_log(content));
    let rejects = [("access.log", "one.log"), ("one.log", "two.log")].map(|(log, rejects)| {
        import(
            &folder,
            &server,
            &format!("{args} --rejects={rejects} {log}"),
        );
        std::fs::read(folder.file(rejects)).unwrap()
    });
    (folder, rejects)
}

#[test]
fn rejects_of_a_utf16_log_are_utf16_and_give_the_same_rejects() {
    let text = logs::log(3) + "junk caf\u{e9}\r\n" + &logs::line(3, 25) + "more junk\n";
    let little =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let big = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let marked = format!("\u{feff}{text}");
    for (encoding, log) in [
        ("utf-16", little(&marked)),
        ("utf-16", little(&text)),
        ("utf-16", big(&marked)),
        ("utf-16-le", little(&text)),
        ("utf-16-be", big(&text)),
    ] {
        // The last line ends in the middle of a character.
        let log = [log, vec![b'x']].concat();
        let args = format!("--log-format-name=ncsa_extended --encoding={encoding}");
        let (_, rejects) = twice(log, &args);
        let read = |bytes: &[u8]| {
            let (units, half) = bytes.as_chunks::<2>();
            assert!(half.is_empty(), "{encoding}");
            let units = units.iter().map(|unit| match encoding {
                "utf-16-be" => u16::from_be_bytes(*unit),
                _ => u16::from_le_bytes(*unit),
            });
            let text: String = char::decode_utf16(units).map(Result::unwrap).collect();
            let lines = text
                .lines()
                .filter(|line| !line.starts_with("# ") && !line.starts_with('\u{feff}'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let [one, two] = rejects.each_ref().map(|rejects| read(rejects));
        assert_eq!(
            one,
            ["junk caf\u{e9}", "more junk", "\u{fffd}"],
            "{encoding}"
        );
        assert_eq!(one, two, "{encoding}");
    }
}

#[test]
fn the_header_of_rejects_is_recognized_in_any_case() {
    let log = "#fields: date time c-ip cs-uri-stem sc-status\n2024-05-14 06:25:24 10.0.0.1 /page-0 200\njunk\n";
    let (_, [one, two]) = twice(log, "--log-format-name=w3c_extended");
    let text = String::from_utf8(one).unwrap();
    assert!(text.contains("\n#fields: date time"), "{text}");
    assert_eq!(
        text.replace("access.log:3", "one.log:4"),
        String::from_utf8(two).unwrap()
    );
}

#[test]
fn rejects_name_the_detected_format() {
    let log = logs::log(20) + "junk\n" + &logs::line(20, 25).replace(" 200 ", " ok ");
    let (folder, [one, two]) = twice(log, "");
    let one = String::from_utf8(one).unwrap();
    assert!(
        one.starts_with("# rejected by import-logs, format: ncsa_extended\n"),
        "{one}"
    );
    assert_eq!(two.iter().filter(|byte| **byte == b'\n').count(), 5);
    let server = fake_matomo();
    folder.write("mended.log", one.replace(" ok ", " 200 "));
    import(&folder, &server, "mended.log").exits(0);
    assert_eq!(numbers(&server), [20]);
}

#[test]
fn comments_of_rejects_are_not_lines_even_if_a_regex_matches_them() {
    let regex = r"--log-format-regex=(?P<ip>\S+) (?P<date>\S+) (?P<path>.+) (?P<status>\S+)";
    let (server, folder) = (
        fake_matomo(),
        Folder::with_log("10.0.0.1 never /page-0 200\n"),
    );
    let args = "--idsite=1 --log-date-format=%Y --log-hostname=www.example.com";
    for (log, rejects) in [("access.log", "one.log"), ("one.log", "two.log")] {
        let ended = Program::new(&folder)
            .to(&server)
            .arg(regex)
            .args(args)
            .args(&format!("--rejects={rejects} {log}"))
            .run();
        assert_eq!(ended.summary().get("invalid"), 1, "{ended}");
    }
}

#[test]
fn a_truncated_reject_says_so_and_stays_invalid() {
    let log = logs::log(1).replace("Firefox", &"x".repeat(1 << 20));
    let (_, [one, two]) = twice(log, "--log-format-name=common");
    let [one, two] = [one, two].map(|rejects| String::from_utf8(rejects).unwrap());
    let start: String = one.lines().nth(1).unwrap().into();
    assert!(
        start.ends_with(": invalid: longer than 1 MiB; only its first 1048576 bytes are kept"),
        "{start}"
    );
    assert_eq!(one.replace("access.log:1:", "one.log:3:"), two);
}

#[test]
fn a_log_cannot_be_the_rejects_or_output_file() {
    let folder = Folder::with_log(logs::log(10));
    std::fs::hard_link(folder.file("access.log"), folder.file("other.log")).unwrap();
    for option in ["rejects", "output"] {
        for name in ["access.log", "other.log"] {
            for log in ["access.log", "acc*.log"] {
                let server = fake_matomo();
                let ended = Program::new(&folder)
                    .to(&server)
                    .args(&format!("--idsite=1 --{option}={name} {log}"))
                    .run();
                ended
                    .exits(2)
                    .says(&[&format!("--{option}={name}: the log ")]);
                assert_eq!(folder.read("access.log"), logs::log(10));
                assert!(server.log().tracker.is_empty());
            }
        }
    }
}

#[test]
fn rejects_and_output_cannot_share_a_file() {
    let (server, folder) = (fake_matomo(), Folder::with_log(logs::log(10)));
    for rejects in ["out.txt", "./out.txt"] {
        let args = format!("--rejects={rejects} --output=out.txt access.log");
        import(&folder, &server, &args).exits(2);
        let said = folder.read("out.txt");
        assert!(said.contains(&format!("--rejects={rejects}: ")), "{said}");
    }
    assert!(server.log().tracker.is_empty());
    import(
        &folder,
        &server,
        "--rejects=/dev/null --output=/dev/null access.log",
    )
    .exits(0);
}

#[test]
fn an_unwritable_rejects_file_is_a_usage_error() {
    let (server, folder) = (fake_matomo(), Folder::with_log(logs::log(10)));
    let ended = import(&folder, &server, "--rejects=none/rejects.log access.log");
    ended.exits(2).says(&["--rejects=none/rejects.log"]);
    assert!(server.log().tracker.is_empty());
}

/// A log of ten good lines, each after a line of junk.
fn half_junk() -> String {
    (0..10)
        .map(|number| format!("junk {number}\n{}", logs::line(number, 25)))
        .collect()
}

/// The lines of junk in a rejects file, in order.
fn junk(folder: &Folder, name: &str) -> Vec<String> {
    let text = folder.read(name);
    let lines = text.lines().filter(|line| line.starts_with("junk "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_kill_loses_no_reject_that_counts_as_done() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    let run = |abort_at: &str| {
        Program::new(&folder)
            .to(&server)
            .args("--idsite=1 --recorder-max-payload-size=1 --request-timeout=1 --rejects=rejects.log")
            .args("--log-format-name=ncsa_extended --state-dir=state access.log")
            .env("IMPORT_LOGS_ABORT_AT", abort_at)
            .run()
    };
    let killed = run("after-intent:5");
    assert!(killed.code.is_none(), "{killed}");
    assert!(!junk(&folder, "rejects.log").is_empty());
    run("").exits(0);
    let mut all = junk(&folder, "rejects.log");
    all.sort();
    all.dedup();
    let want: Vec<String> = (0..10).map(|number| format!("junk {number}")).collect();
    assert_eq!(all, want);
    assert_each_once(&server, 10);
}

#[test]
fn a_resumed_run_keeps_earlier_rejects() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    let run = |args: &str| {
        import(
            &folder,
            &server,
            &format!("--log-format-name=ncsa_extended --rejects=rejects.log {args} access.log"),
        )
        .exits(0)
    };
    run("--state-dir=state");
    folder.write("access.log", half_junk() + "junk 10\n");
    run("--state-dir=state");
    assert_eq!(junk(&folder, "rejects.log").len(), 11);
    run("");
    assert_eq!(
        junk(&folder, "rejects.log").len(),
        11,
        "the rejects file was not replaced"
    );
}

#[test]
fn a_file_with_other_content_is_not_overwritten() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    folder.write("token", "a secret\n");
    import(&folder, &server, "--rejects=token access.log")
        .exits(2)
        .says(&["--rejects=token", "holds something else"]);
    assert_eq!(folder.read("token"), "a secret\n");
    assert!(numbers(&server).is_empty());
}

#[test]
fn a_full_disk_stops_the_import() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    let ended = import(
        &folder,
        &server,
        "--log-format-name=ncsa_extended --rejects=/dev/full access.log",
    )
    .exits(1)
    .says(&["--rejects=/dev/full: cannot be written"]);
    assert_eq!(ended.summary().get("imported"), 0);
    assert_eq!(ended.summary().get("unsent"), 1);
}

#[test]
fn a_refused_line_that_cannot_be_kept_is_not_done() {
    let folder = Folder::with_log(logs::log(20));
    let server = started(Options {
        faults: Faults {
            script: vec![None, Some(Fault::Invalid(vec![1]))],
            ..Faults::default()
        },
        ..options()
    });
    let args = "--state-dir=state --recorder-max-payload-size=10 access.log";
    let ended = import(&folder, &server, &format!("--rejects=/dev/full {args}"))
        .exits(1)
        .says(&["--rejects=/dev/full: cannot be written"]);
    assert_eq!(ended.summary().get("refused"), 0);
    assert_eq!(ended.summary().get("unsent"), 1);
    // Without a fault, only the refused line is sent again.
    import(&folder, &server, args).exits(0);
    assert_each_once(&server, 20);
}

#[test]
fn a_dry_run_keeps_earlier_rejects() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    let args = "--log-format-name=ncsa_extended --state-dir=state --rejects=rejects.log access.log";
    import(&folder, &server, args).exits(0);
    import(&folder, &server, &format!("--dry-run {args}")).exits(0);
    let junk = junk(&folder, "rejects.log");
    assert!(
        junk.len() >= 10 && junk[..10] == junk[junk.len() - 10..],
        "{junk:?}"
    );
}

#[test]
fn a_rejects_file_with_an_incomplete_first_line_is_replaced() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    folder.write("rejects.log", "# reject");
    let args = "--log-format-name=ncsa_extended --state-dir=state --rejects=rejects.log access.log";
    import(&folder, &server, args).exits(0);
    let text = folder.read("rejects.log");
    assert!(
        text.starts_with("# rejected by import-logs, format: "),
        "{text}"
    );
    assert_eq!(junk(&folder, "rejects.log").len(), 10);
}
