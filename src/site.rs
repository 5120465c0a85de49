//! Finds the Matomo site of a hit: one site for all hits (`--idsite`), or a lookup for each new
//! host.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::rc::Rc;

use foldhash::fast::RandomState;
use url::Host;

use crate::error::{Error, Result};
use crate::hit::{HitDays, Site, SiteCalendar, host};
use crate::matomo::api::{Api, ApiError, ApiSite};
use crate::matomo::tracking::NO_HOST;
use crate::report::Console;
use crate::report::clean::clean_to;
use crate::report::summary::SiteSummary;

/// A longer text, port included, is not a host name. Matomo is not asked for it.
const MAX_HOST_BYTES: usize = 300;
/// Cached hosts. Above this, hosts without a site of their own are dropped and looked up again.
const MAX_CACHED_HOSTS: usize = 10_000;
/// Hosts in one call; Matomo 5.8 takes no more.
const MAX_EXPECTED_HOSTS: usize = 50;
/// Unmatched hosts listed in the summary, and the characters shown of each.
const MAX_LISTED: usize = 1000;
const MAX_LISTED_CHARS: usize = MAX_HOST_BYTES;
/// Distinct unmatched hosts that are counted.
const MAX_COUNTED: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    pub idsite: Option<String>,
    /// The site of all hits in a dry run that looks up none.
    pub assumed: Option<String>,
    pub fallback: Option<String>,
    pub add: bool,
    /// `--add-sites-max`
    pub max_added: usize,
    /// The site of hits from logs without hosts, if `idsite` does not set one for all.
    pub hostless: Option<String>,
    /// Other workers may create sites at the same time.
    pub has_other_workers: bool,
    /// Tell the days of hits apart, because several requests may be under way at once.
    pub separates_days: bool,
    /// The time zone of each site must be known, because visitor ids change with its days.
    pub needs_time_zones: bool,
}

impl SiteOptions {
    /// Takes the site of `--idsite` without asking Matomo. Only for a dry run.
    pub fn assume_idsite(&mut self) {
        if let Some(id) = self.idsite.take() {
            self.hostless = Some(id.clone());
            self.assumed = Some(id);
        }
    }
}

/// All sites of a run, and what the summary says about them.
#[derive(Debug)]
pub struct Sites {
    options: SiteOptions,
    rule: SiteRule,
    /// Each at its own index.
    sites: Vec<Rc<Site>>,
    /// The site of hits from logs without hosts.
    hostless: Option<Rc<Site>>,
    /// The site of each host seen so far. When replaying, of each site ID that Matomo has.
    cache: HashMap<Vec<u8>, Option<Rc<Site>>, RandomState>,
    /// New hosts in the lines that come next, and then the IDs of their sites.
    expected: HashMap<Vec<u8>, Option<String>, RandomState>,
    /// Matomo answers questions about several hosts.
    asks_in_bulk: bool,
    /// A host was looked up alone.
    missed: bool,
    existed: BTreeSet<String>,
    /// Host and ID of each site that was created.
    created: BTreeMap<String, String>,
    /// A host got no site because there are `max_added` new ones.
    is_full: bool,
    unmatched: UnmatchedHosts,
}

/// Hosts without a site; when replaying, site IDs that Matomo does not have. They come from the
/// log, so their memory is bounded.
#[derive(Debug, Default)]
struct UnmatchedHosts {
    /// The first [`MAX_LISTED`].
    listed: Vec<String>,
    /// Hashes of the first [`MAX_COUNTED`].
    seen: HashSet<u64, RandomState>,
    hasher: RandomState,
}

impl UnmatchedHosts {
    fn add(&mut self, label: &str, name: &[u8]) {
        if self.seen.len() < MAX_COUNTED
            && self.seen.insert(self.hasher.hash_one(name))
            && self.listed.len() < MAX_LISTED
        {
            let name = clean_to(name, MAX_LISTED_CHARS);
            self.listed.push(format!("{label}{name}"));
        }
    }
}

#[derive(Debug)]
enum SiteRule {
    /// One site for all hits, checked with the server.
    One,
    /// No lookups.
    DryRun,
    ByHost,
    /// By the `idsite` of each replayed request, with every site that Matomo has.
    ById(HashMap<String, ApiSite>),
}

impl Sites {
    /// Looks up the site of `--idsite`, or all sites when replaying.
    ///
    /// # Errors
    ///
    /// Fails if Matomo does not answer or does not have the site. Nothing has been sent then.
    pub fn new(options: SiteOptions, replaying: bool, dry_run: bool, api: &Api) -> Result<Sites> {
        let mut sites = Sites {
            options,
            rule: SiteRule::ByHost,
            sites: Vec::new(),
            hostless: None,
            cache: HashMap::default(),
            expected: HashMap::default(),
            asks_in_bulk: true,
            missed: false,
            existed: BTreeSet::new(),
            created: BTreeMap::new(),
            is_full: false,
            unmatched: UnmatchedHosts::default(),
        };
        if let Some(id) = sites.options.idsite.clone() {
            let site = api.site(&id).map_err(|error| unknown_site(&id, error))?;
            sites.existed.insert(id.clone());
            sites.add_described(&id, &site);
            sites.rule = SiteRule::One;
        } else if dry_run {
            let id = sites.options.assumed.as_deref().unwrap_or("0");
            sites.add(Site::new(0, id, None));
            sites.rule = SiteRule::DryRun;
        } else if replaying {
            let all = api.all_sites()?.into_iter();
            let all = all.map(|site| (site.id.clone(), site));
            sites.rule = SiteRule::ById(all.collect());
        } else if let Some(id) = sites.options.hostless.clone() {
            let site = api.site(&id)?;
            sites.hostless = Some(sites.add_described(&id, &site));
        }
        Ok(sites)
    }

    /// The site of a hit by its host, else by its host without the port. Returns `None` if it has
    /// none; the summary lists such hosts.
    ///
    /// # Errors
    ///
    /// Fails if Matomo has to be asked and does not answer.
    pub fn of_host(
        &mut self,
        host: Option<&[u8]>,
        api: &Api,
        console: &Console,
    ) -> Result<Option<Rc<Site>>> {
        if matches!(self.rule, SiteRule::One | SiteRule::DryRun) {
            return Ok(self.sites.first().cloned());
        }
        if let (None, Some(site)) = (host, &self.hostless) {
            if !self.existed.contains(&site.id) {
                self.existed.insert(site.id.clone());
            }
            return Ok(Some(Rc::clone(site)));
        }
        let host = host
            .filter(|host| !host.is_empty())
            .unwrap_or(NO_HOST.as_bytes());
        if let Some(site) = self.cache.get(host) {
            return Ok(site.clone());
        }
        if host.len() > MAX_HOST_BYTES {
            let fallback = self.options.fallback.clone();
            if fallback.is_none() {
                self.unmatched.add("", host);
            }
            return fallback.map(|id| self.add_existing(&id, api)).transpose();
        }
        let mut known = self.look_up(host, api)?;
        if let (None, (bare, Some(_))) = (&known, host::split(host)) {
            known = self.look_up(bare, api)?;
        }
        let site = self.choose(&String::from_utf8_lossy(host), known, api, console)?;
        if site.is_none() {
            self.unmatched.add("", host);
        }
        if self.cache.len() >= MAX_CACHED_HOSTS {
            self.forget_unmatched();
        }
        self.cache.insert(host.to_vec(), site.clone());
        Ok(site)
    }

    /// The ID of the site that Matomo has for a host.
    fn look_up(&mut self, host: &[u8], api: &Api) -> Result<Option<String>> {
        if let Some(known) = self.expected.remove(host) {
            return Ok(known);
        }
        self.missed = true;
        Ok(api.site_of_host(&String::from_utf8_lossy(host))?)
    }

    /// The site of a replayed request by its `idsite`. Returns `None` if Matomo does not have it.
    pub fn of_id(&mut self, id: &str) -> Option<Rc<Site>> {
        let SiteRule::ById(all) = &self.rule else {
            return self.sites.first().cloned();
        };
        if let Some(site) = self.cache.get(id.as_bytes()) {
            return site.clone();
        }
        // Unknown IDs are not cached: one lookup in `all` finds them out.
        let Some(site) = all.get(id).cloned() else {
            self.unmatched.add("unrecognized site ID ", id.as_bytes());
            return None;
        };
        self.existed.insert(id.to_owned());
        let site = Some(self.add_described(id, &site));
        self.cache.insert(id.as_bytes().to_vec(), site.clone());
        site
    }

    /// Drops hosts without a site of their own from the cache, so that they are looked up again.
    pub fn forget_unmatched(&mut self) {
        let fallback = self.options.fallback.as_ref();
        self.cache
            .retain(|_, site| site.as_ref().is_some_and(|site| Some(&site.id) != fallback));
    }

    /// Whether it is worth looking up several hosts at once.
    pub fn asks_for_hosts(&self) -> bool {
        self.asks_in_bulk && matches!(self.rule, SiteRule::ByHost)
    }

    /// Whether a host was looked up alone since this was last asked.
    pub fn take_miss(&mut self) -> bool {
        std::mem::take(&mut self.missed) && self.asks_for_hosts()
    }

    /// Notes the host of a line that comes next, for [`Sites::look_up_expected`].
    pub fn expect_host(&mut self, host: Option<&[u8]>) {
        if let Some(host) = host
            && !host.is_empty()
            && host.len() <= MAX_HOST_BYTES
            && !self.cache.contains_key(host)
        {
            // With a port, and without.
            for name in [host, host::split(host).0] {
                if self.expected.len() < MAX_EXPECTED_HOSTS {
                    self.expected.insert(name.to_vec(), None);
                }
            }
        }
    }

    /// Looks up all expected hosts in one call.
    ///
    /// # Errors
    ///
    /// Fails if a shutdown is requested.
    pub fn look_up_expected(&mut self, api: &Api) -> Result<()> {
        let hosts = std::mem::take(&mut self.expected);
        if hosts.len() < 2 {
            return Ok(());
        }
        let hosts: Vec<Vec<u8>> = hosts.into_keys().collect();
        let names: Vec<_> = hosts
            .iter()
            .map(|host| String::from_utf8_lossy(host))
            .collect();
        match api.sites_of_hosts(&names) {
            Ok(Some(ids)) => self.expected.extend(hosts.into_iter().zip(ids)),
            Err(ApiError::Interrupted) => return Err(ApiError::Interrupted.into()),
            // Looking them up one by one reports what is wrong.
            Ok(None) | Err(_) => self.asks_in_bulk = false,
        }
        Ok(())
    }

    /// Takes the site that Matomo has for the host, else the fallback, else creates one if the
    /// user wants that.
    fn choose(
        &mut self,
        host: &str,
        known: Option<String>,
        api: &Api,
        console: &Console,
    ) -> Result<Option<Rc<Site>>> {
        let id = match (known, &self.options.fallback) {
            (Some(id), _) => id,
            (None, Some(fallback)) => fallback.clone(),
            (None, None) if self.options.add && !is_host_name(host) => {
                console.debug(1, || {
                    format!("no site for {host}: it is no valid host name")
                });
                return Ok(None);
            }
            (None, None) if self.options.add && self.created.len() >= self.options.max_added => {
                if !std::mem::replace(&mut self.is_full, true) {
                    console.warn_incomplete(format!(
                        "{} sites were created, so {host} and further hosts get none: check the \
                         hosts in the log, or raise --add-sites-max",
                        self.created.len()
                    ));
                }
                return Ok(None);
            }
            (None, None) if self.options.add => {
                return match api.add_site(host) {
                    Ok(id) => {
                        self.created.insert(host.to_owned(), id.clone());
                        if self.options.has_other_workers
                            && let Ok(Some(oldest)) = api.site_of_host(host)
                            && oldest != id
                        {
                            console.warn(format!(
                                "another worker has created a site for {host} at the same time: \
                                 hits go to its site {oldest}; site {id} stays empty and can be \
                                 deleted"
                            ));
                            return self.add_existing(&oldest, api).map(Some);
                        }
                        Ok(Some(self.add_hosted(&id, api)?))
                    }
                    // The hits of other sites can still be imported.
                    Err(ApiError::Refused(why)) => {
                        console.warn(format!("no site could be created for {host}: {why}"));
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                };
            }
            (None, None) => return Ok(None),
        };
        self.add_existing(&id, api).map(Some)
    }

    fn add_existing(&mut self, id: &str, api: &Api) -> Result<Rc<Site>> {
        if !self.existed.contains(id) {
            self.existed.insert(id.to_owned());
        }
        self.add_hosted(id, api)
    }

    /// Adds the site of a host. Its time zone is that of UTC if the token may not view the site.
    ///
    /// # Errors
    ///
    /// The time zone must be known, and Matomo cannot be asked.
    fn add_hosted(&mut self, id: &str, api: &Api) -> Result<Rc<Site>> {
        let mut site = Site::new(0, id, None);
        if let Some(known) = self.known(&site) {
            return Ok(known);
        }
        if self.options.separates_days || self.options.needs_time_zones {
            match api.site(id) {
                Ok(described) => site.calendar = SiteCalendar::new(described.timezone.as_deref()),
                Err(ApiError::Refused(_)) => {}
                Err(error) if self.options.needs_time_zones => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(self.add(site))
    }

    fn add_described(&mut self, id: &str, described: &ApiSite) -> Rc<Site> {
        self.add(Site {
            calendar: SiteCalendar::new(described.timezone.as_deref()),
            ..Site::new(0, id, Some(&described.main_url))
        })
    }

    /// Adds a site unless it is there already, and sets its index.
    fn add(&mut self, mut site: Site) -> Rc<Site> {
        if let Some(known) = self.known(&site) {
            return known;
        }
        site.index = self.sites.len() as u32;
        let site = Rc::new(site);
        self.sites.push(Rc::clone(&site));
        site
    }

    fn known(&self, site: &Site) -> Option<Rc<Site>> {
        let same = |known: &&Rc<Site>| known.id == site.id && known.main_url == site.main_url;
        self.sites.iter().find(same).map(Rc::clone)
    }

    /// The days of hits of a site, given by its index, from `first` to `last` (seconds since 1970).
    pub fn days(&self, index: u32, first: i64, last: i64) -> HitDays {
        match self.sites.get(index as usize) {
            Some(site) if self.options.separates_days => site.calendar.days(first, last),
            _ => HitDays::Today,
        }
    }

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
            unmatched_total: self.unmatched.seen.len(),
        }
    }

    /// The site of all hits, if none is looked up.
    pub fn assumed(&self) -> Option<&str> {
        self.options.assumed.as_deref()
    }

    /// Whether every hit needs a host to find its site.
    pub fn needs_host(&self) -> bool {
        matches!(self.rule, SiteRule::ByHost | SiteRule::DryRun) && self.options.hostless.is_none()
    }
}

/// Whether a site may be created for this host: a name or an address, perhaps with a port. It comes
/// from a client's request. `--log-hostname` may have a scheme.
fn is_host_name(host: &str) -> bool {
    let name = host
        .strip_prefix("https://")
        .or_else(|| host.strip_prefix("http://"))
        .unwrap_or(host);
    let (name, port) = match name.rsplit_once(':') {
        Some((before, port)) if !port.ends_with(']') => (before, Some(port)),
        _ => (name, None),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = match Host::parse(name) {
        Ok(Host::Domain(_)) => name.len() <= 253 && name.split('.').all(is_label),
        Ok(address) => address.to_string() == name,
        Err(_) => false,
    };
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The error for a log without hosts if no option sets the site.
pub fn no_host(log: &str, format: &str) -> Error {
    Error::of_log(format!(
        "{log}: the format {format} has no host, so the site of its hits is unknown: give --idsite or --log-hostname"
    ))
}

/// The error for the site of `--idsite`. Matomo's own message does not name the two causes.
fn unknown_site(id: &str, error: ApiError) -> Error {
    match error {
        ApiError::Refused(why) if why.contains("website") => Error::stopped(format!(
            "--idsite={id}: site {id} does not exist, or this token may not see it: {why}"
        )),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaying(ids: &[&str]) -> Sites {
        let site = |id: &&str| {
            let id = (*id).to_owned();
            let main_url = "https://example.org/".to_owned();
            let site = ApiSite {
                id: id.clone(),
                main_url,
                ..ApiSite::default()
            };
            (id, site)
        };
        Sites {
            options: SiteOptions::default(),
            rule: SiteRule::ById(ids.iter().map(site).collect()),
            sites: Vec::new(),
            hostless: None,
            cache: HashMap::default(),
            expected: HashMap::default(),
            asks_in_bulk: true,
            missed: false,
            existed: BTreeSet::new(),
            created: BTreeMap::new(),
            is_full: false,
            unmatched: UnmatchedHosts::default(),
        }
    }

    #[test]
    fn unknown_site_ids_are_counted_in_bounded_memory() {
        let mut sites = replaying(&["1", "2"]);
        let index = |site: Option<Rc<Site>>| site.map(|site| site.index);
        assert_eq!(index(sites.of_id("2")), Some(0));
        for number in 0..3000 {
            let id = format!("{number:08}{}", "x".repeat(8000));
            assert!(sites.of_id(&id).is_none());
            assert!(sites.of_id(&id).is_none());
        }
        assert_eq!(index(sites.of_id("1")), Some(1));
        assert_eq!(sites.cache.len(), 2);
        let summary = sites.summary();
        assert_eq!((summary.imported_to, summary.unmatched_total), (2, 3000));
        assert_eq!(summary.unmatched.len(), MAX_LISTED);
        assert!(summary.unmatched[0].starts_with("unrecognized site ID 00000000xxx"));
        assert!(summary.unmatched.iter().all(|name| name.len() < 400));
    }

    #[test]
    fn sites_are_created_for_host_names_only() {
        for host in [
            "www.example.com",
            "localhost",
            "a_b.example.org:8080",
            "192.0.2.1",
            "[2001:db8::1]:80",
            "xn--bcher-kva.example",
            "https://www.example.com",
        ] {
            assert!(is_host_name(host), "{host}");
        }
        let long = "a".repeat(64);
        for host in [
            "",
            "//evil/",
            "a b",
            "[::1",
            "user:pw@host",
            "user@host",
            "a\r\nX: y",
            "a..b",
            "-a.example",
            "a.example:http",
            "a.example:",
            "a.example/path",
            "a%20b",
            "0x7f.1",
            "bücher.example",
            "http://",
            "<script>",
            &long,
        ] {
            assert!(!is_host_name(host), "{host}");
        }
    }

    #[test]
    fn only_hosts_without_a_site_of_their_own_are_evicted() {
        let mut sites = replaying(&[]);
        sites.options.fallback = Some("9".into());
        let (own, fallback) = (Site::new(0, "1", None), Site::new(0, "9", None));
        let (own, fallback) = (sites.add(own), sites.add(fallback));
        for (host, site) in [("a", Some(own)), ("b", Some(fallback)), ("c", None)] {
            sites.cache.insert(host.into(), site);
        }
        sites.forget_unmatched();
        assert_eq!(sites.cache.keys().collect::<Vec<_>>(), [b"a"]);
    }
}
