//! `--hostname`, `--include-host`, `--exclude-host`. A hit without any host passes them all.

use std::collections::HashSet;

use url::Url;

use crate::hit::Hit;
use crate::input::pattern::Pattern;
use crate::report::Reason;

#[derive(Debug, Default)]
pub struct Hosts {
    /// Patterns of `--hostname`; empty: all.
    pub patterns: Vec<Pattern>,
    /// Exact hosts; empty: all.
    pub included: HashSet<Vec<u8>>,
    pub excluded: HashSet<Vec<u8>>,
    /// An empty host is none: `--idsite` says whose hit it is.
    pub empty_is_none: bool,
}

impl Hosts {
    pub fn matches_hostname(&self, hit: &Hit) -> bool {
        match self.host(hit) {
            Some(host) if !self.patterns.is_empty() => {
                self.patterns.iter().any(|pattern| pattern.matches(host))
            }
            _ => true,
        }
    }

    pub fn judge(&self, hit: &Hit) -> Result<(), Reason> {
        if self.included.is_empty() && self.excluded.is_empty() {
            return Ok(());
        }
        let host = self.host(hit);
        let of_path = if host.is_none() {
            host_of_url(hit.path)
        } else {
            None
        };
        let Some(host) = host.or(of_path.as_deref()) else {
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

    fn host<'a>(&self, hit: &Hit<'a>) -> Option<&'a [u8]> {
        hit.host
            .filter(|host| !(self.empty_is_none && host.is_empty()))
    }
}

/// The host of a path that is a whole URL (a proxy's log): lower case, without port.
fn host_of_url(path: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(path, b"://")?;
    let url = Url::parse(std::str::from_utf8(path).ok()?).ok()?;
    Some(url.host_str()?.to_ascii_lowercase().into_bytes())
}
