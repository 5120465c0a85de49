//! Ranges: which bytes of a log are done, as few disjoint half-open ranges that also know how many lines they hold.
//!
//! As text (in the ledger's files) a range is `gap+length*lines`, the gap counted from the end of the range before;
//! `*1` is left out: `0+5000*37,96+100` is [0, 5000) with 37 lines and [5096, 5196) with one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::id::LogId;

/// Lines: of which logs, and where in each.
pub type Lines = BTreeMap<LogId, Ranges>;

/// Disjoint half-open ranges of positions, in bytes; ranges that touch are one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ranges {
    by_start: BTreeMap<u64, Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    end: u64,
    lines: u64,
}

impl Ranges {
    /// Adds a range that holds so many lines. An empty range is none. What was there already is not counted twice;
    /// only ranges that overlap in part (lines never do) leave the number of lines an estimate.
    pub fn insert(&mut self, range: Range<u64>, lines: u64) {
        let Range { mut start, end } = range;
        if start >= end {
            return;
        }
        let mut span = Span { end, lines };
        if let Some((&before, &known)) = self.by_start.range(..=start).next_back()
            && known.end >= start
        {
            if known.end >= end {
                return;
            }
            if before < start {
                span.lines = span.lines.saturating_add(known.lines);
                start = before;
            }
        }
        while let Some((&next, &known)) = self.by_start.range((start + 1)..=end).next() {
            self.by_start.remove(&next);
            if known.end > end {
                span.end = known.end;
                span.lines = span.lines.saturating_add(known.lines);
            }
        }
        self.by_start.insert(start, span);
    }

    /// Adds all of the other's ranges.
    pub fn extend(&mut self, other: &Ranges) {
        for (range, lines) in other.iter() {
            self.insert(range, lines);
        }
    }

    pub fn contains(&self, position: u64) -> bool {
        let before = self.by_start.range(..=position).next_back();
        before.is_some_and(|(_, span)| position < span.end)
    }

    /// Whether all of the other's ranges are in these.
    pub fn holds(&self, other: &Ranges) -> bool {
        other.iter().all(|(range, _)| {
            let before = self.by_start.range(..=range.start).next_back();
            before.is_some_and(|(_, span)| range.end <= span.end)
        })
    }

    /// The position before which all is there: the end of the range that begins at 0, else 0.
    pub fn first_gap(&self) -> u64 {
        self.by_start.get(&0).map_or(0, |span| span.end)
    }

    /// How many lines stand before [`Ranges::first_gap`].
    pub fn lines_before_gap(&self) -> u64 {
        self.by_start.get(&0).map_or(0, |span| span.lines)
    }

    /// How many lines all ranges hold.
    pub fn lines(&self) -> u64 {
        let counts = self.by_start.values().map(|span| span.lines);
        counts.fold(0, u64::saturating_add)
    }

    /// The end of the last range, 0 where there is none.
    pub fn end(&self) -> u64 {
        self.by_start
            .last_key_value()
            .map_or(0, |(_, span)| span.end)
    }

    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// The ranges in order, each with its number of lines.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, u64)> {
        self.by_start
            .iter()
            .map(|(&start, span)| (start..span.end, span.lines))
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
        const NONE: &str = "no ranges";
        let number = |text: &str| text.parse::<u64>().map_err(|_| NONE);
        let mut ranges = Self::default();
        let mut last = 0_u64;
        for part in text.split(',').filter(|_| !text.is_empty()) {
            let (gap, rest) = part.split_once('+').ok_or(NONE)?;
            let (length, lines) = match rest.split_once('*') {
                Some((length, lines)) => (number(length)?, number(lines)?),
                None => (number(rest)?, 1),
            };
            let start = last.checked_add(number(gap)?).ok_or(NONE)?;
            let end = start.checked_add(length).ok_or(NONE)?;
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
    fn lines_that_touch_become_one_range_in_any_order() {
        let ranges = of(&[(200, 300), (0, 100), (100, 200), (400, 500)]);
        assert_eq!(
            ranges.iter().collect::<Vec<_>>(),
            [(0..300, 3), (400..500, 1)]
        );
        assert_eq!((ranges.first_gap(), ranges.lines_before_gap()), (300, 3));
        assert_eq!((ranges.end(), ranges.lines()), (500, 4));
    }

    #[test]
    fn nothing_before_the_first_line_means_position_zero() {
        let ranges = of(&[(100, 200)]);
        assert_eq!((ranges.first_gap(), ranges.lines_before_gap()), (0, 0));
    }

    #[test]
    fn what_is_there_already_is_not_counted_twice() {
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
    fn the_text_is_short_and_reads_back() {
        let mut ranges = of(&[(5096, 5196)]);
        ranges.insert(0..5000, 37);
        assert_eq!(ranges.to_string(), "0+5000*37,96+100");
        assert_eq!("0+5000*37,96+100".parse(), Ok(ranges));
        assert_eq!("".parse(), Ok(Ranges::default()));
    }

    #[test]
    fn a_text_that_is_none_is_refused() {
        let beyond = format!("1+{}", u64::MAX);
        for text in ["1", "a+1", "1+b", "1+1*", ",", "1+1,", "-1+1", &beyond] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_row_of_bits(steps in prop::collection::vec((0_u64..96, 0_u64..12), 0..60)) {
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
        fn lines_are_counted_right_in_any_order(order in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(), taken in 0_usize..40) {
            let mut ranges = Ranges::default();
            for line in &order[..taken] {
                ranges.insert(line * 10..line * 10 + 10, 1);
            }
            prop_assert_eq!(ranges.lines(), taken as u64);
            prop_assert_eq!(ranges.lines_before_gap(), ranges.first_gap() / 10);
        }

        #[test]
        fn reading_any_text_never_panics(text in "[0-9+*,]{0,40}") {
            let _ = text.parse::<Ranges>();
        }
    }
}
