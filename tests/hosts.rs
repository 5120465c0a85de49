//! Hosts without a site: quarantined pipes, and sites that are created automatically.

use std::fs;

use crate::support::stored::{count, options, started};
use crate::support::{Ended, Folder, Program, logs};

fn hosted(host: &str, lines: std::ops::Range<usize>) -> String {
    lines.map(|number| logs::hosted(host, number)).collect()
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.file("state")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("spool."))
        .collect()
}

#[test]
fn a_pipe_without_a_known_site_is_quarantined() {
    let server = started(options());
    let folder = Folder::new();
    let program = || {
        let program = Program::new(&folder).to(&server);
        program.args("--log-format-name=common_complete --state-dir=state")
    };
    let piped = |log: String| -> Ended { program().arg("-").stdin(log).run() };
    // Too few lines to conclude that something is wrong.
    piped(hosted("unknown.example", 0..9)).exits(0);
    let known = hosted("www.example.com", 9..10);
    piped(hosted("unknown.example", 0..30) + &known).exits(0);
    assert_eq!((names(&folder), count(&server)), (vec![], 1));
    let ended = piped(hosted("unknown.example", 10..22)).exits(3);
    let ended = ended.says(&[
        "none of its 12 lines belongs to a known site",
        "--idsite-fallback",
    ]);
    let [name] = &names(&folder)[..] else {
        panic!("{ended}");
    };
    assert!(name.contains(".aside-"), "{name}");
    let ended = ended.says(&[&format!("quarantined as state/{name}")]);
    assert_eq!(ended.summary().get("no_site"), 12);
    // The quarantined spool does not block the next run, and can be imported by its name.
    assert_eq!(piped(known).exits(0).err, "");
    let path = format!("state/{name}");
    let ended = program()
        .args("--idsite-fallback=1")
        .arg(&path)
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("imported"), 12);
    assert_eq!(count(&server), 14);
}

#[test]
fn without_a_state_directory_a_pipe_without_a_known_site_is_reported() {
    let server = started(options());
    let folder = Folder::new();
    for (lines, code) in [(9, 0), (10, 3)] {
        let program = Program::new(&folder).to(&server).arg("-");
        let ended = program.stdin(hosted("unknown.example", 0..lines)).run();
        assert_eq!(
            ended.exits(code).err.contains("belongs to a known site"),
            code == 3
        );
    }
}

#[test]
fn sites_are_created_for_a_limited_number_of_valid_hosts() {
    let server = started(options());
    let mut log = String::new();
    for (number, host) in [
        "//evil/",
        "a|b",
        "one.example",
        "user:pw@host",
        "two.example",
    ]
    .into_iter()
    .chain(["three.example", "four.example", "one.example"])
    .enumerate()
    {
        log += &logs::json(host, number);
    }
    let folder = Folder::with_log(log);
    let args = "--log-format-name=nginx_json --add-sites-new-hosts --add-sites-max=2 access.log";
    let ended = Program::new(&folder).to(&server).args(args).run().exits(3);
    let ended = ended.says(&["2 sites were created, so three.example", "--add-sites-max"]);
    let summary = ended.summary();
    assert_eq!((summary.get("imported"), summary.get("no_site")), (3, 5));
    assert!(!ended.err.contains("four.example"), "{ended}");
}

#[test]
fn the_sites_of_many_hosts_are_looked_up_in_few_calls() {
    let server = started(options());
    let mut log = String::new();
    for number in 0..1000 {
        // Every third line has the known host.
        log += &match number % 3 {
            0 => logs::hosted("www.example.com", number),
            _ => logs::hosted(&format!("invented{number}.example"), number),
        };
    }
    let folder = Folder::with_log(log);
    for format in ["", "--log-format-name=common_complete"] {
        let calls = server.log().calls;
        let program = Program::new(&folder).to(&server).arg("access.log");
        let ended = program.args(format).run().exits(0);
        let summary = ended.summary();
        assert_eq!(
            (summary.get("imported"), summary.get("no_site")),
            (334, 666)
        );
        let calls = server.log().calls - calls;
        assert!(calls < 60, "{calls} calls: {ended}");
    }
}
