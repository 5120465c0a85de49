//! The state directory: full, locked, damaged or of a newer version, and when it is used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Options, When};
use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::geteuid;

use super::numbered::{assert_each_once, log};
use super::world::{World, assert_adds_up};
use crate::support::{Program, until};

const LINES: usize = 300;

fn world() -> World {
    let world = World::new(Duration::ZERO).args("--recorders=2 --recorder-max-payload-size=10");
    world.folder.write("access.log", log(0..LINES, 50));
    world
}

#[test]
fn a_full_disk_stops_the_import_which_resumes_with_free_space() {
    // From a ledger that cannot be created to one that fills the disk during the import.
    for blocks in [0, 1, 20, 100, 140, 180] {
        let world = world();
        // To simulate a full disk, `ulimit` limits files to this many blocks of 512 bytes.
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let ended = Command::new("sh")
            .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_import-logs")])
            .args(world.args.split_whitespace())
            .arg(format!("--url={}", world.server.url()))
            .args(["--state-dir=state", "access.log"])
            .env("MATOMO_TOKEN_AUTH", world.server.token().expose())
            .current_dir(world.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{blocks} blocks: {said}");
        assert!(said.contains("error: cannot write state/"), "{said}");
        assert!(!said.contains("add up"), "{said}");
        world.import("access.log").exits(0);
        assert_each_once(&world.server, 0..LINES);
    }
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_not_changed() {
    let world = world();
    world.import("access.log").exits(0);
    let path = world.state_dir().join("ledger.db");
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    database.close().unwrap();
    let newer = fs::read(&path).unwrap();
    world
        .import("access.log")
        .exits(1)
        .says(&["ledger.db", "newer import-logs", "--state-dir"]);
    assert_eq!(fs::read(path).unwrap(), newer);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_second_run_at_the_same_time_names_the_first_and_ends() {
    let world =
        World::new(Duration::from_millis(150)).args("--recorders=1 --recorder-max-payload-size=50");
    world.folder.write("access.log", log(0..LINES, 50));
    let first = world.program().arg("access.log").start();
    let sent = || world.server.store().count().unwrap() > 0;
    assert!(until(Duration::from_secs(30), sent));
    world
        .import("access.log")
        .exits(1)
        .says(&["another import (process ", "state", "--state-dir"]);
    assert_adds_up(first.end()).exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn nothing_is_sent_until_a_damaged_ledger_is_removed() {
    let world = world();
    world.import("access.log").exits(0);
    let path = world.state_dir().join("ledger.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xFF);
    fs::write(path, bytes).unwrap();
    let parts = ["ledger.db is damaged", "kept as", "from a backup"];
    world.import("--quiet access.log").exits(1).says(&parts);
    let parts = ["ledger.db was damaged", "to import all lines"];
    let ended = world.import("--quiet access.log").exits(1).says(&parts);
    assert_each_once(&world.server, 0..LINES);
    // The message says to remove it.
    let (_, rest) = ended.err.split_once("or remove ").unwrap();
    let (broken, _) = rest.split_once(" to import").unwrap();
    fs::remove_file(world.folder.file(broken)).unwrap();
    world.import("access.log").exits(0);
    let stored = super::numbered::stored(&world.server);
    assert!(stored.len() == LINES && stored.values().all(|times| *times == 2));
}

#[test]
fn options_that_skip_lines_by_number_conflict_with_a_ledger() {
    let world = world();
    for option in ["--skip=3", "--debug-request-limit=5"] {
        let name = option.split('=').next().unwrap();
        let logs = format!("{option} access.log");
        world.import(&logs).exits(2).says(&[name, "--state-dir"]);
    }
    assert!(!world.state_dir().exists());
    assert_each_once(&world.server, 0..0);
}

#[test]
fn dry_runs_and_the_sandbox_do_not_use_the_ledger() {
    let world = world();
    let trials = || {
        world.import("--dry-run access.log").exits(0);
        let sandbox = Program::new(&world.folder).args("--sandbox --state-dir=state access.log");
        let ended = assert_adds_up(sandbox.run()).exits(0);
        assert_eq!(ended.summary().get("imported"), LINES as u64);
    };
    trials();
    assert!(!world.state_dir().exists());
    assert_each_once(&world.server, 0..0);
    world.import("access.log").exits(0);
    let files = || {
        let entries = fs::read_dir(world.state_dir()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        files.sort();
        files
    };
    let before = files();
    trials();
    assert_eq!(files(), before);
}

#[test]
fn the_state_directory_of_a_systemd_unit_is_used() {
    let world = world();
    let dir = world.folder.file("of systemd");
    let run = || {
        let dir = dir.to_str().unwrap();
        let program = world.without_ledger().env("STATE_DIRECTORY", dir);
        assert_adds_up(program.arg("access.log").run()).exits(0)
    };
    run();
    assert!(dir.join("ledger.db").exists());
    assert_eq!(run().summary().get("imported"), 0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn the_first_of_several_systemd_directories_is_used_and_an_empty_name_is_ignored() {
    let world = world();
    let run = |folders: &str| {
        let program = world.without_ledger().env("STATE_DIRECTORY", folders);
        assert_adds_up(program.arg("access.log").run()).exits(0)
    };
    run("");
    let (first, second) = (world.folder.file("first"), world.folder.file("second"));
    run(&format!("{}:{}", first.display(), second.display()));
    assert!(first.join("ledger.db").exists() && !second.exists());
    // The first run used no ledger.
    let stored = super::numbered::stored(&world.server);
    assert!(stored.len() == LINES && stored.values().all(|times| *times == 2));
}

#[test]
fn lines_done_for_one_site_are_not_done_for_another() {
    let sites = [(1, "http://one.example"), (2, "http://two.example")];
    let world = World::with(Options {
        faults: Faults::default(),
        ..Options::fixed(&sites, &[])
    });
    world.folder.write("access.log", log(0..LINES, 50));
    for idsite in [1, 2, 1, 2] {
        // The last --idsite counts.
        world
            .import(&format!("--idsite={idsite} access.log"))
            .exits(0);
    }
    let hits = world.server.store().hits().unwrap();
    for idsite in [1, 2] {
        let of_site = |hit: &&serde_json::Value| {
            hit["idsite"].as_str().map(str::to_owned) == Some(idsite.to_string())
                || hit["idsite"] == idsite
        };
        assert_eq!(hits.iter().filter(of_site).count(), LINES, "site {idsite}");
    }
}

#[test]
fn spools_of_another_site_are_reported() {
    let world = world();
    let piped = |idsite: u32, lines: std::ops::Range<usize>| {
        let program = world.program().arg(format!("--idsite={idsite}")).arg("-");
        program.stdin(log(lines, 50)).run()
    };
    // There is no site 7.
    piped(7, 0..20).exits(1).says(&["is saved in"]);
    assert_adds_up(piped(1, 20..40)).exits(3).says(&[
        "spool.",
        "idsite=7 is still to be imported",
        "or remove the file",
    ]);
    assert_each_once(&world.server, 20..40);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_state_directory_that_others_can_change_is_refused_with_a_command_to_fix_it() {
    let world = world();
    let dir = world.state_dir();
    fs::create_dir(&dir).unwrap();
    for mode in [0o777, 0o775, 0o1777] {
        set_mode(&dir, mode);
        let expected = ["state can be changed by other users", "`chmod go-w state`"];
        world.import("access.log").exits(1).says(&expected);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }
    set_mode(&dir, 0o755);
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn links_in_a_state_directory_are_refused_and_not_followed() {
    for name in [
        "lock",
        "ledger.db",
        "ledger.db.new",
        "ledger.db-wal",
        "spool.x",
    ] {
        let world = world();
        let (dir, victim) = (world.state_dir(), world.folder.file("victim"));
        fs::create_dir(&dir).unwrap();
        set_mode(&dir, 0o700);
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, dir.join(name)).unwrap();
        let command = format!("`rm state/{name}`");
        let expected = ["is a link", &command];
        world.import("access.log").exits(1).says(&expected);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_each_once(&world.server, 0..0);
    }
}

#[test]
fn a_named_pipe_in_a_state_directory_does_not_block_the_run() {
    let world = world();
    let dir = world.state_dir();
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    mkfifoat(CWD, dir.join("ledger.db"), Mode::from_raw_mode(0o600)).unwrap();
    world
        .import("access.log")
        .exits(1)
        .says(&["is not a plain file"]);
}

/// Whether this test can give files to other users. Prints a note if not.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can give files away");
    }
    is_root
}

#[test]
fn a_state_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let world = world();
    let dir = world.state_dir();
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    chown(&dir, Some(65534), None).unwrap();
    let expected = [
        "state belongs to another user (uid 65534)",
        "`chown -Rh 0 state`",
        "another --state-dir",
    ];
    world.import("access.log").exits(1).says(&expected);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    chown(&dir, Some(0), None).unwrap();
    world.import("access.log").exits(0);
    assert_each_once(&world.server, 0..LINES);
}

#[test]
fn a_link_of_another_user_to_a_state_directory_is_refused() {
    if !is_root() {
        return;
    }
    let world = world();
    let ours = world.folder.file("ours");
    fs::create_dir(&ours).unwrap();
    set_mode(&ours, 0o700);
    symlink(&ours, world.state_dir()).unwrap();
    world.import("access.log").exits(0);
    lchown(world.state_dir(), Some(65534), None).unwrap();
    world
        .import("access.log")
        .exits(1)
        .says(&["belongs to another user"]);
}

#[test]
fn an_interrupted_run_leaves_nothing_in_a_folder_of_another_user() {
    let world = World::new(Duration::ZERO);
    let world = world.args("--recorders=1 --recorder-max-payload-size=10 --retry-max-attempts=1");
    let (foreign, temporary) = (world.folder.file("logs"), world.folder.file("tmp"));
    fs::create_dir(&foreign).unwrap();
    fs::create_dir(&temporary).unwrap();
    world.folder.write("logs/access.log", log(0..LINES, 50));
    // Others can write to it, or own it.
    set_mode(&foreign, 0o777);
    let run = || {
        world.server.set_faults(Faults {
            rules: vec![(When::From(3), Fault::Busy(503, None))],
            ..Faults::default()
        });
        let program = world.without_ledger().arg("logs/access.log");
        let program = program.env("TMPDIR", temporary.to_str().unwrap());
        let ended = assert_adds_up(program.run()).exits(1);
        ended.says(&["--state-dir=", "tmp/import-logs-state"]);
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    };
    run();
    set_mode(&foreign, 0o755);
    if is_root() {
        chown(&foreign, Some(65534), None).unwrap();
        run();
    }
}
