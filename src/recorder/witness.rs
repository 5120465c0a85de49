//! Chooses the witness of each batch: the hit that comes first, and that Matomo is asked about.
//!
//! Matomo may lose the beginning of a batch behind a success response, so if it has the first hit,
//! it has them all. The witness must be cheap to find, and never one that Matomo leaves out on
//! purpose.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::LazyLock;

use chrono::NaiveDateTime;
use foldhash::fast::{FixedState, RandomState};
use memchr::memmem::{self, Finder};
use serde::Deserialize;

use super::buffer::Buffer;
use crate::hit_id::HitId;
use crate::matomo::visit_log::{Witness, is_masked, is_visitor_id};

/// A visit shows its first 500 actions, and hits of an earlier run count among them.
const MAX_EARLIER_HITS: u16 = 400;

/// Counters of the hits of visitors, and of networks. Several share one, so a count may be too
/// large.
const COUNTERS: usize = 1 << 15;

/// Candidates whose request is inspected.
const MAX_INSPECTED: usize = 50;

/// Counts the hits of visitors and networks, for all recorders.
#[derive(Debug)]
pub struct RarityCounter {
    hasher: FixedState,
    epoch: u64,
    /// Hits of each visitor that were sent in this epoch.
    visitors: Vec<u16>,
    /// Hits from each network, likewise.
    networks: Vec<u32>,
}

/// How rare a hit's visitor and network are.
#[derive(Clone, Copy, Debug)]
pub struct HitRarity {
    /// Hits from its network.
    of_network: u32,
    /// Hits of the same visitor before it.
    earlier: u16,
}

/// How suitable a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suitability {
    Good,
    /// Matomo may take it for a bot's and leave it out.
    Doubtful,
    Unsuitable,
}

impl RarityCounter {
    pub fn new() -> Self {
        Self {
            hasher: FixedState::default(),
            epoch: 0,
            visitors: vec![0; COUNTERS],
            networks: vec![0; COUNTERS],
        }
    }

    /// Counts the requests of a buffer that are about to be sent. Returns the rarity of each.
    pub fn count(&mut self, buffer: &Buffer, epoch: u64) -> Vec<HitRarity> {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.visitors.fill(0);
            self.networks.fill(0);
        }
        let requests = buffer.requests();
        let counters: Vec<usize> = requests
            .iter()
            .map(|request| {
                let network = network(buffer.json(*request));
                let hash = network.map_or(0, |bytes| self.hasher.hash_one(bytes));
                let counter = hash as usize % COUNTERS;
                self.networks[counter] = self.networks[counter].saturating_add(1);
                counter
            })
            .collect();
        requests
            .into_iter()
            .zip(counters)
            .map(|(request, network)| {
                let visitor = buffer.group(request).visitor;
                let sent = &mut self.visitors[(visitor >> 40) as usize % COUNTERS];
                let earlier = *sent;
                *sent = sent.saturating_add(1);
                HitRarity {
                    of_network: self.networks[network],
                    earlier,
                }
            })
            .collect()
    }
}

/// Moves the best witness to the front of a batch. Each visitor's hits keep their order, because
/// the witness is its visitor's first.
pub fn move_witness_to_front(
    buffer: &Buffer,
    rarity: &[HitRarity],
    requests: &mut [u32],
    left_out: impl Fn(IpAddr) -> bool,
) {
    let mut visitors = HashSet::with_hasher(RandomState::default());
    let mut candidates: Vec<(bool, u32, usize)> = (0..)
        .zip(requests.iter())
        .filter(|(_, request)| visitors.insert(buffer.group(**request).visitor))
        .filter_map(|(place, request)| {
            let hit = rarity.get(*request as usize)?;
            Some((hit.earlier >= MAX_EARLIER_HITS, hit.of_network, place))
        })
        .collect();
    candidates.sort_unstable();
    let mut doubtful = None;
    for (.., place) in candidates.into_iter().take(MAX_INSPECTED) {
        match suitability(buffer, requests[place], &left_out) {
            Suitability::Good => {
                requests[..=place].rotate_right(1);
                return;
            }
            Suitability::Doubtful => {
                doubtful.get_or_insert(place);
            }
            Suitability::Unsuitable => {}
        }
    }
    if let Some(place) = doubtful {
        requests[..=place].rotate_right(1);
    }
}

/// Whether Matomo can be asked about a hit by its address or `cid`, and has to have it.
pub fn is_suitable(buffer: &Buffer, request: u32, left_out: impl Fn(IpAddr) -> bool) -> bool {
    suitability(buffer, request, &left_out) != Suitability::Unsuitable
}

fn suitability(buffer: &Buffer, request: u32, left_out: &impl Fn(IpAddr) -> bool) -> Suitability {
    let json = buffer.json(request);
    if !buffer.group(request).has_hit_ids
        // The visit of a visitor known by an id may have another address.
        || ["uid", "_id", "recMode", "ping"].iter().any(|name| member(json, name).is_some())
        || !member(json, "rec").is_some_and(|rec| rec.starts_with(b"1") || rec.starts_with(b"\"1\""))
    {
        return Suitability::Unsuitable;
    }
    let has_id = member(json, "cid").is_some();
    match address(json) {
        // It is looked up by the `cid`.
        Some(address) if address.is_unspecified() && has_id => {}
        Some(address) if has_id && is_masked(address) && !left_out(address) => {}
        Some(address) if !address.is_unspecified() && !has_id && !left_out(address) => {}
        _ => return Suitability::Unsuitable,
    }
    let agent = member(json, "ua").unwrap_or_default();
    let agent = agent
        .get(1..)
        .and_then(|agent| agent.split(|byte| *byte == b'"').next());
    match agent.is_some_and(is_browser) {
        true => Suitability::Good,
        false => Suitability::Doubtful,
    }
}

/// Whether a user agent looks like a browser's. Bots name themselves, or an address.
fn is_browser(agent: &[u8]) -> bool {
    const OF_BOTS: [&str; 6] = ["bot", "spider", "crawl", "http", "compatible;", "headless"];
    agent.starts_with(b"Mozilla/5.0 (") && {
        let agent = agent.to_ascii_lowercase();
        OF_BOTS
            .iter()
            .all(|text| memmem::find(&agent, text.as_bytes()).is_none())
    }
}

/// What follows the name of a member of a JSON object.
fn member<'j>(json: &'j [u8], name: &str) -> Option<&'j [u8]> {
    let mut name_bytes = [0; 16];
    let length = name.len() + 3;
    name_bytes[0] = b'"';
    name_bytes[1..=name.len()].copy_from_slice(name.as_bytes());
    name_bytes[name.len() + 1..length].copy_from_slice(b"\":");
    // A quote inside a text is escaped, so this is never part of one.
    memmem::find_iter(json, &name_bytes[..length])
        .find(|at| {
            at.checked_sub(1)
                .is_some_and(|before| matches!(json[before], b',' | b'{'))
        })
        .map(|at| &json[at + length..])
}

fn address_text(json: &[u8]) -> Option<&[u8]> {
    const BEGIN: &[u8] = b",\"cip\":\"";
    // Each hit is searched, so the searcher is built once.
    static FINDER: LazyLock<Finder> = LazyLock::new(|| Finder::new(BEGIN));
    let text = &json[FINDER.find(json)? + BEGIN.len()..];
    text.split(|byte| *byte == b'"').next()
}

fn address(json: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(address_text(json)?).ok()?.parse().ok()
}

/// The first two bytes of an IPv4 address, or the first three groups of another.
fn network(json: &[u8]) -> Option<&[u8]> {
    let text = address_text(json)?;
    let (separator, parts) = match text.contains(&b':') {
        true => (b':', 3),
        false => (b'.', 2),
    };
    let end = memchr::memchr_iter(separator, text).nth(parts - 1);
    Some(&text[..end.unwrap_or(text.len())])
}

/// What Matomo needs to know to find a hit, and what hits may have in common.
#[derive(Clone, Debug, Deserialize)]
pub struct SentHit {
    pub idsite: String,
    pub cip: IpAddr,
    pub cid: Option<String>,
    #[serde(default)]
    pub ua: String,
    /// Its date, in UTC.
    pub cdt: String,
    pub pv_id: String,
}

impl SentHit {
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub fn witness(&self) -> Option<Witness<'_>> {
        let date = NaiveDateTime::parse_from_str(&self.cdt, "%Y-%m-%d %H:%M:%S").ok()?;
        Some(Witness {
            idsite: &self.idsite,
            address: self.cip,
            visitor: self.cid.as_deref().filter(|cid| is_visitor_id(cid)),
            time: date.and_utc().timestamp(),
            pv_id: HitId::try_from(self.pv_id.as_bytes()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::queue::{Chunk, RequestGroup};

    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

    fn hit(address: &str, agent: &str, more: &str) -> String {
        format!(
            r#"{{"rec":1,"apiv":1,"idsite":"1","url":"http://a/\",\"uid\":\"x","cip":"{address}","ua":"{agent}"{more},"pv_id":"abcdef","cdt":"2024-05-14 06:25:24"}}"#
        )
    }

    /// A buffer with a group for each visitor and request.
    fn buffer(hits: &[(u64, String)]) -> Buffer {
        let mut chunk = Chunk::default();
        for (visitor, json) in hits {
            chunk.body.extend_from_slice(json.as_bytes());
            chunk.end_request();
            chunk.groups.push(RequestGroup {
                requests: 1,
                // The upper bits choose the counter.
                visitor: visitor << 40,
                has_hit_ids: true,
                ..RequestGroup::default()
            });
        }
        Buffer::of_chunk(chunk)
    }

    /// The order of all requests as one batch.
    fn order(counter: &mut RarityCounter, buffer: &Buffer) -> Vec<u32> {
        let mut requests = buffer.requests();
        let rarity = counter.count(buffer, 1);
        move_witness_to_front(buffer, &rarity, &mut requests, |address| {
            address == IpAddr::from([10, 66, 0, 1])
        });
        requests
    }

    #[test]
    fn the_witness_is_from_the_rarest_network() {
        let hits = [
            (1, hit("10.1.0.1", BROWSER, "")),
            (2, hit("10.1.0.2", BROWSER, "")),
            (3, hit("10.2.0.1", BROWSER, "")),
            (3, hit("10.2.0.1", BROWSER, "")),
            (3, hit("10.2.0.1", BROWSER, "")),
            (4, hit("10.3.0.1", BROWSER, "")),
        ];
        let order = order(&mut RarityCounter::new(), &buffer(&hits));
        assert_eq!(order, [5, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_witness_is_its_visitors_first_hit_of_the_batch() {
        let hits = [
            (1, hit("10.1.0.1", BROWSER, "")),
            (1, hit("10.2.0.1", BROWSER, "")),
            (2, hit("10.1.0.2", BROWSER, "")),
        ];
        // The rarest network is that of a visitor's second hit.
        let order = order(&mut RarityCounter::new(), &buffer(&hits));
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn hits_that_matomo_may_leave_out_or_cannot_find_are_no_witnesses() {
        for unsuitable in [
            hit("10.2.0.1", BROWSER, r#","uid":"ann""#),
            hit("10.2.0.1", BROWSER, r#","cid":"0123456789abcdef""#),
            hit("10.2.0.1", BROWSER, r#","ping":1"#),
            hit("10.2.0.1", BROWSER, r#","recMode":1"#),
            hit("10.2.0.1", BROWSER, "").replace(r#""rec":1"#, r#""rec":0"#),
            hit("10.66.0.1", BROWSER, ""),
            hit("0.0.0.0", BROWSER, ""),
            hit("nobody", BROWSER, ""),
        ] {
            let ordinary = hit("10.1.0.1", BROWSER, "");
            let hits = [
                (1, unsuitable.clone()),
                (2, ordinary.clone()),
                (3, ordinary),
            ];
            let buffer = buffer(&hits);
            let order = order(&mut RarityCounter::new(), &buffer);
            assert_eq!(order, [1, 0, 2], "{unsuitable}");
            let left_out = |address| address == IpAddr::from([10, 66, 0, 1]);
            assert!(!is_suitable(&buffer, 0, left_out), "{unsuitable}");
            assert!(is_suitable(&buffer, 1, left_out));
        }
    }

    #[test]
    fn a_hit_with_an_id_instead_of_an_address_is_a_witness() {
        let json = hit("0.0.0.0", BROWSER, r#","cid":"0123456789abcdef""#);
        assert!(is_suitable(&buffer(&[(1, json.clone())]), 0, |_| true));
        let sent = SentHit::parse(json.as_bytes()).unwrap();
        let visitor = sent.witness().and_then(|witness| witness.visitor);
        assert_eq!(visitor, Some("0123456789abcdef"));
    }

    #[test]
    fn a_hit_with_an_id_and_a_masked_address_is_a_witness() {
        for address in ["10.2.0.0", "2001:db8:1::", "::ffff:10.2.0.0"] {
            let json = hit(address, BROWSER, r#","cid":"0123456789abcdef""#);
            let buffer = buffer(&[(1, json.clone())]);
            assert!(is_suitable(&buffer, 0, |_| false), "{address}");
            // Matomo may exclude the network.
            assert!(!is_suitable(&buffer, 0, |_| true), "{address}");
            let sent = SentHit::parse(json.as_bytes()).unwrap();
            let visitor = sent.witness().and_then(|witness| witness.visitor);
            assert_eq!(visitor, Some("0123456789abcdef"));
        }
    }

    #[test]
    fn a_browsers_hit_is_preferred_to_what_may_be_a_bots() {
        for agent in [
            "curl/8.0",
            "Mozilla/5.0 (compatible; Unknown/1.0)",
            "Mozilla/5.0 (X11) Unknown (+http://unknown.example)",
        ] {
            let hits = [
                (1, hit("10.2.0.1", agent, "")),
                (2, hit("10.1.0.1", BROWSER, "")),
                (3, hit("10.1.0.2", BROWSER, "")),
            ];
            let order = order(&mut RarityCounter::new(), &buffer(&hits));
            assert_eq!(order, [1, 0, 2], "{agent}");
        }
        let hits = [(1, hit("10.2.0.1", "curl/8.0", ""))];
        assert!(
            is_suitable(&buffer(&hits), 0, |_| false),
            "there is no other"
        );
    }

    #[test]
    fn visitors_with_many_hits_are_avoided() {
        let many: Vec<_> = (0..500)
            .map(|_| (1, hit("10.1.0.1", BROWSER, "")))
            .collect();
        let mut counter = RarityCounter::new();
        counter.count(&buffer(&many), 1);
        let hits = [
            (1, hit("10.1.0.1", BROWSER, "")),
            (2, hit("10.2.0.1", BROWSER, "")),
            (3, hit("10.2.0.2", BROWSER, "")),
        ];
        assert_eq!(order(&mut counter, &buffer(&hits)), [1, 0, 2]);
        // The next day counts anew.
        let mut requests = vec![0, 1, 2];
        let rarity = counter.count(&buffer(&hits), 2);
        move_witness_to_front(&buffer(&hits), &rarity, &mut requests, |_| false);
        assert_eq!(requests, [0, 1, 2]);
    }

    #[test]
    fn networks_are_the_beginnings_of_addresses() {
        for (address, expected) in [
            ("10.1.2.3", "10.1"),
            ("2001:db8:1:2::3", "2001:db8:1"),
            ("::1", "::1"),
            ("nobody", "nobody"),
        ] {
            let json = hit(address, BROWSER, "");
            let network = network(json.as_bytes()).unwrap();
            assert_eq!(network, expected.as_bytes(), "{address}");
        }
    }
}
