//! The part "Listening" of the summary: its figures, and their text.

use std::fmt::Write;

use chrono::DateTime;

use super::days::DAY;
use crate::report::clean::clean_to;
use crate::report::summary::heading;
use crate::report::{Align, Table};

/// Characters of a mount point's name in the tables.
const LONGEST_NAME: usize = 40;

/// Mount points with a column of their own among the hours per day.
const MOST_COLUMNS: usize = 6;

/// Everything that the summary says of listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct ListeningReport {
    pub all: MountReport,
    /// By name, as it stood in the log; the one with most time first.
    pub mounts: Vec<(Vec<u8>, MountReport)>,
    /// Where there are more mount points than are told apart: the others together.
    pub others: Option<MountReport>,
    /// The last 366 days with listeners, the first of them first.
    pub days: Vec<DayReport>,
    /// Medians and numbers of listeners are estimates.
    pub estimated: bool,
    /// Listeners whose time is not known; they are in no other figure.
    pub no_duration: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MountReport {
    pub connections: u64,
    pub seconds: u64,
    /// Seconds.
    pub median: f64,
    pub peak: Peak,
    /// Distinct ones.
    pub listeners: u64,
}

/// The most listeners at once. Who leaves in the second in which another comes is not there with him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    pub listeners: u64,
    /// The first moment with that many, in seconds since 1970, UTC; `None` where there never was one.
    pub at: Option<i64>,
    /// Otherwise there may have been more.
    pub exact: bool,
}

/// A day, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayReport {
    /// Counted from 1970.
    pub day: i64,
    /// Of all mount points.
    pub seconds: u64,
    /// Of each mount point, in the order of [`ListeningReport::mounts`].
    pub mounts: Vec<u64>,
}

impl DayReport {
    /// `2024-05-14`
    pub fn name(&self) -> String {
        date(self.day.saturating_mul(DAY), "%Y-%m-%d")
    }
}

impl Default for Peak {
    fn default() -> Self {
        Self {
            listeners: 0,
            at: None,
            exact: true,
        }
    }
}

impl MountReport {
    /// Aggregate tuning hours.
    pub fn hours(&self) -> f64 {
        hours(self.seconds)
    }

    /// Seconds; 0 where there are no connections.
    pub fn average(&self) -> f64 {
        if self.connections == 0 {
            0.0
        } else {
            self.seconds as f64 / self.connections as f64
        }
    }

    fn row(&self, name: String, estimated: bool) -> Vec<String> {
        let about = |estimated| if estimated { "~" } else { "" };
        let peak = self.peak;
        vec![
            name,
            self.connections.to_string(),
            self.seconds.to_string(),
            format!("{:.2}", self.hours()),
            decimal(self.average()),
            format!("{}{}", about(estimated), decimal(self.median)),
            format!("{}{}", about(!peak.exact), peak.listeners),
            peak.at
                .map_or("-".into(), |at| date(at, "%Y-%m-%d %H:%M:%S")),
            format!("{}{}", about(estimated), self.listeners),
        ]
    }
}

impl ListeningReport {
    /// The whole part, to be appended to the summary; empty where the log has no listeners.
    pub fn text(&self) -> String {
        if self.all.connections == 0 && self.no_duration == 0 {
            return String::new();
        }
        let mut text = heading("Listening summary");
        self.totals(&mut text);
        if self.no_duration > 0 {
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "\n    {} connections without usable duration (a page view alone, in no figure above)",
                self.no_duration
            );
        }
        self.by_day(&mut text);
        text
    }

    fn totals(&self, text: &mut String) {
        if self.all.connections == 0 {
            text.push_str("    0 connections\n");
            return;
        }
        let titles = [
            "mount point",
            "connections",
            "seconds",
            "hours",
            "average s",
            "median s",
            "most at once",
            "first at (UTC)",
            "unique listeners",
        ];
        let mut table = Table::new(aligned(titles));
        for (name, figures) in &self.mounts {
            table.row(figures.row(shown(name), self.estimated));
        }
        if let Some(others) = &self.others {
            table.row(others.row("(other mount points)".into(), self.estimated));
        }
        table.row(self.all.row("(all)".into(), self.estimated));
        text.push_str(&table.to_string());
        let mounts = self.mounts.iter().map(|(_, figures)| figures);
        let mut rows = mounts.chain(&self.others).chain([&self.all]);
        if self.estimated || rows.any(|figures| !figures.peak.exact) {
            text.push_str("    ~ estimated\n");
        }
    }

    fn by_day(&self, text: &mut String) {
        if self.days.is_empty() {
            return;
        }
        text.push_str("\n    Listening hours per day (UTC):\n\n");
        let Days { mounts, rows } = self.days();
        let mut titles = vec!["day".to_owned(), "(all)".to_owned()];
        titles.extend(mounts.iter().map(|name| shown(name)));
        let mut table = Table::new(aligned(titles));
        for (day, seconds) in rows {
            let hours = seconds
                .into_iter()
                .map(|seconds| format!("{:.2}", hours(seconds)));
            table.row(std::iter::once(day).chain(hours));
        }
        text.push_str(&table.to_string());
    }

    /// The seconds of each day. A row for what lies before the days that are kept stands first; a column for the
    /// mount points that have none of their own, last.
    pub fn days(&self) -> Days<'_> {
        let several = self.mounts.len() > 1 || self.others.is_some();
        let columns = match several {
            true => self.mounts.len().min(MOST_COLUMNS),
            false => 0,
        };
        let rest = several && (self.mounts.len() > columns || self.others.is_some());
        let listed = |of: &dyn Fn(&DayReport) -> u64| self.days.iter().map(of).sum::<u64>();
        let earlier = DayReport {
            day: i64::MIN,
            seconds: self.all.seconds.saturating_sub(listed(&|day| day.seconds)),
            mounts: (self.mounts.iter().enumerate())
                .map(|(place, (_, figures))| {
                    let listed = listed(&|day| day.mounts[place]);
                    figures.seconds.saturating_sub(listed)
                })
                .collect(),
        };
        let row = |name: String, day: &DayReport| {
            let mut seconds = vec![day.seconds];
            seconds.extend(&day.mounts[..columns]);
            if rest {
                let told: u64 = seconds[1..].iter().sum();
                seconds.push(day.seconds.saturating_sub(told));
            }
            (name, seconds)
        };
        let first = (earlier.seconds > 0).then(|| row("earlier".to_owned(), &earlier));
        let days = self.days.iter().map(|day| row(day.name(), day));
        let names = self.mounts[..columns].iter().map(|(name, _)| &name[..]);
        Days {
            mounts: names.chain(rest.then_some(&b"(others)"[..])).collect(),
            rows: first.into_iter().chain(days).collect(),
        }
    }
}

/// A table of the seconds of each day.
pub struct Days<'f> {
    /// The mount points that have a column, behind that of all.
    pub mounts: Vec<&'f [u8]>,
    /// A day's name, and its seconds in each column.
    pub rows: Vec<(String, Vec<u64>)>,
}

/// The columns of a table: the first aligned left, the others right.
fn aligned<S>(titles: impl IntoIterator<Item = S>) -> impl Iterator<Item = (Align, S)> {
    let aligns = std::iter::once(Align::Left).chain(std::iter::repeat(Align::Right));
    aligns.zip(titles)
}

fn shown(name: &[u8]) -> String {
    clean_to(name, LONGEST_NAME).into_owned()
}

fn hours(seconds: u64) -> f64 {
    seconds as f64 / 3600.0
}

/// A whole number where it is one, else one decimal.
fn decimal(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A time of [`Peak::at`] in words.
pub fn date(time: i64, format: &str) -> String {
    DateTime::from_timestamp(time, 0).map_or("-".into(), |date| date.format(format).to_string())
}

#[cfg(test)]
mod tests;
