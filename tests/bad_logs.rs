//! Logs that are missing, unreadable, damaged or not logs at all: each is reported, the others are
//! imported, and the exit status says so.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::fake::FakeMatomo;

use crate::support::folder::gzip;
use crate::support::stored::{assert_each_once, count, fake_matomo, numbers};
use crate::support::{Ended, Folder, Program, logs};

fn import(folder: &Folder, server: &FakeMatomo, files: &str) -> Ended {
    Program::new(folder)
        .to(server)
        .args("--idsite=1")
        .args(files)
        .run()
}

/// Checks that a log is reported with these words and stores nothing, and that a good log next to
/// it is imported.
#[track_caller]
fn assert_skipped(folder: &Folder, name: &str, words: &[&str]) {
    let alone = fake_matomo();
    let ended = import(folder, &alone, name)
        .exits(3)
        .says(&["warning: "])
        .says(words);
    assert_eq!(count(&alone), 0, "{ended}");
    // A summary of nothing but zeros would hide the warning.
    match folder.file(name).exists() {
        true => assert_eq!(ended.summary().get("imported"), 0),
        false => assert_eq!(ended.out, ""),
    }
    folder.write("good.log", logs::log(5));
    let both = fake_matomo();
    import(folder, &both, &format!("{name} good.log"))
        .exits(3)
        .says(words);
    assert_each_once(&both, 5);
}

#[test]
fn a_missing_file_is_reported() {
    assert_skipped(
        &Folder::new(),
        "acces.log",
        &["acces.log: no such file", "check the name"],
    );
}

#[test]
fn a_dangling_link_is_reported() {
    let folder = Folder::new();
    symlink("gone.log", folder.file("access.log")).unwrap();
    assert_skipped(&folder, "access.log", &["access.log: "]);
}

#[test]
fn a_pattern_without_a_match_is_reported() {
    assert_skipped(
        &Folder::new(),
        "*.gz",
        &["*.gz: no file matches this pattern"],
    );
}

#[test]
fn a_directory_is_reported() {
    let folder = Folder::new();
    fs::create_dir(folder.file("logs")).unwrap();
    assert_skipped(&folder, "logs", &["logs: ", "directory"]);
}

#[test]
fn a_read_error_is_reported() {
    // The kernel lets root open it, but no process can read its beginning.
    assert_skipped(
        &Folder::new(),
        "/proc/self/mem",
        &["/proc/self/mem: reading stopped at byte 0"],
    );
}

#[test]
fn a_binary_file_is_reported() {
    let folder = Folder::new();
    fs::copy(env!("CARGO_BIN_EXE_import-logs"), folder.file("access.log")).unwrap();
    assert_skipped(&folder, "access.log", &["access.log: ", "binary"]);
}

#[test]
fn an_archive_is_reported() {
    let folder = Folder::new();
    folder.write("logs.zip", b"PK\x03\x04\x14\0\0\0\x08\0");
    let words = [
        "logs.zip: a zip archive",
        "unzip -p logs.zip | import-logs ... -",
    ];
    assert_skipped(&folder, "logs.zip", &words);
}

const FIELDS: &str = "#Fields: date time c-ip cs-uri-stem sc-status\n";
const UNUSABLE: &str = "#Fields: date time c-ip sc-status\n";

/// A line of a W3C log.
fn w3c(number: usize) -> String {
    format!("2024-05-14 06:25:24 203.0.113.9 /page-{number} 200\n")
}

#[test]
fn an_unusable_header_without_lines_is_ignored() {
    for log in [
        format!("{UNUSABLE}{FIELDS}{}", w3c(0)),
        format!("{FIELDS}{}{UNUSABLE}", w3c(0)),
        format!("{FIELDS}{}{UNUSABLE}\n#Software: x\n", w3c(0)),
    ] {
        for format in ["", "--log-format-name=w3c_extended"] {
            let folder = Folder::new();
            folder.write("access.log", &log);
            let server = fake_matomo();
            import(&folder, &server, &format!("{format} access.log")).exits(0);
            assert_each_once(&server, 1);
        }
    }
}

#[test]
fn a_line_after_an_unusable_header_stops_the_import() {
    let folder = Folder::new();
    folder.write(
        "access.log",
        format!("{FIELDS}{}{UNUSABLE}\n{}", w3c(0), w3c(1)),
    );
    for format in ["", "--log-format-name=w3c_extended"] {
        let server = fake_matomo();
        import(&folder, &server, &format!("{format} access.log"))
            .exits(1)
            .says(&["access.log:3: ", "#Fields:", "cs-uri-stem"]);
        assert_each_once(&server, 1);
    }
    folder.write("access.log", format!("{UNUSABLE}{}", w3c(0)));
    import(
        &folder,
        &fake_matomo(),
        "--dump-log-regex --log-format-name=iis access.log",
    )
    .exits(1)
    .says(&["access.log:1: ", "#Fields:", "cs-uri-stem"]);
}

#[test]
fn the_readable_part_of_a_truncated_gzip_file_is_imported() {
    let folder = Folder::new();
    let packed = gzip(logs::log(3000));
    folder.write("cut.log.gz", &packed[..packed.len() / 2]);
    let server = fake_matomo();
    let ended = import(&folder, &server, "cut.log.gz")
        .exits(3)
        .says(&["cut.log.gz: ", "truncated"]);
    let stored = numbers(&server);
    assert!(stored.len() > 500, "{ended}");
    assert_eq!(stored, (0..stored.len()).collect::<Vec<_>>());
    assert_eq!(ended.summary().get("imported"), stored.len() as u64);
}

#[test]
fn a_short_truncated_gzip_file_is_reported_despite_format_detection() {
    let folder = Folder::new();
    let packed = gzip(logs::log(60));
    folder.write("cut.log.gz", &packed[..packed.len() - 20]);
    for args in ["", "--log-format-name=ncsa_extended"] {
        let server = fake_matomo();
        let ended = import(&folder, &server, &format!("{args} cut.log.gz"))
            .exits(3)
            .says(&["cut.log.gz: ", "truncated"]);
        let stored = numbers(&server);
        assert!(stored.len() > 10, "{ended}");
        assert_eq!(stored, (0..stored.len()).collect::<Vec<_>>());
    }
}

#[test]
fn lines_after_many_blank_lines_are_imported() {
    let blank = [
        "\n".repeat(100_001),
        "\r\n \n".repeat(5_000),
        "\n".repeat(100_000),
    ]
    .concat();
    let folder = Folder::with_log(blank + &logs::log(5));
    for args in ["", "--log-format-name=ncsa_extended", "--rejects=bad.log"] {
        let server = fake_matomo();
        let ended = import(&folder, &server, &format!("{args} access.log")).exits(0);
        assert_eq!(ended.summary().get("invalid"), 210_001);
        assert_each_once(&server, 5);
    }
    let rejected = fs::read_to_string(folder.file("bad.log")).unwrap();
    let places = rejected
        .lines()
        .filter(|line| line.starts_with("# access.log:"));
    assert_eq!(places.count(), 210_001);
    assert!(
        rejected.contains("# access.log:110002: invalid"),
        "the last blank line is missing"
    );
}

#[test]
fn a_long_blank_log_is_skipped_silently() {
    let folder = Folder::with_log("\n".repeat(300_000));
    folder.write("good.log", logs::log(5));
    let server = fake_matomo();
    let ended = import(&folder, &server, "access.log good.log").exits(0);
    assert_each_once(&server, 5);
    assert_eq!(
        (ended.summary().get("invalid"), ended.err.as_str()),
        (0, "")
    );
}

#[test]
fn a_log_of_one_very_long_line_is_an_error() {
    let folder = Folder::with_log(logs::log(1).trim_end().repeat(10_000));
    import(&folder, &fake_matomo(), "access.log")
        .exits(1)
        .says(&["access.log: no format fits", "to --log-format, or"]);
}

#[test]
fn text_in_no_known_format_stops_the_import() {
    let folder = Folder::with_log("Dear diary,\ntoday it rained.\n".repeat(20));
    let server = fake_matomo();
    let ended = import(&folder, &server, "access.log");
    let ended = ended.exits(1).says(&[
        "access.log: no format fits",
        "--log-format-name",
        "icecast2",
        "--log-format-regex",
    ]);
    assert_eq!((count(&server), ended.out.as_str()), (0, ""));
}

#[test]
fn json_that_no_format_fits_names_the_option_for_json() {
    let folder = Folder::with_log("{\"level\": \"info\"}\n".repeat(20));
    import(&folder, &fake_matomo(), "access.log")
        .exits(1)
        .says(&["access.log: no format fits", "describe it with --json-map"]);
}

#[test]
fn a_wrong_format_name_is_reported() {
    let folder = Folder::with_log(logs::log(11));
    let server = fake_matomo();
    let ended = import(&folder, &server, "--log-format-name=nginx_json access.log");
    let ended = ended
        .exits(3)
        .says(&[
            "access.log: 11 of 11 lines",
            "nginx_json",
            "--log-format-name",
        ])
        .says(&["these lines have the format ncsa_extended"]);
    assert_eq!(ended.summary().get("invalid"), 11);
    assert_eq!(count(&server), 0);
}

const ODD: &str = "\u{1b}[31m24/Jan/2024 - no line of any log\n";

#[test]
fn many_invalid_lines_are_reported_and_change_the_exit_status() {
    let mostly_odd = ODD.repeat(95) + &logs::log(5);
    let few = logs::log(95) + &ODD.repeat(9);
    let tenth = logs::log(90) + &ODD.repeat(10);
    let less = logs::log(91) + &ODD.repeat(10);
    let blank = logs::log(20) + &"\n# comment\n".repeat(40) + &ODD.repeat(2);
    for (log, options, status) in [
        (&mostly_odd, "", 3),
        (&mostly_odd, "--quiet", 3),
        (&mostly_odd, "--log-format-name=ncsa_extended", 3),
        (&mostly_odd, "--max-invalid=95", 3),
        (&mostly_odd, "--max-invalid=96%", 0),
        (&mostly_odd, "--max-invalid=100", 0),
        (&few, "", 0),
        (&tenth, "", 3),
        (&less, "", 0),
        (&less, "--max-invalid=0", 3),
        (&blank, "", 0),
    ] {
        for is_pipe in [false, true] {
            let folder = Folder::with_log(log);
            let server = fake_matomo();
            let program = Program::new(&folder).to(&server).args("--idsite=1");
            let program = match is_pipe {
                true => program.args(options).args("-").stdin(log),
                false => program.args(options).args("access.log"),
            };
            let ended = program.run().exits(status);
            if status == 3 {
                let first = log.lines().position(|line| line == ODD.trim_end()).unwrap() + 1;
                let place = format!("the first is line {first} (not in the format of the log)");
                let odd = log.matches(ODD).count();
                let of_all = format!(": {odd} of {} lines are invalid", log.lines().count());
                let ended = ended.says(&[&place, &of_all]);
                assert!(!ended.err.contains('\u{1b}'), "{ended}");
            } else {
                assert_eq!(ended.err, "", "{options}");
            }
        }
    }
}

#[test]
fn invalid_lines_of_short_logs_are_counted_together() {
    let folder = Folder::new();
    for number in 0..5 {
        folder.write(&format!("{number}.log"), logs::log(1) + &ODD.repeat(2));
    }
    import(&folder, &fake_matomo(), "*.log").exits(3).says(&[
        "10 of 15 lines of short logs are invalid",
        "0.log:2 (not in the format of the log)",
    ]);
    import(&folder, &fake_matomo(), "1.log 2.log").exits(0);
}

#[test]
fn lines_that_replay_skips_cause_no_warning() {
    let tracked = logs::page(
        "/piwik.php?idsite=1&rec=1&url=http://www.example.com/a",
        0,
        1,
    );
    let folder = Folder::with_log(tracked + &logs::log(50));
    let server = fake_matomo();
    let ended = Program::new(&folder)
        .to(&server)
        .args("--replay-tracking access.log")
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("invalid"), 50);
}

#[test]
fn a_log_without_hosts_needs_a_site_or_a_host() {
    let server = fake_matomo();
    let ended = Program::new(&Folder::with_log(logs::log(5)))
        .to(&server)
        .args("access.log")
        .run();
    let ended = ended
        .exits(1)
        .says(&["access.log: ", "--idsite", "--log-hostname"]);
    assert_eq!((count(&server), ended.out.as_str()), (0, ""));
}

#[test]
fn an_empty_file_is_skipped_silently() {
    let folder = Folder::with_log("\n\n");
    folder.write("good.log", logs::log(5));
    let server = fake_matomo();
    let ended = import(&folder, &server, "access.log good.log").exits(0);
    assert_each_once(&server, 5);
    assert_eq!(ended.err, "");
}
