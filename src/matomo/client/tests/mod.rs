//! The client against a real server: what is sent, and what is seen of every way to fail.

mod authority;
mod seen;
mod sent;
mod tls;

use super::super::exchange::Cause;
use super::super::test_server::{Act, Server, reply};
use super::*;

const OK: &str = r#"{"status":"success","tracked":1,"invalid":0}"#;

fn options(url: &str) -> ClientOptions {
    ClientOptions {
        url: url.into(),
        tracker_path: "/piwik.php".into(),
        timeout: Duration::from_secs(20),
        connections: 2,
        ..ClientOptions::default()
    }
}

fn client(url: &str) -> Client {
    Client::new(&options(url)).unwrap()
}

fn answered(exchange: &Exchange) -> &Answer {
    match &exchange.seen {
        Seen::Answer(answer) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn not_sent(exchange: &Exchange) -> (Cause, &str) {
    match &exchange.seen {
        Seen::NotSent { cause, detail } => (*cause, detail),
        other => panic!("sent: {other:?}"),
    }
}
