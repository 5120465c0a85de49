//! Objects in buckets as logs: S3, Azure and Google Cloud Storage.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;

use crate::listening::sorted_hits;
use crate::reliability::random::Random;
use crate::reliability::world::{World, assert_adds_up};
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{FakeMatomo, Fault as Failure, Faults, Options};
use crate::support::folder::{fixture, gzip};
use crate::support::logs;
use crate::support::objects::{Bucket, Fault, FaultyProxy, ObjectServer, Seen, share};
use crate::support::stored::{assert_each_once, count, numbers, options, started, text};
use crate::support::{Ended, Folder, Program, at_once};

/// A bucket, and a Matomo with a state directory for imports from it.
struct Import {
    server: ObjectServer,
    bucket: Bucket,
    world: World,
}

impl Import {
    /// With a new bucket of S3. `None` where the emulator cannot be installed.
    fn new(bucket: &str) -> Option<Self> {
        Some(Self::on(ObjectServer::start()?, bucket, options()))
    }

    fn on(server: ObjectServer, bucket: &str, options: Options) -> Self {
        Self {
            bucket: server.bucket(bucket),
            world: World::with(options).args("--recorder-max-payload-size=50"),
            server,
        }
    }

    /// The program with a ledger and this `--endpoint-url`.
    fn at(&self, endpoint: &str) -> Program {
        self.reaching(self.world.program(), endpoint)
    }

    fn reaching(&self, program: Program, endpoint: &str) -> Program {
        let program = program.arg(format!("--endpoint-url={endpoint}"));
        let variables = self.server.environment().into_iter();
        variables.fold(program, |program, (name, value)| program.env(name, &value))
    }

    fn program(&self) -> Program {
        self.at(&self.server.endpoint())
    }

    /// Imports the objects with this prefix.
    fn run(&self, prefix: &str) -> Ended {
        assert_adds_up(self.program().arg(self.bucket.url(prefix)).run())
    }

    /// The same through a proxy.
    fn run_through(&self, proxy: &FaultyProxy, prefix: &str) -> Ended {
        let program = self.at(&proxy.endpoint());
        assert_adds_up(program.arg(self.bucket.url(prefix)).run())
    }

    fn proxy(&self, plan: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static) -> FaultyProxy {
        FaultyProxy::start(&self.server.endpoint(), plan)
    }

    #[track_caller]
    fn assert_numbers(&self, expected: impl IntoIterator<Item = usize>) {
        let expected: Vec<usize> = expected.into_iter().collect();
        assert_eq!(numbers(&self.world.server), expected);
    }
}

fn plain(numbers: Range<usize>) -> String {
    numbers.map(|number| logs::line(number, 25)).collect()
}

fn json(numbers: Range<usize>) -> String {
    let line = |number| logs::json("www.example.com", number);
    numbers.map(line).collect()
}

/// A log of CloudFront, whose header names the columns.
fn cloudfront(numbers: Range<usize>) -> String {
    let mut log = "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method \
                   cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query\n"
        .to_owned();
    for number in numbers {
        let (minute, second) = (number / 60 % 60, number % 60);
        let _ = writeln!(
            log,
            "2024-05-14\t04:{minute:02}:{second:02}\tFRA2\t12\t10.0.0.{}\tGET\t\
             d1.cloudfront.net\t/page-{number}\t200\t-\tMozilla/5.0%20(X11)\t-",
            number % 25 + 1
        );
    }
    log
}

/// A log of a container runtime, with each line in two parts.
fn container(numbers: Range<usize>) -> String {
    let parts = |number| {
        let line = logs::line(number, 25);
        let (begin, end) = line.trim_end().split_at(30);
        let stamp = "2024-05-14T04:25:24.497999999+00:00 stdout";
        format!("{stamp} P {begin}\n{stamp} F {end}\n")
    };
    numbers.map(parts).collect()
}

const FORMATS: [fn(Range<usize>) -> String; 4] = [plain, json, cloudfront, container];
const PACKINGS: [fn(String) -> Vec<u8>; 5] = [String::into_bytes, gzip, bzip2, zstd, xz];

fn bzip2(log: String) -> Vec<u8> {
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packed.write_all(log.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn zstd(log: String) -> Vec<u8> {
    zstd::encode_all(log.as_bytes(), 1).unwrap()
}

fn xz(log: String) -> Vec<u8> {
    let mut packed = liblzma::write::XzEncoder::new(Vec::new(), 1);
    packed.write_all(log.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A gzip that is as long as the log.
fn stored_gzip(log: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all(log.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Puts so many objects of `lines` lines each, in all formats and packings.
pub fn put_mixed(bucket: &Bucket, objects: usize, lines: usize) {
    for object in 0..objects {
        let format = FORMATS[object % FORMATS.len()];
        let pack = PACKINGS[object % PACKINGS.len()];
        let log = format(object * lines..(object + 1) * lines);
        bucket.put(&format!("logs/{object:04}.log"), pack(log));
    }
}

fn is_list(seen: &Seen) -> bool {
    seen.query.iter().any(|(name, _)| name == "list-type")
}

/// Whether an object whose key ends like this is read.
fn is_object(seen: &Seen, key: &str) -> bool {
    seen.method == "GET" && seen.path.ends_with(key)
}

#[test]
fn objects_of_all_formats_and_packings_are_imported_once() {
    let Some(import) = Import::new("mixed") else {
        return;
    };
    put_mixed(&import.bucket, 500, 6);
    let proxy = import.proxy(|_| None);
    let run = || {
        let program = import.at(&proxy.endpoint()).args("--recorders=4");
        assert_adds_up(program.arg(import.bucket.url("logs/")).run()).exits(0)
    };
    run();
    assert_each_once(&import.world.server, 3000);
    assert_eq!(proxy.count("GET", "/mixed/"), 500);
    let requests = proxy.seen().len();
    assert_eq!(requests, 500 + 1);
    // Another run lists them, and reads none.
    let note = "500 objects from s3://mixed/logs/0000.log to s3://mixed/logs/0499.log are already \
                imported to their end";
    assert_eq!(run().says(&[note]).summary().get("imported"), 0);
    assert_each_once(&import.world.server, 3000);
    let seen = proxy.seen().split_off(requests);
    assert!(seen.len() == 1 && is_list(&seen[0]), "{seen:?}");
}

#[test]
fn objects_without_hits_are_not_read_again() {
    let Some(import) = Import::new("without-hits") else {
        return;
    };
    let files: String = (0..5)
        .map(|number| logs::page(&format!("/style-{number}.css"), number, 5))
        .collect();
    let blank = b"\n\n\n".to_vec();
    for (key, content) in [
        ("blank", blank),
        ("files", files.into_bytes()),
        ("headers", cloudfront(0..0).into_bytes()),
        ("invalid", (plain(0..5) + "nonsense\n").into_bytes()),
        (
            "members.gz",
            [gzip(plain(5..10)), gzip(plain(10..15))].concat(),
        ),
        ("unended", plain(15..20).trim_end().as_bytes().to_vec()),
        ("utf-16", utf16(&plain(20..25))),
    ] {
        import.bucket.put(key, content);
    }
    let summary = import.run("").exits(0).summary();
    assert_eq!((summary.get("static"), summary.get("invalid")), (5, 1));
    assert_each_once(&import.world.server, 25);
    let proxy = import.proxy(|_| None);
    import.run_through(&proxy, "").exits(0);
    assert_eq!(proxy.seen().len(), 1);
}

fn utf16(log: &str) -> Vec<u8> {
    let units = std::iter::once(0xFEFF).chain(log.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

#[test]
fn each_line_of_objects_is_stored_once_after_random_kills() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    const KILLS: u64 = 8;
    const DELAY: Duration = Duration::from_millis(25);
    let faulty = AtomicU64::new(0);
    at_once(vec![1, 4], |recorders| {
        let mut random = Random::new(&format!("kills of objects {recorders}"));
        let mut left = KILLS;
        let mut round = 0;
        while left > 0 {
            round += 1;
            let slow = Options {
                delay: DELAY,
                ..options()
            };
            let bucket = format!("kills-{recorders}-{round}");
            let mut import = Import::on(server.clone(), &bucket, slow);
            import.world.args = import.world.args.replace("size=50", "size=10");
            let objects = 30 * recorders;
            put_mixed(&import.bucket, objects, 15);
            let faults = vec![Fault::SLOW_DOWN, Fault::Cut, Fault::Close, Fault::HalfHead];
            let proxy = import.proxy(share(round, 15, 2, faults));
            let start = || {
                let program = import.at(&proxy.endpoint());
                let program = program.arg(format!("--recorders={recorders}"));
                program.arg(import.bucket.url("logs/")).start()
            };
            while left > 0 {
                let calls = import.world.calls();
                let mut running = start();
                if random.chance(30) {
                    sleep(Duration::from_millis(random.below(600)));
                } else {
                    let calls = calls + random.within(1..12);
                    until(LONGEST, || {
                        running.has_ended() || import.world.calls() >= calls
                    });
                    sleep(Duration::from_millis(random.below(50)));
                }
                if !running.has_ended() {
                    running.signal(Signal::KILL);
                }
                let ended = assert_adds_up(running.end());
                if ended.code.is_some() {
                    assert_eq!(ended.code, Some(0), "{ended}");
                    break;
                }
                left -= 1;
            }
            let ended = assert_adds_up(start().end()).exits(0);
            assert!(import.world.server.wait_idle(Duration::from_secs(10)));
            assert!(
                numbers(&import.world.server) == (0..objects * 15).collect::<Vec<_>>(),
                "{bucket}: {:?} {ended}",
                numbers(&import.world.server)
            );
            let spoiled = proxy
                .seen()
                .iter()
                .filter(|seen| seen.fault.is_some())
                .count();
            faulty.fetch_add(spoiled as u64, Relaxed);
        }
    });
    let faulty = faulty.into_inner();
    assert!(faulty > 20, "{faulty}");
}

#[test]
fn a_broken_download_continues_where_it_broke_off() {
    let Some(import) = Import::new("broken-off") else {
        return;
    };
    let lines = 6000;
    import.bucket.put("plain.log", plain(0..lines));
    import
        .bucket
        .put("packed.log", stored_gzip(&plain(lines..2 * lines)));
    let proxy =
        import.proxy(|seen| (is_object(seen, ".log") && seen.attempt <= 2).then_some(Fault::Cut));
    import.run_through(&proxy, "").exits(0);
    assert_each_once(&import.world.server, 2 * lines);
    for key in ["plain.log", "packed.log"] {
        let seen = proxy.seen().into_iter();
        let seen: Vec<Seen> = seen.filter(|seen| is_object(seen, key)).collect();
        let starts: Vec<u64> = seen
            .iter()
            .map(|seen| {
                let range = seen.range.as_deref().unwrap_or("bytes=0-");
                let start = range.trim_start_matches("bytes=").split('-').next();
                start.unwrap().parse().unwrap()
            })
            .collect();
        assert_eq!(starts.len(), 3, "{seen:?}");
        assert!(
            starts[0] == 0 && starts[1] > 400_000 && starts[2] > 600_000,
            "{starts:?}"
        );
        assert!(seen.iter().all(|seen| seen.if_match.is_some()), "{seen:?}");
    }
}

#[test]
fn an_object_that_cannot_be_read_is_left_to_the_next_run() {
    let Some(import) = Import::new("forbidden") else {
        return;
    };
    for object in 0..5 {
        let log = plain(object * 10..(object + 1) * 10);
        import.bucket.put(&format!("{object}.log"), log);
    }
    let proxy =
        import.proxy(|seen| is_object(seen, "2.log").then_some(Fault::Error(403, "AccessDenied")));
    let ended = import.run_through(&proxy, "").exits(3);
    ended.says(&["s3://forbidden/2.log: ", "403 Forbidden", "(AccessDenied)"]);
    import.assert_numbers((0..20).chain(30..50));
    import.run("").exits(0);
    assert_each_once(&import.world.server, 50);
}

#[test]
fn of_an_object_that_was_replaced_the_new_lines_are_read() {
    let starts = [
        ObjectServer::start,
        ObjectServer::start_azure,
        ObjectServer::start_gcs,
    ];
    at_once(starts.to_vec(), |start| {
        let Some(server) = start() else {
            return;
        };
        let import = Import::on(server, "replaced", options());
        for (key, first, pack) in [("a.log", 0, PACKINGS[0]), ("b.log", 1000, PACKINGS[1])] {
            let run_with = |lines: Range<usize>| {
                let log = plain(first + lines.start..first + lines.end);
                import.bucket.put(key, pack(log));
                import.run(key).exits(0)
            };
            let imported = |ended: &Ended| ended.summary().get("imported");
            let assert_stored = |lines: &mut dyn Iterator<Item = usize>| {
                let all = numbers(&import.world.server).into_iter();
                let of_key = all.filter(|number| (first..first + 1000).contains(number));
                let of_key: Vec<usize> = of_key.map(|number| number - first).collect();
                assert_eq!(of_key, lines.collect::<Vec<_>>());
            };
            assert_eq!(imported(&run_with(0..100)), 100);
            // A longer one that begins with the same lines, then the same again.
            assert_eq!(imported(&run_with(0..150)), 50);
            assert_eq!(imported(&run_with(0..150)), 0);
            assert_stored(&mut (0..150));
            // Its first half, twice.
            for _ in 0..2 {
                let ended = run_with(0..75).says(&["already imported to its end"]);
                assert_eq!(imported(&ended), 0);
            }
            assert_stored(&mut (0..150));
            // Other content.
            let ended = run_with(500..600);
            ended.says(&["replaced since the last run; reading all of it"]);
            assert_stored(&mut (0..150).chain(500..600));
            assert_eq!(imported(&run_with(500..600)), 0);
        }
    });
}

#[test]
fn objects_that_grow_between_kills_are_imported_once() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    let slow = Options {
        delay: Duration::from_millis(20),
        ..options()
    };
    let mut import = Import::on(server, "growing", slow);
    import.world.args = import.world.args.replace("size=50", "size=10");
    let mut random = Random::new("objects that grow");
    let (mut lines, mut members) = (0, Vec::new());
    for round in 0..8 {
        // An appended blob, appended members, and an object that is packed anew.
        let added = lines..lines + 100;
        lines = added.end;
        import.bucket.put("a.log", plain(0..lines));
        members.extend(gzip(plain(10_000 + added.start..10_000 + added.end)));
        import.bucket.put("b.gz", &members);
        import
            .bucket
            .put("c.bz2", bzip2(plain(20_000..20_000 + lines)));
        if round == 7 {
            break;
        }
        let calls = import.world.calls() + random.within(3..20);
        let mut running = import.program().arg(import.bucket.url("")).start();
        until(LONGEST, || {
            running.has_ended() || import.world.calls() >= calls
        });
        if !running.has_ended() {
            running.signal(Signal::KILL);
        }
        let ended = assert_adds_up(running.end());
        assert!(matches!(ended.code, None | Some(0)), "{ended}");
    }
    import.run("").exits(0);
    let starts = [0, 10_000, 20_000].into_iter();
    import.assert_numbers(starts.flat_map(|start| start..start + lines));
}

#[test]
fn a_server_that_fails_leaves_the_rest_of_the_objects_to_the_next_run() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    let mut script = vec![None; 6];
    script.push(Some(Failure::Busy(503, None)));
    let failing = Options {
        faults: Faults {
            script,
            ..Faults::default()
        },
        ..options()
    };
    let import = Import::on(server, "failing", failing);
    put_mixed(&import.bucket, 30, 20);
    let program = import.program().args("--retry-max-attempts=1");
    assert_adds_up(program.arg(import.bucket.url("")).run()).exits(1);
    let stored = count(&import.world.server);
    assert!((1..600).contains(&stored), "{stored}");
    import.run("").exits(0);
    assert_each_once(&import.world.server, 600);
}

#[test]
fn listeners_in_objects_are_those_in_files() {
    let Some(import) = Import::new("listeners") else {
        return;
    };
    let log = fixture("icecast2");
    let lines: Vec<&str> = log.lines().collect();
    let folder = Folder::new();
    // Objects are read side by side, so their sessions must not get mixed up.
    for (number, lines) in lines.chunks(lines.len().div_ceil(3)).enumerate() {
        let name = format!("{number}.log");
        let part = lines.join("\n") + "\n";
        import.bucket.put(&name, &part);
        folder.write(&name, &part);
    }
    let run = |program: Program| {
        let server = started(options());
        let args = "--idsite=1 --log-format-name=icecast2 --enable-icecast-admin";
        assert_adds_up(program.to(&server).args(args).run()).exits(0);
        sorted_hits(&server)
    };
    let of_files = run(Program::new(&folder).args("0.log 1.log 2.log"));
    let program = import.reaching(Program::new(&folder), &import.server.endpoint());
    let of_objects = run(program.arg(import.bucket.url("")));
    assert!(of_files.len() > 10, "{}", of_files.len());
    assert_eq!(of_objects, of_files);
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_left_to_the_next_run() {
    let Some(import) = Import::new("replaced-while-read") else {
        return;
    };
    import.bucket.put("a.log", plain(0..10));
    import.bucket.put("b.log", plain(100..110));
    import.bucket.put("c.log", plain(1000..7000));
    let bucket = import.bucket.clone();
    let proxy = import.proxy(move |seen| {
        if is_object(seen, "b.log") && seen.attempt == 1 {
            bucket.put("b.log", plain(200..210));
        }
        if is_object(seen, "c.log") && seen.attempt == 2 {
            bucket.put("c.log", plain(8000..9000));
        }
        (is_object(seen, "c.log") && seen.attempt == 1).then_some(Fault::Cut)
    });
    let replaced = "it was replaced since it was listed; the new object is read next time";
    let ended = import.run_through(&proxy, "").exits(3);
    let said = ended.err.lines().filter(|line| line.contains(replaced));
    assert_eq!(said.count(), 2, "{ended}");
    let stored = numbers(&import.world.server);
    let (before, of_c) = stored.split_at(10);
    assert_eq!(before, Vec::from_iter(0..10));
    assert!(of_c.len() > 2000 && of_c.len() < 4000, "{}", of_c.len());
    assert_eq!(of_c, Vec::from_iter(1000..1000 + of_c.len()));
    let of_c = 1000..1000 + of_c.len();
    import.run("").exits(0);
    import.assert_numbers((0..10).chain(200..210).chain(of_c).chain(8000..9000));
}

#[test]
fn an_object_that_is_deleted_after_it_was_listed_is_reported() {
    let Some(import) = Import::new("deleted") else {
        return;
    };
    for object in 0..3 {
        let log = plain(object * 10..(object + 1) * 10);
        import.bucket.put(&format!("{object}.log"), log);
    }
    let bucket = import.bucket.clone();
    let proxy = import.proxy(move |seen| {
        if is_object(seen, "1.log") {
            bucket.delete("1.log");
        }
        None
    });
    let ended = import.run_through(&proxy, "").exits(3);
    ended.says(&["s3://deleted/1.log: ", "it is no longer in the bucket"]);
    import.assert_numbers((0..10).chain(20..30));
    import.run("").exits(0);
}

#[test]
fn objects_that_are_no_logs_do_not_stop_the_others() {
    let Some(import) = Import::new("no-logs") else {
        return;
    };
    let mut random = Random::new("binary");
    let binary: Vec<u8> = (0..5000).map(|_| random.below(256) as u8).collect();
    let zip = [b"PK\x03\x04\x14\0\0\0\x08\0".to_vec(), binary.clone()].concat();
    let mut cut_off = gzip(plain(20..400));
    cut_off.truncate(cut_off.len() / 2);
    for (key, content) in [
        ("0.log", plain(0..10).into_bytes()),
        ("binary", binary),
        ("cut-off.gz", cut_off),
        ("empty", Vec::new()),
        ("packed.zip", zip),
        ("z.log", plain(10..20).into_bytes()),
    ] {
        import.bucket.put(key, content);
    }
    let mut before = Vec::new();
    for _ in 0..2 {
        let ended = import.run("").exits(3).says(&[
            "s3://no-logs/binary: not a log: it begins with binary data",
            "s3://no-logs/cut-off.gz: reading stopped at byte ",
            "its gzip data is truncated",
            "s3://no-logs/packed.zip: a zip archive, not a log",
        ]);
        ended.hides("s3://no-logs/empty");
        let stored = numbers(&import.world.server);
        // What can be read of the object that is cut off is sent once.
        assert!(stored.len() > 30, "{stored:?}");
        assert_eq!(stored, Vec::from_iter(0..stored.len()));
        assert!(before.is_empty() || stored == before);
        before = stored;
    }
    import.run("empty").exits(3).says(&["s3://no-logs/empty: "]);
}

/// The latest time by which a hit comes after a later one of its visitor, in seconds.
fn lateness(server: &FakeMatomo) -> i64 {
    let mut latest: BTreeMap<String, i64> = BTreeMap::new();
    let mut most = 0;
    for hit in server.log().sent() {
        let time = NaiveDateTime::parse_from_str(text(&hit, "cdt"), "%Y-%m-%d %H:%M:%S");
        let time = time.unwrap().and_utc().timestamp();
        let latest = latest.entry(text(&hit, "cip").to_owned()).or_insert(time);
        most = most.max(*latest - time);
        *latest = time.max(*latest);
    }
    most
}

/// Imports logs as objects, and as files one after the other. Returns how late hits came.
fn late_of(import: &Import, logs: &[String], args: &str) -> (i64, i64) {
    let folder = Folder::new();
    for (number, log) in logs.iter().enumerate() {
        let name = format!("{number:03}.log");
        import.bucket.put(&name, log);
        folder.write(&name, log);
    }
    let run = |program: Program, server: &FakeMatomo| {
        let args = format!("--idsite=1 --recorders=1 {args}");
        let ended = assert_adds_up(program.to(server).args(&args).run()).exits(0);
        let lines: usize = logs.iter().map(|log| log.lines().count()).sum();
        assert_eq!(count(server), lines as u64, "{ended}");
        lateness(server)
    };
    let of_objects = started(options());
    let program = import.reaching(Program::new(&folder), &import.server.endpoint());
    let of_objects = run(program.arg(import.bucket.url("")), &of_objects);
    let of_files = started(options());
    let names = (0..logs.len()).map(|number| format!("{number:03}.log"));
    let program = names.fold(Program::new(&folder), Program::arg);
    (of_objects, run(program, &of_files))
}

const HALF_AN_HOUR: i64 = 1800;

#[test]
fn lines_of_the_same_hour_arrive_in_the_order_of_time() {
    for (args, bucket) in [("", "same-hour"), ("--keep-order", "same-hour-kept")] {
        let Some(import) = Import::new(bucket) else {
            return;
        };
        let logs: Vec<String> = (0..64_usize)
            .map(|server| {
                let line = |minute: usize| logs::line(minute * 60 + server, 11);
                (0..60).map(line).collect()
            })
            .collect();
        let (of_objects, of_files) = late_of(&import, &logs, args);
        assert!(of_files > HALF_AN_HOUR);
        assert!(of_objects < HALF_AN_HOUR, "{of_objects}");
    }
}

#[test]
fn lines_of_one_hour_after_the_other_arrive_in_the_order_of_time() {
    let Some(import) = Import::new("hours") else {
        return;
    };
    // Two servers, an object an hour each, a line a minute.
    let logs: Vec<String> = (0..24_usize)
        .flat_map(|hour| (0..2).map(move |server| (hour, server)))
        .map(|(hour, server)| {
            let line = |minute: usize| logs::line(hour * 3600 + minute * 60 + server, 11);
            (0..60).map(line).collect()
        })
        .collect();
    let (of_objects, of_files) = late_of(&import, &logs, "");
    assert!(of_files > HALF_AN_HOUR);
    assert!(of_objects < HALF_AN_HOUR, "{of_objects}");
}

#[test]
fn rare_lines_arrive_in_the_order_of_time() {
    let Some(import) = Import::new("rare-lines") else {
        return;
    };
    // A line every three minutes, in one of 40 objects: about two hours are between those of one.
    let mut random = Random::new("rare lines");
    let mut logs = vec![String::new(); 40];
    for number in 0..480 {
        let line = logs::line(number * 180, 1);
        logs[random.below(40) as usize] += &line;
    }
    assert!(logs.iter().all(|log| !log.is_empty()));
    let (of_objects, of_files) = late_of(&import, &logs, "");
    assert!(of_files > HALF_AN_HOUR);
    assert!(of_objects < HALF_AN_HOUR, "{of_objects}");
}

#[test]
fn objects_of_azure_and_google_are_imported_once() {
    let starts = [ObjectServer::start_azure, ObjectServer::start_gcs];
    at_once(starts.to_vec(), |start| {
        let Some(server) = start() else {
            return;
        };
        let slow = Options {
            delay: Duration::from_millis(30),
            ..options()
        };
        let import = Import::on(server, "others", slow);
        put_mixed(&import.bucket, 60, 20);
        let running = import.program().arg(import.bucket.url("logs/")).start();
        until(LONGEST, || count(&import.world.server) >= 100);
        running.signal(Signal::INT);
        running.end().exits(130);
        let stored = count(&import.world.server);
        assert!((100..1200).contains(&stored), "{stored}");
        import.run("logs/").exits(0);
        assert_each_once(&import.world.server, 1200);
        // New objects, before and after the others; and names with other characters.
        import.bucket.put("logs/0", plain(1200..1210));
        import
            .bucket
            .put("logs/a b+c%20d/ü.log", gzip(plain(1210..1220)));
        let ended = import.run("logs/").exits(0);
        assert_eq!(ended.summary().get("imported"), 20);
        assert_each_once(&import.world.server, 1220);
        assert_eq!(import.run("logs/").exits(0).summary().get("imported"), 0);
    });
}

#[test]
fn a_prefix_may_end_within_a_name_and_a_pattern_ends_at_a_slash() {
    let Some(import) = Import::new("names") else {
        return;
    };
    let keys = [
        "cdn/2024-05-01.log",
        "cdn/2024-05-02.log",
        "cdn/2024-05-02/a.log",
        "cdn/2024-06-01.log",
        "cdn2/2024-05-01.log",
        "cdn/x y+z%20ü/[1].log",
    ];
    for (number, key) in keys.iter().enumerate() {
        import.bucket.put(key, plain(number..number + 1));
    }
    let url = |prefix: &str| import.bucket.url(prefix);
    let found = |prefixes: &[&str]| {
        let server = started(options());
        let names = prefixes.iter().map(|prefix| url(prefix));
        let folder = Folder::new();
        let program = import.reaching(Program::new(&folder), &import.server.endpoint());
        let program = names.fold(program.to(&server).args("--idsite=1"), Program::arg);
        let ended = assert_adds_up(program.run()).exits(0);
        (numbers(&server), ended)
    };
    for (prefixes, expected) in [
        (vec!["cdn/2024-05"], vec![0, 1, 2]),
        (vec!["cdn/"], vec![0, 1, 2, 3, 5]),
        (vec!["cdn"], vec![0, 1, 2, 3, 4, 5]),
        (vec![""], vec![0, 1, 2, 3, 4, 5]),
        (vec!["cdn/*"], vec![0, 1, 3]),
        (vec!["*/2024-05-0?.log"], vec![0, 1, 4]),
        (vec!["cdn/*/*.log"], vec![2, 5]),
        (vec!["cdn/2024-0[67]*"], vec![3]),
        (vec!["cdn/x y+z%20ü/"], vec![5]),
        (
            vec!["cdn/2024-05-01.log", "cdn/", "cdn/*-05-*"],
            vec![0, 1, 2, 3, 5],
        ),
    ] {
        let (found, ended) = found(&prefixes);
        assert_eq!(found, expected, "{prefixes:?}");
        if prefixes.len() > 1 {
            ended.says(&["named more than once; it is read once", "repetitions"]);
        }
    }
}

#[test]
fn objects_files_and_standard_input_are_imported_in_one_run() {
    let Some(import) = Import::new("beside-files") else {
        return;
    };
    import.bucket.put("a.log", plain(10..20));
    import.bucket.put("b.log", gzip(plain(20..30)));
    let (first, last) = (plain(0..10), plain(40..50));
    import.world.folder.write("first.log", first);
    import.world.folder.write("last.log.gz", gzip(last));
    for run in 0..2 {
        let program = import.program().arg("first.log").arg(import.bucket.url(""));
        let program = program.args("- last.log.gz").stdin(match run {
            0 => plain(30..40),
            _ => plain(50..60),
        });
        assert_adds_up(program.run()).exits(0);
        assert_each_once(&import.world.server, 50 + run * 10);
    }
}

#[test]
fn more_objects_than_one_page_of_a_list_are_found() {
    let Some(import) = Import::new("pages") else {
        return;
    };
    at_once((0..4).collect(), |thread| {
        for number in (0..2100).filter(|number| number % 4 == thread) {
            let log = plain(number..number + 1);
            import.bucket.put(&format!("logs/{number}"), log);
        }
    });
    let proxy = import.proxy(|_| None);
    import.run_through(&proxy, "logs/").exits(0);
    assert_each_once(&import.world.server, 2100);
    assert_eq!(proxy.count("GET", "/pages/logs/"), 2100);
    import.run_through(&proxy, "logs/").exits(0);
    assert_eq!(proxy.seen().len(), 2100 + 2 * 3);
}

#[test]
fn names_that_lead_to_no_objects_are_explained() {
    let Some(import) = Import::new("wrong-names") else {
        return;
    };
    import.bucket.put("a.log", plain(0..3));
    let endpoint = &*import.server.endpoint();
    let (url, none) = ("s3://wrong-names/a.log", "s3://wrong-names/none/");
    let missing = "the name of the bucket is missing: s3://BUCKET/PREFIX";
    let scheme = "write it like https://";
    for (endpoint, name, code, said) in [
        (
            endpoint,
            "s3://no-such-bucket/a",
            3,
            "does not exist (NoSuchBucket)",
        ),
        (
            endpoint,
            none,
            3,
            "no object with content has a key like this; check the prefix",
        ),
        (
            endpoint,
            "s3://wrong-names/*.gz",
            3,
            "no object with content has a key like this",
        ),
        (endpoint, "s3://", 3, missing),
        (endpoint, "s3:///a", 3, missing),
        (
            endpoint,
            "s3://wrong names/a",
            3,
            "no bucket can have the name \"wrong names\"",
        ),
        (
            endpoint,
            "az://wrong-names/a",
            3,
            "set AZURE_STORAGE_ACCOUNT_NAME",
        ),
        ("127.0.0.1:9", url, 2, scheme),
        ("localhost", url, 2, scheme),
        ("", url, 2, scheme),
    ] {
        // The other logs are imported.
        let program = import.at(endpoint).args("--dry-run").arg(name).arg(url);
        let ended = assert_adds_up(program.run()).exits(code).says(&[said]);
        if code == 3 {
            assert_eq!(ended.summary().get("imported"), 3, "{ended}");
        }
        let program = import.at(endpoint).arg(name);
        assert_adds_up(program.run()).exits(code).says(&[said]);
    }
    let follow = import.program().args("--follow").arg(url);
    follow
        .run()
        .exits(2)
        .says(&["--follow reads files, and s3://"]);
}

#[test]
fn a_server_that_is_not_there_is_reported() {
    let Some(import) = Import::new("no-server") else {
        return;
    };
    let refused = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", refused.local_addr().unwrap());
    drop(refused);
    let url = import.bucket.url("");
    let cannot = format!("{url}: cannot be listed: HTTP error");
    let program = import.at(&endpoint).arg(url);
    let ended = program.run().exits(3);
    ended.says(&[&cannot, "Connection refused", "--endpoint-url"]);
}

#[test]
fn keys_that_cannot_be_read_are_reported() {
    let Some(import) = Import::new("odd-keys") else {
        return;
    };
    let unreadable = "a key has an empty part (//)";
    for (prefix, key, said) in [
        ("a", "a//b.log", unreadable),
        ("b", "b/../b.log", unreadable),
        ("c", "c/folder/", "it is no longer in the bucket"),
        ("d", "d/\x07.log", unreadable),
        ("/", "/e.log", "s3://odd-keys/"),
    ] {
        import.bucket.put(key, plain(0..3));
        import.run(prefix).exits(3).says(&["s3://odd-keys/", said]);
    }
    assert_eq!(count(&import.world.server), 0);
}

#[test]
fn a_blob_that_ends_within_a_line_is_continued_there() {
    let Some(server) = ObjectServer::start_azure() else {
        return;
    };
    let import = Import::on(server, "append-blob", options());
    let whole = plain(0..8);
    for length in [0, 3 * whole.len() / 8 + 10, whole.len() - 1, whole.len()] {
        if length > 0 {
            import.bucket.put("a.log", &whole[..length]);
        }
        import.bucket.put("b.log", plain(8..10));
        import.run("").exits(0);
    }
    assert_each_once(&import.world.server, 10);
}

#[test]
fn an_interrupted_import_of_objects_names_a_folder_to_resume_with() {
    let Some(server) = ObjectServer::start() else {
        return;
    };
    let slow = Options {
        delay: Duration::from_millis(30),
        ..options()
    };
    let import = Import::on(server, "interrupted", slow);
    put_mixed(&import.bucket, 40, 20);
    let program = || {
        let program = import.reaching(import.world.without_ledger(), &import.server.endpoint());
        program.arg(import.bucket.url("logs/"))
    };
    let running = program().start();
    until(LONGEST, || count(&import.world.server) >= 100);
    running.signal(Signal::INT);
    let ended = running.end().exits(130).says(&["--state-dir="]);
    let (_, folder) = ended.err.split_once("--state-dir=").unwrap();
    let folder = folder.split_whitespace().next().unwrap();
    assert!(import.world.folder.file(folder).is_dir(), "{folder}");
    let stored = count(&import.world.server);
    assert!((100..800).contains(&stored), "{stored}");
    let program = program().arg(format!("--state-dir={folder}"));
    assert_adds_up(program.run()).exits(0);
    assert_each_once(&import.world.server, 800);
}

#[test]
fn objects_in_the_ledger_are_shown_verified_and_forgotten() {
    let Some(import) = Import::new("ledger") else {
        return;
    };
    import.bucket.put("a.log", plain(0..10));
    import.bucket.put("b.log", gzip(plain(10..20)));
    import.run("").exits(0);
    let state = |args: &str| {
        let program = Program::new(&import.world.folder).arg("--state-dir=state");
        program.args(args).run()
    };
    state("--status").exits(0).prints(&[
        "s3://ledger/a.log: 10 lines done, to its end",
        "s3://ledger/b.log: 10 lines done, to its end",
    ]);
    for verify in ["--verify", "--verify=all"] {
        let program = import.program().arg(verify).arg(import.bucket.url(""));
        let found = ["20 hits of 2 logs are imported", " 0 hits are missing"];
        program.run().exits(0).prints(&found);
    }
    let not_there = "s3://ledger/none is not in the ledger";
    state("--forget=s3://ledger/none")
        .exits(1)
        .says(&[not_there]);
    let forgotten = "s3://ledger/a.log: forgotten";
    state("--forget=s3://ledger/a.log")
        .exits(0)
        .prints(&[forgotten]);
    let ended = import.run("").exits(0);
    assert_eq!(ended.summary().get("imported"), 10);
    assert_eq!(count(&import.world.server), 30);
}

#[test]
fn an_interrupt_ends_a_run_that_waits_for_a_bucket() {
    let Some(import) = Import::new("waiting") else {
        return;
    };
    import.bucket.put("a.log", plain(0..100));
    import.run("").exits(0);
    // It has to be compared with what it was.
    import.bucket.put("a.log", plain(0..150));
    import.bucket.put("b.log", plain(150..200));
    let stalls: [fn(&Seen) -> bool; 3] = [
        |seen| is_object(seen, "a.log"),
        |seen| is_object(seen, "b.log"),
        is_list,
    ];
    for stalls in stalls {
        let stall = Fault::Stall(Duration::from_secs(20));
        let proxy = import.proxy(move |seen| stalls(seen).then(|| stall.clone()));
        let program = import.at(&proxy.endpoint());
        let running = program.arg(import.bucket.url("")).start();
        until(LONGEST, || proxy.seen().iter().any(stalls));
        sleep(Duration::from_millis(300));
        let begun = Instant::now();
        running.signal(Signal::INT);
        running.end().exits(130);
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }
    import.run("").exits(0);
    assert_each_once(&import.world.server, 200);
}
