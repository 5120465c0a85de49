//! The parser's end of the queue to the recorders: requests are written to a chunk, which is handed
//! over to the [`window`](super::window) when it is full.

use std::ops::Range;
use std::sync::Arc;

use super::days::{DayWindow, HELD_BYTES, SMALL_DAY};
use super::window::{Window, WindowSender};
use super::{DeliveryOptions, read_back};
use crate::hit::HitDays;
use crate::ledger::LogId;
use crate::radio::{ReportedSession, SessionLog};
use crate::report::rejects::Original;
use crate::report::{Account, Count};
use crate::shutdown::Shutdown;
use crate::systemd::ServiceManager;

/// Typical size of one request, used to reserve capacity.
pub(super) const REQUEST_BYTES: usize = 400;

/// A chunk is handed over at this size: large enough that the hand-over costs next to nothing,
/// small enough that the chunks in flight hardly count as memory.
pub(super) const CHUNK_BYTES: usize = 32 * 1024;

/// A chunk whose buffer has grown beyond this, because of a very long line, is replaced when it is
/// emptied.
const MAX_REUSED_BYTES: usize = 8 * CHUNK_BYTES;

/// Spare buffers that are kept, and the bytes of a larger one, which is not. The window soon needs
/// those of a batch, which are up to 1,000, but they are memory that waits with each recorder.
const MAX_SPARE_BUFFERS: usize = 400;
const MAX_SPARE_BYTES: usize = 2 * REQUEST_BYTES;

/// Bytes of hits of AI assistants that are held back.
const MAX_ASSISTANT_BYTES: usize = 256 * 1024;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestGroup {
    /// Index of the log in the [`Account`].
    pub file: u32,
    /// The log in the ledger. `None` for a pipe, and if the run has no ledger.
    pub log: Option<LogId>,
    pub position: LinePosition,
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
    /// It is a hit of an AI assistant, which makes no visit. Such hits are sent in small batches of
    /// their own ([`MAX_ASSISTANT_HITS`](super::batch::MAX_ASSISTANT_HITS)).
    pub is_assistant: bool,
    /// `None` for most groups. Thousands of them wait.
    pub extras: Option<Box<GroupExtras>>,
}

/// What few groups have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupExtras {
    /// The other lines of a listening session.
    pub more: Vec<LinePosition>,
    /// The lines as they are in the log, for `--rejects`; empty without that option.
    pub originals: Vec<Original>,
    /// Counts in the listening figures once all requests are imported.
    pub session: Option<ReportedSession>,
}

impl RequestGroup {
    /// The positions of all its lines.
    pub fn positions(&self) -> impl Iterator<Item = LinePosition> {
        std::iter::once(self.position).chain(self.more().iter().copied())
    }

    /// The number of its lines.
    pub fn lines(&self) -> u64 {
        1 + self.more().len() as u64
    }

    fn more(&self) -> &[LinePosition] {
        self.extras.as_ref().map_or(&[], |extras| &extras.more)
    }

    /// See [`GroupExtras::originals`].
    pub fn originals(&self) -> &[Original] {
        self.extras.as_ref().map_or(&[], |extras| &extras.originals)
    }

    /// See [`GroupExtras::session`].
    pub fn session(&self) -> Option<&ReportedSession> {
        self.extras.as_ref()?.session.as_ref()
    }

    /// Adds a line and a session, if there are any.
    pub fn add_extras(&mut self, original: Option<Original>, session: Option<ReportedSession>) {
        if original.is_some() || session.is_some() {
            let extras = self.extras.get_or_insert_default();
            extras.originals.extend(original);
            extras.session = session;
        }
    }
}

impl GroupExtras {
    /// Its memory, in bytes.
    fn bytes(&self) -> usize {
        let lines = self.originals.iter().map(|it| it.line.len());
        size_of::<Self>()
            + size_of_val(&*self.more)
            + size_of_val(&*self.originals)
            + lines.sum::<usize>()
    }
}

/// A group with its requests, as it waits for a recorder and until it is settled.
#[derive(Clone, Debug)]
pub struct WaitingGroup {
    pub group: RequestGroup,
    /// The requests as JSON objects, without separators.
    json: Vec<u8>,
    /// Where each request ends in `json`; empty if there is only one.
    ends: Box<[u32]>,
}

impl WaitingGroup {
    /// Copies the requests of a group. They begin and end at these places of a text.
    fn new(
        group: RequestGroup,
        text: &[u8],
        begin: u32,
        ends: &[u32],
        buffers: &mut SpareBuffers,
    ) -> Self {
        let end = ends.last().map_or(begin, |end| *end);
        Self {
            json: buffers.copy(&text[begin as usize..end as usize]),
            ends: match ends {
                [_] => Box::default(),
                _ => ends.iter().map(|end| end - begin).collect(),
            },
            group,
        }
    }

    /// The JSON object of the request with this number, from 0.
    pub fn json(&self, request: u32) -> &[u8] {
        let request = request as usize;
        let end = self.ends.get(request).map(|end| *end as usize);
        let begin = request.checked_sub(1).and_then(|last| self.ends.get(last));
        let begin = begin.map_or(0, |begin| *begin as usize);
        &self.json[begin..end.unwrap_or(self.json.len())]
    }

    /// The size of all its requests in bytes.
    pub fn json_bytes(&self) -> usize {
        self.json.len()
    }

    /// The memory that it takes on the heap, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let extras = self.group.extras.as_ref();
        self.json.len() + size_of_val(&*self.ends) + extras.map_or(0, |extras| extras.bytes())
    }
}

/// Emptied buffers for the requests of groups. They are reused, since it is slow to free in one
/// thread what another one has allocated.
#[derive(Debug, Default)]
pub struct SpareBuffers(Vec<Vec<u8>>);

impl SpareBuffers {
    fn copy(&mut self, text: &[u8]) -> Vec<u8> {
        match self.0.pop() {
            Some(mut buffer) => {
                // Without this, it would double.
                buffer.reserve_exact(text.len());
                buffer.extend_from_slice(text);
                buffer
            }
            None => text.to_vec(),
        }
    }

    /// Keeps the buffer of a group, unless there are many or it is large.
    pub fn keep(&mut self, mut waiting: WaitingGroup) {
        if self.0.len() < MAX_SPARE_BUFFERS && waiting.json.capacity() <= MAX_SPARE_BYTES {
            waiting.json.clear();
            self.0.push(waiting.json);
        }
    }

    /// Takes over as many buffers as it may keep.
    pub fn append(&mut self, other: &mut Self) {
        let taken = other.0.len().min(MAX_SPARE_BUFFERS - self.0.len());
        self.0.extend(other.0.drain(..taken));
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
    /// Groups that come before these and have their own requests.
    pub detached: Vec<WaitingGroup>,
    /// Nothing of it may be sent before all requests of earlier epochs are answered.
    pub epoch: u64,
    /// The requests of its epoch are sent one after the other.
    pub alone: bool,
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
            detached: Vec::new(),
            epoch: 0,
            alone: false,
            flush: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.detached.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.body.len() >= CHUNK_BYTES
    }

    /// Takes all groups out.
    pub fn drain(&mut self, buffers: &mut SpareBuffers) -> impl Iterator<Item = WaitingGroup> {
        let (body, ends) = (&self.body, &self.ends);
        let (mut next, mut begin) = (0, 0);
        let written = self.groups.drain(..).map(move |group| {
            let ends = &ends[next..next + group.requests as usize];
            let waiting = WaitingGroup::new(group, body, begin, ends, buffers);
            next += ends.len();
            begin = ends.last().map_or(begin, |end| *end);
            waiting
        });
        self.detached.drain(..).chain(written)
    }

    pub fn clear(&mut self) {
        if self.body.capacity() > MAX_REUSED_BYTES {
            *self = Self::new();
        }
        self.body.clear();
        self.ends.clear();
        self.groups.clear();
        self.detached = Vec::new();
        self.flush = false;
    }

    /// All groups without their requests.
    pub fn into_groups(self) -> impl Iterator<Item = RequestGroup> {
        let detached = self.detached.into_iter().map(|waiting| waiting.group);
        detached.chain(self.groups)
    }

    /// The JSON objects of some requests, given by their places, without separators.
    pub fn json(&self, requests: Range<u32>) -> &[u8] {
        let end_of = |request: u32| match request {
            0 => 0,
            request => self.ends[request as usize - 1] as usize,
        };
        &self.body[end_of(requests.start)..end_of(requests.end)]
    }

    /// The JSON object of each request.
    pub fn requests(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|request| self.json(request..request + 1))
    }

    /// Marks the end of the request that was written to `body` last.
    pub fn end_request(&mut self) {
        self.ends.push(self.body.len() as u32);
    }

    /// Takes the requests of a group away that were written last.
    pub fn detach_last(&mut self, group: RequestGroup) -> WaitingGroup {
        let first = self.ends.len() - group.requests as usize;
        let begin = first.checked_sub(1).map_or(0, |last| self.ends[last]);
        let buffers = &mut SpareBuffers::default();
        let waiting = WaitingGroup::new(group, &self.body, begin, &self.ends[first..], buffers);
        self.body.truncate(begin as usize);
        self.ends.truncate(first);
        waiting
    }
}

/// The parser's end of the queue. Dropping it ends the recorders.
pub struct Queue {
    /// The chunk being filled.
    filling: Chunk,
    /// There may be hits that are not sent before a flush.
    unflushed: bool,
    /// `None` if no two requests are in flight at once.
    days: Option<DayWindow>,
    /// Hits of AI assistants, which wait for an epoch of their own.
    assistants: Vec<WaitingGroup>,
    /// Bytes of their requests.
    assistant_bytes: usize,
    read_back: Option<Arc<read_back::ReadBackState>>,
    /// Hears that the parser is alive while it waits for the recorders.
    service: ServiceManager,
    output: QueueOutput,
}

enum QueueOutput {
    Window {
        window: Arc<Window>,
        sender: WindowSender,
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
        window: Arc<Window>,
        sender: WindowSender,
        read_back: Option<Arc<read_back::ReadBackState>>,
        options: &DeliveryOptions,
        service: ServiceManager,
        stop: Shutdown,
    ) -> Self {
        let max_batch_hits = options.max_batch_hits.unwrap_or(usize::MAX);
        let days = options
            .is_concurrent()
            .then(|| DayWindow::new(HELD_BYTES, SMALL_DAY.min(max_batch_hits)));
        Self {
            read_back,
            service,
            ..Self::of_parts(window, sender, days, stop)
        }
    }

    /// A queue without read-back.
    pub(super) fn of_parts(
        window: Arc<Window>,
        sender: WindowSender,
        days: Option<DayWindow>,
        stop: Shutdown,
    ) -> Self {
        Self {
            filling: Chunk::new(),
            unflushed: false,
            assistants: Vec::new(),
            assistant_bytes: 0,
            read_back: None,
            service: ServiceManager::default(),
            days,
            output: QueueOutput::Window {
                window,
                sender,
                stop,
            },
        }
    }

    pub fn for_dry_run(account: Arc<Account>, sessions: Arc<SessionLog>) -> Self {
        Self {
            filling: Chunk::new(),
            unflushed: false,
            assistants: Vec::new(),
            assistant_bytes: 0,
            read_back: None,
            service: ServiceManager::default(),
            days: None,
            output: QueueOutput::DryRun(account, sessions),
        }
    }

    /// The chunk to write requests to.
    pub fn chunk(&mut self) -> &mut Chunk {
        &mut self.filling
    }

    /// Adds a group whose requests have been written to the chunk. Blocks while the window is full.
    pub fn add(&mut self, group: RequestGroup) -> Result<(), QueueClosed> {
        let is_sent = matches!(self.output, QueueOutput::Window { .. });
        if group.is_assistant && is_sent {
            let waiting = self.filling.detach_last(group);
            self.assistant_bytes += waiting.json_bytes();
            self.assistants.push(waiting);
            return match self.assistant_bytes >= MAX_ASSISTANT_BYTES {
                true => self.send_assistants(),
                false => Ok(()),
            };
        }
        if let Some(days) = &mut self.days
            && !days.admits(&group)
        {
            days.hold(self.filling.detach_last(group));
            return match days.is_full() {
                true => self.next_days(),
                false => Ok(()),
            };
        }
        self.filling.groups.push(group);
        match self.filling.is_full() {
            true => self.hand_over(false),
            false => Ok(()),
        }
    }

    /// Hands over everything.
    pub fn flush(&mut self) -> Result<(), QueueClosed> {
        self.send_assistants()?;
        while self
            .days
            .as_ref()
            .is_some_and(|days| !days.held().is_empty())
        {
            self.next_days()?;
        }
        self.flush_chunk()
    }

    /// Asks soon for hits that are acknowledged and not confirmed. Returns whether there are any.
    pub fn confirm(&self) -> bool {
        self.read_back.as_ref().is_some_and(|shared| shared.hurry())
    }

    /// Groups that were added but not handed over.
    pub fn unsent(&self) -> impl Iterator<Item = &RequestGroup> {
        let held = self.days.as_ref().map_or(&[][..], DayWindow::held);
        let held = held.iter().chain(&self.assistants);
        let detached = self.filling.detached.iter().chain(held);
        let written = self.filling.groups.iter();
        written.chain(detached.map(|waiting| &waiting.group))
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
        let small = days.take_small_days();
        self.send_alone(small)?;
        days.choose_days();
        let openers = days.take_openers();
        self.send_alone(openers)?;
        self.begin_epoch(false, days.take_fitting())
    }

    /// Sends the hits of AI assistants in an epoch of their own. Matomo stores a batch of them in a
    /// transaction whose failure it does not report, so no other request may compete with it.
    fn send_assistants(&mut self) -> Result<(), QueueClosed> {
        if self.assistants.is_empty() {
            return Ok(());
        }
        self.assistant_bytes = 0;
        let assistants = std::mem::take(&mut self.assistants);
        self.begin_epoch(true, assistants)?;
        self.begin_epoch(false, Vec::new())
    }

    /// Sends groups in an epoch of their own, one request after the other.
    fn send_alone(&mut self, groups: Vec<WaitingGroup>) -> Result<(), QueueClosed> {
        match groups.is_empty() {
            true => Ok(()),
            false => self.begin_epoch(true, groups),
        }
    }

    /// Begins an epoch with these groups.
    fn begin_epoch(&mut self, alone: bool, groups: Vec<WaitingGroup>) -> Result<(), QueueClosed> {
        let flushed = self.flush_chunk();
        // After an error, `unsent` has to see their lines.
        self.filling.detached.extend(groups);
        flushed?;
        self.filling.epoch += 1;
        self.filling.alone = alone;
        match self.filling.is_empty() {
            true => Ok(()),
            false => self.hand_over(false),
        }
    }

    fn flush_chunk(&mut self) -> Result<(), QueueClosed> {
        match self.unflushed || !self.filling.is_empty() {
            true => self.hand_over(true),
            false => Ok(()),
        }
    }

    fn hand_over(&mut self, flush: bool) -> Result<(), QueueClosed> {
        let filling = &mut self.filling;
        match &self.output {
            QueueOutput::Window {
                window,
                sender,
                stop,
            } => {
                let (epoch, alone) = (filling.epoch, filling.alone);
                filling.flush = flush;
                let waiting = || self.service.beat();
                match window.push(sender, std::mem::take(filling), stop, waiting) {
                    Ok(emptied) => {
                        self.filling = Chunk {
                            epoch,
                            alone,
                            ..emptied
                        };
                        self.unflushed = !flush;
                        Ok(())
                    }
                    Err(back) => {
                        // `unsent` has to see its lines.
                        self.filling = back;
                        Err(QueueClosed)
                    }
                }
            }
            QueueOutput::DryRun(account, sessions) => {
                count_imported(account, &filling.groups);
                let listened = filling.groups.iter().filter_map(RequestGroup::session);
                listened.for_each(|session| sessions.add(session));
                filling.clear();
                Ok(())
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
