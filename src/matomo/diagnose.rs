//! Messages about failed exchanges: what failed, where, the likely cause, and what to do.

use std::error::Error as StdError;
use std::io;

use reqwest::StatusCode;
use rustls::AlertDescription;
use url::Url;

use super::exchange::{ConnectFailure, Exchange, ExchangeResult, HttpResponse};
use crate::report::redact;

/// The server of a request, as messages name it.
pub(super) struct Peer {
    /// The URL of the request, redacted.
    pub url: String,
    pub host: String,
    /// `--url` or `--api-url`.
    pub option: &'static str,
    /// The environment names a proxy for this server, unless `NO_PROXY` excludes it.
    pub proxied: bool,
}

/// Classifies an error that occurred before the headers of a response were read.
///
/// Only an error from before the connection was established means that nothing was sent: it is not
/// known how much of a body has left the buffers.
pub(super) fn request_error(error: &reqwest::Error, peer: &Peer) -> ExchangeResult {
    let tls = find::<rustls::Error>(error);
    let rejected = tls.is_some_and(is_client_certificate_alert);
    if error.is_connect() || error.is_builder() || rejected {
        let cause = connect_failure(error, tls, rejected, peer);
        return ExchangeResult::NotSent {
            cause,
            detail: cannot_reach(cause, rejected, &root_cause(error), peer),
        };
    }
    no_response(&root_cause(error), peer)
}

/// The result if the connection was lost before the headers of a response were read.
pub(super) fn no_response(why: &str, peer: &Peer) -> ExchangeResult {
    ExchangeResult::NoResponse {
        timed_out: false,
        detail: format!(
            "the connection to {} was lost before the response arrived ({why}); see the log of \
             that web server",
            peer.url
        ),
    }
}

/// The result if no response began in time.
pub(super) fn timed_out(peer: &Peer) -> ExchangeResult {
    ExchangeResult::NoResponse {
        timed_out: true,
        detail: format!(
            "{} gave no answer in time; check whether the server is overloaded, or raise \
             --request-timeout",
            peer.url
        ),
    }
}

fn connect_failure(
    error: &reqwest::Error,
    tls: Option<&rustls::Error>,
    rejected: bool,
    peer: &Peer,
) -> ConnectFailure {
    let io_kinds = || {
        causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
    };
    match tls {
        Some(tls) if rejected || is_server_certificate_error(tls) => ConnectFailure::Certificate,
        Some(_) => ConnectFailure::Tls,
        None if error.is_dns() => ConnectFailure::UnknownHost,
        None if error.is_timeout() => ConnectFailure::Timeout,
        None if io_kinds().next() == Some(io::ErrorKind::ConnectionRefused) => {
            ConnectFailure::Refused
        }
        // A server without TLS hangs up when it cannot read the handshake.
        None if peer.url.starts_with("https:")
            && io_kinds().any(|kind| {
                matches!(
                    kind,
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                )
            }) =>
        {
            ConnectFailure::Tls
        }
        None => ConnectFailure::Other,
    }
}

/// Explains a failed connection. `rejected` means that the server sent an alert about the client
/// certificate.
fn cannot_reach(cause: ConnectFailure, rejected: bool, root_cause: &str, peer: &Peer) -> String {
    let Peer {
        url,
        host,
        option,
        proxied,
    } = peer;
    let advice = match cause {
        ConnectFailure::UnknownHost => {
            format!("there is no host \"{host}\", or the name server is down; check {option}")
        }
        ConnectFailure::Refused => format!(
            "connection refused; check host and port in {option}, and that the server is running"
        ),
        ConnectFailure::Timeout => format!(
            "the connection timed out; check host and port in {option}, and firewalls in between"
        ),
        ConnectFailure::Certificate if rejected => format!(
            "the server requires a client certificate, or rejected the one it received \
             ({root_cause}); check --client-certificate and --client-key"
        ),
        ConnectFailure::Certificate => format!(
            "its certificate is not trusted ({root_cause}); for a private authority give \
             --ca-certificate=FILE, or skip the check with --accept-invalid-ssl-certificate"
        ),
        ConnectFailure::Tls => format!(
            "the TLS handshake failed ({root_cause}); check that the port in {option} speaks https"
        ),
        ConnectFailure::Other => {
            format!("the connection failed ({root_cause}); check {option} and the network")
        }
    };
    let proxy = match proxied {
        true => " (through the proxy set in the environment, unless NO_PROXY lists this host)",
        false => "",
    };
    format!("cannot reach {url}: {advice}{proxy}")
}

fn is_server_certificate_error(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
    )
}

/// Whether the server ended the handshake because of the client certificate. In TLS 1.3 the alert
/// arrives after the client considers the connection established, but the server has not passed on
/// anything that was sent on it.
fn is_client_certificate_alert(error: &rustls::Error) -> bool {
    use AlertDescription as Alert;
    matches!(
        error,
        rustls::Error::AlertReceived(
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::NoCertificate
                // TLS 1.2 servers send this if they receive no certificate.
                | Alert::HandshakeFailure
        )
    )
}

/// The first error of a type in the chain of causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn root_cause(error: &reqwest::Error) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, |cause| cause.to_string())
}

/// An error and its causes. The `source` of an I/O error skips the error that it wraps, so that one
/// is inserted.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| {
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(|io| io.get_ref())
            .map(|inner| inner as &(dyn StdError + 'static));
        wrapped.or_else(|| cause.source())
    })
}

/// Says in a few words what failed, without the URL and without advice.
pub(super) fn brief(exchange: &Exchange) -> String {
    let server = Url::parse(&exchange.url).ok().and_then(|url| {
        let port = url.port_or_known_default()?;
        Some(format!("{}:{port}", url.host_str()?))
    });
    let server = server.unwrap_or_else(|| exchange.url.clone());
    match &exchange.result {
        ExchangeResult::NotSent { cause, .. } => {
            let why = match cause {
                ConnectFailure::UnknownHost => "unknown host name",
                ConnectFailure::Refused => "connection refused",
                ConnectFailure::Certificate => "its certificate is not trusted",
                ConnectFailure::Tls => "the TLS handshake failed",
                ConnectFailure::Timeout => "the connection timed out",
                ConnectFailure::Other => "the connection failed",
            };
            format!("cannot reach {server}: {why}")
        }
        ExchangeResult::NoResponse {
            timed_out: true, ..
        } => {
            format!("{server} gave no answer in time")
        }
        ExchangeResult::NoResponse { .. } => format!("{server} closed the connection"),
        ExchangeResult::Response(response) => {
            format!("{server} answered {}{}", response.status, reason(response))
        }
    }
}

/// The text of a status, in parentheses.
fn reason(response: &HttpResponse) -> String {
    StatusCode::from_u16(response.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// Describes a response: `http://m/piwik.php answered 404 (Not Found) with an HTML page titled
/// "..."`.
pub(super) fn describe(exchange: &Exchange, response: &HttpResponse) -> String {
    let reason = reason(response);
    let body = match (response.complete, response.body.is_empty()) {
        (true, _) => format!("with {}", describe_body(&response.body)),
        (false, true) => "but sent no body".to_owned(),
        (false, false) => format!("with only a part of {}", describe_body(&response.body)),
    };
    format!(
        "{} answered {}{reason} {body}",
        exchange.url, response.status
    )
}

/// Answers that are not JSON, and where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// The image for a request that tracks a single page view.
    Pixel,
    /// What Matomo's tracker says to a request without parameters.
    Notice,
    /// Status 204, which the tracker sends instead of the image on request.
    NoContent,
    /// A page that asks for a password.
    Login,
    /// Another HTML page.
    Page,
    /// A message of PHP.
    PhpMessage,
}

/// Recognizes an answer that is not JSON.
pub(super) fn answer_kind(response: &HttpResponse) -> Option<AnswerKind> {
    let body = response.body.trim_ascii_start();
    let page = String::from_utf8_lossy(&body[..body.len().min(64 * 1024)]).to_ascii_lowercase();
    if response.status == 204 {
        return Some(AnswerKind::NoContent);
    }
    if body.starts_with(b"GIF8") {
        return Some(AnswerKind::Pixel);
    }
    if page.contains("free/libre analytics") || page.contains("keep full control of your data") {
        return Some(AnswerKind::Notice);
    }
    if page.contains("type=\"password\"") || page.contains("type='password'") {
        return Some(AnswerKind::Login);
    }
    if is_php_message(&page) {
        return Some(AnswerKind::PhpMessage);
    }
    page.starts_with('<').then_some(AnswerKind::Page)
}

/// Whether a text, in lower case, begins with a message of PHP, as HTML or as plain text.
fn is_php_message(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let start = start.strip_prefix("<br />").unwrap_or(start).trim_start();
    let start = start.strip_prefix("<b>").unwrap_or(start);
    let start = start.strip_prefix("php ").unwrap_or(start);
    [
        "notice",
        "warning",
        "deprecated",
        "strict standards",
        "fatal error",
        "parse error",
    ]
    .iter()
    .filter_map(|level| start.strip_prefix(level))
    .any(|rest| rest.starts_with("</b>:") || rest.starts_with(": "))
}

/// Describes a body: an HTML page by its title, anything else by its first words.
pub(super) fn describe_body(body: &[u8]) -> String {
    let start = body.trim_ascii_start();
    if start.is_empty() {
        return "an empty body".into();
    }
    if start.starts_with(b"GIF8") {
        return "a GIF image".into();
    }
    match html_title(start) {
        Some(title) => format!(
            "an HTML page titled \"{}\"",
            redact::quote(title.as_bytes())
        ),
        None if start.starts_with(b"<") => format!("HTML ({})", redact::quote(start)),
        None => format!("\"{}\"", redact::quote(start)),
    }
}

/// The text of the first `<title>` in the first 16 KiB.
fn html_title(html: &[u8]) -> Option<String> {
    let page = String::from_utf8_lossy(&html[..html.len().min(16 * 1024)]);
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title = page[start..end].trim();
    (!title.is_empty()).then(|| title.to_owned())
}

/// What to do about a response that means the same for tracker and API. Empty if unknown.
pub(super) fn advice(exchange: &Exchange, response: &HttpResponse) -> String {
    let option = exchange.option;
    match response.status {
        200..=299 if !response.complete => {
            "the connection was lost or --request-timeout expired; see the server's log".into()
        }
        300..=399 => redirect_advice(exchange, response),
        401 if response.challenge => "the web server asks for a user name and password: check \
                                      --auth-user and --auth-password"
            .into(),
        403 => format!(
            "the web server or a firewall in front of Matomo forbids it: check {option} and the \
             access rules"
        ),
        404 | 405 | 410 => format!("there is no Matomo at this address: check {option}"),
        407 => "the proxy asks for a login: check the proxy in the environment (HTTP_PROXY, \
                HTTPS_PROXY)"
            .into(),
        408 => "the request arrived too slowly for the web server".into(),
        429 => "the web server limits the rate of requests: try fewer --recorders".into(),
        502 | 504 => "PHP behind the web server is down or too slow: see its log".into(),
        503 => "Matomo is in maintenance mode, or the web server is overloaded".into(),
        500..=599 => "Matomo failed: see the logs of Matomo and PHP".into(),
        200..=299 => unknown_answer_advice(exchange, response),
        _ => String::new(),
    }
}

/// What to do about an answer that is not JSON.
fn unknown_answer_advice(exchange: &Exchange, response: &HttpResponse) -> String {
    let option = exchange.option;
    match answer_kind(response) {
        Some(AnswerKind::Pixel | AnswerKind::Notice) => format!(
            "Matomo's tracker got the request without its body, or its BulkTracking plugin is \
             switched off: check {option}, and redirects and proxies on the way"
        ),
        Some(AnswerKind::NoContent) => format!(
            "this is not Matomo's answer to a batch: check {option}, proxies on the way, and \
             that its BulkTracking plugin is switched on"
        ),
        Some(AnswerKind::Login) => format!(
            "this is a login page and not an answer of Matomo: check {option}, and whether \
             something in front of it asks for a login"
        ),
        Some(AnswerKind::PhpMessage) => "PHP on that server writes messages into its answers: set \
                                         display_errors=Off in its php.ini, and see its log"
            .into(),
        Some(AnswerKind::Page) | None => {
            format!("this is not a response of Matomo: check {option}")
        }
    }
}

/// Joins a description and advice, which may be empty.
pub(super) fn sentence(what: &str, advice: &str) -> String {
    match advice {
        "" => what.to_owned(),
        advice => format!("{what}; {advice}"),
    }
}

/// Redirects are not followed: a POST would lose its body, and the token could leak to another
/// server.
fn redirect_advice(exchange: &Exchange, response: &HttpResponse) -> String {
    let option = exchange.option;
    let Some(location) = &response.location else {
        return format!("the redirect names no address: check {option}");
    };
    match moved_base(&exchange.url, &exchange.endpoint, location) {
        Some(base) => format!("Matomo has moved: use {option}={base}"),
        None => format!("it redirects to {location}, which is not followed: check {option}"),
    }
}

/// The new base URL, if a redirect leads to the same file under another base. `endpoint` is the
/// part of the URL that follows the base.
fn moved_base(from: &str, endpoint: &str, to: &str) -> Option<String> {
    let (from, mut to) = (Url::parse(from).ok()?, Url::parse(to).ok()?);
    let file = |url: &Url| {
        url.path_segments()
            .and_then(|mut segments| segments.next_back())
            .map(str::to_owned)
    };
    if file(&from) != file(&to) || from == to {
        return None;
    }
    let base = to.path().strip_suffix(endpoint)?.to_owned();
    to.set_path(&base);
    Some(to.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_described_by_its_title() {
        let page = b"<!DOCTYPE html>\n<html><head><TITLE lang=en> Sign\n in </TITLE>";
        assert_eq!(describe_body(page), "an HTML page titled \"Sign in\"");
        assert_eq!(describe_body(b"<p>no"), "HTML (<p>no)");
        assert_eq!(describe_body(b" \n"), "an empty body");
        assert_eq!(describe_body(b"down"), "\"down\"");
    }

    #[test]
    fn answers_that_are_no_json_are_recognized() {
        let kind = |status, body: &str| {
            answer_kind(&HttpResponse {
                status,
                retry_after: None,
                location: None,
                challenge: false,
                body: body.as_bytes().to_vec(),
                complete: true,
            })
        };
        for (body, expected) in [
            ("GIF89a\u{1}", Some(AnswerKind::Pixel)),
            (
                "This resource is part of Matomo. Keep full control of your data with the leading \
                 free/libre analytics platform",
                Some(AnswerKind::Notice),
            ),
            (
                "<html><title>Sign in</title><input type=\"password\" name=p>",
                Some(AnswerKind::Login),
            ),
            (
                "<br />\n<b>Notice</b>:  Undefined index: x in /var/www/a.php on line <b>1</b>",
                Some(AnswerKind::PhpMessage),
            ),
            ("\nPHP Warning: no in a.php", Some(AnswerKind::PhpMessage)),
            ("Deprecated: x() in a.php", Some(AnswerKind::PhpMessage)),
            ("<p>It works!", Some(AnswerKind::Page)),
            ("Noticeable", None),
            ("", None),
            ("OK", None),
        ] {
            assert_eq!(kind(200, body), expected, "{body}");
        }
        assert_eq!(kind(204, ""), Some(AnswerKind::NoContent));
    }

    #[test]
    fn a_redirect_to_the_same_file_names_the_new_base() {
        for (from, endpoint, to, want) in [
            (
                "http://m/piwik.php",
                "piwik.php",
                "https://m/piwik.php",
                Some("https://m/"),
            ),
            (
                "http://m/piwik.php",
                "piwik.php",
                "https://www.m/a/piwik.php",
                Some("https://www.m/a/"),
            ),
            (
                "http://m/js/tracker.php",
                "js/tracker.php",
                "https://m/js/tracker.php",
                Some("https://m/"),
            ),
            (
                "http://m/js/tracker.php",
                "js/tracker.php",
                "https://m/tracker.php",
                None,
            ),
            ("http://m/a/", "", "https://m/a/", Some("https://m/a/")),
            (
                "http://m/index.php",
                "",
                "https://m/index.php",
                Some("https://m/index.php"),
            ),
            ("http://m/piwik.php", "piwik.php", "https://m/login", None),
            (
                "http://m/piwik.php",
                "piwik.php",
                "http://m/piwik.php",
                None,
            ),
            ("http://m/piwik.php", "piwik.php", "nonsense", None),
        ] {
            assert_eq!(
                moved_base(from, endpoint, to).as_deref(),
                want,
                "{from} {to}"
            );
        }
    }
}
