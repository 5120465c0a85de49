//! A log of the calls that the fake received, and of their concurrency.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use import_logs::sandbox::ApiRequest;
use serde_json::Value;

use super::tokens::Role;

/// A copy of the log at some moment.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Tracking requests in the order of their arrival.
    pub tracker: Vec<TrackerCall>,
    /// API calls in the order of their arrival.
    pub api: Vec<ApiCall>,
    /// Calls of both kinds.
    pub calls: u64,
    /// The most tracking requests in progress at a time.
    pub busy_peak: usize,
    /// Connections opened.
    pub connections: u64,
    /// The most connections open at a time.
    pub connections_peak: usize,
}

impl Log {
    /// All hits that were sent, in the order of their arrival, whether they were stored or not.
    pub fn sent(&self) -> Vec<Value> {
        self.tracker
            .iter()
            .flat_map(TrackerCall::requests)
            .collect()
    }
}

#[derive(Clone, Debug)]
pub struct TrackerCall {
    /// Its number among all calls, from 1.
    pub number: u64,
    pub path: String,
    pub query: String,
    /// Names are in lower case. Values that are not text are left out.
    pub headers: Vec<(String, String)>,
    /// What its token allows.
    pub role: Role,
    pub hits: usize,
    /// Empty if the body was not read.
    pub body: Bytes,
    /// `None` while in progress, and if there was no response.
    pub status: Option<u16>,
    /// Arrival and end, since the start of the fake.
    pub began: Duration,
    pub ended: Option<Duration>,
}

impl TrackerCall {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Its hits; none if the body cannot be read.
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
    pub path: String,
    pub query: String,
    pub method: String,
    /// Without the token and passwords.
    pub form: BTreeMap<String, String>,
}

/// Fills the log as requests come and go.
#[derive(Clone)]
pub(super) struct Recorder {
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

impl Recorder {
    pub fn new(keep: bool) -> Self {
        Self {
            seen: Arc::default(),
            keep,
            start: Instant::now(),
        }
    }

    pub fn log(&self) -> Log {
        self.seen.0.lock().unwrap().log.clone()
    }

    pub fn wait_idle(&self, at_most: Duration) -> bool {
        let (seen, done) = &*self.seen;
        let (_seen, wait) = done
            .wait_timeout_while(seen.lock().unwrap(), at_most, |seen| seen.busy > 0)
            .unwrap();
        !wait.timed_out()
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection(&self) -> OpenConnection {
        let mut seen = self.seen.0.lock().unwrap();
        seen.open += 1;
        seen.log.connections += 1;
        seen.log.connections_peak = seen.log.connections_peak.max(seen.open);
        OpenConnection(self.clone())
    }

    /// Adds a tracking request. It is in progress until the guard is dropped.
    pub fn tracker(&self, head: &Parts) -> Underway {
        let mut seen = self.seen.0.lock().unwrap();
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
            recorder: self.clone(),
            index,
        }
    }

    /// Adds an API call without its password.
    pub fn api(&self, request: &Request<Bytes>, call: &ApiRequest) {
        let mut seen = self.seen.0.lock().unwrap();
        seen.log.calls += 1;
        if self.keep {
            let call = ApiCall {
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                method: call.method.clone(),
                form: call.parameters.clone(),
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
pub(super) struct OpenConnection(Recorder);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.seen.0.lock().unwrap().open -= 1;
    }
}

/// A tracking request in progress.
pub(super) struct Underway {
    recorder: Recorder,
    index: Option<usize>,
}

impl Underway {
    /// The number of tracking requests in progress, this one included.
    pub fn busy(&self) -> usize {
        self.recorder.seen.0.lock().unwrap().busy
    }

    pub fn note(&self, change: impl FnOnce(&mut TrackerCall)) {
        let mut seen = self.recorder.seen.0.lock().unwrap();
        if let Some(call) = self.index.and_then(|index| seen.log.tracker.get_mut(index)) {
            change(call);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let ended = self.recorder.start.elapsed();
        self.note(|call| call.ended = Some(ended));
        self.recorder.seen.0.lock().unwrap().busy -= 1;
        self.recorder.seen.1.notify_all();
    }
}
