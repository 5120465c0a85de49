//! An attempt that brought no answer: had a connection stood, and why not. Only what failed before a connection
//! stood counts as not sent: a body that was handed over cannot be told from one that stands in a buffer.

use std::error::Error as StdError;
use std::io;

use rustls::AlertDescription;

use super::exchange::{Cause, Seen};

/// What a message needs to know about where the request went.
pub(super) struct Target<'a> {
    /// The address as it may be shown.
    pub shown: &'a str,
    pub host: &'a str,
    /// `--url` or `--api-url`.
    pub option: &'a str,
    /// The environment names a proxy that requests to there take.
    pub proxied: bool,
}

/// What an error while sending, or waiting for the answer's head, means.
pub(super) fn seen(error: &reqwest::Error, target: &Target) -> Seen {
    let tls = find::<rustls::Error>(error);
    let refused_by_alert = tls.is_some_and(is_certificate_alert);
    if !(error.is_connect() || error.is_builder() || refused_by_alert) {
        let shown = target.shown;
        let detail = if error.is_timeout() {
            format!(
                "{shown} gave no answer in time; look whether the server is busy, or give it longer with --request-timeout"
            )
        } else {
            format!(
                "the connection to {shown} broke before the answer came ({}); the log of that web server may say why",
                root(error)
            )
        };
        return Seen::NoAnswer {
            timed_out: error.is_timeout(),
            detail,
        };
    }
    let cause = match tls {
        Some(tls) if refused_by_alert || is_certificate(tls) => Cause::Certificate,
        Some(_) => Cause::Tls,
        None if error.is_dns() => Cause::NoSuchHost,
        None if error.is_timeout() => Cause::ConnectTimeout,
        None if find::<io::Error>(error)
            .is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) =>
        {
            Cause::Refused
        }
        // A server that does not speak TLS answers a greeting that it cannot read by hanging up.
        None if target.shown.starts_with("https:")
            && chain(error)
                .filter_map(|cause| cause.downcast_ref::<io::Error>())
                .any(|e| {
                    matches!(
                        e.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    )
                }) =>
        {
            Cause::Tls
        }
        None => Cause::Other,
    };
    Seen::NotSent {
        cause,
        detail: cannot_reach(cause, refused_by_alert, &root(error), target),
    }
}

fn cannot_reach(cause: Cause, refused_by_alert: bool, root: &str, target: &Target) -> String {
    let Target {
        shown,
        host,
        option,
        proxied,
    } = target;
    let advice = match cause {
        Cause::NoSuchHost => {
            format!("there is no host \"{host}\", or the name server is down; check {option}")
        }
        Cause::Refused => {
            format!("connection refused; check host and port in {option}, and that the server runs")
        }
        Cause::ConnectTimeout => {
            format!(
                "no connection in time; check host and port in {option}, and firewalls on the way"
            )
        }
        Cause::Certificate if refused_by_alert => format!(
            "the server does not accept our certificate, or wants one and got none ({root}); check --client-certificate \
             and --client-key"
        ),
        Cause::Certificate => format!(
            "its certificate is not to be trusted ({root}); for an authority of your own give --ca-certificate=FILE, \
             or skip the check with --accept-invalid-ssl-certificate"
        ),
        Cause::Tls => {
            format!("no TLS connection ({root}); check that this port of {option} speaks https")
        }
        Cause::Other => format!("no connection ({root}); check {option} and the network"),
    };
    let proxy = match proxied {
        true => " (the environment names a proxy, for all hosts that NO_PROXY does not name)",
        false => "",
    };
    format!("cannot reach {shown}: {advice}{proxy}")
}

fn is_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented
    )
}

/// The server ended the handshake over our certificate. With TLS 1.3 that comes when we take the connection to
/// stand already, yet nothing that was sent on it has been handed on.
fn is_certificate_alert(error: &rustls::Error) -> bool {
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
                // What it says with TLS 1.2 where it got no certificate.
                | Alert::HandshakeFailure
        )
    )
}

/// The first error of a type in the chain of causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// The error that began it all.
fn root(error: &reqwest::Error) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, |cause| cause.to_string())
}

/// An error and its causes. An I/O error's `source` passes over the error it wraps, so that is looked into.
fn chain<'a>(
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
