//! Counters: the outcome of each line, per log file.
//!
//! No counter is derived from the others, so [`Account::balance`] can prove that no line is lost:
//! each line that was read has exactly one outcome.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::sync::RwLock;

/// What is counted, in lines of a log. One line is one request in the summary, no matter how many
/// tracking requests it becomes.
///
/// Variants marked "outcome" are final: each line that is read ends in exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Lines read from the log by this run.
    Read,
    /// Outcome: a header line.
    Header,
    /// Outcome: skipped by `--skip`.
    Skipped,
    /// Outcome: left to another worker by `--shard`.
    OtherShards,
    /// Outcome: not in the format of the log.
    Invalid,
    /// Outcome: filtered by path, host, date or radio rules.
    Filtered,
    /// Outcome: dropped, status 4xx or 5xx.
    HttpErrors,
    /// Outcome: dropped, status 3xx.
    HttpRedirects,
    /// Outcome: its host matches no site.
    NoSite,
    /// Outcome: its host matches no `--hostname`.
    Hostname,
    /// Outcome: dropped, made by a bot.
    Bots,
    /// Outcome: dropped, a static resource.
    Static,
    /// Outcome: dropped, a download whose extension is not in the user's list.
    DownloadsNotMatched,
    /// Outcome: acknowledged by Matomo, or ready to be sent with `--dry-run`.
    Imported,
    /// Outcome: refused by the server.
    Refused,
    /// Outcome: missing from what the server accepted, without a word about which hit it was.
    Lost,
    /// Outcome: sent without a clear response and not sent again by this run. The next run asks
    /// Matomo, unless `--in-doubt` says otherwise.
    InDoubt,
    /// Outcome: not sent when the import stopped. A later run can send it.
    Unsent,
    /// Also counted: sent a second time, without knowing whether the first was stored.
    Resent,
    /// Also counted: downloads, including those that a later filter drops.
    Downloads,
    /// Also counted: accepted without an address, so the visitor has an id instead.
    NoAddress,
    /// Also counted: sent for Matomo's reports of AI assistants.
    Assistants,
}

/// All variants, in the order of their declaration, each with a text to follow a number.
const COUNTS: [(Count, &str); Count::Assistants as usize + 1] = [
    (Count::Read, "lines read"),
    (Count::Header, "header lines"),
    (Count::Skipped, "skipped"),
    (Count::OtherShards, "of other shards"),
    (Count::Invalid, "invalid"),
    (Count::Filtered, "filtered"),
    (Count::HttpErrors, "HTTP errors"),
    (Count::HttpRedirects, "HTTP redirects"),
    (Count::NoSite, "without a site"),
    (Count::Hostname, "of other hostnames"),
    (Count::Bots, "by bots"),
    (Count::Static, "static resources"),
    (Count::DownloadsNotMatched, "downloads not matched"),
    (Count::Imported, "imported"),
    (Count::Refused, "refused by the server"),
    (Count::Lost, "lost by the server"),
    (Count::InDoubt, "in doubt"),
    (Count::Unsent, "not yet sent"),
    (Count::Resent, "sent again"),
    (Count::Downloads, "downloads"),
    (Count::NoAddress, "without an address"),
    (Count::Assistants, "by AI assistants"),
];

impl Count {
    /// All variants, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        COUNTS.into_iter().map(|(count, _)| count)
    }

    /// The outcomes that the summary calls "ignored", in its order and words
    /// (guide/options.md, "Summary").
    pub const IGNORED: [(Self, &'static str); 9] = [
        (Self::HttpErrors, "HTTP errors"),
        (Self::HttpRedirects, "HTTP redirects"),
        (Self::Invalid, "invalid log lines"),
        (Self::Filtered, "filtered log lines"),
        (Self::NoSite, "requests did not match any known site"),
        (Self::Hostname, "requests did not match any --hostname"),
        (Self::Bots, "requests done by bots, search engines..."),
        (
            Self::Static,
            "requests to static resources (css, js, images, ico, ttf...)",
        ),
        (
            Self::DownloadsNotMatched,
            "requests to file downloads did not match any --download-extensions",
        ),
    ];

    /// The outcomes that take a request to the server.
    const BY_SERVER: [Self; 4] = [Self::Imported, Self::Refused, Self::Lost, Self::InDoubt];

    /// Text for a sentence, after a number.
    pub fn name(self) -> &'static str {
        COUNTS[self as usize].1
    }

    /// Whether this is a final outcome of a line.
    fn is_outcome(self) -> bool {
        !matches!(
            self,
            Self::Read | Self::Resent | Self::Downloads | Self::NoAddress | Self::Assistants
        )
    }
}

/// Why a line was dropped. More precise than the [`Count`] that it adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Misfit,
    /// Longer than 1 MiB.
    TooLong,
    /// Matching the line took too long.
    GivenUp,
    Field,
    Date,
    /// Ahead of the present: Matomo would replace it.
    DateAhead,
    /// Too long ago: Matomo would replace it.
    DateTooOld,
    NotTracking,
    NoPage,
    AddressExcluded,
    PathExcluded,
    PathNotIncluded,
    HostExcluded,
    HostNotIncluded,
    TooOld,
    TooNew,
    SourceClient,
    AdminPage,
    Playlist,
    WebFile,
    /// `HEAD` and other methods that get no stream.
    NoStream,
    Relay,
    RelayAgent,
    TooShort,
    HttpError,
    NoRequest,
    HttpRedirect,
    NoSite,
    Hostname,
    Bot,
    Static,
    Download,
}

/// All variants, in the order of their declaration, each with its name in report files.
const REASONS: [(Reason, &str); Reason::Download as usize + 1] = [
    (Reason::Misfit, "misfit"),
    (Reason::TooLong, "too_long"),
    (Reason::GivenUp, "given_up"),
    (Reason::Field, "field"),
    (Reason::Date, "date"),
    (Reason::DateAhead, "date_ahead"),
    (Reason::DateTooOld, "date_too_old"),
    (Reason::NotTracking, "not_tracking"),
    (Reason::NoPage, "no_page"),
    (Reason::AddressExcluded, "address_excluded"),
    (Reason::PathExcluded, "path_excluded"),
    (Reason::PathNotIncluded, "path_not_included"),
    (Reason::HostExcluded, "host_excluded"),
    (Reason::HostNotIncluded, "host_not_included"),
    (Reason::TooOld, "too_old"),
    (Reason::TooNew, "too_new"),
    (Reason::SourceClient, "source_client"),
    (Reason::AdminPage, "admin_page"),
    (Reason::Playlist, "playlist"),
    (Reason::WebFile, "web_file"),
    (Reason::NoStream, "no_stream"),
    (Reason::Relay, "relay"),
    (Reason::RelayAgent, "relay_agent"),
    (Reason::TooShort, "too_short"),
    (Reason::HttpError, "http_error"),
    (Reason::NoRequest, "no_request"),
    (Reason::HttpRedirect, "http_redirect"),
    (Reason::NoSite, "no_site"),
    (Reason::Hostname, "hostname"),
    (Reason::Bot, "bot"),
    (Reason::Static, "static"),
    (Reason::Download, "download"),
];

impl Reason {
    /// All variants, in the order of their declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        REASONS.into_iter().map(|(reason, _)| reason)
    }

    /// The name in report files (guide/listening.md, "Counters of the run"), which never changes.
    pub fn name(self) -> &'static str {
        REASONS[self as usize].1
    }

    /// The counter that this reason adds to.
    pub fn count(self) -> Count {
        self.describe().0
    }

    /// Text for `-dd` and `--rejects`. Names the option that decided, if there is one.
    pub fn text(self) -> &'static str {
        self.describe().1
    }

    fn describe(self) -> (Count, &'static str) {
        use Count::*;
        match self {
            Self::Misfit => (Invalid, "invalid: not in the format of the log"),
            Self::TooLong => (Invalid, "invalid: longer than 1 MiB"),
            Self::GivenUp => (
                Invalid,
                "invalid: the regular expression takes too long on this line",
            ),
            Self::Field => (Invalid, "invalid: a required field is missing or malformed"),
            Self::Date => (Invalid, "invalid: malformed date or time zone"),
            Self::DateAhead => (Invalid, "invalid: date is more than a day ahead"),
            Self::DateTooOld => (Invalid, "invalid: date is more than 20 years ago"),
            Self::NotTracking => (
                Invalid,
                "invalid: not a tracking request (--replay-tracking)",
            ),
            Self::NoPage => (
                Filtered,
                "filtered: request to the server or for a tunnel, not for a page (OPTIONS *, CONNECT)",
            ),
            Self::AddressExcluded => (Filtered, "filtered: address is in --exclude-ip"),
            Self::PathExcluded => (Filtered, "filtered: path matches --exclude-path"),
            Self::PathNotIncluded => (Filtered, "filtered: path matches no --include-path"),
            Self::HostExcluded => (Filtered, "filtered: host is in --exclude-host"),
            Self::HostNotIncluded => (Filtered, "filtered: host is not in --include-host"),
            Self::TooOld => (Filtered, "filtered: date is before --exclude-older-than"),
            Self::TooNew => (Filtered, "filtered: date is after --exclude-newer-than"),
            Self::SourceClient => (
                Filtered,
                "filtered: request of a source client (imported with --enable-icecast-admin)",
            ),
            Self::AdminPage => (
                Filtered,
                "filtered: admin or status page (imported with --enable-icecast-admin)",
            ),
            Self::Playlist => (
                Filtered,
                "filtered: playlist (imported with --enable-icecast-admin)",
            ),
            Self::WebFile => (
                Filtered,
                "filtered: web page or web file of the streaming server \
                 (imported with --enable-icecast-admin)",
            ),
            Self::NoStream => (
                Filtered,
                "filtered: HEAD, OPTIONS or STATS request (imported with --enable-icecast-admin)",
            ),
            Self::Relay => (Filtered, "filtered: address is in --relay"),
            Self::RelayAgent => (
                Filtered,
                "filtered: user agent of a relay (imported with --enable-relays)",
            ),
            Self::TooShort => (Filtered, "filtered: shorter than --minimum-listening"),
            Self::HttpError => (
                HttpErrors,
                "HTTP error (imported with --enable-http-errors)",
            ),
            Self::NoRequest => (HttpErrors, "not an HTTP request (never imported)"),
            Self::HttpRedirect => (
                HttpRedirects,
                "HTTP redirect (imported with --enable-http-redirects)",
            ),
            Self::NoSite => (NoSite, "host matches no site"),
            Self::Hostname => (Hostname, "host matches no --hostname"),
            Self::Bot => (Bots, "request of a bot (imported with --enable-bots)"),
            Self::Static => (Static, "static resource (imported with --enable-static)"),
            Self::Download => (
                DownloadsNotMatched,
                "extension is not in --download-extensions",
            ),
        }
    }
}

/// Additions that a [`Counter`] collects before it flushes them.
const FLUSH_INTERVAL: u32 = 128;

/// The counters of one log file, shared by all threads.
#[derive(Debug)]
pub struct FileAccount {
    name: String,
    counts: [AtomicU64; COUNTS.len()],
    /// Lines that were dropped, by [`Reason`]. They are in `counts`, too.
    reasons: [AtomicU64; REASONS.len()],
    begun: AtomicBool,
    /// Bytes read of the log, compressed as on disk.
    bytes: AtomicU64,
    /// Lines before the first one that this run reads.
    resumed: AtomicU64,
    /// All its bytes are dealt with, even if no line was counted.
    is_passed: AtomicBool,
}

impl FileAccount {
    fn new(name: String) -> Self {
        Self {
            name,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            reasons: std::array::from_fn(|_| AtomicU64::new(0)),
            begun: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            is_passed: AtomicBool::new(false),
        }
    }

    /// The file as named by the user, not cleaned for a terminal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Marks the file as readable, even if it is empty.
    pub fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    pub fn is_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Sets the bytes of a log that is read to its end, or not at all, compressed as on disk.
    pub fn set_passed(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
        self.is_passed.store(true, Relaxed);
    }

    /// Sets how many lines at the beginning of the log are not read, because they are done.
    pub fn set_resumed(&self, lines: u64) {
        self.resumed.store(lines, Relaxed);
    }

    pub fn add(&self, count: Count, lines: u64) {
        self.counts[count as usize].fetch_add(lines, Relaxed);
    }

    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Relaxed)
    }

    /// Number of lines that were dropped for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Relaxed)
    }

    /// Number of lines that the summary calls "ignored".
    pub fn ignored(&self) -> u64 {
        sum(Count::IGNORED.map(|(count, _)| self.get(count)))
    }

    /// How far the log is, in bytes. No line is measured: each has the average size of those read.
    fn extent(&self) -> Extent {
        let read = self.bytes.load(Relaxed);
        let by_server = sum(Count::BY_SERVER.map(|count| self.get(count)));
        let ends = Count::all().filter(|count| count.is_outcome() && *count != Count::Unsent);
        let ended = sum(ends.map(|count| self.get(count)));
        // Last, so that no line that has ended is missing.
        let lines = self.get(Count::Read).max(ended);
        let of_lines = |part: u64| {
            let all = lines.saturating_add(self.resumed.load(Relaxed)).max(1);
            u64::try_from(u128::from(read) * u128::from(part.min(all)) / u128::from(all))
                .unwrap_or(read)
        };
        Extent {
            read,
            // A log without lines that was not read to its end.
            open: match lines {
                0 if !self.is_passed.load(Relaxed) => read,
                _ => of_lines(lines - ended),
            },
            by_server: of_lines(by_server),
        }
    }

    fn balance(&self) -> Result<(), String> {
        let ends = Count::all().filter(|count| count.is_outcome());
        let ended = sum(ends.clone().map(|count| self.get(count)));
        let read = self.get(Count::Read);
        if ended == read {
            return Ok(());
        }
        let mut message = format!("{}: {read} lines read, but {ended} counted:", self.name);
        for (i, count) in ends.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            // Writing into a String cannot fail.
            let _ = write!(message, "{comma} {} {}", self.get(count), count.name());
        }
        Err(message)
    }
}

/// Adds to a [`FileAccount`] from a thread that counts every line. Flushes many additions at once,
/// so that threads do not contend for the same cache lines. Dropping it flushes the rest.
#[derive(Debug)]
pub struct Counter {
    file: Arc<FileAccount>,
    counts: [Cell<u64>; COUNTS.len()],
    reasons: [Cell<u64>; REASONS.len()],
    bytes: Cell<u64>,
    pending: Cell<u32>,
}

impl Counter {
    pub fn new(file: Arc<FileAccount>) -> Self {
        Self {
            file,
            counts: std::array::from_fn(|_| Cell::new(0)),
            reasons: std::array::from_fn(|_| Cell::new(0)),
            bytes: Cell::new(0),
            pending: Cell::new(0),
        }
    }

    pub fn add(&self, count: Count, lines: u64) {
        let count = &self.counts[count as usize];
        count.set(count.get() + lines);
        self.pending.set(self.pending.get() + 1);
        if self.pending.get() == FLUSH_INTERVAL {
            self.flush();
        }
    }

    /// Counts a line that was dropped, under its reason and under [`Reason::count`].
    pub fn add_dropped(&self, reason: Reason) {
        let dropped = &self.reasons[reason as usize];
        dropped.set(dropped.get() + 1);
        self.add(reason.count(), 1);
    }

    /// Sets how many bytes were read, compressed as on disk, up to the last line that is counted.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.set(bytes);
    }

    /// Flushes, then returns the counters of the file.
    pub fn file(&self) -> &FileAccount {
        self.flush();
        &self.file
    }

    /// Makes all additions visible to other threads.
    pub fn flush(&self) {
        for (count, lines) in Count::all().zip(&self.counts) {
            if lines.get() > 0 {
                self.file.add(count, lines.take());
            }
        }
        for (total, lines) in self.file.reasons.iter().zip(&self.reasons) {
            if lines.get() > 0 {
                total.fetch_add(lines.take(), Relaxed);
            }
        }
        // A part of a log may be read again.
        if !self.file.is_passed.load(Relaxed) {
            self.file.bytes.fetch_max(self.bytes.get(), Relaxed);
        }
        self.pending.set(0);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A log's index in the [`Account`], and its counters.
pub type Row = (usize, Arc<FileAccount>);

/// How far a run is, in bytes of the logs, compressed as on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub read: u64,
    /// The part of `read` that has no outcome, or was not sent before the run stopped.
    pub open: u64,
    /// The part of `read` that the server has taken or refused.
    pub by_server: u64,
}

impl Extent {
    /// Bytes with an outcome.
    pub fn settled(&self) -> u64 {
        self.read.saturating_sub(self.open)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            read: self.read.saturating_add(other.read),
            open: self.open.saturating_add(other.open),
            by_server: self.by_server.saturating_add(other.by_server),
        }
    }
}

/// The tracking requests that wait for a response.
#[derive(Debug, Default)]
pub struct RequestsUnderWay {
    requests: AtomicU64,
    hits: AtomicU64,
}

impl RequestsUnderWay {
    /// Counts a request until the result is dropped.
    #[must_use = "the request is counted until this is dropped"]
    pub fn begin(&self, hits: usize) -> impl Drop {
        self.requests.fetch_add(1, Relaxed);
        self.hits.fetch_add(hits as u64, Relaxed);
        RequestUnderWay { all: self, hits }
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }
}

struct RequestUnderWay<'a> {
    all: &'a RequestsUnderWay,
    hits: usize,
}

impl Drop for RequestUnderWay<'_> {
    fn drop(&mut self) {
        self.all.requests.fetch_sub(1, Relaxed);
        self.all.hits.fetch_sub(self.hits as u64, Relaxed);
    }
}

/// The counters of a run, shared by the parser and the recorders.
#[derive(Debug, Default)]
pub struct Account {
    files: RwLock<Vec<Arc<FileAccount>>>,
    pub under_way: RequestsUnderWay,
}

impl Account {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a log file.
    pub fn open(&self, name: impl Into<String>) -> Row {
        let file = Arc::new(FileAccount::new(name.into()));
        let mut files = self.files.write();
        files.push(Arc::clone(&file));
        (files.len() - 1, file)
    }

    /// The file with an index that [`Account::open`] returned. Takes a lock, so call it per batch,
    /// not per line.
    pub fn file(&self, index: usize) -> Option<Arc<FileAccount>> {
        let files = self.files.read();
        files.get(index).cloned()
    }

    /// All files, in the order in which they were added.
    pub fn files(&self) -> Vec<Arc<FileAccount>> {
        self.files.read().clone()
    }

    /// Sum over all files.
    pub fn total(&self, count: Count) -> u64 {
        let files = self.files.read();
        sum(files.iter().map(|file| file.get(count)))
    }

    /// How far all files are.
    pub fn extent(&self) -> Extent {
        let files = self.files.read();
        let extents = files.iter().map(|file| file.extent());
        extents.fold(Extent::default(), Extent::plus)
    }

    /// Number of lines of all files that were dropped for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        let files = self.files.read();
        sum(files.iter().map(|file| file.dropped(reason)))
    }

    /// Whether hits were refused, lost, unconfirmed or sent twice, which the exit status must show.
    pub fn is_incomplete(&self) -> bool {
        [Count::Refused, Count::Lost, Count::InDoubt, Count::Resent]
            .into_iter()
            .any(|count| self.total(count) > 0)
    }

    /// Number of lines that were read and have no outcome yet.
    pub fn lines_under_way(&self) -> u64 {
        let ends = Count::all().filter(|count| count.is_outcome());
        let ended = sum(ends.map(|count| self.total(count)));
        self.total(Count::Read).saturating_sub(ended)
    }

    /// Checks, after all threads have ended, that each line read has one outcome. The error names
    /// the file and its counters.
    pub fn balance(&self) -> Result<(), String> {
        self.files().iter().try_for_each(|file| file.balance())
    }
}

/// A sum that saturates.
pub(super) fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
