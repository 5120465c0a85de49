//! Dates in logs: from text to a moment (SPEC section 4).

use super::Record;

/// What a line's date says: the clock on the wall, and how far east of UTC that wall is, where the line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01 00:00:00 on the log's own clock; fractions are cut off.
    pub local: i64,
    /// Seconds east of UTC; `None` where the line names no zone.
    pub offset: Option<i32>,
}

/// How a format writes its dates.
#[derive(Clone, Debug)]
pub enum DateFormat {
    /// `14/May/2024:06:25:24` in `date`, `+0200` in `timezone`.
    Clf,
}

impl DateFormat {
    /// Reads `date` (and `time`, `timezone`) of a record. `None`: it is no date, the line is invalid.
    pub fn read(&self, _record: &Record) -> Option<Moment> {
        None
    }
}
