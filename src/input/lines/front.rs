//! What is between the lines of a log and their reader: lines that were read ahead to see their
//! envelope, and the envelope that is removed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{InputError, Line, LineEvent, Lines, MAX_WAIT};
use crate::input::buffered::BufferedLine;
use crate::input::envelope::LogEnvelope;
use crate::input::unwrap::Unwrapper;

/// Bytes of lines that are read ahead.
const MAX_BYTES_AHEAD: usize = 4 << 20;

/// The result of [`Lines::look_ahead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAhead {
    /// Enough lines are read, or the log has no more.
    Done,
    /// No more lines yet.
    Pause,
}

/// What [`Lines::front`] has after it was filled.
enum FrontEvent {
    Line,
    Pause,
    End,
}

/// The state between a log and the reader of its lines.
#[derive(Default)]
pub(super) struct Front {
    ahead: VecDeque<BufferedLine>,
    bytes_ahead: usize,
    unwrapper: Option<Unwrapper>,
    /// The last line from `ahead`, if no envelope is removed.
    served: Option<BufferedLine>,
}

impl Front {
    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.unwrapper.is_none()
    }

    pub(super) fn has_enough(&self, max_lines: usize) -> bool {
        self.ahead.len() >= max_lines || self.bytes_ahead >= MAX_BYTES_AHEAD
    }

    pub(super) fn push(&mut self, line: &Line) {
        let line = BufferedLine::new(line);
        self.bytes_ahead += line.size();
        self.ahead.push_back(line);
    }

    pub(super) fn ahead(&self) -> impl Iterator<Item = Line<'_>> {
        self.ahead.iter().map(BufferedLine::line)
    }

    pub(super) fn envelope(&self) -> Option<LogEnvelope> {
        self.unwrapper.as_ref().map(Unwrapper::envelope)
    }

    pub(super) fn set_unwrapper(&mut self, unwrapper: Unwrapper) {
        self.unwrapper = Some(unwrapper);
    }

    /// Takes the next line that was read ahead. Returns whether [`Front::line`] is complete now, or
    /// `None` without such a line.
    pub(super) fn take_ahead(&mut self) -> Option<bool> {
        let line = self.ahead.pop_front()?;
        let is_complete = match &mut self.unwrapper {
            Some(unwrapper) => unwrapper.feed(&line.line()),
            None => {
                self.served = Some(line);
                true
            }
        };
        Some(is_complete)
    }

    /// Takes a line of the log. Returns whether [`Front::line`] is complete now.
    pub(super) fn feed(&mut self, line: &Line) -> bool {
        match &mut self.unwrapper {
            Some(unwrapper) => unwrapper.feed(line),
            None => {
                self.served = Some(BufferedLine::new(line));
                true
            }
        }
    }

    /// Completes a line whose end is missing. Returns false without such a line.
    pub(super) fn take_unfinished(&mut self) -> bool {
        let unwrapper = self.unwrapper.as_mut();
        unwrapper.is_some_and(Unwrapper::take_unfinished)
    }

    /// The line that is complete.
    pub(super) fn line(&self) -> Option<Line<'_>> {
        match &self.unwrapper {
            Some(unwrapper) => Some(unwrapper.line()),
            None => self.served.as_ref().map(BufferedLine::line),
        }
    }

    /// The position and the number of the first line that is here and was not returned.
    pub(super) fn first(&self) -> Option<(u64, u64)> {
        let unwrapper = self.unwrapper.as_ref();
        let unfinished = unwrapper.and_then(Unwrapper::first_unfinished);
        unfinished.or_else(|| {
            let next = self.ahead.front()?.line();
            Some((next.start, next.number))
        })
    }
}

impl Lines {
    /// Reads up to this many of the first lines, and up to 4 MiB, without returning them; see
    /// [`Lines::ahead`]. Errors are returned with the lines. Call it before the first line is
    /// taken.
    pub fn look_ahead(&mut self, max_lines: usize, wait: Duration) -> LookAhead {
        let mut front = self.front.take().unwrap_or_default();
        let result = loop {
            if front.has_enough(max_lines) {
                break LookAhead::Done;
            }
            match self.next_raw(wait) {
                Ok(LineEvent::Line(line)) => front.push(&line),
                Ok(LineEvent::Pause) => break LookAhead::Pause,
                Ok(LineEvent::End) => break LookAhead::Done,
                Err(error) => {
                    self.put_back(error);
                    break LookAhead::Done;
                }
            }
        };
        self.front = Some(front);
        result
    }

    /// The lines that were read ahead, in their envelope.
    pub fn ahead(&self) -> impl Iterator<Item = Line<'_>> {
        self.front.iter().flat_map(|front| front.ahead())
    }

    /// Removes this envelope from all lines that follow. Lines without it stay.
    pub fn set_envelope(&mut self, envelope: LogEnvelope) {
        let unwrapper = Unwrapper::new(envelope, &self.raw_encoding, self.options.max_line);
        self.front.get_or_insert_default().set_unwrapper(unwrapper);
    }

    /// The envelope that is removed from all lines.
    pub fn envelope(&self) -> Option<LogEnvelope> {
        self.front.as_ref()?.envelope()
    }

    /// The next line from `front`, which gets its lines from the log.
    pub(super) fn next_of_front(&mut self, wait: Duration) -> Result<LineEvent<'_>, InputError> {
        let Some(mut front) = self.front.take_if(|front| !front.is_empty()) else {
            self.front = None;
            return self.next_raw(wait);
        };
        let event = self.fill_front(&mut front, wait);
        let front = self.front.insert(front);
        Ok(match event? {
            FrontEvent::Line => front.line().map_or(LineEvent::Pause, LineEvent::Line),
            FrontEvent::Pause => LineEvent::Pause,
            FrontEvent::End => LineEvent::End,
        })
    }

    fn fill_front(&mut self, front: &mut Front, wait: Duration) -> Result<FrontEvent, InputError> {
        let mut deadline = None;
        // As for a half line at the end, the rest of a line may still come.
        let returns_unfinished = self.options.incomplete_last || self.has_tee;
        loop {
            let is_complete = match front.take_ahead() {
                Some(is_complete) => is_complete,
                None => match self.next_raw(wait)? {
                    LineEvent::Line(line) => front.feed(&line),
                    LineEvent::Pause => return Ok(FrontEvent::Pause),
                    LineEvent::End if returns_unfinished && front.take_unfinished() => true,
                    LineEvent::End => return Ok(FrontEvent::End),
                },
            };
            if is_complete {
                return Ok(FrontEvent::Line);
            }
            // A line may have any number of parts.
            let now = Instant::now();
            if *deadline.get_or_insert(now + wait.min(MAX_WAIT)) <= now {
                return Ok(FrontEvent::Pause);
            }
        }
    }
}
