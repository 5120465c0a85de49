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

mod left_out;
mod packed;
mod reader;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use crossbeam_channel::{Sender, unbounded};

use self::left_out::network;
use self::packed::Packer;
use self::reader::WitnessReader;
use super::buffer::Buffer;
use super::context::Context;
use super::window::Window;
use super::witness::{HitRarity, RarityCounter, SentHit, is_suitable};
use crate::ledger::BatchId;
use crate::report::summary::ReadBackSummary;
use crate::sync::{Condvar, Mutex};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that are kept of batches that are not confirmed. Recorders wait above this.
const MAX_KEPT_BYTES: usize = 2 << 20;

/// Bytes for each line of a batch in the ledger.
const LEDGER_LINE_BYTES: usize = 80;

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
    shared: Arc<ReadBackState>,
}

/// What the thread shares with recorders and parser.
pub struct ReadBackState {
    kept: Mutex<Kept>,
    changed: Condvar,
    /// Matomo cannot be asked.
    is_off: AtomicBool,
    /// The parser waits for the lines of a log to be done.
    is_urgent: AtomicBool,
    /// Addresses whose hits Matomo leaves out, and their networks.
    left_out: Mutex<HashSet<IpAddr>>,
    left_out_networks: Mutex<HashSet<IpAddr>>,
    rarity: Mutex<RarityCounter>,
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
    /// The front end that acknowledged it.
    front: usize,
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

impl ReadBack {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        context: &Arc<Context>,
        window: &Arc<Window>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(ReadBackState {
            kept: Mutex::default(),
            changed: Condvar::default(),
            is_off: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
            left_out: Mutex::default(),
            left_out_networks: Mutex::default(),
            rarity: Mutex::new(RarityCounter::new()),
            packer: Mutex::new(Packer::new()?),
            counts: Counts::default(),
        });
        let (sender, inbox) = unbounded();
        let reader = WitnessReader::new(context, window, &shared, inbox);
        let thread = Builder::new()
            .name("read-back".to_owned())
            .spawn(move || reader.run())?;
        Ok((Self { sender, shared }, thread))
    }

    pub fn shared(&self) -> &Arc<ReadBackState> {
        &self.shared
    }

    /// Whether Matomo leaves out hits of an address, or of its network: it may exclude all of that.
    pub fn may_leave_out(&self, address: IpAddr) -> bool {
        let networks = self.shared.left_out_networks.lock();
        !networks.is_empty() && networks.contains(&network(address))
    }

    /// Counts the hits of a buffer that is about to be sent. Returns the rarity of each, or nothing
    /// if Matomo cannot be asked about them.
    pub fn rarity(&self, buffer: &Buffer, epoch: u64) -> Vec<HitRarity> {
        match self.shared.is_off.load(Ordering::Relaxed) {
            true => Vec::new(),
            false => self.shared.rarity.lock().count(buffer, epoch),
        }
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
            front: buffer.front(),
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

impl ReadBackState {
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
