//! Reads listening sessions back from a sandbox's database, to report them again.

use rusqlite::Connection;

use super::store::HitStore;
use crate::error::Result;
use crate::radio::Session;

/// The status of a session's page view, if it is not the usual one. Events have none.
const UNUSUAL_STATUS: &str = "
CREATE TEMP TABLE IF NOT EXISTS unusual (
  visitor TEXT, epoch INTEGER, url TEXT, status INTEGER NOT NULL,
  PRIMARY KEY (visitor, epoch, url)
) WITHOUT ROWID;
DELETE FROM unusual;
INSERT OR IGNORE INTO unusual SELECT visitor, epoch, url, status FROM hits
  WHERE kind = 'page view' AND new_visit AND status <> 200;
";

/// The address is the one in the log; that in the table `hits` may be written in another way.
const EVENTS: &str = "
SELECT coalesce(e_n, ''), epoch - CAST(e_v AS INTEGER), CAST(e_v AS INTEGER),
  CAST(coalesce(json ->> 'cid', json ->> 'cip', address) AS TEXT), coalesce(agent, ''),
  coalesce((SELECT unusual.status FROM unusual
    WHERE unusual.visitor = hits.visitor AND unusual.url = hits.url
      AND unusual.epoch = hits.epoch - CAST(hits.e_v AS INTEGER)), 200)
FROM hits WHERE e_a = 'listened' AND e_v IS NOT NULL ORDER BY id
";

const CONNECTIONS: &str = "
SELECT mount, start, seconds, address, coalesce(agent, ''), coalesce(status, 200)
FROM connections WHERE mount NOT IN (SELECT mount FROM listened) ORDER BY id
";

/// A session in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxSession<'a> {
    pub mount: &'a [u8],
    pub time: Session,
    /// The address as in the log, or the id of a hidden one: what identified the listener in the
    /// import, together with the user agent.
    pub address: &'a [u8],
    /// As in the log. If it is not UTF-8, or was shortened for Matomo, only as it was sent.
    pub agent: &'a [u8],
    /// 200 or 206.
    pub status: u16,
}

impl HitStore {
    /// Calls `each` for every session: first those that were sent as events, then those of mount
    /// points without events that were sent as plain hits, both in the order in which they were
    /// stored. Returns their number. Sessions with impossible times are left out.
    ///
    /// The store is locked meanwhile, so `each` must not use it.
    ///
    /// # Errors
    ///
    /// Returns the first error of `each`, or that the database cannot be read.
    pub fn for_each_session(
        &self,
        mut each: impl FnMut(&SandboxSession) -> Result<()>,
    ) -> Result<u64> {
        let mut count = 0;
        let outcome = self.read(|db| {
            db.execute_batch(UNUSUAL_STATUS)?;
            for select in [EVENTS, CONNECTIONS] {
                if let Err(error) = read_sessions(db, select, &mut count, &mut each)? {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })?;
        outcome.map(|()| count)
    }
}

fn read_sessions(
    db: &Connection,
    select: &str,
    count: &mut u64,
    each: &mut impl FnMut(&SandboxSession) -> Result<()>,
) -> rusqlite::Result<Result<()>> {
    let mut query = db.prepare(select)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        // Texts that are not UTF-8 are blobs.
        let bytes = |column| -> rusqlite::Result<&[u8]> { Ok(row.get_ref(column)?.as_bytes()?) };
        let seconds: i64 = row.get(2)?;
        let seconds = u64::try_from(seconds).ok();
        let start: i64 = row.get(1)?;
        let Some(time) = seconds.and_then(|seconds| Session::new(start, seconds)) else {
            continue;
        };
        let session = SandboxSession {
            mount: bytes(0)?,
            time,
            address: bytes(3)?,
            agent: bytes(4)?,
            status: u16::try_from(row.get::<_, i64>(5)?).unwrap_or(200),
        };
        if let Err(error) = each(&session) {
            return Ok(Err(error));
        }
        *count += 1;
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::super::tracker::StoredHit;
    use super::*;
    use crate::error::Error;

    const START: i64 = 1_715_640_000;
    const PLAYER: &str = "VLC/3.0.20 LibVLC/3.0.20";

    /// Mount point, start after [`START`], seconds, address, user agent, and status.
    type Row = (String, i64, u64, String, Vec<u8>, u16);

    fn rows(store: &HitStore) -> Vec<Row> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut rows = Vec::new();
        let count = store.for_each_session(|session| {
            let (start, seconds) = (session.time.start() - START, session.time.seconds());
            let (mount, address) = (text(session.mount), text(session.address));
            rows.push((
                mount,
                start,
                seconds,
                address,
                session.agent.to_vec(),
                session.status,
            ));
            Ok(())
        });
        assert_eq!(count.unwrap(), rows.len() as u64);
        rows
    }

    fn row(mount: &str, start: i64, seconds: u64, address: &str, status: u16) -> Row {
        let agent = PLAYER.as_bytes().to_vec();
        (mount.into(), start, seconds, address.into(), agent, status)
    }

    fn stored(time: i64, address: &str, parameters: Value) -> StoredHit {
        let mut hit = json!({"rec": 1, "ua": PLAYER, "url": "http://example.org/live"});
        let object = hit.as_object_mut().unwrap();
        match address.len() {
            16 => object.extend([
                ("cip".into(), "0.0.0.0".into()),
                ("cid".into(), address.into()),
            ]),
            _ => object.extend([("cip".into(), address.into())]),
        }
        object.extend(parameters.as_object().unwrap().clone());
        let date = DateTime::from_timestamp(START + time, 0).unwrap();
        let ip = address.parse().unwrap_or([0, 0, 0, 0].into());
        StoredHit::new(object.clone(), 1, date, ip)
    }

    /// The requests of a session.
    fn events(mount: &str, start: i64, seconds: i64, address: &str, status: u16) -> Vec<StoredHit> {
        let event = |action: &str| json!({"e_c": "Listening", "e_a": action, "e_n": mount});
        let mut listened = event("listened");
        listened["e_v"] = seconds.into();
        let view = json!({"new_visit": 1, "cvar": {"1": ["HTTP-code", status.to_string()]}});
        vec![
            stored(start, address, view),
            stored(start + seconds / 2, address, event("connected")),
            stored(start + seconds, address, listened),
        ]
    }

    fn connection<'a>(mount: &'a str, start: i64, agent: &'a [u8]) -> SandboxSession<'a> {
        SandboxSession {
            mount: mount.as_bytes(),
            time: Session::new(START + start, 60).unwrap(),
            address: b"192.0.2.9",
            agent,
            status: 206,
        }
    }

    #[test]
    fn sessions_come_back_as_they_were_imported() {
        let store = HitStore::open(None).unwrap();
        let hidden = "0123456789abcdef";
        for (start, seconds, address, status) in [
            (500, 90, "192.0.2.1", 200),
            (100, 7200, "2001:DB8:0:0::1", 206),
            (100, 0, hidden, 200),
        ] {
            let hits = events("/live", start, seconds, address, status);
            store.record(&hits).unwrap();
        }
        // In another batch than its page view, and one without a page view.
        let hits = events("/b", 0, 60, "192.0.2.2", 206);
        store.record(&hits[..1]).unwrap();
        store.record(&hits[1..]).unwrap();
        store
            .record(&events("/b", 9, 60, "192.0.2.3", 206)[2..])
            .unwrap();
        let expected = [
            row("/live", 500, 90, "192.0.2.1", 200),
            row("/live", 100, 7200, "2001:DB8:0:0::1", 206),
            row("/live", 100, 0, hidden, 200),
            row("/b", 0, 60, "192.0.2.2", 206),
            row("/b", 9, 60, "192.0.2.3", 200),
        ];
        assert_eq!(rows(&store), expected);
        assert_eq!(rows(&store), expected, "a second time");
    }

    #[test]
    fn connections_come_back_as_they_were_in_the_log() {
        let store = HitStore::open(None).unwrap();
        let agents: [&[u8]; 4] = [b"VLC", b"", b"\xff\xfe", "ü\0".as_bytes()];
        for (start, agent) in (0..).zip(agents) {
            store
                .add_connection(&connection("/live", start, agent))
                .unwrap();
        }
        let expected: Vec<Row> = (0..)
            .zip(agents)
            .map(|(start, agent)| {
                let address = "192.0.2.9".to_owned();
                ("/live".to_owned(), start, 60, address, agent.to_vec(), 206)
            })
            .collect();
        assert_eq!(rows(&store), expected);
    }

    #[test]
    fn events_replace_the_connections_of_their_mount_point() {
        let store = HitStore::open(None).unwrap();
        store
            .add_connection(&connection("/a", 1, PLAYER.as_bytes()))
            .unwrap();
        store
            .add_connection(&connection("/b", 2, PLAYER.as_bytes()))
            .unwrap();
        store
            .record(&events("/a", 3, 30, "192.0.2.1", 200))
            .unwrap();
        let expected = [
            row("/a", 3, 30, "192.0.2.1", 200),
            row("/b", 2, 60, "192.0.2.9", 206),
        ];
        assert_eq!(rows(&store), expected);
    }

    #[test]
    fn impossible_sessions_are_left_out() {
        let store = HitStore::open(None).unwrap();
        for value in [
            json!(-5),
            json!(1e300),
            json!("x"),
            json!(31 * 86_400),
            json!(7.9),
        ] {
            let event = json!({"e_c": "x", "e_a": "listened", "e_v": value});
            store.record(&[stored(100, "192.0.2.1", event)]).unwrap();
        }
        let update = "UPDATE hits SET json = '{\"cip\":{}}', agent = NULL WHERE e_v = 7.9";
        store.read(|db| db.execute_batch(update)).unwrap();
        let rows = rows(&store);
        assert_eq!(rows, [("".into(), 93, 7, "{}".into(), vec![], 200)]);
    }

    #[test]
    fn the_first_error_ends_reading() {
        let store = HitStore::open(None).unwrap();
        for start in 0..3 {
            store
                .add_connection(&connection("/live", start, b""))
                .unwrap();
        }
        let mut seen = 0;
        let outcome = store.for_each_session(|_| {
            seen += 1;
            Err(Error::stopped("disk full"))
        });
        assert_eq!(outcome.unwrap_err().to_string(), "disk full");
        assert_eq!(seen, 1);
    }

    /// What version 1 of the tables had instead.
    fn to_version_1(file: &Path) {
        let db = Connection::open(file).unwrap();
        db.execute_batch(
            "DROP VIEW listening;
             DROP VIEW listened;
             DROP TABLE connections;
             CREATE TABLE connections (
               id INTEGER PRIMARY KEY,
               mount TEXT NOT NULL,
               start INTEGER NOT NULL,
               seconds INTEGER NOT NULL,
               listener TEXT NOT NULL
             );
             CREATE VIEW listened AS
               SELECT coalesce(e_n, '') AS mount, CAST(e_v AS INTEGER) AS seconds, epoch AS end,
                 coalesce(json ->> 'cid', address) || ' ' || coalesce(agent, '') AS listener
               FROM hits WHERE e_a = 'listened' AND e_v IS NOT NULL;
             CREATE VIEW listening AS
               SELECT mount, end - seconds AS start, seconds, listener FROM listened
               UNION ALL
               SELECT mount, start, seconds, listener FROM connections
               WHERE mount NOT IN (SELECT mount FROM listened);
             INSERT INTO connections (mount, start, seconds, listener)
               VALUES ('/live', 1715640005, 60, '00000000000000ff');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    }

    #[test]
    fn databases_of_earlier_versions_are_converted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.db");
        let store = HitStore::open(Some(&file)).unwrap();
        store
            .record(&events("/a", 0, 30, "192.0.2.1", 200))
            .unwrap();
        drop(store);
        to_version_1(&file);
        let old = (
            "/live".to_owned(),
            5,
            60,
            "00000000000000ff".to_owned(),
            vec![],
            200,
        );
        for opened in 0..2 {
            let store = HitStore::open(Some(&file)).unwrap();
            let mut expected = vec![row("/a", 0, 30, "192.0.2.1", 200), old.clone()];
            let added = connection("/live", 9, PLAYER.as_bytes());
            expected.extend((0..opened).map(|_| row("/live", 9, 60, "192.0.2.9", 206)));
            assert_eq!(rows(&store), expected);
            let query = "SELECT count(DISTINCT listener) FROM listening";
            let listeners: i64 = store
                .read(|db| db.query_row(query, [], |row| row.get(0)))
                .unwrap();
            assert_eq!(listeners, 2 + opened);
            store.add_connection(&added).unwrap();
        }
    }

    #[test]
    fn databases_of_later_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.db");
        drop(HitStore::open(Some(&file)).unwrap());
        for version in [0, 3] {
            let db = Connection::open(&file).unwrap();
            db.pragma_update(None, "user_version", version).unwrap();
            drop(db);
            assert!(HitStore::open(Some(&file)).is_err(), "{version}");
        }
    }
}
