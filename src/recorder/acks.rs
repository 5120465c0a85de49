//! Records what becomes of each batch and line: in the ledger, in the account and on the console.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::buffer::{Buffer, HitOutcome};
use super::context::Context;
use super::read_back::ReadBack;
use crate::error::Result;
use crate::ledger::{BatchId, BatchLines, LogId, Ranges, UnconfirmedLines};
use crate::matomo::client::TrackingWay;
use crate::matomo::outcome::{Acknowledged, Refused};
use crate::report::Count;

/// The batches of one recorder. Ledger and account are shared.
pub struct Acks {
    context: Arc<Context>,
    read_back: Option<ReadBack>,
    open: Vec<OpenBatch>,
}

/// A batch whose lines are not all settled.
struct OpenBatch {
    /// `None` if the ledger does not record its lines.
    id: Option<BatchId>,
    requests: Vec<u32>,
    /// What Matomo acknowledged of it, and when it was sent.
    receipt: Option<(Vec<u32>, SystemTime)>,
    /// Matomo has put it into its queue.
    is_queued: bool,
}

impl Acks {
    pub fn new(context: Arc<Context>, read_back: Option<ReadBack>) -> Self {
        Self {
            context,
            read_back,
            open: Vec::new(),
        }
    }

    /// Records in the ledger that these requests are about to be sent. It is on disk when this
    /// returns. Returns `None` if there is nothing to record.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn begin(
        &mut self,
        buffer: &Buffer,
        requests: &[u32],
        way: TrackingWay,
    ) -> Result<Option<BatchId>> {
        let Some(ledger) = &self.context.ledger else {
            return Ok(None);
        };
        let mut positions: Vec<(LogId, u64, u64, u64)> = requests
            .iter()
            .map(|request| buffer.group(*request))
            .filter_map(|group| Some((group.log?, group)))
            .flat_map(|(log, group)| {
                group
                    .positions()
                    .map(move |line| (log, line.start, line.end, line.line))
            })
            .collect();
        positions.sort_unstable();
        positions.dedup();
        let id = match positions.is_empty() {
            true => None,
            false => {
                let mut lines = BatchLines::default();
                for (log, start, end, number) in positions {
                    lines.insert(log, start..end, number);
                }
                let hits = requests.len() as u64;
                Some(match way {
                    TrackingWay::Direct => ledger.begin_batch(lines, hits)?,
                    TrackingWay::Queue => ledger.begin_queued_batch(lines, hits)?,
                })
            }
        };
        self.open.push(OpenBatch {
            id,
            requests: requests.to_vec(),
            receipt: None,
            is_queued: false,
        });
        Ok(id)
    }

    /// Records that Matomo acknowledged these requests of the batch that was begun last.
    pub fn set_receipt(&mut self, stored: &[u32], sent_at: SystemTime) {
        if let Some(batch) = self.open.last_mut() {
            batch.receipt = Some((stored.to_vec(), sent_at));
        }
    }

    /// Counts the hits of the batch that was begun last as imported: Matomo has put them into its
    /// queue. Its lines are not done.
    pub fn queue(&mut self, buffer: &mut Buffer, requests: &[u32]) {
        let sites = requests.iter().map(|request| buffer.group(*request).site);
        let front = self.context.server.front(buffer.front());
        front.accept_sites(sites);
        self.settle_all(buffer, requests, HitOutcome::Imported);
        if let Some(batch) = self.open.last_mut() {
            batch.is_queued = true;
        }
    }

    /// Closes each batch whose lines are all settled: it is read back or confirmed in the ledger.
    /// If only a part of a line's requests was sent, the batch stays open, so that the next run
    /// asks Matomo first.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn close_settled(&mut self, buffer: &Buffer) -> Result<()> {
        let Some(ledger) = &self.context.ledger else {
            return Ok(());
        };
        let is_settled = |batch: &mut OpenBatch| {
            let mut requests = batch.requests.iter();
            requests.all(|request| buffer.is_settled(*request))
        };
        for OpenBatch {
            id,
            receipt,
            is_queued,
            ..
        } in self.open.extract_if(.., is_settled)
        {
            if is_queued && self.read_back.is_some() {
                id.map_or(Ok(()), |id| ledger.note_queued(id))?;
                continue;
            }
            let receipt = self.read_back.as_ref().zip(receipt);
            let unconfirmed = receipt.and_then(|(read_back, (stored, sent_at))| {
                let batch = read_back.prepare(buffer, id, &stored, sent_at)?;
                Some((read_back, batch))
            });
            match (unconfirmed, id) {
                (Some((read_back, batch)), id) => {
                    id.map_or(Ok(()), |id| ledger.acknowledge(id))?;
                    read_back.submit(batch);
                }
                (None, Some(id)) => ledger.confirm(id)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Removes the batch that was begun last: Matomo has nothing of it.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn discard(&mut self) -> Result<()> {
        let id = self.open.pop().and_then(|batch| batch.id);
        match (&self.context.ledger, id) {
            (Some(ledger), Some(id)) => ledger.forget(id),
            _ => Ok(()),
        }
    }

    /// Records in the ledger which requests of a pending batch Matomo has. If the program ends
    /// before their lines are settled, the next run neither looks them up nor sends them again.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn record_stored(&mut self, buffer: &Buffer, batch: BatchId, stored: &[u32]) -> Result<()> {
        let Some(ledger) = &self.context.ledger else {
            return Ok(());
        };
        if !self.open.iter().any(|open| open.id == Some(batch)) {
            return Ok(());
        }
        let mut hit_ids = Vec::new();
        for request in stored {
            let group = buffer.group(*request);
            match (buffer.is_settled(*request), group.log) {
                (true, Some(log)) => group
                    .positions()
                    .for_each(|line| ledger.mark_done(log, line.start..line.end, 1)),
                _ => hit_ids.extend(buffer.hit_id(*request)),
            }
        }
        ledger.note_recorded(batch, hit_ids.iter().collect())
    }

    /// Forgets all batches, because the buffer is done.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Settles a batch that Matomo acknowledged. Returns the requests that Matomo has, or `None` if
    /// it does not say which.
    pub fn acknowledge(
        &self,
        buffer: &mut Buffer,
        requests: &[u32],
        Acknowledged {
            refused,
            lost,
            noise,
            warning,
            ..
        }: Acknowledged,
    ) -> Option<Vec<u32>> {
        let console = &self.context.console;
        self.context.warn_of_noise(noise);
        warning
            .into_iter()
            .for_each(|warning| console.warn(warning));
        let (refused, unnamed) = match refused {
            Refused::Indices(indices) => (indices, 0),
            Refused::Count(number) => (Vec::new(), number),
        };
        let mut accepted_sites = BTreeSet::new();
        let mut stored = Vec::new();
        // If Matomo does not say which hits it refused or lost, the first ones are counted as such,
        // so that the totals are right.
        let (mut unnamed_left, mut lost_left) = (unnamed, lost);
        for (index, request) in requests.iter().enumerate() {
            if refused.binary_search(&index).is_ok() {
                self.refuse(buffer, *request, "refused by Matomo");
                continue;
            }
            let outcome = if unnamed_left > 0 {
                unnamed_left -= 1;
                HitOutcome::Refused
            } else if lost_left > 0 {
                lost_left -= 1;
                HitOutcome::Lost
            } else {
                accepted_sites.insert(buffer.group(*request).site);
                stored.push(*request);
                HitOutcome::Imported
            };
            self.settle(buffer, *request, outcome);
        }
        let front = self.context.server.front(buffer.front());
        front.accept_sites(accepted_sites);
        let sent = requests.len();
        if unnamed > 0 {
            let lines = self.location(buffer, requests);
            console.warn_incomplete(format!(
                "{unnamed} of the {sent} hits of {lines} were refused; only a super user's token shows which ones"
            ));
        }
        if lost > 0 {
            let lines = self.location(buffer, requests);
            console.warn_incomplete(format!(
                "Matomo stored {lost} hits fewer than the {sent} it was sent ({lines}), and does not say which"
            ));
        }
        (unnamed == 0 && lost == 0).then_some(stored)
    }

    /// Sets the outcome of a request, and counts its lines if it was the last of its group.
    pub fn settle(&self, buffer: &mut Buffer, request: u32, outcome: HitOutcome) {
        let Some((group, outcome)) = buffer.settle(request, outcome) else {
            return;
        };
        let count = match outcome {
            HitOutcome::Imported => Count::Imported,
            HitOutcome::Unconfirmed => Count::InDoubt,
            HitOutcome::Lost => Count::Lost,
            HitOutcome::Refused => Count::Refused,
        };
        self.count(group.file, count, group.lines());
        if let (HitOutcome::Imported, Some(session)) = (outcome, group.session()) {
            self.context.sessions.add(session);
        }
        // A refused line is done, even if its batch is not.
        if let (HitOutcome::Refused, Some(ledger), Some(log)) =
            (outcome, &self.context.ledger, group.log)
        {
            group
                .positions()
                .for_each(|line| ledger.mark_done(log, line.start..line.end, 1));
        }
    }

    /// Settles several requests in the same way.
    pub fn settle_all(&self, buffer: &mut Buffer, requests: &[u32], outcome: HitOutcome) {
        requests
            .iter()
            .for_each(|request| self.settle(buffer, *request, outcome));
    }

    /// Leaves these requests for the next run: their batches stay pending in the ledger, as do all
    /// batches that hold another part of their lines.
    pub fn leave_unconfirmed(&mut self, buffer: &mut Buffer, requests: &[u32]) {
        let is_left = |request: &u32| {
            requests
                .iter()
                .any(|left| buffer.are_in_one_group(*left, *request))
        };
        self.open
            .retain(|batch| !batch.requests.iter().any(is_left));
        self.settle_all(buffer, requests, HitOutcome::Unconfirmed);
    }

    /// Counts the lines of unconfirmed requests that were sent again. Each line counts once.
    pub fn count_resent(&self, buffer: &mut Buffer, requests: &[u32]) {
        for request in requests {
            if let Some(group) = buffer.set_sent(*request) {
                self.count(group.file, Count::Resent, group.lines());
            }
        }
    }

    fn count(&self, file: u32, count: Count, lines: u64) {
        if let Some(file) = self.context.account.file(file as usize) {
            file.add(count, lines);
        }
    }

    /// Refuses a request and reports the reason. If its lines cannot be written to the rejects, it
    /// is not settled and the import stops, because the lines would be lost.
    pub fn refuse(&self, buffer: &mut Buffer, request: u32, reason: &str) {
        match self.report_refused(buffer, request, reason) {
            Ok(()) => self.settle(buffer, request, HitOutcome::Refused),
            Err(error) => self.context.stop.halt(error),
        }
    }

    /// Reports a refused line once, however many of its requests are refused.
    fn report_refused(&self, buffer: &Buffer, request: u32, reason: &str) -> Result<()> {
        if buffer.is_refused(request) {
            return Ok(());
        }
        let line = self.location(buffer, &[request]);
        self.context
            .console
            .warn_incomplete(format!("{line}: {reason}"));
        let Some(rejects) = &self.context.rejects else {
            return Ok(());
        };
        let group = buffer.group(request);
        let file = self.file_name(group.file);
        group
            .positions()
            .zip(group.originals())
            .try_for_each(|(line, original)| rejects.add(&file, line.line, reason, original))
    }

    /// Lists the lines of unconfirmed requests in the ledger, with what becomes of them. What is
    /// reported is on disk first.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn list(&self, buffer: &Buffer, requests: &[u32], outcome: &str) -> Result<()> {
        let Some(ledger) = &self.context.ledger else {
            return Ok(());
        };
        for (file, lines) in self.lines(buffer, requests) {
            let hits = requests.iter();
            let hits = hits.filter(|request| buffer.group(**request).file == file);
            ledger.list_unconfirmed(UnconfirmedLines {
                log: self.file_name(file),
                lines: lines.as_numbers(),
                hits: hits.count() as u64,
                outcome: outcome.to_owned(),
            })?;
        }
        Ok(())
    }

    /// The numbers of the lines of these requests, for each file.
    fn lines(&self, buffer: &Buffer, requests: &[u32]) -> BTreeMap<u32, Ranges> {
        let mut lines: BTreeMap<u32, Ranges> = BTreeMap::new();
        for request in requests {
            let group = buffer.group(*request);
            let of_file = lines.entry(group.file).or_default();
            for position in group.positions() {
                of_file.insert(position.line..position.line.saturating_add(1), 1);
            }
        }
        lines
    }

    /// Where these requests come from: `access.log:3-5, 9`, for each file. With a state directory,
    /// a long list ends early, because the ledger has all of it.
    pub fn location(&self, buffer: &Buffer, requests: &[u32]) -> String {
        let is_listed = self
            .context
            .ledger
            .as_ref()
            .is_some_and(|it| it.is_on_disk());
        self.location_in(buffer, requests, is_listed)
    }

    /// The same, but a long list always ends early: the next run looks all of them up.
    pub fn short_location(&self, buffer: &Buffer, requests: &[u32]) -> String {
        self.location_in(buffer, requests, true)
    }

    fn location_in(&self, buffer: &Buffer, requests: &[u32], ends_early: bool) -> String {
        let of_file = |(file, lines): (u32, Ranges)| {
            let numbers = match ends_early {
                true => lines.as_some_numbers(),
                false => lines.as_numbers(),
            };
            format!("{}:{numbers}", self.file_name(file))
        };
        // A refused request is named by the first line of its session.
        let lines = match requests {
            [request] => {
                let group = buffer.group(*request);
                let first = group.position.line;
                let mut lines = Ranges::default();
                lines.insert(first..first.saturating_add(1), 1);
                [(group.file, lines)].into()
            }
            _ => self.lines(buffer, requests),
        };
        lines
            .into_iter()
            .map(of_file)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn file_name(&self, file: u32) -> String {
        self.context
            .account
            .file(file as usize)
            .map_or_else(String::new, |file| file.name().to_owned())
    }
}
