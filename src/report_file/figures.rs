//! What report files show. Each format only renders it.

use std::time::Duration;

use chrono::NaiveDate;

use crate::filter::BotFigures;
use crate::radio::{ListeningFigures, ReportZone};

/// A whole report.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// `--report-title`
    pub title: Option<String>,
    /// When it was made, in seconds since 1970, UTC.
    pub created: i64,
    /// The time zone of all dates and times.
    pub zone: ReportZone,
    pub run: RunFigures,
    /// `None` if the logs have no listeners.
    pub listening: Option<ListeningFigures>,
    /// `None` if all hits were listeners.
    pub web: Option<WebFigures>,
    /// `None` if bots were not counted.
    pub bots: Option<BotFigures>,
}

/// The counters of the run.
#[derive(Clone, Debug, Default)]
pub struct RunFigures {
    pub elapsed: Duration,
    /// Nothing was sent, with `--dry-run`.
    pub dry_run: bool,
    /// The report was made from a kept sandbox database, without a log: all counters are 0.
    pub from_sandbox: bool,
    /// Lines of all logs.
    pub read: u64,
    /// Header lines.
    pub headers: u64,
    /// Lines passed over with `--skip`.
    pub skipped: u64,
    /// Lines left to other workers with `--shard`.
    pub other_shards: u64,
    pub imported: u64,
    /// Lines that were dropped, by reason: a stable name (`relay`), a text for people, and how
    /// many. Those of 0 are missing.
    pub ignored: Vec<(&'static str, String, u64)>,
    pub refused: u64,
    pub lost: u64,
    pub unconfirmed: u64,
    pub unsent: u64,
    pub resent: u64,
    pub downloads: u64,
    /// Lines without an address.
    pub no_address: u64,
    /// Distinct sites that hits were imported to.
    pub sites: u64,
    /// HTTP requests to the tracker.
    pub requests: u64,
    pub logs: Vec<LogFigures>,
}

impl RunFigures {
    /// Lines that were dropped for any reason.
    pub fn ignored_lines(&self) -> u64 {
        let lines = self.ignored.iter().map(|(_, _, lines)| *lines);
        lines.fold(0, u64::saturating_add)
    }
}

/// The counters of one log.
#[derive(Clone, Debug, Default)]
pub struct LogFigures {
    /// As given by the user, not cleaned.
    pub name: String,
    pub read: u64,
    pub imported: u64,
    pub ignored: u64,
}

/// The hits that are not listeners. Lists are sorted, the most frequent first, and cut.
#[derive(Clone, Debug, Default)]
pub struct WebFigures {
    /// Hits by day in the time zone of the report, in order.
    pub days: Vec<(NaiveDate, u64)>,
    /// Path, without the query, and page views.
    pub pages: Vec<(String, u64)>,
    /// Status code and hits.
    pub status: Vec<(String, u64)>,
    /// Host and hits.
    pub referrers: Vec<(String, u64)>,
    /// Hits of all pages, whether listed or not.
    pub hits: u64,
}
