//! The queue from the parser to the recorders: one chunk per recorder, handed over when it is full.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::days::{DayWindow, SMALL_EPOCH, WINDOW_BYTES};
use super::epoch::Epochs;
use super::read_back;
use crate::hit::HitDays;
use crate::ledger::LogId;
use crate::radio::{ReportedSession, SessionLog};
use crate::report::rejects::Original;
use crate::report::{Account, Count};
use crate::shutdown::Shutdown;

/// Typical size of one request, used to reserve capacity.
pub(super) const REQUEST_BYTES: usize = 400;

/// A chunk is handed over at this size: large enough that the hand-over costs next to nothing,
/// small enough that the chunks in flight hardly count as memory.
pub(super) const CHUNK_BYTES: usize = 32 * 1024;

/// A chunk whose buffer has grown beyond this, because of a very long line, is replaced when it is
/// emptied.
const MAX_REUSED_BYTES: usize = 8 * CHUNK_BYTES;

/// How often a blocked parser checks for a shutdown.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A line in its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinePosition {
    /// Line number, from 1.
    pub line: u64,
    /// Offset of the first byte in the decompressed log.
    pub start: u64,
    /// Offset after the line end.
    pub end: u64,
}

/// The tracking requests made from one line, or from the lines of one listening session. They stay
/// together, and are settled together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestGroup {
    /// Index of the log in the [`Account`].
    pub file: u32,
    /// The log in the ledger. `None` for a pipe, and if the run has no ledger.
    pub log: Option<LogId>,
    pub position: LinePosition,
    /// The other lines of a listening session.
    pub more: Vec<LinePosition>,
    /// Index into the run's sites.
    pub site: u32,
    pub days: HitDays,
    /// Number of tracking requests.
    pub requests: u32,
    /// Hash of the user agent.
    pub agent: u64,
    /// Hash of the visitor.
    pub visitor: u64,
    /// Whether each request carries a hit identifier of ours. A replayed request may have come with
    /// a `pv_id` of its own, which other hits may share.
    pub has_hit_ids: bool,
    /// The lines as they are in the log, for `--rejects`; empty without that option.
    pub originals: Vec<Original>,
    /// Counts in the listening figures once all requests are imported.
    pub session: Option<Box<ReportedSession>>,
}

impl RequestGroup {
    /// The positions of all its lines.
    pub fn positions(&self) -> impl Iterator<Item = LinePosition> {
        std::iter::once(self.position).chain(self.more.iter().copied())
    }

    /// The number of its lines.
    pub fn lines(&self) -> u64 {
        1 + self.more.len() as u64
    }
}

/// A bounded set of request groups. Chunks are reused: a recorder returns emptied ones.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The requests as JSON objects, without separators.
    pub body: Vec<u8>,
    /// Where each request ends in `body`.
    pub ends: Vec<u32>,
    pub groups: Vec<RequestGroup>,
    /// Nothing of it may be sent before all of the earlier epochs is answered.
    pub epoch: u64,
    /// Send what has been read so far: the input pauses or has ended.
    pub flush: bool,
}

impl Chunk {
    /// Reserves what a full chunk usually needs.
    pub fn new() -> Self {
        let hits = CHUNK_BYTES / REQUEST_BYTES;
        Self {
            body: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8),
            ends: Vec::with_capacity(hits),
            groups: Vec::with_capacity(hits),
            epoch: 0,
            flush: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.body.len() >= CHUNK_BYTES
    }

    pub fn clear(&mut self) {
        if self.body.capacity() > MAX_REUSED_BYTES {
            *self = Self::new();
        }
        self.body.clear();
        self.ends.clear();
        self.groups.clear();
        self.flush = false;
    }

    /// The JSON object of each request.
    pub fn requests(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins
            .zip(&self.ends)
            .map(|(begin, end)| &self.body[begin as usize..*end as usize])
    }

    /// Marks the end of the request that was written to `body` last.
    pub fn end_request(&mut self) {
        self.ends.push(self.body.len() as u32);
    }

    /// Adds a group with a copy of its requests, given by their places in another chunk.
    pub fn push(&mut self, group: RequestGroup, body: &[u8], ends: &[u32], requests: Range<usize>) {
        let end_of = |request: usize| request.checked_sub(1).map_or(0, |last| ends[last]);
        let (begin, end) = (end_of(requests.start), end_of(requests.end));
        let offset = self.body.len() as u32;
        self.body
            .extend_from_slice(&body[begin as usize..end as usize]);
        let moved = ends[requests].iter().map(|end| end - begin + offset);
        self.ends.extend(moved);
        self.groups.push(group);
    }

    /// Adds a group and moves its requests here from the end of another chunk.
    pub fn take_last(&mut self, from: &mut Chunk, group: RequestGroup) {
        let first = from.ends.len() - group.requests as usize;
        self.push(group, &from.body, &from.ends, first..from.ends.len());
        from.ends.truncate(first);
        let end = from.ends.last().copied().unwrap_or_default();
        from.body.truncate(end as usize);
    }
}

/// The parser's end of the queue. Dropping it ends the recorders.
pub struct Queue {
    /// The chunk being filled for each recorder; a single one in a dry run.
    filling: Vec<Chunk>,
    /// Recorders that may have hits which they do not send before a flush.
    unflushed: Vec<bool>,
    /// The number of the epoch that is being filled.
    epoch: u64,
    /// Recorders that get hits of this epoch.
    spread: usize,
    /// `None` if no two requests are in flight at once.
    days: Option<DayWindow>,
    read_back: Option<Arc<read_back::ReadBackState>>,
    output: QueueOutput,
}

/// Requests for one recorder in an epoch that has ended. Fewer are not worth a request of their
/// own.
const MIN_SPREAD_REQUESTS: usize = 250;

#[derive(Debug)]
enum QueueOutput {
    Recorders {
        inboxes: Vec<Sender<Chunk>>,
        emptied: Receiver<Chunk>,
        epochs: Arc<Epochs>,
        stop: Shutdown,
    },
    /// Lines count as imported and their requests are dropped.
    DryRun(Arc<Account>, Arc<SessionLog>),
}

/// The recorders accept nothing more: one has failed, or the program is stopping.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueClosed;

impl Queue {
    pub fn new(
        inboxes: Vec<Sender<Chunk>>,
        emptied: Receiver<Chunk>,
        epochs: Arc<Epochs>,
        read_back: Option<Arc<read_back::ReadBackState>>,
        max_batch_hits: usize,
        stop: Shutdown,
    ) -> Self {
        let recorders = inboxes.len();
        Self {
            filling: inboxes.iter().map(|_| Chunk::new()).collect(),
            unflushed: vec![false; recorders],
            epoch: 0,
            spread: recorders,
            read_back,
            days: (recorders > 1)
                .then(|| DayWindow::new(WINDOW_BYTES, SMALL_EPOCH.min(max_batch_hits))),
            output: QueueOutput::Recorders {
                inboxes,
                emptied,
                epochs,
                stop,
            },
        }
    }

    pub fn for_dry_run(account: Arc<Account>, sessions: Arc<SessionLog>) -> Self {
        Self {
            filling: vec![Chunk::new()],
            unflushed: vec![false],
            epoch: 0,
            spread: 1,
            read_back: None,
            days: None,
            output: QueueOutput::DryRun(account, sessions),
        }
    }

    /// The chunk to write this visitor's requests to.
    pub fn chunk(&mut self, visitor: u64) -> &mut Chunk {
        let recorder = self.recorder(visitor);
        &mut self.filling[recorder]
    }

    /// Adds a group whose requests have been written to its visitor's chunk. Blocks while the
    /// recorder has no room.
    pub fn add(&mut self, group: RequestGroup) -> Result<(), QueueClosed> {
        let recorder = self.recorder(group.visitor);
        let chunk = &mut self.filling[recorder];
        if let Some(days) = &mut self.days
            && !days.admits(&group)
        {
            days.hold(chunk, group);
            return match days.is_full() {
                true => self.next_days(),
                false => Ok(()),
            };
        }
        chunk.groups.push(group);
        match chunk.is_full() {
            true => self.hand_over(recorder, false),
            false => Ok(()),
        }
    }

    /// Hands over everything.
    pub fn flush(&mut self) -> Result<(), QueueClosed> {
        while self
            .days
            .as_ref()
            .is_some_and(|days| !days.held().is_empty())
        {
            self.next_days()?;
        }
        self.flush_chunks()
    }

    /// Asks soon for hits that are acknowledged and not confirmed. Returns whether there are any.
    pub fn confirm(&self) -> bool {
        self.read_back.as_ref().is_some_and(|shared| shared.hurry())
    }

    /// Groups that were added but not handed over.
    pub fn unsent(&self) -> impl Iterator<Item = &RequestGroup> {
        let held = self.days.as_ref().map_or(&[][..], DayWindow::held);
        self.filling
            .iter()
            .flat_map(|chunk| &chunk.groups)
            .chain(held)
    }

    /// Ends the epoch and begins the next one with what was held back.
    fn next_days(&mut self) -> Result<(), QueueClosed> {
        let Some(mut days) = self.days.take() else {
            return Ok(());
        };
        let result = self.send_held(&mut days);
        self.days = Some(days);
        result
    }

    fn send_held(&mut self, days: &mut DayWindow) -> Result<(), QueueClosed> {
        let several = days.take_several();
        self.send_alone(several)?;
        days.choose_days();
        let openers = days.take_openers();
        self.send_alone(openers)?;
        let fitting = days.take_fitting();
        // If much is left, nothing more comes of this epoch.
        let spread = match days.is_half_full() {
            true => fitting.ends.len().div_ceil(MIN_SPREAD_REQUESTS),
            false => self.filling.len(),
        };
        self.begin_epoch(spread, fitting)
    }

    /// Sends groups in an epoch of their own, one request after the other.
    fn send_alone(&mut self, groups: Chunk) -> Result<(), QueueClosed> {
        match groups.groups.is_empty() {
            true => Ok(()),
            false => self.begin_epoch(1, groups),
        }
    }

    /// Begins an epoch with these groups.
    fn begin_epoch(&mut self, spread: usize, chunk: Chunk) -> Result<(), QueueClosed> {
        let flushed = self.flush_chunks();
        self.epoch += 1;
        self.spread = spread.clamp(1, self.filling.len());
        let Chunk {
            body, ends, groups, ..
        } = chunk;
        let mut groups = groups.into_iter();
        let mut next = 0;
        let result = flushed.and_then(|()| {
            for group in groups.by_ref() {
                let requests = next..next + group.requests as usize;
                next = requests.end;
                let recorder = self.recorder(group.visitor);
                self.filling[recorder].push(group, &body, &ends, requests);
                if self.filling[recorder].is_full() {
                    self.hand_over(recorder, false)?;
                }
            }
            Ok(())
        });
        if result.is_err() {
            // `unsent` has to see the lines of the others.
            self.filling[0].groups.extend(groups);
        }
        result
    }

    fn flush_chunks(&mut self) -> Result<(), QueueClosed> {
        (0..self.filling.len()).try_for_each(|recorder| {
            match self.unflushed[recorder] || !self.filling[recorder].groups.is_empty() {
                true => self.hand_over(recorder, true),
                false => Ok(()),
            }
        })
    }

    /// Maps a visitor to its recorder. A multiplication is ten times as fast as a remainder.
    fn recorder(&self, visitor: u64) -> usize {
        ((u128::from(visitor) * self.spread as u128) >> u64::BITS) as usize
    }

    fn hand_over(&mut self, recorder: usize, flush: bool) -> Result<(), QueueClosed> {
        let filling = &mut self.filling[recorder];
        let (inbox, emptied, epochs, stop) = match &self.output {
            QueueOutput::Recorders {
                inboxes,
                emptied,
                epochs,
                stop,
            } => (&inboxes[recorder], emptied, epochs, stop),
            QueueOutput::DryRun(account, sessions) => {
                count_imported(account, &filling.groups);
                let listened = filling
                    .groups
                    .iter()
                    .filter_map(|group| group.session.as_ref());
                listened.for_each(|session| sessions.add(session));
                filling.clear();
                return Ok(());
            }
        };
        let mut next = emptied.try_recv().unwrap_or_else(|_| Chunk::new());
        next.clear();
        let mut chunk = std::mem::replace(filling, next);
        chunk.flush = flush;
        chunk.epoch = self.epoch;
        epochs.add(self.epoch, chunk.groups.len());
        self.unflushed[recorder] = !flush;
        loop {
            match inbox.send_timeout(chunk, POLL_INTERVAL) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !stop.requested() => chunk = back,
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    // `unsent` has to see its lines.
                    *filling = back;
                    return Err(QueueClosed);
                }
            }
        }
    }
}

fn count_imported(account: &Account, groups: &[RequestGroup]) {
    for groups in groups.chunk_by(|one, next| one.file == next.file) {
        if let Some(file) = account.file(groups[0].file as usize) {
            file.add(
                Count::Imported,
                groups.iter().map(RequestGroup::lines).sum(),
            );
        }
    }
}

#[cfg(test)]
mod tests;
