//! The sandbox over real HTTP: each row of what a Matomo does, and each fault.

mod api;
mod bulk;
mod client;
mod connections;
mod faults;
mod live;

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Faults, Options, Sandbox, Tokens};
use crate::secret::Secret;
use client::{Client, Response};

/// Long enough never to be waited for to its end.
const LONG: Duration = Duration::from_secs(20);

const SUPER: &str = "0123456789abcdef0123456789abcdef";
const WRITE: &str = "11111111111111111111111111111111";
const VIEW: &str = "22222222222222222222222222222222";

fn options() -> Options {
    Options {
        tokens: Tokens {
            super_user: Secret::new(SUPER),
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

fn sandbox(faults: Faults) -> Sandbox {
    start(Options {
        faults,
        ..options()
    })
}

fn start(options: Options) -> Sandbox {
    Sandbox::start(options).unwrap()
}

/// Noon so many days ago, as `cdt` has it.
fn noon(days_ago: i64) -> String {
    let day = Utc::now() - TimeDelta::days(days_ago);
    day.format("%Y-%m-%d 12:00:00").to_string()
}

/// A page view of site 1, three days ago, by a visitor of its own.
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

/// One batch on a connection of its own; `None` where it is closed without an answer.
fn send(sandbox: &Sandbox, requests: &[Value]) -> Option<Response> {
    Client::of(sandbox).track(&body(SUPER, requests))
}

/// The numbers in the urls of what is stored.
fn numbers(sandbox: &Sandbox) -> Vec<usize> {
    let stored = sandbox.store().hits().unwrap();
    let number = |hit: &Value| hit["url"].as_str()?.rsplit('/').next()?.parse().ok();
    stored.iter().filter_map(number).collect()
}
