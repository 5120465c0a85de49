//! The numbers of the report, asked of the store.

use rusqlite::{Connection, Row};

/// What one site, or all together, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SiteFigures {
    pub idsite: i64,
    pub name: String,
    pub visits: u64,
    pub pages: u64,
    pub downloads: u64,
    pub events: u64,
    pub bytes: u64,
}

/// Sites with hits, the busiest first.
pub(super) fn sites(db: &Connection) -> rusqlite::Result<Vec<SiteFigures>> {
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
        Ok(SiteFigures {
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

/// What one mount point, or all together, came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountFigures {
    /// `None`: all together.
    pub mount: Option<String>,
    pub connections: u64,
    pub seconds: u64,
    pub average: u64,
    pub median: u64,
    pub most_at_once: u64,
    pub listeners: u64,
}

/// All mount points together first, then each, the most listened to first. Two connections of which one ends
/// in the second the other begins are not at once.
pub(super) fn mounts(db: &Connection) -> rusqlite::Result<Vec<MountFigures>> {
    let mut ask = db.prepare(
        "WITH each AS (
           SELECT mount, start, seconds, listener FROM listening
           UNION ALL SELECT NULL, start, seconds, listener FROM listening),
         counted AS (
           SELECT mount, count(*) AS connections, sum(seconds) AS seconds, avg(seconds) AS average,
             count(DISTINCT listener) AS listeners
           FROM each GROUP BY mount),
         ranked AS (
           SELECT mount, seconds, row_number() OVER (PARTITION BY mount ORDER BY seconds) AS place,
             count(*) OVER (PARTITION BY mount) AS n
           FROM each),
         middle AS (
           SELECT mount, avg(seconds) AS median FROM ranked WHERE place IN ((n + 1) / 2, (n + 2) / 2)
           GROUP BY mount),
         steps AS (
           SELECT mount, start AS at, 1 AS step FROM each
           UNION ALL SELECT mount, start + max(seconds, 1), -1 FROM each),
         running AS (SELECT mount, sum(step) OVER (PARTITION BY mount ORDER BY at, step) AS n FROM steps),
         peaks AS (SELECT mount, max(n) AS most FROM running GROUP BY mount)
         SELECT counted.mount, connections, seconds, average, median, most, listeners
         FROM counted JOIN middle ON middle.mount IS counted.mount JOIN peaks ON peaks.mount IS counted.mount
         ORDER BY counted.mount IS NOT NULL, seconds DESC, counted.mount",
    )?;
    ask.query_map([], |row| {
        Ok(MountFigures {
            mount: row.get(0)?,
            connections: count(row, 1)?,
            seconds: count(row, 2)?,
            average: row.get::<_, f64>(3)?.round() as u64,
            median: row.get::<_, f64>(4)?.round() as u64,
            most_at_once: count(row, 5)?,
            listeners: count(row, 6)?,
        })
    })?
    .collect()
}

fn count(row: &Row, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| number.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::options::Sites;
    use crate::sandbox::store::Store;

    #[test]
    fn listening_is_counted_for_each_mount_point_and_in_all() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        for (mount, start, seconds, listener) in [
            ("/a", 1000, 100, 1),
            ("/a", 1050, 100, 2),
            // Begins as the first ends.
            ("/a", 1100, 10, 1),
            ("/b", 1050, 0, 3),
        ] {
            store
                .add_connection(mount, start, seconds, listener)
                .unwrap();
        }
        let found = store.read(mounts).unwrap();
        let short: Vec<_> = found
            .iter()
            .map(|f| {
                (
                    f.mount.as_deref(),
                    f.connections,
                    f.seconds,
                    f.average,
                    f.median,
                    f.most_at_once,
                    f.listeners,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                (None, 4, 210, 53, 55, 3, 3),
                (Some("/a"), 3, 210, 70, 100, 2, 2),
                (Some("/b"), 1, 0, 0, 0, 1, 1),
            ]
        );
    }

    #[test]
    fn extreme_connections_do_no_harm() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        for start in [i64::MIN, -1, i64::MAX] {
            store
                .add_connection("/a", start, u64::MAX, u64::MAX)
                .unwrap();
        }
        assert_eq!(store.read(mounts).unwrap()[0].connections, 3);
    }
}
