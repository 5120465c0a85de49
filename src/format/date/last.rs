//! What dates have in common with the one before: nearly always the day and the time zone.

use std::cell::Cell;

/// The last day and the last time zone that were read, as written and what they mean. One for each
/// way to write them.
#[derive(Clone, Debug)]
pub struct LastDate {
    /// `14/May/2024:`, in seconds since 1970-01-01.
    pub(super) clf_day: Last<12, i64>,
    /// `+0200`, in seconds east of UTC. `None` if the text is blank.
    pub(super) clf_zone: Last<5, Option<i32>>,
    /// `2024-05-14`
    pub(super) iso_day: Last<10, i64>,
    /// `+02:00`
    pub(super) iso_zone: Last<6, Option<i32>>,
}

impl Default for LastDate {
    fn default() -> Self {
        Self {
            clf_day: Last::new(b"01/Jan/1970:", 0),
            clf_zone: Last::new(b"+0000", Some(0)),
            iso_day: Last::new(b"1970-01-01", 0),
            iso_zone: Last::new(b"+00:00", Some(0)),
        }
    }
}

/// A text and what it means.
#[derive(Clone, Debug)]
pub(super) struct Last<const LENGTH: usize, M: Copy>(Cell<([u8; LENGTH], M)>);

impl<const LENGTH: usize, M: Copy> Last<LENGTH, M> {
    fn new(text: &[u8; LENGTH], meaning: M) -> Self {
        Self(Cell::new((*text, meaning)))
    }

    /// What a text means. Reads it unless it is the same as the last one.
    #[inline]
    pub(super) fn meaning(
        &self,
        text: &[u8; LENGTH],
        read: impl FnOnce(&[u8; LENGTH]) -> Option<M>,
    ) -> Option<M> {
        let (last, meaning) = self.0.get();
        if last == *text {
            return Some(meaning);
        }
        let meaning = read(text)?;
        self.0.set((*text, meaning));
        Some(meaning)
    }
}
