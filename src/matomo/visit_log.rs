//! Asks Matomo which hits it has: reads its visitor log and looks for the identifiers of the hits
//! (`pv_id`).
//!
//! Visits are selected by address, or by visitor id if the log has no address. Matomo may store an
//! address without its end, and does not say so, so a question names each form that the address may
//! have, until an answer shows which form it is. See guide/guarantees.md, "Unconfirmed batches".

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Days, NaiveDateTime};
use clap::ValueEnum;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::api::{Api, ApiError, VisitQuery, VisitRecord, segment_condition};
use super::response;
use super::tracker_queue::QueueProgress;
use crate::failpoint;
use crate::hit_id::{self, HitId};
use crate::privacy::AddressMask;
use crate::sync::Mutex;

/// How long reading the visits for one call may take. A question that names few visits takes a
/// fraction of a second; one that names most visits of a busy site would take hours.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Matomo Cloud rejects more questions a minute from one address.
const QUESTIONS_PER_MINUTE: usize = 200;
/// Visits in one response.
const PAGE_VISITS: u32 = 500;
/// The same, if so many visits end within one second that the next page cannot begin later.
const MAX_PAGE_VISITS: u32 = 8_000;
/// Addresses and users in one question: 50 addresses in all forms.
const MAX_CONDITIONS: usize = 250;
/// URLs in one question. Matomo searches all its URLs for each.
const MAX_URLS: usize = 20;
/// How far the clocks of this machine and of the server may differ.
const CLOCK_SKEW: i64 = 3600;
const DAY: i64 = 86_400;
/// Matomo stores an older hit as one of the present.
const MAX_AGE: i64 = 20 * 365 * DAY;

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
            ApiError::Refused(why) | ApiError::Failed(why) | ApiError::Broken(why) => {
                Self::Never(why)
            }
            ApiError::Unavailable(why) => Self::NotNow(why),
            ApiError::Interrupted => Self::NotNow(error.to_string()),
        }
    }
}

/// Whether Matomo has a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    Missing,
    /// It was not seen, but may be in a visit that has more actions than Matomo shows.
    Unknown,
}

/// A hit that represents its batch.
#[derive(Clone, Copy, Debug)]
pub struct Witness<'a> {
    pub idsite: &'a str,
    pub address: IpAddr,
    /// The `cid` of a hit without an address.
    pub visitor: Option<&'a str>,
    /// Its date, in seconds since 1970.
    pub time: i64,
    pub pv_id: HitId,
}

/// The parameters of a hit that show up in the visit log.
#[derive(Debug, Deserialize)]
struct RecordedHit {
    idsite: String,
    url: String,
    /// `None` if the log has no valid address.
    #[serde(default, deserialize_with = "valid_address")]
    cip: Option<IpAddr>,
    #[serde(default, deserialize_with = "response::optional_text")]
    uid: Option<String>,
    #[serde(default, deserialize_with = "response::optional_text")]
    cid: Option<String>,
    _id: Option<IgnoredAny>,
    #[serde(default)]
    ua: String,
    download: Option<IgnoredAny>,
    e_c: Option<IgnoredAny>,
    cdt: String,
    /// Hits of AI assistants have none.
    #[serde(default)]
    pv_id: String,
    rec: serde_json::Value,
    #[serde(default, rename = "recMode")]
    rec_mode: Option<serde_json::Value>,
}

/// A hit to look for.
#[derive(Clone, Debug)]
pub struct SoughtHit {
    pub idsite: String,
    pub address: Option<IpAddr>,
    pub agent: String,
    pub kind: ActionKind,
    user: Option<String>,
    /// The `cid` of a hit without an address.
    visitor: Option<String>,
    /// The visit has the address of its first hit, and a visitor who is known by an id may have
    /// had another one then.
    may_have_other_address: bool,
    url: Option<String>,
    /// Its date, in seconds since 1970.
    pub time: i64,
    /// How long before its date it may have been stored, in seconds.
    ahead: i64,
    pv_id: HitId,
}

/// Which hits are looked up to verify a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyMode {
    /// A sample of each day, by network and kind
    Sample,
    /// All hits
    All,
}

/// What Matomo counts a hit as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionKind {
    PageView,
    Download,
    Event,
}

/// When Matomo stored a hit, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeRange {
    first: i64,
    last: i64,
}

/// The visitor log of a Matomo. Clones share what was learned about it.
#[derive(Clone, Debug)]
pub struct VisitLog {
    api: Api,
    /// How the addresses of a site may be stored, after what was seen in this run.
    masks: Arc<Mutex<HashMap<String, BTreeSet<AddressMask>>>>,
    has_shown: Arc<AtomicBool>,
    time_limit: Duration,
    /// When the last questions were asked, or will be, oldest first.
    questions: Arc<Mutex<VecDeque<Instant>>>,
}

impl VisitLog {
    pub fn new(api: Api) -> Self {
        Self {
            api,
            masks: Arc::default(),
            has_shown: Arc::default(),
            time_limit: TIME_LIMIT,
            questions: Arc::default(),
        }
    }

    /// Looks up hits by their requests, which are JSON objects, in their order. `sent_at` is when
    /// they were sent first.
    ///
    /// `has_hit_ids` says that each `pv_id` is one of ours, and so belongs to a single hit.
    ///
    /// # Errors
    /// Matomo cannot be asked, or not about these hits.
    pub fn find(
        &self,
        requests: &[&[u8]],
        has_hit_ids: bool,
        sent_at: SystemTime,
    ) -> Result<Vec<Presence>, LookupError> {
        if !has_hit_ids {
            // Matomo's own tracker gives all actions on one page the same one.
            return Err(LookupError::Never(
                "they carry a pv_id of the log's own, which other hits may carry too".to_owned(),
            ));
        }
        let hits = requests
            .iter()
            .map(|json| SoughtHit::parse(json))
            .collect::<Result<Vec<_>, _>>()?;
        self.find_hits(&hits, sent_at)
    }

    /// Like [`VisitLog::find`].
    ///
    /// # Errors
    /// Matomo cannot be asked.
    pub fn find_hits(
        &self,
        hits: &[SoughtHit],
        sent_at: SystemTime,
    ) -> Result<Vec<Presence>, LookupError> {
        Search::new(self).run(hits, sent_at)
    }

    /// Begins to follow the workers of Matomo's queue. `timeout` is that of requests.
    pub fn queue_progress(&self, timeout: Duration) -> QueueProgress {
        QueueProgress::new(self.api.queue_workers(), timeout)
    }

    /// Notes that it has shown hits of an earlier run.
    pub fn note_shown(&self) {
        self.has_shown.store(true, Ordering::Relaxed);
    }

    /// Whether it has shown hits of an earlier run.
    pub fn has_shown(&self) -> bool {
        self.has_shown.load(Ordering::Relaxed)
    }

    /// Looks up witnesses that were sent in the last minutes, in their order. About 50 of them are
    /// one question for each of their sites.
    ///
    /// # Errors
    /// Matomo cannot be asked.
    pub fn find_witnesses(&self, witnesses: &[Witness]) -> Result<Vec<Presence>, LookupError> {
        let hits: Vec<SoughtHit> = witnesses.iter().map(SoughtHit::from).collect();
        Search::new(self).run(&hits, failpoint::now())
    }

    fn ask(&self, query: &VisitQuery) -> Result<Vec<VisitRecord>, LookupError> {
        let wait = next_question(&mut self.questions.lock(), Instant::now());
        if !wait.is_zero() {
            self.api.wait(wait)?;
        }
        match self.api.last_visits(query) {
            Err(ApiError::Broken(why)) if self.api.is_broken() => Err(LookupError::NotNow(why)),
            visits => Ok(visits?),
        }
    }

    fn masks_of(&self, idsite: &str) -> Option<BTreeSet<AddressMask>> {
        self.masks.lock().get(idsite).cloned()
    }

    /// Records that a visit's address is stored with one of these masks. If that contradicts what
    /// was seen before, the setting has changed; only a visit with one of the hits shows that.
    fn learn(&self, idsite: &str, masks: &BTreeSet<AddressMask>, has_hit: bool) {
        // Visits without an address look like this too.
        if masks.contains(&AddressMask::WHOLE) && !has_hit {
            return;
        }
        let mut all = self.masks.lock();
        let known = all
            .entry(idsite.to_owned())
            .or_insert_with(|| masks.clone());
        let both: BTreeSet<AddressMask> = known.intersection(masks).copied().collect();
        if !both.is_empty() {
            *known = both;
        } else if has_hit {
            known.clone_from(masks);
        }
    }
}

/// How long the next question has to wait. Notes when it will be asked.
fn next_question(questions: &mut VecDeque<Instant>, now: Instant) -> Duration {
    let first = match questions.len() >= QUESTIONS_PER_MINUTE {
        true => questions.pop_front(),
        false => None,
    };
    let at = first.map_or(now, |first| now.max(first + Duration::from_secs(60)));
    questions.push_back(at);
    at - now
}

impl SoughtHit {
    /// # Errors
    /// It cannot be looked up.
    pub fn parse(json: &[u8]) -> Result<Self, LookupError> {
        let never = |why: String| LookupError::Never(format!("a hit cannot be looked up: {why}"));
        let hit: RecordedHit =
            serde_json::from_slice(json).map_err(|error| never(error.to_string()))?;
        // Neither hits that are not recorded nor those of AI bots appear in the visit log.
        if hit.rec == 0 || hit.rec == "0" || hit.rec_mode.is_some() {
            return Err(LookupError::Never(
                "hits that make no visit, such as those of AI assistants, cannot be looked up"
                    .to_owned(),
            ));
        }
        let date = NaiveDateTime::parse_from_str(&hit.cdt, "%Y-%m-%d %H:%M:%S")
            .map_err(|_| never(format!("its date '{}' is invalid", hit.cdt)))?;
        let is_known_otherwise = hit.uid.is_some() || hit._id.is_some();
        let has_no_address = hit.cip.is_none_or(|address| {
            address.is_unspecified() || (is_masked(address) && !is_known_otherwise)
        });
        Ok(Self {
            kind: match (&hit.download, &hit.e_c) {
                (Some(_), _) => ActionKind::Download,
                (_, Some(_)) => ActionKind::Event,
                _ => ActionKind::PageView,
            },
            visitor: hit
                .cid
                .clone()
                .filter(|cid| has_no_address && is_visitor_id(cid)),
            agent: hit.ua,
            may_have_other_address: hit.cip.is_none()
                || hit.uid.is_some()
                || hit.cid.is_some()
                || hit._id.is_some(),
            idsite: hit.idsite,
            address: hit.cip,
            user: hit.uid.filter(|user| !user.is_empty()),
            url: Some(hit.url),
            time: date.and_utc().timestamp(),
            ahead: 0,
            pv_id: to_hit_id(&hit.pv_id)
                .ok_or_else(|| never(format!("its pv_id '{}' is invalid", hit.pv_id)))?,
        })
    }

    /// The network of its address: the part that Matomo's anonymizer leaves by default.
    pub fn network(&self) -> String {
        let network = |address: IpAddr| {
            let bits = if address.is_ipv4() { 16 } else { 48 };
            format!("{}/{bits}", AddressMask::DEFAULT.apply(address))
        };
        self.address.map_or_else(String::new, network)
    }

    /// The same hit in another site.
    pub fn in_site(&self, idsite: &str) -> Self {
        Self {
            idsite: idsite.to_owned(),
            ..self.clone()
        }
    }

    /// The same hit, which may have been sent before its date, but not by more than two days.
    /// Matomo stores it as one of the present then.
    pub fn sent_early(&self) -> Self {
        Self {
            ahead: 2 * DAY,
            ..self.clone()
        }
    }

    /// Whether Matomo replaces its date by the present if it is sent now, by the server's clock.
    pub fn is_dated_anew(&self, now: i64) -> bool {
        self.time > now || self.time <= now - MAX_AGE + DAY
    }

    /// When Matomo may have stored it, if it was sent at `sent_at` for the first time and `now`
    /// for the last: at its own date, or in the present, by which Matomo replaces a date in the
    /// future, and one of more than 20 years ago. The third is its own date as well, if it is in
    /// the future only because the clock of this machine is behind.
    fn windows(&self, sent_at: i64, now: i64) -> [Option<TimeRange>; 3] {
        let own = self.own_window();
        let present = TimeRange {
            first: sent_at.min(now) - CLOCK_SKEW,
            last: now,
        };
        let oldest = sent_at - MAX_AGE;
        if self.time > present.first || self.time <= oldest - DAY {
            // The present includes its own date, if that is just now.
            let future = (self.time > present.last).then_some(own);
            [None, Some(present), future]
        } else if self.time <= oldest + DAY {
            [Some(own), Some(present), None]
        } else {
            [Some(own), None, None]
        }
    }

    /// Whether its visit may have this address.
    fn may_be_from(&self, address: Option<IpAddr>) -> bool {
        let is_form = |own: IpAddr| {
            let mut masks = AddressMask::PARTIAL.iter().chain([&AddressMask::WHOLE]);
            masks.any(|mask| Some(mask.apply(own)) == address)
        };
        self.may_have_other_address || self.address.is_some_and(is_form)
    }

    /// Whether it may be among the actions that a visit does not show, which are its last ones.
    fn may_be_hidden_in(&self, visit: &VisitRecord, scope: Scope) -> bool {
        let stored = match scope.is_present {
            true => scope.window,
            false => self.own_window(),
        };
        let last_shown = visit.actions.iter().filter_map(|action| action.time).max();
        last_shown.is_none_or(|time| time <= stored.last)
            && visit.last_action.is_none_or(|time| stored.first <= time)
    }

    fn own_window(&self) -> TimeRange {
        TimeRange {
            first: self.time - self.ahead,
            last: self.time,
        }
    }
}

impl From<&Witness<'_>> for SoughtHit {
    fn from(witness: &Witness) -> Self {
        Self {
            idsite: witness.idsite.to_owned(),
            address: Some(witness.address),
            agent: String::new(),
            kind: ActionKind::PageView,
            user: None,
            visitor: witness.visitor.map(str::to_owned),
            may_have_other_address: witness.visitor.is_some(),
            url: None,
            time: witness.time,
            ahead: 0,
            pv_id: witness.pv_id,
        }
    }
}

fn valid_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Whether an address that is sent with a `cid` is unspecified or masked. Then the `cid` alone
/// tells visitors apart, and is the `visitorId` of the visit.
pub fn is_masked(address: IpAddr) -> bool {
    AddressMask::DEFAULT.apply(address) == address
}

/// Whether Matomo accepts a `cid`.
pub fn is_visitor_id(cid: &str) -> bool {
    cid.len() == 16 && cid.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn to_hit_id(text: &str) -> Option<HitId> {
    <[u8; hit_id::LENGTH]>::try_from(text.as_bytes()).ok()
}

impl TimeRange {
    fn extend(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    /// The days for Matomo's API, with one more at each end, because Matomo's days are those of
    /// the site's time zone.
    fn days(self) -> String {
        let day = |time: i64| DateTime::from_timestamp(time, 0).unwrap_or_default();
        let one = Days::new(1);
        let first = day(self.first).date_naive();
        let last = day(self.last).date_naive();
        let first = first.checked_sub_days(one).unwrap_or(first);
        let last = last.checked_add_days(one).unwrap_or(last);
        format!("{first},{last}")
    }
}

/// The questions for one list of hits.
struct Search<'a> {
    log: &'a VisitLog,
    begun: Instant,
    /// [`Api::waited`] at the beginning.
    waited: Duration,
    found: HashSet<HitId>,
    maybe_hidden: HashSet<HitId>,
}

/// Where hits are looked for.
#[derive(Clone, Copy)]
struct Scope<'a> {
    idsite: &'a str,
    window: TimeRange,
    /// Matomo may have replaced the dates of the hits.
    is_present: bool,
}

/// One question: the conditions that select its visits, and the hits that may be in them.
#[derive(Default)]
struct Question<'a> {
    conditions: BTreeSet<String>,
    hits: Vec<&'a SoughtHit>,
    /// The addresses in the conditions, each with the masks that make it from one of the hits'.
    forms: HashMap<IpAddr, BTreeSet<AddressMask>>,
    /// The hits that are selected by visitor id. They say nothing about addresses.
    by_visitor: HashSet<HitId>,
    by_url: bool,
}

impl<'a> Search<'a> {
    fn new(log: &'a VisitLog) -> Self {
        Self {
            log,
            begun: Instant::now(),
            waited: log.api.waited(),
            found: HashSet::new(),
            maybe_hidden: HashSet::new(),
        }
    }

    /// Matomo stores hits by its own clock. If the clock of this machine was set back since they
    /// were sent, they seem to have been sent later than now.
    fn run(
        mut self,
        hits: &'a [SoughtHit],
        sent_at: SystemTime,
    ) -> Result<Vec<Presence>, LookupError> {
        let clock = self.log.api.clock();
        let now = clock.now();
        let sent_at = clock.at(sent_at).min(now);
        // Hits of the present are looked up after the others, since some of them are found before.
        let mut groups: BTreeMap<(usize, &str), (Vec<&SoughtHit>, TimeRange)> = BTreeMap::new();
        for hit in hits {
            for (place, window) in hit.windows(sent_at, now).into_iter().enumerate() {
                let Some(window) = window else { continue };
                let (hits, all) = groups
                    .entry((place, &hit.idsite))
                    .or_insert_with(|| (Vec::new(), window));
                hits.push(hit);
                all.extend(window);
            }
        }
        for ((place, idsite), (hits, window)) in groups {
            let scope = Scope {
                idsite,
                window,
                is_present: place == 1,
            };
            self.search(scope, hits)?;
        }
        let presence = |hit: &SoughtHit| {
            if self.found.contains(&hit.pv_id) {
                Presence::Present
            } else if self.maybe_hidden.contains(&hit.pv_id) {
                Presence::Unknown
            } else {
                Presence::Missing
            }
        };
        Ok(hits.iter().map(presence).collect())
    }

    /// Looks for hits of one site: in the form of address that is known, then in the other forms,
    /// and by URL those that cannot be found by address.
    fn search(&mut self, scope: Scope, mut hits: Vec<&'a SoughtHit>) -> Result<(), LookupError> {
        hits.retain(|hit| !self.found.contains(&hit.pv_id));
        hits.sort_by_key(|hit| (hit.address, hit.time));
        let mut other_forms = self.search_by_address(scope, &hits, |known| match known {
            Some(known) => known.into_iter().collect(),
            None => [&AddressMask::PARTIAL[..], &[AddressMask::WHOLE]].concat(),
        })?;
        // The setting may have changed since.
        other_forms.retain(|hit| !self.found.contains(&hit.pv_id));
        self.search_by_address(scope, &other_forms, |known| {
            let is_other = |mask: &AddressMask| known.as_ref().is_none_or(|it| !it.contains(mask));
            AddressMask::PARTIAL.into_iter().filter(is_other).collect()
        })?;
        let is_known = self.log.masks_of(scope.idsite).is_some();
        hits.retain(|hit| {
            !self.found.contains(&hit.pv_id) && (!is_known || hit.may_have_other_address)
        });
        self.search_by_url(scope, hits)
    }

    /// Looks for hits by address and user. `masks` returns the forms of an address that a question
    /// names, from those that are known. Returns the hits for which that was not all.
    fn search_by_address(
        &mut self,
        scope: Scope,
        hits: &[&'a SoughtHit],
        masks: impl Fn(Option<BTreeSet<AddressMask>>) -> Vec<AddressMask>,
    ) -> Result<Vec<&'a SoughtHit>, LookupError> {
        let mut not_all = Vec::new();
        let mut used = masks(self.log.masks_of(scope.idsite));
        let mut question = Question::default();
        for hit in hits {
            if question.conditions.len() + used.len() >= MAX_CONDITIONS {
                self.ask(scope, std::mem::take(&mut question))?;
                used = masks(self.log.masks_of(scope.idsite));
            }
            question.add(hit, &used);
            if used.len() < AddressMask::PARTIAL.len() {
                not_all.push(*hit);
            }
        }
        self.ask(scope, question)?;
        Ok(not_all)
    }

    fn search_by_url(
        &mut self,
        scope: Scope,
        mut hits: Vec<&'a SoughtHit>,
    ) -> Result<(), LookupError> {
        hits.sort_by_key(|hit| &hit.url);
        let mut question = Question::by_url();
        for hit in hits {
            let Some(url) = &hit.url else { continue };
            // Without the query, from which Matomo removes parameters.
            let path = url.split(['?', '#']).next().unwrap_or(url);
            let condition = segment_condition("actionUrl", "=^", path);
            if question.conditions.len() >= MAX_URLS && !question.conditions.contains(&condition) {
                self.ask(scope, std::mem::replace(&mut question, Question::by_url()))?;
            }
            question.conditions.insert(condition);
            question.hits.push(hit);
        }
        self.ask(scope, question)
    }

    /// Reads the visits of a question, oldest first, until all its hits are found.
    ///
    /// A page begins where the one before ended. Matomo's own offsets skip visits if a question
    /// covers several days.
    fn ask(&mut self, scope: Scope, question: Question) -> Result<(), LookupError> {
        if question.conditions.is_empty() {
            return Ok(());
        }
        let Scope { idsite, window, .. } = scope;
        let conditions: Vec<&str> = question.conditions.iter().map(String::as_str).collect();
        let segment = conditions.join(",");
        let days = window.days();
        let (mut after, mut limit) = (window.first - 1, PAGE_VISITS);
        let mut wanted: HashSet<HitId> = question.hits.iter().map(|hit| hit.pv_id).collect();
        loop {
            let waited = self.log.api.waited().saturating_sub(self.waited);
            if self.begun.elapsed().saturating_sub(waited) >= self.log.time_limit {
                return Err(LookupError::Never(format!(
                    "reading the visits of site {idsite} takes more than {} s",
                    self.log.time_limit.as_secs()
                )));
            }
            let visits = self.log.ask(&VisitQuery {
                idsite,
                days: &days,
                segment: &segment,
                after,
                limit,
            })?;
            for visit in &visits {
                self.read(scope, visit, &question, &mut wanted);
            }
            if wanted.is_empty() || visits.len() < limit as usize {
                return Ok(());
            }
            let is_sorted = visits.is_sorted_by_key(|visit| visit.last_action);
            match visits.last().and_then(|visit| visit.last_action) {
                Some(last) if is_sorted && last - 1 > after => {
                    (after, limit) = (last - 1, PAGE_VISITS);
                }
                _ if limit < MAX_PAGE_VISITS => limit *= 2,
                _ => {
                    return Err(LookupError::Never(format!(
                        "site {idsite} has more than {limit} visits that end in one second"
                    )));
                }
            }
        }
    }

    /// Takes the hits that a visit shows out of `wanted`.
    fn read(
        &mut self,
        scope: Scope,
        visit: &VisitRecord,
        question: &Question,
        wanted: &mut HashSet<HitId>,
    ) {
        let mut has_hit = false;
        for action in &visit.actions {
            if let Some(id) = action.pv_id.as_deref().and_then(to_hit_id)
                && wanted.remove(&id)
            {
                self.found.insert(id);
                has_hit |= !question.by_visitor.contains(&id);
            }
        }
        let address = visit.ip.as_deref().and_then(|ip| ip.parse().ok());
        if let Some(forms) = address.and_then(|address: IpAddr| question.forms.get(&address)) {
            self.log.learn(scope.idsite, forms, has_hit);
        }
        if visit.truncated.is_some_and(|actions| actions > 0) {
            let hidden = |hit: &&&SoughtHit| {
                let is_of_visitor = question.by_url || hit.may_be_from(address);
                is_of_visitor && hit.may_be_hidden_in(visit, scope)
            };
            let hidden = question.hits.iter().filter(hidden);
            self.maybe_hidden.extend(hidden.map(|hit| hit.pv_id));
        }
    }
}

impl<'a> Question<'a> {
    fn by_url() -> Self {
        Self {
            by_url: true,
            ..Self::default()
        }
    }

    /// Adds a hit, with the conditions for its address in each of these forms and for its user.
    fn add(&mut self, hit: &'a SoughtHit, masks: &[AddressMask]) {
        self.hits.push(hit);
        if let Some(visitor) = &hit.visitor {
            self.conditions
                .insert(segment_condition("visitorId", "==", visitor));
            self.by_visitor.insert(hit.pv_id);
            return;
        }
        for (address, mask) in hit
            .address
            .iter()
            .flat_map(|own| masks.iter().map(|mask| (mask.apply(*own), *mask)))
        {
            let condition = segment_condition("visitIp", "==", &address.to_string());
            self.conditions.insert(condition);
            self.forms.entry(address).or_default().insert(mask);
        }
        let user = hit.user.as_deref();
        self.conditions
            .extend(user.map(|user| segment_condition("userId", "==", user)));
    }
}
