//! The report as a table of comma-separated values (guide/listening.md, "CSV").
//!
//! Quoted as in RFC 4180, but with line feeds at the end of lines, as other tools of Unix expect.

use std::borrow::Cow;
use std::io::{self, Write};

use chrono::{Days, NaiveDate};

use super::figures::{RunReport, WebFigures};
use super::measures::{FieldValue, MEASURES, kind_name, measure_fields, rounded};
use crate::filter::BotRow;
use crate::radio::{ListeningFigures, Measures, Period, ReportZone};
use crate::report::clean;

/// The columns before the measures: what a row is about.
const KEYS: [&str; 7] = [
    "kind",
    "name",
    "period",
    "first_day",
    "last_day",
    "weekday",
    "hour",
];

/// The columns after the measures. `hits` is for web rows, which have no measures.
const LAST: [&str; 2] = ["hits", "zone"];

/// The columns after these, if bots are counted.
const OF_BOTS: [&str; 6] = [
    "category",
    "operator",
    "bytes",
    "client_errors",
    "verified",
    "forged",
];

/// What a row is about.
#[derive(Default)]
struct RowKey<'a> {
    kind: &'a str,
    /// Untrusted.
    name: &'a str,
    period: &'a str,
    first_day: Option<NaiveDate>,
    last_day: Option<NaiveDate>,
    /// 1 is Monday, as in ISO 8601.
    weekday: Option<u8>,
    hour: Option<u8>,
}

/// Writes the whole table.
pub fn write(report: &RunReport, out: &mut dyn Write) -> io::Result<()> {
    let mut table = CsvWriter {
        out,
        zone: report.zone.to_string(),
        has_bots: report.bots.is_some(),
        is_first: true,
    };
    let measures = measure_fields(&Measures::default(), report.zone);
    let measures = measures.iter().map(|(name, _)| *name);
    for name in KEYS.into_iter().chain(measures).chain(LAST) {
        table.field(name)?;
    }
    if table.has_bots {
        OF_BOTS.iter().try_for_each(|name| table.field(name))?;
    }
    table.end_row()?;
    if let Some(listening) = &report.listening {
        write_listening(listening, &mut table)?;
    }
    if let Some(web) = &report.web {
        write_web(web, &mut table)?;
    }
    let bots = report.bots.iter().flat_map(|bots| &bots.rows);
    bots.into_iter().try_for_each(|bot| table.bot_row(bot))
}

fn write_listening(figures: &ListeningFigures, table: &mut CsvWriter) -> io::Result<()> {
    for group in &figures.groups {
        for (period, measures) in &group.periods {
            let key = RowKey {
                kind: kind_name(group.kind),
                name: &group.name,
                ..RowKey::of_period(*period, figures)
            };
            table.listening_row(&key, measures, figures.zone)?;
        }
    }
    Ok(())
}

fn write_web(figures: &WebFigures, table: &mut CsvWriter) -> io::Result<()> {
    let total = RowKey {
        kind: "web",
        period: "total",
        first_day: figures.days.first().map(|(day, _)| *day),
        last_day: figures.days.last().map(|(day, _)| *day),
        ..RowKey::default()
    };
    table.web_row(&total, figures.hits)?;
    for (day, hits) in &figures.days {
        let key = RowKey {
            period: "day",
            first_day: Some(*day),
            last_day: Some(*day),
            ..total
        };
        table.web_row(&key, *hits)?;
    }
    for (kind, list) in [
        ("page", &figures.pages),
        ("status", &figures.status),
        ("referrer", &figures.referrers),
    ] {
        for (name, hits) in list {
            table.web_row(
                &RowKey {
                    kind,
                    name,
                    ..total
                },
                *hits,
            )?;
        }
    }
    Ok(())
}

impl RowKey<'_> {
    fn of_period(period: Period, figures: &ListeningFigures) -> Self {
        let range = &figures.range;
        let day_of = |time| (!range.is_empty()).then(|| figures.zone.local(time).date());
        let (first, last) = (day_of(range.start), day_of(range.end.saturating_sub(1)));
        let total = Self {
            period: "total",
            first_day: first,
            last_day: last,
            ..Self::default()
        };
        match period {
            Period::Total => total,
            // The first and the last month may be cut.
            Period::Month(month) => Self {
                period: "month",
                first_day: first.max(Some(month.first_day())),
                last_day: last.min(month.next().checked_sub_days(Days::new(1))),
                ..total
            },
            Period::Day(day) => Self {
                period: "day",
                first_day: Some(day),
                last_day: Some(day),
                ..total
            },
            Period::Hour(hour) => Self {
                period: "hour",
                hour: Some(hour),
                ..total
            },
            Period::WeekHour(weekday, hour) => Self {
                period: "weekday_hour",
                weekday: Some(weekday.saturating_add(1)),
                hour: Some(hour),
                ..total
            },
        }
    }
}

struct CsvWriter<'a> {
    out: &'a mut dyn Write,
    zone: String,
    has_bots: bool,
    /// The next field is the first of its row.
    is_first: bool,
}

impl CsvWriter<'_> {
    fn listening_row(
        &mut self,
        key: &RowKey,
        measures: &Measures,
        zone: ReportZone,
    ) -> io::Result<()> {
        self.key(key)?;
        for (_, value) in measure_fields(measures, zone) {
            match value {
                FieldValue::Whole(number) => self.field(&number.to_string())?,
                FieldValue::Decimal(number) => self.field(&rounded(number).to_string())?,
                FieldValue::Text(text) => self.field(&text.unwrap_or_default())?,
            }
        }
        self.field("")?;
        self.end_row_in_zone()
    }

    fn web_row(&mut self, key: &RowKey, hits: u64) -> io::Result<()> {
        self.hits(key, hits)?;
        self.end_row_in_zone()
    }

    fn bot_row(&mut self, bot: &BotRow) -> io::Result<()> {
        let key = RowKey {
            kind: "bot",
            name: &bot.name,
            period: "total",
            ..RowKey::default()
        };
        self.hits(&key, bot.counts.hits)?;
        self.zone()?;
        self.field(bot.category.name())?;
        self.field(&harmless(&bot.operator))?;
        self.field(&bot.counts.bytes.to_string())?;
        self.field(&bot.counts.client_errors.to_string())?;
        let (verified, forged) = bot.checked().unzip();
        for number in [verified, forged] {
            self.field(&number.map_or_else(String::new, |number: u64| number.to_string()))?;
        }
        self.end_row()
    }

    /// The fields up to the hits, without measures.
    fn hits(&mut self, key: &RowKey, hits: u64) -> io::Result<()> {
        self.key(key)?;
        (0..MEASURES).try_for_each(|_| self.field(""))?;
        self.field(&hits.to_string())
    }

    fn key(&mut self, key: &RowKey) -> io::Result<()> {
        let day = |day: Option<NaiveDate>| day.map_or_else(String::new, |day| day.to_string());
        let number = |number: Option<u8>| number.map_or_else(String::new, |it| it.to_string());
        self.field(key.kind)?;
        self.field(&harmless(key.name))?;
        self.field(key.period)?;
        self.field(&day(key.first_day))?;
        self.field(&day(key.last_day))?;
        self.field(&number(key.weekday))?;
        self.field(&number(key.hour))
    }

    /// Writes a field as it is, in quotes if it needs them.
    fn field(&mut self, text: &str) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",")?;
        }
        let is_plain = |c: char| !matches!(c, ',' | '"' | '\n' | '\r');
        match text.chars().all(is_plain) && text.trim() == text {
            true => self.out.write_all(text.as_bytes()),
            false => write!(self.out, "\"{}\"", text.replace('"', "\"\"")),
        }
    }

    fn end_row_in_zone(&mut self) -> io::Result<()> {
        self.zone()?;
        if self.has_bots {
            OF_BOTS.iter().try_for_each(|_| self.field(""))?;
        }
        self.end_row()
    }

    fn zone(&mut self) -> io::Result<()> {
        let zone = self.zone.clone();
        self.field(&harmless(&zone))
    }

    fn end_row(&mut self) -> io::Result<()> {
        self.is_first = true;
        self.out.write_all(b"\n")
    }
}

/// Makes text from a log harmless: without control characters, and with an apostrophe before what
/// a spreadsheet would take for a formula.
fn harmless(text: &str) -> Cow<'_, str> {
    let cleaned = clean(text.as_bytes());
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{cleaned}").into(),
        false => cleaned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report_file::sample;

    fn table(report: &RunReport) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        rows(&String::from_utf8(out).unwrap())
    }

    /// Reads a table as RFC 4180 says.
    fn rows(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
        let mut in_quotes = false;
        let mut letters = text.chars().peekable();
        while let Some(c) = letters.next() {
            match c {
                '"' if in_quotes && letters.next_if_eq(&'"').is_some() => field.push('"'),
                '"' => in_quotes = !in_quotes,
                ',' if !in_quotes => row.push(std::mem::take(&mut field)),
                '\n' if !in_quotes => {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                c => field.push(c),
            }
        }
        assert!(!in_quotes && field.is_empty() && row.is_empty(), "{text}");
        rows
    }

    /// The first row of a kind, name and period, as pairs of name and value.
    fn find<'t>(table: &'t [Vec<String>], key: [&str; 3]) -> Vec<(&'t str, &'t str)> {
        let row = table.iter().find(|row| row[..3] == key);
        let row = row.unwrap_or_else(|| panic!("no row {key:?} in {table:?}"));
        let names = table[0].iter().map(String::as_str);
        names.zip(row.iter().map(String::as_str)).collect()
    }

    #[track_caller]
    fn assert_fields(row: &[(&str, &str)], expected: &[(&str, &str)]) {
        for field in expected {
            assert!(row.contains(field), "no {field:?} in {row:?}");
        }
    }

    #[test]
    fn every_group_and_period_has_a_row_with_all_measures() {
        let report = sample::listening();
        let table = table(&report);
        let groups = &report.listening.as_ref().unwrap().groups;
        let periods: usize = groups.iter().map(|group| group.periods.len()).sum();
        assert_eq!(table.len(), 1 + periods);
        assert!(table.iter().all(|row| row.len() == table[0].len()));
        let total = find(&table, ["all", "", "total"]);
        assert_fields(
            &total,
            &[
                ("first_day", "2026-09-01"),
                ("last_day", "2026-09-30"),
                ("listening_hours", "5.411111"),
                ("seconds", "19480"),
                ("sessions", "5"),
                ("long_sessions", "4"),
                ("session_seconds", "19480"),
                ("average_session_seconds", "3896"),
                ("median_session_seconds", "1807"),
                ("average_listeners", "0.007515"),
                ("unique_listeners", "2"),
                ("hours_per_listener", "2.705556"),
                ("peak_listeners", "3"),
                ("peak_at", "2026-09-14T20:15:00+02:00"),
                ("period_seconds", "2592000"),
                ("hits", ""),
                ("zone", "Europe/Berlin"),
            ],
        );
        assert_fields(
            &find(&table, ["mount", "/live.mp3", "month"]),
            &[("first_day", "2026-09-01"), ("last_day", "2026-09-30")],
        );
        assert_fields(
            &find(&table, ["mount", "/live.mp3", "day"]),
            &[("first_day", "2026-09-14"), ("last_day", "2026-09-14")],
        );
        assert_fields(
            &find(&table, ["mount", "/live.mp3", "hour"]),
            &[("hour", "20"), ("weekday", ""), ("first_day", "2026-09-01")],
        );
        assert_fields(
            &find(&table, ["mount", "/live.mp3", "weekday_hour"]),
            &[("hour", "20"), ("weekday", "1")],
        );
        assert_fields(
            &find(&table, ["country", "DE", "total"]),
            &[("peak_listeners", "0"), ("peak_at", "")],
        );
    }

    #[test]
    fn a_month_ends_with_the_report() {
        let mut report = sample::listening();
        let range = &mut report.listening.as_mut().unwrap().range;
        *range = range.start + 86_400..range.end - 86_400;
        assert_fields(
            &find(&table(&report), ["all", "", "month"]),
            &[("first_day", "2026-09-02"), ("last_day", "2026-09-29")],
        );
    }

    #[test]
    fn web_rows_have_hits_and_no_measures() {
        let table = table(&sample::web());
        assert_eq!(table[1].len(), table[0].len());
        assert_fields(
            &find(&table, ["web", "", "total"]),
            &[
                ("first_day", "2026-09-14"),
                ("last_day", "2026-09-15"),
                ("hits", "7"),
                ("seconds", ""),
                ("zone", "UTC"),
            ],
        );
        assert_fields(&find(&table, ["web", "", "day"]), &[("hits", "3")]);
        assert_fields(&find(&table, ["page", "/a", "total"]), &[("hits", "5")]);
        assert_fields(&find(&table, ["status", "200", "total"]), &[("hits", "6")]);
        let host = ["referrer", "news.example", "total"];
        assert_fields(&find(&table, host), &[("hits", "2")]);
    }

    #[test]
    fn bots_have_rows_with_columns_of_their_own() {
        let table = table(&sample::web());
        assert!(table.iter().all(|row| row.len() == table[0].len()));
        assert_fields(
            &find(&table, ["bot", "GPTBot", "total"]),
            &[
                ("first_day", ""),
                ("seconds", ""),
                ("hits", "9"),
                ("zone", "UTC"),
                ("category", "AI training"),
                ("operator", "A & B"),
                ("bytes", "1000"),
                ("client_errors", "2"),
                ("verified", "5"),
                ("forged", "4"),
            ],
        );
        let unchecked = [("category", "crawler"), ("verified", ""), ("forged", "")];
        assert_fields(&find(&table, ["bot", "<b>", "total"]), &unchecked);
        let mut report = sample::web();
        report.bots = None;
        assert_eq!(self::table(&report)[0].last().unwrap(), "zone");
    }

    #[test]
    fn a_report_without_hits_is_a_header() {
        let mut report = sample::web();
        report.web = None;
        report.bots = None;
        assert_eq!(table(&report).len(), 1);
    }

    #[test]
    fn untrusted_text_is_quoted_and_harmless() {
        for (name, expected) in [
            ("/live", "/live"),
            ("a,b", "a,b"),
            ("\"x\" y", "\"x\" y"),
            (" blank ", " blank "),
            ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("\r=1", "'\\r=1"),
            ("two\nlines\r\n", "two\\nlines\\r\\n"),
            ("\x1b[2J\0", "\\x1b[2J\\x00"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
            ("a\u{202e}gpj", "a\\u{202e}gpj"),
            ("радио", "радио"),
        ] {
            let mut report = sample::listening();
            let figures = report.listening.as_mut().unwrap();
            for group in figures
                .groups
                .iter_mut()
                .filter(|group| !group.name.is_empty())
            {
                group.name = name.to_owned();
            }
            for kind in ["mount", "player", "channel"] {
                find(&table(&report), [kind, expected, "total"]);
            }
            let mut report = sample::web();
            report.web.as_mut().unwrap().pages = vec![(name.to_owned(), 1)];
            find(&table(&report), ["page", expected, "total"]);
        }
    }
}
