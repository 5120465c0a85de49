//! A recorder's read-ahead: the requests it holds, in the order that suits the server.

use crate::hit_id::HitId;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::gate::SiteDay;
use super::parcel::{Chunk, RequestGroup};
use crate::matomo::json;
use crate::secret::Secret;

/// Bytes of a request, as a rule.
pub const USUAL: usize = 400;

/// Requests waiting to be sent, and how far each line of them has come.
#[derive(Debug, Default)]
pub struct Window {
    body: Vec<u8>,
    requests: Vec<Request>,
    units: Vec<Pending>,
}

/// One tracking request: its place in the window's body, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Request {
    begin: u32,
    end: u32,
    unit: u32,
    /// Matomo may have it, and it is to be sent again all the same.
    in_doubt: bool,
}

/// A unit and what has become of its requests so far.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub unit: RequestGroup,
    /// Requests that have no outcome yet.
    pub left: u32,
    pub fate: HitOutcome,
    /// A request of it went out again although Matomo may have had it.
    resent: bool,
}

/// What a line came to. Later is worse: the worst of its requests decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HitOutcome {
    Imported,
    /// Nobody knows whether Matomo has it. By `--in-doubt=skip` that is the end of it; where the import stops, the next
    /// run asks.
    InDoubt,
    Lost,
    Refused,
}

impl Window {
    /// With room for requests of so many bytes, so that it need not grow: what a vector leaves behind on its way to
    /// its full length would double the memory. Room that is not used takes none.
    pub fn of(bytes: usize) -> Self {
        let hits = bytes / USUAL;
        Self {
            body: Vec::with_capacity(bytes),
            requests: Vec::with_capacity(hits),
            units: Vec::with_capacity(hits),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of the requests that wait.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    pub fn clear(&mut self) {
        self.body.clear();
        self.requests.clear();
        self.units.clear();
    }

    /// Takes what is in a parcel.
    pub fn add(&mut self, parcel: &mut Chunk) {
        let offset = self.body.len() as u32;
        self.body.extend_from_slice(&parcel.body);
        let mut ends = parcel.ends.iter();
        let mut begin = offset;
        for unit in parcel.units.drain(..) {
            let number = self.units.len() as u32;
            for end in ends.by_ref().take(unit.requests as usize) {
                self.requests.push(Request {
                    begin,
                    end: offset + end,
                    unit: number,
                    in_doubt: false,
                });
                begin = offset + end;
            }
            self.units.push(Pending {
                left: unit.requests,
                fate: HitOutcome::Imported,
                resent: false,
                unit,
            });
        }
        parcel.clear();
    }

    /// The order that costs Matomo least: it looks an agent up once a batch, so hits of one agent stand together,
    /// and within them those of one visitor. A visitor with several agents stands at the first of them, and each
    /// visitor's own hits stay in the log's order. Gives indexes of requests.
    ///
    /// Where all have the same agent, the log's order is as good. Agents stand in no order that means anything: were
    /// those that come first in a log (the common ones) to stand first, batches would cost less at the beginning of a
    /// window than at its end, and could not be compared.
    pub fn order_by_agent(&self) -> Vec<u32> {
        let mut agents: HashMap<u64, u64, RandomState> = HashMap::default();
        let mut keys: Vec<(u64, u64, u32)> = Vec::with_capacity(self.requests.len());
        for Pending { unit, .. } in &self.units {
            let agent = *agents.entry(unit.visitor).or_insert(unit.agent);
            let next = keys.len() as u32;
            keys.extend((next..next + unit.requests).map(|request| (agent, unit.visitor, request)));
        }
        if keys.iter().any(|key| key.0 != keys[0].0) {
            keys.sort_unstable();
        }
        keys.into_iter().map(|(.., request)| request).collect()
    }

    /// The order of the log.
    pub fn order_of_log(&self) -> Vec<u32> {
        (0..self.requests.len() as u32).collect()
    }

    /// The JSON object of a request.
    pub fn json(&self, request: u32) -> &[u8] {
        let request = self.requests[request as usize];
        &self.body[request.begin as usize..request.end as usize]
    }

    /// The body of one bulk tracking request (SPEC section 6).
    pub fn body(&self, requests: &[u32], token: Option<&Secret>) -> Bytes {
        let size: usize = requests
            .iter()
            .map(|request| self.json(*request).len() + 1)
            .sum();
        let mut body = Vec::with_capacity(size + 128);
        body.push(b'{');
        if let Some(token) = token {
            body.extend_from_slice(b"\"token_auth\":\"");
            json::push_text(&mut body, token.expose().as_bytes());
            body.extend_from_slice(b"\",");
        }
        body.extend_from_slice(b"\"requests\":[");
        for (place, request) in requests.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(self.json(*request));
        }
        body.extend_from_slice(b"]}");
        Bytes::from(body)
    }

    /// The sites and days that these requests write to.
    pub fn site_days(&self, requests: &[u32]) -> Vec<SiteDay> {
        let mut days: Vec<SiteDay> = requests
            .iter()
            .map(|request| self.unit(*request))
            .flat_map(|unit| (unit.days.0..=unit.days.1).map(|day| (unit.site, day)))
            .collect();
        days.sort_unstable();
        days.dedup();
        days
    }

    /// The line that a request comes from.
    pub fn unit(&self, request: u32) -> &RequestGroup {
        &self.units[self.requests[request as usize].unit as usize].unit
    }

    /// Notes a request's outcome. Gives the line and its fate when this was the last of its requests.
    pub fn settle(
        &mut self,
        request: u32,
        fate: HitOutcome,
    ) -> Option<(&RequestGroup, HitOutcome)> {
        let pending = &mut self.units[self.requests[request as usize].unit as usize];
        pending.left = pending.left.saturating_sub(1);
        pending.fate = pending.fate.max(fate);
        (pending.left == 0).then_some((&pending.unit, pending.fate))
    }

    /// Whether two requests come from the same line.
    pub fn are_of_one_line(&self, one: u32, other: u32) -> bool {
        self.requests[one as usize].unit == self.requests[other as usize].unit
    }

    /// The mark of a request, as its JSON object has it.
    pub fn mark(&self, request: u32) -> Option<HitId> {
        // Within a value a quote never stands without a backslash.
        const NAME: &[u8] = b",\"pv_id\":\"";
        let json = self.json(request);
        let place = memchr::memmem::find(json, NAME)?;
        json[place + NAME.len()..].first_chunk().copied()
    }

    /// Notes that a request is to be sent again although Matomo may have it.
    pub fn doubt(&mut self, request: u32) {
        self.requests[request as usize].in_doubt = true;
    }

    /// Notes that a request has been sent. Gives its line, if Matomo may have it twice now, and the first time that this
    /// holds of one of the line's requests.
    pub fn sent(&mut self, request: u32) -> Option<&RequestGroup> {
        let request = &mut self.requests[request as usize];
        if !std::mem::take(&mut request.in_doubt) {
            return None;
        }
        let pending = &mut self.units[request.unit as usize];
        let first = !std::mem::replace(&mut pending.resent, true);
        first.then_some(&pending.unit)
    }

    /// Whether a request of the line that this one comes from has been refused.
    pub fn is_refused(&self, request: u32) -> bool {
        self.units[self.requests[request as usize].unit as usize].fate == HitOutcome::Refused
    }

    /// Whether the line that a request comes from has its outcome.
    pub fn is_settled(&self, request: u32) -> bool {
        self.units[self.requests[request as usize].unit as usize].left == 0
    }

    /// The lines that have requests without outcome; and whether Matomo may have one of these.
    pub fn unsettled(&self) -> impl Iterator<Item = (&RequestGroup, bool)> {
        let doubted: HashSet<u32> = self
            .requests
            .iter()
            .filter(|request| request.in_doubt)
            .map(|request| request.unit)
            .collect();
        self.units
            .iter()
            .enumerate()
            .filter(|(_, pending)| pending.left > 0)
            .map(move |(number, pending)| (&pending.unit, doubted.contains(&(number as u32))))
    }
}

#[cfg(test)]
pub(super) mod tests;
