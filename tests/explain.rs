//! `--explain` shows how lines are read, without a server.

use std::io::ErrorKind;
use std::net::TcpListener;

use crate::support::{Folder, Program};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

fn line(request: &str, status: u16) -> String {
    format!(
        "198.51.100.7 - alice [14/May/2024:06:25:24 +0200] \"{request}\" {status} 785 \"-\" \"{AGENT}\"\n"
    )
}

#[track_caller]
fn explained(log: &str, args: &str) -> String {
    let ended = Program::new(&Folder::with_log(log))
        .args("access.log")
        .args(args)
        .run()
        .exits(0);
    ended.out
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
}

#[test]
fn a_line_is_shown_from_its_fields_to_its_request() {
    let log = line("GET /a?b=c HTTP/1.1", 200);
    let text = explained(&log, "--explain --idsite=7");
    assert_says(
        &text,
        &[
            "access.log: the format is ncsa_extended, detected\n",
            "  the first line fits it\n",
            "  not common: text follows its last field\n",
            "\nline 1: 198.51.100.7 - alice",
            "  timezone               +0200\n",
            "  path                   /a?b=c\n",
            "  userid                 alice\n",
            "  => visitor             198.51.100.7\n",
            "  => date                2024-05-14 04:25:24 UTC\n",
            "  => filters             passed\n",
            "  => request             {\"rec\":1,",
            "\"idsite\":\"7\"",
            "\"uid\":\"alice\"",
        ],
    );
}

#[test]
fn the_filter_that_drops_a_line_is_named() {
    let log = [
        line("GET /private/a HTTP/1.1", 200),
        line("GET /a HTTP/1.1", 404),
        line("GET /a.css HTTP/1.1", 200),
    ];
    let text = explained(&log.concat(), "--explain --exclude-path=/private/*");
    assert_says(
        &text,
        &[
            "=> dropped             filtered: path matches --exclude-path\n",
            "=> dropped             HTTP error",
            "=> dropped             static",
            "=> site                none without a host",
        ],
    );
    assert!(!text.contains("=> request"), "{text}");
}

#[test]
fn the_requested_number_of_lines_is_shown() {
    let log = line("GET /a HTTP/1.1", 200).repeat(9);
    for (args, lines) in [("--explain", 5), ("--explain=2", 2), ("--explain=99", 9)] {
        let text = explained(&log, args);
        assert_eq!(text.matches("\nline ").count(), lines, "{args}");
    }
}

#[test]
fn a_format_that_does_not_fit_is_explained() {
    let log = line("GET /a HTTP/1.1", 200);
    let text = explained(&log, "--explain --log-format-name=nginx_json");
    assert_says(
        &text,
        &[
            "the format is nginx_json, given by the options\n",
            "  invalid: it does not fit the format\n",
            "The lines that do not fit have the format ncsa_extended.\n",
        ],
    );
}

#[test]
fn the_fields_that_a_json_line_lacks_are_named() {
    let map = "--explain --json-map=ip=client.ip,date=d,path=p,status=s";
    for (line, why) in [
        (
            r#"{"client":{"ip":["198.51.100.7"]},"d":1715660724,"p":"/"}"#,
            "it has no usable value for ip, status",
        ),
        (r#"{"msg":"started"}"#, "it does not fit the format"),
        ("started", "it does not fit the format"),
    ] {
        let text = explained(line, map);
        assert_says(&text, &[&format!("  invalid: {why}\n")]);
    }
}

#[test]
fn the_envelope_is_named() {
    let log = format!("web1  | {}", line("GET /a HTTP/1.1", 200));
    let text = explained(&log, "--explain --log-format-name=ncsa_extended");
    assert_says(
        &text,
        &[
            "the format is ncsa_extended, given by the options\n  the envelope is compose, and is removed\n",
            "line 1: 198.51.100.7 - alice",
        ],
    );
}

#[test]
fn nothing_is_written() {
    let folder = Folder::with_log(line("GET /a HTTP/1.1", 200));
    let args = "--explain --sandbox=trial.db --state-dir=state --rejects=rejects.log";
    let program = Program::new(&folder).args("access.log").args(args);
    program.run().exits(0);
    let names = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["access.log"]);
}

#[test]
fn no_server_is_asked() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("--url=http://{}", server.local_addr().unwrap());
    let log = line("GET /a HTTP/1.1", 200);
    for args in [
        "--login=a --password=b",
        "--token-auth-file=missing.txt --add-sites-new-hosts",
        "--token-auth=c --state-dir=state --replay-tracking",
    ] {
        explained(&log, &format!("--explain {url} {args}"));
        let asked = server.accept().map_err(|error| error.kind());
        assert!(matches!(asked, Err(ErrorKind::WouldBlock)), "{args}");
    }
}

#[test]
fn a_listening_session_is_shown_with_all_its_requests() {
    let log = line("GET /live.mp3 HTTP/1.1", 200).replace("125.0\"\n", "125.0\" 1807\n");
    let text = explained(&log, "--explain --log-format-name=icecast2");
    assert_says(
        &text,
        &[
            "  session_time           1807\n",
            "=> session             1807 s\n",
        ],
    );
    assert!(text.matches("=> request").count() > 1, "{text}");
}

#[test]
fn control_characters_of_a_log_do_not_reach_the_terminal() {
    let log = line("GET /\u{1b}[31mred HTTP/1.1", 200);
    let text = explained(&log, "--explain");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn quiet_runs_explain_too() {
    let log = line("GET /a HTTP/1.1", 200);
    assert_says(&explained(&log, "--explain --quiet"), &["\nline 1: "]);
}

#[test]
fn an_explanation_that_is_lost_is_a_failure() {
    let log = line("GET /a HTTP/1.1", 200);
    for option in ["--explain", "--dump-log-regex"] {
        Program::new(&Folder::with_log(&log))
            .through("exec > /dev/full")
            .args("access.log")
            .arg(option)
            .run()
            .exits(3)
            .says(&["stdout cannot be written"]);
    }
}

#[test]
fn a_session_of_unknown_length_is_shown_with_its_page_view() {
    let log = line("GET /live.mp3 HTTP/1.1", 200).replace("125.0\"\n", "125.0\" -\n");
    let text = explained(&log, "--explain --log-format-name=icecast2");
    assert_says(&text, &["=> session             of unknown length\n"]);
    assert_eq!(text.matches("=> request").count(), 1, "{text}");
}
