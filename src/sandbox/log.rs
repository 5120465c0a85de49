//! What the sandbox saw: calls in order, how many at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;

use super::access::Role;
use super::locked;

/// A copy of what was seen until some moment.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Tracking requests in the order they came.
    pub tracker: Vec<TrackerCall>,
    /// API calls in the order they came.
    pub api: Vec<ApiCall>,
    /// Calls of both kinds.
    pub calls: u64,
    /// Most tracking requests in progress at once.
    pub busy_peak: usize,
    /// Connections opened.
    pub connections: u64,
    /// Most connections open at once.
    pub connections_peak: usize,
}

impl Log {
    /// All hits that were sent, in the order they came, whatever became of them.
    pub fn sent(&self) -> Vec<Value> {
        self.tracker
            .iter()
            .flat_map(TrackerCall::requests)
            .collect()
    }
}

#[derive(Clone, Debug)]
pub struct TrackerCall {
    /// Its place among all calls, from 1.
    pub number: u64,
    pub path: String,
    pub query: String,
    /// Names in lower case; values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// What its token allows.
    pub role: Role,
    pub hits: usize,
    /// Empty where it was not read.
    pub body: Bytes,
    /// `None` while in progress and where there was no answer.
    pub status: Option<u16>,
    /// When it came and was done with, counted from the sandbox's start.
    pub began: Duration,
    pub ended: Option<Duration>,
}

impl TrackerCall {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Its hits; none where the body cannot be read.
    pub fn requests(&self) -> Vec<Value> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(mut body)) => match body.remove("requests") {
                Some(Value::Array(requests)) => requests,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct ApiCall {
    /// Its place among all calls, from 1.
    pub number: u64,
    pub path: String,
    pub query: String,
    pub method: String,
    /// Without the token and passwords.
    pub form: BTreeMap<String, String>,
    pub role: Role,
}

/// Fills the log while requests come and go.
#[derive(Clone)]
pub(super) struct Watch {
    seen: Arc<(Mutex<Seen>, Condvar)>,
    keep: bool,
    start: Instant,
}

#[derive(Default)]
struct Seen {
    log: Log,
    busy: usize,
    open: usize,
}

impl Watch {
    pub fn new(keep: bool) -> Self {
        Self {
            seen: Arc::default(),
            keep,
            start: Instant::now(),
        }
    }

    pub fn log(&self) -> Log {
        locked(&self.seen.0).log.clone()
    }

    pub fn wait_idle(&self, at_most: Duration) -> bool {
        let (seen, done) = &*self.seen;
        let (_seen, wait) = done
            .wait_timeout_while(locked(seen), at_most, |seen| seen.busy > 0)
            .unwrap_or_else(PoisonError::into_inner);
        !wait.timed_out()
    }

    /// A connection was opened; it is open until the guard is dropped.
    pub fn connection(&self) -> Open {
        let mut seen = locked(&self.seen.0);
        seen.open += 1;
        seen.log.connections += 1;
        seen.log.connections_peak = seen.log.connections_peak.max(seen.open);
        Open(self.clone())
    }

    /// A tracking request came; it is in progress until the guard is dropped.
    pub fn tracker(&self, head: &Parts) -> Underway {
        let mut seen = locked(&self.seen.0);
        seen.busy += 1;
        seen.log.calls += 1;
        seen.log.busy_peak = seen.log.busy_peak.max(seen.busy);
        let call = TrackerCall {
            number: seen.log.calls,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: texts(head),
            role: Role::None,
            hits: 0,
            body: Bytes::new(),
            status: None,
            began: self.start.elapsed(),
            ended: None,
        };
        let index = self.keep.then(|| {
            seen.log.tracker.push(call);
            seen.log.tracker.len() - 1
        });
        Underway {
            watch: self.clone(),
            index,
        }
    }

    /// An API call came. The form holds no secrets any more.
    pub fn api(&self, head: &Parts, method: &str, form: &BTreeMap<String, String>, role: Role) {
        let mut seen = locked(&self.seen.0);
        seen.log.calls += 1;
        if self.keep {
            let call = ApiCall {
                number: seen.log.calls,
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                method: method.to_owned(),
                form: form.clone(),
                role,
            };
            seen.log.api.push(call);
        }
    }
}

fn texts(head: &Parts) -> Vec<(String, String)> {
    let headers = head.headers.iter();
    headers
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// An open connection.
pub(super) struct Open(Watch);

impl Drop for Open {
    fn drop(&mut self) {
        locked(&self.0.seen.0).open -= 1;
    }
}

/// A tracking request in progress.
pub(super) struct Underway {
    watch: Watch,
    index: Option<usize>,
}

impl Underway {
    /// Tracking requests in progress now, this one included.
    pub fn busy(&self) -> usize {
        locked(&self.watch.seen.0).busy
    }

    pub fn note(&self, change: impl FnOnce(&mut TrackerCall)) {
        let mut seen = locked(&self.watch.seen.0);
        if let Some(call) = self.index.and_then(|index| seen.log.tracker.get_mut(index)) {
            change(call);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let ended = self.watch.start.elapsed();
        self.note(|call| call.ended = Some(ended));
        locked(&self.watch.seen.0).busy -= 1;
        self.watch.seen.1.notify_all();
    }
}
