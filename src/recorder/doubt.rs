//! A batch in doubt: Matomo is asked which of its hits are there, by the mark that each of them carries.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use chrono::{Days, NaiveDate};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::matomo::api::{Api, ApiError, VisitQuery, any_of};

/// One question reads so many visits at most; more are no answer (a url that everybody looks at).
const MOST_VISITS: u32 = 10_000;
/// Visits in one answer.
const PAGE: u32 = 500;
/// Addresses or urls in one question.
const CONDITIONS: usize = 200;

/// What a hit's own request says that helps to find it again.
#[derive(Debug, Deserialize)]
struct Sought {
    idsite: String,
    url: String,
    /// None where the log hides the address, or has none.
    #[serde(default, deserialize_with = "address")]
    cip: Option<String>,
    /// What Matomo knows the visitor by rather than by the address.
    uid: Option<IgnoredAny>,
    cid: Option<IgnoredAny>,
    _id: Option<IgnoredAny>,
    cdt: String,
    pv_id: String,
    rec: serde_json::Value,
    #[serde(default, rename = "recMode")]
    rec_mode: Option<serde_json::Value>,
}

impl Sought {
    /// A visit has one address, that of its first hit: whoever is known by something else may have come from another
    /// since.
    fn may_stand_elsewhere(&self) -> bool {
        self.cip.is_none() || self.uid.is_some() || self.cid.is_some() || self._id.is_some()
    }
}

/// What is no address Matomo cannot be asked for.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| text.parse::<IpAddr>().is_ok()))
}

/// Why Matomo was not asked.
#[derive(Debug)]
pub enum LookupError {
    /// It will not say, or not so that it helps: no right to view, the visitor log switched off, too many visits.
    Never(String),
    /// It is away. When it is back it can be asked.
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

/// Which of these requests (JSON objects) Matomo has, as an answer for each. `marked`: each of them carries the mark of
/// its place, not one that it had before.
pub fn present(api: &Api, requests: &[&[u8]], marked: bool) -> Result<Vec<bool>, LookupError> {
    if !marked {
        // Matomo's own tracker gives all that is done on one page the same.
        return Err(LookupError::Never(
            "they carry a pv_id of the log's own, which other hits may carry too".to_owned(),
        ));
    }
    let sought = requests
        .iter()
        .map(|json| read(json))
        .collect::<Result<Vec<Sought>, String>>()
        .map_err(LookupError::Never)?;
    let mut by_site: BTreeMap<&str, Vec<&Sought>> = BTreeMap::new();
    for hit in &sought {
        by_site.entry(&hit.idsite).or_default().push(hit);
    }
    let mut found = HashSet::new();
    for (site, hits) in by_site {
        let days = days(&hits).map_err(LookupError::Never)?;
        let addresses = hits.iter().filter_map(|hit| hit.cip.as_deref()).collect();
        let whole = ask(api, site, &days, "visitIp", &addresses, &mut found)?;
        // Where Matomo hides addresses it cannot be asked for them.
        let unseen =
            |hit: &&&Sought| (!whole || hit.may_stand_elsewhere()) && !found.contains(&hit.pv_id);
        let urls: BTreeSet<&str> = hits
            .iter()
            .filter(unseen)
            .map(|hit| hit.url.as_str())
            .collect();
        ask(api, site, &days, "actionUrl", &urls, &mut found)?;
    }
    Ok(sought
        .iter()
        .map(|hit| found.contains(&hit.pv_id))
        .collect())
}

fn read(json: &[u8]) -> Result<Sought, String> {
    let hit: Sought = serde_json::from_slice(json)
        .map_err(|error| format!("a hit cannot be looked for: {error}"))?;
    // Neither hits that are not recorded nor those for the AI reports ever show among the visits.
    if hit.rec == 0 || hit.rec == "0" || hit.rec_mode.is_some() {
        return Err("hits that make no visit cannot be asked for".to_owned());
    }
    Ok(hit)
}

/// The days of these hits and one more on each side, as Matomo wants a range: its days are those of the site's time
/// zone.
fn days(hits: &[&Sought]) -> Result<String, String> {
    let dates = hits.iter().map(|hit| {
        let day = hit.cdt.get(..10).unwrap_or_default();
        NaiveDate::parse_from_str(day, "%Y-%m-%d")
            .map_err(|_| format!("a hit of no day cannot be looked for: {}", hit.cdt))
    });
    let dates = dates.collect::<Result<BTreeSet<NaiveDate>, String>>()?;
    let (Some(first), Some(last)) = (dates.first(), dates.last()) else {
        return Err("nothing to ask for".to_owned());
    };
    let one = Days::new(1);
    let (first, last) = (
        first.checked_sub_days(one).unwrap_or(*first),
        last.checked_add_days(one).unwrap_or(*last),
    );
    Ok(format!("{first},{last}"))
}

/// Whether an address is as the visitor had it. Matomo hides the last bytes of addresses, two as a rule, by setting
/// them to 0; the address of a visitor may end so by itself, which is then no proof of anything.
fn is_whole(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(address)) => address.octets()[3] != 0,
        Ok(IpAddr::V6(address)) => address.octets()[15] != 0,
        Err(_) => false,
    }
}

/// Collects the marks of all actions of the visits whose `field` has one of the values. Gives whether one of these
/// visits shows that Matomo keeps addresses as they are.
fn ask(
    api: &Api,
    idsite: &str,
    days: &str,
    field: &str,
    values: &BTreeSet<&str>,
    found: &mut HashSet<String>,
) -> Result<bool, LookupError> {
    let values: Vec<&str> = values.iter().copied().collect();
    let mut whole = false;
    for some in values.chunks(CONDITIONS) {
        let segment = any_of(field, some.iter().copied());
        let mut offset = 0;
        loop {
            let query = VisitQuery {
                idsite,
                days,
                segment: &segment,
                limit: PAGE,
                offset,
            };
            let visits = api.last_visits(&query)?;
            let number = visits.len() as u32;
            whole |= visits
                .iter()
                .any(|visit| visit.ip.as_deref().is_some_and(is_whole));
            found.extend(
                visits
                    .into_iter()
                    .flat_map(|visit| visit.actions)
                    .filter_map(|action| action.pv_id),
            );
            offset += number;
            if number < PAGE {
                break;
            }
            if offset >= MOST_VISITS {
                return Err(LookupError::Never(format!(
                    "more than {MOST_VISITS} visits of its days and pages"
                )));
            }
        }
    }
    Ok(whole)
}
