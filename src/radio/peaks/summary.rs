//! What is kept of a time that is closed: how the number of listeners changed over it, and the most within it.

use std::collections::BTreeMap;

/// By mount point, and of [`ALL`](crate::radio::mounts::ALL) together.
pub type Summaries = BTreeMap<u16, Summary>;

/// What happened to the number of listeners in a time, counted from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The change over the whole time.
    net: i64,
    /// The most after a change; at least one of the moments has it.
    pub most: i64,
    /// When, in seconds since 1970, UTC: the first moment with that many while `possible` is not more.
    pub when: i64,
    /// The most that it can have been.
    pub possible: i64,
}

impl Summary {
    pub fn change(time: i64, by: i64) -> Self {
        Self {
            net: by,
            most: by,
            when: time,
            possible: by,
        }
    }

    /// This time and the one after it as one.
    fn then(self, next: Self) -> Self {
        let later = self.net + next.most;
        let (most, when) = if later > self.most {
            (later, next.when)
        } else {
            (self.most, self.when)
        };
        Self {
            net: self.net + next.net,
            most,
            when,
            possible: self.possible.max(self.net + next.possible),
        }
    }

    /// A change at a moment within this time. Everything from then on shifts: up to `when` that moves the most
    /// itself; behind it, or before the first change, one more listener may or may not make a new one.
    pub fn shift(&mut self, time: i64, by: i64) {
        self.net += by;
        if time <= self.when {
            self.most += by;
        }
        if by > 0 {
            self.possible = self.possible.max(0) + by;
        }
    }
}

/// Adds what happened next.
pub fn append(total: &mut Summaries, next: &Summaries) {
    for (mount, next) in next {
        append_one(total, *mount, *next);
    }
}

pub fn append_one(total: &mut Summaries, mount: u16, next: Summary) {
    total
        .entry(mount)
        .and_modify(|summary| *summary = summary.then(next))
        .or_insert(next);
}
