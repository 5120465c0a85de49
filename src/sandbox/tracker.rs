//! A tracking request from its arrival to its answer: faults, checks, one transaction.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use serde_json::Value;
use url::form_urlencoded;

use super::access::Role;
use super::answer::{Answer, Closed, Reply};
use super::body::{self, Received};
use super::bulk::{Batch, Body, arguments};
use super::days::SiteDay;
use super::faults::Fault;
use super::judge::{Verdict, judge};
use super::log::Underway;
use super::{Shared, locked};

/// The least time a batch with new days takes where first days deadlock: without any, none would ever overlap.
const NOTING: Duration = Duration::from_millis(20);
const DAY: i64 = 86_400;

pub(super) async fn serve(shared: &Shared, head: &Parts, body: Incoming) -> Reply {
    let underway = shared.watch.tracker(head);
    let reply = answer(shared, head, body, &underway).await;
    let status = reply.as_ref().ok().map(|answer| answer.status);
    underway.note(|call| call.status = status);
    reply
}

async fn answer(shared: &Shared, head: &Parts, body: Incoming, underway: &Underway) -> Reply {
    let fault = locked(&shared.script).next_tracker();
    match fault {
        Some(Fault::Refuse) => return Err(Closed),
        Some(Fault::CloseInBody) => {
            body::begin(body).await;
            return Err(Closed);
        }
        _ => {}
    }
    let Received::Whole(bytes) = body::read(body, shared.options.body_limit).await? else {
        return Ok(Answer::too_large());
    };
    underway.note(|call| call.body = bytes.clone());
    if shared.locked_out() {
        return Ok(Answer::html(500));
    }
    let body = Body::read(&bytes);
    drop::<Bytes>(bytes);
    let Body::Batch(batch) = body else {
        return unreadable(shared, &body, fault).await;
    };
    let fault =
        fault.or_else(|| locked(&shared.script).for_batch(&batch.requests, underway.busy()));
    let judged = match Judged::new(shared, &batch, Utc::now()) {
        Ok(judged) => judged,
        Err(error) => return Ok(Answer::broken(&error)),
    };
    underway.note(|call| {
        call.hits = batch.requests.len();
        call.role = judged.role;
    });
    let answer = work(shared, judged, fault, underway).await?;
    Ok(match answer.status {
        200 if batch.silent => Answer::empty(204),
        200 if debugs(head) => answer.after_text("Debug enabled - Input parameters:\narray (\n)\n"),
        _ => answer,
    })
}

/// The answer to a body that holds no hits.
async fn unreadable(shared: &Shared, body: &Body, fault: Option<Fault>) -> Reply {
    tokio::time::sleep(shared.options.delay).await;
    if let Some(fault) = &fault
        && let Some(reply) = fault.instead(0).await
    {
        return reply;
    }
    let answer = match body {
        Body::NotBulk => Answer::no_tracking_request(),
        _ => Answer::tracked(0, 0, None),
    };
    match fault {
        Some(fault) => fault.spoil(answer).await,
        None => Ok(answer),
    }
}

/// Takes the time a server would, stores, answers.
async fn work(
    shared: &Shared,
    judged: Judged,
    mut fault: Option<Fault>,
    underway: &Underway,
) -> Reply {
    let (wait, first_days) = {
        let script = locked(&shared.script);
        let wait = script.work(shared.options.delay, underway.busy());
        (wait, script.faults.deadlock_first_days)
    };
    let noting = first_days.then(|| shared.days.begin(judged.past_days()));
    let mut wait = wait.saturating_add(fault.as_ref().map_or(Duration::ZERO, Fault::work));
    if let Some(noting) = &noting {
        if noting.is_first() {
            wait = wait.max(NOTING);
        }
        if noting.deadlocks {
            fault = fault.or(Some(Fault::Deadlock));
        }
    }
    tokio::time::sleep(wait).await;
    let sent = judged.verdicts.len();
    if let Some(fault) = &fault
        && let Some(reply) = fault.instead(sent).await
    {
        return reply;
    }
    let answer = judged.store(shared, fault.as_ref());
    if let Some(noting) = &noting
        && answer.status == 200
    {
        noting.committed();
    }
    match fault {
        Some(fault) => fault.spoil(answer).await,
        None => Ok(answer),
    }
}

/// A batch whose hits have been judged.
struct Judged {
    role: Role,
    verdicts: Vec<Verdict>,
    now: DateTime<Utc>,
}

impl Judged {
    /// An error: the database will not do. That makes no hit a bad one.
    fn new(shared: &Shared, batch: &Batch, now: DateTime<Utc>) -> rusqlite::Result<Self> {
        let own_token = |hit: &Value| Some(hit.get("token_auth")?.as_str()?.to_owned());
        let token = batch
            .token
            .clone()
            .or_else(|| batch.requests.iter().find_map(own_token));
        let role = shared.role(token.as_deref());
        // A bad token that many hits repeat is one bad token.
        let mut roles = HashMap::from([(token, role)]);
        let mut sites: HashMap<i64, bool> = HashMap::new();
        let mut trouble = None;
        let mut knows = |site| {
            let ask = || match shared.store.site(site) {
                Ok(site) => site.is_some(),
                Err(error) => {
                    trouble = Some(error);
                    false
                }
            };
            *sites.entry(site).or_insert_with(ask)
        };
        let verdicts = batch
            .requests
            .iter()
            .map(|request| match arguments(request) {
                None => Verdict::Gone,
                Some(hit) => {
                    let own = own_token(request).or_else(|| batch.token.clone());
                    let role = *roles
                        .entry(own)
                        .or_insert_with_key(|token| shared.role(token.as_deref()));
                    judge(&hit, role, &mut knows, now)
                }
            });
        let verdicts = verdicts.collect();
        match trouble {
            Some(error) => Err(error),
            None => Ok(Self {
                verdicts,
                role,
                now,
            }),
        }
    }

    /// The sites and days before today that are in it.
    fn past_days(&self) -> Vec<SiteDay> {
        let today = self.now.timestamp().div_euclid(DAY);
        let stored = self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Store(hit) => Some((hit.idsite, hit.epoch.div_euclid(DAY))),
            _ => None,
        });
        stored.filter(|(_, day)| *day < today).collect()
    }

    /// One transaction and its answer, as the fault has it.
    fn store(mut self, shared: &Shared, fault: Option<&Fault>) -> Answer {
        let sent = self.verdicts.len();
        let is_super = self.role == Role::Super;
        let deadlock = fault == Some(&Fault::Deadlock);
        match fault {
            Some(Fault::Deadlock) => self.lose(sent.div_ceil(2)),
            Some(Fault::Lost(count)) => self.lose(*count),
            Some(Fault::Invalid(places)) => self.refuse(places),
            _ => {}
        }
        let fails = self
            .verdicts
            .iter()
            .position(|verdict| matches!(verdict, Verdict::Fails));
        if let Some(tracked) = fails {
            return Answer::failed(tracked, None);
        }
        let tracked = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.is_tracked())
            .count();
        let refused = self.refused();
        let hits: Vec<_> = self
            .verdicts
            .into_iter()
            .filter_map(|verdict| match verdict {
                Verdict::Store(hit) => Some(hit),
                _ => None,
            })
            .collect();
        let indices = is_super.then_some(refused.as_slice());
        match shared.store.record(&hits) {
            Err(error) => Answer::broken(&error),
            Ok(()) if deadlock => Answer::failed(sent, is_super.then_some(&[])),
            Ok(()) => Answer::tracked(tracked, refused.len(), indices),
        }
    }

    fn refused(&self) -> Vec<usize> {
        let each = self.verdicts.iter().enumerate();
        each.filter(|(_, verdict)| matches!(verdict, Verdict::Refused))
            .map(|(index, _)| index)
            .collect()
    }

    /// Drops the first hits without a word.
    fn lose(&mut self, count: usize) {
        self.verdicts
            .iter_mut()
            .take(count)
            .for_each(|verdict| *verdict = Verdict::Gone);
    }

    fn refuse(&mut self, places: &[usize]) {
        for place in places {
            if let Some(verdict) = self.verdicts.get_mut(*place) {
                *verdict = Verdict::Refused;
            }
        }
    }
}

fn debugs(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "debug" && value == "1")
}
