//! Report files: `--report=FILE`, in the format of its extension (guide/listening.md, "Report
//! files").
//!
//! [`ReportFile`] writes a file, and checks before the import that it can. [`RunReport`] is what
//! the files show; [`csv`], [`json`] and [`mod@html`] only render it. [`WebCounter`] counts the
//! hits that are not listeners.

mod csv;
mod figures;
mod html;
mod json;
mod kept;
mod listener_log;
mod measures;
#[cfg(test)]
mod sample;
mod web;
mod write;

use std::io;
use std::time::{Duration, SystemTime};

use chrono_tz::Tz;

use crate::error::Result;
use crate::failpoint;
use crate::filter::BotFigures;
use crate::input::discover::Source;
use crate::radio::{ListeningFigures, ReportZone};
use crate::report::{Account, Console, Count, Reason};

pub use figures::{LogFigures, RunFigures, RunReport, WebFigures};
pub use listener_log::ListenerLogs;
pub use web::WebCounter;
pub use write::{ReportFile, ReportFormat};

/// The report files of a run.
#[derive(Clone, Debug, Default)]
pub struct ReportFiles {
    pub files: Vec<ReportFile>,
    /// `--report-title`
    pub title: Option<String>,
    /// `--report-timezone`
    pub zone: Option<Tz>,
    /// `--log-timezone`: the time zone of dates without an offset.
    pub log_zone: Option<Tz>,
}

/// What a report is made from.
pub struct ReportInput<'a> {
    pub account: &'a Account,
    /// Distinct sites that hits were imported to.
    pub sites: usize,
    /// HTTP requests to the tracker.
    pub requests: u64,
    pub elapsed: Duration,
    pub dry_run: bool,
    /// The sessions come from the file of a sandbox.
    pub from_sandbox: bool,
    /// `None` if the logs have no listeners.
    pub listening: Option<ListeningFigures>,
    pub web: Option<WebCounter>,
    /// `None` if bots are not counted.
    pub bots: Option<BotFigures>,
}

impl ReportFiles {
    /// Whether a file shows the hits that are not listeners.
    pub fn show_web(&self) -> bool {
        let shows_web = |file: &ReportFile| file.format() != ReportFormat::ListenerLog;
        self.files.iter().any(shows_web)
    }

    /// Checks that all files can be written at the end of the import.
    ///
    /// # Errors
    ///
    /// Returns a usage error about the first file that cannot.
    pub fn check(&self, logs: &[Source]) -> Result<()> {
        self.files.iter().try_for_each(|file| file.check(logs))
    }

    /// Writes all files. One that cannot be written makes the run incomplete, but keeps no other
    /// from being written.
    pub fn write(self, input: ReportInput, listener_logs: ListenerLogs, console: &Console) {
        if self.files.is_empty() {
            return;
        }
        let remedy = match input.dry_run || input.from_sandbox {
            true => "",
            false => {
                "; the import itself is not affected. To make the report again without importing, \
                 add --dry-run"
            }
        };
        let report = RunReport::new(&self, input);
        let files = self.files.iter().filter_map(|file| {
            let render: fn(&RunReport, &mut dyn io::Write) -> io::Result<()> = match file.format() {
                ReportFormat::Csv => csv::write,
                ReportFormat::Json => json::write,
                ReportFormat::Html => html::write,
                ReportFormat::ListenerLog => return None,
            };
            file.write(|out| render(&report, out)).err()
        });
        for error in files.chain(listener_logs.write()) {
            console.warn_incomplete(format!("{error}{remedy}"));
        }
    }

    /// Starts the listener logs, to which sessions are added during the import. `None` without one.
    ///
    /// # Errors
    ///
    /// A directory cannot be written to.
    pub fn listener_logs(&self) -> Result<Option<ListenerLogs>> {
        let logs = self.files.iter();
        let mut logs = logs
            .filter(|file| file.format() == ReportFormat::ListenerLog)
            .peekable();
        match logs.peek() {
            Some(_) => ListenerLogs::create(logs.map(ReportFile::path)).map(Some),
            None => Ok(None),
        }
    }
}

impl RunReport {
    /// Makes the report of a run that has ended.
    fn new(options: &ReportFiles, input: ReportInput) -> Self {
        let of_listening = input.listening.as_ref().map(|figures| figures.zone);
        let of_web = || Some(input.web.as_ref()?.clock.zone(options.log_zone));
        let zone = of_listening
            .or(options.zone.map(ReportZone::Named))
            .or_else(of_web)
            .unwrap_or(ReportZone::Utc);
        let now = failpoint::now().duration_since(SystemTime::UNIX_EPOCH);
        let created = now.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        Self {
            title: options.title.clone(),
            created,
            zone,
            run: RunFigures::new(&input),
            web: input.web.and_then(|counter| counter.figures(zone)),
            listening: input.listening,
            bots: input.bots,
        }
    }
}

impl RunFigures {
    fn new(input: &ReportInput) -> Self {
        let account = input.account;
        let total = |count| account.total(count);
        let ignored = Reason::all().map(|reason| {
            let lines = account.dropped(reason);
            (reason.name(), reason.text().to_owned(), lines)
        });
        let logs = account.files();
        let logs = logs.iter().map(|file| LogFigures {
            name: file.name().to_owned(),
            read: file.get(Count::Read),
            imported: file.get(Count::Imported),
            ignored: file.ignored(),
        });
        Self {
            elapsed: input.elapsed,
            dry_run: input.dry_run,
            from_sandbox: input.from_sandbox,
            read: total(Count::Read),
            headers: total(Count::Header),
            skipped: total(Count::Skipped),
            other_shards: total(Count::OtherShards),
            imported: total(Count::Imported),
            ignored: ignored.filter(|(_, _, lines)| *lines > 0).collect(),
            refused: total(Count::Refused),
            lost: total(Count::Lost),
            unconfirmed: total(Count::InDoubt),
            unsent: total(Count::Unsent),
            resent: total(Count::Resent),
            downloads: total(Count::Downloads),
            no_address: total(Count::NoAddress),
            sites: input.sites as u64,
            requests: input.requests,
            logs: logs.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::Counter;

    fn input(account: &Account) -> ReportInput<'_> {
        ReportInput {
            account,
            sites: 2,
            requests: 3,
            elapsed: Duration::from_millis(1500),
            dry_run: false,
            from_sandbox: false,
            listening: None,
            web: None,
            bots: None,
        }
    }

    #[test]
    fn the_counters_of_a_report_are_those_of_the_account() {
        let account = Account::new();
        let (_, log) = account.open("access.log");
        for (i, count) in Count::all().enumerate() {
            log.add(count, 10 + i as u64);
        }
        let counter = Counter::new(log);
        counter.add_dropped(Reason::Relay);
        counter.add_dropped(Reason::Bot);
        counter.add_dropped(Reason::Bot);
        drop(counter);
        let run = RunReport::new(&ReportFiles::default(), input(&account)).run;
        let ignored: Vec<_> = run
            .ignored
            .iter()
            .map(|(name, _, lines)| (*name, *lines))
            .collect();
        assert_eq!(ignored, [("relay", 1), ("bot", 2)]);
        for (figure, count) in [
            (run.read, Count::Read),
            (run.headers, Count::Header),
            (run.skipped, Count::Skipped),
            (run.other_shards, Count::OtherShards),
            (run.imported, Count::Imported),
            (run.refused, Count::Refused),
            (run.lost, Count::Lost),
            (run.unconfirmed, Count::InDoubt),
            (run.unsent, Count::Unsent),
            (run.resent, Count::Resent),
            (run.downloads, Count::Downloads),
            (run.no_address, Count::NoAddress),
            (run.logs[0].read, Count::Read),
            (run.logs[0].imported, Count::Imported),
        ] {
            assert_eq!(figure, account.total(count), "{count:?}");
        }
        assert_eq!((run.sites, run.requests), (2, 3));
    }

    #[test]
    fn a_report_that_fails_does_not_keep_the_others_from_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| ReportFile::new(&folder.path().join(name)).unwrap();
        let options = ReportFiles {
            files: vec![file("no/such/r.json"), file("r.json"), file("r.csv")],
            ..ReportFiles::default()
        };
        assert!(options.show_web() && options.check(&[]).is_err());
        let account = Account::new();
        let console = Console::new(0, true, None).unwrap();
        options.write(input(&account), ListenerLogs::default(), &console);
        assert!(console.is_incomplete());
        for name in ["r.json", "r.csv"] {
            assert!(fs::read(folder.path().join(name)).unwrap().len() > 10);
        }
    }

    #[test]
    fn all_dates_are_in_one_zone() {
        let account = Account::new();
        let zone_of = |options: &ReportFiles, listening, offsets: &[Option<i32>]| {
            let mut web = WebCounter::default();
            offsets.iter().for_each(|offset| web.clock.note(*offset));
            let input = ReportInput {
                listening,
                web: Some(web),
                ..input(&account)
            };
            RunReport::new(options, input).zone.to_string()
        };
        let options = |zone: Option<Tz>, log_zone: Option<Tz>| ReportFiles {
            zone,
            log_zone,
            ..ReportFiles::default()
        };
        let (tokyo, paris) = (chrono_tz::Asia::Tokyo, chrono_tz::Europe::Paris);
        let listening = sample::listening().listening;
        let named = options(Some(tokyo), Some(paris));
        assert_eq!(zone_of(&named, listening, &[]), "Europe/Berlin");
        assert_eq!(zone_of(&named, None, &[Some(3600)]), "Asia/Tokyo");
        let of_log = options(None, Some(paris));
        assert_eq!(zone_of(&of_log, None, &[Some(3600); 2]), "UTC+01:00");
        assert_eq!(zone_of(&of_log, None, &[None; 2]), "Europe/Paris");
        let unnamed = options(None, None);
        for (offsets, zone) in [
            (&[][..], "UTC"),
            (&[Some(3600), Some(7200), Some(3600)], "UTC"),
            (&[Some(3600), None], "UTC"),
            (&[None, Some(3600)], "UTC"),
            (&[Some(-19_800)], "UTC-05:30"),
            (&[Some(i32::MAX)], "UTC"),
        ] {
            assert_eq!(zone_of(&unnamed, None, offsets), zone, "{offsets:?}");
        }
    }
}
