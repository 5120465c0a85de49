//! The days of a report in steps that fit into one chart.

use chrono::{Datelike, Days, NaiveDate};

use super::markup::{date, day_and_month, long_date, month};
use crate::radio::Month;

/// Maximum number of steps. More bars are too thin to see in print.
const MAX_STEPS: usize = 100;

/// How long the steps of a [`Timeline`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepLength {
    Day,
    /// From Monday.
    Week,
    Month,
    Year,
}

impl StepLength {
    const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// `day` in "hours per day".
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// A number that grows by one with each step.
    fn number(self, day: NaiveDate) -> i32 {
        match self {
            Self::Day => day.num_days_from_ce(),
            // Day 1 was a Monday.
            Self::Week => (day.num_days_from_ce() - 1).div_euclid(7),
            Self::Month => day.year() * 12 + day.month0() as i32,
            Self::Year => day.year(),
        }
    }

    /// The first day of the step that a day is in.
    fn start(self, day: NaiveDate) -> NaiveDate {
        let first = Month::of(day).first_day();
        match self {
            Self::Day => day,
            Self::Week => day.week(chrono::Weekday::Mon).first_day(),
            Self::Month => first,
            Self::Year => first.with_month(1).unwrap_or(first),
        }
    }

    fn next(self, start: NaiveDate) -> NaiveDate {
        let next = match self {
            Self::Day => start.checked_add_days(Days::new(1)),
            Self::Week => start.checked_add_days(Days::new(7)),
            Self::Month => Some(Month::of(start).next()),
            Self::Year => start.with_year(start.year() + 1),
        };
        next.unwrap_or(start)
    }
}

/// Consecutive days, weeks, months or years.
pub struct Timeline {
    pub step: StepLength,
    /// The first day of each step.
    pub starts: Vec<NaiveDate>,
}

impl Timeline {
    /// All days from the first to the last, in the shortest steps that are few enough. If there are
    /// too many years, only the last ones are kept.
    pub fn new(first: NaiveDate, last: NaiveDate) -> Self {
        let count = |step: StepLength| step.number(last).abs_diff(step.number(first)) as usize + 1;
        let fits = |step: &StepLength| count(*step) <= MAX_STEPS;
        let step = StepLength::ALL
            .into_iter()
            .find(fits)
            .unwrap_or(StepLength::Year);
        let skipped = count(step).saturating_sub(MAX_STEPS) as i32;
        let first = match skipped {
            0 => first,
            skipped => first.with_year(first.year() + skipped).unwrap_or(first),
        };
        let starts =
            std::iter::successors(Some(step.start(first)), |start| Some(step.next(*start)));
        Self {
            step,
            starts: starts
                .take(MAX_STEPS)
                .take_while(|start| *start <= last)
                .collect(),
        }
    }

    /// The sums of the values of all days, by step.
    pub fn sums(&self, days: impl IntoIterator<Item = (NaiveDate, u64)>) -> Vec<u64> {
        let mut sums = vec![0; self.starts.len()];
        let first = self.starts.first().map(|start| self.step.number(*start));
        for (day, value) in days {
            let index = first.map(|first| self.step.number(day).saturating_sub(first));
            let index = index.and_then(|index| usize::try_from(index).ok());
            if let Some(sum) = index.and_then(|index| sums.get_mut(index)) {
                *sum += value;
            }
        }
        sums
    }

    /// A short name of a step for an axis.
    pub fn label(&self, start: NaiveDate) -> String {
        match self.step {
            StepLength::Day | StepLength::Week => day_and_month(start),
            StepLength::Month => month(Month::of(start)),
            StepLength::Year => start.year().to_string(),
        }
    }

    /// The name of a step in a table.
    pub fn name(&self, start: NaiveDate) -> String {
        match self.step {
            StepLength::Day => format!("{} {}", start.format("%a"), date(start)),
            StepLength::Week => format!("from {}", date(start)),
            StepLength::Month | StepLength::Year => self.label(start),
        }
    }

    /// The name of a step in a sentence.
    pub fn full_name(&self, start: NaiveDate) -> String {
        match self.step {
            StepLength::Day => long_date(start),
            StepLength::Week => format!("week from {}", long_date(start)),
            StepLength::Month | StepLength::Year => self.label(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn steps_grow_with_the_report() {
        for (first, last, step, count) in [
            ("2026-09-01", "2026-09-01", StepLength::Day, 1),
            ("2026-09-01", "2026-12-09", StepLength::Day, 100),
            ("2026-09-01", "2026-12-10", StepLength::Week, 15),
            ("2026-01-01", "2026-12-31", StepLength::Week, 53),
            ("2024-01-01", "2026-12-31", StepLength::Month, 36),
            ("1995-01-01", "2026-12-31", StepLength::Year, 32),
            ("0001-01-01", "2026-12-31", StepLength::Year, 100),
        ] {
            let timeline = Timeline::new(day(first), day(last));
            assert_eq!(timeline.step, step, "{first} {last}");
            assert_eq!(timeline.starts.len(), count, "{first} {last}");
            let end = step.next(*timeline.starts.last().unwrap());
            assert!(end > day(last), "{first} {last}");
        }
    }

    #[test]
    fn each_day_is_in_the_step_that_begins_before_it() {
        let timeline = Timeline::new(day("2026-01-01"), day("2026-12-31"));
        assert_eq!(timeline.starts[0], day("2025-12-29"));
        let sums = timeline.sums([
            (day("2026-01-01"), 1),
            (day("2026-01-04"), 2),
            (day("2026-01-05"), 4),
            (day("2026-12-31"), 8),
            (day("2027-01-04"), 16),
            (day("2025-12-28"), 32),
        ]);
        assert_eq!((sums[0], sums[1], sums[52]), (3, 4, 8));
        assert_eq!(sums.iter().sum::<u64>(), 15);
    }
}
