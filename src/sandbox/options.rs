//! How a sandbox is set up: sites, tokens, what it lets see, how it fails.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::time::Duration;

use super::faults::Faults;
use crate::secret::Secret;

/// The default is what `--sandbox` uses: every host is a site, a random token, no faults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The SQLite file, which stays and is added to; without one the hits go with the sandbox.
    pub file: Option<PathBuf>,
    pub sites: Sites,
    pub tokens: Tokens,
    /// Login and password that `UsersManager.createAppSpecificTokenAuth` gives the super user's token for.
    pub login: Option<(String, Secret)>,
    /// HTTP basic authentication asked of every request.
    pub basic_auth: Option<(String, Secret)>,
    pub live: Live,
    pub faults: Faults,
    /// How long the work on each request takes.
    pub delay: Duration,
    /// Bodies of more bytes are answered with 413.
    pub body_limit: Option<usize>,
    /// Keeps every call with its body for [`super::Sandbox::log`]; needs memory for all of them.
    pub keep_log: bool,
}

impl Options {
    /// For tests: these sites (id and main url) and hosts (host and id) only, every call kept in the log.
    pub fn fixed(sites: &[(u64, &str)], hosts: &[(&str, u64)]) -> Self {
        Self {
            sites: Sites::Fixed {
                sites: sites
                    .iter()
                    .map(|(id, url)| (*id, (*url).to_owned()))
                    .collect(),
                hosts: hosts
                    .iter()
                    .map(|(host, id)| ((*host).to_owned(), *id))
                    .collect(),
            },
            keep_log: true,
            ..Self::default()
        }
    }
}

/// Which sites there are at the start.
#[derive(Clone, Debug, Default)]
pub enum Sites {
    /// Site 1, every host and every site that is asked for: a trial run needs no set-up.
    #[default]
    EveryHost,
    Fixed {
        /// Site to main url.
        sites: BTreeMap<u64, String>,
        /// Host to site.
        hosts: BTreeMap<String, u64>,
    },
}

#[derive(Clone, Debug)]
pub struct Tokens {
    pub super_user: Secret,
    /// May write to and see every site.
    pub write: Option<Secret>,
    /// May see every site.
    pub view: Option<Secret>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            super_user: random_token(),
            write: None,
            view: None,
        }
    }
}

/// What `Live.getLastVisitsDetails` lets see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    #[default]
    Open,
    /// No right to view.
    Closed,
    /// Addresses lose their last two bytes, and a question for an address finds nothing (Matomo's default).
    Anonymised,
}

/// 32 hexadecimal digits, as Matomo's tokens are; drawn from the hash keys that the system seeds at random.
fn random_token() -> Secret {
    let half = |part: u8| RandomState::new().hash_one(part);
    Secret::new(format!("{:016x}{:016x}", half(0), half(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_drawn_anew_and_look_like_matomos() {
        let one = random_token();
        assert_ne!(one, random_token());
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
