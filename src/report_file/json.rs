//! The report as JSON (guide/listening.md, "JSON").

use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::figures::{RunFigures, RunReport, WebFigures};
use super::measures::{kind_name, local_time, measure_fields, short_name};
use crate::filter::BotFigures;
use crate::radio::{
    GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures, Period, ReportZone,
};

/// Counts up when a field changes its meaning or is removed, but not when one is added.
const VERSION: u32 = 1;

/// Writes the whole report, on one line.
pub fn write(report: &RunReport, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &JsonReport::new(report))?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    program: &'static str,
    title: Option<&'a str>,
    created: String,
    zone: String,
    run: JsonRun<'a>,
    listening: Option<JsonListening<'a>>,
    web: Option<JsonWeb<'a>>,
    bots: Option<Vec<JsonBot<'a>>>,
}

#[derive(Serialize)]
struct JsonRun<'a> {
    seconds: f64,
    dry_run: bool,
    from_sandbox: bool,
    read: u64,
    headers: u64,
    skipped: u64,
    other_shards: u64,
    imported: u64,
    ignored: u64,
    #[serde(serialize_with = "serialize_reasons")]
    ignored_by_reason: &'a [(&'static str, String, u64)],
    refused: u64,
    lost: u64,
    unconfirmed: u64,
    unsent: u64,
    resent: u64,
    downloads: u64,
    no_address: u64,
    sites: u64,
    requests: u64,
    logs: Vec<JsonLog<'a>>,
}

#[derive(Serialize)]
struct JsonLog<'a> {
    name: &'a str,
    read: u64,
    imported: u64,
    ignored: u64,
}

#[derive(Serialize)]
struct JsonListening<'a> {
    from: Option<String>,
    to: Option<String>,
    minimum_session: u64,
    country: Option<&'a str>,
    groups: Vec<JsonGroup<'a>>,
    lengths: Vec<JsonLength>,
    left_out: JsonLeftOut,
    merged: u64,
}

#[derive(Serialize)]
struct JsonLength {
    at_least_seconds: u64,
    name: &'static str,
    sessions: u64,
}

#[derive(Serialize)]
struct JsonLeftOut {
    without_duration: u64,
    other_countries: u64,
    relay_lines: u64,
    relay_seconds: u64,
}

/// A group, with its periods in a list for each kind of period.
struct JsonGroup<'a> {
    zone: ReportZone,
    group: &'a GroupFigures,
}

/// A period with its measures.
#[derive(Serialize)]
struct JsonPeriod {
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weekday: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hour: Option<u8>,
    #[serde(flatten)]
    measures: JsonMeasures,
}

struct JsonMeasures {
    zone: ReportZone,
    measures: Measures,
}

#[derive(Serialize)]
struct JsonWeb<'a> {
    hits: u64,
    days: Vec<JsonDay>,
    pages: Vec<JsonPage<'a>>,
    status: Vec<JsonStatus<'a>>,
    referrers: Vec<JsonReferrer<'a>>,
}

#[derive(Serialize)]
struct JsonDay {
    day: String,
    hits: u64,
}

#[derive(Serialize)]
struct JsonPage<'a> {
    path: &'a str,
    views: u64,
}

#[derive(Serialize)]
struct JsonStatus<'a> {
    status: &'a str,
    hits: u64,
}

#[derive(Serialize)]
struct JsonReferrer<'a> {
    host: &'a str,
    hits: u64,
}

#[derive(Serialize)]
struct JsonBot<'a> {
    name: &'a str,
    category: &'static str,
    operator: &'a str,
    hits: u64,
    bytes: u64,
    client_errors: u64,
    verified: Option<u64>,
    forged: Option<u64>,
}

impl<'a> JsonBot<'a> {
    fn list(figures: &'a BotFigures) -> Vec<Self> {
        let rows = figures.rows.iter().map(|row| {
            let (verified, forged) = row.checked().unzip();
            Self {
                name: short_name(&row.name),
                category: row.category.name(),
                operator: short_name(&row.operator),
                hits: row.counts.hits,
                bytes: row.counts.bytes,
                client_errors: row.counts.client_errors,
                verified,
                forged,
            }
        });
        rows.collect()
    }
}

impl<'a> JsonReport<'a> {
    fn new(report: &'a RunReport) -> Self {
        Self {
            version: VERSION,
            program: concat!("import-logs ", env!("CARGO_PKG_VERSION")),
            title: report.title.as_deref(),
            created: local_time(report.zone, report.created),
            zone: report.zone.to_string(),
            run: JsonRun::new(&report.run),
            listening: report.listening.as_ref().map(JsonListening::new),
            web: report.web.as_ref().map(JsonWeb::new),
            bots: report.bots.as_ref().map(JsonBot::list),
        }
    }
}

impl<'a> JsonRun<'a> {
    fn new(run: &'a RunFigures) -> Self {
        let logs = run.logs.iter().map(|log| JsonLog {
            name: &log.name,
            read: log.read,
            imported: log.imported,
            ignored: log.ignored,
        });
        Self {
            // Milliseconds are enough.
            seconds: run.elapsed.as_millis() as f64 / 1000.0,
            dry_run: run.dry_run,
            from_sandbox: run.from_sandbox,
            read: run.read,
            headers: run.headers,
            skipped: run.skipped,
            other_shards: run.other_shards,
            imported: run.imported,
            ignored: run.ignored_lines(),
            ignored_by_reason: &run.ignored,
            refused: run.refused,
            lost: run.lost,
            unconfirmed: run.unconfirmed,
            unsent: run.unsent,
            resent: run.resent,
            downloads: run.downloads,
            no_address: run.no_address,
            sites: run.sites,
            requests: run.requests,
            logs: logs.collect(),
        }
    }
}

fn serialize_reasons<S: Serializer>(
    reasons: &[(&'static str, String, u64)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(reasons.iter().map(|(name, _, lines)| (name, lines)))
}

impl<'a> JsonListening<'a> {
    fn new(figures: &'a ListeningFigures) -> Self {
        let (zone, range) = (figures.zone, &figures.range);
        let time = |time| (!range.is_empty()).then(|| local_time(zone, time));
        let lengths = LENGTHS.into_iter().zip(figures.lengths);
        let lengths = lengths.map(|((at_least_seconds, name), sessions)| JsonLength {
            at_least_seconds,
            name,
            sessions,
        });
        let groups = figures.groups.iter();
        Self {
            from: time(range.start),
            to: time(range.end),
            minimum_session: figures.min_session,
            country: figures.country.as_deref(),
            groups: groups.map(|group| JsonGroup { zone, group }).collect(),
            lengths: lengths.collect(),
            left_out: JsonLeftOut {
                without_duration: figures.no_duration,
                other_countries: figures.other_countries,
                relay_lines: figures.relays.lines,
                relay_seconds: figures.relays.seconds,
            },
            merged: figures.merged,
        }
    }
}

impl Serialize for JsonGroup<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", kind_name(self.group.kind))?;
        map.serialize_entry("name", short_name(&self.group.name))?;
        let total = JsonMeasures {
            zone: self.zone,
            measures: self.group.total(),
        };
        map.serialize_entry("total", &total)?;
        let lists: &[_] = match self.group.kind {
            GroupKind::Country | GroupKind::Player => &["months"],
            _ => &["months", "days", "hours", "weekday_hours"],
        };
        for list in lists.iter().copied() {
            map.serialize_entry(list, &PeriodList { of: self, list })?;
        }
        map.end()
    }
}

/// The periods of a group that belong to one list. Written one by one: a year has many.
struct PeriodList<'a> {
    of: &'a JsonGroup<'a>,
    list: &'static str,
}

impl Serialize for PeriodList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let JsonGroup { zone, group } = *self.of;
        let periods = group.periods.iter();
        serializer.collect_seq(periods.filter_map(|(period, measures)| {
            let measures = JsonMeasures {
                zone,
                measures: *measures,
            };
            let (list, period) = JsonPeriod::new(*period, measures);
            (list == self.list).then_some(period)
        }))
    }
}

impl JsonPeriod {
    /// Also returns the name of the list that it belongs to; that of the total is empty.
    fn new(period: Period, measures: JsonMeasures) -> (&'static str, Self) {
        let mut row = Self {
            month: None,
            day: None,
            weekday: None,
            hour: None,
            measures,
        };
        let list = match period {
            Period::Total => "",
            Period::Month(month) => {
                row.month = Some(month.to_string());
                "months"
            }
            Period::Day(day) => {
                row.day = Some(day.to_string());
                "days"
            }
            Period::Hour(hour) => {
                row.hour = Some(hour);
                "hours"
            }
            Period::WeekHour(weekday, hour) => {
                row.weekday = Some(weekday.saturating_add(1));
                row.hour = Some(hour);
                "weekday_hours"
            }
        };
        (list, row)
    }
}

impl Serialize for JsonMeasures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(measure_fields(&self.measures, self.zone))
    }
}

impl<'a> JsonWeb<'a> {
    fn new(figures: &'a WebFigures) -> Self {
        let days = figures.days.iter().map(|(day, hits)| JsonDay {
            day: day.to_string(),
            hits: *hits,
        });
        let pages = figures.pages.iter().map(|(path, views)| JsonPage {
            path,
            views: *views,
        });
        let status = figures.status.iter().map(|(status, hits)| JsonStatus {
            status,
            hits: *hits,
        });
        let referrers = figures
            .referrers
            .iter()
            .map(|(host, hits)| JsonReferrer { host, hits: *hits });
        Self {
            hits: figures.hits,
            days: days.collect(),
            pages: pages.collect(),
            status: status.collect(),
            referrers: referrers.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::report::Reason;
    use crate::report_file::{csv, sample};

    fn value(report: &RunReport) -> Value {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        assert!(out.ends_with(b"}\n"));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_head_and_the_counters_are_those_of_the_run() {
        let value = value(&sample::web());
        assert_eq!(value["version"], 1);
        assert_eq!(value["title"], "Radio <Example>");
        assert_eq!(value["zone"], "UTC");
        assert_eq!(value["created"], "2026-10-01T00:00:00+00:00");
        assert_eq!(value["listening"], Value::Null);
        let run = &value["run"];
        assert_eq!(run["seconds"], 1.5);
        assert_eq!(run["dry_run"], false);
        for (name, expected) in [
            ("read", 100),
            ("headers", 1),
            ("skipped", 2),
            ("other_shards", 0),
            ("imported", 80),
            ("ignored", 7),
            ("refused", 4),
            ("lost", 3),
            ("unconfirmed", 2),
            ("unsent", 1),
            ("resent", 5),
            ("downloads", 6),
            ("no_address", 9),
            ("sites", 2),
            ("requests", 11),
        ] {
            assert_eq!(run[name], expected, "{name}");
        }
        assert_eq!(run["ignored_by_reason"], json!({"relay": 3, "bot": 4}));
        let log = json!({"name": "a <b>.log", "read": 100, "imported": 80, "ignored": 7});
        assert_eq!(run["logs"], json!([log]));
    }

    #[test]
    fn groups_have_their_periods_in_lists() {
        let value = value(&sample::listening());
        let listening = &value["listening"];
        assert_eq!(listening["from"], "2026-09-01T00:00:00+02:00");
        assert_eq!(listening["to"], "2026-10-01T00:00:00+02:00");
        assert_eq!(listening["minimum_session"], 60);
        let group = |kind: &str| {
            let groups = listening["groups"].as_array().unwrap();
            groups.iter().find(|group| group["kind"] == kind).unwrap()
        };
        let total = &group("all")["total"];
        assert_eq!(total["listening_hours"], 5.411_111);
        assert_eq!(total["seconds"], 19_480);
        assert_eq!(total["peak_at"], "2026-09-14T20:15:00+02:00");
        let mount = group("mount");
        assert_eq!(mount["name"], "/live.mp3");
        assert_eq!(mount["months"][0]["month"], "2026-09");
        assert_eq!(mount["days"][0]["day"], "2026-09-14");
        assert_eq!(mount["hours"][0]["hour"], 20);
        let week = &mount["weekday_hours"][0];
        assert_eq!((&week["weekday"], &week["hour"]), (&json!(1), &json!(20)));
        assert_eq!(week["sessions"], 3);
        for kind in ["country", "player"] {
            assert_eq!(group(kind)["total"]["peak_at"], Value::Null);
            assert!(group(kind).get("days").is_none());
        }
        assert_eq!(
            listening["lengths"].as_array().unwrap().len(),
            LENGTHS.len()
        );
        assert_eq!(listening["lengths"][1]["at_least_seconds"], 60);
        assert_eq!(listening["lengths"][1]["sessions"], 2);
        let left_out = json!({
            "without_duration": 6, "other_countries": 7, "relay_lines": 8, "relay_seconds": 9,
        });
        assert_eq!(listening["left_out"], left_out);
        assert_eq!(listening["merged"], 10);
    }

    #[test]
    fn bots_have_a_list() {
        let bots = json!([
            {"name": "GPTBot", "category": "AI training", "operator": "A & B", "hits": 9,
             "bytes": 1000, "client_errors": 2, "verified": 5, "forged": 4},
            {"name": "<b>", "category": "crawler", "operator": "A & B", "hits": 9,
             "bytes": 1000, "client_errors": 2, "verified": null, "forged": null},
        ]);
        assert_eq!(value(&sample::web())["bots"], bots);
        assert_eq!(value(&sample::listening())["bots"], Value::Null);
    }

    #[test]
    fn a_report_without_sessions_has_no_period() {
        let mut report = sample::listening();
        report.listening.as_mut().unwrap().range = 0..0;
        let value = value(&report);
        assert_eq!(value["listening"]["from"], Value::Null);
    }

    #[test]
    fn untrusted_names_are_valid_json_and_not_too_long() {
        let long = format!("/{}", "ä".repeat(1_000_000));
        for name in [
            "\"},{\"x\":\"",
            "<script>",
            "=cmd",
            "\x1b[2J\n\0\u{2028}",
            &long,
        ] {
            let mut report = sample::listening();
            for group in &mut report.listening.as_mut().unwrap().groups {
                group.name = name.to_owned();
            }
            let value = value(&report);
            let shown = value["listening"]["groups"][1]["name"].as_str().unwrap();
            assert!(name.starts_with(shown) && shown.chars().count() <= 1000);
        }
    }

    /// The names in the first column of the table below a heading of the guide.
    fn documented(heading: &str) -> BTreeSet<String> {
        let guide = include_str!("../guide/listening.md");
        let is_heading = |line: &&str| line.trim_start_matches('#').trim() == heading;
        let part = guide.lines().skip_while(|line| !is_heading(line)).skip(1);
        let rows = part.take_while(|line| !line.starts_with('#'));
        let names = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        assert!(!names.is_empty(), "no table below {heading}");
        names
    }

    /// The paths of all members, without those of reasons and measures. Each period must have all
    /// measures.
    fn paths(value: &Value, path: &str, measures: &BTreeSet<String>, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                let is_period = path.starts_with("listening.groups[].");
                if is_period {
                    let missing = |name: &&String| !members.contains_key(*name);
                    assert_eq!(measures.iter().find(missing), None, "{path}");
                }
                for (key, value) in members {
                    if !is_period || !measures.contains(key) {
                        let dot = if path.is_empty() { "" } else { "." };
                        let path = format!("{path}{dot}{key}");
                        match value {
                            Value::Array(_) => paths(value, &format!("{path}[]"), measures, found),
                            _ if path == "run.ignored_by_reason" => drop(found.insert(path)),
                            _ => paths(value, &path, measures, found),
                        }
                    }
                }
            }
            Value::Array(values) => values
                .iter()
                .for_each(|value| paths(value, path, measures, found)),
            _ => {}
        }
        if !path.is_empty() {
            found.insert(path.to_owned());
        }
    }

    #[test]
    fn the_guide_names_every_field_and_no_other() {
        let measures = documented("Measures in report files");
        let mut found = BTreeSet::new();
        for report in [sample::web(), sample::listening()] {
            paths(&value(&report), "", &measures, &mut found);
        }
        let counters = documented("Counters of the run").into_iter();
        let counters = counters.map(|name| format!("run.{name}"));
        let expected: BTreeSet<String> = documented("JSON").into_iter().chain(counters).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_guide_names_every_column_and_no_other() {
        let mut table = Vec::new();
        csv::write(&sample::web(), &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
        let measures = documented("Measures in report files");
        let columns = documented("CSV");
        let expected: BTreeSet<&str> = columns.union(&measures).map(String::as_str).collect();
        assert_eq!(header.len(), expected.len());
        assert_eq!(BTreeSet::from_iter(header), expected);
    }

    #[test]
    fn the_guide_names_every_reason_and_no_other() {
        let reasons = Reason::all().map(|reason| reason.name().to_owned());
        assert_eq!(reasons.collect::<BTreeSet<_>>(), documented("Reasons"));
    }
}
