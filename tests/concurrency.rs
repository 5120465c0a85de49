//! Several recorders send as many requests concurrently, and keep the order of each visitor's hits.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::fake::{FakeMatomo, Log, Options};

use crate::support::stored::{assert_each_once, number, options, started, text};
use crate::support::{Folder, Program, logs};

/// A server slow enough for requests to overlap.
fn slow() -> FakeMatomo {
    started(Options {
        delay: Duration::from_millis(40),
        ..options()
    })
}

fn import(server: &FakeMatomo, log: String, recorders: usize) -> Log {
    Program::new(&Folder::with_log(log))
        .to(server)
        .args("--idsite=1 --recorder-max-payload-size=5 access.log")
        .arg(format!("--recorders={recorders}"))
        .run()
        .exits(0);
    server.log()
}

#[test]
fn eight_recorders_keep_the_server_busy() {
    let server = slow();
    let log = import(&server, logs::log_of(600, 100), 8);
    assert_each_once(&server, 600);
    assert!(
        (6..=8).contains(&log.busy_peak),
        "{} requests in flight",
        log.busy_peak
    );
    assert!(
        log.connections_peak <= 8 + 2,
        "{} connections",
        log.connections_peak
    );
}

#[test]
fn one_recorder_sends_one_request_at_a_time() {
    let server = slow();
    let log = import(&server, logs::log_of(100, 100), 1);
    assert_each_once(&server, 100);
    assert_eq!(log.busy_peak, 1);
    assert!(
        log.connections_peak <= 1 + 2,
        "{} connections",
        log.connections_peak
    );
}

#[test]
fn connections_are_reused() {
    let server = started(options());
    let log = import(&server, logs::log_of(600, 100), 4);
    assert!(log.tracker.len() >= 120);
    assert!(log.connections <= 4 + 2, "{} connections", log.connections);
}

#[test]
fn the_first_batch_of_a_site_and_day_is_sent_alone() {
    let server = slow();
    let log = import(&server, logs::log_of(300, 100), 8);
    let first = &log.tracker[0];
    let others = log.tracker[1..].iter();
    assert!(others.map(|call| call.began).min() >= first.ended);
}

/// A log in which every third line has a user.
fn with_users(lines: usize) -> String {
    let each = (0..lines).map(|number| {
        let line = logs::line(number, 40);
        match number % 3 {
            0 => line.replacen(" - - ", &format!(" - user{} ", number % 7), 1),
            _ => line,
        }
    });
    each.collect()
}

#[test]
fn hits_of_a_visitor_are_sent_in_order_and_never_concurrently() {
    let server = slow();
    let log = import(&server, with_users(500), 8);
    assert_each_once(&server, 500);
    assert!(log.busy_peak > 1);
    // For each visitor: when each request began and ended, and the line that it is for.
    let mut visits: HashMap<String, Vec<(Duration, Duration, usize)>> = HashMap::new();
    for call in &log.tracker {
        for hit in call.requests() {
            let visitor = [text(&hit, "uid"), text(&hit, "cip")]
                .into_iter()
                .find(|name| !name.is_empty());
            let visits = visits.entry(visitor.unwrap().to_owned()).or_default();
            visits.push((call.began, call.ended.unwrap(), number(&hit)));
        }
    }
    assert_eq!(visits.len(), 40 + 7, "visitors");
    for (visitor, hits) in visits {
        for pair in hits.windows(2) {
            let ((began, ended, line), (next, _, later)) = (pair[0], pair[1]);
            assert!(line < later, "{visitor}: line {later} before {line}");
            assert!(
                began == next || ended <= next,
                "{visitor}: two requests overlap"
            );
        }
    }
}
