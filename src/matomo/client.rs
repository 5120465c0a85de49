//! The HTTP client: one request, one [`Exchange`]. It judges nothing and repeats nothing.

mod body;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::blocking::{Body, Client as Http, Response};
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use url::{Url, form_urlencoded};

use super::address::{self, Credentials};
use super::exchange::{Answer, Exchange, Seen, retry_after};
use super::failure::{self, Target};
use super::shown;
use super::tls::{self, Trust};
use crate::error::{Error, Result};
use crate::failpoint::request_body;
use crate::secret::Secret;
use body::Keep;

/// Matomo counts this agent as no bot on purpose (SPEC section 6).
const USER_AGENT: &str = "Matomo/LogImport";

/// Apache closes an idle connection after 5 seconds; one that is closed just when we send on it leaves a batch
/// in doubt.
const IDLE: Duration = Duration::from_secs(4);

/// The longest wait for a connection; shorter where the whole request has less than twice that. It ends before
/// the request's own time, so that it is known that nothing was sent.
const CONNECT: Duration = Duration::from_secs(30);

/// What is kept of a tracker's answer: its end, where Matomo's JSON stands after any debug text.
const TRACKER_ANSWER: usize = 1 << 20;

/// The longest answer of the API: 100,000 sites have about 150 MB.
const API_ANSWER: usize = 256 << 20;

/// What the client is made from; the options of SPEC section 2 as typed.
#[derive(Clone, Default)]
pub struct ClientOptions {
    pub url: String,
    pub api_url: Option<String>,
    pub tracker_path: String,
    /// `--auth-user` and `--auth-password`, for both addresses; wins over credentials inside an address, which
    /// are for that address only.
    pub basic_auth: Option<(String, Secret)>,
    pub accept_invalid_certificate: bool,
    pub ca_certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// From the connecting to the head of the answer, and as long again for the rest of it.
    pub timeout: Duration,
    pub request_suffix: Option<String>,
    pub debug_tracker: bool,
    /// How many idle connections are kept: one for each recorder.
    pub connections: usize,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("url", &address::without_credentials(&self.url))
            .field(
                "api_url",
                &self.api_url.as_deref().map(address::without_credentials),
            )
            .field("tracker_path", &self.tracker_path)
            .field("basic_auth", &self.basic_auth)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Sends requests to the tracker and the API, each over its own kept connections. Cheap to clone; may be used
/// by many threads at once.
#[derive(Clone)]
pub struct Client {
    ends: Arc<Ends>,
}

struct Ends {
    url: Url,
    tracker: End,
    api: End,
    timeout: Duration,
}

/// One of the two addresses, and how to get there.
struct End {
    http: Http,
    url: Url,
    shown: String,
    option: &'static str,
    endpoint: String,
    credentials: Option<Credentials>,
    proxied: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("tracker", &self.ends.tracker.shown)
            .field("api", &self.ends.api.shown)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The passwords for HTTP basic authentication, from options or out of addresses.
    pub fn passwords(&self) -> impl Iterator<Item = &Secret> {
        [&self.ends.tracker, &self.ends.api]
            .into_iter()
            .filter_map(|end| end.credentials.as_ref())
            .map(|(_, password)| password)
    }

    /// Connects to nothing yet. An error: an address is none, a certificate file cannot be used (wrong use), or
    /// TLS cannot be set up.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        let suffix = options.request_suffix.as_deref();
        let main = address::read(&options.url, "--url")?;
        let own_api = match &options.api_url {
            Some(typed) => Some(address::read(typed, "--api-url")?),
            None => None,
        };
        let option = if own_api.is_some() {
            "--api-url"
        } else {
            "--url"
        };
        let tracker_url = address::tracker(
            &main.url,
            &options.tracker_path,
            options.debug_tracker,
            suffix,
        );
        let api_base = own_api.as_ref().unwrap_or(&main);
        let api_url = address::api(&api_base.url, suffix);

        let with =
            |inside: &Option<Credentials>| options.basic_auth.clone().or_else(|| inside.clone());
        let mut tracker = End::new(tracker_url, "--url", with(&main.credentials), options, None)?;
        tracker.endpoint = address::below(&main.url, &tracker.url);
        let api = End::new(
            api_url,
            option,
            with(&api_base.credentials),
            options,
            Some(&tracker),
        )?;
        Ok(Self {
            ends: Arc::new(Ends {
                url: main.url,
                tracker,
                api,
                timeout: options.timeout,
            }),
        })
    }

    /// POSTs a finished body of tracking requests (JSON).
    pub fn track(&self, body: Bytes) -> Exchange {
        self.post(
            &self.ends.tracker,
            "application/json",
            request_body(body),
            Keep::End(TRACKER_ANSWER),
        )
    }

    /// POSTs a form to the API.
    pub fn call(&self, form: &[(&str, &str)]) -> Exchange {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        self.post(
            &self.ends.api,
            "application/x-www-form-urlencoded",
            body.into(),
            Keep::All(API_ANSWER),
        )
    }

    /// Matomo's address, `--url`, without credentials.
    pub fn url(&self) -> &Url {
        &self.ends.url
    }

    /// Where API calls go; the query may hold what the user wants kept to himself.
    pub fn api_url(&self) -> &Url {
        &self.ends.api.url
    }

    fn post(&self, end: &End, content_type: &str, body: Body, keep: Keep) -> Exchange {
        let deadline = Instant::now().checked_add(self.ends.timeout);
        let mut request = end
            .http
            .post(end.url.clone())
            .header(CONTENT_TYPE, content_type)
            .body(body);
        if let Some((user, password)) = &end.credentials {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let seen = match request.send() {
            Ok(response) => Seen::Answer(answer(response, keep, deadline)),
            Err(error) => failure::seen(&error, &end.target()),
        };
        Exchange {
            url: end.shown.clone(),
            option: end.option,
            endpoint: end.endpoint.clone(),
            seen,
        }
    }
}

impl End {
    /// `beside` is the other end: its connections are shared where both take the same way.
    fn new(
        url: Url,
        option: &'static str,
        credentials: Option<Credentials>,
        options: &ClientOptions,
        beside: Option<&End>,
    ) -> Result<Self> {
        let same_way = |other: &&End| {
            other.url.scheme() == url.scheme()
                && address::is_loopback(&other.url) == address::is_loopback(&url)
        };
        let http = match beside.filter(same_way) {
            Some(other) => other.http.clone(),
            None => http(&url, options)?,
        };
        Ok(Self {
            http,
            shown: shown::place(&url),
            option,
            endpoint: String::new(),
            credentials,
            proxied: !address::is_loopback(&url) && proxy_for(url.scheme()).is_some(),
            url,
        })
    }

    fn target(&self) -> Target<'_> {
        Target {
            shown: &self.shown,
            host: self.url.host_str().unwrap_or_default(),
            option: self.option,
            proxied: self.proxied,
        }
    }
}

fn http(url: &Url, options: &ClientOptions) -> Result<Http> {
    let mut builder = Http::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .timeout(options.timeout)
        .connect_timeout(CONNECT.min(options.timeout / 2))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(options.connections.max(1));
    if address::is_loopback(url) {
        builder = builder.no_proxy();
    }
    let proxy = proxy_for(url.scheme()).filter(|_| !address::is_loopback(url));
    let secure = url.scheme() == "https" || proxy.is_some_and(|p| p.starts_with("https:"));
    builder = match secure {
        true => tls::secure(
            builder,
            &Trust {
                accept_invalid: options.accept_invalid_certificate,
                ca: options.ca_certificate.as_deref(),
                certificate: options.client_certificate.as_deref(),
                key: options.client_key.as_deref(),
            },
        )?,
        false => tls::plain(builder)?,
    };
    builder.build().map_err(|e| {
        let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        Error::stopped(format!(
            "cannot set up connections to {}: {why}; check the certificate options, and that the system's \
             root certificates (ca-certificates) are installed",
            shown::place(url)
        ))
    })
}

/// The proxy that the environment names for a scheme.
fn proxy_for(scheme: &str) -> Option<String> {
    let names = match scheme {
        "https" => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    names
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn answer(mut response: Response, keep: Keep, deadline: Option<Instant>) -> Answer {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = text(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
    let location = text(LOCATION).map(|to| match response.url().join(to) {
        Ok(url) => shown::place(&url),
        Err(_) => shown::excerpt(to.as_bytes()),
    });
    let challenge = headers.contains_key(WWW_AUTHENTICATE);
    let status = response.status().as_u16();
    let (body, whole) = body::read(&mut response, keep, deadline);
    Answer {
        status,
        retry_after,
        location,
        challenge,
        body,
        whole,
    }
}

#[cfg(test)]
mod tests;
