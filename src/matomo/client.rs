//! The HTTP client: sends one request and returns one [`Exchange`]. It neither classifies nor
//! retries.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use crossbeam_channel::bounded;
use hyper::body::{Frame, SizeHint};
use percent_encoding::percent_decode_str;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Body, Client as HttpClient, RequestBuilder, Response};
use tokio::time::timeout;
use url::{Host, Url, form_urlencoded};

use super::clock::ServerClock;
use super::diagnose::{self, Peer};
use super::exchange::{Exchange, ExchangeResult, HttpResponse, parse_retry_after};
use super::tls::{self, TlsOptions};
use crate::async_thread::AsyncThread;
use crate::error::{Error, Result};
use crate::failpoint::request_body;
use crate::input::bucket::Lease;
use crate::report::redact;
use crate::secret::Secret;

/// Matomo does not treat this user agent as a bot.
const USER_AGENT: &str = "Matomo/LogImport";

/// Apache closes idle connections after 5 seconds. If it did so just as a batch is sent, the batch
/// would be unconfirmed.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// The limit for connecting, or half of `--request-timeout` if that is shorter. It expires before
/// `--request-timeout` does, so that a failed connection is known as such.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A timer that is later than this shows that the process was stopped meanwhile: by SIGSTOP, or
/// with its machine. Then it gets [`LATE_GRACE_PERIOD`] to read what has arrived by then.
const MAX_DELAY: Duration = Duration::from_millis(100);
const LATE_GRACE_PERIOD: Duration = Duration::from_secs(2);

/// How much is kept of a tracker's response: its end, where the JSON follows any debug text.
const TRACKER_RESPONSE_BYTES: usize = 1 << 20;

/// The longest response of the API. A list of 100,000 sites takes about 150 MB.
const MAX_API_RESPONSE_BYTES: usize = 256 << 20;

/// User name and password for HTTP basic authentication.
type BasicAuth = (String, Secret);

#[derive(Clone, Default)]
pub struct ClientOptions {
    /// `--url`, as typed.
    pub url: String,
    /// `--api-url`, as typed. `None` means `url`.
    pub api_url: Option<String>,
    /// `--tracker-url`, as typed: the front ends of Matomo that get the hits. Empty means `url`.
    pub tracker_urls: Vec<String>,
    /// Path of the tracker below each of them; may have a query.
    pub tracker_path: String,
    /// `--auth-user` and `--auth-password`, for all URLs. Takes precedence over credentials in a
    /// URL, which are for that URL only.
    pub basic_auth: Option<BasicAuth>,
    pub accept_invalid_certificate: bool,
    pub ca_certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// The limit from connecting to the headers of the response, and again for its body.
    pub timeout: Duration,
    /// Added to the query of each request.
    pub request_suffix: Option<String>,
    /// Adds `debug=1` to the query of tracking requests.
    pub debug_tracker: bool,
    /// The number of idle connections to keep: one for each recorder.
    pub connections: usize,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("url", &redact::typed_url(&self.url))
            .field("api_url", &self.api_url.as_deref().map(redact::typed_url))
            .field(
                "tracker_urls",
                &self
                    .tracker_urls
                    .iter()
                    .map(|url| redact::typed_url(url))
                    .collect::<Vec<_>>(),
            )
            .field("tracker_path", &self.tracker_path)
            .field("basic_auth", &self.basic_auth)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What Matomo does with hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrackingWay {
    /// It stores them and then answers.
    #[default]
    Direct,
    /// Its plugin QueuedTracking puts them into a queue and answers. They are stored later.
    Queue,
}

/// Sends requests to the tracker and the API over persistent connections. Cheap to clone; clones
/// share the connections.
#[derive(Clone)]
pub struct Client {
    endpoints: Arc<Endpoints>,
}

struct Endpoints {
    base: Url,
    /// The trackers of all front ends, at least one.
    trackers: Vec<Endpoint>,
    /// The URL of each for hits that go into Matomo's queue.
    queues: Vec<Url>,
    api: Endpoint,
    timeout: Duration,
    clock: ServerClock,
    /// Requests to the tracker so far.
    tracked: AtomicU64,
    /// Sends all requests.
    thread: AsyncThread,
}

/// A body that is not sent once the lease is over. The process may have been stopped just before it
/// is.
struct LeasedBody {
    rest: Option<Bytes>,
    lease: Lease,
}

impl hyper::body::Body for LeasedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let rest = self.rest.take();
        Poll::Ready(rest.map(|bytes| match self.lease.is_valid() {
            true => Ok(Frame::data(bytes)),
            false => Err(io::Error::other(
                "another worker may send these hits by now",
            )),
        }))
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.rest.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(length as u64)
    }
}

/// The tracker or the API, and how to reach it.
struct Endpoint {
    http: HttpClient,
    url: Url,
    peer: Arc<Peer>,
    /// See [`Exchange::endpoint`].
    path: String,
    basic_auth: Option<BasicAuth>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field(
                "trackers",
                &self
                    .endpoints
                    .trackers
                    .iter()
                    .map(|it| &it.peer.url)
                    .collect::<Vec<_>>(),
            )
            .field("api", &self.endpoints.api.peer.url)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares all endpoints without connecting. Fails if a URL or a certificate file cannot be
    /// used, or if TLS cannot be set up.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        let suffix = options.request_suffix.as_deref();
        let main = BaseUrl::parse(&options.url, "--url")?;
        let api = match &options.api_url {
            Some(typed) => BaseUrl::parse(typed, "--api-url")?,
            None => main.clone(),
        };
        let fronts = options.tracker_urls.iter();
        let fronts = fronts.map(|typed| BaseUrl::parse(typed, "--tracker-url"));
        let mut fronts = fronts.collect::<Result<Vec<_>>>()?;
        if fronts.is_empty() {
            fronts.push(main.clone());
        }
        let mut trackers: Vec<Endpoint> = Vec::new();
        let mut queues = Vec::new();
        for front in fronts {
            let path = &options.tracker_path;
            let url_for = |way| tracker_url(&front.url, path, way, options.debug_tracker, suffix);
            let url = url_for(TrackingWay::Direct);
            queues.push(url_for(TrackingWay::Queue));
            let path = path_below(&front.url, &url);
            trackers.push(Endpoint {
                path,
                ..Endpoint::new(url, &front, options, &trackers)?
            });
        }
        let api_url = api_url(&api.api, suffix);
        let api = Endpoint::new(api_url, &api, options, &trackers)?;
        let thread = AsyncThread::start("http").map_err(|error| {
            Error::stopped(format!(
                "cannot start the thread that sends requests: {error}; check the limits of this \
                 process (ulimit -a)"
            ))
        })?;
        Ok(Self {
            endpoints: Arc::new(Endpoints {
                base: main.url,
                trackers,
                queues,
                api,
                timeout: options.timeout,
                clock: ServerClock::default(),
                tracked: AtomicU64::new(0),
                thread,
            }),
        })
    }

    /// Parses the value of `--url`. Returns it without credentials.
    pub fn parse_url(typed: &str) -> Result<Url> {
        BaseUrl::parse(typed, "--url").map(|base| base.url)
    }

    /// The passwords for HTTP basic authentication, from options or URLs, as they are and as the
    /// header has them.
    pub fn secrets(&self) -> Vec<Secret> {
        let secrets = |endpoint: &Endpoint| {
            let (user, password) = endpoint.basic_auth.as_ref()?;
            let request = endpoint.http.post(endpoint.url.clone());
            let request = request.basic_auth(user, Some(password.expose())).build();
            let header = request
                .ok()?
                .headers()
                .get(AUTHORIZATION)?
                .to_str()
                .ok()?
                .to_owned();
            let encoded = header.strip_prefix("Basic ")?;
            Some([password.clone(), Secret::new(encoded)])
        };
        self.endpoints().filter_map(secrets).flatten().collect()
    }

    /// The addresses of servers on other machines that are reached without TLS, one for each host
    /// and port.
    pub fn unencrypted(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.endpoints()
            .filter(|endpoint| endpoint.url.scheme() == "http" && !is_loopback(&endpoint.url))
            .filter(|endpoint| seen.insert(endpoint.url.origin()))
            .map(|endpoint| endpoint.peer.url.as_str())
            .collect()
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let trackers = self.endpoints.trackers.iter();
        trackers.chain([&self.endpoints.api])
    }

    /// The number of front ends that get hits.
    pub fn fronts(&self) -> usize {
        self.endpoints.trackers.len()
    }

    /// Matomo's address, `--url`, without credentials.
    pub fn url(&self) -> &Url {
        &self.endpoints.base
    }

    /// The URL of API calls. Its query may be confidential.
    pub fn api_url(&self) -> &Url {
        &self.endpoints.api.url
    }

    /// The clock of the server.
    pub fn clock(&self) -> &ServerClock {
        &self.endpoints.clock
    }

    /// Number of requests to the tracker so far, whatever came of them.
    pub fn tracked(&self) -> u64 {
        self.endpoints.tracked.load(Relaxed)
    }

    /// POSTs a batch of tracking requests, given as JSON, to the front end with this number, from
    /// 0.
    pub fn track(&self, front: usize, body: Bytes, way: TrackingWay) -> Exchange {
        self.track_body(front, request_body(body), way)
    }

    /// The same, but nothing is sent once the lease is over.
    pub fn track_leased(&self, front: usize, body: Bytes, lease: &Lease) -> Exchange {
        let body = LeasedBody {
            rest: Some(body),
            lease: lease.clone(),
        };
        self.track_body(front, Body::wrap(body), TrackingWay::Direct)
    }

    fn track_body(&self, front: usize, body: Body, way: TrackingWay) -> Exchange {
        self.endpoints.tracked.fetch_add(1, Relaxed);
        let endpoint = &self.endpoints.trackers[front];
        let url = match way {
            TrackingWay::Direct => &endpoint.url,
            TrackingWay::Queue => &self.endpoints.queues[front],
        };
        let limit = BodyLimit::Tail(TRACKER_RESPONSE_BYTES);
        Exchange {
            to_queue: way == TrackingWay::Queue,
            ..self.post(endpoint, url, "application/json", body, limit)
        }
    }

    /// POSTs a form to the API.
    pub fn call(&self, form: &[(&str, &str)]) -> Exchange {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let api = &self.endpoints.api;
        self.post(
            api,
            &api.url,
            "application/x-www-form-urlencoded",
            body.into(),
            BodyLimit::Whole(MAX_API_RESPONSE_BYTES),
        )
    }

    fn post(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        content_type: &str,
        body: Body,
        limit: BodyLimit,
    ) -> Exchange {
        let mut request = endpoint
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, content_type)
            .body(body);
        if let Some((user, password)) = &endpoint.basic_auth {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let (sender, receiver) = bounded(1);
        let (peer, limits) = (Arc::clone(&endpoint.peer), (self.endpoints.timeout, limit));
        let clock = self.clock().clone();
        self.endpoints.thread.handle.spawn(async move {
            let _ = sender.send(exchange(request, &peer, limits, &clock).await);
        });
        // Only a panic in that thread leaves no result.
        let result = receiver
            .recv()
            .unwrap_or_else(|_| diagnose::no_response("the request was dropped", &endpoint.peer));
        Exchange {
            url: endpoint.peer.url.clone(),
            option: endpoint.peer.option,
            endpoint: endpoint.path.clone(),
            to_queue: false,
            result,
        }
    }
}

impl Endpoint {
    /// Shares the connections of one of `others` that is reached the same way.
    fn new(url: Url, base: &BaseUrl, options: &ClientOptions, others: &[Endpoint]) -> Result<Self> {
        let is_reached_alike = |other: &&Endpoint| {
            other.url.scheme() == url.scheme() && is_loopback(&other.url) == is_loopback(&url)
        };
        let http = match others.iter().find(is_reached_alike) {
            Some(other) => other.http.clone(),
            None => http_client(&url, options)?,
        };
        Ok(Self {
            http,
            peer: Arc::new(Peer {
                url: redact::url(&url),
                host: url.host_str().unwrap_or_default().to_owned(),
                option: base.option,
                proxied: proxy_for(&url).is_some(),
            }),
            path: String::new(),
            basic_auth: options
                .basic_auth
                .clone()
                .or_else(|| base.basic_auth.clone()),
            url,
        })
    }
}

/// A URL as typed, parsed and without its credentials. See guide/options.md, "Addresses".
#[derive(Clone)]
struct BaseUrl {
    /// Without the name of one of Matomo's scripts.
    url: Url,
    /// As `url`, but with `index.php` if it was typed.
    api: Url,
    basic_auth: Option<BasicAuth>,
    /// Where it was typed: `--url`, `--tracker-url` or `--api-url`.
    option: &'static str,
}

impl BaseUrl {
    /// Parses the value of `option`. A URL without a scheme is `http://`. Fails if the URL is
    /// invalid or cannot be used for requests.
    fn parse(typed: &str, option: &'static str) -> Result<Self> {
        let typed = typed.trim();
        let wrong = |why: &str| {
            Error::usage(format!(
                "{option}={}: {why}; it should look like https://stats.example.com/matomo/",
                redact::typed_url(typed)
            ))
        };
        if typed.is_empty() {
            return Err(wrong("the address is empty"));
        }
        let full = match typed.contains("://") {
            true => typed.to_owned(),
            false => format!("http://{typed}"),
        };
        let mut url =
            Url::parse(&full).map_err(|e| wrong(&format!("this is not a valid URL ({e})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("only http and https are supported"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "leave out what follows ? or # (--request-suffix adds to the query)",
            ));
        }
        let basic_auth = (!url.username().is_empty() || url.password().is_some()).then(|| {
            let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            (
                decode(url.username()),
                Secret::new(decode(url.password().unwrap_or_default())),
            )
        });
        // Neither fails for http and https.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let without = |scripts: &[&str]| {
            let mut url = url.clone();
            if let Some(path) = scripts
                .iter()
                .find_map(|script| url.path().strip_suffix(script))
            {
                let path = format!("{path}/");
                url.set_path(&path);
            }
            url
        };
        Ok(Self {
            api: without(&["/piwik.php", "/matomo.php"]),
            url: without(&["/piwik.php", "/matomo.php", "/index.php"]),
            basic_auth,
            option,
        })
    }
}

/// The URL of tracking requests. `path` may have a query.
fn tracker_url(base: &Url, path: &str, way: TrackingWay, debug: bool, suffix: Option<&str>) -> Url {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut url = base.clone();
    url.set_path(&format!(
        "{}/{}",
        base.path().trim_end_matches('/'),
        path.trim_start_matches('/')
    ));
    let debug = if debug { "debug=1" } else { "" };
    let way = match way {
        TrackingWay::Direct => "queuedtracking=0",
        TrackingWay::Queue => "queuedtracking=1",
    };
    with_query(url, &[query, way, debug, suffix.unwrap_or("")])
}

/// The URL of API calls: the base URL with one slash at its end, unless it names a PHP file.
fn api_url(base: &Url, suffix: Option<&str>) -> Url {
    let mut url = base.clone();
    if !base.path().ends_with(".php") {
        url.set_path(&format!("{}/", base.path().trim_end_matches('/')));
    }
    with_query(url, &[suffix.unwrap_or("")])
}

/// The part of a URL's path that follows its base, without a leading slash.
fn path_below(base: &Url, url: &Url) -> String {
    let base = base.path().trim_end_matches('/');
    let rest = url.path().strip_prefix(base).unwrap_or_default();
    rest.trim_start_matches('/').to_owned()
}

fn with_query(mut url: Url, parts: &[&str]) -> Url {
    let query = parts
        .iter()
        .map(|part| part.trim_matches(['?', '&']))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("&");
    url.set_query((!query.is_empty()).then_some(&*query));
    url
}

/// Whether the server runs on this machine. It is then reached without a proxy.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The proxy that the environment names for a URL. `NO_PROXY` may still exclude the URL's host.
fn proxy_for(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let names = match url.scheme() {
        "https" => ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    names
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn http_client(url: &Url, options: &ClientOptions) -> Result<HttpClient> {
    let mut builder = HttpClient::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT.min(options.timeout / 2))
        .pool_idle_timeout(MAX_IDLE)
        .pool_max_idle_per_host(options.connections.max(1));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    let secure =
        url.scheme() == "https" || proxy_for(url).is_some_and(|proxy| proxy.starts_with("https:"));
    builder = match secure {
        true => tls::secure(
            builder,
            &TlsOptions {
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
            "cannot set up connections to {}: {why}; check the certificate options, and that the \
             system's root certificates (ca-certificates) are installed",
            redact::url(url)
        ))
    })
}

/// Sends a request and reads the response, with a limit of time for each.
async fn exchange(
    request: RequestBuilder,
    peer: &Peer,
    (timeout, limit): (Duration, BodyLimit),
    clock: &ServerClock,
) -> ExchangeResult {
    match in_time(timeout, request.send()).await {
        Some(Ok(response)) => {
            let date = response.headers().get(DATE);
            let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
            date.into_iter().for_each(|date| clock.set(date));
            ExchangeResult::Response(read_response(response, limit, timeout).await)
        }
        Some(Err(error)) => diagnose::request_error(&error, peer),
        None => diagnose::timed_out(peer),
    }
}

/// Waits for a result for `limit`. Returns `None` if it takes longer. Time in which the process was
/// stopped does not count against what arrived in it.
async fn in_time<T>(limit: Duration, result: impl Future<Output = T>) -> Option<T> {
    let begun = Instant::now();
    let mut result = pin!(result);
    if let Ok(result) = timeout(limit, &mut result).await {
        return Some(result);
    }
    match begun.elapsed().saturating_sub(limit) > MAX_DELAY {
        true => timeout(LATE_GRACE_PERIOD, result).await.ok(),
        false => None,
    }
}

async fn read_response(
    mut response: Response,
    limit: BodyLimit,
    timeout: Duration,
) -> HttpResponse {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after =
        text(RETRY_AFTER).and_then(|value| parse_retry_after(value, SystemTime::now()));
    let location = text(LOCATION).map(|to| match response.url().join(to) {
        Ok(url) => redact::url(&url),
        Err(_) => redact::quote(to.as_bytes()),
    });
    let challenge = headers.contains_key(WWW_AUTHENTICATE);
    let status = response.status().as_u16();
    let mut body = ResponseBody {
        limit,
        kept: Vec::new(),
    };
    let complete = in_time(timeout, async {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.keep(&chunk) => {}
                Ok(None) => break true,
                Ok(Some(_)) | Err(_) => break false,
            }
        }
    });
    let complete = complete.await == Some(true);
    let body = body.finish();
    HttpResponse {
        status,
        retry_after,
        location,
        challenge,
        body,
        complete,
    }
}

/// How much of a response body is kept, in bytes.
#[derive(Clone, Copy)]
enum BodyLimit {
    /// The whole body is read, and its last bytes are kept.
    Tail(usize),
    /// The body is kept, and no more is read once it exceeds the limit.
    Whole(usize),
}

/// What was read of a body. Takes less than twice the limit in memory.
struct ResponseBody {
    limit: BodyLimit,
    kept: Vec<u8>,
}

impl ResponseBody {
    /// Adds a part of the body. Returns `false` if the body is too long to be read further.
    fn keep(&mut self, part: &[u8]) -> bool {
        for part in part.chunks(16 * 1024) {
            self.kept.extend_from_slice(part);
            match self.limit {
                BodyLimit::Whole(limit) if self.kept.len() > limit => return false,
                BodyLimit::Tail(limit) if self.kept.len() > 2 * limit => self.cut(limit),
                _ => {}
            }
        }
        true
    }

    fn cut(&mut self, limit: usize) {
        self.kept.drain(..self.kept.len().saturating_sub(limit));
    }

    fn finish(mut self) -> Vec<u8> {
        if let BodyLimit::Tail(limit) = self.limit {
            self.cut(limit);
        }
        self.kept
    }
}

#[cfg(test)]
mod tests;
