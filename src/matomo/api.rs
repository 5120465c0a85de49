//! Calls of Matomo's API. See guide/requests.md, "API calls".
//!
//! The token is sent in the body, never in a URL. Calls that may succeed later are retried, as
//! `--retry-max-attempts` and `--retry-delay` say.

mod features;
mod reply;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error as ThisError;
use url::form_urlencoded;

pub use self::features::ServerFeatures;
use self::reply::{ApiReply, CallContext, FailureKind, TransientFailure, classify};
use super::client::Client;
use super::clock::ServerClock;
use super::exchange::Exchange;
use super::response;
use super::retry::{RetryPolicy, Waiter};
use crate::error::Error;
use crate::report::redact;
use crate::secret::Secret;
use crate::shutdown::Shutdown;

/// How often a call that waits for its response checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a call may continue after a shutdown request. A response that arrives in this time
/// may save the next run the call.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// Characters that stay as they are in the value of a segment's condition.
const SEGMENT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Is called before a call is tried again.
pub type RetryHook = Arc<dyn Fn(&Retry) + Send + Sync>;

/// A call that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What happened, in a few words: `cannot reach matomo.example:443: connection refused`.
    pub failure: String,
    /// The number of the retry, counted from 1, and how many there are.
    pub number: u32,
    pub of: u32,
    pub wait: Duration,
    /// Matomo has answered an earlier call.
    pub was_reached: bool,
}

type ApiResult<T> = Result<T, ApiError>;

/// Why a call failed. The texts say what failed, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ApiError {
    /// Matomo refused the call: no such site, no access, or a bad token.
    #[error("{0}")]
    Refused(String),
    /// All attempts failed, or the response is not one of this call.
    #[error("{0}")]
    Failed(String),
    /// The last attempt got a server error, or a response that is not Matomo's. See
    /// [`Api::is_broken`].
    #[error("{0}")]
    Broken(String),
    /// In all attempts, the server could not be reached or was busy. It may recover.
    #[error("{0}")]
    Unavailable(String),
    /// A shutdown was requested while waiting for the response or for the next attempt.
    #[error("interrupted while waiting for Matomo")]
    Interrupted,
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Interrupted => Self::interrupted(error.to_string()),
            ApiError::Refused(why)
            | ApiError::Failed(why)
            | ApiError::Broken(why)
            | ApiError::Unavailable(why) => Self::stopped(why),
        }
    }
}

/// A site as the API returns it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ApiSite {
    /// A number, as text.
    #[serde(rename = "idsite", deserialize_with = "response::text")]
    pub id: String,
    /// The URL as configured: scheme, host, perhaps a path.
    pub main_url: String,
    /// `Europe/Berlin`, `UTC` or `UTC+5.5`.
    #[serde(default, deserialize_with = "response::optional_text")]
    pub timezone: Option<String>,
    /// Addresses and ranges, separated by commas.
    #[serde(default, deserialize_with = "response::optional_text")]
    pub excluded_ips: Option<String>,
    /// Parts of user agents, separated by commas.
    #[serde(default, deserialize_with = "response::optional_text")]
    pub excluded_user_agents: Option<String>,
}

/// Why Matomo refused hits, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct TrackingFailure {
    #[serde(rename = "idsite", deserialize_with = "response::text")]
    pub site: String,
    #[serde(default)]
    pub problem: String,
    #[serde(default)]
    pub solution: String,
}

/// One page of a query of Matomo's visitor log.
#[derive(Clone, Copy, Debug)]
pub struct VisitQuery<'a> {
    pub idsite: &'a str,
    /// The first and the last day in the site's time zone: `2026-11-15,2026-11-17`.
    pub days: &'a str,
    /// Conditions as written by [`segment_condition`], joined with `;` (and) or `,` (or).
    pub segment: &'a str,
    /// Only visits whose last action is later, in seconds since 1970.
    pub after: i64,
    /// The maximum number of visits to return.
    pub limit: u32,
}

/// A visit in Matomo's visitor log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VisitRecord {
    /// May be anonymized: its last bytes are then 0.
    #[serde(
        rename = "visitIp",
        default,
        deserialize_with = "response::optional_text"
    )]
    pub ip: Option<String>,
    /// Seconds since 1970.
    #[serde(
        rename = "lastActionTimestamp",
        default,
        deserialize_with = "response::optional_number"
    )]
    pub last_action: Option<i64>,
    /// The number of actions that are not shown, which are the last ones.
    #[serde(
        rename = "truncatedActionsCount",
        default,
        deserialize_with = "response::optional_number"
    )]
    pub truncated: Option<i64>,
    #[serde(rename = "actionDetails", default, deserialize_with = "response::list")]
    pub actions: Vec<VisitAction>,
}

/// An action of a visit: a page view, download or event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VisitAction {
    /// The `pv_id` of the hit.
    #[serde(
        rename = "idpageview",
        default,
        deserialize_with = "response::optional_text"
    )]
    pub pv_id: Option<String>,
    /// Seconds since 1970.
    #[serde(
        rename = "timestamp",
        default,
        deserialize_with = "response::optional_number"
    )]
    pub time: Option<i64>,
}

/// Writes a condition of a segment, for example `visitIp==192.0.2.1`.
pub fn segment_condition(field: &str, operator: &str, value: &str) -> String {
    let value = utf8_percent_encode(value, SEGMENT_UNRESERVED);
    format!("{field}{operator}{value}")
}

/// The API behind a client. Cheap to clone; clones share the connections.
#[derive(Clone)]
pub struct Api {
    client: Client,
    token: Option<Secret>,
    retry: RetryPolicy,
    wait: Waiter,
    stop: Shutdown,
    /// Matomo has answered a call, so a later 4xx may pass.
    reached: Arc<AtomicBool>,
    on_retry: Option<RetryHook>,
    /// Milliseconds of waits between attempts and between questions.
    waited: Arc<AtomicU64>,
    features: Arc<OnceLock<ServerFeatures>>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("client", &self.client)
            .field("token", &self.token)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl Api {
    pub fn new(
        client: Client,
        token: Option<Secret>,
        retry: RetryPolicy,
        wait: Waiter,
        stop: Shutdown,
    ) -> Self {
        Self {
            client,
            token,
            retry,
            wait,
            stop,
            reached: Arc::default(),
            on_retry: None,
            waited: Arc::default(),
            features: Arc::default(),
        }
    }

    /// Calls `hook` before each wait for another attempt.
    pub fn on_retry(self, hook: RetryHook) -> Self {
        Self {
            on_retry: Some(hook),
            ..self
        }
    }

    /// The clock of the server.
    pub fn clock(&self) -> &ServerClock {
        self.client.clock()
    }

    /// Returns the site with an id. Fails with [`ApiError::Refused`] if it does not exist or the
    /// token has no access.
    pub fn site(&self, id: &str) -> ApiResult<ApiSite> {
        self.query("SitesManager.getSiteFromId", &[("idSite", id)])
    }

    /// Returns the lowest id of the sites that have this host among their URLs. So workers that
    /// have created several at the same time agree.
    pub fn site_of_host(&self, host: &str) -> ApiResult<Option<String>> {
        let ids: ListReply<SiteId> = self.query(SITES_OF_URL, &[("url", host)])?;
        Ok(lowest(ids))
    }

    /// Does [`Api::site_of_host`] for several hosts in one call. Returns `None` if Matomo does not
    /// answer each of the questions.
    pub fn sites_of_hosts(
        &self,
        hosts: &[impl AsRef<str>],
    ) -> ApiResult<Option<Vec<Option<String>>>> {
        let questions = hosts
            .iter()
            .map(|host| [("method", SITES_OF_URL), ("url", host.as_ref())]);
        let form = bulk_form(questions);
        let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (&**k, &**v)).collect();
        let ApiReply::Json(body) = self.call_with_token("API.getBulkRequest", &form)? else {
            return Ok(None);
        };
        let replies: Option<Vec<ListReply<SiteId>>> = serde_json::from_slice(&body).ok();
        let replies = replies.filter(|replies| replies.len() == hosts.len());
        Ok(replies.map(|replies| replies.into_iter().map(lowest).collect()))
    }

    /// Returns all sites that the token has access to.
    pub fn all_sites(&self) -> ApiResult<Vec<ApiSite>> {
        let ListReply(sites) = self.query("SitesManager.getAllSites", &[])?;
        Ok(sites)
    }

    /// Creates a site for a host and returns its id. Fails with [`ApiError::Refused`] if the token
    /// may not create sites.
    ///
    /// The call is not idempotent, so after a lost response it is repeated only if the host still
    /// has no site.
    pub fn add_site(&self, host: &str) -> ApiResult<String> {
        let method = "SitesManager.addSite";
        let form = [("siteName", host), ("urls[0]", &*format!("http://{host}"))];
        let mut attempt = 1;
        loop {
            let failure = match self.call_with_token(method, &form)? {
                ApiReply::Retry(failure) => failure,
                reply => return self.parse::<TextReply>(method, reply).map(|id| id.0),
            };
            let is_last = !self.retry.allows_after(attempt);
            if failure.untouched && is_last {
                return Err(failure.give_up(attempt));
            }
            self.pause(attempt, &failure)?;
            if !failure.untouched {
                if let Some(id) = self.site_of_host(host)? {
                    return Ok(id);
                }
                if is_last {
                    return Err(failure.give_up(attempt));
                }
            }
            attempt += 1;
        }
    }

    /// Creates a token for a user (`--login`). It is valid for 48 hours.
    pub fn create_token(&self, login: &str, password: &Secret) -> ApiResult<Secret> {
        let method = "UsersManager.createAppSpecificTokenAuth";
        let form = [
            ("userLogin", login),
            ("passwordConfirmation", password.expose()),
            ("description", "Log importer"),
            ("expireHours", "48"),
        ];
        let advice = format!("check the password of the login '{login}'");
        let terms = CallTerms {
            token: None,
            unauthorized: "login or password is wrong",
            advice: &advice,
        };
        let reply = self.with_retries(|| self.call(method, terms, &form))?;
        let TextReply(token) = self.parse(method, reply)?;
        match token.trim() {
            "" => Err(ApiError::Failed(format!(
                "{} returned an empty token for --login={login}",
                self.place(method)
            ))),
            token => Ok(Secret::new(token)),
        }
    }

    /// Returns visits of a site and their actions, oldest first. Fails with [`ApiError::Refused`]
    /// if the token may not view them or the visitor log is switched off.
    ///
    /// Hits may be counted twice if Matomo cannot be asked, and asking again costs little, so a
    /// refusal or a response of another kind is believed only the second time.
    pub fn last_visits(&self, query: &VisitQuery) -> ApiResult<Vec<VisitRecord>> {
        let method = "Live.getLastVisitsDetails";
        let (limit, after) = (query.limit.to_string(), query.after.to_string());
        let form = [
            ("idSite", query.idsite),
            ("period", "range"),
            ("date", query.days),
            ("segment", query.segment),
            ("minTimestamp", &after),
            ("filter_limit", &limit),
            ("filter_sort_order", "asc"),
            (
                "showColumns",
                "visitIp,lastActionTimestamp,truncatedActionsCount,actionDetails",
            ),
        ];
        let reply = self.with_retries(|| self.call_with_token(method, &form))?;
        match self.parse(method, reply) {
            Ok(ListReply(visits)) => Ok(visits),
            Err(_) => {
                let ListReply(visits) = self.query(method, &form)?;
                Ok(visits)
            }
        }
    }

    /// Returns the addresses and the user agents that are excluded for all sites, as lists
    /// separated by commas.
    pub fn global_exclusions(&self) -> ApiResult<(String, String)> {
        #[derive(Deserialize)]
        struct ListText(#[serde(deserialize_with = "response::optional_text")] Option<String>);
        let list = |method: &str| {
            let ListText(list) = self.query(method, &[])?;
            Ok(list.unwrap_or_default())
        };
        Ok((
            list("SitesManager.getExcludedIpsGlobal")?,
            list("SitesManager.getExcludedUserAgentsGlobal")?,
        ))
    }

    /// Returns the number of actions of each of these days (`2026-11-15,2026-11-17`, in the site's
    /// time zone), counted in the visitor log. `unique` differs for each call; otherwise Matomo
    /// would return what it counted before.
    pub fn actions_by_day(
        &self,
        idsite: &str,
        days: &str,
        unique: u64,
    ) -> ApiResult<BTreeMap<String, u64>> {
        let segment = format!("actions>=0;actions<={unique}");
        let counts: Value = self.query(
            "VisitsSummary.getActions",
            &[
                ("idSite", idsite),
                ("period", "day"),
                ("date", days),
                ("segment", &segment),
            ],
        )?;
        let counts = counts.as_object().into_iter().flatten();
        let number = |count: &Value| match count {
            Value::String(text) => text.parse().ok(),
            count => count.as_u64(),
        };
        Ok(counts
            .filter_map(|(day, count)| Some((day.clone(), number(count)?)))
            .collect())
    }

    /// Returns the tracking failures that Matomo has noted, which it keeps for two days. Asks once,
    /// without retries. Fails with [`ApiError::Refused`] without the rights of an administrator.
    pub fn tracking_failures(&self) -> ApiResult<Vec<TrackingFailure>> {
        let method = "CoreAdminHome.getTrackingFailures";
        let reply = self.call_with_token(method, &[])?;
        let ListReply(failures) = self.parse(method, reply)?;
        Ok(failures)
    }

    /// Waits. Fails with [`ApiError::Interrupted`] if a shutdown is requested.
    pub fn wait(&self, time: Duration) -> ApiResult<()> {
        let stopped = (self.wait)(time);
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.waited.fetch_add(time, Ordering::Relaxed);
        match stopped {
            true => Err(ApiError::Interrupted),
            false => Ok(()),
        }
    }

    /// How long calls have waited so far instead of being answered.
    pub fn waited(&self) -> Duration {
        Duration::from_millis(self.waited.load(Ordering::Relaxed))
    }

    /// After [`ApiError::Broken`]: whether a call that costs Matomo nothing fails in the same way.
    /// Then it is the server, and not the call.
    pub fn is_broken(&self) -> bool {
        match self.call_with_token("API.getMatomoVersion", &[]) {
            Ok(ApiReply::Retry(failure)) => failure.kind != FailureKind::Connection,
            Ok(ApiReply::Unusable(_)) => true,
            Ok(ApiReply::Json(_) | ApiReply::Refused(_)) | Err(_) => false,
        }
    }

    fn query<T: DeserializeOwned>(&self, method: &str, form: &[(&str, &str)]) -> ApiResult<T> {
        let reply = self.with_retries(|| self.call_with_token(method, form))?;
        self.parse(method, reply)
    }

    /// Repeats a call until its reply is final, as often as the policy allows.
    fn with_retries(&self, call: impl Fn() -> ApiResult<ApiReply>) -> ApiResult<ApiReply> {
        let mut attempt = 1;
        loop {
            match call()? {
                ApiReply::Retry(failure) if self.retry.allows_after(attempt) => {
                    self.pause(attempt, &failure)?;
                }
                ApiReply::Retry(failure) => return Err(failure.give_up(attempt)),
                reply => return Ok(reply),
            }
            attempt += 1;
        }
    }

    fn call_with_token(&self, method: &str, form: &[(&str, &str)]) -> ApiResult<ApiReply> {
        let (unauthorized, advice) = match self.token {
            Some(_) => (
                "the token is wrong or has expired",
                "check that the token is valid and has the necessary access",
            ),
            None => (
                "not authorized (401)",
                "no token was sent: give one with --token-auth-file or MATOMO_TOKEN_AUTH",
            ),
        };
        let terms = CallTerms {
            token: self.token.as_ref(),
            unauthorized,
            advice,
        };
        self.call(method, terms, form)
    }

    /// Makes one attempt.
    fn call(&self, method: &str, terms: CallTerms, form: &[(&str, &str)]) -> ApiResult<ApiReply> {
        let mut all = vec![("module", "API"), ("format", "json"), ("method", method)];
        if !form.iter().any(|(key, _)| *key == "filter_limit") {
            all.push(("filter_limit", "-1"));
        }
        all.extend_from_slice(form);
        if let Some(token) = terms.token {
            all.push(("token_auth", token.expose()));
        }
        let context = CallContext {
            method,
            unauthorized: terms.unauthorized,
            advice: terms.advice,
            reached: self.reached.load(Ordering::Relaxed),
        };
        let reply = classify(self.post(&all)?, context);
        if matches!(reply, ApiReply::Json(_)) {
            self.reached.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    /// POSTs a form in a thread of its own, because a response may take `--request-timeout` and a
    /// shutdown must not wait that long. A thread that is left behind ends with the process.
    fn post(&self, form: &[(&str, &str)]) -> ApiResult<Exchange> {
        let owned: Vec<(String, String)> = form
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let (sender, receiver) = bounded(1);
        let client = self.client.clone();
        let started = thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || {
                let form: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (&**k, &**v)).collect();
                // The receiver is gone after a shutdown.
                let _ = sender.send(client.call(&form));
            });
        if started.is_err() {
            return Ok(self.client.call(form));
        }
        let mut shutdown_began = None;
        loop {
            match receiver.recv_timeout(POLL_INTERVAL) {
                Ok(exchange) => return Ok(exchange),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ApiError::Failed(
                        "the thread of an API call panicked: this is a bug in import-logs"
                            .to_owned(),
                    ));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.requested() => {
                    let began = shutdown_began.get_or_insert_with(Instant::now);
                    if began.elapsed() >= GRACE_PERIOD {
                        return Err(ApiError::Interrupted);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, method: &str, reply: ApiReply) -> ApiResult<T> {
        let body = match reply {
            ApiReply::Json(body) => body,
            ApiReply::Refused(text) => return Err(ApiError::Refused(text)),
            ApiReply::Unusable(text) => return Err(ApiError::Broken(text)),
            ApiReply::Retry(failure) => return Err(failure.give_up(1)),
        };
        // serde's message would quote the response, which may be a token.
        serde_json::from_slice(&body).map_err(|_| {
            ApiError::Failed(format!(
                "{} answered with JSON of an unexpected kind; check the address and Matomo's \
                 version",
                self.place(method)
            ))
        })
    }

    /// Waits before the next attempt.
    fn pause(&self, attempt: u32, failure: &TransientFailure) -> ApiResult<()> {
        let wait = self.retry.wait_after(attempt, failure.retry_after);
        if let Some(hook) = &self.on_retry {
            hook(&Retry {
                failure: failure.brief.clone(),
                number: attempt,
                of: self.retry.attempts.max(1) - 1,
                wait,
                was_reached: self.reached.load(Ordering::Relaxed),
            });
        }
        self.wait(wait)
    }

    fn place(&self, method: &str) -> String {
        format!("{} ({method})", redact::url(self.client.api_url()))
    }
}

/// The form of `API.getBulkRequest` with several questions, each one given by its parameters.
fn bulk_form<'q>(
    questions: impl IntoIterator<Item: AsRef<[(&'q str, &'q str)]>>,
) -> Vec<(String, String)> {
    let question = |(index, parameters): (usize, _)| {
        let question = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(AsRef::<[(&str, &str)]>::as_ref(&parameters))
            .finish();
        (format!("urls[{index}]"), question)
    };
    questions.into_iter().enumerate().map(question).collect()
}

/// The lowest id, as a text.
fn lowest(ListReply(ids): ListReply<SiteId>) -> Option<String> {
    let ids = ids.into_iter().map(|id| id.idsite);
    ids.min_by_key(|id| id.parse::<u64>().unwrap_or(u64::MAX))
}

const SITES_OF_URL: &str = "SitesManager.getSitesIdFromSiteUrl";

#[derive(Deserialize)]
struct SiteId {
    #[serde(deserialize_with = "response::text")]
    idsite: String,
}

/// A reply that is a number or a text, such as an id or a token.
#[derive(Deserialize)]
struct TextReply(#[serde(deserialize_with = "response::text")] String);

/// A reply that is a list.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct ListReply<T>(#[serde(deserialize_with = "response::list")] Vec<T>);

/// How a call is authorized.
#[derive(Clone, Copy)]
struct CallTerms<'a> {
    token: Option<&'a Secret>,
    /// See [`CallContext`].
    unauthorized: &'a str,
    advice: &'a str,
}

#[cfg(test)]
mod tests;
