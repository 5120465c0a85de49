//! Whose hit it is: one site for all (`--idsite`), or a look-up for each new host (SPEC section 7).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;

use crate::config::SiteOptions;
use crate::error::{Error, Result};
use crate::matomo::api::{Api, ApiError};
use crate::matomo::tracking::NO_HOST;
use crate::report::Console;
use crate::report::summary::SiteSummary;

/// A site of Matomo's, as tracking requests need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `idsite`, as Matomo or the user wrote it.
    pub id: String,
    /// The main url without slashes at its end; known with `--idsite` and when replaying.
    pub main_url: Option<String>,
}

impl Site {
    fn new(id: &str, main_url: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            main_url: main_url.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    /// What stands before a host: the scheme of the site's main url where that is known, otherwise `http`.
    pub fn scheme(&self) -> &str {
        let scheme = self
            .main_url
            .as_deref()
            .and_then(|url| url.split_once("://"));
        scheme.map_or("http", |(scheme, _)| scheme)
    }
}

/// All sites of a run, and what the summary says of them.
#[derive(Debug)]
pub struct Sites {
    options: SiteOptions,
    rule: Rule,
    sites: Vec<Site>,
    /// The site of hits from logs without hosts.
    hostless: Option<u32>,
    /// Site of each host (or, replaying, of each site ID) that was met.
    known: HashMap<Vec<u8>, Option<u32>, RandomState>,
    existed: BTreeSet<String>,
    /// Host and ID of each site that was created.
    created: BTreeMap<String, String>,
    unmatched: BTreeSet<String>,
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
            unmatched: BTreeSet::new(),
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
        let name = String::from_utf8_lossy(host).into_owned();
        let site = self.look_up(&name, api, console)?;
        if site.is_none() {
            self.unmatched.insert(name);
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
        let site = all.get(id).cloned();
        let number = match site {
            Some(site) => {
                self.existed.insert(site.id.clone());
                Some(self.add(site))
            }
            None => {
                self.unmatched.insert(format!("unrecognized site ID {id}"));
                None
            }
        };
        self.known.insert(id.as_bytes().to_vec(), number);
        number
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
        self.existed.insert(id.clone());
        Ok(Some(self.add(Site::new(&id, None))))
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
            unmatched: self.unmatched.iter().cloned().collect(),
            unmatched_total: self.unmatched.len(),
        }
    }

    /// A log whose format has no host needs to be told whose hits it holds.
    pub fn needs_host(&self) -> bool {
        matches!(self.rule, Rule::ByHost | Rule::DryRun) && self.options.hostless.is_none()
    }
}

/// The error for a log without hosts, where nothing says whose hits they are.
pub fn no_host(log: &str, format: &str) -> Error {
    Error::stopped(format!(
        "{log}: the format {format} has no host, so nothing says whose hits these are: give --idsite or --log-hostname"
    ))
}
