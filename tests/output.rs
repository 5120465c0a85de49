//! What the program prints, where, and when it prints nothing.

use std::time::Duration;

use crate::support::fake::{FakeMatomo, Options};
use regex::Regex;

use crate::support::stored::{count, fake_matomo, options, started};
use crate::support::{Ended, Folder, Program, logs, until};
use rustix::process::Signal;

fn import(folder: &Folder, server: &FakeMatomo, args: &str) -> Ended {
    Program::new(folder)
        .to(server)
        .args("--idsite=1")
        .args(args)
        .run()
}

#[test]
fn progress_without_a_terminal_is_plain_lines() {
    let server = started(Options {
        delay: Duration::from_millis(100),
        ..options()
    });
    let folder = Folder::with_log(logs::log(100));
    let args =
        "--show-progress --show-progress-delay=0.1 --recorder-max-payload-size=10 access.log";
    let ended = import(&folder, &server, args).exits(0);
    let line = Regex::new(
        r"(?m)^(\d+) lines parsed, (\d+) lines recorded, \d+ records/sec \(avg\), \d+ records/sec \(current\)$",
    );
    let shown: Vec<(u64, u64)> = line
        .unwrap()
        .captures_iter(&ended.err)
        .map(|line| (line[1].parse().unwrap(), line[2].parse().unwrap()))
        .collect();
    assert!(shown.len() >= 3, "{ended}");
    assert!(shown.windows(2).all(|two| two[0] <= two[1]), "{ended}");
    assert_eq!(shown.last().unwrap().0, 100);
}

#[test]
fn progress_is_not_shown_without_a_terminal_by_default() {
    let server = started(Options {
        delay: Duration::from_millis(300),
        ..options()
    });
    let folder = Folder::with_log(logs::log(10));
    assert_eq!(
        import(&folder, &server, "--show-progress-delay=0.1 access.log")
            .exits(0)
            .err,
        ""
    );
}

#[test]
fn quiet_prints_nothing_if_all_is_well() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10) + "not a line of a log\n");
    let ended = import(&folder, &server, "--quiet --show-progress access.log").exits(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    assert_eq!(count(&server), 10);
}

#[test]
fn quiet_prints_everything_if_a_log_is_missing() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10));
    let ended = import(&folder, &server, "--quiet access.log missing.log").exits(3);
    let ended = ended.says(&["missing.log: no such file"]);
    assert_eq!(ended.summary().get("imported"), 10);
}

#[test]
fn output_is_appended_to_a_file() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10));
    folder.write("messages.txt", "from yesterday\n");
    let args = "--output=messages.txt access.log missing.log";
    let ended = import(&folder, &server, args).exits(3);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    let text = folder.read("messages.txt");
    assert!(text.starts_with("from yesterday\n"), "{text}");
    assert!(text.contains("missing.log: no such file"), "{text}");
    assert!(text.contains("10 requests imported successfully"), "{text}");
}

#[test]
fn errors_go_to_the_output_file_too() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10));
    let ended = import(
        &folder,
        &server,
        "--output=messages.txt --idsite=99 access.log",
    )
    .exits(1);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    assert!(folder.read("messages.txt").contains("error: "));
}

#[test]
fn a_closed_stdout_is_no_error() {
    let server = fake_matomo();
    let ended = Program::new(&Folder::with_log(logs::log(10)))
        .to(&server)
        .args("--idsite=1 access.log")
        .run_unheard()
        .exits(0);
    assert_eq!(ended.err, "");
    assert_eq!(count(&server), 10);
}

#[test]
fn dd_names_each_ignored_line_with_its_reason() {
    let server = fake_matomo();
    let lines = [
        logs::line(0, 1),
        "not a line of a log\n".into(),
        logs::page("/style.css", 2, 1),
        logs::line(3, 1).replace(logs::AGENT, "Googlebot/2.1"),
        logs::line(4, 1).replace(" 200 ", " 404 "),
        logs::line(5, 1).replace(" 200 ", " 301 "),
        logs::line(6, 1).replace("14/May", "31/Feb"),
        logs::page("/private/x", 7, 1),
    ];
    let folder = Folder::with_log(lines.concat());
    let args = "-dd --log-format-name=ncsa_extended --exclude-path=/private/* access.log";
    let ended = import(&folder, &server, args).exits(0).says(&[
        "access.log:2: invalid",
        "access.log:3: static resource",
        "access.log:4: request of a bot",
        "access.log:5: HTTP error",
        "access.log:6: HTTP redirect",
        "access.log:7: invalid: malformed date",
        "access.log:8: filtered: path matches --exclude-path",
    ]);
    assert!(!ended.err.contains("access.log:1:"), "{ended}");
    assert_eq!(
        (
            ended.summary().get("imported"),
            ended.summary().get("ignored")
        ),
        (1, 7)
    );
}

#[test]
fn each_of_several_logs_has_a_summary_line() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10));
    folder.write("other.log", logs::log(7) + &logs::page("/style.css", 8, 1));
    let ended = import(&folder, &server, "access.log other.log").exits(0);
    assert!(
        ended
            .out
            .contains("access.log: 10 lines, 10 imported, 0 ignored\n"),
        "{ended}"
    );
    assert!(
        ended
            .out
            .contains("other.log: 8 lines, 7 imported, 1 ignored\n"),
        "{ended}"
    );
}

#[test]
fn a_missing_group_is_reported_once_for_each_format() {
    let server = fake_matomo();
    let folder = Folder::new();
    for name in ["a.log", "b.log", "c.log"] {
        folder.write(name, logs::line(0, 1));
    }
    folder.write("d.log", logs::hosted("www.example.com", 0));
    let args = "--ignore-groups=session_time,referrer a.log b.log c.log d.log";
    let ended = import(&folder, &server, args).exits(0);
    let reported = |text| ended.err.matches(text).count();
    assert_eq!(
        reported("--ignore-groups=session_time: the format"),
        2,
        "{ended}"
    );
    assert_eq!(reported("a.log: --ignore-groups"), 1, "{ended}");
    assert_eq!(reported("d.log: --ignore-groups"), 1, "{ended}");
}

#[test]
fn a_missing_client_address_is_reported() {
    let server = fake_matomo();
    let folder = Folder::new();
    folder.write("a.log", logs::line(0, 1));
    let warning = |format: &str, field: &str| {
        let ended = Program::new(&folder)
            .to(&server)
            .arg("--idsite=1")
            .arg(format)
            .arg(format!("--client-ip={field},ip"))
            .arg("a.log")
            .run()
            .exits(0);
        ended
            .err
            .contains(&format!("--client-ip={field}: the format"))
    };
    let pasted = "--log-format=%h %l %u %t \"%r\" %>s %b \"%{X-Client}i\"";
    assert!(!warning(pasted, "X-Client") && !warning(pasted, "x-client"));
    assert!(warning(pasted, "X-Klient") && warning(pasted, "x_forwarded_for"));
    for format in ["combined", "common", "icecast"] {
        assert!(
            warning(&format!("--log-format={format}"), "X-Client"),
            "{format}"
        );
    }
    let regex = r#"--log-format-regex=(?P<ip>\S+) (?P<x>\S+) \S+ \[(?P<date>\S+) (?P<timezone>\S+)\] "GET (?P<path>\S+) \S+" (?P<status>\d+)"#;
    assert!(!warning(regex, "x") && warning(regex, "y"));
}

const W3C: &str = "#Fields: date time c-ip cs-uri-stem sc-status\n";

fn dump(folder: &Folder) -> Program {
    Program::new(folder).args("--sandbox --dump-log-regex --log-format-name=w3c_extended")
}

#[test]
fn dump_finds_a_header_after_blank_lines_and_comments() {
    let folder = Folder::new();
    folder.write("empty.log", "");
    folder.write("blank.log", format!("\n  \n#Version: 1.0\n\n{W3C}"));
    let ended = dump(&folder).args("empty.log blank.log").run().exits(0);
    assert!(
        ended
            .out
            .starts_with("blank.log:\nformat: w3c_extended\nregex: "),
        "{ended}"
    );
    assert!(
        !ended.out.contains("empty.log") && !ended.out.contains("none before"),
        "{ended}"
    );
    ended.says(&["empty.log: nothing but blank lines and comments"]);
}

#[test]
fn dump_skips_logs_that_cannot_be_read() {
    let folder = Folder::new();
    folder.write("good.log", W3C);
    folder.write("program", "\x01\x02".repeat(100));
    let args = "none.log . program good.log";
    let ended = dump(&folder).args(args).run().exits(3);
    assert!(ended.out.starts_with("good.log:\nformat: w3c"), "{ended}");
    ended.says(&[
        "none.log: no such file",
        ".: cannot be read: ",
        "program: not a log",
    ]);
}

#[test]
fn dump_reports_the_place_of_an_unusable_header() {
    let folder = Folder::new();
    folder.write("access.log", "#Version: 1.0\n#Fields: date time\n");
    let ended = dump(&folder).args("access.log").run().exits(1);
    ended.says(&["error: access.log:2: "]);
}

#[test]
fn dump_waits_for_the_header_of_a_slow_pipe() {
    let mut program = dump(&Folder::new()).args("-").start();
    program.write("#Version: 1.0\n");
    std::thread::sleep(Duration::from_millis(500));
    program.write(W3C);
    let ended = program.end().exits(0);
    assert!(
        ended.out.contains("(?P<ip>") && !ended.out.contains("none before"),
        "{ended}"
    );
}

#[test]
fn output_falls_back_to_stdout_and_stderr_if_the_disk_is_full() {
    let ended = Program::new(&Folder::with_log(logs::log(3)))
        .to(&fake_matomo())
        .args("--idsite=1 --output=/dev/full access.log none.log")
        .run()
        .exits(3)
        .says(&["--output cannot be written", "none.log"]);
    assert_eq!(ended.summary().get("imported"), 3);
}

#[test]
fn control_characters_in_hosts_do_not_reach_the_terminal() {
    let server = fake_matomo();
    let folder = Folder::with_log(logs::json(r"evil\u001b[2J\u001b]0;x\u0007.example", 0));
    let ended = Program::new(&folder)
        .to(&server)
        .args("-dd --log-format-name=nginx_json access.log")
        .run()
        .exits(0)
        .hides("\u{1b}")
        .hides("\u{7}");
    assert_eq!(ended.summary().get("hosts_ignored"), 1);
    assert!(ended.out.contains(".example"), "{ended}");
}

#[test]
fn help_shows_options_in_groups_and_the_exit_statuses() {
    let ended = Program::new(&Folder::new()).args("--help").run().exits(0);
    for text in [
        "--recorders",
        "--sandbox",
        "Connection:",
        "Output:",
        "Exit status",
    ] {
        assert!(ended.out.contains(text), "{text}");
    }
    assert_eq!(ended.err, "");
    let ended = Program::new(&Folder::new())
        .args("--version")
        .run()
        .exits(0);
    assert!(ended.out.starts_with("import-logs "));
}

#[test]
fn a_bar_on_a_terminal_fits_into_its_width() {
    let server = started(Options {
        delay: Duration::from_millis(300),
        ..options()
    });
    let folder = Folder::with_log(logs::log(60));
    for columns in [40, 80] {
        let ended = Program::new(&folder)
            .to(&server)
            .args("--idsite=1 --recorder-max-payload-size=20 access.log")
            .on_terminal(columns)
            .run()
            .exits(0);
        // Each text replaces the one before.
        let shown: Vec<&str> = ended.err.split("\r\u{1b}[2K").collect();
        assert!(shown.len() > 2, "{ended}");
        assert!(
            shown.iter().all(|text| text.len() < usize::from(columns)),
            "{ended}"
        );
        assert!(
            shown.iter().any(|text| text.contains("33 %, 20 imported")),
            "{ended}"
        );
        assert_eq!(ended.err.contains("[===="), columns == 80, "{ended}");
        assert!(ended.err.ends_with("\u{1b}[2K"), "{ended}");
    }
}

#[test]
fn a_bar_says_what_a_stopped_run_waits_for() {
    let server = started(Options {
        delay: Duration::from_secs(2),
        ..options()
    });
    let folder = Folder::with_log(logs::log(60));
    let program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --recorder-max-payload-size=20 access.log")
        .on_terminal(80)
        .start();
    assert!(until(Duration::from_secs(20), || {
        program.has_said("0 %, 0 imported") && server.log().busy_peak > 0
    }));
    program.signal(Signal::INT);
    program.end().exits(130).says(&[
        "0 %, 0 imported",
        "\r\nstopping: waiting for 1 request (at most 30 s); Ctrl-C again ends at once",
    ]);
}

#[test]
fn the_first_import_of_a_large_log_names_what_makes_matomo_faster() {
    const HINT: &str = "hint: this log is large";
    let server = fake_matomo();
    let folder = Folder::with_log(logs::log(10));
    // A hole, as a log has that was truncated while it was written to.
    let log = std::fs::File::options()
        .append(true)
        .open(folder.file("access.log"))
        .unwrap();
    log.set_len(70 << 20).unwrap();
    let program = || {
        Program::new(&folder)
            .to(&server)
            .args("--idsite=1 --state-dir=state access.log")
    };
    let dry = program().args("--dry-run").on_terminal(100).run();
    assert!(!dry.err.contains(HINT), "{dry}");
    let first = program().on_terminal(100).run();
    assert!(first.err.contains(HINT), "{first}");
    let second = program().on_terminal(100).run();
    assert!(!second.err.contains(HINT), "{second}");
}

#[test]
fn errors_are_colored_on_a_terminal() {
    let folder = Folder::new();
    let run = |program: Program| {
        let ended = program.args("--no-such-option").run().exits(2);
        ended.err.replace("\r\n", "\n")
    };
    let plain = run(Program::new(&folder));
    assert!(
        plain.starts_with("import-logs: error: unexpected"),
        "{plain}"
    );
    assert_eq!(run(Program::new(&folder).on_terminal(80)), plain);
    let colored = run(Program::new(&folder).on_terminal(80).env("NO_COLOR", ""));
    assert_eq!(
        colored,
        plain.replace("error:", "\u{1b}[1;31merror:\u{1b}[0m")
    );
}
