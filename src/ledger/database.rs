//! The database file of the ledger: `ledger.db` in the state directory.
//!
//! It is created under another name and renamed, so a file of this name is always complete. SQLite
//! keeps what is not yet in it in `ledger.db-wal`, which a crash leaves behind and the next run
//! takes up. The lock is held in the process (`locking_mode=EXCLUSIVE`), so no shared memory is
//! needed, which network file systems do not have.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ToSql, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::directory::{io_error, quarantine_path, sync_dir};
use super::fingerprint::Checksum;
use super::ranges::{LogRanges, Ranges};
use super::state::{
    BatchEntry, BatchId, BatchState, HitIds, KnownLog, LedgerState, ListedLines, LogId, Salt,
    UnconfirmedLines,
};
use super::{Unmerged, legacy};
use crate::error::{Error, Result};
use crate::failpoint::reach;
use crate::private_file;

/// The file name of the database.
pub const NAME: &str = "ledger.db";
/// Its name while it is created.
const NEW: &str = "ledger.db.new";
const WAL: &str = "ledger.db-wal";
const NEW_WAL: &str = "ledger.db.new-wal";
/// The lock is held in the process, so the WAL needs no shared memory.
const WAL_MODE: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;";
/// The label in the name of a damaged database.
const QUARANTINE_LABEL: &str = "broken";

/// The number of the only row of `meta`.
const META: u64 = 1;
/// Lists of lines move from `batches` to `done`, so they are sealed with the same number.
const LINES: u64 = 0;

/// The version of the tables. A newer one is refused.
const VERSION: i64 = 2;

/// Most columns are sealed, see [`seal`]: SQLite does not notice a changed byte in a value.
const SCHEMA: &str = "
CREATE TABLE meta (
  id INTEGER PRIMARY KEY,
  meta TEXT NOT NULL
);
CREATE TABLE targets (
  target TEXT PRIMARY KEY,
  name TEXT NOT NULL
);
CREATE TABLE logs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  log TEXT NOT NULL,
  done TEXT
);
-- Lines that are done and not in logs.done yet, by log.
CREATE TABLE done (
  id INTEGER PRIMARY KEY,
  lines TEXT NOT NULL
);
CREATE TABLE batches (
  id INTEGER PRIMARY KEY,
  state TEXT NOT NULL,
  runs INTEGER NOT NULL,
  batch TEXT NOT NULL,
  lines TEXT NOT NULL,
  recorded TEXT
);
-- For people: lines that Matomo may or may not have.
CREATE TABLE unconfirmed (
  id INTEGER PRIMARY KEY,
  target TEXT NOT NULL,
  log TEXT NOT NULL,
  lines TEXT NOT NULL,
  hits INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  time INTEGER NOT NULL,
  reported INTEGER NOT NULL
);
";

/// What the ledger knows about itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Meta {
    salt: Salt,
    day: u64,
    days: u64,
}

impl From<&LedgerState> for Meta {
    fn from(state: &LedgerState) -> Self {
        Self {
            salt: state.salt,
            day: state.day,
            days: state.days,
        }
    }
}

/// A change of the ledger that is written to the database.
#[derive(Clone, Debug)]
pub enum Change {
    /// For [`super::writer::LedgerWriter::flush`], which waits for all changes before it.
    Nothing,
    Opened(Meta),
    Target(Checksum, String),
    /// What is known of a log, except for its lines. Precedes all changes about lines of the log
    /// that were not read before.
    Log(LogId, KnownLog),
    /// All lines of a log that are done. Replaces what was known.
    AllDone(LogId, Ranges),
    /// The lines of [`Change::Done`] and of confirmed batches are all in [`Change::AllDone`].
    Merged,
    ForgotLog(LogId),
    /// Lines are done.
    Done(LogRanges),
    /// A batch is about to be sent.
    Began(BatchId, BatchEntry),
    BatchState(BatchId, BatchState),
    /// A run has ended without settling a batch of an earlier one.
    CountedRun(BatchId),
    /// Matomo has these hits of a batch and no others. The lines of the batch also need hits of
    /// other batches.
    Recorded(BatchId, HitIds),
    /// The lines of a batch are done.
    Confirmed(BatchId),
    /// A batch is closed, and no line is done by that.
    Closed(BatchId),
    /// The lines of some logs in a batch are settled. This is the rest.
    Reduced(BatchId, BatchEntry),
    Listed(u64, ListedLines),
    /// All lines listed for a target are reported.
    Reported(Checksum),
    /// Some lines are not listed any more.
    Unlisted(u64),
}

/// The open database.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// For messages.
    path: PathBuf,
}

impl Database {
    /// Opens the database in a locked directory and reads it. A missing one is created, from the
    /// files of an earlier version if there are any.
    ///
    /// # Errors
    ///
    /// If it cannot be read or created, was written by a newer version, or is damaged. A damaged
    /// database is renamed, and no other is created until the user says so.
    pub fn open(dir: &Path) -> Result<(Self, LedgerState, Unmerged)> {
        let path = dir.join(NAME);
        if !exists(&path)? {
            refuse_after_damage(dir)?;
            let state = match legacy::read(dir)? {
                Some(state) => state,
                None => LedgerState::new(Salt::random()?),
            };
            Self::create(dir, &state)?;
        }
        legacy::remove(dir)?;
        let opened = Self::connect(dir).and_then(|database| {
            let loaded = database.load()?;
            Ok((database, loaded))
        });
        let (database, loaded) = opened.map_err(|error| match is_damage(&error) {
            true => quarantine(dir, &error),
            false => failed("read", &path, &error),
        })?;
        match loaded {
            Some((state, unmerged)) => Ok((database, state, unmerged)),
            None => Err(Error::stopped(format!(
                "{} was written by a newer import-logs: use the newer program, or another \
                 --state-dir",
                path.display()
            ))),
        }
    }

    /// Creates the database with this state. The directory has none yet.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn create(dir: &Path, state: &LedgerState) -> Result<()> {
        let (path, new) = (dir.join(NAME), dir.join(NEW));
        let remove_incomplete = || {
            let _ = fs::remove_file(&new);
            let _ = fs::remove_file(dir.join(NEW_WAL));
        };
        remove_incomplete();
        let file = (private_file::options().create_new(true).open(&new))
            .map_err(|error| io_error("write", &path, &error))?;
        let write = || {
            let mut connection = connect(dir, NEW)?;
            // A crash leaves a file that the next run removes. It is synced once, at the end.
            connection.execute_batch(&format!("PRAGMA synchronous = OFF; {WAL_MODE}"))?;
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            for change in changes_to(state) {
                write(&transaction, &change)?;
            }
            transaction.execute("DELETE FROM sqlite_sequence", [])?;
            transaction.execute(
                "INSERT INTO sqlite_sequence VALUES ('logs', ?)",
                [state.next_log.saturating_sub(1)],
            )?;
            transaction.commit()?;
            connection.close().map_err(|(_, error)| error)
        };
        let written = write().map_err(|error| failed("write", &path, &error));
        let synced = written.and_then(|()| {
            file.sync_all()
                .map_err(|error| io_error("sync", &path, &error))
        });
        // On a full disk an incomplete file only takes up space. The first error is reported.
        synced.inspect_err(|_| remove_incomplete())?;
        reach("before-rename");
        fs::rename(&new, &path).map_err(|error| io_error("rename", &new, &error))?;
        sync_dir(dir)?;
        reach("after-rename");
        Ok(())
    }

    fn connect(dir: &Path) -> rusqlite::Result<Self> {
        let connection = connect(dir, NAME)?;
        connection.execute_batch(&format!("{WAL_MODE} PRAGMA synchronous = FULL;"))?;
        Ok(Self {
            connection,
            path: dir.join(NAME),
        })
    }

    /// Reads everything. Returns `None` if a newer version wrote it.
    fn load(&self) -> rusqlite::Result<Option<(LedgerState, Unmerged)>> {
        let connection = &self.connection;
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(damage(&check));
        }
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Ok(None);
        }
        // Version 1 had no batches in Matomo's queue.
        if version < VERSION {
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        let meta: Meta =
            connection.query_row("SELECT meta FROM meta", [], |row| sealed(META, row, 0))?;
        let mut state = LedgerState::new(meta.salt);
        (state.day, state.days) = (meta.day, meta.days);
        state.next_log = connection.query_row(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'logs'",
            [],
            |row| row.get(0),
        )?;
        self.each("SELECT target, name FROM targets", |row| {
            state.targets.insert(target(row, 0)?, row.get(1)?);
            Ok(())
        })?;
        self.each("SELECT id, log, done FROM logs", |row| {
            let id = row.get(0)?;
            let mut known: KnownLog = sealed(id, row, 1)?;
            known.done = sealed_if_any(id, row, 2)?.unwrap_or_default();
            state.logs.insert(LogId(id), known);
            Ok(())
        })?;
        let mut unmerged = Unmerged::default();
        self.each("SELECT lines FROM done", |row| {
            let lines = sealed(LINES, row, 0)?;
            state.mark_done(&lines);
            unmerged.add(&lines);
            Ok(())
        })?;
        self.each(
            "SELECT id, batch, lines, recorded, state, runs FROM batches",
            |row| {
                let id: u64 = row.get(0)?;
                let mut entry: BatchEntry = sealed(id, row, 1)?;
                entry.lines = sealed(LINES, row, 2)?;
                entry.recorded = sealed_if_any(id, row, 3)?;
                let name: String = row.get(4)?;
                let mut states = BatchState::ALL.into_iter();
                let state_of_batch = states.find(|state| state.name() == name);
                entry.state = state_of_batch.ok_or_else(|| damage("not a state"))?;
                entry.runs = row.get(5)?;
                state.next_batch = state.next_batch.max(id.saturating_add(1));
                state.batches.insert(BatchId(id), entry);
                Ok(())
            },
        )?;
        self.each(
            "SELECT id, log, lines, hits, outcome, time, reported, target FROM unconfirmed",
            |row| {
                let listed = ListedLines {
                    target: target(row, 7)?,
                    lines: UnconfirmedLines {
                        log: row.get(1)?,
                        lines: row.get(2)?,
                        hits: row.get(3)?,
                        outcome: row.get(4)?,
                    },
                    time: row.get(5)?,
                    is_reported: row.get(6)?,
                };
                state.unconfirmed.insert(row.get(0)?, listed);
                Ok(())
            },
        )?;
        Ok(Some((state, unmerged)))
    }

    fn each(
        &self,
        query: &str,
        mut take: impl FnMut(&Row) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(())
    }

    /// Writes and syncs these changes, all or none of them.
    pub fn commit<'c>(
        &mut self,
        changes: impl Iterator<Item = &'c Change>,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for change in changes {
            write(&transaction, change)?;
        }
        transaction.commit()
    }

    /// The message for changes that cannot be written.
    pub fn write_error(&self, error: &rusqlite::Error) -> Error {
        failed("write", &self.path, error)
    }
}

/// All changes that lead to a state.
fn changes_to(state: &LedgerState) -> impl Iterator<Item = Change> {
    let opened = Change::Opened(state.into());
    let targets = state.targets.iter();
    let targets = targets.map(|(target, name)| Change::Target(*target, name.clone()));
    let logs = state.logs.iter().flat_map(|(log, known)| {
        [
            Change::Log(*log, known.without_lines()),
            Change::AllDone(*log, known.done.clone()),
        ]
    });
    let batches = state.batches.iter();
    let batches = batches.map(|(batch, entry)| Change::Began(*batch, entry.clone()));
    let listed = state.unconfirmed.iter();
    let listed = listed.map(|(id, lines)| Change::Listed(*id, lines.clone()));
    let batches = batches.chain(listed);
    std::iter::once(opened)
        .chain(targets)
        .chain(logs)
        .chain(batches)
}

fn write(transaction: &Transaction, change: &Change) -> rusqlite::Result<()> {
    let execute = |sql: &str, values: &[&dyn ToSql]| {
        transaction.prepare_cached(sql)?.execute(values).map(drop)
    };
    match change {
        Change::Nothing => Ok(()),
        Change::Opened(meta) => {
            let sql = "INSERT OR REPLACE INTO meta VALUES (?, ?)";
            execute(sql, params![META, seal(META, meta)?])
        }
        Change::Target(target, name) => {
            let sql = "INSERT OR REPLACE INTO targets VALUES (?, ?)";
            execute(sql, params![target.to_string(), name])
        }
        Change::Log(log, known) => execute(
            "INSERT INTO logs (id, log) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET log = excluded.log",
            params![log.0, seal(log.0, known)?],
        ),
        Change::AllDone(log, done) => {
            let sql = "UPDATE logs SET done = ? WHERE id = ?";
            execute(sql, params![seal(log.0, done)?, log.0])
        }
        Change::Merged => execute("DELETE FROM done", &[]),
        Change::ForgotLog(log) => execute("DELETE FROM logs WHERE id = ?", params![log.0]),
        Change::Done(lines) => {
            let sql = "INSERT INTO done (lines) VALUES (?)";
            execute(sql, params![seal(LINES, lines)?])
        }
        Change::Began(batch, entry) => execute(
            "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
            params![
                batch.0,
                entry.state.name(),
                entry.runs,
                seal(batch.0, entry)?,
                seal(LINES, &entry.lines)?,
                entry
                    .recorded
                    .as_ref()
                    .map(|ids| seal(batch.0, ids))
                    .transpose()?,
            ],
        ),
        Change::BatchState(batch, state) => {
            let sql = "UPDATE batches SET state = ? WHERE id = ?";
            execute(sql, params![state.name(), batch.0])
        }
        Change::CountedRun(batch) => {
            let sql = "UPDATE batches SET runs = runs + 1 WHERE id = ?";
            execute(sql, params![batch.0])
        }
        Change::Recorded(batch, ids) => {
            let sql = "UPDATE batches SET recorded = ? WHERE id = ?";
            execute(sql, params![seal(batch.0, ids)?, batch.0])
        }
        Change::Confirmed(batch) => {
            let sql = "INSERT INTO done (lines) SELECT lines FROM batches WHERE id = ?";
            execute(sql, params![batch.0])?;
            write(transaction, &Change::Closed(*batch))
        }
        Change::Reduced(batch, rest) => {
            let sql = "UPDATE batches SET batch = ?, lines = ? WHERE id = ?";
            let (entry, lines) = (seal(batch.0, rest)?, seal(LINES, &rest.lines)?);
            execute(sql, params![entry, lines, batch.0])
        }
        Change::Listed(id, listed) => {
            let lines = &listed.lines;
            execute(
                "INSERT INTO unconfirmed VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    id,
                    listed.target.to_string(),
                    lines.log,
                    lines.lines,
                    lines.hits,
                    lines.outcome,
                    listed.time,
                    listed.is_reported,
                ],
            )
        }
        Change::Reported(target) => {
            let sql = "UPDATE unconfirmed SET reported = 1 WHERE target = ? AND NOT reported";
            execute(sql, params![target.to_string()])
        }
        Change::Unlisted(id) => execute("DELETE FROM unconfirmed WHERE id = ?", params![id]),
        Change::Closed(batch) => execute("DELETE FROM batches WHERE id = ?", params![batch.0]),
    }
}

/// The text of a column: the checksum of the row's number and of the rest, a space, and JSON.
fn seal(id: u64, value: &impl Serialize) -> rusqlite::Result<String> {
    let json = serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let text = format!("{id} {json}");
    Ok(format!("{} {json}", Checksum::of(text.as_bytes())))
}

fn target(row: &Row, column: usize) -> rusqlite::Result<Checksum> {
    let text: String = row.get(column)?;
    Checksum::parse(text.as_bytes()).ok_or_else(|| damage("not a target"))
}

/// Reads a sealed column.
fn sealed<T: DeserializeOwned>(id: u64, row: &Row, column: usize) -> rusqlite::Result<T> {
    sealed_if_any(id, row, column)?.ok_or_else(|| damage("a value is missing"))
}

fn sealed_if_any<T: DeserializeOwned>(
    id: u64,
    row: &Row,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else {
        return Ok(None);
    };
    let parts = text.split_once(' ');
    let json = parts.and_then(|(checksum, json)| {
        let text = format!("{id} {json}");
        (Checksum::parse(checksum.as_bytes())? == Checksum::of(text.as_bytes())).then_some(json)
    });
    let json = json.ok_or_else(|| damage("a checksum does not match"))?;
    serde_json::from_str(json).map_err(|error| damage(&error.to_string()))
}

fn damage(how: &str) -> rusqlite::Error {
    FromSqlError::Other(how.into()).into()
}

/// Opens a database without following links, in the directory or on the way to it.
fn connect(dir: &Path, name: &str) -> rusqlite::Result<Connection> {
    // SQLite refuses links in the whole path, not only in its last part.
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    Connection::open_with_flags(dir.join(name), flags)
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .map_err(|error| io_error("read", path, &error))
}

/// Whether an error is about the content of the database.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
        ),
        None => true,
    }
}

/// Whether what is on disk is unknown after this error, so nothing more may be written.
pub fn is_fatal(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    is_damage(error)
        || matches!(
            code,
            Some(rusqlite::ffi::SQLITE_IOERR_FSYNC | rusqlite::ffi::SQLITE_IOERR_DIR_FSYNC)
        )
}

fn failed(action: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free some space there",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "let this user read and write there, or use another --state-dir"
        }
        _ => "check that disk, or use another --state-dir",
    };
    Error::stopped(format!(
        "cannot {action} {}: {error}; {remedy}",
        path.display()
    ))
}

/// Renames a damaged database.
fn quarantine(dir: &Path, error: &rusqlite::Error) -> Error {
    let path = dir.join(NAME);
    let broken = quarantine_path(&path, QUARANTINE_LABEL);
    let mut broken_wal = broken.clone().into_os_string();
    broken_wal.push("-wal");
    if let Err(error) = fs::rename(&path, &broken) {
        return io_error("rename", &path, &error);
    }
    // The last run removed it if it closed the database.
    let _ = fs::rename(dir.join(WAL), broken_wal);
    Error::stopped(format!(
        "{} is damaged ({error}) and kept as {}; {}",
        path.display(),
        broken.display(),
        how_to_continue(&path, &broken)
    ))
}

/// Fails if the database was damaged, or its file was lost: a new one would send all lines again.
fn refuse_after_damage(dir: &Path) -> Result<()> {
    let path = dir.join(NAME);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| io_error("read", dir, &error))? {
        names.push(
            entry
                .map_err(|error| io_error("read", dir, &error))?
                .file_name(),
        );
    }
    let is_left = |name: &str| {
        name == WAL
            || name
                .strip_prefix(NAME)
                .is_some_and(|rest| rest.starts_with(".broken-"))
    };
    names.sort();
    match names.iter().find(|name| name.to_str().is_some_and(is_left)) {
        None => Ok(()),
        Some(left) => {
            let left = dir.join(left);
            Err(Error::stopped(format!(
                "{} was damaged, and {} is left of it; {}",
                path.display(),
                left.display(),
                how_to_continue(&path, &left)
            )))
        }
    }
}

fn how_to_continue(path: &Path, left: &Path) -> String {
    format!(
        "it is not known which lines are done: put a copy of {} from a backup in its place, or \
         remove {} to import all lines of your logs again",
        path.display(),
        left.display()
    )
}
