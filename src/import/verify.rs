//! `--verify`: asks Matomo which of the hits that the ledger counts as imported it has, and with
//! `--repair` sends those again that are missing (guide/guarantees.md, "Verification").
//!
//! The logs are read twice. First their hits are counted for each site and day, and Matomo is asked
//! for its own counts. Only the hits of days whose counts differ are looked up.

mod findings;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::time::UNIX_EPOCH;

use chrono::NaiveDate;
use foldhash::fast::FixedState;

use self::findings::{Finding, Findings};
use super::Importer;
use super::file::Job;
use super::recovery::{RebuiltAssistant, RebuiltBatch, RebuiltGroup};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::hit::Zone;
use crate::hit_id::HitId;
use crate::input::discover::Source;
use crate::input::lines::LineOptions;
use crate::ledger::{LogState, Ranges};
use crate::matomo::api::{Api, ApiError};
use crate::matomo::exclusions::Exclusions;
use crate::matomo::visit_log::{LookupError, Presence, SoughtHit, VerifyMode, VisitLog};
use crate::recorder::LinePosition;

/// Hits looked up at once.
const BATCH_HITS: usize = 500;
/// Days in one question for counts: Matomo counts each of them.
const MAX_DAYS: usize = 31;
/// Hits of a site and day in a sample: one of each network and kind, and others at random.
const SAMPLE_HITS: u64 = 500;

#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    pub mode: VerifyMode,
    /// Send what is missing.
    pub repair: bool,
}

/// A log with lines that are done.
struct VerifiedLog<'s> {
    source: &'s Source,
    options: LineOptions,
    state: LogState,
    missing: MissingLines,
}

/// Lines of a log with hits that are missing without a reason.
#[derive(Default)]
struct MissingLines {
    lines: Ranges,
    first: Option<LinePosition>,
    /// Hits of these lines that Matomo has all the same.
    present: Vec<HitId>,
    /// Sessions with these lines, by their last line.
    sessions: Vec<Vec<LinePosition>>,
}

/// A site, and a day in its time zone, counted from 1970.
type SiteDate = (String, i32);

/// What the logs have of a day.
#[derive(Default)]
struct DayCount {
    /// Without those that Matomo's settings exclude.
    hits: u64,
    excluded: BTreeMap<&'static str, u64>,
    /// Matomo has as many actions.
    is_complete: bool,
    sampled: u64,
}

struct SiteSettings {
    /// `None` if it is not known. Its days are not counted then.
    zone: Option<Zone>,
    exclusions: Exclusions,
}

struct Verifier {
    api: Api,
    visits: VisitLog,
    mode: VerifyMode,
    sites: HashMap<String, SiteSettings>,
    days: BTreeMap<SiteDate, DayCount>,
    /// Hits of all days.
    hits: u64,
    hasher: FixedState,
    /// Hashes of what a sample has of each day: networks and kinds.
    strata: HashSet<u64>,
    findings: Findings,
}

impl Importer {
    /// Compares the logs with Matomo, prints what is missing, and sends it with `--repair`.
    ///
    /// # Errors
    ///
    /// Returns an error if a log cannot be read or Matomo cannot be asked.
    pub fn verify(&mut self, sources: &[Source], options: VerifyOptions) -> Result<()> {
        let mut logs = self.verified_logs(sources)?;
        let mut verifier = Verifier {
            api: self.processor.api.clone(),
            visits: self.processor.visits.clone(),
            mode: options.mode,
            sites: HashMap::new(),
            days: BTreeMap::new(),
            hits: 0,
            hasher: FixedState::default(),
            strata: HashSet::new(),
            findings: Findings::default(),
        };
        for log in &logs {
            self.read_again(log, &mut |batch| verifier.count(batch))?;
        }
        let hits = verifier.hits;
        // With a shard, Matomo counts the hits of the others, too.
        let compares_counts = self.processor.shard.is_none();
        if compares_counts {
            verifier.compare_counts()?;
        }
        for log in &mut logs {
            let mut missing = MissingLines::default();
            let name = log.source.to_string();
            self.read_again(log, &mut |batch| {
                verifier.look_up(&name, batch, &mut missing)
            })?;
            log.missing = missing;
        }
        verifier.look_in_other_sites()?;
        let Verifier { days, findings, .. } = verifier;
        let complete = days.values().filter(|day| day.is_complete).count();
        let complete = compares_counts.then_some((complete, days.len()));
        self.console
            .print(findings.text(logs.len(), hits, complete));
        let in_queue = self
            .ledger
            .as_ref()
            .map(|handle| handle.ledger.hits_in_queue());
        if let Some(in_queue) = in_queue.filter(|hits| *hits > 0) {
            self.console.note(format!(
                "{in_queue} hits are in Matomo's queue, not confirmed yet, and were left out"
            ));
        }
        if findings.unexplained() > 0 && !options.repair {
            self.console.mark_incomplete();
            self.console
                .hint("--verify=all --repair looks up all hits and sends those that are missing");
        }
        if options.repair {
            logs.into_iter().try_for_each(|log| self.repair(log))?;
        }
        if self.shutdown.requested() || self.processor.queue.flush().is_err() {
            crate::recorder::count_unsent(&self.account, self.processor.queue.unsent());
        }
        Ok(())
    }

    /// The logs that have lines in the ledger.
    fn verified_logs<'s>(&self, sources: &'s [Source]) -> Result<Vec<VerifiedLog<'s>>> {
        let mut logs = Vec::new();
        for source in sources {
            let state = match source {
                Source::Stdin => {
                    self.console
                        .warn_incomplete(format!("{source}: a pipe cannot be verified"));
                    continue;
                }
                Source::File(path) => self.identify(path, |file| file)?.map(|(state, _)| state),
                Source::Object(object) => self.look_up_object(object)?,
            };
            match state {
                Some(state) if !state.done.is_empty() => logs.push(VerifiedLog {
                    source,
                    options: self.input.line_options(),
                    state,
                    missing: MissingLines::default(),
                }),
                _ => self.console.warn_incomplete(format!(
                    "{source}: no line of it is imported, by this --state-dir and for this --url \
                     and --idsite"
                )),
            }
        }
        Ok(logs)
    }

    /// Makes the requests of all lines that are done again, and hands them over in batches.
    fn read_again(
        &mut self,
        log: &VerifiedLog,
        take: &mut dyn FnMut(&mut RebuiltBatch) -> Result<()>,
    ) -> Result<()> {
        let VerifiedLog {
            source,
            options,
            state,
            ..
        } = log;
        let shutdown = self.shutdown.clone();
        let rest =
            self.rebuild_requests(state.log, source, options, &state.done, &mut |batch| {
                if shutdown.requested() {
                    return Err(Error::interrupted("interrupted while verifying"));
                }
                match batch.groups.len() >= BATCH_HITS {
                    true => take(batch),
                    false => Ok(()),
                }
            })?;
        take(&mut rest.whole()?)
    }

    /// Sends the missing hits of a log: reads it as if all other lines were done.
    fn repair(&mut self, log: VerifiedLog) -> Result<()> {
        let VerifiedLog {
            source,
            options,
            mut state,
            missing,
            ..
        } = log;
        let Some(first) = missing.first else {
            return Ok(());
        };
        let mut others = Ranges::default();
        let mut start = 0;
        for (range, _) in missing.lines.iter() {
            // Only the lines before the first one have to be counted: others are read.
            let before = if start == 0 { first.line - 1 } else { 0 };
            if range.start > start {
                others.insert(start..range.start, before);
            }
            start = range.end;
        }
        others.insert(start..u64::MAX, 0);
        for session in &missing.sessions {
            self.close_session(state.log, session);
        }
        state.done = others;
        self.processor.requests.recorded.extend(missing.present);
        let row = self.account.open(source.to_string());
        self.console.note(format!(
            "{source}: sending {} lines again",
            missing.lines.lines()
        ));
        self.import_job(Job {
            state: Some(state),
            ..Job::new(source, row, options)
        })?;
        Ok(())
    }
}

impl Verifier {
    fn site(&mut self, idsite: &str) -> Result<&SiteSettings> {
        if !self.sites.contains_key(idsite) {
            let site = self.api.site(idsite)?;
            let zone = site.timezone.as_deref().and_then(Zone::parse);
            let exclusions = Exclusions::of_site(&self.api, &site);
            let settings = SiteSettings { zone, exclusions };
            self.sites.insert(idsite.to_owned(), settings);
        }
        Ok(&self.sites[idsite])
    }

    /// The site of a hit, and its day in the site's time zone.
    fn day_of(&mut self, hit: &SoughtHit) -> Result<SiteDate> {
        let zone = self.site(&hit.idsite)?.zone.unwrap_or(Zone::UTC);
        Ok((hit.idsite.clone(), zone.day(hit.time)))
    }

    /// Counts hits by site and day.
    fn count(&mut self, batch: &mut RebuiltBatch) -> Result<()> {
        let now = self.api.clock().now();
        let assistants = self.assistant_flags(batch);
        for (json, of_assistant) in batch.chunk.requests().zip(assistants) {
            self.hits += 1;
            // Others are counted when they are to be looked up.
            if let Ok(hit) = SoughtHit::parse(json)
                && !of_assistant
                && !hit.is_dated_anew(now)
            {
                let day = self.day_of(&hit)?;
                let reason = self
                    .site(&hit.idsite)?
                    .exclusions
                    .reason(hit.address, &hit.agent);
                let count = self.days.entry(day).or_default();
                match reason {
                    Some(reason) => *count.excluded.entry(reason).or_default() += 1,
                    None => count.hits += 1,
                }
            }
        }
        clear(batch);
        Ok(())
    }

    /// Whether each request of a batch may be in the reports of AI assistants.
    fn assistant_flags(&self, batch: &RebuiltBatch) -> Vec<bool> {
        let requests = batch
            .groups
            .iter()
            .flat_map(|group| std::iter::repeat_n(self.is_of_assistant(group), group.ids.len()));
        let mut all: Vec<bool> = requests.collect();
        // Requests that are known to be there have no ids.
        all.resize(batch.chunk.ends.len(), false);
        all
    }

    fn is_of_assistant(&self, group: &RebuiltGroup) -> bool {
        match group.assistant {
            RebuiltAssistant::No => false,
            RebuiltAssistant::Perhaps => self.api.features().version.is_none(),
            RebuiltAssistant::Yes => true,
        }
    }

    /// Asks Matomo how many actions the days have that are past.
    fn compare_counts(&mut self) -> Result<()> {
        let since_1970 = failpoint::now().duration_since(UNIX_EPOCH);
        let since_1970 = since_1970.unwrap_or_default();
        // Makes the segment of each question a new one.
        let mut unique = since_1970.as_millis() as u64;
        let is_past = |(idsite, day): &&SiteDate| {
            let zone = self.sites.get(idsite).and_then(|site| site.zone);
            zone.is_some_and(|zone| *day < zone.day(since_1970.as_secs() as i64))
        };
        let past: Vec<SiteDate> = self.days.keys().filter(is_past).cloned().collect();
        let is_next = |a: &SiteDate, b: &SiteDate| a.0 == b.0 && a.1 + 1 == b.1;
        let runs = past.chunk_by(is_next).flat_map(|run| run.chunks(MAX_DAYS));
        for run in runs {
            let (Some((idsite, first)), Some((_, last))) = (run.first(), run.last()) else {
                continue;
            };
            unique += 1;
            let days = format!("{},{}", date(*first), date(*last));
            let counts = match self.api.actions_by_day(idsite, &days, unique) {
                Ok(counts) => counts,
                Err(error @ ApiError::Interrupted) => return Err(error.into()),
                // The hits are looked up then.
                Err(_) => continue,
            };
            for day in run {
                let counted = counts.get(&date(day.1)).copied();
                if let Some(count) = self.days.get_mut(day) {
                    count.is_complete = counted == Some(count.hits);
                    self.findings.fewer += counted.map_or(0, |it| count.hits.saturating_sub(it));
                    if count.is_complete {
                        let excluded = std::mem::take(&mut count.excluded);
                        excluded
                            .into_iter()
                            .for_each(|(reason, hits)| self.findings.add_excluded(reason, hits));
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks up the hits of days whose counts differ.
    fn look_up(
        &mut self,
        log: &str,
        batch: &mut RebuiltBatch,
        missing: &mut MissingLines,
    ) -> Result<()> {
        let now = self.api.clock().now();
        let mut hits = Vec::new();
        // The group of each hit, and its id.
        let mut places = Vec::new();
        let mut requests = batch.chunk.requests();
        for group in &batch.groups {
            for (json, id) in requests.by_ref().take(group.ids.len()).zip(&group.ids) {
                match SoughtHit::parse(json) {
                    Ok(hit)
                        if batch.has_hit_ids
                            && !self.is_of_assistant(group)
                            && !hit.is_dated_anew(now) =>
                    {
                        if self.is_wanted(&hit)? {
                            hits.push(hit);
                            places.push((group, *id));
                        }
                    }
                    _ => self.findings.cannot_be_looked_up += 1,
                }
            }
        }
        drop(requests);
        let presences = self.presences(&hits)?;
        let found = hits.iter().zip(presences).zip(places).collect::<Vec<_>>();
        let is_one_group = |a: &Found, b: &Found| std::ptr::eq(a.1.0, b.1.0);
        for hits in found.chunk_by(is_one_group) {
            let mut present = Vec::new();
            for ((hit, presence), (group, id)) in hits {
                let exclusions = &self.site(&hit.idsite)?.exclusions;
                let reason = exclusions.reason(hit.address, &hit.agent);
                self.findings.add(Finding {
                    log,
                    line: group.lines.last().map_or(0, |line| line.line),
                    status: &group.status,
                    hit,
                    presence: *presence,
                    reason,
                });
                if *presence != Presence::Missing || reason.is_some() {
                    present.push(*id);
                }
            }
            if let Some((_, (group, _))) = hits.first().filter(|_| present.len() < hits.len()) {
                missing.add(group, present);
            }
        }
        clear(batch);
        Ok(())
    }

    /// Whether a hit is looked up: its day is not complete, and it is in the sample.
    fn is_wanted(&mut self, hit: &SoughtHit) -> Result<bool> {
        let key = self.day_of(hit)?;
        let network = hit.network();
        let stratum = self.hasher.hash_one((&key, &network, hit.kind));
        let chance = self.hasher.hash_one((&key, &network, hit.time));
        let Some(day) = self.days.get_mut(&key).filter(|day| !day.is_complete) else {
            return Ok(false);
        };
        if self.mode == VerifyMode::All || day.hits <= SAMPLE_HITS {
            return Ok(true);
        }
        // Half of the sample is for the strata.
        let is_new = day.sampled < SAMPLE_HITS / 2 && self.strata.insert(stratum);
        let is_drawn = chance % day.hits < SAMPLE_HITS / 2;
        if is_new || is_drawn {
            day.sampled += 1;
        }
        Ok(is_new || is_drawn)
    }

    fn presences(&mut self, hits: &[SoughtHit]) -> Result<Vec<Presence>> {
        let mut presences = match self.visits.find_hits(hits, failpoint::now()) {
            Ok(presences) => presences,
            // Some visits take too long to read.
            Err(LookupError::Never(_)) if self.findings.has_answers() => {
                vec![Presence::Unknown; hits.len()]
            }
            Err(LookupError::Never(why) | LookupError::NotNow(why)) => {
                return Err(Error::stopped(format!(
                    "Matomo cannot be asked which hits it has: {why}"
                )));
            }
        };
        // Some may have been sent before their date.
        let missing = (0..hits.len()).filter(|at| presences[*at] == Presence::Missing);
        let missing: Vec<usize> = missing.collect();
        let early: Vec<SoughtHit> = missing.iter().map(|at| hits[*at].sent_early()).collect();
        match self.visits.find_hits(&early, failpoint::now()) {
            Ok(found) => missing
                .into_iter()
                .zip(found)
                .for_each(|(at, presence)| presences[at] = presence),
            Err(_) => missing
                .into_iter()
                .for_each(|at| presences[at] = Presence::Unknown),
        }
        Ok(presences)
    }

    /// Looks for a few of the missing hits in all other sites.
    fn look_in_other_sites(&mut self) -> Result<()> {
        let examples = self.findings.take_examples();
        if examples.is_empty() {
            return Ok(());
        }
        let sites = match self.api.all_sites() {
            Ok(sites) => sites,
            Err(error @ ApiError::Interrupted) => return Err(error.into()),
            Err(_) => return Ok(()),
        };
        for site in sites.into_iter().take(MAX_DAYS) {
            let others: Vec<SoughtHit> = examples
                .iter()
                .filter(|hit| hit.idsite != site.id)
                .map(|hit| hit.in_site(&site.id))
                .collect();
            let found = self.visits.find_hits(&others, failpoint::now());
            if found.is_ok_and(|found| found.contains(&Presence::Present)) {
                self.findings.other_sites.push(site.id);
            }
        }
        Ok(())
    }
}

/// A hit, whether Matomo has it, its group and its id.
type Found<'f> = ((&'f SoughtHit, Presence), (&'f RebuiltGroup, HitId));

impl MissingLines {
    /// Adds the lines of a group. `present` are those of its requests that Matomo has.
    fn add(&mut self, group: &RebuiltGroup, present: Vec<HitId>) {
        for line in &group.lines {
            self.lines.insert(line.start..line.end, 1);
            if self.first.is_none_or(|first| line.start < first.start) {
                self.first = Some(*line);
            }
        }
        if group.ids.len() > 1 {
            self.present.extend(present);
            self.sessions.push(group.lines.clone());
        }
    }
}

/// A day as Matomo writes it.
fn date(day: i32) -> String {
    let date = NaiveDate::from_epoch_days(day).unwrap_or_default();
    date.to_string()
}

fn clear(batch: &mut RebuiltBatch) {
    batch.chunk.clear();
    batch.groups.clear();
    batch.has_hit_ids = true;
}
