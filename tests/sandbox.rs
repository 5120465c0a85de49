//! `--sandbox`: imports without a Matomo.

use std::collections::BTreeSet;
use std::process::Command;

use rusqlite::Connection;

use crate::listening;
use crate::support::folder::{fixture, fixtures};
use crate::support::{Ended, Folder, Program, logs};

fn run(folder: &Folder, args: &str) -> Ended {
    Program::new(folder).args(args).run().exits(0)
}

/// The numbers in the row of the report that ends with this name.
fn row(ended: &Ended, name: &str) -> Vec<u64> {
    let row = ended
        .out
        .lines()
        .find(|line| line.ends_with(&format!("  {name}")));
    let row = row.unwrap_or_else(|| panic!("no row {name}: {ended}"));
    let numbers = row.strip_suffix(name).unwrap().split_whitespace();
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_readmes_command_prints_a_report() {
    let log = fixtures().join("logs/icecast2.log");
    let ended = Program::new(&Folder::new())
        .args("--sandbox")
        .arg(&log)
        .on_terminal(80)
        .run()
        .exits(0);
    let imported = ended.summary().get("imported");
    assert!(imported > 2800, "{ended}");
    let site = row(&ended, "Sandbox");
    let (visits, pages, downloads) = (site[0], site[1], site[2]);
    assert_eq!(pages + downloads, imported, "{ended}");
    assert!((500..imported).contains(&visits), "{ended}");
    for heading in [
        "Listening summary",
        "Sandbox report",
        "Sites",
        "Most viewed",
        "Status codes",
        "Referring hosts",
    ] {
        let found = ended.out.matches(&format!("\n{heading}\n---")).count();
        assert_eq!(found, 1, "{heading}: {ended}");
    }
    assert_eq!(row(&ended, "200"), [imported]);
    let sessions = format!(" {imported}, ");
    let started = ended
        .out
        .lines()
        .find(|line| line.contains("sessions started"));
    assert!(started.unwrap().contains(&sessions), "{ended}");
    ended.says(&[
        "The summary shows its listening time",
        "--log-format-name=icecast2",
    ]);
}

/// Queries the database for a number.
fn query(folder: &Folder, select: &str) -> u64 {
    let db = Connection::open(folder.file("hits.db")).unwrap();
    let number: i64 = db.query_row(select, [], |row| row.get(0)).unwrap();
    number.unsigned_abs()
}

/// A session in the Icecast fixture.
struct Session {
    mount: String,
    seconds: u64,
    /// The second of the day, plus an offset that keeps the start positive.
    end: u64,
    listener: String,
}

impl Session {
    fn new(line: &str) -> Self {
        let parts: Vec<&str> = line.split('"').collect();
        let path = parts[1].split(' ').nth(1).unwrap();
        let clock = parts[0].split('[').nth(1).unwrap();
        let clock: Vec<u64> = clock[12..20]
            .split(':')
            .map(|part| part.parse().unwrap())
            .collect();
        Self {
            mount: path.split('?').next().unwrap().to_owned(),
            seconds: parts[6].trim().parse().unwrap(),
            end: 100_000 + clock[0] * 3600 + clock[1] * 60 + clock[2],
            listener: format!("{} {}", parts[0].split(' ').next().unwrap(), parts[5]),
        }
    }

    fn lasts(&self, moment: u64) -> bool {
        self.end - self.seconds <= moment && moment < self.end
    }
}

/// The most sessions that overlap. The maximum is always at the start of a session.
fn most_at_once(all: &[&Session]) -> u64 {
    let lasting = |moment| all.iter().filter(|one| one.lasts(moment)).count() as u64;
    all.iter()
        .map(|one| lasting(one.end - one.seconds))
        .max()
        .unwrap()
}

#[test]
fn the_listening_summary_agrees_with_the_log() {
    let folder = Folder::new();
    let ended = Program::new(&folder)
        .args("--sandbox --log-format-name=icecast2 --report=report.json")
        .arg(fixtures().join("logs/icecast2.log"))
        .run()
        .exits(0);
    let log = fixture("icecast2");
    let all: Vec<Session> = log
        .lines()
        .filter(|line| line.contains("\" 200 "))
        .map(Session::new)
        .collect();
    let rows = listening::rows(&folder);
    for mount in [
        "/live.mp3",
        "/live.ogg",
        "/radio-hd.aac",
        "/jazz",
        "/news.opus",
        "/stream",
    ] {
        let own: Vec<&Session> = all.iter().filter(|one| one.mount == mount).collect();
        let seconds: u64 = own.iter().map(|one| one.seconds).sum();
        let listeners: BTreeSet<&str> = own.iter().map(|one| one.listener.as_str()).collect();
        let expected = (
            own.len() as u64,
            seconds,
            most_at_once(&own),
            listeners.len() as u64,
        );
        let row = rows.iter().find(|row| row.mount == mount).unwrap();
        let found = (row.sessions, row.seconds, row.peak, row.listeners);
        assert_eq!(found, expected, "{mount}");
        let hours = format!("{:.2}", seconds as f64 / 3600.0);
        let printed = ended
            .out
            .lines()
            .find(|line| line.trim_start().starts_with(mount));
        assert!(printed.unwrap().contains(&hours), "{mount}: {ended}");
    }
}

#[test]
fn a_file_keeps_the_hits_for_queries() {
    let folder = Folder::with_log(logs::log(90) + &logs::page("/more-90?x=1", 90, 25));
    let ended = run(&folder, "--sandbox=hits.db access.log");
    assert_eq!(query(&folder, "SELECT count(*) FROM hits"), 91);
    assert_eq!(query(&folder, "SELECT count(*) FROM visits"), 25);
    assert_eq!(row(&ended, "Sandbox")[0], 25);
    // A line has its number plus one bytes.
    assert_eq!(
        query(&folder, "SELECT sum(bytes) FROM hits"),
        (1..=91).sum::<u64>()
    );
    let select = "SELECT count(*) FROM hits WHERE url LIKE '%/more-90?x=1' AND status = 200
        AND time = '2024-05-14 00:01:30' AND address = '10.0.0.16'";
    assert_eq!(query(&folder, select), 1);
    run(&folder, "--sandbox=hits.db access.log");
    assert_eq!(
        query(&folder, "SELECT count(*) FROM hits"),
        182,
        "a second run adds to it"
    );
}

#[test]
fn other_files_are_left_alone() {
    let folder = Folder::with_log(logs::log(10));
    folder.write("notes.txt", "to buy: milk\n".repeat(100));
    let ended = Program::new(&folder)
        .args("--sandbox=notes.txt access.log")
        .run();
    assert_eq!(ended.exits(1).says(&["notes.txt"]).out, "");
    assert_eq!(folder.read("notes.txt"), "to buy: milk\n".repeat(100));
}

#[test]
fn hits_without_hosts_go_to_site_1_and_others_to_a_site_for_each_host() {
    let folder = Folder::with_log(logs::log(10));
    let one = run(&folder, "--sandbox access.log");
    assert_eq!(
        (one.summary().get("sites"), row(&one, "Sandbox")[1]),
        (1, 10)
    );
    let hosted: String = (0..10)
        .map(|number| logs::hosted(["a.example", "b.example"][number % 2], number))
        .collect();
    folder.write("hosted.log", hosted);
    let two = run(&folder, "--sandbox hosted.log");
    assert_eq!(two.summary().get("sites"), 2);
    assert_eq!(
        (row(&two, "a.example")[1], row(&two, "b.example")[1]),
        (5, 5)
    );
}

#[test]
fn idsite_gets_all_hits() {
    let folder = Folder::with_log(logs::log(10));
    let ended = run(&folder, "--sandbox --idsite=7 access.log");
    assert_eq!(row(&ended, "Site 7")[1], 10);
}

#[test]
fn delivery_options_work() {
    let folder = Folder::with_log(logs::log_of(1000, 100));
    let ended = run(
        &folder,
        "--sandbox --recorders=8 --recorder-max-payload-size=20 access.log",
    );
    assert_eq!(ended.summary().get("imported"), 1000);
    assert_eq!(row(&ended, "Sandbox")[1], 1000);
}

#[test]
fn a_pipe_can_be_imported() {
    let ended = Program::new(&Folder::new())
        .args("--sandbox -")
        .stdin(logs::log(10))
        .run()
        .exits(0);
    assert_eq!(row(&ended, "Sandbox")[1], 10);
}

#[test]
fn a_full_disk_is_reported() {
    let log = fixtures().join("logs/icecast2.log");
    let log = std::fs::read_to_string(log).unwrap().repeat(3);
    // To simulate a full disk, `ulimit` limits files to this many blocks of 512 bytes. One log has
    // detected sessions, which are not stored with the hits; the other has none.
    for (blocks, args) in [
        (300, ""),
        (600, ""),
        (300, "--log-format-name=ncsa_extended"),
    ] {
        let folder = Folder::with_log(&log);
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let ended = Command::new("sh")
            .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_import-logs")])
            .args(["--sandbox=hits.db", "--retry-delay=0", "access.log"])
            .args(args.split_whitespace())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{blocks} blocks: {said}");
        assert!(said.contains("the sandbox's database: "), "{said}");
        for wrong in [" in import-logs", "the token", "check --"] {
            assert!(!said.contains(wrong), "{said}");
        }
    }
}
