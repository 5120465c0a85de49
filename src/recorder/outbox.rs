//! The parser's end of the recorders: a parcel for each, filled and handed over when it is full.

use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

use super::parcel::{Parcel, Unit};
use crate::stop::Stop;

/// How long the parser waits for room before it looks whether the program is to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the parser puts finished requests.
#[derive(Debug)]
pub struct Outbox {
    filling: Vec<Parcel>,
    recorders: Vec<Sender<Parcel>>,
    emptied: Receiver<Parcel>,
    stop: Stop,
}

/// The recorders take nothing more: one has failed, or the program is to stop.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl Outbox {
    pub fn new(recorders: Vec<Sender<Parcel>>, emptied: Receiver<Parcel>, stop: Stop) -> Self {
        let filling = recorders.iter().map(|_| Parcel::new()).collect();
        Self {
            filling,
            recorders,
            emptied,
            stop,
        }
    }

    /// The parcel of the recorder that has this visitor; requests are written right into it.
    pub fn parcel(&mut self, visitor: u64) -> &mut Parcel {
        let recorder = self.recorder(visitor);
        &mut self.filling[recorder]
    }

    /// The requests of a line have been written into its visitor's parcel.
    pub fn add(&mut self, unit: Unit) -> Result<(), Closed> {
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
    pub fn flush(&mut self) -> Result<(), Closed> {
        (0..self.recorders.len()).try_for_each(|recorder| self.hand_over(recorder, true))
    }

    /// Lines that no recorder has taken.
    pub fn unsent(&self) -> impl Iterator<Item = &Unit> {
        self.filling.iter().flat_map(|parcel| &parcel.units)
    }

    fn recorder(&self, visitor: u64) -> usize {
        (visitor % self.recorders.len() as u64) as usize
    }

    fn hand_over(&mut self, recorder: usize, flush: bool) -> Result<(), Closed> {
        let mut next = self.emptied.try_recv().unwrap_or_else(|_| Parcel::new());
        next.clear();
        let mut parcel = std::mem::replace(&mut self.filling[recorder], next);
        parcel.flush = flush;
        loop {
            match self.recorders[recorder].send_timeout(parcel, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.stop.requested() => parcel = back,
                Err(SendTimeoutError::Timeout(back) | SendTimeoutError::Disconnected(back)) => {
                    // It still holds lines; they are counted as not sent.
                    self.filling[recorder] = back;
                    return Err(Closed);
                }
            }
        }
    }
}
