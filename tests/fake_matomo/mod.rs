//! Tests of the fake Matomo over real HTTP: normal behaviour and each fault.

mod api;
mod bulk;
mod client;
mod connections;
mod faults;
mod live;

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use import_logs::secret::Secret;
use serde_json::{Value, json};

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, Tokens};
use crate::support::until;
use client::{Client, Reply};

/// Longer than any test should wait.
const LONG: Duration = Duration::from_secs(20);

const WRITE: &str = "11111111111111111111111111111111";
const VIEW: &str = "22222222222222222222222222222222";

fn options() -> Options {
    Options {
        tokens: Tokens {
            write: Some(Secret::new(WRITE)),
            view: Some(Secret::new(VIEW)),
        },
        ..Options::fixed(
            &[
                (1, "http://www.example.com"),
                (2, "https://stream.example.org"),
            ],
            &[("www.example.com", 1), ("stream.example.org", 2)],
        )
    }
}

fn faulty(faults: Faults) -> FakeMatomo {
    FakeMatomo::start(Options {
        faults,
        ..options()
    })
}

fn faultless() -> FakeMatomo {
    faulty(Faults::default())
}

/// Noon this many days ago, as a `cdt`.
fn noon(days_ago: i64) -> String {
    let day = Utc::now() - TimeDelta::days(days_ago);
    day.format("%Y-%m-%d 12:00:00").to_string()
}

/// A page view of site 1 three days ago. Each number has its own visitor.
fn hit(number: usize) -> Value {
    json!({
        "rec": 1, "apiv": 1, "idsite": 1, "cip": format!("10.0.0.{number}"), "cdt": noon(3), "ua": "Agent",
        "url": format!("http://www.example.com/{number}"), "pv_id": format!("p{number:05}"),
    })
}

fn hits(count: usize) -> Vec<Value> {
    (0..count).map(hit).collect()
}

fn body(token: &str, requests: &[Value]) -> Vec<u8> {
    json!({"token_auth": token, "requests": requests})
        .to_string()
        .into_bytes()
}

/// The body of a batch with the super user's token.
fn good_body(matomo: &FakeMatomo, requests: &[Value]) -> Vec<u8> {
    body(matomo.token().expose(), requests)
}

/// Sends a batch on a new connection. Returns `None` if it is closed without a response.
fn send(matomo: &FakeMatomo, requests: &[Value]) -> Option<Reply> {
    Client::of(matomo).track(&good_body(matomo, requests))
}

/// The first tracking request takes longer than others.
fn slow_first() -> Faults {
    Faults {
        script: vec![Some(Fault::CommitLate(Duration::from_millis(500)))],
        ..Faults::default()
    }
}

/// Sends a batch, and another while the server works on it. Returns both replies.
fn send_during(matomo: &FakeMatomo, slow: &[Value], quick: &[Value]) -> [Reply; 2] {
    std::thread::scope(|scope| {
        let first = scope.spawn(|| send(matomo, slow).unwrap());
        let is_working = || {
            matomo
                .log()
                .tracker
                .first()
                .is_some_and(|call| call.hits > 0)
        };
        assert!(until(LONG, is_working));
        let second = send(matomo, quick).unwrap();
        [first.join().unwrap(), second]
    })
}

/// The numbers in the URLs of the stored hits.
fn numbers(matomo: &FakeMatomo) -> Vec<usize> {
    let stored = matomo.store().hits().unwrap();
    let number = |hit: &Value| hit["url"].as_str()?.rsplit('/').next()?.parse().ok();
    stored.iter().filter_map(number).collect()
}
