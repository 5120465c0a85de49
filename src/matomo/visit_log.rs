//! Looks up hits in Matomo's visit log by their identifiers (`pv_id`).
//!
//! See guide/guarantees.md, "Unconfirmed batches".

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use chrono::{Days, NaiveDate};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::api::{Api, ApiError, VisitQuery, any_of};

/// Visits to read for one segment. More would take too long, as for a URL that every visitor opens.
const MAX_VISITS: u32 = 10_000;
/// Visits in one response.
const PAGE_VISITS: u32 = 500;
/// Addresses or URLs in one segment.
const MAX_CONDITIONS: usize = 200;

/// Why hits were not looked up. The text says what prevents it.
#[derive(Debug)]
pub enum LookupError {
    /// Matomo cannot answer: no right to view the site, the visit log switched off, too many
    /// visits.
    Never(String),
    /// Matomo is away and can be asked later.
    NotNow(String),
}

impl From<ApiError> for LookupError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused(why) | ApiError::Failed(why) => Self::Never(why),
            ApiError::Unavailable(why) => Self::NotNow(why),
            ApiError::Interrupted => Self::NotNow(error.to_string()),
        }
    }
}

/// The parameters of a hit that show up in the visit log.
#[derive(Debug, Deserialize)]
struct RecordedHit {
    idsite: String,
    url: String,
    /// `None` if the log has no valid address.
    #[serde(default, deserialize_with = "valid_address")]
    cip: Option<String>,
    uid: Option<IgnoredAny>,
    cid: Option<IgnoredAny>,
    _id: Option<IgnoredAny>,
    cdt: String,
    pv_id: String,
    rec: serde_json::Value,
    #[serde(default, rename = "recMode")]
    rec_mode: Option<serde_json::Value>,
}

impl RecordedHit {
    fn parse(json: &[u8]) -> Result<Self, LookupError> {
        let hit: Self = serde_json::from_slice(json)
            .map_err(|error| LookupError::Never(format!("a hit cannot be looked up: {error}")))?;
        // Neither hits that are not recorded nor those of AI bots appear in the visit log.
        if hit.rec == 0 || hit.rec == "0" || hit.rec_mode.is_some() {
            return Err(LookupError::Never(
                "hits that make no visit cannot be looked up".to_owned(),
            ));
        }
        Ok(hit)
    }

    /// Whether its visit may have another address. A visit has the address of its first hit, and a
    /// visitor known by an id may have changed addresses since.
    fn may_have_other_address(&self) -> bool {
        self.cip.is_none() || self.uid.is_some() || self.cid.is_some() || self._id.is_some()
    }

    fn day(&self) -> Result<NaiveDate, LookupError> {
        let day = self.cdt.get(..10).unwrap_or_default();
        NaiveDate::parse_from_str(day, "%Y-%m-%d").map_err(|_| {
            LookupError::Never(format!(
                "a hit with the invalid date '{}' cannot be looked up",
                self.cdt
            ))
        })
    }
}

fn valid_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| text.parse::<IpAddr>().is_ok()))
}

/// Looks up hits by their requests, which are JSON objects. Returns for each whether Matomo has it.
///
/// `has_hit_ids` says that each `pv_id` is one of ours, and so belongs to a single hit.
///
/// # Errors
/// Matomo cannot be asked, or not about these hits.
pub fn find_recorded(
    api: &Api,
    requests: &[&[u8]],
    has_hit_ids: bool,
) -> Result<Vec<bool>, LookupError> {
    if !has_hit_ids {
        // Matomo's own tracker gives all actions on one page the same one.
        return Err(LookupError::Never(
            "they carry a pv_id of the log's own, which other hits may carry too".to_owned(),
        ));
    }
    let hits = requests
        .iter()
        .map(|json| RecordedHit::parse(json))
        .collect::<Result<Vec<_>, _>>()?;
    let mut by_site: BTreeMap<&str, Vec<&RecordedHit>> = BTreeMap::new();
    for hit in &hits {
        by_site.entry(&hit.idsite).or_default().push(hit);
    }
    let mut search = Search {
        api,
        found: HashSet::new(),
    };
    for (site, hits) in by_site {
        let days = date_range(&hits)?;
        let addresses = hits.iter().filter_map(|hit| hit.cip.as_deref()).collect();
        let has_full_addresses = search.run(site, &days, "visitIp", &addresses)?;
        // If Matomo anonymizes addresses, a search for them finds nothing.
        let urls = hits
            .iter()
            .filter(|hit| !has_full_addresses || hit.may_have_other_address())
            .filter(|hit| !search.found.contains(&hit.pv_id))
            .map(|hit| hit.url.as_str())
            .collect();
        search.run(site, &days, "actionUrl", &urls)?;
    }
    Ok(hits
        .iter()
        .map(|hit| search.found.contains(&hit.pv_id))
        .collect())
}

/// The date range of these hits for Matomo's API, with one day more at each end, because Matomo's
/// days are those of the site's time zone.
fn date_range(hits: &[&RecordedHit]) -> Result<String, LookupError> {
    let dates = hits
        .iter()
        .map(|hit| hit.day())
        .collect::<Result<BTreeSet<_>, _>>()?;
    let (Some(first), Some(last)) = (dates.first(), dates.last()) else {
        return Err(LookupError::Never("no hits to look up".to_owned()));
    };
    let day = Days::new(1);
    let first = first.checked_sub_days(day).unwrap_or(*first);
    let last = last.checked_add_days(day).unwrap_or(*last);
    Ok(format!("{first},{last}"))
}

struct Search<'a> {
    api: &'a Api,
    /// Hit identifiers of all actions seen so far.
    found: HashSet<String>,
}

impl Search<'_> {
    /// Reads all visits whose `field` has one of the values. Returns whether one of them proves
    /// that Matomo stores full addresses.
    fn run(
        &mut self,
        idsite: &str,
        days: &str,
        field: &str,
        values: &BTreeSet<&str>,
    ) -> Result<bool, LookupError> {
        let values: Vec<&str> = values.iter().copied().collect();
        let mut has_full_addresses = false;
        for values in values.chunks(MAX_CONDITIONS) {
            let segment = any_of(field, values.iter().copied());
            let mut offset = 0;
            loop {
                let visits = self.api.last_visits(&VisitQuery {
                    idsite,
                    days,
                    segment: &segment,
                    limit: PAGE_VISITS,
                    offset,
                })?;
                let count = visits.len() as u32;
                for visit in visits {
                    has_full_addresses |= visit.ip.as_deref().is_some_and(is_full_address);
                    let hit_ids = visit.actions.into_iter().filter_map(|action| action.pv_id);
                    self.found.extend(hit_ids);
                }
                offset += count;
                if count < PAGE_VISITS {
                    break;
                }
                if offset >= MAX_VISITS {
                    return Err(LookupError::Never(format!(
                        "more than {MAX_VISITS} visits would have to be read"
                    )));
                }
            }
        }
        Ok(has_full_addresses)
    }
}

/// Whether an address is certainly not anonymized. Matomo sets the last bytes of an address to
/// zero, two of them by default; an address that ends in zero proves nothing.
fn is_full_address(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(address)) => address.octets()[3] != 0,
        Ok(IpAddr::V6(address)) => address.octets()[15] != 0,
        Err(_) => false,
    }
}
