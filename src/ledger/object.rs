//! Looking up an object in a bucket. Its name is its own for good, so it is compared with no other
//! log. Its ETag says whether its content is still the same (guide/guarantees.md, "Objects").

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use foldhash::fast::FixedState;

use super::database::Change;
use super::fingerprint::{
    Checksum, ChecksumTracker, FileId, Fingerprint, HeadChecksum, HeadMatcher, PathText,
};
use super::lookup::{FileChange, FileProbe, LogState, StreamedFile, unreadable};
use super::ranges::Ranges;
use super::state::{KnownLog, LedgerState, LogId};
use super::{Ledger, TrackedState, now};
use crate::error::Result;
use crate::input::bucket::{Object, ObjectReader, ShouldStop};

/// No device of a file has this number.
const BUCKET: u64 = u64::MAX;

/// How often it is noted when an object was last seen, in seconds.
const SEEN_INTERVAL: u64 = 24 * 3600;

impl From<&Object> for FileId {
    /// The inode is a checksum of name and ETag, which no other content has.
    fn from(object: &Object) -> Self {
        let meta = object.meta();
        let (seconds, nanos) = meta.modified;
        Self {
            device: BUCKET,
            inode: Checksum::of(format!("{}\n{}", object.name(), meta.etag).as_bytes()).number(),
            size: meta.size,
            modified: (seconds, i64::from(nanos)),
            born: None,
        }
    }
}

impl FileId {
    /// Whether it is an object in a bucket.
    pub fn is_object(&self) -> bool {
        self.device == BUCKET
    }
}

/// The logs of objects.
#[derive(Debug, Default)]
pub(super) struct ObjectIndex {
    /// By target and the checksum of name and ETag.
    by_content: HashMap<(Checksum, u64), LogId, FixedState>,
    /// The last log of each name, by a hash of target and name.
    by_name: HashMap<u64, LogId, FixedState>,
}

impl ObjectIndex {
    pub(super) fn new(state: &LedgerState) -> Self {
        let mut index = Self::default();
        for (id, log) in &state.logs {
            let fingerprint = &log.fingerprint;
            if fingerprint.file.is_object() {
                index.insert(fingerprint, *id);
            }
        }
        index
    }

    fn name_key(&self, target: Checksum, name: &Path) -> u64 {
        self.by_name.hasher().hash_one((target, name.as_os_str()))
    }

    fn insert(&mut self, log: &Fingerprint, id: LogId) {
        let name = self.name_key(log.target, &log.path.0);
        self.by_name.insert(name, id);
        self.by_content.insert((log.target, log.file.inode), id);
    }

    fn remove(&mut self, log: &Fingerprint, id: LogId) {
        let name = self.name_key(log.target, &log.path.0);
        if self.by_name.get(&name) == Some(&id) {
            self.by_name.remove(&name);
        }
        self.by_content.remove(&(log.target, log.file.inode));
    }
}

impl KnownLog {
    /// Whether it was read to its end, and all its lines are done.
    fn is_done(&self) -> bool {
        let end = self.fingerprint.end;
        end.is_some_and(|end| end <= self.done.first_gap())
    }
}

impl TrackedState {
    /// The log of an object with this content, or else what had its name when it was last looked
    /// up. Objects of two servers may have the same name.
    fn log_of(&self, target: Checksum, object: &Object) -> Option<(LogId, &KnownLog)> {
        let file = FileId::from(object);
        let with_content = self.objects.by_content.get(&(target, file.inode));
        let log = *with_content.or_else(|| self.last_of_name(target, object))?;
        let known = self.state.logs.get(&log)?;
        let fingerprint = &known.fingerprint;
        let has_name = fingerprint.path.0.as_os_str() == object.name();
        (fingerprint.target == target && has_name).then_some((log, known))
    }

    fn last_of_name(&self, target: Checksum, object: &Object) -> Option<&LogId> {
        let name = Path::new(object.name());
        let name = self.objects.name_key(target, name);
        self.objects.by_name.get(&name)
    }
}

impl Ledger {
    /// Whether all lines of an object are done. Notes that the object is still there.
    pub fn is_object_done(&self, object: &Object) -> bool {
        let mut inner = self.lock();
        let Some((log, known)) = inner.log_of(self.target, object) else {
            return false;
        };
        let fingerprint = &known.fingerprint;
        let is_done = fingerprint.file.is_same_file(&FileId::from(object)) && known.is_done();
        let (now, days) = (now(), inner.state.days);
        if is_done
            && fingerprint.seen.saturating_add(SEEN_INTERVAL) <= now
            && let Some(known) = inner.state.logs.get_mut(&log)
        {
            known.fingerprint.seen = now;
            known.day = days;
            let known = known.without_lines();
            self.write_later(Change::Log(log, known));
        }
        is_done
    }

    /// Finds out which lines of an object are done. An object that replaced a shorter one and
    /// begins with it continues it.
    ///
    /// # Errors
    ///
    /// If the object replaced another one and cannot be read, or `should_stop` says so meanwhile.
    pub fn lookup_object(&self, object: &Object, should_stop: &ShouldStop) -> Result<LogState> {
        let file = FileId::from(object);
        let known = {
            let mut inner = self.lock();
            // What was read in this run.
            self.write_checksums(&mut inner);
            let known = inner.log_of(self.target, object);
            // In a queue, another content is another log.
            let known =
                known.filter(|(log, _)| !self.is_of_queue || *log == Self::log_of_content(object));
            known.map(|(log, known)| (log, known.clone()))
        };
        let Some((log, known)) = known else {
            return Ok(self.add_object(object, file, FileChange::New));
        };
        let same_file = known.fingerprint.file.is_same_file(&file);
        let content = match same_file {
            true => Content::Continues,
            false => compare(object, &file, &known, should_stop)
                .map_err(|error| unreadable(Path::new(object.name()), &error))?,
        };
        if content == Content::Other {
            return Ok(self.add_object(object, file, FileChange::Truncated));
        }
        let mut inner = self.lock();
        let day = inner.state.days;
        let is_done = content == Content::Beginning || same_file && known.is_done();
        let read_already = !inner.read_logs.insert(log);
        let change = match (is_done, read_already) {
            (true, _) => FileChange::Done,
            (false, true) => FileChange::ReadAlready,
            (false, false) => FileChange::Grown,
        };
        let has_more = !read_already || !same_file;
        if content == Content::Continues
            && let Some(known) = inner.state.logs.get_mut(&log)
        {
            let before = &mut known.fingerprint;
            let earlier = before.clone();
            before.file = file;
            before.seen = now().max(before.seen);
            before.end = before.end.filter(|_| same_file);
            known.day = day;
            let known = known.without_lines();
            inner.objects.remove(&earlier, log);
            inner.objects.insert(&known.fingerprint, log);
            self.write_later(Change::Log(log, known));
        }
        inner.track(ChecksumTracker::new(log, Vec::new()));
        Ok(LogState {
            log,
            change,
            same_file,
            has_more,
            known_as: None,
            done: known.done,
        })
    }

    /// The log of an object in a ledger that is made by [`Ledger::of_queue`].
    pub fn log_of_content(object: &Object) -> LogId {
        // Databases and JSON have no larger numbers.
        LogId(FileId::from(object).inode & i64::MAX as u64)
    }

    /// The length of a log in decompressed bytes, if it was read to its end.
    pub fn end_of(&self, log: LogId) -> Option<u64> {
        let inner = self.lock();
        inner.state.logs.get(&log)?.fingerprint.end
    }

    /// Forgets a log that is not read any more.
    pub fn forget_log(&self, log: LogId) {
        let mut inner = self.lock();
        if let Some(known) = inner.state.logs.remove(&log) {
            inner.objects.remove(&known.fingerprint, log);
            inner.trackers.remove(&log);
            inner.read_logs.remove(&log);
            inner.marked_done.remove(&log);
            self.write_later(Change::ForgotLog(log));
        }
    }

    fn add_object(&self, object: &Object, file: FileId, change: FileChange) -> LogState {
        let fingerprint = Fingerprint {
            target: self.target,
            path: PathText(PathBuf::from(object.name())),
            file,
            head: HeadChecksum::of(b""),
            seen: now(),
            end: None,
        };
        let mut inner = self.lock();
        let known = KnownLog::new(fingerprint.clone(), inner.state.days);
        let log = match self.is_of_queue {
            false => inner.state.add_log(fingerprint.clone()),
            true => {
                let log = Self::log_of_content(object);
                inner.state.logs.insert(log, known.clone());
                log
            }
        };
        inner.objects.insert(&fingerprint, log);
        self.write_later(Change::Log(log, known));
        inner.track(ChecksumTracker::new(log, Vec::new()));
        LogState {
            log,
            change,
            same_file: false,
            has_more: true,
            known_as: None,
            done: Ranges::default(),
        }
    }

    /// Notes the length of an object, in decompressed bytes, when it was read to its end.
    pub fn note_end(&self, log: LogId, end: u64) {
        let mut inner = self.lock();
        self.write_checksums(&mut inner);
        if let Some(known) = inner.state.logs.get_mut(&log) {
            known.fingerprint.end = Some(end);
            let known = known.without_lines();
            self.write_later(Change::Log(log, known));
        }
    }
}

/// How an object compares with what had its name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// It is the same, as far as that was read.
    Continues,
    /// It is only its beginning.
    Beginning,
    Other,
}

fn compare(
    object: &Object,
    file: &FileId,
    known: &KnownLog,
    should_stop: &ShouldStop,
) -> io::Result<Content> {
    let (object, should_stop) = (object.clone(), Arc::clone(should_stop));
    let mut content = StreamedFile::new(Box::new(move || {
        let reader = ObjectReader::new(object.clone(), Arc::new(AtomicU64::new(0)));
        Ok(Box::new(reader.stopped_by(Arc::clone(&should_stop))))
    }))?;
    let mut probe = FileProbe {
        path: Path::new(""),
        file: *file,
        is_compressed: true,
        may_be_copy: true,
        content: &mut content,
    };
    let beginning = probe.beginning()?;
    let mut matcher = HeadMatcher::new(&beginning);
    if matcher.matches(&known.fingerprint.head) && known.continues_in(&mut probe)? {
        return Ok(Content::Continues);
    }
    let length = probe.length()?;
    let is_beginning = length < known.read_position()
        && known.samples.last_match(probe.content, length)?.is_some();
    Ok(match is_beginning {
        true => Content::Beginning,
        false => Content::Other,
    })
}
