//! The sandbox's SQLite database, made to be queried by hand.

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::api::host;
use super::sessions::SandboxSession;
use super::tracker::{StoredHit, TEXT_COLUMNS};
use crate::error::{Error, Result};
use crate::private_file;
use crate::radio::Session;
use crate::sync::Mutex;

/// Marks a database as a sandbox's ("mtmo").
const APPLICATION_ID: i32 = 0x6d74_6d6f;
/// A file with an older version of the tables is converted, one with a newer version rejected.
const SCHEMA_VERSION: i32 = 2;

/// Times are UTC. A visit ends after 30 minutes without an action, at midnight, and before a hit
/// with `new_visit`. The listening time of a mount point comes from its `listened` events, or else
/// from the connections that the import stored. A listener is an address (or the ID of a hidden
/// one) with a user agent.
const SCHEMA: &str = "
CREATE TABLE sites (
  idsite INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  main_url TEXT NOT NULL
);
CREATE TABLE hosts (
  host TEXT PRIMARY KEY,
  idsite INTEGER NOT NULL REFERENCES sites (idsite)
);
CREATE TABLE hits (
  id INTEGER PRIMARY KEY,
  batch INTEGER NOT NULL,
  time TEXT NOT NULL,
  day TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  idsite INTEGER NOT NULL,
  kind TEXT NOT NULL,
  visitor TEXT NOT NULL,
  address TEXT NOT NULL,
  uid TEXT,
  agent TEXT,
  url TEXT,
  referrer TEXT,
  referrer_host TEXT,
  status INTEGER,
  bytes INTEGER,
  pf_srv INTEGER,
  download TEXT,
  action_name TEXT,
  e_c TEXT,
  e_a TEXT,
  e_n TEXT,
  e_v REAL,
  new_visit INTEGER NOT NULL,
  pv_id TEXT,
  json TEXT NOT NULL
);
CREATE INDEX hits_by_day ON hits (idsite, day);
CREATE TABLE connections (
  id INTEGER PRIMARY KEY,
  mount TEXT NOT NULL,
  start INTEGER NOT NULL,
  seconds INTEGER NOT NULL,
  address TEXT NOT NULL,
  agent TEXT,
  status INTEGER
);
CREATE VIEW visit_hits AS
  SELECT *, sum(opens) OVER (PARTITION BY idsite, day, visitor ORDER BY epoch, id) AS visit
  FROM (
    SELECT *, new_visit OR coalesce(
      epoch - lag(epoch) OVER (PARTITION BY idsite, day, visitor ORDER BY epoch, id) > 1800, 1) AS opens
    FROM hits WHERE kind <> 'assistant'
  );
CREATE VIEW visits AS
  SELECT idsite, day, visitor, min(address) AS address, min(uid) AS uid, min(agent) AS agent,
    min(time) AS start, max(time) AS end, max(epoch) - min(epoch) AS seconds, count(*) AS actions
  FROM visit_hits GROUP BY idsite, day, visitor, visit;
";

const VIEWS: &str = "
CREATE VIEW listened AS
  SELECT coalesce(e_n, '') AS mount, CAST(e_v AS INTEGER) AS seconds, epoch AS end,
    coalesce(json ->> 'cid', address) || ' ' || coalesce(agent, '') AS listener
  FROM hits WHERE e_a = 'listened' AND e_v IS NOT NULL;
CREATE VIEW listening AS
  SELECT mount, end - seconds AS start, seconds, listener FROM listened
  UNION ALL
  SELECT mount, start, seconds, address || ' ' || coalesce(agent, '') FROM connections
  WHERE mount NOT IN (SELECT mount FROM listened);
";

/// Converts version 1, whose listeners of connections were hashes. These become ids of listeners,
/// as those of hidden addresses.
const FROM_VERSION_1: &str = "
DROP VIEW listening;
DROP VIEW listened;
ALTER TABLE connections RENAME COLUMN listener TO address;
ALTER TABLE connections ADD COLUMN agent TEXT;
ALTER TABLE connections ADD COLUMN status INTEGER;
";

/// Connections to write in one transaction.
const CONNECTION_BATCH: usize = 1000;

/// A handle on the database. Clones share it.
#[derive(Clone)]
pub struct HitStore {
    database: Arc<Mutex<SharedStore>>,
}

struct SharedStore {
    connection: Connection,
    /// Connections not yet written.
    unwritten: Vec<ListenerConnection>,
    on_write_error: Option<WriteErrorHandler>,
}

type WriteErrorHandler = Box<dyn Fn(Error) + Send>;

/// A row of the table `connections`.
struct ListenerConnection {
    mount: String,
    time: Session,
    address: Value,
    agent: Value,
    status: u16,
}

/// A row of the table `sites`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSite {
    pub idsite: i64,
    pub name: String,
    pub main_url: String,
}

impl StoredSite {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            idsite: row.get(0)?,
            name: row.get(1)?,
            main_url: row.get(2)?,
        })
    }
}

impl HitStore {
    /// Creates the file, or opens an earlier sandbox's to add to it. Without a file, the database
    /// is temporary.
    ///
    /// # Errors
    ///
    /// The file is not a sandbox's database, or cannot be written.
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let failed = |problem: &dyn std::fmt::Display| {
            let file = file.map_or_else(|| "(temporary)".into(), |file| file.display().to_string());
            Error::stopped(format!(
                "the sandbox cannot use the file {file}: {problem}; name a new file, or one of an earlier sandbox"
            ))
        };
        // With an empty name SQLite keeps the database in memory while it is small, then in a file
        // that it deletes at the end.
        if let Some(file) = file {
            // Only its owner may read it: hits hold addresses.
            private_file::append(file).map_err(|error| failed(&error))?;
            // SQLite would take over what is in these.
            for suffix in ["-journal", "-wal"] {
                let mut path = file.as_os_str().to_owned();
                path.push(suffix);
                private_file::refuse_planted(Path::new(&path))
                    .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
            }
        }
        let mut connection =
            Connection::open(file.unwrap_or(Path::new(""))).map_err(|error| failed(&error))?;
        if !create_tables(&mut connection).map_err(|error| failed(&error))? {
            return Err(failed(&"it is a database of another program"));
        }
        Ok(Self {
            database: Arc::new(Mutex::new(SharedStore {
                connection,
                unwritten: Vec::new(),
                on_write_error: None,
            })),
        })
    }

    /// Calls `handler` when something cannot be written, before the client gets its response.
    pub fn on_write_error(&self, handler: impl Fn(Error) + Send + 'static) {
        self.database.lock().on_write_error = Some(Box::new(handler));
    }

    /// All hits as they were sent, but without tokens, in the order in which they were stored.
    pub fn hits(&self) -> Result<Vec<serde_json::Value>> {
        let texts: Vec<String> = self.read(|db| {
            let mut query = db.prepare("SELECT json FROM hits ORDER BY id")?;
            query.query_map([], |row| row.get(0))?.collect()
        })?;
        let parsed = texts.iter().map(|text| serde_json::from_str(text));
        parsed.collect::<serde_json::Result<_>>().map_err(|error| {
            Error::stopped(format!("the sandbox's table hits is damaged: {error}"))
        })
    }

    /// The number of hits.
    pub fn count(&self) -> Result<u64> {
        self.read(|db| db.query_row("SELECT count(*) FROM hits", [], |row| row.get(0)))
            .map(i64::unsigned_abs)
    }

    /// Queries the database. The server waits meanwhile.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.with(|db| query(db))
            .map_err(|error| database_error(&error))
    }

    /// Stores a batch in one transaction.
    pub(super) fn record(&self, hits: &[StoredHit]) -> rusqlite::Result<()> {
        if hits.is_empty() {
            return Ok(());
        }
        let mut database = self.database.lock();
        database.flush()?;
        database.write(|db| insert_hits(db, hits))
    }

    /// Stores a listener's connection that is sent as a plain hit.
    pub fn add_connection(&self, session: &SandboxSession) -> Result<()> {
        let mut database = self.database.lock();
        database.unwritten.push(ListenerConnection {
            // As in an event.
            mount: String::from_utf8_lossy(session.mount).into_owned(),
            time: session.time,
            address: text_or_blob(session.address),
            agent: text_or_blob(session.agent),
            status: session.status,
        });
        if database.unwritten.len() < CONNECTION_BATCH {
            return Ok(());
        }
        database.flush().map_err(|error| database_error(&error))
    }

    pub fn site(&self, idsite: i64) -> rusqlite::Result<Option<StoredSite>> {
        self.with(|db| {
            db.prepare_cached("SELECT idsite, name, main_url FROM sites WHERE idsite = ?")?
                .query_row([idsite], StoredSite::from_row)
                .optional()
        })
    }

    pub(super) fn sites(&self) -> rusqlite::Result<Vec<StoredSite>> {
        self.with(|db| {
            let select = "SELECT idsite, name, main_url FROM sites ORDER BY idsite";
            let mut query = db.prepare_cached(select)?;
            query.query_map([], StoredSite::from_row)?.collect()
        })
    }

    /// The site that has this host in one of its URLs.
    pub fn site_of_host(&self, host: &str) -> rusqlite::Result<Option<i64>> {
        self.with(|db| {
            db.prepare_cached("SELECT idsite FROM hosts WHERE host = ?")?
                .query_row([host], |row| row.get(0))
                .optional()
        })
    }

    /// Creates a site with this ID, or with the next free one.
    pub(super) fn add_site(
        &self,
        idsite: Option<i64>,
        name: &str,
        urls: &[String],
    ) -> rusqlite::Result<i64> {
        self.with(|db| {
            let transaction = db.transaction()?;
            let main_url = urls.first().map_or("http://example.org", String::as_str);
            transaction.execute(
                "INSERT INTO sites (idsite, name, main_url) VALUES (?, ?, ?)",
                params![idsite, name, main_url],
            )?;
            let idsite = transaction.last_insert_rowid();
            for url in urls {
                transaction.execute(
                    "INSERT OR IGNORE INTO hosts (host, idsite) VALUES (?, ?)",
                    params![host(url), idsite],
                )?;
            }
            transaction.commit()?;
            Ok(idsite)
        })
    }

    /// Works on the database after everything is written.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut database = self.database.lock();
        database.flush()?;
        work(&mut database.connection)
    }
}

impl SharedStore {
    fn flush(&mut self) -> rusqlite::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        let written = self.write(|db| insert_connections(db, &unwritten));
        if written.is_err() {
            self.unwritten = unwritten;
        }
        written
    }

    fn write(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        work(&mut self.connection).inspect_err(|error| {
            if let Some(handler) = &self.on_write_error {
                handler(database_error(error));
            }
        })
    }
}

impl Drop for SharedStore {
    fn drop(&mut self) {
        // There is nothing left to report an error to.
        let _ = self.flush();
    }
}

/// Creates the tables in a new database. Returns whether the database is a sandbox's.
fn create_tables(db: &mut Connection) -> rusqlite::Result<bool> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = tables == 0 && application == 0;
    let is_known = application == APPLICATION_ID && (1..=SCHEMA_VERSION).contains(&version);
    if !is_new && !is_known {
        return Ok(false);
    }
    // A killed process still leaves whole batches; only a power failure can damage the file.
    db.pragma_update(None, "synchronous", "OFF")?;
    let transaction = db.transaction()?;
    if is_new || version < SCHEMA_VERSION {
        transaction.execute_batch(if is_new { SCHEMA } else { FROM_VERSION_1 })?;
        transaction.execute_batch(VIEWS)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.execute(
        "INSERT OR IGNORE INTO sites (idsite, name, main_url)
         VALUES (1, 'Sandbox', 'http://example.org')",
        [],
    )?;
    transaction.commit()?;
    Ok(true)
}

fn insert_connections(
    db: &mut Connection,
    connections: &[ListenerConnection],
) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO connections (mount, start, seconds, address, agent, status)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for connection in connections {
        insert.execute(params![
            connection.mount,
            connection.time.start(),
            connection.time.seconds(),
            connection.address,
            connection.agent,
            connection.status
        ])?;
    }
    drop(insert);
    transaction.commit()
}

fn insert_hits(db: &mut Connection, hits: &[StoredHit]) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    let batch = next_batch(&transaction)?;
    let columns = TEXT_COLUMNS.map(|(_, column)| column).join(", ");
    let mut insert = transaction.prepare_cached(&format!(
        "INSERT INTO hits (batch, time, day, epoch, idsite, kind, visitor, address, referrer_host,
           status, bytes, pf_srv, e_v, new_visit, json, {columns})
         VALUES (?, ?, substr(?2, 1, 10){})",
        ", ?".repeat(12 + TEXT_COLUMNS.len())
    ))?;
    for hit in hits {
        let kind = hit.kind.as_text();
        let mut row: Vec<&dyn ToSql> = vec![&batch, &hit.time, &hit.epoch, &hit.idsite, &kind];
        row.extend([&hit.visitor as &dyn ToSql, &hit.address, &hit.referrer_host]);
        row.extend([&hit.status as &dyn ToSql, &hit.bytes, &hit.pf_srv]);
        row.extend([&hit.e_v as &dyn ToSql, &hit.new_visit, &hit.json]);
        row.extend(hit.texts.iter().map(|text| text as &dyn ToSql));
        insert.execute(row.as_slice())?;
    }
    drop(insert);
    transaction.commit()
}

/// A text as it is, also if it is not UTF-8.
fn text_or_blob(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Blob(bytes.to_owned()),
    }
}

fn next_batch(transaction: &Transaction) -> rusqlite::Result<i64> {
    transaction.query_row(
        "SELECT coalesce((SELECT batch FROM hits ORDER BY id DESC LIMIT 1), 0) + 1",
        [],
        |row| row.get(0),
    )
}

fn database_error(error: &rusqlite::Error) -> Error {
    Error::stopped(format!("the sandbox's database: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ErrorKind;

    fn hit(parameters: Value) -> StoredHit {
        let Value::Object(parameters) = parameters else {
            panic!("not an object: {parameters}");
        };
        let date = DateTime::from_timestamp(1_789_905_600, 0).unwrap();
        StoredHit::new(parameters, 1, date, [10, 0, 0, 1].into())
    }

    fn session(mount: &str) -> SandboxSession<'_> {
        SandboxSession {
            mount: mount.as_bytes(),
            time: Session::new(1_700_000_000, 60).unwrap(),
            address: b"192.0.2.1",
            agent: b"VLC",
            status: 200,
        }
    }

    fn count(db: &Connection, query: &str) -> i64 {
        db.query_row(query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_is_added_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trial.sqlite");
        for number in 0..2 {
            let store = HitStore::open(Some(&file)).unwrap();
            let url = format!("http://example.org/{number}");
            store
                .record(&[hit(json!({"url": url, "uid": number}))])
                .unwrap();
            store.add_connection(&session("/live")).unwrap();
        }
        let db = Connection::open(&file).unwrap();
        assert_eq!(
            count(&db, "SELECT count(*) FROM hits WHERE status IS NULL"),
            2
        );
        assert_eq!(count(&db, "SELECT max(batch) FROM hits"), 2);
        assert_eq!(count(&db, "SELECT count(*) FROM visits"), 2);
        assert_eq!(count(&db, "SELECT sum(seconds) FROM connections"), 120);
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("access.log");
        fs::write(
            &text,
            "10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1\n".repeat(50),
        )
        .unwrap();
        let other = folder.path().join("other.sqlite");
        let db = Connection::open(&other).unwrap();
        db.execute_batch("CREATE TABLE t (x)").unwrap();
        for file in [text, other, folder.path().join("no/such/folder")] {
            let before = fs::read(&file).ok();
            let error = HitStore::open(Some(&file)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Stopped);
            let file_name = file.display().to_string();
            assert!(error.to_string().contains(&file_name), "{error}");
            assert_eq!(fs::read(&file).ok(), before);
        }
    }

    #[test]
    fn hits_come_back_as_they_were_sent() {
        let store = HitStore::open(None).unwrap();
        store.record(&[]).unwrap();
        let sent = json!({"url": "http://example.org/", "bw_bytes": 5});
        store
            .record(&[hit(sent.clone()), hit(sent.clone())])
            .unwrap();
        assert_eq!(store.count().unwrap(), 2);
        assert_eq!(store.hits().unwrap(), [sent.clone(), sent]);
    }

    #[test]
    fn new_sites_get_the_next_id_and_their_hosts() {
        let store = HitStore::open(None).unwrap();
        let urls = ["http://b.example".to_owned()];
        assert_eq!(store.add_site(None, "b", &urls).unwrap(), 2);
        assert_eq!(store.add_site(Some(9), "c", &[]).unwrap(), 9);
        assert_eq!(store.site_of_host("b.example").unwrap(), Some(2));
        assert_eq!(store.add_site(None, "d", &[]).unwrap(), 10);
        assert_eq!(store.sites().unwrap().len(), 4);
    }
}
