//! Whose hit it is: one site for all (`--idsite`), or a look-up for each new host (SPEC section 7).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::error::{Error, Result};
use crate::hit::Site;
use crate::matomo::api::{Api, ApiError};
use crate::matomo::tracking::NO_HOST;
use crate::report::Console;
use crate::report::clean::clean_to;
use crate::report::summary::SiteSummary;

/// Bytes of a host's name with its port, and more: a longer text is nobody's host, and Matomo is not asked for it.
const LONGEST_HOST: usize = 300;
/// Hosts whose sites are remembered before those that Matomo does not know are forgotten, and asked for again.
const MOST_KNOWN: usize = 100_000;
/// Hosts without a site that are listed in the summary, and the characters shown of each.
const MOST_LISTED: usize = 1000;
const LONGEST_LISTED: usize = LONGEST_HOST;
/// Hosts without a site that are told apart; who invents more than that need not see them counted.
const MOST_COUNTED: usize = 1_000_000;

#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    pub idsite: Option<String>,
    pub fallback: Option<String>,
    pub add: bool,
    /// The site of hits from logs without hosts, where `idsite` does not name one for all.
    pub hostless: Option<String>,
}

/// All sites of a run, and what the summary says of them.
#[derive(Debug)]
pub struct Sites {
    options: SiteOptions,
    rule: Rule,
    sites: Vec<Site>,
    /// The site of hits from logs without hosts.
    hostless: Option<u32>,
    /// Site of each host that was met; replaying, of each site ID that Matomo has.
    known: HashMap<Vec<u8>, Option<u32>, RandomState>,
    existed: BTreeSet<String>,
    /// Host and ID of each site that was created.
    created: BTreeMap<String, String>,
    unmatched: Unmatched,
}

/// Hosts (or, replaying, site IDs) that matched no site. Strangers write them: what is kept of them is bounded.
#[derive(Debug, Default)]
struct Unmatched {
    /// The first of them.
    listed: Vec<String>,
    /// All of them, by their hashes.
    met: HashSet<u64, RandomState>,
    hasher: RandomState,
}

impl Unmatched {
    /// `what`: what stands before the name.
    fn add(&mut self, what: &str, name: &[u8]) {
        if self.met.len() < MOST_COUNTED
            && self.met.insert(self.hasher.hash_one(name))
            && self.listed.len() < MOST_LISTED
        {
            let name = clean_to(name, LONGEST_LISTED);
            self.listed.push(format!("{what}{name}"));
        }
    }
}

#[derive(Debug)]
enum Rule {
    /// One site for all hits, checked with the server.
    One,
    /// Nothing is looked up.
    DryRun,
    ByHost,
    /// By the ID in the log's own requests.
    ById(HashMap<String, Site>),
}

impl Sites {
    /// Asks for the site of `--idsite`, or when replaying for all sites. An error stops the import before anything
    /// is sent.
    pub fn new(options: SiteOptions, replaying: bool, dry_run: bool, api: &Api) -> Result<Sites> {
        let mut sites = Vec::new();
        let mut existed = BTreeSet::new();
        let rule = if let Some(id) = &options.idsite {
            let found = api.site(id)?;
            existed.insert(id.clone());
            sites.push(Site::new(id, Some(&found.main_url)));
            Rule::One
        } else if dry_run {
            sites.push(Site::new("0", None));
            Rule::DryRun
        } else if replaying {
            Rule::ById(
                api.all_sites()?
                    .into_iter()
                    .map(|site| (site.id.clone(), Site::new(&site.id, Some(&site.main_url))))
                    .collect(),
            )
        } else {
            Rule::ByHost
        };
        let hostless = match &options.hostless {
            Some(id) if matches!(rule, Rule::ByHost) => {
                let found = api.site(id)?;
                sites.push(Site::new(id, Some(&found.main_url)));
                Some(0)
            }
            _ => None,
        };
        Ok(Sites {
            options,
            rule,
            sites,
            hostless,
            known: HashMap::default(),
            existed,
            created: BTreeMap::new(),
            unmatched: Unmatched::default(),
        })
    }

    /// The site at an index that [`Sites::of_host`] or [`Sites::of_id`] gave.
    pub fn get(&self, site: u32) -> &Site {
        &self.sites[site as usize]
    }

    /// The site of a hit by its host. `None`: it has none, and the host is listed in the summary.
    pub fn of_host(
        &mut self,
        host: Option<&[u8]>,
        api: &Api,
        console: &Console,
    ) -> Result<Option<u32>> {
        if matches!(self.rule, Rule::One | Rule::DryRun) {
            return Ok(Some(0));
        }
        if let (None, Some(site)) = (host, self.hostless) {
            let id = &self.sites[site as usize].id;
            if !self.existed.contains(id) {
                self.existed.insert(id.clone());
            }
            return Ok(Some(site));
        }
        let host = host
            .filter(|host| !host.is_empty())
            .unwrap_or(NO_HOST.as_bytes());
        if let Some(site) = self.known.get(host) {
            return Ok(*site);
        }
        if host.len() > LONGEST_HOST {
            let fallback = self.options.fallback.clone();
            if fallback.is_none() {
                self.unmatched.add("", host);
            }
            return Ok(fallback.map(|id| self.add_existing(&id)));
        }
        let site = self.look_up(&String::from_utf8_lossy(host), api, console)?;
        if site.is_none() {
            self.unmatched.add("", host);
        }
        if self.known.len() >= MOST_KNOWN {
            self.forget_unknown();
        }
        self.known.insert(host.to_vec(), site);
        Ok(site)
    }

    /// The site of a replayed request by its `idsite`.
    pub fn of_id(&mut self, id: &str) -> Option<u32> {
        let Rule::ById(all) = &self.rule else {
            return Some(0);
        };
        if let Some(site) = self.known.get(id.as_bytes()) {
            return *site;
        }
        // IDs that Matomo does not have are not remembered: they can be told from those that it has at once.
        let Some(site) = all.get(id).cloned() else {
            self.unmatched.add("unrecognized site ID ", id.as_bytes());
            return None;
        };
        self.existed.insert(site.id.clone());
        let number = Some(self.add(site));
        self.known.insert(id.as_bytes().to_vec(), number);
        number
    }

    /// Forgets hosts that Matomo did not know.
    fn forget_unknown(&mut self) {
        let (sites, fallback) = (&self.sites, self.options.fallback.as_ref());
        self.known
            .retain(|_, site| site.is_some_and(|site| Some(&sites[site as usize].id) != fallback));
    }

    /// First answer of the server, else the fallback, else a new site where the user wants that.
    fn look_up(&mut self, host: &str, api: &Api, console: &Console) -> Result<Option<u32>> {
        let id = match (api.site_of_host(host)?, &self.options.fallback) {
            (Some(id), _) => id,
            (None, Some(fallback)) => fallback.clone(),
            (None, None) if self.options.add => {
                return match api.add_site(host) {
                    Ok(id) => {
                        self.created.insert(host.to_owned(), id.clone());
                        Ok(Some(self.add(Site::new(&id, None))))
                    }
                    // The other sites' hits need not wait for this one.
                    Err(ApiError::Refused(why)) => {
                        console.warn(format!("no site could be created for {host}: {why}"));
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                };
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(self.add_existing(&id)))
    }

    fn add_existing(&mut self, id: &str) -> u32 {
        if !self.existed.contains(id) {
            self.existed.insert(id.to_owned());
        }
        self.add(Site::new(id, None))
    }

    fn add(&mut self, site: Site) -> u32 {
        let known = self.sites.iter().position(|known| *known == site);
        let place = known.unwrap_or_else(|| {
            self.sites.push(site);
            self.sites.len() - 1
        });
        place as u32
    }

    /// What the summary says of them.
    pub fn summary(&self) -> SiteSummary {
        SiteSummary {
            imported_to: self.existed.len() + self.created.len(),
            existed: self.existed.len(),
            created: self
                .created
                .iter()
                .map(|(host, id)| (host.clone(), id.clone()))
                .collect(),
            unmatched: self.unmatched.listed.clone(),
            unmatched_total: self.unmatched.met.len(),
        }
    }

    /// A log whose format has no host needs to be told whose hits it holds.
    pub fn needs_host(&self) -> bool {
        matches!(self.rule, Rule::ByHost | Rule::DryRun) && self.options.hostless.is_none()
    }
}

/// The error for a log without hosts, where nothing says whose hits they are.
pub fn no_host(log: &str, format: &str) -> Error {
    Error::of_log(format!(
        "{log}: the format {format} has no host, so nothing says whose hits these are: give --idsite or --log-hostname"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaying(ids: &[&str]) -> Sites {
        let all = ids.iter().map(|id| {
            let site = Site::new(id, Some("https://example.org/"));
            ((*id).to_owned(), site)
        });
        Sites {
            options: SiteOptions::default(),
            rule: Rule::ById(all.collect()),
            sites: Vec::new(),
            hostless: None,
            known: HashMap::default(),
            existed: BTreeSet::new(),
            created: BTreeMap::new(),
            unmatched: Unmatched::default(),
        }
    }

    #[test]
    fn invented_site_ids_are_counted_and_neither_all_nor_whole_kept() {
        let mut sites = replaying(&["1", "2"]);
        assert_eq!(sites.of_id("2"), Some(0));
        for number in 0..3000 {
            let id = format!("{number:08}{}", "x".repeat(8000));
            assert_eq!(sites.of_id(&id), None);
            assert_eq!(sites.of_id(&id), None);
        }
        assert_eq!(sites.of_id("1"), Some(1));
        assert_eq!(sites.known.len(), 2);
        let summary = sites.summary();
        assert_eq!((summary.imported_to, summary.unmatched_total), (2, 3000));
        assert_eq!(summary.unmatched.len(), MOST_LISTED);
        assert!(summary.unmatched[0].starts_with("unrecognized site ID 00000000xxx"));
        assert!(summary.unmatched.iter().all(|name| name.len() < 400));
    }

    #[test]
    fn of_the_hosts_those_without_a_site_are_forgotten() {
        let mut sites = replaying(&[]);
        sites.options.fallback = Some("9".into());
        let (own, fallback) = (sites.add(Site::new("1", None)), sites.add_existing("9"));
        for (host, site) in [("a", Some(own)), ("b", Some(fallback)), ("c", None)] {
            sites.known.insert(host.into(), site);
        }
        sites.forget_unknown();
        assert_eq!(sites.known.keys().collect::<Vec<_>>(), [b"a"]);
    }
}
