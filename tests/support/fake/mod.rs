//! A fake Matomo with faults: the program's sandbox, and a hook in front of it.
//!
//! The sandbox checks and stores hits. The hook adds what only tests need: [`faults`], tokens with
//! rights ([`tokens`]), deadlocks ([`first_days`]), [`actions`], the visitor log ([`live`]),
//! numbers of actions ([`summary`]), Matomo's own queue ([`queued`]), fixed sites, and a [`log`] of
//! all calls.
//!
//! By default it has the properties of a real Matomo that make an import harder: addresses are
//! anonymized, a URL may have several action IDs, and concurrent batches of different past days
//! lose hits despite a success response. [`Options`] has a switch for each.

mod actions;
mod faults;
mod first_days;
mod live;
mod log;
mod queued;
mod summary;
mod tokens;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use import_logs::sandbox::http::{HookFuture, api_error, html, json};
use import_logs::sandbox::{
    ApiRequest, HitStore, Hook, Responder, Sandbox, SandboxOptions, unknown_site,
};
use import_logs::secret::Secret;
use rusqlite::params;
use serde_json::{Value, json};
use url::form_urlencoded;

pub use self::faults::{Fault, Faults, When};
pub use self::live::{Live, Mask};
pub use self::log::{Log, TrackerCall};
pub use self::queued::{Plugin, Queue};
pub use self::tokens::{Role, Tokens};

use self::actions::{Actions, UrlIds};
use self::faults::Script;
use self::first_days::{FirstDays, SiteDay};
use self::live::Shown;
use self::log::{Recorder, Underway};
use self::queued::Queues;
use self::summary::Archive;
use self::tokens::LockOut;
use super::matomo::base64;

/// Older dates are replaced by the current time.
const MAX_AGE: TimeDelta = TimeDelta::days(20 * 365);

/// The default: no sites, a token for the super user only, no faults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Main URL by site.
    pub sites: BTreeMap<u64, String>,
    /// Site by host.
    pub hosts: BTreeMap<String, u64>,
    pub tokens: Tokens,
    /// Login and password that `UsersManager.createAppSpecificTokenAuth` gives the super user's
    /// token for.
    pub login: Option<(String, Secret)>,
    /// HTTP basic authentication that every request needs.
    pub basic_auth: Option<(String, Secret)>,
    pub live: Live,
    pub mask: Mask,
    /// Major and minor version. See [`Version`] for what depends on it.
    pub version: Version,
    /// Has the plugin CustomVariables, which is no longer part of Matomo 5.
    pub custom_variables: bool,
    /// What `CoreAdminHome.getTrackingFailures` returns to a super user.
    pub tracking_failures: Vec<Value>,
    /// The setting for excluded addresses, as the API shows it. The tracker ignores it.
    pub excluded_ips: String,
    /// Unlike in a real Matomo, each URL has one action ID.
    pub unique_actions: bool,
    /// Unlike in a real Matomo, concurrent batches of different past days lose nothing.
    pub days_may_meet: bool,
    pub faults: Faults,
    /// How long each request takes.
    pub delay: Duration,
    /// Bodies of more bytes are answered with 413.
    pub body_limit: Option<usize>,
    /// Hits from this address are counted as tracked but not stored.
    pub excluded: Option<&'static str>,
    /// This many of the first calls that look up visits find none.
    pub blind_questions: usize,
    /// The plugin QueuedTracking.
    pub queue: Plugin,
    /// The time zone of all sites; UTC by default.
    pub timezone: Option<&'static str>,
    /// Keeps every call with its body for [`FakeMatomo::log`].
    pub keep_log: bool,
}

/// The version that the fake speaks:
///
/// - Since 5.7, the tracker answers a batch with a site id that is no plain integer with 400.
/// - Since 5.8, it answers a token in the query that differs from that of the body with 400, and
///   `API.getBulkRequest` takes at most 50 questions.
/// - Since 6.0, hits of headless browsers are counted as tracked and not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Those that differ in what an import relies on.
    pub const ALL: [Self; 5] = [Self(5, 0), Self(5, 4), Self(5, 7), Self(5, 8), Self(6, 0)];
}

impl Version {
    /// Whether a batch is answered with 400.
    fn rejects(self, request: &Request<Bytes>, batch: &Batch) -> bool {
        let is_plain = |site: &Value| match site {
            Value::String(text) => text.bytes().all(|byte| byte.is_ascii_digit()),
            site => site.is_u64(),
        };
        let query = request.uri().query().unwrap_or_default();
        let mut query = form_urlencoded::parse(query.as_bytes());
        let token = query.find(|(name, _)| name == "token_auth");
        let differs = token.is_some_and(|(_, token)| Some(&*token) != batch.token.as_deref());
        (self >= Self(5, 7) && !batch.requests.iter().all(|hit| is_plain(&hit["idsite"])))
            || (self >= Self(5, 8) && differs)
    }

    /// Whether a hit is left out without a word.
    fn leaves_out(self, hit: &Value) -> bool {
        let agent = hit["ua"].as_str().unwrap_or_default();
        self >= Self(6, 0) && agent.contains("HeadlessChrome")
    }
}

impl Default for Version {
    fn default() -> Self {
        Self(5, 0)
    }
}

impl Options {
    /// These sites (ID and main URL) and hosts (host and ID), and a log of every call.
    pub fn fixed(sites: &[(u64, &str)], hosts: &[(&str, u64)]) -> Self {
        let sites = sites.iter().map(|(id, url)| (*id, (*url).to_owned()));
        let hosts = hosts.iter().map(|(host, id)| ((*host).to_owned(), *id));
        Self {
            sites: sites.collect(),
            hosts: hosts.collect(),
            keep_log: true,
            ..Self::default()
        }
    }
}

/// A running fake. It stops when dropped.
pub struct FakeMatomo {
    sandbox: Sandbox,
    faulty: Arc<Faulty>,
}

impl FakeMatomo {
    pub fn start(options: Options) -> Self {
        let faulty = Arc::new(Faulty {
            script: Mutex::new(Script::new(options.faults.clone())),
            lock_out: Mutex::default(),
            first_days: FirstDays::default(),
            actions: Mutex::default(),
            archive: Mutex::default(),
            asked: AtomicUsize::new(0),
            hold: Hold::default(),
            ahead: Mutex::default(),
            queues: Queues::new(options.queue),
            responder: OnceLock::new(),
            recorder: Recorder::new(options.keep_log),
            options,
        });
        let hook = Arc::clone(&faulty) as Arc<dyn Hook>;
        let sandbox = Sandbox::start(SandboxOptions {
            file: None,
            hook: Some(hook),
        });
        let sandbox = sandbox.unwrap();
        create_sites(sandbox.store(), &faulty.options);
        Self { sandbox, faulty }
    }

    /// `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        self.sandbox.url()
    }

    /// The super user's token.
    pub fn token(&self) -> &Secret {
        self.sandbox.token()
    }

    pub fn store(&self) -> &HitStore {
        self.sandbox.store()
    }

    /// The log so far. It has single calls only with [`Options::keep_log`].
    pub fn log(&self) -> Log {
        self.faulty.recorder.log()
    }

    /// Matomo's own queue, which is worked off only when a test asks for it.
    pub fn queue(&self) -> Queue {
        Queue::new(&self.faulty)
    }

    /// Sets how far the clock in its responses is ahead of this machine's.
    pub fn set_ahead(&self, ahead: TimeDelta) {
        *self.faulty.ahead.lock().unwrap() = ahead;
    }

    /// Replaces the faults. Scripts start over.
    pub fn set_faults(&self, faults: Faults) {
        *self.faulty.script.lock().unwrap() = Script::new(faults);
    }

    /// From now on, calls that look up visits wait for [`FakeMatomo::release_questions`].
    pub fn hold_questions(&self) {
        self.faulty.hold.has_any.store(false, Ordering::Relaxed);
        self.faulty.hold.is_on.store(true, Ordering::Relaxed);
    }

    pub fn release_questions(&self) {
        self.faulty.hold.is_on.store(false, Ordering::Relaxed);
    }

    /// Whether such a call has had to wait since [`FakeMatomo::hold_questions`].
    pub fn holds_a_question(&self) -> bool {
        self.faulty.hold.has_any.load(Ordering::Relaxed)
    }

    /// Waits until no tracking request is in progress. The server finishes a request even if its
    /// client disconnects. Returns whether that happened in time.
    pub fn wait_idle(&self, at_most: Duration) -> bool {
        self.faulty.recorder.wait_idle(at_most)
    }
}

/// Replaces the sandbox's own site by those of the options.
fn create_sites(store: &HitStore, options: &Options) {
    let create = |db: &rusqlite::Connection| {
        db.execute_batch("DELETE FROM hosts; DELETE FROM sites")?;
        for (id, url) in &options.sites {
            db.execute(
                "INSERT INTO sites (idsite, name, main_url) VALUES (?, ?, ?)",
                params![*id as i64, format!("Site {id}"), url],
            )?;
        }
        for (host, id) in &options.hosts {
            db.execute(
                "INSERT INTO hosts (host, idsite) VALUES (?, ?)",
                params![host, *id as i64],
            )?;
        }
        Ok(())
    };
    store.read(create).unwrap();
}

/// The hook in front of the sandbox.
struct Faulty {
    options: Options,
    recorder: Recorder,
    script: Mutex<Script>,
    lock_out: Mutex<LockOut>,
    first_days: FirstDays,
    actions: Mutex<Actions>,
    archive: Mutex<Archive>,
    /// Calls that look up visits.
    asked: AtomicUsize,
    hold: Hold,
    /// How far the clock in its responses is ahead of this machine's.
    ahead: Mutex<TimeDelta>,
    queues: Queues,
    /// For what is stored after the response.
    responder: OnceLock<Arc<Responder>>,
}

/// Holds the calls that look up visits.
#[derive(Default)]
struct Hold {
    is_on: AtomicBool,
    /// Whether a call has had to wait since it was set.
    has_any: AtomicBool,
}

impl Hold {
    async fn wait(&self) {
        while self.is_on.load(Ordering::Relaxed) {
            self.has_any.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Hook for Faulty {
    fn connect(&self) -> Box<dyn Any + Send> {
        Box::new(self.recorder.connection())
    }

    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        responder: Arc<Responder>,
    ) -> HookFuture {
        self.responder.get_or_init(|| Arc::clone(&responder));
        // PHP finishes a request even if its client disconnects, when the server drops this future.
        let date = SystemTime::from(Utc::now() + *self.ahead.lock().unwrap());
        let date = httpdate::fmt_http_date(date);
        let response = tokio::spawn(async move { self.respond(request, &responder).await });
        Box::pin(async move {
            let response = response.await.ok().flatten();
            response.map(|response| with_header(response, "date", &date))
        })
    }
}

/// A body as it was received.
enum Received {
    Whole(Bytes),
    /// Over the limit. It was read to its end so that the client reads the response.
    TooLarge,
}

/// Reads a body. Returns `None` if the client disconnects before its end.
async fn read(mut body: Incoming, limit: Option<usize>) -> Option<Received> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        fits = fits && data.len() <= limit - bytes.len();
        match fits {
            true => bytes.extend_from_slice(&data),
            false => bytes.clear(),
        }
    }
    Some(match fits {
        true => Received::Whole(Bytes::from(bytes)),
        false => Received::TooLarge,
    })
}

impl Faulty {
    async fn respond(
        &self,
        request: Request<Incoming>,
        responder: &Responder,
    ) -> Option<Response<Bytes>> {
        let (head, body) = request.into_parts();
        let is_authenticated = has_basic_auth(self.options.basic_auth.as_ref(), &head.headers);
        if is_authenticated && is_tracking(&head) {
            let underway = self.recorder.tracker(&head);
            let response = self.track(head, body, responder, &underway).await;
            let status = response.as_ref().map(|response| response.status().as_u16());
            underway.note(|call| call.status = status);
            return response;
        }
        let Received::Whole(bytes) = read(body, self.options.body_limit).await? else {
            return Some(too_large());
        };
        if !is_authenticated {
            let basic = "Basic realm=\"sandbox\"";
            return Some(with_header(html(401), "www-authenticate", basic));
        }
        let request = Request::from_parts(head, bytes);
        match ApiRequest::read(&request).filter(|_| request.method() == Method::POST) {
            Some(call) => self.call(&request, call, responder).await,
            None => Some(responder.respond(&request)),
        }
    }

    async fn track(
        &self,
        head: Parts,
        body: Incoming,
        responder: &Responder,
        underway: &Underway,
    ) -> Option<Response<Bytes>> {
        let fault = self.script.lock().unwrap().next_tracker();
        match fault {
            Some(Fault::Refuse) => return None,
            Some(Fault::CloseInBody) => {
                begin(body).await;
                return None;
            }
            _ => {}
        }
        let Received::Whole(bytes) = read(body, self.options.body_limit).await? else {
            return Some(too_large());
        };
        underway.note(|call| call.body = bytes.clone());
        if self.is_locked_out() {
            return Some(html(500));
        }
        let request = Request::from_parts(head, bytes);
        let Some(batch) = Batch::parse(request.body()) else {
            return self.track_unreadable(&request, responder, fault).await;
        };
        if self.options.version.rejects(&request, &batch) {
            return Some(json(
                400,
                &json!({"status": "error", "tracked": 0, "invalid": 0}),
            ));
        }
        let fault = fault.or_else(|| {
            let script = self.script.lock().unwrap();
            script.for_batch(request.uri().path(), &batch.requests, underway.busy())
        });
        let roles = self.roles(&batch, responder);
        underway.note(|call| {
            call.hits = batch.requests.len();
            call.role = roles.batch;
        });
        if self.queues.takes(&request) {
            let store = responder.store();
            return self.enqueue(request, batch, roles, fault, store).await;
        }
        let work = Work {
            request,
            batch,
            roles,
            fault,
        };
        self.work(work, responder, underway).await
    }

    /// The response to a body without hits.
    async fn track_unreadable(
        &self,
        request: &Request<Bytes>,
        responder: &Responder,
        fault: Option<Fault>,
    ) -> Option<Response<Bytes>> {
        tokio::time::sleep(self.options.delay).await;
        if let Some(fault) = &fault
            && let Some(response) = fault.instead(0).await
        {
            return response;
        }
        let mut response = responder.respond(request);
        if response.status() == 400 {
            response = no_tracking_request(response);
        }
        match fault {
            Some(fault) => fault.spoil(response).await,
            None => Some(response),
        }
    }

    /// Waits as long as a server would work, then stores the batch.
    async fn work(
        &self,
        mut work: Work,
        responder: &Responder,
        underway: &Underway,
    ) -> Option<Response<Bytes>> {
        let (mut wait, deadlocks) = {
            let script = self.script.lock().unwrap();
            let wait = script.work(self.options.delay, underway.busy());
            (wait, script.faults.deadlock_first_days)
        };
        wait += work.fault.as_ref().map_or(Duration::ZERO, Fault::work);
        let stores = work.fault.as_ref().is_none_or(Fault::stores);
        let past_days = work
            .past_days(self.options.timezone)
            .into_iter()
            .filter(|_| stores);
        let days = self.first_days.begin(past_days);
        let swallows = !self.options.days_may_meet;
        if days.is_first && (deadlocks || swallows) {
            wait = wait.max(first_days::MIN_WORK);
        }
        if days.deadlocks && deadlocks {
            work.fault = work.fault.or(Some(Fault::Deadlock));
        }
        let urls = self.actions.lock().unwrap().begin(work.urls());
        tokio::time::sleep(wait).await;
        let sent = work.batch.requests.len();
        if let Some(fault) = &work.fault
            && let Some(response) = fault.instead(sent).await
        {
            return response;
        }
        if days.lost() > 0 && swallows {
            work.fault = work.fault.or(Some(Fault::Swallowed(days.lost())));
        }
        let silent = work.batch.silent;
        let fault = work.fault.clone();
        let response = work.store(responder, |hit| self.leaves_out(hit));
        if response.status() == 200 {
            days.committed();
        }
        drop(days);
        self.commit_actions(&urls, responder.store());
        let response = match fault {
            Some(fault) => fault.spoil(response).await?,
            None => response,
        };
        Some(match response.status().as_u16() {
            200 if silent => empty(204),
            _ => response,
        })
    }

    /// Whether a hit is counted as tracked and not stored.
    fn leaves_out(&self, hit: &Value) -> bool {
        let excluded = self.options.excluded;
        self.options.version.leaves_out(hit)
            || (excluded.is_some() && hit["cip"].as_str() == excluded)
    }

    /// Gives the hits stored since the last call the action IDs of the transaction.
    fn commit_actions(&self, urls: &UrlIds, store: &HitStore) {
        let mut actions = self.actions.lock().unwrap();
        let last = actions.last_row();
        let rows = store.read(|db| {
            let select = "SELECT id, coalesce(url, '') FROM hits WHERE id > ? ORDER BY id";
            let mut query = db.prepare_cached(select)?;
            let rows = query.query_map([last], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<(i64, String)>, _>>()
        });
        actions.commit(urls, rows.unwrap());
    }

    async fn call(
        &self,
        request: &Request<Bytes>,
        mut call: ApiRequest,
        responder: &Responder,
    ) -> Option<Response<Bytes>> {
        let password = call.parameters.remove("passwordConfirmation");
        let role = self.role(call.token.as_deref(), responder);
        self.recorder.api(request, &call);
        let (fault, maintenance) = {
            let mut script = self.script.lock().unwrap();
            (script.next_api(), script.faults.maintenance)
        };
        let late = fault.as_ref().map(Fault::work).unwrap_or_default();
        tokio::time::sleep(self.options.delay + late).await;
        if call.method == "Live.getLastVisitsDetails" {
            self.hold.wait().await;
        }
        if let Some(fault) = &fault
            && let Some(response) = fault.instead(0).await
        {
            return response;
        }
        let response = if maintenance {
            html(503)
        } else if self.is_locked_out() {
            html(500)
        } else if call.get("module") != "API" {
            // A page of Matomo's user interface.
            html(200)
        } else {
            self.carry_out(request, &call, password.as_deref(), role, responder)
        };
        match fault {
            Some(fault) => fault.spoil(response).await,
            None => Some(response),
        }
    }

    fn carry_out(
        &self,
        request: &Request<Bytes>,
        call: &ApiRequest,
        password: Option<&str>,
        role: Role,
        responder: &Responder,
    ) -> Response<Bytes> {
        if call.method == "UsersManager.createAppSpecificTokenAuth" {
            return self.create_token(call, password, responder);
        }
        if role == Role::Bad {
            return html(401);
        }
        let store = responder.store();
        match call.method.as_str() {
            _ if role == Role::None => responder.respond(request),
            "API.getBulkRequest" => {
                let urls = (0..).map_while(|index| call.parameters.get(&format!("urls[{index}]")));
                if urls.clone().count() > 50 && self.options.version >= Version(5, 8) {
                    return api_error(400, "Too many questions");
                }
                let answers = urls.map(|url| {
                    let inner = request.clone().map(|_| Bytes::from(url.clone()));
                    let inner = ApiRequest::read(&inner).unwrap();
                    let answer = self.carry_out(request, &inner, None, role, responder);
                    serde_json::from_slice::<Value>(answer.body()).unwrap()
                });
                json(200, &answers.collect())
            }
            "API.getMatomoVersion" => {
                let Version(major, minor) = self.options.version;
                json(200, &json!({"value": format!("{major}.{minor}.1")}))
            }
            "API.isPluginActivated" => {
                let is_active = match call.get("pluginName") {
                    "CustomVariables" => self.options.custom_variables,
                    "QueuedTracking" => self.options.queue != Plugin::Inactive,
                    _ => true,
                };
                json(200, &json!({"value": is_active}))
            }
            "CoreAdminHome.getTrackingFailures" if role == Role::Super => {
                json(200, &json!(self.options.tracking_failures))
            }
            "SitesManager.addSite" if role < Role::Super => {
                let message = "You can't access this resource as it requires 'superuser' access.";
                api_error(401, message)
            }
            "SitesManager.getSiteFromId" if !site_exists(store, call.get("idSite")) => {
                unknown_site(call.get("idSite"))
            }
            "SitesManager.getExcludedIpsGlobal" => {
                json(200, &json!({"value": self.options.excluded_ips}))
            }
            "SitesManager.getExcludedUserAgentsGlobal" => json(200, &json!({"value": false})),
            "SitesManager.getSitesIdFromSiteUrl" if !host_exists(store, call.get("url")) => {
                json(200, &json!([]))
            }
            "SitesManager.getSiteFromId" => {
                let response = responder.respond(&with_token(request, call, responder));
                self.with_timezone(response)
            }
            "Live.getLastVisitsDetails" | "VisitsSummary.getActions"
                if !site_exists(store, call.get("idSite")) =>
            {
                unknown_site(call.get("idSite"))
            }
            "Live.getLastVisitsDetails" if self.is_blind() => json(200, &json!([])),
            "Live.getLastVisitsDetails" => {
                let actions = self.actions.lock().unwrap();
                live::last_visits(store, call, self.options.live, &actions, self.shown())
            }
            "VisitsSummary.getActions" => {
                let actions = self.actions.lock().unwrap();
                let mut archive = self.archive.lock().unwrap();
                archive.actions(store, call, &actions, self.shown())
            }
            _ => responder.respond(&with_token(request, call, responder)),
        }
    }

    /// Whether a call that looks up visits is one of the first, which find nothing.
    fn is_blind(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        asked < self.options.blind_questions
    }

    /// The description of a site with the time zone of the options.
    fn with_timezone(&self, response: Response<Bytes>) -> Response<Bytes> {
        let Some(timezone) = self.options.timezone else {
            return response;
        };
        response.map(|bytes| {
            let mut site: Value = serde_json::from_slice(&bytes).unwrap();
            site["timezone"] = timezone.into();
            site.to_string().into()
        })
    }

    fn create_token(
        &self,
        call: &ApiRequest,
        password: Option<&str>,
        responder: &Responder,
    ) -> Response<Bytes> {
        let login = self.options.login.as_ref();
        let is_login = login.is_some_and(|(login, wanted)| {
            call.get("userLogin") == login && password == Some(wanted.expose())
        });
        match is_login {
            true => json(200, &json!({"value": responder.token().expose()})),
            false => api_error(200, "The current password you entered is not correct."),
        }
    }

    fn shown(&self) -> Shown {
        Shown {
            mask: self.options.mask,
            unique_actions: self.options.unique_actions,
        }
    }

    /// The role that a token gives. Bad tokens are counted.
    fn role(&self, token: Option<&str>, responder: &Responder) -> Role {
        let mut role = self.options.tokens.role(token, responder.token());
        if role > Role::None && self.script.lock().unwrap().token_has_expired() {
            role = Role::Bad;
        }
        if role == Role::Bad {
            self.lock_out.lock().unwrap().bad_token(Instant::now());
        }
        role
    }

    fn is_locked_out(&self) -> bool {
        self.lock_out.lock().unwrap().is_locked(Instant::now())
    }

    fn roles(&self, batch: &Batch, responder: &Responder) -> Roles {
        let token = batch.token.as_deref();
        let token = token.or_else(|| batch.requests.iter().find_map(own_token));
        let batch_role = self.role(token, responder);
        // A bad token in many hits counts as one bad token.
        let mut known = BTreeMap::from([(token, batch_role)]);
        let hits = batch.requests.iter().map(|request| {
            let token = own_token(request).or(batch.token.as_deref());
            *known
                .entry(token)
                .or_insert_with(|| self.role(token, responder))
        });
        Roles {
            hits: hits.collect(),
            batch: batch_role,
        }
    }
}

/// The rights of the tokens of a batch.
struct Roles {
    /// Of the batch's token, or else of the first in a hit.
    batch: Role,
    hits: Vec<Role>,
}

/// A bulk request that can be read.
struct Batch {
    token: Option<String>,
    requests: Vec<Value>,
    /// `send_image: 0`: answered with 204 and no body.
    silent: bool,
}

impl Batch {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(bytes) else {
            return None;
        };
        let Some(Value::Array(requests)) = body.remove("requests") else {
            return None;
        };
        let token = body.get("token_auth").and_then(Value::as_str);
        (!requests.is_empty()).then(|| Self {
            token: token.map(str::to_owned),
            silent: body.get("send_image").is_some_and(|v| *v == 0 || *v == "0"),
            requests,
        })
    }
}

fn own_token(request: &Value) -> Option<&str> {
    request.get("token_auth")?.as_str()
}

/// A batch on its way to the sandbox.
struct Work {
    request: Request<Bytes>,
    batch: Batch,
    roles: Roles,
    fault: Option<Fault>,
}

impl Work {
    fn urls(&self) -> impl Iterator<Item = &str> {
        let hits = self.batch.requests.iter();
        hits.filter_map(|hit| hit["url"].as_str())
    }

    /// The indices of the hits of past days, with their sites and days (since 1970) in the sites'
    /// time zone.
    fn past_days(&self, timezone: Option<&str>) -> Vec<(usize, SiteDay)> {
        let zone: Tz = timezone.map_or(Tz::UTC, |name| name.parse().unwrap());
        let day = |time: DateTime<Utc>| time.with_timezone(&zone).date_naive();
        let today = day(Utc::now());
        let hits = self.batch.requests.iter().zip(&self.roles.hits).enumerate();
        let days = hits.filter(|(_, (_, role))| **role >= Role::Write);
        let days = days.filter_map(|(place, (hit, _))| {
            let site = match &hit["idsite"] {
                Value::String(id) => id.parse().ok()?,
                id => id.as_i64()?,
            };
            let time = NaiveDateTime::parse_from_str(hit["cdt"].as_str()?, "%Y-%m-%d %H:%M:%S");
            let day = day(time.ok()?.and_utc());
            // Other dates are replaced by the current time.
            let is_past = (today - MAX_AGE..today).contains(&day);
            is_past.then_some((place, (site, day.to_epoch_days())))
        });
        days.collect()
    }

    /// Passes the batch on to the sandbox.
    fn store(
        mut self,
        responder: &Responder,
        is_excluded: impl Fn(&Value) -> bool,
    ) -> Response<Bytes> {
        let sent = self.batch.requests.len();
        let excludes = self.batch.requests.iter().any(&is_excluded);
        let is_super_user = self.roles.batch == Role::Super;
        let is_deadlock = self.fault == Some(Fault::Deadlock);
        let is_swallowed = matches!(self.fault, Some(Fault::Swallowed(_)));
        match &self.fault {
            Some(Fault::Deadlock) => lose(&mut self.batch.requests, sent.div_ceil(2)),
            Some(Fault::Lost(count) | Fault::Swallowed(count)) => {
                lose(&mut self.batch.requests, *count);
            }
            Some(Fault::Invalid(places)) => invalidate(&mut self.batch.requests, places),
            _ if !excludes && self.roles.hits.iter().all(|role| *role == Role::Super) => {
                // The response needs no change.
                return responder.respond(&self.request);
            }
            _ => {}
        }
        for request in &mut self.batch.requests {
            if is_excluded(request) {
                *request = Value::Null;
            }
        }
        let response = responder.respond(&self.with_sandbox_tokens(responder));
        if is_deadlock && response.status() == 200 {
            return failed(sent, is_super_user);
        }
        edit(response, |body| {
            if (is_swallowed || excludes)
                && let Some(invalid) = body["invalid"].as_u64()
            {
                body.insert("tracked".into(), json!(sent as u64 - invalid));
            }
            if !is_super_user {
                body.remove("invalid_indices");
            }
        })
    }

    /// The request with the sandbox's token in place of tokens that may write.
    fn with_sandbox_tokens(mut self, responder: &Responder) -> Request<Bytes> {
        let token = |role: Role| match role >= Role::Write {
            true => responder.token().expose(),
            false => "bad",
        };
        for (request, role) in self.batch.requests.iter_mut().zip(self.roles.hits) {
            if let Value::Object(hit) = request {
                hit.insert("token_auth".into(), token(role).into());
            }
        }
        let requests = self.batch.requests;
        let body = json!({"token_auth": token(self.roles.batch), "requests": requests});
        self.request.map(|_| Bytes::from(body.to_string()))
    }
}

/// Makes the sandbox ignore the first hits.
fn lose(requests: &mut [Value], count: usize) {
    requests
        .iter_mut()
        .take(count)
        .for_each(|request| *request = Value::Null);
}

/// Makes the sandbox reject these hits.
fn invalidate(requests: &mut [Value], places: &[usize]) {
    for place in places {
        if let Some(Value::Object(hit)) = requests.get_mut(*place) {
            hit.insert("idsite".into(), 0.into());
        }
    }
}

/// The API request with the sandbox's token.
fn with_token(
    request: &Request<Bytes>,
    call: &ApiRequest,
    responder: &Responder,
) -> Request<Bytes> {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&call.parameters)
        .append_pair("token_auth", responder.token().expose())
        .finish();
    request.clone().map(|_| Bytes::from(form))
}

fn site_exists(store: &HitStore, id: &str) -> bool {
    id.parse().is_ok_and(|id| store.site(id).unwrap().is_some())
}

fn host_exists(store: &HitStore, url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    store.site_of_host(&host.to_lowercase()).unwrap().is_some()
}

fn is_tracking(head: &Parts) -> bool {
    let content_type = head.headers.get(CONTENT_TYPE);
    let is_form = content_type.is_some_and(|content_type| {
        content_type
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    head.method == Method::POST && !is_form && head.uri.path().ends_with(".php")
}

fn has_basic_auth(wanted: Option<&(String, Secret)>, headers: &HeaderMap) -> bool {
    wanted.is_none_or(|(login, password)| {
        let pair = base64(format!("{login}:{}", password.expose()).as_bytes());
        let sent = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        sent.and_then(|value| value.strip_prefix("Basic ")) == Some(pair.as_str())
    })
}

/// Reads no more than the first piece of a body.
async fn begin(mut body: Incoming) {
    // The connection is closed in any case.
    let _ = body.frame().await;
}

/// nginx's response to a body over its limit.
fn too_large() -> Response<Bytes> {
    with_header(html(413), "connection", "close")
}

fn with_header(mut response: Response<Bytes>, name: &'static str, value: &str) -> Response<Bytes> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

fn empty(status: u16) -> Response<Bytes> {
    let response = Response::builder().status(status);
    response.body(Bytes::new()).unwrap()
}

/// The tracker's response to a batch that failed. Super users get indices.
fn failed(tracked: usize, is_super_user: bool) -> Response<Bytes> {
    let mut body = json!({"status": "error", "tracked": tracked, "invalid": 0});
    if is_super_user {
        body["invalid_indices"] = json!([]);
    }
    json(500, &body)
}

/// The tracker's image.
const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x00\
    \x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// The response to a single-hit request that cannot be read: a GIF, then HTML.
fn no_tracking_request(response: Response<Bytes>) -> Response<Bytes> {
    let response = response.map(|html| [GIF, &html].concat().into());
    with_header(response, "content-type", "image/gif")
}

/// Edits the tracker's JSON, which debug output may precede.
fn edit(
    response: Response<Bytes>,
    change: impl FnOnce(&mut serde_json::Map<String, Value>),
) -> Response<Bytes> {
    response.map(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        let (before, json) = text.split_at(text.rfind("{\"status\"").unwrap_or(text.len()));
        match serde_json::from_str(json) {
            Ok(Value::Object(mut body)) => {
                change(&mut body);
                format!("{before}{}", Value::Object(body)).into()
            }
            _ => bytes,
        }
    })
}
