//! The order of hits, the batch size and the concurrency are chosen to spare the server.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::support::fake::{FakeMatomo, Fault, Faults, Log, Options, TrackerCall, When};

use crate::support::logs::{self, log_of};
use crate::support::stored::{assert_each_once, fake_matomo, number, options, started, text};
use crate::support::{Ended, Folder, Program};

/// A random number generator with a fixed seed.
struct Random(u64);

impl Random {
    /// A number in `0..end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn import(server: &FakeMatomo, log: String, args: &str) -> Ended {
    Program::new(&Folder::with_log(log))
        .to(server)
        .args("--idsite=1 --log-format-name=ncsa_extended --retry-delay=0 access.log")
        .args(args)
        .run()
        .exits(0)
}

/// A line with this number, visitor, user agent and second of the day.
fn line(number: usize, visitor: usize, agent: usize, second: usize) -> String {
    let (hour, minute, rest) = (second / 3600 % 24, second / 60 % 60, second % 60);
    format!(
        "10.{}.{}.{} - - [14/May/2024:{hour:02}:{minute:02}:{rest:02} +0000] \"GET /page-{number} HTTP/1.1\" 200 512 \
         \"-\" \"Mozilla/5.0 (X11; Linux x86_64; rv:{agent}.0) Gecko/20100101 Firefox/{agent}.0\"\n",
        visitor >> 16,
        visitor >> 8 & 255,
        visitor & 255,
    )
}

/// 4,000 hits of 1,500 visitors with 536 user agents, a few common and many rare. Each visitor
/// views a few pages in a row.
fn usual_log() -> String {
    let mut random = Random(7);
    let mut agents: Vec<usize> = (0..1500).map(|visitor| visitor % 536).collect();
    for agent in &mut agents[536..] {
        let rare = random.below(536) + 1;
        *agent = random.below(rare);
    }
    let mut newest = None;
    let hits = (0..4000).map(|number: usize| {
        let arrived = number * 1500 / 4000;
        let visitor = match newest.replace(arrived) == Some(arrived) {
            true => arrived.saturating_sub(random.below(100)),
            false => arrived,
        };
        line(number, visitor, agents[visitor], number)
    });
    hits.collect()
}

/// How often Matomo has to look up a user agent: the sum of the distinct agents of each batch.
fn lookups(log: &Log) -> usize {
    let agents = |call: &TrackerCall| {
        let hits = call.requests();
        let agents: HashSet<&str> = hits.iter().map(|hit| text(hit, "ua")).collect();
        agents.len()
    };
    log.tracker.iter().map(agents).sum()
}

#[test]
fn hits_of_a_user_agent_share_batches() {
    let of = |args: &str| {
        let server = fake_matomo();
        import(&server, usual_log(), args);
        assert_each_once(&server, 4000);
        let log = server.log();
        let all: HashSet<String> = log
            .sent()
            .iter()
            .map(|hit| text(hit, "ua").to_owned())
            .collect();
        assert_eq!(all.len(), 536);
        lookups(&log)
    };
    let in_log_order = of("--keep-order --recorder-max-payload-size=200");
    let share = |args: &str| of(args) as f64 / in_log_order as f64;
    for args in [
        "",
        "--recorder-max-payload-size=200",
        "--recorders=4",
        "--recorders=8",
    ] {
        let share = share(args);
        println!("{args}: {share:.3} of {in_log_order}");
        assert!(share < 0.3, "{args}: {share} of {in_log_order}");
    }
}

#[test]
fn small_logs_are_sent_in_few_requests() {
    for recorders in [1, 2, 8] {
        let server = fake_matomo();
        import(
            &server,
            log_of(500, 100),
            &format!("--recorders={recorders}"),
        );
        assert_each_once(&server, 500);
        let requests = server.log().tracker.len();
        assert!(
            requests <= 3,
            "{requests} requests with {recorders} recorders"
        );
    }
}

/// Line numbers in the order in which they were sent.
fn sent(server: &FakeMatomo) -> Vec<usize> {
    server.log().sent().iter().map(number).collect()
}

#[test]
fn keep_order_sends_hits_in_the_order_of_the_log() {
    let server = fake_matomo();
    import(&server, usual_log(), "--keep-order");
    assert_eq!(sent(&server), (0..4000).collect::<Vec<_>>());
}

#[test]
fn replayed_requests_keep_their_order() {
    let server = fake_matomo();
    let log: String = (0..600)
        .map(|number| {
            let query = format!("matomo.php?idsite=1&rec=1&url=http%3A%2F%2Fa%2Fpage-{number}");
            line(number, number % 50, number % 7, number)
                .replace(&format!("page-{number} "), &format!("{query} "))
        })
        .collect();
    import(&server, log, "--replay-tracking");
    assert_eq!(sent(&server), (0..600).collect::<Vec<_>>());
}

/// The number of hits in each batch.
fn sizes(server: &FakeMatomo) -> Vec<usize> {
    let log = server.log();
    log.tracker.iter().map(|call| call.hits).collect()
}

/// A server on which each request takes this long, whatever its size.
fn steady(millis: u64) -> FakeMatomo {
    started(Options {
        delay: Duration::from_millis(millis),
        ..options()
    })
}

#[test]
fn batches_have_up_to_a_thousand_hits_from_the_start() {
    let server = steady(100);
    import(&server, log_of(20_000, 100), "");
    let sizes = sizes(&server);
    assert!(sizes.iter().all(|hits| *hits <= 1000), "{sizes:?}");
    assert!(sizes[0] > 750, "{sizes:?}");
}

#[test]
fn the_batch_size_option_is_obeyed() {
    let server = steady(0);
    import(
        &server,
        log_of(3000, 100),
        "--recorder-max-payload-size=300",
    );
    assert_eq!(sizes(&server), [300; 10]);
}

#[test]
fn bodies_stay_below_the_usual_limit_of_web_servers() {
    let server = started(Options {
        body_limit: Some(900_000),
        delay: Duration::from_millis(30),
        ..options()
    });
    let long = "x".repeat(800);
    let log: String = (0..3000)
        .map(|number| logs::page(&format!("/{long}/page-{number}"), number, 25))
        .collect();
    import(&server, log, "--recorder-max-payload-size=1000");
    let log = server.log();
    assert!(log.tracker.iter().all(|call| call.status == Some(200)));
    assert!(log.tracker.iter().any(|call| call.body.len() > 700_000));
    assert_each_once(&server, 3000);
}

#[test]
fn a_batch_size_that_was_too_large_is_not_tried_again() {
    let server = started(Options {
        body_limit: Some(50_000),
        ..options()
    });
    import(&server, log_of(5000, 100), "");
    assert_each_once(&server, 5000);
    let log = server.log();
    let refused = log.tracker.iter().filter(|call| call.status == Some(413));
    assert!(refused.count() < 4, "{:?}", sizes(&server));
}

/// For each request, the number of requests in flight halfway through it, itself included. When it
/// arrives, others may only be about to, because requests of the same length end and begin
/// together.
fn at_once(calls: &[TrackerCall]) -> Vec<usize> {
    let under_way = |call: &TrackerCall| {
        let halfway = call
            .ended
            .map_or(call.began, |ended| (call.began + ended) / 2);
        let beside = |other: &&TrackerCall| {
            other.began <= halfway && other.ended.is_none_or(|ended| ended > halfway)
        };
        calls.iter().filter(beside).count()
    };
    calls.iter().map(under_way).collect()
}

/// A server on which requests take twice as long if more than four are in flight.
fn crowded_above_four() -> FakeMatomo {
    started(Options {
        delay: Duration::from_millis(80),
        faults: Faults {
            crowd: std::num::NonZeroUsize::new(4),
            ..Faults::default()
        },
        ..options()
    })
}

#[test]
fn auto_finds_the_best_number_of_concurrent_requests() {
    let server = crowded_above_four();
    let args = "--recorders=auto --recorder-max-payload-size=5 --read-back=off";
    let ended = import(&server, log_of(2000, 400), args);
    assert_each_once(&server, 2000);
    let settled: usize = ended
        .err
        .split("settled on ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("the number is not reported: {ended}"));
    assert!((3..=6).contains(&settled), "{ended}");
    let log = server.log();
    let at_once = at_once(&log.tracker);
    let late = &at_once[at_once.len() / 2..];
    let mean = late.iter().sum::<usize>() as f64 / late.len() as f64;
    assert!((2.5..=6.0).contains(&mean), "{mean}: {at_once:?}");
}

#[test]
fn auto_reports_nothing_with_quiet() {
    let server = fake_matomo();
    let ended = import(&server, log_of(50, 10), "--recorders=auto --quiet");
    assert_eq!((ended.err.as_str(), ended.out.as_str()), ("", ""));
}

#[test]
fn an_invalid_number_of_recorders_is_an_error() {
    Program::new(&Folder::with_log(log_of(1, 1)))
        .args("--url=http://127.0.0.1:9/ --recorders=many access.log")
        .run()
        .exits(2)
        .says(&["--recorders=many", "auto"]);
}

#[test]
fn failures_reduce_the_number_of_concurrent_requests() {
    let server = started(Options {
        delay: Duration::from_millis(10),
        faults: Faults {
            rules: vec![(When::BusyAbove(4), Fault::RollBack)],
            ..Faults::default()
        },
        ..options()
    });
    let args = "--recorders=8 --recorder-max-payload-size=5 --retry-max-attempts=10";
    import(&server, log_of(2000, 400), args);
    assert_each_once(&server, 2000);
    let log = server.log();
    let failed = log.tracker.iter().filter(|call| call.status == Some(500));
    let failed = failed.count();
    assert!((1..40).contains(&failed), "{failed} requests failed");
}

/// A log of visitors who view pages in bursts, some of them with several user agents. Returns it
/// with its number of lines.
fn random_log(random: &mut Random) -> (String, usize) {
    let visitors = 1 + random.below(300);
    let agents = 1 + random.below(40);
    let lines = 1 + random.below(4000);
    let mut second = 0;
    let log = (0..lines).map(|number| {
        second += random.below(30);
        // A few visitors have most of the lines.
        let rare = random.below(visitors) + 1;
        let visitor = random.below(rare);
        let agent = match random.below(10) {
            0 => random.below(agents),
            _ => visitor % agents,
        };
        line(number, visitor, agent, second.min(86_399))
    });
    (log.collect(), lines)
}

/// The lines of each visitor in the order in which they were stored.
fn visits(server: &FakeMatomo) -> BTreeMap<String, Vec<usize>> {
    let mut visits: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for hit in server.store().hits().unwrap() {
        let visitor = text(&hit, "cip").to_owned();
        visits.entry(visitor).or_default().push(number(&hit));
    }
    visits
}

#[test]
fn hits_of_each_visitor_are_stored_in_order_with_any_options() {
    let mut random = Random(11);
    for _ in 0..5 {
        let (log, lines) = random_log(&mut random);
        for args in [
            "--keep-order",
            "",
            "--recorders=2",
            "--recorders=4",
            "--recorders=8",
            "--recorders=8 --keep-order",
            "--recorders=auto --recorder-max-payload-size=37",
            "--recorders=8 --recorder-max-payload-size=7",
        ] {
            let server = fake_matomo();
            import(&server, log.clone(), args);
            assert_each_once(&server, lines);
            for (visitor, hits) in visits(&server) {
                assert!(hits.is_sorted(), "{args}: {visitor}: {hits:?}");
            }
        }
    }
}
