//! Recognising: which of the logs that the ledger knows a file is, and what became of it since.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::fate::FileChange;
use super::file_id::FileId;
use super::id::LogId;
use super::identity::{Beginning, Head, Identity};
use super::inner::Inner;
use super::path_text::PathText;
use super::probe::Probe;
use super::ranges::Ranges;
use super::reading::Reading;
use super::record::Record;
use super::state::Log;
use super::{Ledger, now};
use crate::error::{Error, Result};

/// Bytes of the longest line that is looked for the end of.
const LONGEST: u64 = 1 << 20;

/// What is known of a log that is about to be read.
#[derive(Clone, Debug)]
pub struct LogState {
    pub log: LogId,
    pub fate: FileChange,
    /// The very file that it was last seen as, whatever its name.
    pub same_file: bool,
    /// There is more in the file than was ever read of it.
    pub has_more: bool,
    /// Where it was last seen, when that was elsewhere.
    pub known_as: Option<PathBuf>,
    /// What is done of it.
    pub done: Ranges,
}

impl LogState {
    /// The position (unpacked bytes) before which every line is done.
    pub fn resume_at(&self) -> u64 {
        self.done.first_gap()
    }

    /// The number of the line that begins there; the first line of a log is 1.
    pub fn resume_line(&self) -> u64 {
        self.done.lines_before_gap().saturating_add(1)
    }
}

/// What looking into a file gave.
struct Found {
    /// The log that it is, where it is known.
    known: Option<(LogId, Log)>,
    /// Where this run has read that log already: whether this file goes on.
    has_more: bool,
    /// The whole lines that this file has in common with that log; `None`: some of them are not done.
    in_common: Option<Ranges>,
    beginning: Vec<u8>,
    /// All that is in the file is done.
    finished: bool,
}

impl Ledger {
    /// Says which log a file is and what is done of it. To be called when the file is about to be read, the ones
    /// before having been read to their end: a copy of one of them is told by that.
    ///
    /// Error: the file cannot be read (or unpacked) so far; nothing is known of it then.
    pub fn recognise(&self, mut probe: Probe) -> Result<LogState> {
        let path = absolute(probe.path);
        // What was read of the log before belongs to what that log is known by.
        self.inner().note_reading()?;
        let found = (self.look_into(&mut probe)).map_err(|error| unreadable(&path, &error))?;
        let mut inner = self.inner();
        let Some((log, known)) = found.known else {
            return self.add(&mut inner, path, &probe.file, found.beginning, None);
        };
        let beginning = Head::of(&found.beginning);
        let before = known.identity;
        let same_file = before.file.is_same_file(&probe.file);
        let read_already = inner.read.contains(&log);
        // Another file that begins like one that is still what and where it was: another log with the same beginning, or a
        // copy that has more. Where nothing of that one is under way the two can part company here.
        if !found.finished
            && !same_file
            && is_unchanged(&before)
            && let Some(done) = found.in_common
        {
            let copied = Some((before.path.0, done));
            return self.add(&mut inner, path, &probe.file, found.beginning, copied);
        }
        let fate = if found.finished {
            inner.read.insert(log);
            FileChange::Done
        } else if read_already {
            FileChange::ReadAlready
        } else {
            FileChange::of_known(&before, &path, &probe.file, probe.packed)
        };
        let known_as = Some(before.path.0.clone()).filter(|known| *known != path);
        if !read_already {
            let identity = Identity {
                path: PathText(path),
                file: probe.file,
                head: match beginning.length > before.head.length {
                    true => beginning,
                    false => before.head,
                },
                // The clock may have been set back.
                seen: now().max(before.seen),
                end: found.finished.then(|| known.done.first_gap()),
                ..before
            };
            inner.queue(Record::Seen { log, identity })?;
            inner.reading = Some(Reading::new(log, found.beginning));
        }
        Ok(LogState {
            log,
            fate,
            same_file,
            has_more: found.has_more,
            known_as,
            done: known.done,
        })
    }

    /// A log that is not known yet. `copied`: what it has in common with one that is known, and is done.
    fn add(
        &self,
        inner: &mut Inner,
        path: PathBuf,
        file: &FileId,
        beginning: Vec<u8>,
        copied: Option<(PathBuf, Ranges)>,
    ) -> Result<LogState> {
        let log = inner.state.next_log();
        let mut logs = inner.state.logs.values().map(|log| &log.identity);
        // The log of this name that the file no longer is.
        let before = logs.rfind(|it| it.target == self.target && it.path.0 == path);
        let (fate, known_as, done) = match copied {
            None => (
                FileChange::of_unknown(before, file),
                None,
                Ranges::default(),
            ),
            Some((path, done)) => (FileChange::Copied, Some(path), done),
        };
        let identity = Identity {
            target: self.target,
            path: PathText(path),
            file: *file,
            head: Head::of(&beginning),
            seen: now(),
            end: None,
        };
        inner.queue(Record::Seen { log, identity })?;
        inner.reading = Some(Reading::new(log, beginning));
        for (place, lines) in done.iter() {
            inner.passed(log, place, lines);
        }
        Ok(LogState {
            log,
            fate,
            same_file: false,
            has_more: true,
            known_as,
            done,
        })
    }

    /// Whether a file is that log, as far as it was read: to find the lines of a batch in doubt again. Nothing is
    /// noted by it.
    pub fn holds(&self, log: LogId, mut probe: Probe) -> Result<bool> {
        let Some(known) = self.inner().state.logs.get(&log).cloned() else {
            return Ok(false);
        };
        let path = absolute(probe.path);
        let look = |probe: &mut Probe| {
            let beginning = probe.beginning()?;
            Ok(known.may_be(&probe.file, &mut Beginning::of(&beginning)) && known.is_in(probe)?)
        };
        look(&mut probe).map_err(|error| unreadable(&path, &error))
    }

    /// Reads of the file what is needed to know it. Recorders go on meanwhile: unpacking may take its time.
    fn look_into(&self, probe: &mut Probe) -> io::Result<Found> {
        if let Some(known) = self.finished(&probe.file) {
            return Ok(Found {
                known: Some(known),
                has_more: false,
                in_common: None,
                beginning: Vec::new(),
                finished: true,
            });
        }
        let beginning = probe.beginning()?;
        for (id, log) in self.candidates(&probe.file, &beginning) {
            if log.is_in(probe)? {
                let gap = log.done.first_gap();
                let finished = gap > 0 && log.read() <= gap && !probe.reaches(gap)?;
                return Ok(Found {
                    // What cannot be unpacked any further may be longer.
                    has_more: self.inner().read.contains(&id)
                        && probe.reaches(log.read()).unwrap_or(true),
                    in_common: log.in_common(probe),
                    known: Some((id, log)),
                    beginning,
                    finished,
                });
            }
        }
        Ok(Found {
            known: None,
            has_more: true,
            in_common: None,
            beginning,
            finished: false,
        })
    }

    /// The log that was done to its end when the file was exactly as it is now: it need not be unpacked to know it.
    /// That its lines are done is not taken from there, for their records may have been damaged since.
    fn finished(&self, file: &FileId) -> Option<(LogId, Log)> {
        let inner = self.inner();
        let is_done = |log: &Log| {
            let end = log.identity.end.filter(|_| log.identity.file == *file);
            end.is_some_and(|end| end <= log.done.first_gap())
        };
        let known = self.ours(&inner.state.logs).find(|(_, log)| is_done(log));
        known.map(|(id, log)| (*id, log.clone()))
    }

    /// The logs that begin like this file, the likeliest first.
    fn candidates(&self, file: &FileId, beginning: &[u8]) -> Vec<(LogId, Log)> {
        let inner = self.inner();
        let ours = self.ours(&inner.state.logs);
        let mut beginning = Beginning::of(beginning);
        let mut alike: Vec<_> = ours
            .filter(|(_, log)| log.may_be(file, &mut beginning))
            .map(|(id, log)| (*id, log.clone()))
            .collect();
        alike.sort_by_key(|(id, log)| {
            let other_file = !log.identity.file.is_same_file(file);
            // A log that was empty when it was seen fits anything.
            (log.tail.is_none(), other_file, Reverse((log.read(), *id)))
        });
        alike
    }
    /// The logs of this target.
    fn ours<'a>(
        &self,
        logs: &'a BTreeMap<LogId, Log>,
    ) -> impl Iterator<Item = (&'a LogId, &'a Log)> {
        let target = self.target;
        logs.iter()
            .filter(move |(_, log)| log.identity.target == target)
    }
}

impl Log {
    /// How far it was read.
    pub(super) fn read(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.position)
    }

    /// Whether it is worth looking into: the file begins like this log, or is the file that was empty so far.
    fn may_be(&self, file: &FileId, beginning: &mut Beginning) -> bool {
        let same_file = self.identity.file.is_same_file(file);
        match self.identity.head.length {
            0 => same_file,
            // Of a log that was never read nothing is known that would be worth having.
            _ => (same_file || self.tail.is_some()) && beginning.fits(&self.identity.head),
        }
    }

    /// Whether the file, which begins like this log, also goes on like it as far as it was read.
    fn is_in(&self, probe: &mut Probe) -> io::Result<bool> {
        let fits = match &self.tail {
            Some(tail) => tail.fits(probe.log)?,
            None => true,
        };
        let claimed = self.done.end();
        Ok(fits && (claimed <= self.read() || probe.reaches(claimed - 1)?))
    }
}

impl Log {
    /// The whole lines that a file which begins like this log has in common with it, where all of them are done. A last
    /// line without its end is none of them: in the file it may go on.
    fn in_common(&self, probe: &mut Probe) -> Option<Ranges> {
        let (gap, read) = (self.done.first_gap(), self.read());
        let mut bytes = |from: u64, to: u64| {
            let mut bytes = vec![0; usize::try_from(to - from).ok()?];
            let count = probe.log.read_at(from, &mut bytes).ok()?;
            (count == bytes.len()).then_some(bytes)
        };
        if read.saturating_sub(gap) > LONGEST || bytes(gap, read.max(gap))?.contains(&b'\n') {
            return None;
        }
        let from = gap.saturating_sub(LONGEST);
        let before = bytes(from, gap)?;
        let end = match before.iter().rposition(|byte| *byte == b'\n') {
            // UTF-16 has a zero behind it.
            Some(last) if last + 2 >= before.len() => gap,
            Some(last) => from + last as u64 + 1,
            None if from == 0 => 0,
            None => return None,
        };
        let cut = u64::from(end < gap);
        let mut common = Ranges::default();
        common.insert(0..end, self.done.lines_before_gap().saturating_sub(cut));
        Some(common)
    }
}

/// Whether the file that a log was last seen as is where it was, and as it was.
fn is_unchanged(log: &Identity) -> bool {
    let now = std::fs::metadata(&log.path.0).map(|metadata| FileId::from(&metadata));
    now.is_ok_and(|now| now == log.file)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::stopped(format!(
        "cannot read {}: {error}; see to that file, or leave it out",
        path.display()
    ))
}
