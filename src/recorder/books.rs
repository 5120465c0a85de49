//! The books of a recorder: which batches are under way, and what became of each line, in the ledger, in the account
//! and on the console.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::shared::Context;
use super::window::{HitOutcome, Window};
use crate::error::Result;
use crate::ledger::{BatchId, LogId, LogRanges};
use crate::matomo::outcome::{Acknowledged, Refused};
use crate::report::Count;

/// Kept by each recorder for itself; the ledger and the account under it are everybody's.
pub struct Acks {
    shared: Arc<Context>,
    /// Intents in the ledger whose requests have not all been settled, with those requests.
    open: Vec<(BatchId, Vec<u32>)>,
}

impl Acks {
    pub fn new(shared: Arc<Context>) -> Self {
        Self {
            shared,
            open: Vec::new(),
        }
    }

    /// Notes in the ledger that these lines are about to be sent. The note is on the disk when this returns. An
    /// error: it cannot be written.
    pub fn intend(&mut self, window: &Window, requests: &[u32]) -> Result<Option<BatchId>> {
        let Some(ledger) = &self.shared.ledger else {
            return Ok(None);
        };
        let mut places: Vec<(LogId, u64, u64)> = requests
            .iter()
            .map(|request| window.unit(*request))
            .filter_map(|unit| Some((unit.log?, unit)))
            .flat_map(|(log, unit)| {
                unit.places()
                    .map(move |place| (log, place.start, place.end))
            })
            .collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return Ok(None);
        }
        let mut lines = LogRanges::new();
        for (log, start, end) in places {
            lines.entry(log).or_default().insert(start..end, 1);
        }
        let intent = ledger.begin_batch(lines, requests.len() as u64)?;
        self.open.push((intent, requests.to_vec()));
        Ok(Some(intent))
    }

    /// Notes in the ledger that batches are done, once each of their lines has its outcome: a line of which only a
    /// part was sent stays in doubt, so that the next run asks before it sends any of it.
    /// An error: the ledger cannot be written.
    pub fn close_intents(&mut self, window: &Window) -> Result<()> {
        let Some(ledger) = &self.shared.ledger else {
            return Ok(());
        };
        let mut closed = Vec::new();
        self.open.retain(|(intent, requests)| {
            let done = requests.iter().all(|request| window.is_settled(*request));
            if done {
                closed.push(*intent);
            }
            !done
        });
        closed
            .into_iter()
            .try_for_each(|intent| ledger.acknowledge(intent))
    }

    /// Matomo has nothing of this batch: the note of it is taken back. An error: the ledger cannot be written.
    pub fn forget(&mut self, intent: BatchId) -> Result<()> {
        self.open.retain(|(open, _)| *open != intent);
        match &self.shared.ledger {
            Some(ledger) => ledger.forget(intent),
            None => Ok(()),
        }
    }

    /// Notes in the ledger which requests of a batch Matomo has, where their lines need other batches too: should the
    /// program end before those are through, they are neither asked for nor sent again.
    pub fn note_there(&mut self, window: &Window, intent: BatchId, there: &[u32]) -> Result<()> {
        let Some(ledger) = &self.shared.ledger else {
            return Ok(());
        };
        if !self.open.iter().any(|(open, _)| *open == intent) {
            return Ok(());
        }
        let mut marks = Vec::new();
        for request in there {
            let unit = window.unit(*request);
            match (window.is_settled(*request), unit.log) {
                // Its line is done, though not each line of the batch.
                (true, Some(log)) => unit
                    .places()
                    .for_each(|place| ledger.mark_done(log, place.start..place.end, 1)),
                _ => marks.extend(window.mark(*request)),
            }
        }
        ledger.note_recorded(intent, marks.iter().collect())
    }

    /// The window is through: nothing of it is under way.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Matomo has taken the batch, all but what it refused or lost. Gives the requests that it has; `None` where it
    /// does not say which.
    pub fn commit(
        &self,
        window: &mut Window,
        requests: &[u32],
        Acknowledged {
            refused,
            lost,
            noise,
            warning,
            ..
        }: Acknowledged,
    ) -> Option<Vec<u32>> {
        self.shared.show_noise(noise);
        warning
            .into_iter()
            .for_each(|warning| self.shared.console.warn(warning));
        let nameless = match refused {
            Refused::Indices(_) => 0,
            Refused::Count(number) => number,
        };
        let mut accepted = BTreeSet::new();
        let mut there = Vec::new();
        let mut lost_left = lost;
        let mut refused_left = nameless;
        for (place, request) in requests.iter().enumerate() {
            let is_refused = matches!(&refused, Refused::Indices(indices) if indices.binary_search(&place).is_ok());
            // Where Matomo does not say which, it is some of them: the count is right, the names are not told.
            let fate = if is_refused || refused_left > 0 {
                refused_left = refused_left.saturating_sub(usize::from(!is_refused));
                HitOutcome::Refused
            } else if lost_left > 0 {
                lost_left -= 1;
                HitOutcome::Lost
            } else {
                accepted.insert(window.unit(*request).site);
                there.push(*request);
                HitOutcome::Imported
            };
            match is_refused {
                true => self.refuse(window, *request, "refused by Matomo"),
                false => self.settle(window, *request, fate),
            }
        }
        self.shared.learnt.accept(accepted);
        if nameless > 0 {
            let place = self.place(window, requests);
            self.shared.console.warn_incomplete(format!(
                "{nameless} of the {} hits of {place} were refused; which ones, Matomo tells only super users",
                requests.len()
            ));
        }
        if lost > 0 {
            let place = self.place(window, requests);
            self.shared.console.warn_incomplete(format!(
                "Matomo stored {lost} hits less than the {} it was sent ({place}), and does not say which",
                requests.len()
            ));
        }
        (nameless == 0 && lost == 0).then_some(there)
    }

    /// One request more has its outcome. With the last of its line, the line has.
    pub fn settle(&self, window: &mut Window, request: u32, fate: HitOutcome) {
        let Some((unit, fate)) = window.settle(request, fate) else {
            return;
        };
        let count = match fate {
            HitOutcome::Imported => Count::Imported,
            HitOutcome::InDoubt => Count::InDoubt,
            HitOutcome::Lost => Count::Lost,
            HitOutcome::Refused => Count::Refused,
        };
        self.count(unit.file, count, unit.lines());
        // A line that is given up is done, whatever became of the batch that it was in.
        if let (HitOutcome::Refused, Some(ledger), Some(log)) =
            (fate, &self.shared.ledger, unit.log)
        {
            unit.places()
                .for_each(|place| ledger.mark_done(log, place.start..place.end, 1));
        }
    }

    /// The run ends without knowing: the ledger keeps these as they are, and the next run asks. So it does with every
    /// batch that holds another part of their lines: those are not done.
    pub fn leave_in_doubt(&mut self, window: &mut Window, requests: &[u32]) {
        let is_left = |request: &u32| {
            requests
                .iter()
                .any(|left| window.are_of_one_line(*left, *request))
        };
        self.open.retain(|(_, open)| !open.iter().any(is_left));
        self.settle_all(window, requests, HitOutcome::InDoubt);
    }

    pub fn settle_all(&self, window: &mut Window, requests: &[u32], fate: HitOutcome) {
        requests
            .iter()
            .for_each(|request| self.settle(window, *request, fate));
    }

    /// These have gone out, some of them perhaps for the second time. A line is counted once, however often that happens.
    pub fn count_resent(&self, window: &mut Window, requests: &[u32]) {
        for request in requests {
            if let Some(unit) = window.sent(*request) {
                self.count(unit.file, Count::Resent, unit.lines());
            }
        }
    }

    fn count(&self, file: u32, count: Count, lines: u64) {
        if let Some(file) = self.shared.account.file(file as usize) {
            file.add(count, lines);
        }
    }

    /// Gives a request up, and says why. Where its line cannot be written to the rejects it stays as it is, and the
    /// import stops: the line would be nowhere.
    pub fn refuse(&self, window: &mut Window, request: u32, why: &str) {
        match self.name_refused(window, request, why) {
            Ok(()) => self.settle(window, request, HitOutcome::Refused),
            Err(error) => self.shared.stop.halt(error),
        }
    }

    /// `file:line` of a hit that was refused; once for a line, however many of its requests are. An error: the rejects
    /// cannot be written.
    fn name_refused(&self, window: &Window, request: u32, why: &str) -> Result<()> {
        if window.is_refused(request) {
            return Ok(());
        }
        let place = self.place(window, &[request]);
        self.shared
            .console
            .warn_incomplete(format!("{place}: {why}"));
        let Some(rejects) = &self.shared.rejects else {
            return Ok(());
        };
        let unit = window.unit(request);
        let file = self.file_name(unit.file);
        unit.places()
            .zip(&unit.originals)
            .try_for_each(|(place, original)| rejects.add(&file, place.line, why, original))
    }

    /// `file:line`, or from the first line to the last.
    pub fn place(&self, window: &Window, requests: &[u32]) -> String {
        let lines = || {
            requests
                .iter()
                .map(|request| window.unit(*request))
                .map(|unit| (unit.file, unit.place.line))
        };
        let (Some(first), Some(last)) = (lines().min(), lines().max()) else {
            return String::new();
        };
        let name = |file: u32| self.file_name(file);
        match (first, last) {
            (first, last) if first == last => format!("{}:{}", name(first.0), first.1),
            ((file, from), (same, to)) if file == same => format!("{}:{from}-{to}", name(file)),
            ((file, from), (other, to)) => format!("{}:{from} to {}:{to}", name(file), name(other)),
        }
    }

    fn file_name(&self, file: u32) -> String {
        self.shared
            .account
            .file(file as usize)
            .map_or_else(String::new, |file| file.name().to_owned())
    }
}
