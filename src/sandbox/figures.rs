//! The numbers of the report, asked of the store.

use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, Row};

use crate::radio::{self, ListeningReport, ListeningStats};

/// What one site, or all together, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SiteReport {
    pub idsite: i64,
    pub name: String,
    pub visits: u64,
    pub pages: u64,
    pub downloads: u64,
    pub events: u64,
    pub bytes: u64,
}

/// Sites with hits, the busiest first.
pub(super) fn sites(db: &Connection) -> rusqlite::Result<Vec<SiteReport>> {
    let mut ask = db.prepare(
        "WITH counted AS (
           SELECT idsite, sum(kind = 'page view') AS pages, sum(kind = 'download') AS downloads,
             sum(kind = 'event') AS events, total(bytes) AS bytes
           FROM hits GROUP BY idsite),
         visited AS (SELECT idsite, count(*) AS visits FROM visits GROUP BY idsite)
         SELECT idsite, coalesce(name, ''), coalesce(visits, 0), pages, downloads, events, bytes
         FROM counted LEFT JOIN visited USING (idsite) LEFT JOIN sites USING (idsite)
         ORDER BY pages DESC, downloads DESC, idsite",
    )?;
    ask.query_map([], |row| {
        Ok(SiteReport {
            idsite: row.get(0)?,
            name: row.get(1)?,
            visits: count(row, 2)?,
            pages: count(row, 3)?,
            downloads: count(row, 4)?,
            events: count(row, 5)?,
            // As a sum it may be beyond whole numbers; the cast stops at the largest.
            bytes: row.get::<_, f64>(6)? as u64,
        })
    })?
    .collect()
}

/// The urls with most page views.
pub(super) fn urls(db: &Connection, most: usize) -> rusqlite::Result<Vec<(u64, String)>> {
    top(
        db,
        "SELECT count(*) AS n, url FROM hits WHERE kind = 'page view' AND url IS NOT NULL GROUP BY url",
        most,
    )
}

/// Status codes with the requests that have them.
pub(super) fn statuses(db: &Connection, most: usize) -> rusqlite::Result<Vec<(u64, String)>> {
    top(
        db,
        "SELECT count(*) AS n, CAST(status AS TEXT) AS status FROM hits WHERE status IS NOT NULL GROUP BY status",
        most,
    )
}

/// The hosts that referred most requests.
pub(super) fn referrers(db: &Connection, most: usize) -> rusqlite::Result<Vec<(u64, String)>> {
    top(
        db,
        "SELECT count(*) AS n, referrer_host FROM hits WHERE referrer_host IS NOT NULL GROUP BY referrer_host",
        most,
    )
}

fn top(db: &Connection, what: &str, most: usize) -> rusqlite::Result<Vec<(u64, String)>> {
    let mut ask = db.prepare(&format!("{what} ORDER BY n DESC, 2 LIMIT {most}"))?;
    ask.query_map([], |row| Ok((count(row, 0)?, row.get(1)?)))?
        .collect()
}

/// What listeners did, by the rules of the summary.
pub(super) fn listening(db: &Connection) -> rusqlite::Result<ListeningReport> {
    let mut ask = db.prepare("SELECT mount, start, seconds, listener FROM listening")?;
    let mut rows = ask.query([])?;
    let mut tally = ListeningStats::default();
    while let Some(row) = rows.next()? {
        let seconds: i64 = row.get(2)?;
        // Events that somebody else sent may say anything.
        let connection = u64::try_from(seconds)
            .ok()
            .and_then(|seconds| radio::Session::new(row.get(1).ok()?, seconds));
        if let Some(connection) = connection {
            let mut listener = DefaultHasher::new();
            row.get_ref(3)?.as_bytes()?.hash(&mut listener);
            tally.add(row.get_ref(0)?.as_bytes()?, connection, listener.finish());
        }
    }
    Ok(tally.figures())
}

fn count(row: &Row, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| number.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;
    use crate::radio::figures::MountReport;
    use crate::sandbox::options::Sites;
    use crate::sandbox::store::Store;
    use crate::sandbox::stored::Stored;

    const START: i64 = 1_789_905_600;

    fn note(store: &Store, mount: &str, start: i64, seconds: u64, listener: u64) {
        let connection = radio::Session::new(START + start, seconds).unwrap();
        store.add_connection(mount, connection, listener).unwrap();
    }

    /// Its hits, all by one visitor; each a mount point, an end and what `e_v` says.
    fn heard(store: &Store, hits: &[(&str, i64, serde_json::Value)]) {
        let hit = |(mount, end, seconds): &(&str, i64, serde_json::Value)| {
            let hit = json!({"e_c": "Listening", "e_a": "listened", "e_n": mount, "e_v": seconds});
            let date = DateTime::from_timestamp(START + end, 0).unwrap();
            Box::new(Stored::new(
                hit.as_object().unwrap(),
                1,
                date,
                [10, 0, 0, 1].into(),
            ))
        };
        let hits: Vec<_> = hits.iter().map(hit).collect();
        store.record(&hits).unwrap();
    }

    /// Connections, seconds, median, most at once and when, listeners.
    type Short = (u64, u64, f64, u64, Option<i64>, u64);

    fn short(figures: &MountReport) -> Short {
        let MountReport {
            connections,
            seconds,
            median,
            peak,
            listeners,
        } = figures;
        let when = peak.at.map(|at| at - START);
        (
            *connections,
            *seconds,
            *median,
            peak.listeners,
            when,
            *listeners,
        )
    }

    #[test]
    fn listening_is_counted_for_each_mount_point_and_in_all() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        note(&store, "/a", 0, 100, 1);
        note(&store, "/a", 50, 100, 2);
        // Begins as the first ends.
        note(&store, "/a", 100, 10, 1);
        note(&store, "/b", 50, 0, 3);
        let found = store.read(listening).unwrap();
        assert_eq!(short(&found.all), (4, 210, 55.0, 2, Some(50), 3));
        let mounts: Vec<_> = found
            .mounts
            .iter()
            .map(|(name, mount)| (&name[..], short(mount)))
            .collect();
        assert_eq!(
            mounts,
            [
                (&b"/a"[..], (3, 210, 100.0, 2, Some(50), 2)),
                (b"/b", (1, 0, 0.0, 0, None, 1)),
            ]
        );
        assert_eq!(found.days.len(), 1);
    }

    #[test]
    fn where_a_mount_point_has_events_they_count() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        note(&store, "/a", 0, 1000, 1);
        note(&store, "/b", 0, 7, 1);
        heard(&store, &[("/a", 60, json!(60)), ("/a", 90, json!("30"))]);
        let found = store.read(listening).unwrap();
        assert_eq!(short(&found.all), (3, 97, 30.0, 2, Some(0), 2));
        assert_eq!(found.mounts[0].1.seconds, 90);
    }

    #[test]
    fn events_of_no_connection_that_can_have_been_are_left_out() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        let odd = [json!(-5), json!(1e300), json!(2_592_001), json!("x")];
        heard(&store, &odd.map(|seconds| ("/a", 60, seconds)));
        assert_eq!(store.read(listening).unwrap().all.connections, 0);
    }
}
