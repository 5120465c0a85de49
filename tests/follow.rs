//! Logs that are followed while they grow, are rotated, packed and deleted.
//!
//! The environment variable `IMPORT_LOGS_FOLLOWED` sets the number of lines that are written while
//! logs are rotated (450 if unset), and `IMPORT_LOGS_ROTATIONS` the number of rotations in the test
//! of memory (200 if unset).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::reliability::numbered::{assert_each_once, faults, line, log, number_in};
use crate::reliability::random::Random;
use crate::reliability::world::{World, assert_adds_up};
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{Fault, Faults, When};
use crate::support::folder::gzip;
use crate::support::stored::count;
use crate::support::{Ended, Program, Running, at_once};

const A_DAY: usize = 400;
const FLUSH: Duration = Duration::from_millis(200);
/// Long enough for a round or two.
const A_WHILE: Duration = Duration::from_millis(400);

fn world() -> World {
    World::new(Duration::ZERO)
}

fn program(world: &World) -> Program {
    let flush = FLUSH.as_secs_f64();
    world.program().args(&format!(
        "--follow --poll-interval=0.1 --flush-interval={flush}"
    ))
}

/// Follows these logs.
fn follow(world: &World, logs: &str) -> Running {
    program(world).args(logs).start()
}

/// Ends the run as systemd does.
#[track_caller]
fn stop(running: Running) -> Ended {
    running.signal(Signal::TERM);
    assert_adds_up(running.end())
}

#[track_caller]
fn wait_for(world: &World, numbers: std::ops::Range<usize>) {
    let mut last = String::new();
    let there = until(LONGEST, || {
        sleep(Duration::from_millis(20));
        last = faults(&world.server, numbers.clone());
        last.is_empty()
    });
    assert!(there, "{last}");
}

/// Writes numbered lines to a log, and rotates it.
struct Writer {
    folder: PathBuf,
    name: String,
    next: usize,
    /// Files of earlier rotations.
    rotated: Vec<PathBuf>,
    rotations: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rotation {
    /// Renamed, and created anew.
    Rename,
    /// Copied, and truncated.
    CopyTruncate,
    /// Renamed with a date.
    Date,
    /// Renamed, and packed when the next rotation comes.
    Pack,
    /// Renamed, and deleted at once.
    Delete,
}

impl Rotation {
    const ALL: [Self; 5] = [
        Self::Rename,
        Self::CopyTruncate,
        Self::Date,
        Self::Pack,
        Self::Delete,
    ];
}

impl Writer {
    fn new(world: &World, name: &str) -> Self {
        Self {
            folder: world.folder.path().to_owned(),
            name: name.to_owned(),
            next: 0,
            rotated: Vec::new(),
            rotations: 0,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.append(true).create(true).open(self.log()).unwrap()
    }

    fn write(&mut self, lines: usize) {
        let text = log(self.next..self.next + lines, A_DAY);
        self.open().write_all(text.as_bytes()).unwrap();
        self.next += lines;
    }

    /// A line in two parts.
    fn write_in_parts(&mut self) {
        let text = line(self.next, A_DAY);
        let (first, second) = text.split_at(text.len() / 2);
        let mut file = self.open();
        file.write_all(first.as_bytes()).unwrap();
        sleep(Duration::from_millis(15));
        file.write_all(second.as_bytes()).unwrap();
        self.next += 1;
    }

    fn rotate(&mut self, how: Rotation) {
        if let Some(before) = self.rotated.pop() {
            let packed = PathBuf::from(format!("{}.gz", before.display()));
            fs::write(&packed, gzip(fs::read(&before).unwrap())).unwrap();
            fs::remove_file(before).unwrap();
        }
        self.rotations += 1;
        let number = self.rotations;
        let suffix = match how {
            Rotation::Date => format!("{}-2024{:04}", self.name, number),
            _ => format!("{}.{number}", self.name),
        };
        let to = self.folder.join(suffix);
        match how {
            Rotation::CopyTruncate => {
                fs::copy(self.log(), &to).unwrap();
                let file = OpenOptions::new().write(true).open(self.log()).unwrap();
                file.set_len(0).unwrap();
            }
            _ => {
                fs::rename(self.log(), &to).unwrap();
                File::create_new(self.log()).unwrap();
            }
        }
        match how {
            Rotation::Pack => self.rotated.push(to),
            Rotation::Delete => fs::remove_file(to).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn what_is_added_is_imported_until_a_signal() {
    let world = world();
    let mut writer = Writer::new(&world, "access.log");
    writer.write(30);
    let running = follow(&world, "access.log");
    wait_for(&world, 0..30);
    for _ in 0..5 {
        writer.write(3);
        writer.write_in_parts();
        wait_for(&world, 0..writer.next);
    }
    let ended = stop(running).exits(0);
    assert_eq!(ended.summary().get("imported"), 50);
    // What is added meanwhile comes with the next run.
    writer.write(5);
    let running = follow(&world, "access.log");
    wait_for(&world, 0..55);
    running.signal(Signal::INT);
    assert_adds_up(running.end()).exits(0);
    assert_each_once(&world.server, 0..55);
}

#[test]
fn half_a_line_waits_for_its_end() {
    let world = world();
    let mut writer = Writer::new(&world, "access.log");
    writer.write(3);
    let text = line(3, A_DAY);
    let (first, second) = text.split_at(40);
    writer.open().write_all(first.as_bytes()).unwrap();
    let running = follow(&world, "access.log");
    wait_for(&world, 0..3);
    sleep(A_WHILE);
    assert_each_once(&world.server, 0..3);
    writer.open().write_all(second.as_bytes()).unwrap();
    wait_for(&world, 0..4);
    let ended = stop(running).exits(0);
    assert_eq!(ended.summary().get("invalid"), 0);
}

#[test]
fn logs_that_appear_later_are_read() {
    let world = world();
    let running = follow(&world, "access.log new/*.log");
    assert!(until(LONGEST, || {
        running.has_said("access.log: there is no such log yet")
    }));
    let mut writer = Writer::new(&world, "access.log");
    writer.write(10);
    wait_for(&world, 0..10);
    fs::create_dir(world.folder.file("new")).unwrap();
    for (index, name) in ["new/a.log", "new/b.log"].into_iter().enumerate() {
        let first = 10 + index * 5;
        world.folder.write(name, log(first..first + 5, A_DAY));
        wait_for(&world, 0..first + 5);
    }
    stop(running).exits(0);
    assert_each_once(&world.server, 0..20);
}

#[test]
fn a_rotated_log_is_finished_whatever_becomes_of_it() {
    at_once(Rotation::ALL.into(), |how| {
        for logs in ["access.log", "access.log*"] {
            let world = world();
            let mut writer = Writer::new(&world, "access.log");
            writer.write(20);
            let running = follow(&world, logs);
            wait_for(&world, 0..20);
            for _ in 0..3 {
                writer.write(7);
                writer.rotate(how);
                writer.write(4);
                sleep(A_WHILE / 2);
            }
            wait_for(&world, 0..writer.next);
            sleep(A_WHILE);
            let ended = stop(running);
            assert_eq!(ended.code, Some(0), "{how:?} {logs}: {ended}");
            assert_each_once(&world.server, 0..writer.next);
        }
    });
}

#[test]
fn lines_that_are_read_and_not_sent_yet_are_not_read_again_in_a_copy() {
    for how in [Rotation::CopyTruncate, Rotation::Rename] {
        let world = world();
        let mut writer = Writer::new(&world, "access.log");
        writer.write(20);
        // The last interval counts.
        let running = follow(&world, "--flush-interval=1.5 access.log*");
        wait_for(&world, 0..20);
        for _ in 0..2 {
            writer.write(10);
            sleep(A_WHILE);
            writer.write(5);
            writer.rotate(how);
            writer.write(5);
        }
        wait_for(&world, 0..60);
        sleep(A_WHILE);
        stop(running).exits(0);
        assert_each_once(&world.server, 0..60);
    }
}

#[test]
fn a_log_that_was_rotated_while_no_run_followed_it_is_finished_first() {
    for how in Rotation::ALL {
        if how == Rotation::Delete {
            continue;
        }
        let world = world();
        let mut writer = Writer::new(&world, "access.log");
        writer.write(20);
        let running = follow(&world, "access.log");
        wait_for(&world, 0..20);
        stop(running).exits(0);
        writer.write(10);
        writer.rotate(how);
        writer.write(10);
        // Packs what was renamed.
        if how == Rotation::Pack {
            let rotated = writer.rotated.pop().unwrap();
            let packed = format!("{}.gz", rotated.display());
            fs::write(packed, gzip(fs::read(&rotated).unwrap())).unwrap();
            fs::remove_file(rotated).unwrap();
            // It might still be written.
            sleep(Duration::from_secs(4));
        }
        let running = follow(&world, "access.log --recorders=1 --keep-order");
        wait_for(&world, 0..40);
        stop(running).exits(0);
        assert_each_once(&world.server, 0..40);
        let hits = world.server.store().hits().unwrap();
        let order: Vec<usize> = hits
            .iter()
            .filter_map(|hit| number_in(hit["url"].as_str()?))
            .collect();
        assert!(order[20..].is_sorted(), "{how:?}: {order:?}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_reported_once_and_stops_no_other() {
    let world = world();
    let mut writer = Writer::new(&world, "access.log");
    writer.write(5);
    world.folder.write("binary.log", [0, 1, 2, 3].repeat(500));
    world.folder.write("other.log", "no log\n".repeat(50));
    let secret = world.folder.write("secret.log", log(100..110, A_DAY));
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    let is_root = File::open(&secret).is_ok();
    fs::create_dir(world.folder.file("folder")).unwrap();
    let running = follow(&world, "access.log binary.log other.log secret.log folder");
    for _ in 0..5 {
        writer.write(2);
        let more = |name: &str| {
            let mut options = OpenOptions::new();
            let mut file = options.append(true).open(world.folder.file(name)).unwrap();
            file.write_all(b"no log\n").unwrap();
        };
        more("binary.log");
        more("other.log");
        sleep(A_WHILE / 2);
    }
    let read = if is_root {
        (0..15).chain(100..110)
    } else {
        (0..15).chain(0..0)
    };
    assert!(until(LONGEST, || faults(&world.server, read.clone()).is_empty()));
    let ended = stop(running).exits(3);
    let times = |text: &str| ended.err.matches(text).count();
    assert_eq!(times("binary.log"), 1, "{ended}");
    assert_eq!(times("folder: not a file"), 1, "{ended}");
    assert_eq!(times("secret.log"), usize::from(!is_root), "{ended}");
    assert!(times("other.log") <= 2, "{ended}");
}

#[test]
fn the_run_ends_if_the_server_stays_away_and_nothing_is_lost() {
    let world = World::faulty(Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    });
    let mut writer = Writer::new(&world, "access.log");
    writer.write(10);
    let running = follow(&world, "access.log");
    assert_adds_up(running.end()).exits(1);
    world.server.set_faults(Faults::default());
    writer.write(10);
    let running = follow(&world, "access.log");
    wait_for(&world, 0..20);
    stop(running).exits(0);
    assert_each_once(&world.server, 0..20);
}

#[test]
fn an_idle_log_is_not_opened_again() {
    let world = world();
    for number in 0..20 {
        let name = format!("log-{number}.log");
        world
            .folder
            .write(&name, log(number * 5..number * 5 + 5, A_DAY));
    }
    let trace = world.folder.file("trace");
    if Command::new("strace").arg("-V").output().is_err() {
        // Without strace, the debug output has to do.
        let running = program(&world).args("--debug --debug *.log").start();
        wait_for(&world, 0..100);
        sleep(A_WHILE * 3);
        let ended = stop(running).exits(0);
        assert_eq!(ended.err.matches(": reading\n").count(), 20, "{ended}");
        assert_eq!(ended.err.matches(": reading on").count(), 0, "{ended}");
        return;
    }
    let strace = format!(
        "exec strace -D -f -o '{}' -e trace=openat \"$@\"",
        trace.display()
    );
    let running = program(&world).args("*.log").through(&strace).start();
    wait_for(&world, 0..100);
    sleep(A_WHILE);
    let opened = || {
        let trace = fs::read_to_string(&trace).unwrap();
        trace.lines().filter(|line| line.contains(".log\"")).count()
    };
    let before = opened();
    sleep(A_WHILE * 3);
    assert_eq!(opened(), before);
    stop(running);
}

#[test]
fn changes_are_noticed_without_polling() {
    let world = world();
    let mut writer = Writer::new(&world, "access.log");
    writer.write(3);
    // The last interval counts.
    let running = follow(&world, "--poll-interval=600 access.log* later.log");
    wait_for(&world, 0..3);
    for how in [Rotation::Rename, Rotation::CopyTruncate] {
        writer.write(3);
        wait_for(&world, 0..writer.next);
        writer.rotate(how);
        writer.write(3);
        wait_for(&world, 0..writer.next);
    }
    let first = writer.next;
    world
        .folder
        .write("later.log", log(first..first + 3, A_DAY));
    wait_for(&world, 0..first + 3);
    stop(running).exits(0);
}

/// As `rsync` does it: a longer copy takes the name of the log.
#[test]
fn logs_that_are_replaced_by_longer_copies_are_read_on() {
    const LOGS: usize = 12;
    let world = world();
    let mut contents = vec![String::new(); LOGS];
    let running = follow(&world, "*.log");
    let mut next = 0;
    for _ in 0..4 {
        for (number, content) in contents.iter_mut().enumerate() {
            content.push_str(&log(next..next + 3, A_DAY));
            next += 3;
            let path = world.folder.path().join(format!("{number}.log"));
            let copy = path.with_extension("new");
            fs::write(&copy, content).unwrap();
            fs::rename(copy, path).unwrap();
        }
        wait_for(&world, 0..next);
    }
    sleep(A_WHILE);
    stop(running).exits(0);
    assert_each_once(&world.server, 0..next);
}

#[test]
fn a_copy_that_is_packed_before_it_was_read_is_finished() {
    let world = world();
    let mut writer = Writer::new(&world, "access.log");
    writer.write(20);
    // Only a round a second, so that the copy is made before its end is read.
    let running = program(&world).args("--poll-interval=1 access.log").start();
    wait_for(&world, 0..20);
    writer.write(10);
    let packed = world.folder.path().join("access.log.1.gz");
    fs::write(packed, gzip(fs::read(writer.log()).unwrap())).unwrap();
    let file = OpenOptions::new().write(true).open(writer.log()).unwrap();
    file.set_len(0).unwrap();
    writer.write(5);
    wait_for(&world, 0..35);
    sleep(A_WHILE);
    stop(running).exits(0);
    assert_each_once(&world.server, 0..35);
}

#[test]
fn more_logs_than_may_be_open_are_read() {
    const LOGS: usize = 40;
    let world = world();
    let mut writers: Vec<Writer> = (0..LOGS)
        .map(|number| Writer::new(&world, &format!("{number}.log")))
        .collect();
    // Half of them are for logs.
    let running = (program(&world).args("*.log"))
        .through("ulimit -n 60")
        .start();
    let mut next = 0;
    for _ in 0..4 {
        for writer in &mut writers {
            writer.next = next;
            writer.write(2);
            next = writer.next;
        }
        wait_for(&world, 0..next);
    }
    sleep(A_WHILE);
    stop(running).exits(0);
    assert_each_once(&world.server, 0..next);
}

#[test]
#[ignore = "measures CPU time for ten seconds"]
fn a_thousand_idle_logs_cost_little() {
    const LOGS: usize = 1000;
    const TIME: Duration = Duration::from_secs(10);
    let world = world();
    for number in 0..LOGS {
        let name = format!("log-{number}.log");
        world.folder.write(&name, line(number, A_DAY));
    }
    // The last interval counts.
    let running = follow(&world, "--poll-interval=1 *.log");
    wait_for(&world, 0..LOGS);
    sleep(A_WHILE);
    let before = running.cpu_ticks().unwrap();
    sleep(TIME);
    let ticks = running.cpu_ticks().unwrap() - before;
    println!("{ticks} ticks of 10 ms in {TIME:?}");
    assert!(ticks < 50, "{ticks}");
    stop(running).exits(0);
}

/// Reads what systemd would hear, for at most this long.
fn hear(socket: &UnixDatagram, at_most: Duration, is_last: impl Fn(&str) -> bool) -> Vec<String> {
    let begun = Instant::now();
    let mut heard = Vec::new();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut buffer = [0; 4096];
    while begun.elapsed() < at_most {
        if let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let is_last = is_last(&text);
            heard.push(text);
            if is_last {
                break;
            }
        }
    }
    heard
}

#[test]
fn systemd_hears_how_the_run_is_doing() {
    for is_abstract in [false, true] {
        let world = world();
        let mut writer = Writer::new(&world, "access.log");
        writer.write(10);
        let path = world.folder.file("notify");
        let (socket, name) = match is_abstract {
            false => (
                UnixDatagram::bind(&path).unwrap(),
                path.display().to_string(),
            ),
            true => {
                let name = format!("import-logs-test-{}", std::process::id());
                let address = SocketAddr::from_abstract_name(&name).unwrap();
                (
                    UnixDatagram::bind_addr(&address).unwrap(),
                    format!("@{name}"),
                )
            }
        };
        let running = program(&world)
            .arg("access.log")
            .env("NOTIFY_SOCKET", &name)
            .env("WATCHDOG_USEC", "600000")
            .start();
        let heard = hear(&socket, LONGEST, |text| text.contains("10 imported"));
        assert!(heard.iter().any(|text| text == "READY=1"), "{heard:?}");
        let status = heard.last().unwrap();
        assert!(
            status.starts_with("STATUS=1 logs open; 10 lines read"),
            "{heard:?}"
        );
        // At least each 0.3 s.
        let begun = Instant::now();
        let mut beats = 0;
        while beats < 5 {
            let heard = hear(&socket, Duration::from_secs(2), |text| text == "WATCHDOG=1");
            assert!(
                heard.last().is_some_and(|text| text == "WATCHDOG=1"),
                "{heard:?}"
            );
            beats += 1;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        running.signal(Signal::TERM);
        let heard = hear(&socket, LONGEST, |text| text == "STOPPING=1");
        assert!(
            heard.last().is_some_and(|text| text == "STOPPING=1"),
            "{heard:?}"
        );
        assert_adds_up(running.end()).exits(0);
    }
}

#[test]
fn the_watchdog_is_fed_while_the_server_is_slow() {
    let world = World::new(Duration::from_millis(1200)).args("--recorder-max-payload-size=500");
    // More than the window holds.
    world.folder.write("access.log", log(0..20_000, 20_000));
    let path = world.folder.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let running = program(&world)
        .arg("access.log")
        .env("NOTIFY_SOCKET", &path.display().to_string())
        .env("WATCHDOG_USEC", "1000000")
        .start();
    for _ in 0..8 {
        let heard = hear(&socket, Duration::from_secs(5), |text| text == "WATCHDOG=1");
        assert!(
            heard.last().is_some_and(|text| text == "WATCHDOG=1"),
            "{heard:?}"
        );
    }
    drop(running);
}

#[test]
fn options_that_need_an_end_are_refused() {
    let world = world();
    world.folder.write("access.log", log(0..3, A_DAY));
    for args in [
        "--dry-run access.log",
        "--explain access.log",
        "--dump-log-regex access.log",
        "--verify access.log",
        "--report=report.csv access.log",
        "--quiet access.log",
        "--skip=1 access.log",
        "--debug-request-limit=1 access.log",
        "-",
    ] {
        let ended = program(&world).args(args).run().exits(2);
        assert!(ended.err.contains("--follow"), "{args}: {ended}");
    }
    let ended = world.without_ledger().args("--follow access.log").run();
    ended.exits(2).says(&["--follow needs --state-dir"]);
    let ended = Program::new(&world.folder).args("--follow --state-dir=state --sandbox access.log");
    ended.run().exits(2).says(&["--follow and --sandbox"]);
    let ended = program(&world).args("--poll-interval=0 access.log").run();
    ended.exits(2).says(&["--poll-interval"]);
}

/// When each number was stored, as the server is asked again and again.
#[derive(Default)]
struct Arrivals {
    last: i64,
    seen: BTreeMap<usize, Instant>,
}

impl Arrivals {
    fn look(&mut self, world: &World) {
        let last = self.last;
        let rows: Vec<(i64, String)> = (world.server.store())
            .read(|db| {
                let mut query = db.prepare("SELECT id, url FROM hits WHERE id > ?1")?;
                query
                    .query_map([last], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .unwrap();
        let now = Instant::now();
        for (id, url) in rows {
            self.last = self.last.max(id);
            self.seen.entry(number_in(&url).unwrap()).or_insert(now);
        }
    }
}

fn env_number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// How long the server may process a request of a run that was killed.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Writes lines and rotates their logs in all ways. With `kills`, the program is killed and
/// restarted meanwhile. Returns the latencies, in order.
fn rotate_and_follow(kinds: &[Rotation], kills: usize, args: &str) -> Vec<Duration> {
    let lines = env_number("IMPORT_LOGS_FOLLOWED", 450);
    let world = World::new(Duration::from_millis(5)).args(&format!(
        "--request-timeout={} {args}",
        TIMEOUT.as_secs_f64()
    ));
    let mut random = Random::new(&format!("follow {kinds:?} {kills}"));
    let mut writer = Writer::new(&world, "access.log");
    writer.open();
    let start = || program(&world).args("access.log*").start();
    let mut running = start();
    let mut arrivals = Arrivals::default();
    let mut written: BTreeMap<usize, Instant> = BTreeMap::new();
    // Five of each kind, evenly spread.
    let rotations: Vec<Rotation> = (0..5).flat_map(|_| kinds.to_vec()).collect();
    let (a_rotation, a_kill) = (lines / (rotations.len() + 1), lines / (kills + 1));
    let (mut rotated, mut killed) = (0, 0);
    let mut last_kill = None::<Instant>;
    while writer.next < lines {
        let before = writer.next;
        match random.chance(10) {
            true => writer.write_in_parts(),
            false => writer.write((1 + random.below(6) as usize).min(lines - before)),
        }
        if rotated < rotations.len() && writer.next >= (rotated + 1) * a_rotation {
            let how = rotations[rotated];
            if how == Rotation::Delete {
                // A log must live long enough for a round to see it. If hits of it are unconfirmed
                // since a kill, it is needed until they are.
                wait_for(&world, 0..writer.next);
                if let Some(last) = last_kill.take() {
                    sleep((TIMEOUT * 5).saturating_sub(last.elapsed()));
                }
                // What no run has read is lost.
                if killed == kills {
                    writer.write(3);
                }
            }
            writer.rotate(how);
            rotated += 1;
        }
        let now = Instant::now();
        written.extend((before..writer.next).map(|number| (number, now)));
        arrivals.look(&world);
        if killed < kills && writer.next >= (killed + 1) * a_kill {
            running.signal(Signal::KILL);
            running.end();
            killed += 1;
            last_kill = Some(Instant::now());
            running = start();
        }
        sleep(Duration::from_millis(5 + random.below(10)));
    }
    assert_eq!((rotated, killed), (rotations.len(), kills));
    let all_stored = until(LONGEST, || {
        sleep(Duration::from_millis(10));
        arrivals.look(&world);
        arrivals.seen.len() == writer.next
    });
    assert!(all_stored, "{}", faults(&world.server, 0..writer.next));
    // Hits may be unconfirmed since the last kill.
    if let Some(last) = last_kill {
        sleep((TIMEOUT * 5).saturating_sub(last.elapsed()));
    }
    let ended = stop(running);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_each_once(&world.server, 0..writer.next);
    let mut latencies: Vec<Duration> = (arrivals.seen.iter())
        .map(|(number, seen)| seen.saturating_duration_since(written[number]))
        .collect();
    latencies.sort();
    latencies
}

#[test]
fn each_line_is_stored_once_and_soon_while_logs_are_rotated() {
    let latencies = rotate_and_follow(&Rotation::ALL, 0, "");
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "latency: median {:?}, p99 {:?}, longest {:?}",
        at(50),
        at(99),
        at(100)
    );
    assert!(at(99) < FLUSH + Duration::from_secs(2), "{:?}", at(99));
}

#[test]
fn each_line_is_stored_once_while_logs_are_rotated_and_the_run_is_killed() {
    // What Matomo has answered is done.
    rotate_and_follow(&Rotation::ALL, 4, "--read-back=off");
    // A log whose hits are still to be read back is needed until they are.
    rotate_and_follow(&Rotation::ALL[..4], 4, "--read-back=on");
}

#[test]
fn rotations_take_no_files_and_little_memory() {
    const LOGS: usize = 20;
    let rounds = env_number("IMPORT_LOGS_ROTATIONS", 200).div_ceil(LOGS);
    let world = World::new(Duration::ZERO);
    let mut writers: Vec<Writer> = (0..LOGS)
        .map(|number| Writer::new(&world, &format!("{number}.log")))
        .collect();
    let mut next = 0;
    let mut running = (program(&world).args("*.log*"))
        .through("ulimit -n 128")
        .start();
    let mut first_memory = 0;
    for round in 0..rounds {
        for writer in &mut writers {
            writer.next = next;
            writer.write(2);
            next += 2;
        }
        assert!(
            until(LONGEST, || count(&world.server) >= next as u64),
            "{} of {next}",
            count(&world.server)
        );
        for writer in &mut writers {
            writer.rotate(Rotation::Rename);
            // As logrotate does.
            if round >= 5 {
                let oldest = format!("{}.{}", writer.name, round - 4);
                fs::remove_file(world.folder.file(&oldest)).unwrap();
            }
        }
        if round == rounds / 10 {
            first_memory = running.peak_memory().unwrap();
        }
    }
    let memory = running.peak_memory().unwrap();
    let files = running.open_files().unwrap();
    let rotations = rounds * LOGS;
    let ledger = fs::metadata(world.state_dir().join("ledger.db")).unwrap();
    println!(
        "{rotations} rotations: {first_memory}, then {memory} bytes of memory; {files} files open; \
         {} bytes of ledger",
        ledger.len()
    );
    assert!(!running.has_ended());
    assert!(files < 100, "{files}");
    // The ledger knows up to 10,000 logs.
    let at_most = first_memory + 4_000_000 + rotations as u64 * 3_000;
    assert!(memory < at_most, "{memory}");
    stop(running).exits(0);
    assert_each_once(&world.server, 0..next);
}
