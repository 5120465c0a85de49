//! The store: hits, sites and connections in SQLite.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, params};
use serde_json::Value;

use super::locked;
use super::options::Sites;
use super::schema::{APPLICATION, TABLES, VERSION};
use super::sites;
use super::stored::Stored;
use crate::error::{Error, Result};
use crate::radio;

/// So many connections of listeners are written at once.
const TOGETHER: usize = 1000;

/// A handle on the store; copies share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    db: Connection,
    /// Connections not yet written.
    waiting: Vec<Listened>,
    alarm: Option<Alarm>,
}

/// Told when something cannot be written.
pub type Alarm = Box<dyn Fn(Error) + Send>;

struct Listened {
    mount: String,
    connection: radio::Session,
    listener: String,
}

impl Store {
    /// Opens the file, which is made or, if it is a sandbox's, added to; without one a file that goes with the
    /// store.
    ///
    /// An error: a file of something else, or one that cannot be written.
    pub(super) fn open(file: Option<&Path>, sites: &Sites) -> Result<Self> {
        let name = file.map_or_else(|| "of its own".into(), |file| file.display().to_string());
        let failed = |what: String| {
            Error::stopped(format!(
                "the sandbox cannot use the file {name}: {what}; name a new file, or one of an earlier sandbox"
            ))
        };
        // An empty name is SQLite's for a file that it keeps in memory while it is small, and removes at the end.
        let opened = Connection::open(file.unwrap_or(Path::new(""))).and_then(|mut db| {
            let known = prepare(&mut db, sites)?;
            Ok((db, known))
        });
        match opened {
            Ok((db, true)) => Ok(Self {
                inner: Arc::new(Mutex::new(Inner {
                    db,
                    waiting: Vec::new(),
                    alarm: None,
                })),
            }),
            Ok((_, false)) => Err(failed("it is a database of something else".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// From now on tells of what cannot be written, before whoever wanted it written is answered.
    pub fn alarm(&self, alarm: Alarm) {
        locked(&self.inner).alarm = Some(alarm);
    }

    /// All stored hits as they were sent, without tokens, in the order they were stored.
    pub fn hits(&self) -> Result<Vec<Value>> {
        let texts: Vec<String> = self.read(|db| {
            let mut all = db.prepare("SELECT json FROM hits ORDER BY id")?;
            all.query_map([], |row| row.get(0))?.collect()
        })?;
        let parsed = texts.iter().map(|text| serde_json::from_str(text));
        parsed.collect::<serde_json::Result<_>>().map_err(|error| {
            Error::stopped(format!("the sandbox's table hits is damaged: {error}"))
        })
    }

    /// How many hits are stored.
    pub fn count(&self) -> Result<u64> {
        self.read(|db| db.query_row("SELECT count(*) FROM hits", [], |row| row.get(0)))
            .map(i64::unsigned_abs)
    }

    /// Asks the database (tables `hits`, `sites`, `hosts`, `connections`, views `visits`, `listening`). The server
    /// waits meanwhile.
    pub fn read<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.with(|db| ask(db)).map_err(|error| trouble(&error))
    }

    /// Stores a batch in one transaction: all of it or nothing.
    pub(super) fn record(&self, hits: &[Box<Stored>]) -> rusqlite::Result<()> {
        if hits.is_empty() {
            return Ok(());
        }
        let mut inner = locked(&self.inner);
        inner.flush()?;
        inner.write(|db| {
            let transaction = db.transaction()?;
            insert(&transaction, hits)?;
            transaction.commit()
        })
    }

    /// Notes a connection that is sent as a plain hit. `listener` is the same for connections of the same one.
    pub fn add_connection(
        &self,
        mount: &str,
        connection: radio::Session,
        listener: u64,
    ) -> Result<()> {
        let mut inner = locked(&self.inner);
        inner.waiting.push(Listened {
            mount: mount.to_owned(),
            connection,
            listener: format!("{listener:016x}"),
        });
        match inner.waiting.len() < TOGETHER {
            true => Ok(()),
            false => inner.flush().map_err(|error| trouble(&error)),
        }
    }

    /// Works on the database with everything written.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut inner = locked(&self.inner);
        inner.flush()?;
        work(&mut inner.db)
    }
}

impl Inner {
    fn flush(&mut self) -> rusqlite::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let written = self.write(|db| note(db, &waiting));
        if written.is_err() {
            self.waiting = waiting;
        }
        written
    }

    fn write(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        work(&mut self.db).inspect_err(|error| {
            if let Some(alarm) = &self.alarm {
                alarm(trouble(error));
            }
        })
    }
}

fn note(db: &mut Connection, waiting: &[Listened]) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO connections (mount, start, seconds, listener) VALUES (?, ?, ?, ?)",
        )?;
        for one in waiting {
            let (start, seconds) = (one.connection.start(), one.connection.seconds() as i64);
            insert.execute(params![one.mount, start, seconds, one.listener])?;
        }
    }
    transaction.commit()
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.flush();
    }
}

/// Makes the tables where the database is new; whether it is a sandbox's.
fn prepare(db: &mut Connection, sites: &Sites) -> rusqlite::Result<bool> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = tables == 0 && application == 0;
    if !is_new && (application, version) != (APPLICATION, VERSION) {
        return Ok(false);
    }
    // A killed process leaves whole batches; only a machine that goes down may leave a damaged file.
    db.pragma_update(None, "synchronous", "OFF")?;
    let transaction = db.transaction()?;
    if is_new {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    sites::fill(&transaction, sites)?;
    transaction.commit()?;
    Ok(true)
}

fn insert(transaction: &Transaction, hits: &[Box<Stored>]) -> rusqlite::Result<()> {
    let batch: i64 = transaction.query_row(
        "SELECT coalesce((SELECT batch FROM hits ORDER BY id DESC LIMIT 1), 0) + 1",
        [],
        |row| row.get(0),
    )?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO hits (batch, time, day, epoch, idsite, kind, visitor, address, uid, agent, url, referrer,
           referrer_host, status, bytes, pf_srv, download, action_name, e_c, e_a, e_n, e_v, new_visit, pv_id, json)
         VALUES (?, ?, substr(?2, 1, 10), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for hit in hits {
        insert.execute(params![
            batch,
            hit.time,
            hit.epoch,
            hit.idsite,
            hit.kind.as_text(),
            hit.visitor,
            hit.address,
            hit.uid,
            hit.agent,
            hit.url,
            hit.referrer,
            hit.referrer_host,
            hit.status,
            hit.bytes,
            hit.pf_srv,
            hit.download,
            hit.action_name,
            hit.e_c,
            hit.e_a,
            hit.e_n,
            hit.e_v,
            hit.new_visit,
            hit.pv_id,
            hit.json,
        ])?;
    }
    Ok(())
}

fn trouble(error: &rusqlite::Error) -> Error {
    Error::stopped(format!("the sandbox's database: {error}"))
}
