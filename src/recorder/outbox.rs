//! The parser's end of the recorders: a parcel for each, filled and handed over when it is full.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::parcel::{Chunk, RequestGroup};
use crate::report::{Account, Count};
use crate::shutdown::Shutdown;

/// How long the parser waits for room before it looks whether the program is to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the parser puts finished requests.
#[derive(Debug)]
pub struct Queue {
    /// One for each recorder; one in all where there is none.
    filling: Vec<Chunk>,
    to: To,
}

#[derive(Debug)]
enum To {
    Recorders {
        inboxes: Vec<Sender<Chunk>>,
        emptied: Receiver<Chunk>,
        stop: Shutdown,
    },
    /// A dry run: the lines count as imported, their requests are dropped.
    Nobody(Arc<Account>),
}

/// The recorders take nothing more: one has failed, or the program is to stop.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueClosed;

impl Queue {
    pub fn new(inboxes: Vec<Sender<Chunk>>, emptied: Receiver<Chunk>, stop: Shutdown) -> Self {
        Self {
            filling: inboxes.iter().map(|_| Chunk::new()).collect(),
            to: To::Recorders {
                inboxes,
                emptied,
                stop,
            },
        }
    }

    pub fn dropping(account: Arc<Account>) -> Self {
        Self {
            filling: vec![Chunk::new()],
            to: To::Nobody(account),
        }
    }

    /// The parcel of the recorder that has this visitor; requests are written right into it.
    pub fn parcel(&mut self, visitor: u64) -> &mut Chunk {
        let recorder = self.recorder(visitor);
        &mut self.filling[recorder]
    }

    /// The requests of a line have been written into its visitor's parcel.
    pub fn add(&mut self, unit: RequestGroup) -> Result<(), QueueClosed> {
        let recorder = self.recorder(unit.visitor);
        let parcel = &mut self.filling[recorder];
        parcel.units.push(unit);
        if parcel.is_full() {
            self.hand_over(recorder, false)
        } else {
            Ok(())
        }
    }

    /// The input pauses or has ended: everything goes out now.
    pub fn flush(&mut self) -> Result<(), QueueClosed> {
        (0..self.filling.len()).try_for_each(|recorder| self.hand_over(recorder, true))
    }

    /// Lines that no recorder has taken.
    pub fn unsent(&self) -> impl Iterator<Item = &RequestGroup> {
        self.filling.iter().flat_map(|parcel| &parcel.units)
    }

    /// A remainder would do as well, and takes ten times as long.
    fn recorder(&self, visitor: u64) -> usize {
        ((u128::from(visitor) * self.filling.len() as u128) >> u64::BITS) as usize
    }

    fn hand_over(&mut self, recorder: usize, flush: bool) -> Result<(), QueueClosed> {
        let filling = &mut self.filling[recorder];
        let (inbox, emptied, stop) = match &self.to {
            To::Recorders {
                inboxes,
                emptied,
                stop,
            } => (&inboxes[recorder], emptied, stop),
            To::Nobody(account) => {
                drop_units(account, &filling.units);
                filling.clear();
                return Ok(());
            }
        };
        let mut next = emptied.try_recv().unwrap_or_else(|_| Chunk::new());
        next.clear();
        let mut parcel = std::mem::replace(filling, next);
        parcel.flush = flush;
        loop {
            match inbox.send_timeout(parcel, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !stop.requested() => parcel = back,
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    // It still holds lines; they are counted as not sent.
                    *filling = back;
                    return Err(QueueClosed);
                }
            }
        }
    }
}

fn drop_units(account: &Account, units: &[RequestGroup]) {
    for units in units.chunk_by(|one, next| one.file == next.file) {
        if let Some(file) = account.file(units[0].file as usize) {
            file.add(Count::Imported, units.iter().map(RequestGroup::lines).sum());
        }
    }
}
