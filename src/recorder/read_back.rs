//! Reads hits back: asks Matomo whether it has what it acknowledged.
//!
//! A success response is a receipt, not a proof: Matomo can lose the beginning of a batch behind
//! one. So each batch is done only when Matomo shows its [`witness`](super::witness). Witnesses are
//! looked up many at a time, beside the sending. If one is missing, the hits of its batch are
//! looked up, and those missing before the first one present are sent again, once. See
//! guide/guarantees.md, "Read-back".
//!
//! The requests of a batch are kept in memory, compressed, until then: a log may be gone by that
//! time, and a pipe cannot be read again.

use std::collections::HashSet;
use std::fmt::Write;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use zstd::bulk::{Compressor, decompress};
use zstd::zstd_safe::compress_bound;

use super::buffer::{Buffer, write_body};
use super::context::Context;
use super::epoch::Epochs;
use super::witness::{SentHit, is_suitable};
use crate::error::Result;
use crate::failpoint::reach;
use crate::ledger::BatchId;
use crate::matomo::outcome::{History, Outcome, classify};
use crate::matomo::visit_log::{LookupError, Presence};
use crate::report::summary::ReadBackSummary;
use crate::sync::{Condvar, Mutex};

/// Witnesses in one question.
const QUESTION_WITNESSES: usize = 50;

/// How long a witness waits for others to be asked about together.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A witness may be missing only because a transaction or a replica is late. It is asked about
/// once more after this time.
const RECHECK_WAIT: Duration = Duration::from_secs(2);

/// Suspects that are settled together, and how long the first one waits for others.
const MAX_SUSPECTS: usize = 8;
const MAX_SUSPICION: Duration = Duration::from_secs(60);

/// Pause before the next question while Matomo is away.
const AWAY_WAIT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that are kept of batches that are not confirmed. Recorders wait above this.
const MAX_KEPT_BYTES: usize = 2 << 20;

/// Bytes for each line of a batch in the ledger.
const LEDGER_LINE_BYTES: usize = 80;

const COMPRESSION_LEVEL: i32 = 1;

/// Addresses that are remembered because Matomo leaves out their hits.
const MAX_LEFT_OUT_ADDRESSES: usize = 10_000;

/// Lines that are named in a message.
const MAX_NAMED_LINES: usize = 10;

/// Whether to read hits back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReadBackMode {
    /// Ask Matomo whether it has the hits that it acknowledged
    On,
    /// Rely on its answers
    Off,
}

/// The recorders' end. The thread ends when all clones are dropped.
#[derive(Clone)]
pub struct ReadBack {
    sender: Sender<SentBatch>,
    shared: Arc<Shared>,
}

/// What the thread shares with recorders and parser.
pub struct Shared {
    kept: Mutex<Kept>,
    changed: Condvar,
    /// Matomo cannot be asked.
    is_off: AtomicBool,
    /// The parser waits for the lines of a log to be done.
    is_urgent: AtomicBool,
    /// Addresses whose hits Matomo leaves out, and their networks.
    left_out: Mutex<HashSet<IpAddr>>,
    left_out_networks: Mutex<HashSet<IpAddr>>,
    packer: Mutex<Packer>,
    counts: Counts,
}

/// Batches that are not confirmed yet.
#[derive(Debug, Default)]
struct Kept {
    batches: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Counts {
    batches: AtomicU64,
    questions: AtomicU64,
    sent_again: AtomicU64,
    left_out: AtomicU64,
    unknown: AtomicU64,
}

/// A batch that Matomo acknowledged.
pub struct SentBatch {
    /// `None` if the ledger does not record its lines.
    id: Option<BatchId>,
    witness: SentHit,
    /// Each request with its place, compressed.
    packed: Vec<u8>,
    unpacked_bytes: usize,
    hits: usize,
    sent_at: SystemTime,
    acknowledged: Instant,
    /// Its witness was missing. It is asked about again at this time.
    recheck: Option<Instant>,
}

impl SentBatch {
    /// The memory that it takes, here and in the ledger.
    fn bytes(&self) -> usize {
        self.packed.len() + self.hits * LEDGER_LINE_BYTES
    }
}

/// A request, with the index of its log and its line there.
struct SentRequest {
    file: u32,
    line: u64,
    json: Vec<u8>,
}

impl ReadBack {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        context: &Arc<Context>,
        epochs: &Arc<Epochs>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared {
            kept: Mutex::default(),
            changed: Condvar::default(),
            is_off: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
            left_out: Mutex::default(),
            left_out_networks: Mutex::default(),
            packer: Mutex::new(Packer::new()?),
            counts: Counts::default(),
        });
        let (sender, inbox) = unbounded();
        let reader = Reader {
            context: Arc::clone(context),
            epochs: Arc::clone(epochs),
            shared: Arc::clone(&shared),
            inbox,
            waiting: Vec::new(),
            suspects: Vec::new(),
            has_seen_hits: false,
            away_until: None,
            left: 0,
            left_out: LeftOut::default(),
        };
        let thread = Builder::new()
            .name("read-back".to_owned())
            .spawn(move || reader.run())?;
        Ok((Self { sender, shared }, thread))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether Matomo leaves out hits of an address, or of its network: it may exclude all of that.
    pub fn may_leave_out(&self, address: IpAddr) -> bool {
        let networks = self.shared.left_out_networks.lock();
        !networks.is_empty() && networks.contains(&network(address))
    }

    /// Prepares a batch that Matomo acknowledged, with the requests that it says it has. Returns
    /// `None` if Matomo cannot be asked about it.
    pub fn prepare(
        &self,
        buffer: &Buffer,
        id: Option<BatchId>,
        stored: &[u32],
        sent_at: SystemTime,
    ) -> Option<SentBatch> {
        let first = *stored.first()?;
        let has_hit_ids = |request: &u32| buffer.group(*request).has_hit_ids;
        if self.shared.is_off.load(Ordering::Relaxed)
            || !stored.iter().all(has_hit_ids)
            || !is_suitable(buffer, first, |address| self.may_leave_out(address))
        {
            return None;
        }
        let witness = SentHit::parse(buffer.json(first))?;
        witness.witness()?;
        let (packed, unpacked_bytes) = self.shared.packer.lock().pack(buffer, stored).ok()?;
        Some(SentBatch {
            id,
            witness,
            packed,
            unpacked_bytes,
            hits: stored.len(),
            sent_at,
            acknowledged: Instant::now(),
            recheck: None,
        })
    }

    /// Takes a batch, to ask about its witness.
    pub fn submit(&self, batch: SentBatch) {
        self.shared.keep(&batch);
        if let Err(unsent) = self.sender.send(batch) {
            // The thread has ended, so the run is stopping, and the next run asks.
            self.shared.release(&unsent.0);
        }
    }

    /// Waits while too many batches are not confirmed. Called before a recorder sends a buffer, not
    /// during that: sending hits again waits for all recorders.
    pub fn wait_for_room(&self, is_stopping: impl Fn() -> bool) {
        let mut kept = self.shared.kept.lock();
        while kept.bytes > MAX_KEPT_BYTES && !is_stopping() {
            kept = self.shared.changed.wait_timeout(kept, POLL_INTERVAL);
        }
    }
}

impl Shared {
    /// Asks for all witnesses soon. Returns whether there are any.
    pub fn hurry(&self) -> bool {
        let has_batches = self.kept.lock().batches > 0;
        self.is_urgent.store(has_batches, Ordering::Relaxed);
        has_batches
    }

    /// The part of the summary about this; `None` if no batch was read back.
    pub fn summary(&self) -> Option<ReadBackSummary> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        let summary = ReadBackSummary {
            batches: get(&counts.batches),
            questions: get(&counts.questions),
            sent_again: get(&counts.sent_again),
            left_out: get(&counts.left_out),
            unknown: get(&counts.unknown),
        };
        (summary.questions > 0).then_some(summary)
    }

    fn keep(&self, batch: &SentBatch) {
        let mut kept = self.kept.lock();
        kept.batches += 1;
        kept.bytes += batch.bytes();
    }

    fn release(&self, batch: &SentBatch) {
        let mut kept = self.kept.lock();
        kept.batches -= 1;
        kept.bytes -= batch.bytes();
        drop(kept);
        self.changed.notify_all();
    }
}

/// Compresses batches. One for all recorders, because its buffers are as large as batches.
struct Packer {
    compressor: Compressor<'static>,
    text: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(COMPRESSION_LEVEL)?,
            text: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Compresses the requests of a batch, each with its log and line. Returns also their size.
    fn pack(&mut self, buffer: &Buffer, requests: &[u32]) -> io::Result<(Vec<u8>, usize)> {
        let text = &mut self.text;
        text.clear();
        for request in requests {
            let group = buffer.group(*request);
            let json = buffer.json(*request);
            text.extend_from_slice(&group.file.to_le_bytes());
            text.extend_from_slice(&group.position.line.to_le_bytes());
            text.extend_from_slice(&(json.len() as u32).to_le_bytes());
            text.extend_from_slice(json);
        }
        self.packed.clear();
        self.packed.reserve(compress_bound(text.len()));
        let compressor = &mut self.compressor;
        compressor.compress_to_buffer(&text[..], &mut self.packed)?;
        Ok((self.packed.to_vec(), text.len()))
    }
}

fn unpack(mut text: &[u8]) -> Option<Vec<SentRequest>> {
    let mut requests = Vec::new();
    while !text.is_empty() {
        let (file, rest) = text.split_first_chunk()?;
        let (line, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        requests.push(SentRequest {
            file: u32::from_le_bytes(*file),
            line: u64::from_le_bytes(*line),
            json: json.to_vec(),
        });
        text = rest;
    }
    Some(requests)
}

/// The hits that a batch lost.
struct Loss {
    batch: SentBatch,
    requests: Vec<SentRequest>,
}

/// What became of hits that were sent again.
enum SecondOutcome {
    /// Matomo acknowledged them. The ledger has them as this batch.
    Acknowledged(Option<BatchId>),
    /// Matomo may or may not have them, or the run is stopping: the next run asks.
    Left,
}

/// The thread.
struct Reader {
    context: Arc<Context>,
    epochs: Arc<Epochs>,
    shared: Arc<Shared>,
    inbox: Receiver<SentBatch>,
    /// Batches that are not confirmed, oldest first.
    waiting: Vec<SentBatch>,
    /// Batches whose witness is missing. They are settled together, because the recorders have to
    /// wait for that.
    suspects: Vec<SentBatch>,
    /// Matomo has shown a hit of this run, so what it does not show is missing.
    has_seen_hits: bool,
    /// Matomo could not be asked. It is asked again at this time.
    away_until: Option<Instant>,
    /// Batches that are left to the next run because Matomo was away.
    left: usize,
    left_out: LeftOut,
}

impl Reader {
    fn run(mut self) {
        if let Err(error) = self.read_back() {
            self.context.stop.halt(error);
        }
        self.left_out.report(&self.context);
    }

    fn read_back(&mut self) -> Result<()> {
        let mut is_open = true;
        while is_open || !self.waiting.is_empty() || !self.suspects.is_empty() {
            let is_idle = self.waiting.is_empty() && self.suspects.is_empty();
            let received = match (is_open, is_idle) {
                (true, true) => self.inbox.recv().map_err(RecvTimeoutError::from),
                (true, false) => self.inbox.recv_timeout(POLL_INTERVAL),
                (false, _) => Err(RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(batch) => self.waiting.push(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => is_open = false,
            }
            self.waiting.extend(self.inbox.try_iter());
            if self.context.stop.requested() {
                return self.finish_interrupted();
            }
            if self.away_until.is_some() && !is_open {
                self.leave_to_next_run()?;
                break;
            }
            let is_urgent = self.shared.is_urgent.swap(false, Ordering::Relaxed)
                || !is_open
                || self.shared.kept.lock().bytes > MAX_KEPT_BYTES / 2;
            let due = self.take_due(is_urgent);
            if !due.is_empty() {
                self.ask(due)?;
            } else if self.has_due_suspects(is_urgent) {
                self.settle_suspects()?;
            } else if !is_open && !self.waiting.is_empty() {
                self.context.stop.wait(POLL_INTERVAL);
            }
        }
        if self.left > 0 {
            self.context.console.warn_incomplete(format!(
                "{} requests are not confirmed, because Matomo could not be asked: the next run \
                 asks whether it has their hits",
                self.left
            ));
        }
        Ok(())
    }

    /// Asks once more before a run that is stopping ends. The next run asks about the rest.
    fn finish_interrupted(&mut self) -> Result<()> {
        // Recorders let requests in flight finish.
        self.waiting.extend(self.inbox.iter());
        let waiting = std::mem::take(&mut self.waiting);
        for batches in waiting.chunks(QUESTION_WITNESSES) {
            let Ok(presences) = self.ask_about(batches) else {
                return Ok(());
            };
            for (batch, presence) in batches.iter().zip(presences) {
                if presence == Presence::Present {
                    self.confirm(batch)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the batches to ask about now, if any.
    fn take_due(&mut self, is_urgent: bool) -> Vec<SentBatch> {
        let now = Instant::now();
        if self.away_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.away_until = None;
        let fresh = || self.waiting.iter().filter(|batch| batch.recheck.is_none());
        let is_due = is_urgent
            || fresh().count() >= QUESTION_WITNESSES
            || fresh().any(|batch| batch.acknowledged.elapsed() >= MAX_WAIT);
        let (mut due, rest): (Vec<_>, _) = self
            .waiting
            .drain(..)
            .partition(|batch| batch.recheck.map_or(is_due, |time| time <= now));
        self.waiting = rest;
        if due.len() > QUESTION_WITNESSES {
            self.waiting.extend(due.drain(QUESTION_WITNESSES..));
        }
        due
    }

    /// Whether to settle suspects now.
    fn has_due_suspects(&self, is_urgent: bool) -> bool {
        let is_old = |batch: &SentBatch| batch.acknowledged.elapsed() >= MAX_SUSPICION;
        let is_due = is_urgent
            || self.suspects.len() >= MAX_SUSPECTS
            || self.suspects.first().is_some_and(is_old);
        is_due && !self.suspects.is_empty() && self.away_until.is_none()
    }

    /// Asks whether Matomo has the witnesses of these batches.
    fn ask(&mut self, batches: Vec<SentBatch>) -> Result<()> {
        reach("before-read-back");
        let presences = match self.ask_about(&batches) {
            Ok(presences) => presences,
            Err(error) => return self.fail(error, batches),
        };
        for (mut batch, presence) in batches.into_iter().zip(presences) {
            if presence == Presence::Present {
                self.confirm(&batch)?;
            } else if batch.recheck.is_none() {
                batch.recheck = Some(Instant::now() + RECHECK_WAIT);
                self.waiting.push(batch);
            } else {
                self.suspects.push(batch);
            }
        }
        Ok(())
    }

    fn ask_about(
        &mut self,
        batches: &[SentBatch],
    ) -> std::result::Result<Vec<Presence>, LookupError> {
        // Each has one: that was checked when the batch was prepared.
        let witnesses = batches.iter().filter_map(|batch| batch.witness.witness());
        let witnesses: Vec<_> = witnesses.collect();
        self.shared.counts.questions.fetch_add(1, Ordering::Relaxed);
        let presences = self.context.visits.find_witnesses(&witnesses)?;
        self.has_seen_hits |= presences.contains(&Presence::Present);
        Ok(presences)
    }

    fn confirm(&self, batch: &SentBatch) -> Result<()> {
        self.shared.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.release(batch)
    }

    /// Marks the lines of a batch as done.
    fn release(&self, batch: &SentBatch) -> Result<()> {
        self.shared.release(batch);
        self.confirm_in_ledger(batch.id)
    }

    fn confirm_in_ledger(&self, batch: Option<BatchId>) -> Result<()> {
        match (&self.context.ledger, batch) {
            (Some(ledger), Some(batch)) => ledger.confirm(batch),
            _ => Ok(()),
        }
    }

    /// Matomo could not be asked about these batches.
    fn fail(&mut self, error: LookupError, batches: Vec<SentBatch>) -> Result<()> {
        match error {
            LookupError::NotNow(why) => {
                self.context.console.debug(1, || {
                    format!("read-back: Matomo cannot be asked now: {why}")
                });
                self.waiting.extend(batches);
                self.away_until = Some(Instant::now() + AWAY_WAIT);
                let is_full = self.shared.kept.lock().bytes > MAX_KEPT_BYTES / 2;
                match is_full {
                    true => self.leave_to_next_run(),
                    false => Ok(()),
                }
            }
            LookupError::Never(why) => {
                self.waiting.extend(batches);
                self.rely_on_answers(&why)
            }
        }
    }

    /// Matomo cannot be asked: what it acknowledged is done.
    fn rely_on_answers(&mut self, why: &str) -> Result<()> {
        if !self.shared.is_off.swap(true, Ordering::Relaxed) {
            self.context.console.note(format!(
                "Matomo cannot be asked whether it has the hits that it acknowledged ({why}): this \
                 run relies on its answers"
            ));
        }
        let mut batches = std::mem::take(&mut self.waiting);
        batches.append(&mut self.suspects);
        batches.iter().try_for_each(|batch| self.release(batch))
    }

    /// Whether the next run knows which batches are not confirmed.
    fn is_on_disk(&self) -> bool {
        let ledger = self.context.ledger.as_ref();
        ledger.is_some_and(|ledger| ledger.is_on_disk())
    }

    /// Matomo is away, and the import has ended or needs the memory. The next run asks about the
    /// batches, which are in the ledger.
    fn leave_to_next_run(&mut self) -> Result<()> {
        if !self.is_on_disk() {
            return self.rely_on_answers("it does not answer now");
        }
        let batches = self.waiting.drain(..).chain(self.suspects.drain(..));
        for batch in batches {
            self.shared.release(&batch);
            self.left += 1;
        }
        Ok(())
    }

    /// Settles the batches whose witness is missing: sends again what they lost, and looks it up.
    fn settle_suspects(&mut self) -> Result<()> {
        let mut losses: Vec<Loss> = Vec::new();
        if !self.has_seen_hits {
            // Perhaps it is not the hits that are missing, but the right to see them. The smallest
            // batch costs least to look up.
            self.suspects.sort_by_key(|batch| batch.unpacked_bytes);
            let batch = self.suspects.remove(0);
            losses.extend(self.find_loss(batch)?);
            if !self.has_seen_hits {
                let batches = losses.into_iter().map(|loss| loss.batch);
                self.suspects.extend(batches);
                return match self.away_until {
                    Some(_) => Ok(()),
                    None => self.rely_on_answers("it shows none of them"),
                };
            }
        }
        for batch in std::mem::take(&mut self.suspects) {
            // If Matomo leaves out the hits of this address, the first batch shows it.
            let address = batch.witness.cip;
            if losses.iter().any(|loss| loss.batch.witness.cip == address) {
                self.suspects.push(batch);
                continue;
            }
            losses.extend(self.find_loss(batch)?);
        }
        if losses.is_empty() {
            return Ok(());
        }
        let epochs = Arc::clone(&self.epochs);
        let Some(alone) = epochs.acquire_alone(&self.context.stop) else {
            return Ok(());
        };
        let mut sent = Vec::new();
        for loss in losses {
            match self.send_again(&loss)? {
                SecondOutcome::Acknowledged(again) => sent.push((loss, again)),
                SecondOutcome::Left => self.shared.release(&loss.batch),
            }
        }
        drop(alone);
        self.settle_sent_again(&sent)
    }

    /// Looks up the hits of a batch whose witness is missing. Returns those that it lost, or `None`
    /// if there are none and the batch is confirmed.
    fn find_loss(&mut self, batch: SentBatch) -> Result<Option<Loss>> {
        let unpacked = decompress(&batch.packed, batch.unpacked_bytes).ok();
        let requests = unpacked.and_then(|text| unpack(&text)).unwrap_or_default();
        let presences = match self.find(requests.iter(), batch.sent_at) {
            Ok(presences) => presences,
            Err(error) => return self.fail(error, vec![batch]).map(|()| None),
        };
        // Losses are always at the beginning: what is missing later was left out.
        let end = presences.iter().position(|it| *it == Presence::Present);
        // If it shows the witness after all, questions about witnesses are useless.
        self.has_seen_hits |= end.is_some_and(|end| end > 0);
        let first = &presences[..end.unwrap_or(presences.len())];
        let unknown = first.iter().filter(|it| **it == Presence::Unknown).count();
        let counts = &self.shared.counts;
        counts.unknown.fetch_add(unknown as u64, Ordering::Relaxed);
        let missing = requests
            .into_iter()
            .zip(first)
            .filter(|(_, presence)| **presence == Presence::Missing)
            .map(|(request, _)| request);
        // Matomo leaves out more hits of an address than one.
        let (excluded, requests): (Vec<_>, Vec<_>) =
            missing.partition(|request| self.is_left_out(request));
        excluded.iter().for_each(|request| self.leave_out(request));
        if requests.is_empty() {
            return self.confirm(&batch).map(|()| None);
        }
        self.context.console.debug(1, || {
            format!(
                "read-back: {} of {} hits of a batch are missing",
                requests.len(),
                presences.len()
            )
        });
        Ok(Some(Loss { batch, requests }))
    }

    /// Looks up hits that were sent again. What is missing even now was left out.
    fn settle_sent_again(&mut self, sent: &[(Loss, Option<BatchId>)]) -> Result<()> {
        if sent.is_empty() {
            return Ok(());
        }
        let requests = || sent.iter().flat_map(|(loss, _)| &loss.requests);
        let sent_at = SystemTime::now();
        let mut lookup = self.find(requests(), sent_at);
        let has_missing = |presences: &Vec<Presence>| presences.contains(&Presence::Missing);
        if lookup.as_ref().is_ok_and(has_missing) && !self.context.stop.wait(RECHECK_WAIT) {
            lookup = self.find(requests(), sent_at);
        }
        match lookup {
            Ok(presences) => {
                for (request, presence) in requests().zip(presences) {
                    let count = match presence {
                        Presence::Present => &self.shared.counts.sent_again,
                        Presence::Unknown => &self.shared.counts.unknown,
                        Presence::Missing => {
                            self.leave_out(request);
                            continue;
                        }
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(LookupError::Never(why) | LookupError::NotNow(why)) => {
                self.context.console.warn(format!(
                    "{} hits that Matomo had acknowledged and lost were sent again, and it cannot \
                     be asked whether it has them now ({why})",
                    requests().count()
                ));
            }
        }
        for (loss, again) in sent {
            self.confirm_in_ledger(*again)?;
            self.confirm(&loss.batch)?;
        }
        Ok(())
    }

    fn is_left_out(&self, request: &SentRequest) -> bool {
        SentHit::parse(&request.json)
            .is_some_and(|hit| self.shared.left_out.lock().contains(&hit.cip))
    }

    /// Counts a hit that Matomo has on purpose not stored.
    fn leave_out(&mut self, request: &SentRequest) {
        self.shared.counts.left_out.fetch_add(1, Ordering::Relaxed);
        if let Some(hit) = SentHit::parse(&request.json) {
            self.left_out.add(request, &hit);
            let mut addresses = self.shared.left_out.lock();
            if addresses.len() < MAX_LEFT_OUT_ADDRESSES {
                addresses.insert(hit.cip);
                let mut networks = self.shared.left_out_networks.lock();
                networks.insert(network(hit.cip));
            }
        }
    }

    fn find<'r>(
        &self,
        requests: impl Iterator<Item = &'r SentRequest>,
        sent_at: SystemTime,
    ) -> std::result::Result<Vec<Presence>, LookupError> {
        let requests: Vec<&[u8]> = requests.map(|request| &request.json[..]).collect();
        self.context.visits.find(&requests, true, sent_at)
    }

    /// Sends hits again. No other request is in flight.
    fn send_again(&self, Loss { batch, requests }: &Loss) -> Result<SecondOutcome> {
        let context = &self.context;
        let policy = context.options.retry;
        let history = History {
            accepted_for_site: true,
            success: true,
        };
        let mut attempts = 0;
        loop {
            let again = match (&context.ledger, batch.id) {
                (Some(ledger), Some(id)) => Some(ledger.begin_again(id, requests.len() as u64)?),
                _ => None,
            };
            let forget = || match (&context.ledger, again) {
                (Some(ledger), Some(again)) => ledger.forget(again),
                _ => Ok(()),
            };
            let mut body = Vec::new();
            let hits = requests.iter().map(|request| &request.json[..]);
            write_body(&mut body, hits, context.token.as_ref());
            let exchange = context.client.track(body.into());
            context.print_response(&exchange);
            attempts += 1;
            let (detail, retry_after) = match classify(&exchange, requests.len(), &history) {
                Outcome::Acknowledged(_) => return Ok(SecondOutcome::Acknowledged(again)),
                Outcome::NotSent { detail } => (detail, None),
                Outcome::NotProcessed {
                    retry_after,
                    detail,
                } => (detail, retry_after),
                Outcome::Unconfirmed { detail, .. } => {
                    self.leave(requests, &detail);
                    return Ok(SecondOutcome::Left);
                }
                Outcome::TooLarge { detail } => {
                    forget()?;
                    self.leave(requests, &detail);
                    return Ok(SecondOutcome::Left);
                }
                Outcome::Stop { message } => {
                    forget()?;
                    self.leave(requests, &message);
                    return Ok(SecondOutcome::Left);
                }
            };
            forget()?;
            if !policy.allows_after(attempts) {
                self.leave(requests, &detail);
                return Ok(SecondOutcome::Left);
            }
            if context.stop.wait(policy.wait_after(attempts, retry_after)) {
                return Ok(SecondOutcome::Left);
            }
        }
    }

    /// Reports hits that are missing and could not be sent again.
    fn leave(&self, requests: &[SentRequest], why: &str) {
        let mut lines = NamedLines::default();
        requests.iter().for_each(|request| lines.add(request));
        let next = match self.is_on_disk() {
            true => "; the next run asks for them again",
            false => "",
        };
        self.context.console.warn_incomplete(format!(
            "{} hits that Matomo acknowledged are missing, and could not be sent again ({why}): \
             {}{next}",
            requests.len(),
            lines.text(&self.context)
        ));
    }
}

/// The first two bytes of an IPv4 address, the first three groups of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            [first, second, 0, 0].into()
        }
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            [first, second, third, 0, 0, 0, 0, 0].into()
        }
    }
}

/// The first lines of a list, and how many more there are.
#[derive(Default)]
struct NamedLines {
    lines: Vec<(u32, u64)>,
    more: u64,
}

impl NamedLines {
    fn add(&mut self, request: &SentRequest) {
        match self.lines.len() < MAX_NAMED_LINES {
            true => self.lines.push((request.file, request.line)),
            false => self.more += 1,
        }
    }

    fn text(&self, context: &Context) -> String {
        let mut text = String::new();
        for (file, line) in &self.lines {
            let file = context.account.file(*file as usize);
            let name = file.map_or_else(String::new, |file| file.name().to_owned());
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}:{line}");
        }
        if self.more > 0 {
            let _ = write!(text, " and {} more", self.more);
        }
        text
    }
}

/// Hits that Matomo leaves out, and what they have in common.
#[derive(Default)]
struct LeftOut {
    lines: NamedLines,
    count: u64,
    /// What each kind of value is, as long as all hits have the same.
    common: Option<[(&'static str, Option<String>); 5]>,
}

impl LeftOut {
    fn add(&mut self, request: &SentRequest, hit: &SentHit) {
        self.count += 1;
        self.lines.add(request);
        let bits = if hit.cip.is_ipv4() { 16 } else { 48 };
        let network = format!("{}/{bits}", network(hit.cip));
        let day = hit.cdt.get(..10).unwrap_or_default();
        let values = [
            ("site", hit.idsite.clone()),
            ("day", day.to_owned()),
            ("network", network),
            ("address", hit.cip.to_string()),
            ("user agent", hit.ua.clone()),
        ];
        let common = self
            .common
            .get_or_insert_with(|| values.clone().map(|(kind, value)| (kind, Some(value))));
        for ((_, known), (_, value)) in common.iter_mut().zip(values) {
            if known.as_ref() != Some(&value) {
                *known = None;
            }
        }
    }

    fn report(&self, context: &Context) {
        if self.count == 0 {
            return;
        }
        let common: Vec<String> = self
            .common
            .iter()
            .flatten()
            .filter_map(|(kind, value)| Some(format!("{kind} {}", value.as_ref()?)))
            .collect();
        let common = match common.is_empty() {
            true => "nothing".to_owned(),
            false => common.join(", "),
        };
        context.console.warn(format!(
            "Matomo leaves out {} hits: it acknowledges them and does not have them, although some \
             were sent again; its settings may exclude them. They have in common: {common}. \
             Lines: {}",
            self.count,
            self.lines.text(context)
        ));
    }
}
