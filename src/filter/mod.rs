//! Filters: keep or drop a request, with a reason. The first filter that drops it gives the reason.
//!
//! To add a filter, add it to [`Filters::judge`], or to [`Filters::judge_dated`] if it needs the
//! date, and give it a [`Reason`]. The summary line follows from the reason.

mod agent;
mod extension;

pub use agent::Bots;
pub use extension::Extensions;

use std::collections::HashSet;

use crate::hit::LoggedRequest;
use crate::input::pattern::Pattern;
use crate::report::Reason;

/// The whole chain; see guide/options.md, "Filters".
#[derive(Debug)]
pub struct Filters {
    pub extensions: Extensions,
    pub hosts: Hosts,
    pub paths: Paths,
    pub bots: Bots,
    pub keep_errors: bool,
    pub keep_redirects: bool,
    pub keep_static: bool,
    pub keep_bots: bool,
    /// Seconds since 1970, UTC. A request at that second is kept.
    pub oldest: Option<i64>,
    /// Seconds since 1970, UTC. A request at that second is kept.
    pub newest: Option<i64>,
}

impl Filters {
    /// Sets `file` and `is_download`. Call it before the filters: the summary counts downloads that
    /// they drop, too.
    pub fn classify(&self, request: &mut LoggedRequest) {
        if !request.is_listener {
            request.file = self.extensions.kind(request.extension);
            request.is_download = request.file.download;
        }
    }

    /// Runs the filters that need no date on a classified request. Sets `is_bot`, and `is_download`
    /// for static files that are kept.
    pub fn judge(&mut self, request: &mut LoggedRequest) -> Result<(), Reason> {
        if request.file.unwanted_download {
            return Err(Reason::Download);
        }
        if !self.hosts.matches_hostname(request) {
            return Err(Reason::Hostname);
        }
        if request.is_error() && !self.keep_errors {
            return Err(Reason::HttpError);
        }
        if request.is_redirect() && !self.keep_redirects {
            return Err(Reason::HttpRedirect);
        }
        self.paths.judge(request.path)?;
        if request.file.is_static || (!request.is_listener && extension::is_robots(request.path)) {
            if !self.keep_static {
                return Err(Reason::Static);
            }
            request.is_download = true;
        }
        request.is_bot = self.bots.is_bot(request);
        if request.is_bot && !self.keep_bots {
            return Err(Reason::Bot);
        }
        Ok(())
    }

    /// Runs the filters that come after the date. `time` is in seconds since 1970, UTC.
    pub fn judge_dated(&self, request: &LoggedRequest, time: i64) -> Result<(), Reason> {
        self.hosts.judge(request)?;
        if self.oldest.is_some_and(|oldest| time < oldest) {
            return Err(Reason::TooOld);
        }
        if self.newest.is_some_and(|newest| time > newest) {
            return Err(Reason::TooNew);
        }
        Ok(())
    }
}

/// `--hostname`, `--include-host` and `--exclude-host`. A request without a host passes.
#[derive(Debug, Default)]
pub struct Hosts {
    /// `--hostname`. Empty accepts all hosts.
    pub patterns: Vec<Pattern>,
    /// Exact hosts. Empty includes all.
    pub included: HashSet<Vec<u8>>,
    pub excluded: HashSet<Vec<u8>>,
    /// An empty host counts as no host. Set with `--idsite`, since no host is needed to find the
    /// site.
    pub empty_is_none: bool,
}

impl Hosts {
    pub fn matches_hostname(&self, request: &LoggedRequest) -> bool {
        match self.host(request) {
            Some(host) if !self.patterns.is_empty() => {
                self.patterns.iter().any(|pattern| pattern.matches(host))
            }
            _ => true,
        }
    }

    pub fn judge(&self, request: &LoggedRequest) -> Result<(), Reason> {
        if self.included.is_empty() && self.excluded.is_empty() {
            return Ok(());
        }
        let host = self.host(request);
        let url_host = match host {
            Some(_) => None,
            None => host_of_url(request.path).map(lowercase),
        };
        let Some(host) = host.or(url_host.as_deref()) else {
            return Ok(());
        };
        if self.excluded.contains(host) {
            return Err(Reason::HostExcluded);
        }
        if !self.included.is_empty() && !self.included.contains(host) {
            return Err(Reason::HostNotIncluded);
        }
        Ok(())
    }

    fn host<'a>(&self, request: &LoggedRequest<'a>) -> Option<&'a [u8]> {
        request
            .host
            .filter(|host| !(self.empty_is_none && host.is_empty()))
    }
}

/// `--include-path` and `--exclude-path`, and the files of patterns. They match the path without
/// query.
#[derive(Debug, Default)]
pub struct Paths {
    pub excluded: Vec<Pattern>,
    /// Empty includes all.
    pub included: Vec<Pattern>,
}

impl Paths {
    pub fn judge(&self, path: &[u8]) -> Result<(), Reason> {
        if self.excluded.iter().any(|pattern| pattern.matches(path)) {
            return Err(Reason::PathExcluded);
        }
        if !self.included.is_empty() && !self.included.iter().any(|pattern| pattern.matches(path)) {
            return Err(Reason::PathNotIncluded);
        }
        Ok(())
    }
}

/// The host of a path that is a whole URL, as in the log of a proxy. Without user, port and
/// brackets.
fn host_of_url(path: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = path.split_at(memchr::memmem::find(path, b"://")?);
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(is_scheme) {
        return None;
    }
    let authority = rest[3..].split(|byte| b"/?#".contains(byte)).next()?;
    let host = authority.rsplit(|byte| *byte == b'@').next()?;
    let host = match host.strip_prefix(b"[") {
        Some(address) => address.split(|byte| *byte == b']').next()?,
        None => host.split(|byte| *byte == b':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

fn lowercase(host: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(host) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_has_no_user_port_or_brackets() {
        for (path, host) in [
            ("http://www.example.com/x", Some("www.example.com")),
            (
                "http://WWW.Example.com:80?x=http://y/",
                Some("www.example.com"),
            ),
            ("http://user:pw@h@x.y./", Some("x.y.")),
            ("https://[2001:DB8::1]:8/x", Some("2001:db8::1")),
            ("http://a_b.c#d", Some("a_b.c")),
            ("http://MÜNCHEN.de", Some("münchen.de")),
            ("http://127.1:99999/", Some("127.1")),
            ("http:///x", None),
            ("://x/", None),
            ("1http://x/", None),
            ("/to/http://x/", None),
            ("x.y:443", None),
        ] {
            let found = host_of_url(path.as_bytes()).map(lowercase);
            assert_eq!(found.as_deref(), host.map(str::as_bytes), "{path}");
        }
    }
}
