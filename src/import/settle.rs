//! Batches that an earlier run left in doubt: their lines are read again, and Matomo is asked which of their hits it
//! has. What it has is done; what it lacks is read as if it were new.

use crate::hit_id::HitId;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Importer;
use super::again::Again;
use crate::error::{Error, Result};
use crate::input::lines::LineOptions;
use crate::ledger::failpoint::reach;
use crate::ledger::{LogId, PendingBatch, Ranges};
use crate::matomo::visit_log::{LookupError, find_recorded};
use crate::recorder::InDoubt;
use crate::recorder::LinePosition;
use crate::report::{Count, FileAccount};

/// What Matomo has of a batch.
#[derive(Default)]
struct Found {
    /// Lines of which it has all requests.
    whole: Ranges,
    /// Lines of which it has some, and the marks of these.
    parts: Ranges,
    marks: Vec<HitId>,
}

fn insert(ranges: &mut Ranges, lines: &[LinePosition]) {
    for line in lines {
        ranges.insert(line.start..line.end, 1);
    }
}

impl Importer {
    /// Settles the batches in doubt that hold lines of this log. Gives the lines that are done by that; `None` where that
    /// took its time, and another log has the name now.
    pub(super) fn settle_pending(
        &mut self,
        log: LogId,
        path: &Path,
        options: &LineOptions,
        account: &FileAccount,
    ) -> Result<Option<Ranges>> {
        let mut done = Ranges::default();
        let Some(books) = &mut self.books else {
            return Ok(Some(done));
        };
        let (mut ours, others): (Vec<_>, _) = std::mem::take(&mut books.pending)
            .into_iter()
            .partition(|batch: &PendingBatch| batch.lines.iter().any(|(id, ..)| *id == log));
        books.pending = others;
        // What is known need not be asked for.
        ours.sort_by_key(|batch| batch.there.is_none());
        let ledger = Arc::clone(&books.ledger);
        let timeout = books.timeout;
        let settled = ours.len();
        for batch in ours {
            let Some((_, _, places)) = batch.lines.iter().find(|(id, ..)| *id == log) else {
                continue;
            };
            // Nothing to wait for, and nothing to ask: the batch was answered.
            if let Some(there) = &batch.there {
                self.requests.present.extend(there.iter());
                let again = self.read_again(log, path, options, places)?;
                again
                    .units
                    .iter()
                    .for_each(|(lines, _)| self.seal(log, lines));
                continue;
            }
            if self.wait_for_server(&batch, timeout) {
                return Ok(Some(done));
            }
            if !self.is_still(path, log) {
                return Ok(None);
            }
            let again = self.read_again(log, path, options, places)?;
            // Told to stop on the way, nobody knows more than before: the next run asks.
            if self.stop.requested() {
                return Ok(Some(done));
            }
            let Some(found) = self.ask(log, path, &batch, places, &again, account)? else {
                return Ok(Some(done));
            };
            let Found {
                whole,
                parts,
                marks,
            } = found;
            done.extend(&whole);
            if !parts.is_empty() {
                ledger.there_in_part([(log, parts)].into(), marks.iter().collect())?;
            }
            ledger.settled(batch.id, [(log, whole)].into())?;
            reach("after-settled");
        }
        // Asking takes time, too.
        let is_still = settled == 0 || self.is_still(path, log);
        Ok(is_still.then_some(done))
    }

    /// The server may still be at a batch that was sent just before the crash. `true`: the program is to stop.
    fn wait_for_server(&self, batch: &PendingBatch, timeout: Duration) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // The clock may have been set back: never longer than the time-out.
        let left = (Duration::from_millis(batch.sent_at).saturating_add(timeout))
            .saturating_sub(now)
            .min(timeout);
        if left > Duration::from_secs(1) {
            self.console.note(format!(
                "waiting {} s: the server may still be at a request of the interrupted run",
                left.as_secs()
            ));
        }
        self.stop.wait(left)
    }

    /// Which lines of the batch are done: those that Matomo has, or what `--in-doubt` makes of them. `None`: the
    /// program is to stop, and the question had no answer.
    fn ask(
        &mut self,
        log: LogId,
        path: &Path,
        batch: &PendingBatch,
        places: &Ranges,
        again: &Again,
        account: &FileAccount,
    ) -> Result<Option<Found>> {
        let requests: Vec<&[u8]> = again.parcel.requests().collect();
        let answer = find_recorded(&self.api, &requests, again.marked);
        let place = format!(
            "{}: {} hits that an interrupted run sent",
            path.display(),
            batch.hits
        );
        let there = match answer {
            Ok(there) => Ok(there),
            Err(_) if self.stop.requested() => return Ok(None),
            Err(LookupError::NotNow(why)) => {
                return Err(Error::stopped(format!(
                    "{place} are in doubt, and Matomo is to be asked for them: {why}; run this again when it is back"
                )));
            }
            Err(LookupError::Never(why)) => Err(why),
        };
        let policy = self.books.as_ref().map(|books| books.in_doubt);
        let there = match (there, policy.unwrap_or_default()) {
            (Ok(there), _) => there,
            (Err(why), InDoubt::Resend) => {
                self.console.warn_incomplete(format!(
                    "{place} are in doubt, and Matomo cannot be asked for them ({why}): sent again, some may be there twice"
                ));
                account.add(Count::Resent, places.lines());
                return Ok(Some(Found::default()));
            }
            (Err(why), InDoubt::Skip) => {
                self.console.warn_incomplete(format!(
                    "{place} are in doubt, and Matomo cannot be asked for them ({why}): not sent again (--in-doubt=skip)"
                ));
                account.add(Count::Read, places.lines());
                account.add(Count::InDoubt, places.lines());
                return Ok(Some(Found {
                    whole: places.clone(),
                    ..Found::default()
                }));
            }
            (Err(why), InDoubt::Stop) => {
                return Err(Error::stopped(format!(
                    "{place} are in doubt, and Matomo cannot be asked for them ({why}); --in-doubt=stop"
                )));
            }
        };
        let mut found = Found::default();
        let mut there = there.into_iter();
        for (lines, marks) in &again.units {
            let parts: Vec<bool> = there.by_ref().take(marks.len()).collect();
            if parts.iter().all(|part| *part) {
                insert(&mut found.whole, lines);
                continue;
            }
            // Some of its requests may be there: only the others are sent.
            let before = found.marks.len();
            let there = marks.iter().zip(&parts).filter(|(_, there)| **there);
            found.marks.extend(there.map(|(mark, _)| mark));
            if found.marks.len() > before {
                insert(&mut found.parts, lines);
            }
            self.seal(log, lines);
        }
        self.requests.present.extend(&found.marks);
        self.console.note(format!(
            "{place} were asked for: {} of its lines are there, the others are sent",
            found.whole.lines()
        ));
        Ok(Some(found))
    }

    /// Nothing more is joined to the connection of these lines.
    fn seal(&mut self, log: LogId, lines: &[LinePosition]) {
        if let Some(last) = lines.last() {
            self.requests.sealed.insert((log.number(), last.start));
        }
    }
}
