//! What an answer that is no success says, in words for the user: what, where, what to do.

use reqwest::StatusCode;
use url::Url;

use super::exchange::{Answer, Exchange};
use super::shown;

/// `http://m/piwik.php answered 404 (Not Found) with an HTML page titled "..."`.
pub(super) fn answered(exchange: &Exchange, answer: &Answer) -> String {
    let reason = StatusCode::from_u16(answer.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    let with = match (answer.whole, answer.body.is_empty()) {
        (true, _) => format!("with {}", shown::body(&answer.body)),
        (false, true) => "and broke off before its body".to_owned(),
        (false, false) => format!("with only a part of {}", shown::body(&answer.body)),
    };
    format!("{} answered {}{reason} {with}", exchange.url, answer.status)
}

/// What to do about an answer that means the same to tracker and API. Empty: nothing is known.
pub(super) fn advice(exchange: &Exchange, answer: &Answer) -> String {
    let option = exchange.option;
    match answer.status {
        200..=299 if !answer.whole => {
            "the connection broke off or --request-timeout ran out on the way: the server's log may say why".into()
        }
        300..=399 => redirect(exchange, answer),
        401 if answer.challenge => {
            "the web server asks for a user name and password: give or check --auth-user and --auth-password".into()
        }
        403 => format!(
            "the web server or a firewall before Matomo forbids it: check {option}, and what may reach that address"
        ),
        404 | 405 | 410 => format!("there is no Matomo at this address: check {option}"),
        407 => "the proxy wants to know who is there: check the proxy in the environment (HTTP_PROXY, HTTPS_PROXY)".into(),
        408 => "the request came too slowly for the web server".into(),
        429 => "the web server asks to be called less often: fewer --recorders may help".into(),
        502 | 504 => "PHP behind the web server is down or too slow: its log may say why".into(),
        503 => "Matomo is in maintenance or the web server has too much to do".into(),
        500..=599 => "Matomo failed: its log and that of PHP say why".into(),
        200..=299 => format!("that is not what Matomo answers: check {option}"),
        _ => String::new(),
    }
}

/// Puts what and what to do together.
pub(super) fn sentence(what: &str, advice: &str) -> String {
    match advice {
        "" => what.to_owned(),
        advice => format!("{what}; {advice}"),
    }
}

/// Redirects are not followed: a POST would lose its body on the way, or the token leave for another place.
fn redirect(exchange: &Exchange, answer: &Answer) -> String {
    let option = exchange.option;
    let Some(location) = &answer.location else {
        return format!("it sends elsewhere but does not say where: check {option}");
    };
    match moved(&exchange.url, &exchange.endpoint, location) {
        Some(base) => format!("Matomo has moved: use {option}={base}"),
        None => format!("it sends on to {location}, which is not followed: check {option}"),
    }
}

/// The new base address, where the old and the new one end in the same file. `endpoint`: what stands behind the base.
fn moved(from: &str, endpoint: &str, to: &str) -> Option<String> {
    let (from, mut to) = (Url::parse(from).ok()?, Url::parse(to).ok()?);
    let file = |url: &Url| {
        url.path_segments()
            .and_then(|mut parts| parts.next_back())
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
    fn a_move_is_known_by_the_same_file_at_its_end() {
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
            assert_eq!(moved(from, endpoint, to).as_deref(), want, "{from} {to}");
        }
    }
}
