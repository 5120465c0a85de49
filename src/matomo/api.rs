//! Questions to Matomo's API, each with its answer's type (SPEC section 7).
//!
//! Calls are POST forms; the token stands in the body, never in an address. What may heal is asked again, as
//! `--retry-max-attempts` and `--retry-delay` say.

mod error;
mod reply;
mod site;
mod visits;

pub use error::ApiError;
pub use site::Site;
pub use visits::{SeenAction, Visit, VisitQuery, any_of};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::exchange::Exchange;
use super::retry::{RetryPolicy, Waiter};
use crate::secret::Secret;
use crate::shutdown::Shutdown;
use error::gave_up;
use reply::{Known, List, Reply, Text};
use site::RawSite;

/// How often a question looks whether the program is to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// An answer that is nearly there is waited for all the same: it may save the next run the question.
const PATIENCE: Duration = Duration::from_secs(1);

type Answered<T> = Result<T, ApiError>;

/// The API behind a client. Cheap to clone; may be used by many threads at once.
#[derive(Clone)]
pub struct Api {
    client: Client,
    token: Option<Secret>,
    retry: RetryPolicy,
    wait: Waiter,
    stop: Shutdown,
    /// Matomo has answered: what forbids or hides the address later may heal.
    reached: Arc<AtomicBool>,
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
        }
    }

    /// The site with this id. [`ApiError::Refused`]: there is none, or the token may not see it.
    pub fn site(&self, id: &str) -> Answered<Site> {
        self.ask::<RawSite>("SitesManager.getSiteFromId", &[("idSite", id)])
            .map(Site::from)
    }

    /// The id of the site that has this host among its addresses; the first, where there are several.
    pub fn site_of_host(&self, host: &str) -> Answered<Option<String>> {
        #[derive(Deserialize)]
        struct Id {
            idsite: Text,
        }
        let List(ids) =
            self.ask::<List<Id>>("SitesManager.getSitesIdFromSiteUrl", &[("url", host)])?;
        Ok(ids.into_iter().next().map(|id| id.idsite.0))
    }

    /// All sites that the token may see.
    pub fn all_sites(&self) -> Answered<Vec<Site>> {
        let List(sites) = self.ask::<List<RawSite>>("SitesManager.getAllSites", &[])?;
        Ok(sites.into_iter().map(Site::from).collect())
    }

    /// Creates a site for a host and gives its id. [`ApiError::Refused`]: it may not be created.
    ///
    /// Matomo makes a second site of a second call, so after an answer that was lost it is asked first whether
    /// the site is there now.
    pub fn add_site(&self, host: &str) -> Answered<String> {
        let method = "SitesManager.addSite";
        let form = [("siteName", host), ("urls[0]", &*format!("http://{host}"))];
        let mut attempt = 1;
        loop {
            let again = match self.once(method, self.token.as_ref(), &form)? {
                Reply::Again(again) => again,
                done => return self.typed::<Text>(method, done).map(|id| id.0),
            };
            let last = !self.retry.allows_after(attempt);
            if again.untouched && last {
                return Err(gave_up(again, attempt));
            }
            self.pause(attempt, again.retry_after)?;
            if !again.untouched {
                if let Some(id) = self.site_of_host(host)? {
                    return Ok(id);
                }
                if last {
                    return Err(gave_up(again, attempt));
                }
            }
            attempt += 1;
        }
    }

    /// A token for a user, good for 48 hours (SPEC section 2, `--login`).
    pub fn create_token(&self, login: &str, password: &Secret) -> Answered<Secret> {
        let method = "UsersManager.createAppSpecificTokenAuth";
        let form = [
            ("userLogin", login),
            ("passwordConfirmation", password.expose()),
            ("description", "Log importer"),
            ("expireHours", "48"),
        ];
        let reply = self.repeat(|| self.once(method, None, &form))?;
        let token: Text = self.typed(method, reply)?;
        match token.0.trim() {
            "" => Err(ApiError::Failed(format!(
                "{} gave an empty token for --login={login}",
                self.place(method)
            ))),
            token => Ok(Secret::new(token)),
        }
    }

    /// One page of a site's visits with what was done in them. [`ApiError::Refused`]: there is no right to view
    /// them, or the visitor log is switched off.
    pub fn last_visits(&self, query: &VisitQuery) -> Answered<Vec<Visit>> {
        let (limit, offset) = (query.limit.to_string(), query.offset.to_string());
        self.ask(
            "Live.getLastVisitsDetails",
            &[
                ("idSite", query.idsite),
                ("period", "range"),
                ("date", query.days),
                ("segment", query.segment),
                ("filter_limit", &limit),
                ("filter_offset", &offset),
            ],
        )
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, form: &[(&str, &str)]) -> Answered<T> {
        let reply = self.repeat(|| self.once(method, self.token.as_ref(), form))?;
        self.typed(method, reply)
    }

    /// Asks until there is an answer that asking again does not change, as often as the policy allows.
    fn repeat(&self, once: impl Fn() -> Answered<Reply>) -> Answered<Reply> {
        let mut attempt = 1;
        loop {
            match once()? {
                Reply::Again(again) if self.retry.allows_after(attempt) => {
                    self.pause(attempt, again.retry_after)?;
                }
                Reply::Again(again) => return Err(gave_up(again, attempt)),
                done => return Ok(done),
            }
            attempt += 1;
        }
    }

    fn once(&self, method: &str, token: Option<&Secret>, form: &[(&str, &str)]) -> Answered<Reply> {
        let mut all = vec![("module", "API"), ("format", "json"), ("method", method)];
        if !form.iter().any(|(key, _)| *key == "filter_limit") {
            all.push(("filter_limit", "-1"));
        }
        all.extend_from_slice(form);
        if let Some(token) = token {
            all.push(("token_auth", token.expose()));
        }
        let known = Known {
            method,
            with_token: token.is_some(),
            reached: self.reached.load(Ordering::Relaxed),
        };
        let reply = reply::read(self.call(&all)?, known);
        if matches!(reply, Reply::Json(_)) {
            self.reached.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    /// One call, in a thread of its own: told to stop, nobody waits much longer for the answer, which may take as long
    /// as `--request-timeout`. A thread that is left behind ends with the program.
    fn call(&self, form: &[(&str, &str)]) -> Answered<Exchange> {
        let owned: Vec<(String, String)> = form
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let (say, answer) = bounded(1);
        let client = self.client.clone();
        let started = thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || {
                let form: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (&**k, &**v)).collect();
                // Nobody listens where the program was told to stop.
                let _ = say.send(client.call(&form));
            });
        if started.is_err() {
            return Ok(self.client.call(form));
        }
        let mut told = None;
        loop {
            match answer.recv_timeout(GLANCE) {
                Ok(exchange) => return Ok(exchange),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(ApiError::Failed(
                        "the thread that asked Matomo broke off: this is a mistake in import-logs"
                            .to_owned(),
                    ));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.requested() => {
                    if told.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                        return Err(ApiError::Interrupted);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn typed<T: DeserializeOwned>(&self, method: &str, reply: Reply) -> Answered<T> {
        let body = match reply {
            Reply::Json(body) => body,
            Reply::Refused(text) => return Err(ApiError::Refused(text)),
            Reply::Odd(text) => return Err(ApiError::Failed(text)),
            Reply::Again(again) => return Err(gave_up(again, 1)),
        };
        // The parser's own words would quote the answer, which may be a token.
        serde_json::from_slice(&body).map_err(|_| {
            ApiError::Failed(format!(
                "{} answered with JSON that is not what this call gives; check the address and Matomo's version",
                self.place(method)
            ))
        })
    }

    fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Answered<()> {
        match (self.wait)(self.retry.wait_after(attempt, retry_after)) {
            true => Err(ApiError::Interrupted),
            false => Ok(()),
        }
    }

    fn place(&self, method: &str) -> String {
        format!("{} ({method})", super::shown::place(self.client.api_url()))
    }
}

#[cfg(test)]
mod tests;
