//! The listening part of the summary (guide/listening.md, "Listening summary").

use std::fmt::Write;

use chrono::DateTime;

use super::peak::Peak;
use super::stats::DAY;
use crate::report::clean::clean_to;
use crate::report::summary::heading;
use crate::report::{Align, Table};

/// Maximum characters of a mount point's name in the tables.
const MAX_NAME_CHARS: usize = 40;

/// Maximum number of mount points with a column of their own in the table of days.
const MAX_DAY_COLUMNS: usize = 6;

/// All figures of the listening summary.
#[derive(Clone, Debug, PartialEq)]
pub struct ListeningReport {
    pub all: MountReport,
    /// By name, as in the log. The mount point with the most seconds is the first.
    pub mounts: Vec<(Vec<u8>, MountReport)>,
    /// The mount points without figures of their own, if there are too many.
    pub others: Option<MountReport>,
    /// The last 366 days with listeners, in order.
    pub days: Vec<DayReport>,
    /// Whether medians and numbers of listeners are estimates.
    pub estimated: bool,
    /// Sessions of unknown length. No other figure includes them.
    pub no_duration: u64,
    /// No other figure includes them.
    pub relays: RelayReport,
}

/// The lines of relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayReport {
    /// Lines of connections to a stream.
    pub lines: u64,
    pub seconds: u64,
}

/// The figures of one mount point, or of several together (guide/listening.md, "Measures").
#[derive(Clone, Debug, PartialEq)]
pub struct MountReport {
    pub sessions: u64,
    pub seconds: u64,
    /// Seconds.
    pub median: f64,
    pub peak: Peak,
    /// Distinct listeners.
    pub listeners: u64,
}

/// Seconds listened on a day, UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayReport {
    /// Days since 1970.
    pub day: i64,
    /// Of all mount points.
    pub seconds: u64,
    /// Of each mount point, in the order of [`ListeningReport::mounts`].
    pub mounts: Vec<u64>,
}

impl MountReport {
    /// Seconds; 0 if there are no sessions.
    pub fn average(&self) -> f64 {
        if self.sessions == 0 {
            0.0
        } else {
            self.seconds as f64 / self.sessions as f64
        }
    }

    fn row(&self, name: String, estimated: bool) -> Vec<String> {
        let about = |estimated| if estimated { "~" } else { "" };
        let peak = self.peak;
        vec![
            name,
            self.sessions.to_string(),
            self.seconds.to_string(),
            hours(self.seconds),
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
    /// The whole part, to append to the summary. Empty if the log has no listeners.
    pub fn text(&self) -> String {
        if self.all.sessions == 0 && self.no_duration == 0 && self.relays.lines == 0 {
            return String::new();
        }
        let mut text = heading("Listening summary");
        self.write_mounts(&mut text);
        if self.no_duration > 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "\n    {} connections without usable duration \
                 (a page view alone, in no figure above)",
                self.no_duration
            );
        }
        if self.relays.lines > 0 {
            let _ = writeln!(
                text,
                "\n    {} log lines of relays with {} hours are left out of these figures \
                 (--enable-relays counts those that --relay does not name)",
                self.relays.lines,
                hours(self.relays.seconds)
            );
        }
        self.write_days(&mut text);
        text
    }

    fn write_mounts(&self, text: &mut String) {
        if self.all.sessions == 0 {
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
        let mut table = table(titles.map(String::from));
        for (name, report) in &self.mounts {
            table.row(report.row(shown(name), self.estimated));
        }
        if let Some(others) = &self.others {
            table.row(others.row("(other mount points)".into(), self.estimated));
        }
        table.row(self.all.row("(all)".into(), self.estimated));
        text.push_str(&table.to_string());
        let mounts = self.mounts.iter().map(|(_, report)| report);
        let mut reports = mounts.chain(&self.others).chain([&self.all]);
        if self.estimated || reports.any(|report| !report.peak.exact) {
            text.push_str("    ~ estimated\n");
        }
    }

    fn write_days(&self, text: &mut String) {
        if self.days.is_empty() {
            return;
        }
        text.push_str("\n    Listening hours per day (UTC):\n\n");
        // A single mount point would repeat the column of all.
        let is_single = self.mounts.len() <= 1 && self.others.is_none();
        let columns = match is_single {
            true => 0,
            false => self.mounts.len().min(MAX_DAY_COLUMNS),
        };
        let has_rest = !is_single && (self.mounts.len() > columns || self.others.is_some());
        let names = self.mounts[..columns].iter().map(|(name, _)| shown(name));
        let rest = has_rest.then(|| "(others)".into());
        let titles = ["day".into(), "(all)".into()].into_iter();
        let mut table = table(titles.chain(names).chain(rest));
        let mut add_row = |name: String, day: &DayReport| {
            let listed = &day.mounts[..columns];
            let rest = has_rest.then(|| day.seconds.saturating_sub(listed.iter().sum()));
            let seconds = [day.seconds].into_iter().chain(listed.iter().copied());
            table.row([name].into_iter().chain(seconds.chain(rest).map(hours)));
        };
        let earlier = self.before_days();
        if earlier.seconds > 0 {
            add_row("earlier".into(), &earlier);
        }
        for day in &self.days {
            add_row(date(day.day.saturating_mul(DAY), "%Y-%m-%d"), day);
        }
        text.push_str(&table.to_string());
    }

    /// The seconds before the listed days.
    fn before_days(&self) -> DayReport {
        let mut before = DayReport {
            day: i64::MIN,
            seconds: self.all.seconds,
            mounts: self.mounts.iter().map(|(_, mount)| mount.seconds).collect(),
        };
        for day in &self.days {
            before.seconds = before.seconds.saturating_sub(day.seconds);
            for (seconds, listed) in before.mounts.iter_mut().zip(&day.mounts) {
                *seconds = seconds.saturating_sub(*listed);
            }
        }
        before
    }
}

/// A table whose first column is aligned left and the others right.
fn table(titles: impl IntoIterator<Item = String>) -> Table {
    let aligns = std::iter::once(Align::Left).chain(std::iter::repeat(Align::Right));
    Table::new(aligns.zip(titles))
}

fn shown(name: &[u8]) -> String {
    clean_to(name, MAX_NAME_CHARS).into_owned()
}

fn hours(seconds: u64) -> String {
    format!("{:.2}", seconds as f64 / 3600.0)
}

/// One decimal, or none for a whole number.
fn decimal(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// `time` is in seconds since 1970, UTC.
fn date(time: i64, format: &str) -> String {
    DateTime::from_timestamp(time, 0).map_or("-".into(), |date| date.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radio::ListeningStats;
    use crate::radio::session::Session;

    /// 2024-05-14 00:00:00, UTC.
    const START: i64 = 1_715_644_800;

    /// Mount point, start counted from [`START`], seconds and listener of each session.
    fn collect(all: &[(&str, i64, u64, u64)]) -> ListeningStats {
        let mut stats = ListeningStats::default();
        for (mount, start, seconds, listener) in all {
            let session = Session::new(START + start, *seconds).unwrap();
            stats.add(mount.as_bytes(), session, *listener);
        }
        stats
    }

    #[test]
    fn mount_points_and_days_are_listed() {
        let mut stats = collect(&[
            ("/live.mp3", 0, 1807, 1),
            ("/jazz", 0, 256, 2),
            ("/live.mp3", 80_000, 12_000, 2),
            ("/jazz", 100, 17, 2),
            ("/live.mp3", 82_000, 5400, 1),
        ]);
        stats.count_no_duration();
        stats.count_no_duration();
        assert_eq!(
            stats.report().text(),
            "
Listening summary
-----------------

    mount point  connections  seconds  hours  average s  median s  most at once       first at (UTC)  unique listeners
    /live.mp3              3    19207   5.34     6402.3      5400             2  2024-05-14 22:46:40                 2
    /jazz                  2      273   0.08      136.5     136.5             2  2024-05-14 00:01:40                 1
    (all)                  5    19480   5.41       3896      1807             3  2024-05-14 00:01:40                 2

    2 connections without usable duration (a page view alone, in no figure above)

    Listening hours per day (UTC):

    day         (all)  /live.mp3  /jazz
    2024-05-14   3.58       3.50   0.08
    2024-05-15   1.83       1.83   0.00
"
        );
    }

    #[test]
    fn a_single_mount_point_has_no_column() {
        let text = collect(&[("/live", 0, 3600, 1)]).report().text();
        assert!(
            text.ends_with("    day         (all)\n    2024-05-14   1.00\n"),
            "{text}"
        );
        assert!(!text.contains("without usable duration") && !text.contains('~'));
    }

    #[test]
    fn a_log_without_listeners_has_no_listening_summary() {
        assert_eq!(ListeningStats::default().report().text(), "");
    }

    #[test]
    fn sessions_of_unknown_length_are_counted() {
        let mut stats = ListeningStats::default();
        stats.count_no_duration();
        let text = stats.report().text();
        assert!(text.contains("    0 connections\n"), "{text}");
        assert!(
            text.contains("    1 connections without usable duration"),
            "{text}"
        );
    }

    #[test]
    fn relays_are_counted_with_their_hours_and_nowhere_else() {
        let mut stats = collect(&[("/live", 0, 3600, 1)]);
        let mut expected = stats.report();
        stats.count_relay(9000);
        stats.count_relay(0);
        expected.relays = RelayReport {
            lines: 2,
            seconds: 9000,
        };
        assert_eq!(stats.report(), expected);
        let line = "\n    2 log lines of relays with 2.50 hours are left out of these figures \
                    (--enable-relays counts those that --relay does not name)\n";
        assert!(stats.report().text().contains(line));
        let mut only_relays = ListeningStats::default();
        only_relays.count_relay(3600);
        let text = only_relays.report().text();
        assert!(
            text.contains("    0 connections\n\n    1 log lines of relays"),
            "{text}"
        );
    }

    #[test]
    fn a_peak_of_zero_has_no_date() {
        let text = collect(&[("/live", 0, 0, 1)]).report().text();
        let row = text.lines().find(|line| line.contains("/live")).unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["/live", "1", "0", "0.00", "0", "0", "0", "-", "1"]
        );
    }

    #[test]
    fn estimates_are_marked() {
        let mut report = collect(&[("/live", 0, 60, 1)]).report();
        report.estimated = true;
        report.all.peak.exact = false;
        let text = report.text();
        let row = text.lines().find(|line| line.contains("(all)")).unwrap();
        assert!(
            row.contains(" ~60 ") && row.contains(" ~1 ") && row.ends_with(" ~1"),
            "{row}"
        );
        assert!(text.contains("    ~ estimated\n"));
    }

    #[test]
    fn names_of_mount_points_are_cleaned_and_cut() {
        let long = format!("/{}", "x".repeat(100));
        let text = collect(&[("/\x1b[2J\n", 0, 60, 1), (&long, 0, 60, 1)])
            .report()
            .text();
        assert!(text.contains("/\\x1b[2J\\n"), "{text}");
        assert!(
            !text.contains(&long) && text.contains(&format!("/{}…", "x".repeat(39))),
            "{text}"
        );
    }

    #[test]
    fn days_before_the_last_366_are_one_row() {
        let all: Vec<_> = (0..400).map(|day| ("/live", day * DAY, 3600, 1)).collect();
        let text = collect(&all).report().text();
        assert!(
            text.contains("    earlier     34.00\n    2024-06-17   1.00\n"),
            "{text}"
        );
        assert_eq!(
            text.lines().filter(|line| line.ends_with(" 1.00")).count(),
            366
        );
    }
}
