//! Filters by host: `--hostname`, `--include-host` and `--exclude-host`. See guide/options.md,
//! "Filters".

use std::collections::HashSet;

use crate::hit::{LoggedRequest, host};
use crate::input::pattern::Pattern;
use crate::report::Reason;

/// The host filters. A request without a host passes.
#[derive(Debug, Default)]
pub struct Hosts {
    /// `--hostname`. Empty accepts all hosts.
    pub patterns: Vec<HostPattern>,
    /// Empty includes all.
    pub included: HostSet,
    pub excluded: HostSet,
    /// An empty host counts as no host. Set with `--idsite`, since no host is needed to find the
    /// site.
    pub empty_is_none: bool,
}

/// A shell pattern. It is compared with the port of a host if it has one itself, else without.
#[derive(Debug)]
pub struct HostPattern {
    name: Pattern,
    port: Option<Pattern>,
}

/// Exact hosts. Those with a port are compared with it, the others without.
#[derive(Debug, Default)]
pub struct HostSet {
    with_port: HashSet<Vec<u8>>,
    of_any_port: HashSet<Vec<u8>>,
}

impl Hosts {
    pub fn matches_hostname(&self, request: &LoggedRequest) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let host = self.host(request);
        host.is_none_or(|host| self.patterns.iter().any(|pattern| pattern.matches(host)))
    }

    pub fn judge(&self, request: &LoggedRequest) -> Result<(), Reason> {
        if self.included.is_empty() && self.excluded.is_empty() {
            return Ok(());
        }
        let Some(host) = self.host(request) else {
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

impl HostPattern {
    pub fn new(typed: &str) -> Self {
        let has_port = |(name, port): &(&str, &str)| {
            let authority = name.split_once("://").map_or(*name, |(_, it)| it);
            let is_name = !authority.contains(':') || authority.ends_with(']');
            is_name && !port.is_empty() && !port.contains([']', '/'])
        };
        match typed.rsplit_once(':').filter(has_port) {
            Some((name, port)) => Self {
                name: Pattern::new(name),
                port: Some(Pattern::new(port)),
            },
            None => Self {
                name: Pattern::new(typed),
                port: None,
            },
        }
    }

    fn matches(&self, host: &[u8]) -> bool {
        let (name, port) = host::split(host);
        let has_port = |pattern: &Pattern| match port {
            Some(port) => pattern.matches(port),
            None => host::DEFAULT_PORTS.iter().any(|port| pattern.matches(port)),
        };
        self.name.matches(name) && self.port.as_ref().is_none_or(has_port)
    }
}

impl HostSet {
    pub fn new(typed: &[String]) -> Self {
        let mut set = Self::default();
        for host in typed.iter().map(String::as_bytes) {
            match host::split(host) {
                // Hosts in the log have lost it.
                (name, Some(port)) if host::is_default(port) => set.with_port.insert(name.to_vec()),
                (_, Some(_)) => set.with_port.insert(host.to_vec()),
                _ if host::is_bare_v6(host) => set.of_any_port.insert([b"[", host, b"]"].concat()),
                _ => set.of_any_port.insert(host.to_vec()),
            };
        }
        set
    }

    fn is_empty(&self) -> bool {
        self.with_port.is_empty() && self.of_any_port.is_empty()
    }

    fn contains(&self, host: &[u8]) -> bool {
        self.with_port.contains(host) || self.of_any_port.contains(host::split(host).0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(typed: &str, host: &str) -> bool {
        HostPattern::new(typed).matches(host.as_bytes())
    }

    fn exact(typed: &str, host: &str) -> bool {
        HostSet::new(&[typed.to_owned()]).contains(host.as_bytes())
    }

    #[test]
    fn a_value_with_a_port_is_compared_with_the_port() {
        for matches in [pattern, exact] {
            assert!(matches("a.example", "a.example"));
            assert!(matches("a.example", "a.example:8080"));
            assert!(matches("a.example:8080", "a.example:8080"));
            assert!(!matches("a.example:8080", "a.example:8081"));
            assert!(!matches("a.example:8080", "a.example"));
            assert!(matches("a.example:443", "a.example"));
            assert!(!matches("a.example:443", "a.example:8080"));
            assert!(!matches("b.example", "a.example"));
        }
        assert!(pattern("*.example:80*", "a.example:8080"));
        assert!(pattern("*", "a.example:8080"));
        assert!(pattern("https://a.example", "https://a.example"));
    }

    #[test]
    fn an_ipv6_address_may_have_brackets() {
        for typed in ["2001:db8::7", "[2001:db8::7]"] {
            assert!(exact(typed, "[2001:db8::7]"), "{typed}");
            assert!(exact(typed, "[2001:db8::7]:8080"), "{typed}");
        }
        assert!(exact("[2001:db8::7]:8080", "[2001:db8::7]:8080"));
        assert!(!exact("[2001:db8::7]:8080", "[2001:db8::7]"));
    }

    proptest! {
        #[test]
        fn a_value_without_a_port_ignores_ports(host in "[a-z0-9.-]{1,20}", port in 81u16..443) {
            let with_port = format!("{host}:{port}");
            for matches in [pattern, exact] {
                prop_assert!(matches(&host, &host));
                prop_assert!(matches(&host, &with_port));
                prop_assert!(!matches(&with_port, &host));
            }
        }
    }
}
