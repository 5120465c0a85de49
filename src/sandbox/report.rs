//! The report printed after an import into the sandbox.

use std::array;

use rusqlite::{Connection, Row};

use super::store::HitStore;
use crate::error::Result;
use crate::report::clean::clean_to;
use crate::report::summary::heading;
use crate::report::{Align, Table};

/// Rows of a ranking.
const TOP_ROWS: usize = 10;
/// Rows of sites and of status codes, which a log can hold any number of.
const MAX_ROWS: usize = 30;
/// Characters of a text from the log.
const MAX_TEXT_CHARS: usize = 100;

/// Rankings after the table of sites: title, titles of the columns, value and number of rows.
const RANKINGS: [(&str, [&str; 2], &str, usize); 3] = [
    (
        "Most viewed",
        ["page views", "url"],
        "CASE kind WHEN 'page view' THEN url END",
        TOP_ROWS,
    ),
    (
        "Status codes",
        ["requests", "status"],
        "CAST(status AS TEXT)",
        MAX_ROWS,
    ),
    (
        "Referring hosts",
        ["requests", "host"],
        "referrer_host",
        TOP_ROWS,
    ),
];

/// Describes everything in the store, over all runs that wrote to its file.
///
/// Begins with an empty line and ends with a newline, like a part of the summary.
///
/// # Errors
///
/// The database cannot be read.
pub fn report(store: &HitStore) -> Result<String> {
    let parts = store.read(|db| {
        let mut parts = sites(&site_reports(db)?);
        for (title, titles, value, rows) in RANKINGS {
            parts += &ranking(title, titles, &top(db, value, rows)?);
        }
        Ok(parts)
    })?;
    let mut text = heading("Sandbox report");
    text.push_str(match parts.is_empty() {
        true => "    The sandbox holds no hits.\n",
        false => "    Nothing was sent to Matomo. The sandbox holds these hits:\n",
    });
    Ok(text + &parts)
}

/// What is counted for a site.
const COUNTS: [&str; 5] = ["visits", "page views", "downloads", "events", "bytes"];

/// What was stored for one site, or for several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SiteReport {
    idsite: i64,
    name: String,
    /// In the order of [`COUNTS`].
    counts: [u64; COUNTS.len()],
}

impl SiteReport {
    fn sum(sites: &[Self], name: String) -> Self {
        let counts = |index: usize| sites.iter().map(move |site| site.counts[index]);
        Self {
            idsite: 0,
            name,
            counts: array::from_fn(|index| counts(index).fold(0, u64::saturating_add)),
        }
    }
}

/// Sites with hits, the busiest first.
fn site_reports(db: &Connection) -> rusqlite::Result<Vec<SiteReport>> {
    let mut query = db.prepare(
        "WITH counted AS (
           SELECT idsite, sum(kind = 'page view') AS pages, sum(kind = 'download') AS downloads,
             sum(kind = 'event') AS events, total(bytes) AS bytes
           FROM hits GROUP BY idsite),
         visited AS (SELECT idsite, count(*) AS visits FROM visits GROUP BY idsite)
         SELECT idsite, coalesce(name, ''), coalesce(visits, 0), pages, downloads, events, bytes
         FROM counted LEFT JOIN visited USING (idsite) LEFT JOIN sites USING (idsite)
         ORDER BY pages DESC, downloads DESC, idsite",
    )?;
    let report = |row: &Row| {
        let mut counts = [0; COUNTS.len()];
        for (column, count) in (2..).zip(&mut counts) {
            // A float, because the sum of bytes can exceed an integer; the cast saturates.
            *count = row.get::<_, f64>(column)? as u64;
        }
        Ok(SiteReport {
            idsite: row.get(0)?,
            name: row.get(1)?,
            counts,
        })
    };
    query.query_map([], report)?.collect()
}

fn sites(all: &[SiteReport]) -> String {
    let titles = COUNTS.into_iter().chain(["site"]);
    let columns = titles.map(|title| (Align::Right, title));
    let mut table = Table::new(columns.chain([(Align::Left, "name")]));
    let mut row = |site: &SiteReport, id: String| {
        let cells = site.counts.iter().map(u64::to_string);
        table.row(cells.chain([id, shown(&site.name)]));
    };
    for site in all.iter().take(MAX_ROWS) {
        row(site, site.idsite.to_string());
    }
    if let Some(rest) = all.get(MAX_ROWS..).filter(|rest| !rest.is_empty()) {
        let name = format!("{} more sites", rest.len());
        row(&SiteReport::sum(rest, name), String::new());
    }
    if all.len() > 1 {
        row(&SiteReport::sum(all, "all sites".into()), String::new());
    }
    titled("Sites", &table)
}

/// The most frequent values that are not null, with their counts.
fn top(db: &Connection, value: &str, rows: usize) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut query = db.prepare(&format!(
        "SELECT count(*) AS n, {value} AS value FROM hits
         WHERE value IS NOT NULL GROUP BY value ORDER BY n DESC, value LIMIT {rows}"
    ))?;
    query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn ranking(title: &str, [count, text]: [&str; 2], rows: &[(i64, String)]) -> String {
    let mut table = Table::new([(Align::Right, count), (Align::Left, text)]);
    for (count, text) in rows {
        table.row([count.to_string(), shown(text)]);
    }
    titled(title, &table)
}

/// The table under its title, or nothing if it has no rows.
fn titled(title: &str, table: &Table) -> String {
    match table.is_empty() {
        true => String::new(),
        false => format!("{}{table}", heading(title)),
    }
}

/// A text from the log, safe for a terminal and not too long.
fn shown(text: &str) -> String {
    clean_to(text.as_bytes(), MAX_TEXT_CHARS).into_owned()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::radio::Session;
    use crate::sandbox::SandboxSession;
    use crate::sandbox::tracker::StoredHit;

    /// 2026-09-20 12:00:00 UTC.
    const NOON: i64 = 1_789_905_600;

    /// A store with these hits: site, time, last byte of the address, other parameters.
    fn store(hits: &[(i64, i64, u8, Value)]) -> HitStore {
        let store = HitStore::open(None).unwrap();
        store.add_site(Some(2), "radio.example", &[]).unwrap();
        let rows: Vec<_> = hits
            .iter()
            .map(|(site, epoch, address, hit)| {
                let date = DateTime::from_timestamp(*epoch, 0).unwrap();
                let hit = hit.as_object().unwrap().clone();
                StoredHit::new(hit, *site, date, [10, 0, 0, *address].into())
            })
            .collect();
        store.record(&rows).unwrap();
        store
    }

    #[test]
    fn an_empty_store_says_so() {
        let text = report(&store(&[])).unwrap();
        assert!(text.ends_with("    The sandbox holds no hits.\n"), "{text}");
    }

    #[test]
    fn hits_are_counted_by_site_url_status_and_referrer() {
        let status = json!({"1": ["HTTP-code", "200"]}).to_string();
        let page = json!({
            "url": "http://example.org/", "cvar": status, "bw_bytes": 1500,
            "urlref": "https://news.example/x",
        });
        let download = "http://example.org/a.zip";
        let store = store(&[
            (1, NOON, 1, page.clone()),
            (1, NOON + 1800, 1, page.clone()),
            (1, NOON + 3601, 1, page.clone()),
            (1, NOON, 2, json!({"url": download, "download": download})),
            (
                2,
                NOON,
                1,
                json!({"url": "http://radio.example/\u{1b}[2J", "urlref": "-"}),
            ),
        ]);
        assert_eq!(
            report(&store).unwrap(),
            r"
Sandbox report
--------------

    Nothing was sent to Matomo. The sandbox holds these hits:

Sites
-----

    visits  page views  downloads  events  bytes  site  name
         3           3          1       0   4500     1  Sandbox
         1           1          0       0      0     2  radio.example
         4           4          1       0   4500        all sites

Most viewed
-----------

    page views  url
             3  http://example.org/
             1  http://radio.example/\x1b[2J

Status codes
------------

    requests  status
           3  200

Referring hosts
---------------

    requests  host
           3  news.example
"
        );
    }

    #[test]
    fn a_new_visit_and_midnight_end_a_visit() {
        let midnight = NOON + 12 * 3600;
        let store = store(&[
            (1, NOON, 1, json!({})),
            (1, NOON + 60, 1, json!({"new_visit": 1})),
            (1, midnight - 60, 1, json!({})),
            (1, midnight + 60, 1, json!({})),
        ]);
        assert_eq!(site_reports_of(&store)[0].counts[0], 4);
    }

    fn site_reports_of(store: &HitStore) -> Vec<SiteReport> {
        store.read(site_reports).unwrap()
    }

    #[test]
    fn sums_that_exceed_an_integer_saturate() {
        let large = json!({"bw_bytes": i64::MAX});
        let store = store(&[(1, NOON, 1, large.clone()), (1, NOON, 1, large)]);
        assert_eq!(site_reports_of(&store)[0].counts[4], u64::MAX);
    }

    #[test]
    fn further_sites_share_a_row() {
        let hit = |site| (site, NOON, 1, json!({}));
        let text = report(&store(&(1..=33).map(hit).collect::<Vec<_>>())).unwrap();
        let row = text.lines().find(|line| line.ends_with("  3 more sites"));
        let numbers: Vec<_> = row.unwrap().split_whitespace().take(2).collect();
        assert_eq!(numbers, ["3", "3"]);
    }

    /// Rows of the view `listening`: mount point, start, seconds.
    fn listening(store: &HitStore) -> Vec<(String, i64, i64)> {
        let read = |db: &Connection| {
            let select = "SELECT mount, start, seconds FROM listening ORDER BY mount, start";
            let mut query = db.prepare(select)?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        store.read(read).unwrap()
    }

    #[test]
    fn events_replace_the_connections_of_their_mount_point() {
        let listened = |seconds: Value| json!({"e_c": "Listening", "e_a": "listened", "e_n": "/a", "e_v": seconds});
        let store = store(&[
            (1, NOON + 60, 1, listened(json!(60))),
            (1, NOON + 90, 1, listened(json!("30"))),
        ]);
        for mount in ["/a", "/b"] {
            store
                .add_connection(&SandboxSession {
                    mount: mount.as_bytes(),
                    time: Session::new(NOON, 7).unwrap(),
                    address: b"192.0.2.1",
                    agent: b"VLC",
                    status: 200,
                })
                .unwrap();
        }
        assert_eq!(
            listening(&store),
            [
                ("/a".to_owned(), NOON, 60),
                ("/a".to_owned(), NOON + 60, 30),
                ("/b".to_owned(), NOON, 7),
            ]
        );
    }
}
