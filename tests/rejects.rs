//! `--rejects`: what was not imported because it could not be read, or was refused, is kept to be
//! mended.

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
fn mended_they_are_imported() {
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
    assert_eq!(line, broken, "a static file is no reject");
    folder.write("mended.log", rejects.replace(" ok ", " 200 "));
    import(&folder, &server, "mended.log").exits(0);
    assert_each_once(&server, 5);
}

#[test]
fn refused_lines_are_there_as_they_were() {
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
fn imported_unmended_they_give_the_same_rejects() {
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
        // The places are others: they name the file that was read.
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

/// Rejects of `access.log`, and what is rejected of those, without the comments, whose places are
/// others.
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
fn those_of_a_utf16_log_are_utf16_and_imported_again_give_the_same() {
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
        // The last line is cut off in the middle of a letter.
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
fn the_header_above_them_is_known_in_any_case() {
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
fn those_of_a_detected_format_name_it() {
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
fn their_comments_are_no_lines_to_a_regex_that_would_have_them() {
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
fn one_that_was_too_long_says_that_it_is_cut_and_stays_too_long() {
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
fn a_log_is_no_file_for_rejects() {
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
fn rejects_do_not_go_where_the_summary_goes() {
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
fn a_file_that_cannot_be_written_is_wrong_use() {
    let (server, folder) = (fake_matomo(), Folder::with_log(logs::log(10)));
    let ended = import(&folder, &server, "--rejects=none/rejects.log access.log");
    ended.exits(2).says(&["--rejects=none/rejects.log"]);
    assert!(server.log().tracker.is_empty());
}

/// A log of ten good lines, each with a line of junk before it.
fn half_junk() -> String {
    (0..10)
        .map(|number| format!("junk {number}\n{}", logs::line(number, 25)))
        .collect()
}

/// The lines of junk in a file of rejects, in its order.
fn junk(folder: &Folder, name: &str) -> Vec<String> {
    let text = folder.read(name);
    let lines = text.lines().filter(|line| line.starts_with("junk "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_kill_loses_none_that_counts_as_done() {
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
fn a_run_that_goes_on_keeps_those_of_the_one_before() {
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
    assert_eq!(junk(&folder, "rejects.log").len(), 11, "begun anew");
}

#[test]
fn a_file_that_holds_something_else_is_left_alone() {
    let (server, folder) = (fake_matomo(), Folder::with_log(half_junk()));
    folder.write("token", "a secret\n");
    import(&folder, &server, "--rejects=token access.log")
        .exits(2)
        .says(&["--rejects=token", "holds something else"]);
    assert_eq!(folder.read("token"), "a secret\n");
    assert!(numbers(&server).is_empty());
}

#[test]
fn a_disk_that_takes_none_stops_the_import_which_says_how_to_go_on() {
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
fn a_refused_line_that_finds_no_room_is_not_done() {
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
    // Without a fault now: it is sent once more, and it alone.
    import(&folder, &server, args).exits(0);
    assert_each_once(&server, 20);
}

#[test]
fn a_trial_keeps_those_of_the_runs_that_count() {
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
fn a_file_that_was_hardly_begun_is_begun_anew() {
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
