//! Matomo's own queue, the plugin QueuedTracking: hits wait in sets until a worker stores them.
//! It behaves as version 5.1.1 was seen to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Request, Response};
use import_logs::sandbox::http::html;
use import_logs::sandbox::{HitStore, Responder};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::tokens::Role;
use super::{Batch, Fault, Faulty, GIF, Roles, Work, with_header};

/// The state of the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plugin {
    Inactive,
    /// Active, but hits are stored at once.
    #[default]
    SwitchedOff,
    /// This many queues, each with a worker of its own.
    Workers(usize),
}

/// What one request leaves in one queue.
struct Set {
    request: Request<Bytes>,
    token: Option<String>,
    hits: Vec<(Value, Role)>,
    role: Role,
}

/// The queues of all workers.
#[derive(Default)]
pub(super) struct Queues {
    sets: Mutex<Vec<VecDeque<Set>>>,
    is_off: AtomicBool,
    /// Part of the URL of hits that a worker fails at.
    poison: Mutex<Option<String>>,
    /// A site that the tracker does not know any more.
    gone: Mutex<Option<i64>>,
}

impl Queues {
    pub fn new(plugin: Plugin) -> Self {
        let workers = match plugin {
            Plugin::Inactive | Plugin::SwitchedOff => 0,
            Plugin::Workers(workers) => workers,
        };
        Self {
            sets: Mutex::new((0..workers).map(|_| VecDeque::new()).collect()),
            ..Self::default()
        }
    }

    /// Whether the hits of a request go into a queue. Only the query decides about that.
    pub fn takes(&self, request: &Request<Bytes>) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        let asked = pairs.filter(|(name, _)| name == "queuedtracking").last();
        let is_direct =
            asked.is_some_and(|(_, value)| !value.is_empty() && value.trim_matches('0').is_empty());
        !is_direct && !self.is_off.load(Ordering::Relaxed) && !self.sets.lock().unwrap().is_empty()
    }

    fn push(&self, request: &Request<Bytes>, batch: Batch, roles: Roles) {
        let mut queues = self.sets.lock().unwrap();
        let workers = queues.len();
        let mut parts: Vec<Vec<(Value, Role)>> = vec![Vec::new(); workers];
        for (hit, role) in batch.requests.into_iter().zip(roles.hits) {
            parts[queue_of(&hit, workers)].push((hit, role));
        }
        for (queue, hits) in queues.iter_mut().zip(parts) {
            if !hits.is_empty() {
                queue.push_back(Set {
                    request: request.clone(),
                    token: batch.token.clone(),
                    hits,
                    role: roles.batch,
                });
            }
        }
    }

    fn pop(&self, worker: usize) -> Option<Set> {
        self.sets.lock().unwrap().get_mut(worker)?.pop_front()
    }
}

/// The worker of a hit: the third hexadecimal digit of its visitor decides. The visitor is the
/// user, hashed with SHA-1, else the visitor id, else the address, hashed with MD5.
fn queue_of(hit: &Value, workers: usize) -> usize {
    let text = |key: &str| hit[key].as_str().filter(|text| !text.is_empty());
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let visitor = match (text("uid"), text("cid"), text("cip")) {
        (Some(user), ..) => {
            let hash =
                ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, user.as_bytes());
            hex(hash.as_ref())
        }
        (None, Some(id), _) => id.to_owned(),
        (None, None, address) => hex(&Md5::digest(address.unwrap_or_default().as_bytes())),
    };
    let digit = visitor.chars().nth(2).and_then(|digit| digit.to_digit(16));
    digit.unwrap_or(0) as usize % workers
}

impl Faulty {
    /// Puts a batch into the queue. Matomo takes all of it or nothing.
    pub(super) async fn enqueue(
        &self,
        request: Request<Bytes>,
        batch: Batch,
        roles: Roles,
        fault: Option<Fault>,
        store: &HitStore,
    ) -> Option<Response<Bytes>> {
        let wait = fault.as_ref().map_or(Duration::ZERO, Fault::work);
        tokio::time::sleep(self.options.delay + wait).await;
        match &fault {
            // The queue itself failed.
            Some(Fault::RollBack) => return Some(gif(500)),
            Some(fault) => {
                if let Some(response) = fault.instead(batch.requests.len()).await {
                    return response;
                }
            }
            None => {}
        }
        let is_known = |hit: &Value| {
            let site = match &hit["idsite"] {
                Value::String(text) => text.parse().ok(),
                site => site.as_i64(),
            };
            let gone = *self.queues.gone.lock().unwrap();
            site.is_some_and(|site| Some(site) != gone && store.site(site).unwrap().is_some())
        };
        if !batch.requests.iter().all(is_known) || roles.hits.iter().any(|it| *it < Role::Write) {
            return Some(gif(400));
        }
        self.queues.push(&request, batch, roles);
        match fault {
            Some(fault) => fault.spoil(gif(200)).await,
            None => Some(gif(200)),
        }
    }

    /// Stores the oldest set of a queue. Returns whether there was one.
    fn work_off(&self, worker: usize) -> bool {
        let Some(mut set) = self.queues.pop(worker) else {
            return false;
        };
        // A hit that fails takes those behind it along.
        if let Some(poison) = &*self.queues.poison.lock().unwrap() {
            let is_poison =
                |(hit, _): &(Value, Role)| hit["url"].as_str().unwrap_or_default().contains(poison);
            let end = set.hits.iter().position(is_poison);
            set.hits.truncate(end.unwrap_or(set.hits.len()));
        }
        if set.hits.is_empty() {
            return true;
        }
        let responder: &Arc<Responder> = self.responder.get().unwrap();
        let (requests, hits): (Vec<Value>, Vec<Role>) = set.hits.into_iter().unzip();
        let body = json!({"token_auth": set.token, "requests": requests});
        let work = Work {
            request: set.request.map(|_| Bytes::from(body.to_string())),
            batch: Batch {
                token: set.token,
                requests,
                silent: false,
            },
            roles: Roles {
                hits,
                batch: set.role,
            },
            fault: None,
        };
        let urls = self.actions.lock().unwrap().begin(work.urls());
        let response = work.store(responder, |hit| self.leaves_out(hit));
        assert_eq!(response.status(), 200);
        self.commit_actions(&urls, responder.store());
        true
    }
}

fn gif(status: u16) -> Response<Bytes> {
    let response = html(status).map(|_| Bytes::from_static(GIF));
    with_header(response, "content-type", "image/gif")
}

/// Works the queue off as a test asks for it.
pub struct Queue {
    faulty: Arc<Faulty>,
}

impl Queue {
    pub(super) fn new(faulty: &Arc<Faulty>) -> Self {
        Self {
            faulty: Arc::clone(faulty),
        }
    }

    /// The hits in each queue.
    pub fn waiting(&self) -> Vec<usize> {
        let queues = self.faulty.queues.sets.lock().unwrap();
        let hits = |sets: &VecDeque<Set>| sets.iter().map(|set| set.hits.len()).sum();
        queues.iter().map(hits).collect()
    }

    /// Works one queue off.
    pub fn work_off(&self, worker: usize) {
        while self.faulty.work_off(worker) {}
    }

    pub fn work_all_off(&self) {
        (0..self.waiting().len()).for_each(|worker| self.work_off(worker));
    }

    /// Works off a set of each queue this often, until the result is dropped.
    #[must_use]
    pub fn work_off_every(&self, interval: Duration) -> Working {
        let is_over = Arc::<AtomicBool>::default();
        let (faulty, over) = (Arc::clone(&self.faulty), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let workers = faulty.queues.sets.lock().unwrap().len();
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(interval);
                for worker in 0..workers {
                    faulty.work_off(worker);
                }
            }
        });
        Working {
            is_over,
            thread: Some(thread),
        }
    }

    /// Drops the oldest set of a queue. Returns its hits.
    pub fn drop_set(&self, worker: usize) -> Vec<Value> {
        let set = self.faulty.queues.pop(worker);
        let hits = set.into_iter().flat_map(|set| set.hits);
        hits.map(|(hit, _)| hit).collect()
    }

    pub fn drop_all(&self) {
        let mut queues = self.faulty.queues.sets.lock().unwrap();
        queues.iter_mut().for_each(VecDeque::clear);
    }

    /// From now on, workers fail at hits whose URL contains this.
    pub fn fail_at(&self, url: &str) {
        *self.faulty.queues.poison.lock().unwrap() = Some(url.to_owned());
    }

    /// From now on, requests with a hit of this site are refused.
    pub fn refuse_site(&self, site: i64) {
        *self.faulty.queues.gone.lock().unwrap() = Some(site);
    }

    /// From now on, hits are stored at once.
    pub fn switch_off(&self) {
        self.faulty.queues.is_off.store(true, Ordering::Relaxed);
    }
}

/// Stops the workers when it is dropped.
pub struct Working {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        if let Some(Err(panic)) = thread.map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
