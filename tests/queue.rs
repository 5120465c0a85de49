//! `--sqs-queue`: workers import the objects that a queue announces.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::objects::put_mixed;
use crate::reliability::random::Random;
use crate::support::clock::{LONGEST, until};
use crate::support::fake::{FakeMatomo, Options};
use crate::support::folder::gzip;
use crate::support::objects::{Bucket, Fault, FaultyProxy, ObjectServer, Queue, share};
use crate::support::stored::{assert_each_once, count, numbers, options, started};
use crate::support::{Ended, Folder, Program, at_once, logs};

/// `--request-timeout`. A message is hidden from other workers four times as long.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same where a test waits for that.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a worker says that others may have replaced.
const LOST: &str = "other workers may have its messages";

/// A server, a bucket, and a queue that announces its objects.
struct World {
    server: FakeMatomo,
    folder: Folder,
    objects: ObjectServer,
    bucket: Bucket,
    queue: Queue,
    endpoint: String,
    timeout: Duration,
}

impl World {
    /// `None` where there is no S3: the test is skipped.
    fn new(name: &str, options: Options) -> Option<Self> {
        let objects = ObjectServer::start_with_queues()?;
        let (bucket, queue) = (objects.bucket(name), objects.queue(name));
        bucket.announce_in(&queue);
        Some(Self {
            server: started(options),
            folder: Folder::new(),
            endpoint: objects.endpoint(),
            timeout: TIMEOUT,
            objects,
            bucket,
            queue,
        })
    }

    /// Puts numbered lines into objects of different formats and packings.
    fn fill(&self, objects: usize, lines: usize) {
        put_mixed(&self.bucket, objects, lines);
    }

    fn worker(&self) -> Program {
        let mut program = Program::new(&self.folder)
            .to(&self.server)
            .args("--idsite=1 --retry-delay=0 --recorder-max-payload-size=20 --recorders=2")
            .arg(format!("--request-timeout={}", self.timeout.as_secs()))
            .arg(format!("--endpoint-url={}", self.endpoint))
            .arg(format!("--sqs-queue={}", self.queue.url()))
            .limit(3 * LONGEST);
        for (name, value) in self.objects.environment() {
            program = program.env(name, &value);
        }
        program
    }

    /// Works until the queue is empty. On a slow machine, a worker may lose its messages to others.
    fn drain(&self) -> Ended {
        loop {
            let ended = self.worker().arg("--drain").run();
            if !ended.err.contains(LOST) {
                return ended;
            }
        }
    }
}

#[test]
fn four_workers_import_each_line_once() {
    let Some(world) = World::new("four-workers", options()) else {
        return;
    };
    world.fill(100, 20);
    let workers: Vec<_> = (0..4)
        .map(|_| world.worker().arg("--drain").start())
        .collect();
    let ended: Vec<Ended> = workers
        .into_iter()
        .map(|worker| worker.end().exits(0))
        .collect();
    assert_each_once(&world.server, 2000);
    assert_eq!(world.queue.count(), 0);
    let busy = ended
        .iter()
        .filter(|ended| !ended.out.contains("    0 requests imported succ"));
    assert!(busy.count() > 1);
    // Nothing is left for another one.
    world.drain().exits(0);
    assert_eq!(count(&world.server), 2000);
}

#[test]
fn killed_workers_lose_and_double_no_line() {
    let kills = AtomicUsize::new(0);
    let rows = vec![("killed-1", 500, 6, 3), ("killed-2", 60, 20, 6)];
    at_once(rows, |(name, objects, lines, most)| {
        let delay = Duration::from_millis(20);
        let Some(mut world) = World::new(name, Options { delay, ..options() }) else {
            return;
        };
        world.timeout = SHORT_TIMEOUT;
        world.fill(objects, lines);
        let faults = vec![Fault::SLOW_DOWN, Fault::Close, Fault::Cut];
        let proxy = FaultyProxy::start(&world.endpoint, share(7, 20, 2, faults));
        world.endpoint = proxy.endpoint();
        let mut random = Random::new(name);
        let mut workers: Vec<_> = (0..4)
            .map(|_| world.worker().arg("--drain").start())
            .collect();
        for _ in 0..most {
            let calls = world.server.log().calls + random.within(1..12);
            until(LONGEST, || {
                world.server.log().calls >= calls || workers.iter_mut().all(|it| it.has_ended())
            });
            sleep(Duration::from_millis(random.below(50)));
            let mut worker = workers.remove(random.below(workers.len() as u64) as usize);
            if !worker.has_ended() {
                worker.signal(Signal::KILL);
                kills.fetch_add(1, Relaxed);
            }
            worker.end();
            workers.push(world.worker().arg("--drain").start());
        }
        for worker in workers {
            let ended = worker.end();
            assert!(ended.code == Some(0) || ended.err.contains(LOST), "{ended}");
        }
        world.drain().exits(0);
        let stored = numbers(&world.server);
        let doubled: Vec<usize> = stored
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect();
        assert!(doubled.is_empty(), "{name}: {doubled:?}");
        assert_eq!(stored.len(), objects * lines, "{name}");
        assert_eq!(world.queue.count(), 0);
    });
    let kills = kills.into_inner();
    assert!(kills == 0 || kills > 5, "{kills}");
}

/// They wait until messages are received again, so they wait side by side.
#[test]
fn messages_that_are_not_deleted_come_again() {
    let tests: Vec<fn()> = vec![
        a_worker_that_is_stopped_for_too_long_sends_nothing_more,
        messages_of_objects_that_cannot_be_imported_become_dead_letters,
        a_signal_ends_a_worker_which_gives_its_messages_back,
    ];
    at_once(tests, |test| test());
}

fn a_worker_that_is_stopped_for_too_long_sends_nothing_more() {
    let delay = Duration::from_millis(50);
    let Some(mut world) = World::new("stopped", Options { delay, ..options() }) else {
        return;
    };
    world.timeout = SHORT_TIMEOUT;
    world.fill(20, 40);
    let stopped = world.worker().start();
    until(LONGEST, || world.server.log().calls > 8);
    stopped.signal(Signal::STOP);
    let begun = Instant::now();
    assert!(count(&world.server) < 800);
    world.drain().exits(0);
    assert_each_once(&world.server, 800);
    let hidden = 4 * SHORT_TIMEOUT;
    sleep((hidden + Duration::from_secs(1)).saturating_sub(begun.elapsed()));
    stopped.signal(Signal::CONT);
    let ended = stopped.end().exits(1);
    assert!(ended.err.contains(LOST), "{ended}");
    assert_each_once(&world.server, 800);
}

fn messages_of_objects_that_cannot_be_imported_become_dead_letters() {
    let Some(world) = World::new("dead-letters", options()) else {
        return;
    };
    let dead = world.objects.queue("dead-letters-dead");
    world.queue.fail_after(1, &dead);
    world.fill(6, 10);
    world
        .bucket
        .put("cdn/binary", [0_u8, 1, 2, 3, 255].repeat(100));
    world.bucket.put("cdn/text", "this is no log\n".repeat(50));
    world.bucket.put("cdn/cut.gz", {
        let packed = gzip(
            (60..70)
                .map(|number| logs::line(number, 25))
                .collect::<String>(),
        );
        packed[..packed.len() - 4].to_vec()
    });
    world.bucket.put("cdn/deleted", "x");
    world.bucket.delete("cdn/deleted");
    world.queue.send("not a notification");
    let ended = world.drain().exits(3);
    for name in [
        "cdn/binary",
        "cdn/text",
        "cdn/cut.gz",
        "cdn/deleted",
        "announces no object",
    ] {
        assert!(ended.err.contains(name), "{name}: {ended}");
    }
    assert_each_once(&world.server, 70);
    // They are moved when they would be received again.
    until(LONGEST, || {
        world.queue.bodies();
        dead.count() == 5
    });
    assert_eq!(world.queue.count(), 0);
    let bodies = dead.bodies().concat();
    for name in ["binary", "text", "cut.gz", "deleted", "not a notification"] {
        assert!(bodies.contains(name), "{name}: {bodies}");
    }
}

#[test]
fn an_object_is_imported_once_however_often_it_is_announced() {
    let Some(world) = World::new("announced", options()) else {
        return;
    };
    let log = |numbers: std::ops::Range<usize>| -> String {
        numbers.map(|number| logs::line(number, 25)).collect()
    };
    world.bucket.put("a", log(0..10));
    world.bucket.put("replaced", log(90..99));
    world.bucket.put("replaced", log(10..20));
    let record = json!({
        "eventName": "s3:ObjectCreated:Copy",
        "s3": { "bucket": { "name": "announced" }, "object": { "key": "a" } },
    });
    let body = json!({ "Records": [record, record] }).to_string();
    world.queue.send(&body);
    world
        .queue
        .send(&json!({ "Type": "Notification", "Message": body }).to_string());
    let worker = world.worker().start();
    until(LONGEST, || world.queue.count() == 0);
    // Later, too.
    world.queue.send(&body);
    until(LONGEST, || world.queue.count() == 0);
    worker.signal(Signal::TERM);
    let ended = worker.end().exits(0);
    assert!(
        ended.err.contains("replaced since it was announced"),
        "{ended}"
    );
    assert_each_once(&world.server, 20);
}

fn a_signal_ends_a_worker_which_gives_its_messages_back() {
    let delay = Duration::from_millis(50);
    let Some(mut world) = World::new("signal", Options { delay, ..options() }) else {
        return;
    };
    world.timeout = SHORT_TIMEOUT;
    world.fill(30, 20);
    let worker = world.worker().start();
    until(LONGEST, || world.server.log().calls > 5);
    worker.signal(Signal::TERM);
    worker.end().exits(0);
    let stored = numbers(&world.server).len();
    assert!(stored > 0 && stored < 600, "{stored}");
    world.drain().exits(0);
    assert_each_once(&world.server, 600);
}

#[test]
fn wrong_options_and_a_missing_queue_are_named() {
    let folder = Folder::new();
    let program = || Program::new(&folder).args("--url=http://127.0.0.1:9 --idsite=1");
    let wrong = |args: &str, expected: &str| {
        let ended = program().args(args).run().exits(2);
        assert!(ended.err.contains(expected), "{args}: {ended}");
    };
    let queue = "--sqs-queue=http://127.0.0.1:9/1/q";
    wrong("--sqs-queue=objects", "write it like https://sqs.");
    wrong(&format!("{queue} access.log"), "cannot be used with");
    wrong(
        &format!("{queue} --state-dir=state"),
        "needs no --state-dir",
    );
    wrong(&format!("{queue} --follow"), "--follow");
    wrong(&format!("{queue} --dry-run"), "--dry-run");
    wrong(&format!("{queue} --shard=1/2"), "remove --shard");
    wrong(&format!("{queue} --privacy=cnil"), "use --anonymize-ip");
    wrong("--drain access.log", "--drain needs --sqs-queue");
    let Some(world) = World::new("missing", options()) else {
        return;
    };
    let missing = format!("--sqs-queue={}-not", world.queue.url());
    let ended = world.worker().arg(missing).run().exits(1);
    assert!(ended.err.contains("queue does not exist"), "{ended}");
}
