//! The listener log for collecting societies: a line for each session (guide/listening.md,
//! "Listener log").

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::DateTime;
use rusqlite::{Connection, params};

use super::write::ReportFile;
use crate::error::{Error, Result};
use crate::private_file::{self, Visibility};
use crate::radio::{LoggedSession, SessionSink};
use crate::sync::Mutex;

const HEADER: &str =
    "IP Address\tDate\tTime\tStream ID\tDuration\tHTTP Status\tReferrer/Client Player\n";

/// Streams that get a file of their own. Clients can ask a server for any number of names.
const MAX_STREAMS: usize = 1000;

/// Bytes of a mount point's name in the name of a file.
const MAX_NAME_BYTES: usize = 100;

/// The sessions in the order of the files. The key makes SQLite sort while it inserts, so that
/// nothing is sorted in memory.
const SCHEMA: &str = "
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE sessions (
  mount BLOB NOT NULL,
  start INTEGER NOT NULL,
  number INTEGER NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (mount, start, number)
) WITHOUT ROWID;
BEGIN;
";

/// Collects sessions in a temporary file, and writes them by stream and time.
#[derive(Debug)]
pub struct ListenerLog {
    target: PathBuf,
    sessions: Connection,
    added: i64,
}

/// The listener logs of a run, one for each `--report=FILE.txt`.
#[derive(Debug, Default)]
pub struct ListenerLogs {
    logs: Vec<ListenerLog>,
    /// Why `logs` is empty.
    error: Option<Error>,
}

/// A file of the listener log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFile {
    pub path: PathBuf,
    content: StreamContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum StreamContent {
    All,
    Mount(Vec<u8>),
    /// All mount points but these.
    Except(BTreeSet<Vec<u8>>),
}

impl ListenerLog {
    /// Starts a listener log for `--report=TARGET`. Its temporary file is in the directory of the
    /// target, where its size is expected, and is gone when this is dropped or the program dies.
    ///
    /// # Errors
    ///
    /// The directory cannot be written to.
    pub fn create(target: &Path) -> Result<Self> {
        let sessions = temporary_database(target).map_err(|error| failed(target, &error))?;
        Ok(Self {
            target: target.to_owned(),
            sessions,
            added: 0,
        })
    }

    /// Adds a session. They may come in any order.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be written.
    pub fn add(&mut self, session: &LoggedSession) -> Result<()> {
        self.added += 1;
        let insert = self
            .sessions
            .prepare_cached("INSERT INTO sessions VALUES (?, ?, ?, ?)");
        let added = insert.and_then(|mut insert| {
            insert.execute(params![
                session.mount,
                session.start,
                self.added,
                line(session)
            ])
        });
        added
            .map(|_| ())
            .map_err(|error| failed(&self.target, &error))
    }

    /// The files to write: with one stream or none, the target itself, else one for each stream,
    /// such as `FILE.jazz.mp3.txt`.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be read.
    pub fn files(&self) -> Result<Vec<StreamFile>> {
        let mounts = self.mounts();
        let mut mounts = mounts.map_err(|error| failed(&self.target, &error))?;
        if mounts.len() < 2 {
            return Ok(vec![StreamFile {
                path: self.target.clone(),
                content: StreamContent::All,
            }]);
        }
        let has_more = mounts.len() > MAX_STREAMS;
        mounts.truncate(MAX_STREAMS);
        mounts.sort_unstable();
        let mut names = FileNames::new(&self.target);
        let others = has_more.then(|| StreamFile {
            path: names.next("others"),
            content: StreamContent::Except(mounts.iter().cloned().collect()),
        });
        let files = mounts.into_iter().map(|mount| StreamFile {
            path: names.next(&file_name(&mount)),
            content: StreamContent::Mount(mount),
        });
        Ok(files.chain(others).collect())
    }

    /// Writes a file of [`ListenerLog::files`]: a header, and the sessions by stream and time.
    ///
    /// # Errors
    ///
    /// `out` cannot be written, or the temporary file cannot be read.
    pub fn write(&self, file: &StreamFile, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(HEADER.as_bytes())?;
        const ALL: &str = "SELECT mount, line FROM sessions ORDER BY mount, start, number";
        const OF_MOUNT: &str =
            "SELECT mount, line FROM sessions WHERE mount = ? ORDER BY start, number";
        let database = &self.sessions;
        let (mut query, mount) = match &file.content {
            StreamContent::Mount(mount) => (
                database.prepare(OF_MOUNT).map_err(io::Error::other)?,
                Some(mount),
            ),
            _ => (database.prepare(ALL).map_err(io::Error::other)?, None),
        };
        let rows = match mount {
            Some(mount) => query.query([mount]),
            None => query.query([]),
        };
        let mut rows = rows.map_err(io::Error::other)?;
        while let Some(row) = rows.next().map_err(io::Error::other)? {
            if let StreamContent::Except(mounts) = &file.content {
                let mount = row.get_ref(0).map_err(io::Error::other)?;
                if mounts.contains(mount.as_blob().map_err(io::Error::other)?) {
                    continue;
                }
            }
            let line = row.get_ref(1).map_err(io::Error::other)?;
            out.write_all(line.as_bytes().map_err(io::Error::other)?)?;
        }
        Ok(())
    }

    /// The mount points with the most sessions first; at most one more than get a file.
    fn mounts(&self) -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut query = self.sessions.prepare(
            "SELECT mount FROM (SELECT mount, count(*) AS sessions FROM sessions GROUP BY mount)
             ORDER BY sessions DESC, mount LIMIT ?",
        )?;
        query
            .query_map([MAX_STREAMS as i64 + 1], |row| row.get(0))?
            .collect()
    }
}

impl SessionSink for Mutex<ListenerLogs> {
    fn add(&self, session: &LoggedSession) {
        self.lock().add(session);
    }
}

impl ListenerLogs {
    /// Starts the logs with these targets.
    ///
    /// # Errors
    ///
    /// A directory cannot be written to.
    pub fn create<'p>(targets: impl Iterator<Item = &'p Path>) -> Result<Self> {
        Ok(Self {
            logs: targets.map(ListenerLog::create).collect::<Result<_>>()?,
            error: None,
        })
    }

    /// Adds a session. If that fails, the import goes first, and [`Self::write`] returns the error.
    fn add(&mut self, session: &LoggedSession) {
        if let Err(error) = self.logs.iter_mut().try_for_each(|log| log.add(session)) {
            self.logs.clear();
            self.error = Some(error);
        }
    }

    /// Writes all files. Returns what failed.
    pub fn write(self) -> Vec<Error> {
        let mut errors: Vec<Error> = self.error.into_iter().collect();
        for log in self.logs {
            match log.files() {
                Ok(files) => errors.extend(files.iter().filter_map(|file| {
                    let target = ReportFile::new(&file.path);
                    target
                        .and_then(|it| it.write(|out| log.write(file, out)))
                        .err()
                })),
                Err(error) => errors.push(error),
            }
        }
        errors
    }
}

/// A database in a file that has no name any more.
fn temporary_database(target: &Path) -> io::Result<Connection> {
    let path = private_file::temporary_path(target)?;
    private_file::create(&path, Visibility::Owner)?;
    let database = Connection::open(&path).and_then(|database| {
        database.execute_batch(SCHEMA)?;
        Ok(database)
    });
    fs::remove_file(&path)?;
    database.map_err(io::Error::other)
}

fn failed(target: &Path, error: &dyn std::fmt::Display) -> Error {
    let target = target.display();
    Error::stopped(format!(
        "--report={target}: the temporary file for the sessions: {error}"
    ))
}

fn line(session: &LoggedSession) -> String {
    let begin = DateTime::from_timestamp(session.start, 0).unwrap_or_default();
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\n",
        clean(session.address),
        begin.format("%Y-%m-%d\t%H:%M:%S"),
        clean(session.mount),
        session.seconds,
        clean(session.status),
        clean(session.agent),
    )
}

/// A field of a line. Each tab, line end and other control character becomes a blank.
fn clean(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    let is_line_end = |character| matches!(character, '\u{2028}' | '\u{2029}');
    let cleaned =
        text.chars().map(
            |character| match character.is_control() || is_line_end(character) {
                true => ' ',
                false => character,
            },
        );
    let cleaned: String = cleaned.collect();
    match cleaned.trim() {
        "" => "-".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// A mount point as part of the name of a file.
fn file_name(mount: &[u8]) -> String {
    let mount = String::from_utf8_lossy(mount);
    let is_safe =
        |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    let name = mount.trim_start_matches('/').chars();
    let name = name.map(|character| Some(character).filter(is_safe).unwrap_or('_'));
    let name: String = name.take(MAX_NAME_BYTES).collect();
    if name.is_empty() { "root".into() } else { name }
}

/// Makes names of files that differ, also where upper and lower case are the same.
struct FileNames {
    directory: PathBuf,
    stem: String,
    extension: String,
    taken: BTreeSet<String>,
}

impl FileNames {
    fn new(target: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| {
            let part = part.unwrap_or_default();
            part.to_string_lossy().into_owned()
        };
        Self {
            directory: target.parent().unwrap_or(Path::new("")).to_owned(),
            stem: text(target.file_stem()),
            extension: text(target.extension()),
            taken: BTreeSet::new(),
        }
    }

    fn next(&mut self, name: &str) -> PathBuf {
        let mut chosen = name.to_owned();
        let mut number = 1;
        while !self.taken.insert(chosen.to_ascii_lowercase()) {
            number += 1;
            chosen = format!("{name}-{number}");
        }
        let file = format!("{}.{chosen}.{}", self.stem, self.extension);
        self.directory.join(file)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const PLAYER: &[u8] = b"VLC/3.0.20 LibVLC/3.0.20";

    fn session<'a>(mount: &'a str, start: i64) -> LoggedSession<'a> {
        LoggedSession {
            address: b"192.0.2.1",
            start,
            mount: mount.as_bytes(),
            seconds: 90,
            status: b"200",
            agent: PLAYER,
        }
    }

    /// The names of the files with their lines, without the header.
    fn files(sessions: &[LoggedSession]) -> Vec<(String, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ListenerLog::create(&folder.path().join("may.txt")).unwrap();
        for session in sessions {
            log.add(session).unwrap();
        }
        let files = log.files().unwrap().into_iter().map(|file| {
            let mut text = Vec::new();
            log.write(&file, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let lines = text.strip_prefix(HEADER).unwrap();
            assert!(lines.is_empty() || lines.ends_with('\n'));
            let path = file.path.strip_prefix(folder.path()).unwrap();
            let lines = lines.split_terminator('\n').map(str::to_owned);
            (path.to_str().unwrap().to_owned(), lines.collect())
        });
        let files = files.collect();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        files
    }

    #[test]
    fn one_stream_is_in_the_file_itself_by_time() {
        let found = files(&[
            session("/live", 1_715_644_800),
            session("/live", 1_715_644_799),
        ]);
        let lines = [
            "192.0.2.1\t2024-05-13\t23:59:59\t/live\t90\t200\tVLC/3.0.20 LibVLC/3.0.20",
            "192.0.2.1\t2024-05-14\t00:00:00\t/live\t90\t200\tVLC/3.0.20 LibVLC/3.0.20",
        ];
        assert_eq!(
            found,
            [("may.txt".into(), lines.map(str::to_owned).to_vec())]
        );
    }

    #[test]
    fn without_sessions_there_is_only_a_header() {
        assert_eq!(files(&[]), [("may.txt".into(), vec![])]);
        assert_eq!(HEADER.matches('\t').count(), 6);
    }

    #[test]
    fn several_streams_have_a_file_each() {
        let found = files(&[
            session("/b/c.mp3", 1),
            session("/", 2),
            session("/a", 9),
            session("/b_c.mp3", 3),
            session("/B_C.mp3", 4),
            session("/a", 8),
            session("/../etc/passwd", 5),
            session("/ü", 6),
        ]);
        let names: Vec<(&str, usize)> = found
            .iter()
            .map(|(name, lines)| (&**name, lines.len()))
            .collect();
        let expected = [
            ("may.root.txt", 1),
            ("may..._etc_passwd.txt", 1),
            ("may.B_C.mp3.txt", 1),
            ("may.a.txt", 2),
            ("may.b_c.mp3-2.txt", 1),
            ("may.b_c.mp3-3.txt", 1),
            ("may._.txt", 1),
        ];
        assert_eq!(names, expected);
        assert!(found[3].1[0].contains("\t00:00:08\t/a\t"));
    }

    #[test]
    fn names_of_files_are_short_and_distinct() {
        let long = "/x".repeat(5000);
        let other = long.clone() + "y";
        let found = files(&[session(&long, 1), session(&other, 2)]);
        assert!(found.iter().all(|(name, _)| name.len() < 120));
        assert_ne!(found[0].0, found[1].0);
    }

    #[test]
    fn many_streams_share_a_file() {
        let mounts: Vec<String> = (0..=MAX_STREAMS)
            .map(|number| format!("/{number}"))
            .collect();
        let mut sessions: Vec<LoggedSession> =
            mounts.iter().map(|mount| session(mount, 1)).collect();
        // The busiest ones have their own; of these two, the name decides.
        sessions.extend(mounts.iter().skip(2).map(|mount| session(mount, 2)));
        sessions.push(session("/others", 3));
        sessions.push(session("/others", 4));
        let found = files(&sessions);
        assert_eq!(found.len(), MAX_STREAMS + 1);
        let (name, lines) = found.last().unwrap();
        assert_eq!(name, "may.others.txt");
        let mounts: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.split('\t').nth(3))
            .collect();
        assert_eq!(mounts, ["/0", "/1"]);
        let own = found.iter().find(|(name, _)| name == "may.others-2.txt");
        assert_eq!(own.unwrap().1.len(), 2);
        let all: usize = found.iter().map(|(_, lines)| lines.len()).sum();
        assert_eq!(all, sessions.len());
    }

    #[test]
    fn untrusted_fields_cannot_add_columns_or_lines() {
        let hostile = LoggedSession {
            address: b"192.0.2.1\t",
            start: 0,
            mount: b"/a\n/b\t",
            seconds: u64::MAX,
            status: b"",
            agent: b"<script>\"'\r\n\0\x1b[31m\xff\xc2\x85\xe2\x80\xa8=1+1\x7f",
        };
        let found = files(&[hostile]);
        let line = "192.0.2.1\t1970-01-01\t00:00:00\t/a /b\t18446744073709551615\t-\t\
                    <script>\"'    [31m\u{fffd}  =1+1";
        assert_eq!(found, [("may.txt".into(), vec![line.to_owned()])]);
    }

    #[test]
    fn sessions_come_from_several_threads() {
        let folder = tempfile::tempdir().unwrap();
        let log = ListenerLog::create(&folder.path().join("may.txt")).unwrap();
        let log = crate::sync::Mutex::new(log);
        thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for number in 0..500 {
                        let start = number * 4 + thread;
                        log.lock().add(&session("/live", start)).unwrap();
                    }
                });
            }
        });
        let log = log.lock();
        let mut text = Vec::new();
        log.write(&log.files().unwrap()[0], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let times: Vec<&str> = text
            .lines()
            .skip(1)
            .filter_map(|l| l.split('\t').nth(2))
            .collect();
        assert_eq!(times.len(), 2000);
        assert!(times.is_sorted());
    }

    #[test]
    fn a_directory_that_cannot_be_written_to_is_named() {
        let error = ListenerLog::create(Path::new("/proc/no/may.txt")).unwrap_err();
        assert!(
            error.to_string().contains("--report=/proc/no/may.txt"),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_session_is_one_line_of_seven_columns(
            fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 4),
            start in any::<i64>(),
            seconds in any::<u64>(),
        ) {
            let found = files(&[LoggedSession {
                address: &fields[0],
                start,
                mount: &fields[1],
                seconds,
                status: &fields[2],
                agent: &fields[3],
            }]);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].1.len(), 1);
            prop_assert_eq!(found[0].1[0].split('\t').count(), 7);
            prop_assert!(!found[0].1[0].contains('\r'));
        }
    }
}
