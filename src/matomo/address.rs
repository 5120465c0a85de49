//! Addresses as typed, and the two that requests go to (SPEC section 2: `--url`, `--api-url`,
//! `--tracker-endpoint-path`, `--request-suffix`).

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::error::{Error, Result};
use crate::secret::Secret;

/// User name and password for HTTP basic authentication.
pub(super) type Credentials = (String, Secret);

/// A typed address without its credentials, and those.
pub(super) struct Address {
    pub url: Url,
    pub credentials: Option<Credentials>,
}

/// Reads what was typed for `option`. `http://` is put before an address without scheme.
/// An error: it is no address, or none that requests can go to.
pub(super) fn read(typed: &str, option: &str) -> Result<Address> {
    let typed = typed.trim();
    let wrong = |why: &str| {
        Error::usage(format!(
            "{option}={}: {why}; it should look like https://stats.example.com/matomo/",
            without_credentials(typed)
        ))
    };
    if typed.is_empty() {
        return Err(wrong("the address is empty"));
    }
    let full = match typed.contains("://") {
        true => typed.to_owned(),
        false => format!("http://{typed}"),
    };
    let mut url = Url::parse(&full).map_err(|e| wrong(&format!("this is no address ({e})")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https can be used"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "leave out what follows ? or # (--request-suffix adds to the query)",
        ));
    }
    let credentials = (!url.username().is_empty() || url.password().is_some()).then(|| {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        (
            decode(url.username()),
            Secret::new(decode(url.password().unwrap_or_default())),
        )
    });
    // Neither fails for http and https.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(Address { url, credentials })
}

/// Where tracking requests go. `path` may bring a query of its own.
pub(super) fn tracker(base: &Url, path: &str, debug: bool, suffix: Option<&str>) -> Url {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut url = base.clone();
    url.set_path(&format!(
        "{}/{}",
        base.path().trim_end_matches('/'),
        path.trim_start_matches('/')
    ));
    let debug = if debug { "debug=1" } else { "" };
    with_query(
        url,
        &[query, "queuedtracking=0", debug, suffix.unwrap_or("")],
    )
}

/// Where API calls go: the address itself with one slash at its end, unless it names a PHP file.
pub(super) fn api(base: &Url, suffix: Option<&str>) -> Url {
    let mut url = base.clone();
    if !base.path().ends_with(".php") {
        url.set_path(&format!("{}/", base.path().trim_end_matches('/')));
    }
    with_query(url, &[suffix.unwrap_or("")])
}

/// What stands behind a base in an address, without a slash before it.
pub(super) fn below(base: &Url, url: &Url) -> String {
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

/// Whether this machine itself is meant; proxies are no way to get there.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What was typed, for a message, although it may not be an address at all.
pub(super) fn without_credentials(typed: &str) -> String {
    match typed.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => typed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use proptest::prelude::*;

    fn tracker_of(typed: &str, path: &str, suffix: Option<&str>) -> String {
        tracker(&read(typed, "--url").unwrap().url, path, false, suffix).into()
    }

    #[test]
    fn exactly_one_slash_joins_address_and_path() {
        for (typed, path, want) in [
            ("http://m", "/piwik.php", "http://m/piwik.php"),
            ("http://m/", "piwik.php", "http://m/piwik.php"),
            (
                "m:8080/matomo",
                "/piwik.php",
                "http://m:8080/matomo/piwik.php",
            ),
            (
                "HTTPS://m/matomo//",
                "//matomo.php",
                "https://m/matomo/matomo.php",
            ),
            ("localhost", "/matomo.php", "http://localhost/matomo.php"),
        ] {
            let want = format!("{want}?queuedtracking=0");
            assert_eq!(tracker_of(typed, path, None), want, "{typed} {path}");
        }
    }

    #[test]
    fn the_query_holds_debug_and_suffix() {
        let base = read("http://m", "--url").unwrap().url;
        assert_eq!(
            tracker(&base, "/piwik.php", true, Some("&foo=bar&x=y")).query(),
            Some("queuedtracking=0&debug=1&foo=bar&x=y")
        );
        assert_eq!(
            tracker_of("http://m", "/p.php?a=1", Some("b=c d")),
            "http://m/p.php?a=1&queuedtracking=0&b=c%20d"
        );
        assert_eq!(api(&base, Some("foo=bar")).as_str(), "http://m/?foo=bar");
    }

    #[test]
    fn api_calls_go_to_the_address_itself() {
        for (typed, want) in [
            ("http://m", "http://m/"),
            ("http://m/matomo", "http://m/matomo/"),
            ("http://m/matomo/", "http://m/matomo/"),
            ("http://m/index.php", "http://m/index.php"),
        ] {
            assert_eq!(api(&read(typed, "--url").unwrap().url, None).as_str(), want);
        }
    }

    #[test]
    fn credentials_are_taken_out_of_the_address() {
        let Address { url, credentials } = read("https://joe%40x:pa%3Ass@m/", "--url").unwrap();
        assert_eq!(url.as_str(), "https://m/");
        assert_eq!(credentials, Some(("joe@x".into(), Secret::new("pa:ss"))));
        assert!(read("https://m/", "--url").unwrap().credentials.is_none());
    }

    #[test]
    fn what_is_no_http_address_is_wrong_use_and_hides_credentials() {
        for typed in [
            "",
            "ftp://joe:secret@m/",
            "http://joe:secret@m:99999/",
            "http://m/?a=1",
            "http://",
        ] {
            let error = read(typed, "--url").err().unwrap();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().starts_with("--url="), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        let local = |typed| is_loopback(&read(typed, "--url").unwrap().url);
        assert!(local("localhost") && local("http://127.3.2.1") && local("http://[::1]:80/"));
        assert!(!local("http://localhost.example.com") && !local("http://10.0.0.1"));
    }

    proptest! {
        #[test]
        fn any_typed_address_is_read_or_refused(typed: String, path: String, suffix: String) {
            if let Ok(address) = read(&typed, "--url") {
                tracker(&address.url, &path, true, Some(&suffix));
                api(&address.url, Some(&suffix));
            }
        }
    }
}
