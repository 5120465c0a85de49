//! Which bytes of a log are done: disjoint half-open ranges, each with its number of lines.
//!
//! As text a range is the text `GAP+LENGTH*LINES`, where the gap is counted from the end of the
//! range before, and `*1` is left out: `0+5000*37,96+100` is [0, 5000) with 37 lines and
//! [5096, 5196) with one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::state::LogId;

/// So many ranges of line numbers are shown in a message.
const MAX_NUMBERS: usize = 20;

/// The positions of lines in one or more logs.
pub type LogRanges = BTreeMap<LogId, Ranges>;

/// Disjoint half-open ranges of positions in decompressed bytes. Adjacent ranges are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ranges {
    /// In order. Lines mostly come in theirs, and those of a batch are added at once, so a list is
    /// cheaper than a tree.
    list: Vec<LineRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LineRange {
    start: u64,
    end: u64,
    lines: u64,
}

impl Ranges {
    pub const EMPTY: Self = Self { list: Vec::new() };

    /// Adds a range of so many lines. Ignores an empty range, and does not count a contained range
    /// twice. The number of lines is only an estimate if ranges overlap partly, which lines never
    /// do.
    pub fn insert(&mut self, range: Range<u64>, lines: u64) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        let mut new = LineRange { start, end, lines };
        if self.list.last().is_none_or(|last| last.start <= start) {
            return self.push(new);
        }
        // These overlap it, or are adjacent.
        let from = self.list.partition_point(|known| known.end < start);
        let to = self.list.partition_point(|known| known.start <= end);
        for known in &self.list[from..to] {
            if known.contains(&new) {
                return;
            }
            if !new.contains(known) {
                new.lines = new.lines.saturating_add(known.lines);
                new.start = new.start.min(known.start);
                new.end = new.end.max(known.end);
            }
        }
        self.list.splice(from..to, [new]);
    }

    /// Adds a range that does not begin before the last one.
    fn push(&mut self, new: LineRange) {
        match self.list.last_mut() {
            Some(last) if new.start <= last.end => {
                if new.contains(last) {
                    *last = new;
                } else if !last.contains(&new) {
                    last.end = new.end;
                    last.lines = last.lines.saturating_add(new.lines);
                }
            }
            _ => self.list.push(new),
        }
    }

    /// Adds all ranges of `other`.
    pub fn extend(&mut self, other: &Ranges) {
        let Some(first) = other.list.first() else {
            return;
        };
        let from = self.list.partition_point(|known| known.end < first.start);
        let known = self.list.split_off(from);
        let (mut known, mut new) = (known.iter().peekable(), other.list.iter().peekable());
        let mut next = || match (known.peek(), new.peek()) {
            (Some(one), Some(other)) if one.start > other.start => new.next(),
            (None, _) => new.next(),
            _ => known.next(),
        };
        while let Some(range) = next() {
            self.push(*range);
        }
    }

    pub fn contains(&self, position: u64) -> bool {
        let next = self.list.partition_point(|known| known.end <= position);
        self.list
            .get(next)
            .is_some_and(|known| known.start <= position)
    }

    /// Whether all ranges of `other` are contained.
    pub fn contains_all(&self, other: &Ranges) -> bool {
        other.list.iter().all(|range| {
            let next = self.list.partition_point(|known| known.end < range.end);
            self.list
                .get(next)
                .is_some_and(|known| known.contains(range))
        })
    }

    /// The first position that is not contained: the end of the range that begins at 0, else 0.
    pub fn first_gap(&self) -> u64 {
        self.at_begin().map_or(0, |range| range.end)
    }

    /// The number of lines before [`Ranges::first_gap`].
    pub fn lines_before_gap(&self) -> u64 {
        self.at_begin().map_or(0, |range| range.lines)
    }

    fn at_begin(&self) -> Option<&LineRange> {
        self.list.first().filter(|range| range.start == 0)
    }

    /// The number of lines in all ranges.
    pub fn lines(&self) -> u64 {
        let counts = self.list.iter().map(|range| range.lines);
        counts.fold(0, u64::saturating_add)
    }

    /// The end of the last range, or 0 without any range.
    pub fn end(&self) -> u64 {
        self.list.last().map_or(0, |range| range.end)
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Line numbers as people write them: `3-5, 9`. Only if the positions are line numbers.
    pub fn as_numbers(&self) -> String {
        let parts = self.iter().map(|(range, _)| match range.end - range.start {
            1 => range.start.to_string(),
            _ => format!("{}-{}", range.start, range.end - 1),
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Like [`Ranges::as_numbers`], but only the first of many.
    pub fn as_some_numbers(&self) -> String {
        let Some((next, _)) = self.iter().nth(MAX_NUMBERS) else {
            return self.as_numbers();
        };
        let mut first = Self::default();
        let all = self.iter().take(MAX_NUMBERS);
        all.for_each(|(range, lines)| first.insert(range, lines));
        let last = self.end().saturating_sub(1);
        format!(
            "{} and others from {} to {last}",
            first.as_numbers(),
            next.start
        )
    }

    /// Removes all ranges of `other`. Each is a part of a range here, or not here at all. The
    /// numbers of lines are not kept.
    pub fn without(&self, other: &Ranges) -> Self {
        let mut left = Self::default();
        for (range, _) in self.iter() {
            let mut start = range.start;
            for (cut, _) in other.iter().filter(|(cut, _)| range.contains(&cut.start)) {
                left.insert(start..cut.start, 1);
                start = cut.end;
            }
            left.insert(start..range.end, 1);
        }
        left
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The ranges in order, with their number of lines.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        let ranges = self.list.iter();
        ranges.map(|range| (range.start..range.end, range.lines))
    }
}

impl LineRange {
    fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = 0;
        for (index, (range, lines)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{}+{}",
                range.start - last,
                range.end - range.start
            )?;
            if lines != 1 {
                write!(f, "*{lines}")?;
            }
            last = range.end;
        }
        Ok(())
    }
}

impl FromStr for Ranges {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "not a list of ranges";
        let number = |text: &str| text.parse::<u64>().map_err(|_| INVALID);
        let mut ranges = Self::default();
        let mut last = 0_u64;
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (gap, rest) = part.split_once('+').ok_or(INVALID)?;
            let (length, lines) = match rest.split_once('*') {
                Some((length, lines)) => (number(length)?, number(lines)?),
                None => (number(rest)?, 1),
            };
            let start = last.checked_add(number(gap)?).ok_or(INVALID)?;
            let end = start.checked_add(length).ok_or(INVALID)?;
            ranges.insert(start..end, lines);
            last = end;
        }
        Ok(ranges)
    }
}

impl From<Ranges> for String {
    fn from(ranges: Ranges) -> Self {
        ranges.to_string()
    }
}

impl TryFrom<String> for Ranges {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ranges: &[(u64, u64)]) -> Ranges {
        let mut all = Ranges::default();
        for &(start, end) in ranges {
            all.insert(start..end, 1);
        }
        all
    }

    #[test]
    fn line_numbers_are_written_as_people_write_them() {
        assert_eq!(
            of(&[(3, 6), (9, 10), (12, 14)]).as_numbers(),
            "3-5, 9, 12-13"
        );
        let many = of(&(0..25).map(|n| (2 * n + 1, 2 * n + 2)).collect::<Vec<_>>());
        let text = many.as_some_numbers();
        assert!(text.starts_with("1, 3, 5, "), "{text}");
        assert!(text.ends_with(", 39 and others from 41 to 49"), "{text}");
        let cut = of(&[(0, 30), (50, 60)]).without(&of(&[(0, 10), (20, 25), (50, 60)]));
        assert_eq!(cut, of(&[(10, 20), (25, 30)]));
    }

    #[test]
    fn adjacent_lines_are_merged_in_any_order() {
        let ranges = of(&[(200, 300), (0, 100), (100, 200), (400, 500)]);
        assert_eq!(
            ranges.iter().collect::<Vec<_>>(),
            [(0..300, 3), (400..500, 1)]
        );
        assert_eq!((ranges.first_gap(), ranges.lines_before_gap()), (300, 3));
        assert_eq!((ranges.end(), ranges.lines()), (500, 4));
    }

    #[test]
    fn without_the_first_line_the_first_gap_is_zero() {
        let ranges = of(&[(100, 200)]);
        assert_eq!((ranges.first_gap(), ranges.lines_before_gap()), (0, 0));
    }

    #[test]
    fn contained_lines_are_not_counted_twice() {
        let mut ranges = of(&[(0, 100), (100, 200)]);
        ranges.insert(100..200, 1);
        assert_eq!(ranges.lines(), 2);
        ranges.insert(0..300, 3);
        assert_eq!((ranges.first_gap(), ranges.lines()), (300, 3));
        let mut ranges = of(&[(100, 200)]);
        ranges.insert(0..200, 2);
        assert_eq!((ranges.first_gap(), ranges.lines()), (200, 2));
    }

    #[test]
    fn the_text_form_reads_back() {
        let mut ranges = of(&[(5096, 5196)]);
        ranges.insert(0..5000, 37);
        assert_eq!(ranges.to_string(), "0+5000*37,96+100");
        assert_eq!("0+5000*37,96+100".parse(), Ok(ranges));
        assert_eq!("".parse(), Ok(Ranges::default()));
    }

    #[test]
    fn other_texts_are_refused() {
        let beyond = format!("1+{}", u64::MAX);
        for text in ["1", "a+1", "1+b", "1+1*", ",", "1+1,", "-1+1", &beyond] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ranges_behave_like_a_bit_vector(steps in prop::collection::vec((0_u64..96, 0_u64..12), 0..60)) {
            let mut bits = [false; 128];
            let mut ranges = Ranges::default();
            for (start, length) in steps {
                ranges.insert(start..start + length, 1);
                for bit in start..start + length {
                    bits[bit as usize] = true;
                }
                let gap = bits.iter().position(|bit| !bit).unwrap() as u64;
                let end = bits.iter().rposition(|bit| *bit).map_or(0, |last| last as u64 + 1);
                prop_assert_eq!((ranges.first_gap(), ranges.end()), (gap, end));
                for (position, bit) in bits.iter().enumerate() {
                    prop_assert_eq!(ranges.contains(position as u64), *bit);
                }
                let runs = (0..128).filter(|&at| bits[at] && (at == 0 || !bits[at - 1])).count();
                prop_assert_eq!(ranges.iter().count(), runs);
                prop_assert_eq!(ranges.to_string().parse(), Ok(ranges.clone()));
            }
        }

        #[test]
        fn ranges_are_added_together_as_one_by_one(
            known in prop::collection::vec((0_u64..96, 0_u64..12), 0..30),
            new in prop::collection::vec((0_u64..96, 0_u64..12), 0..30),
        ) {
            let of = |ranges: &[(u64, u64)]| {
                let mut all = Ranges::default();
                for (start, length) in ranges {
                    all.insert(*start..start + length, 1);
                }
                all
            };
            let (mut together, new) = (of(&known), of(&new));
            let mut one_by_one = together.clone();
            together.extend(&new);
            new.iter().for_each(|(range, lines)| one_by_one.insert(range, lines));
            let ranges = |all: &Ranges| all.iter().map(|(range, _)| range).collect::<Vec<_>>();
            prop_assert_eq!(ranges(&together), ranges(&one_by_one));
            prop_assert!(together.contains_all(&new) && together.contains_all(&of(&known)));
        }

        #[test]
        fn lines_are_counted_in_any_order(
            order in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(),
            taken in 0_usize..40,
        ) {
            let mut ranges = Ranges::default();
            for line in &order[..taken] {
                ranges.insert(line * 10..line * 10 + 10, 1);
            }
            prop_assert_eq!(ranges.lines(), taken as u64);
            prop_assert_eq!(ranges.lines_before_gap(), ranges.first_gap() / 10);
            let mut rest = Ranges::default();
            for line in &order[taken..] {
                rest.insert(line * 10..line * 10 + 10, 1);
            }
            rest.extend(&ranges);
            prop_assert_eq!((rest.len(), rest.lines()), (1, 40));
        }

        #[test]
        fn parsing_any_text_never_panics(text in "[0-9+*,]{0,40}") {
            let _ = text.parse::<Ranges>();
        }
    }
}
