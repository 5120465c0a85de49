//! The lines of a log, each with its number and its place.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::binary::looks_binary;
use super::discover::Source;
use super::error::InputError;
pub use super::line::{Line, LineEvent, LineOptions};
use super::reader::{Block, Counted, Keeper, Kept, Message, Opened, Reader, Shared};
use super::unpack::Unpack;

/// No wait is longer, so that adding it to the clock cannot overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Gives a log's lines, one after the other. Memory is three blocks and a few times the longest line.
pub struct Lines {
    log: String,
    reader: Reader,
    read: Arc<AtomicU64>,
    total: Option<u64>,
    options: LineOptions,
    block: Block,
    /// What of `block` has been taken.
    taken: usize,
    /// The beginning of a line that the blocks before held, as far as it fits into the longest line.
    begun: Vec<u8>,
    /// How long that beginning was.
    begun_length: u64,
    /// A line put together from blocks.
    whole: Vec<u8>,
    /// A line decoded.
    text: Vec<u8>,
    /// UTF-16 whose BOM says that it is big-endian: each line turned round, for `raw`.
    turned: Option<Vec<u8>>,
    /// Where the line that comes next begins.
    position: u64,
    number: u64,
    /// No more lines come.
    ended: bool,
    /// What comes from the log was read to its end.
    all_read: bool,
    /// What went wrong, to be told once more.
    failure: Option<InputError>,
    watcher: Option<Watcher>,
}

/// What is kept of a pipe.
pub struct Tee {
    /// What was kept so far.
    pub before: File,
    /// Keeps the rest.
    pub keeper: Keeper,
}

/// Told of each block that was read, and where it begins (unpacked bytes), before any line that ends in it is given.
pub type Watcher = Box<dyn FnMut(u64, &[u8]) + Send>;

enum Refill {
    Block,
    Pause,
    End,
}

impl Lines {
    /// Opens a log. An error: it is missing, a folder, or may not be read. What cannot be opened without waiting
    /// (a named pipe) is opened by its own thread, and the error comes with the first line.
    pub fn open(source: &Source, options: LineOptions) -> Result<Self, InputError> {
        let log = source.to_string();
        let opened = match source {
            Source::Stdin => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .and_then(|stdin| Self::from_file(log.clone(), File::from(stdin), options)),
            Source::File(path) => fs::metadata(path).and_then(|metadata| {
                if metadata.is_dir() {
                    let text =
                        "is a directory; name the logs in it, or a pattern such as DIRECTORY/*.log";
                    return Err(io::Error::new(ErrorKind::IsADirectory, text));
                }
                if metadata.is_file() {
                    return Self::from_file(log.clone(), File::open(path)?, options);
                }
                let path = path.clone();
                Self::from_opener(log.clone(), || File::open(path), None, None, options)
            }),
        };
        opened.map_err(|source| InputError::Open { log, source })
    }

    /// The lines of stdin or a named pipe, every byte of which is kept before it is looked at. What an earlier run
    /// kept comes first.
    pub fn open_pipe(source: &Source, tee: Tee, options: LineOptions) -> Result<Self, InputError> {
        let log = source.to_string();
        let opened = match source {
            Source::Stdin => io::stdin().as_fd().try_clone_to_owned().and_then(|stdin| {
                let file = File::from(stdin);
                Self::from_opener(log.clone(), || Ok(file), None, Some(tee), options)
            }),
            Source::File(path) => {
                let path = path.clone();
                Self::from_opener(log.clone(), || File::open(path), None, Some(tee), options)
            }
        };
        opened.map_err(|source| InputError::Open { log, source })
    }

    /// The lines of an open file, pipe or terminal, read from where it stands; of a plain file with `start` from
    /// there. `log` is its name in errors.
    pub fn from_file(log: String, file: File, options: LineOptions) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let total = metadata.is_file().then_some(metadata.len());
        Self::from_opener(log, || Ok(file), total, None, options)
    }

    fn from_opener(
        log: String,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
        total: Option<u64>,
        tee: Option<Tee>,
        options: LineOptions,
    ) -> io::Result<Self> {
        let start = options.start;
        let seek = total.is_some() && start > 0 && !options.encoding.needs_beginning();
        let read = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&read);
        let unpacked = move || {
            let file = open()?;
            let (before, keeper) = match tee {
                Some(Tee { before, keeper }) => (Some(before), Some(Kept::new(keeper))),
                None => (None, None),
            };
            let is_kept = keeper.is_some();
            let counted = Shared::new(Counted {
                before,
                file,
                size: total,
                count,
                keeper,
                last: Vec::new(),
            });
            let rest = is_kept.then(|| Box::new(counted.clone()) as Box<dyn Read>);
            let mut unpack = Unpack::new(counted)?;
            let position = if seek {
                unpack.seek_if_plain(start)?
            } else {
                0
            };
            Ok(Opened {
                log: Box::new(unpack),
                position,
                rest,
            })
        };
        let reader = Reader::start(options.encoding.unit(), unpacked)?;
        Ok(Self::new(log, reader, read, total, options))
    }

    fn new(
        log: String,
        reader: Reader,
        read: Arc<AtomicU64>,
        total: Option<u64>,
        options: LineOptions,
    ) -> Self {
        Self {
            log,
            reader,
            read,
            total,
            block: Block::default(),
            taken: 0,
            begun: Vec::new(),
            begun_length: 0,
            whole: Vec::new(),
            text: Vec::new(),
            turned: None,
            position: options.start,
            number: options.start_line,
            ended: false,
            all_read: false,
            failure: None,
            watcher: None,
            options,
        }
    }

    /// From now on tells of each block. To be called before the first line is asked for.
    pub fn watch(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    /// Has an error of [`Lines::next`] come once more, for whoever reads on.
    pub fn put_back(&mut self, failure: InputError) {
        self.failure = Some(failure);
    }

    /// Where the next line begins, in unpacked bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The number of the line that begins there.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read from the log so far, packed as they are: how far a progress report stands.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of the file when it was opened, packed as they are. None: it is no file.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next line, waiting at most so long for it. An error: the log cannot be read further; what was read of
    /// a line then is not given, and after it comes [`LineEvent::End`].
    #[inline]
    pub fn next(&mut self, wait: Duration) -> Result<LineEvent<'_>, InputError> {
        let mut deadline = None;
        loop {
            let rest = &self.block.bytes()[self.taken..];
            if let Some(length) = self.options.encoding.line_end(rest) {
                return Ok(LineEvent::Line(self.take(length, true)));
            }
            match self.refill(wait, &mut deadline)? {
                Refill::Block => {}
                Refill::Pause => return Ok(LineEvent::Pause),
                Refill::End if self.begun_length > 0 && self.options.incomplete_last => {
                    return Ok(LineEvent::Line(self.take(0, false)));
                }
                Refill::End => return Ok(LineEvent::End),
            }
        }
    }

    /// Reads on without giving lines, for the sake of whoever keeps what is read: to the end, or until nothing has come
    /// for `pause`, or for `at_most` in all; where it is to stop, for as long as it takes to get what is there. Says
    /// whether that was the end. What cannot be unpacked is kept all the same.
    pub fn drain(
        &mut self,
        pause: Duration,
        at_most: Duration,
        is_to_stop: impl Fn() -> bool,
    ) -> Result<bool, InputError> {
        const GLANCE: Duration = Duration::from_millis(50);
        // What is there already comes at once.
        const HURRIED: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
        let begun = Instant::now();
        let mut last = begun;
        let mut failure = None;
        while !self.all_read {
            let (pause, at_most) = match is_to_stop() {
                true => HURRIED,
                false => (pause, at_most),
            };
            if last.elapsed() >= pause || begun.elapsed() >= at_most {
                break;
            }
            match self.reader.messages.recv_timeout(GLANCE) {
                Ok(Message::Block(block)) => {
                    self.put_by();
                    self.begin(block);
                    last = Instant::now();
                }
                Ok(Message::Kept) => last = Instant::now(),
                Ok(Message::End) => self.all_read = true,
                Ok(Message::Failed(error)) if !self.ended => failure = Some(error),
                // What went wrong first says more.
                Ok(Message::Failed(error)) => return Err(self.failed(failure.unwrap_or(error))),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed(failure.unwrap_or_else(broke_off)));
                }
            }
            self.ended |= self.all_read || failure.is_some();
        }
        Ok(self.all_read)
    }

    /// The unpacked bytes that are there without being taken, for a look at how a log begins; none at its end, or
    /// when nothing came in that time.
    pub fn peek(&mut self, wait: Duration) -> Result<&[u8], InputError> {
        if self.taken == self.block.bytes().len() {
            self.refill(wait, &mut None)?;
        }
        Ok(&self.block.bytes()[self.taken..])
    }

    /// Looks at the first bytes, before the first line is asked for. `false`: there are none yet, after a wait of that
    /// time. An error, besides those of [`Lines::next`]: this is no text.
    pub fn look(&mut self, wait: Duration) -> Result<bool, InputError> {
        // UTF-16 has a NUL beside each of its letters.
        if self.options.encoding.unit() > 1 {
            return Ok(true);
        }
        let first = self.peek(wait)?;
        let told = !first.is_empty();
        if looks_binary(first) {
            let log = self.log.clone();
            return Err(InputError::Binary { log });
        }
        Ok(told || self.ended)
    }

    /// The line that ends `length` bytes further on.
    #[inline]
    fn take(&mut self, length: usize, terminated: bool) -> Line<'_> {
        let longest = self.options.max_line;
        let from = self.taken;
        let raw_length = self.begun_length + length as u64;
        let too_long = raw_length > longest as u64;
        let line_end = if terminated {
            self.options.encoding.unit()
        } else {
            0
        };
        let start = self.position;
        let end = start + raw_length + line_end as u64;
        let number = self.number;
        self.taken = from + length + line_end;
        self.position = end;
        self.number = number.saturating_add(1);

        let mut bytes = if self.begun_length == 0 {
            &self.block.bytes()[from..from + length.min(longest)]
        } else {
            let more = length.min(longest - self.begun.len());
            self.begun
                .extend_from_slice(&self.block.bytes()[from..from + more]);
            mem::swap(&mut self.begun, &mut self.whole);
            self.begun.clear();
            self.begun_length = 0;
            &self.whole
        };
        if start == 0 {
            bytes = self.options.encoding.without_bom(bytes);
        }
        let raw = match &mut self.turned {
            None => bytes,
            Some(turned) => {
                turned.clear();
                turned.extend_from_slice(bytes);
                let (units, _) = turned.as_chunks_mut::<2>();
                units.iter_mut().for_each(|unit| unit.reverse());
                turned
            }
        };
        bytes = self.options.encoding.decode(bytes, &mut self.text);
        if !too_long {
            bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        }
        Line {
            bytes,
            raw,
            number,
            start,
            end,
            terminated,
            too_long,
        }
    }

    /// Puts the rest of the block aside and gets the next one. The first call for a line waits, and sets the
    /// deadline; the later ones give up when it has passed, however fast blocks without a line end come.
    #[cold]
    fn refill(
        &mut self,
        wait: Duration,
        deadline: &mut Option<Instant>,
    ) -> Result<Refill, InputError> {
        let rest = &self.block.bytes()[self.taken..];
        let more = rest.len().min(self.options.max_line - self.begun.len());
        self.begun.extend_from_slice(&rest[..more]);
        self.begun_length += rest.len() as u64;
        self.put_by();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended {
            return Ok(Refill::End);
        }

        let now = Instant::now();
        let until = match *deadline {
            Some(until) if until <= now => return Ok(Refill::Pause),
            Some(until) => until,
            None => *deadline.insert(now + wait.min(LONGEST_WAIT)),
        };
        let source = match self.reader.messages.recv_deadline(until) {
            Ok(Message::Block(block)) => {
                self.begin(block);
                return Ok(Refill::Block);
            }
            Err(RecvTimeoutError::Timeout) | Ok(Message::Kept) => return Ok(Refill::Pause),
            Ok(Message::End) => {
                self.ended = true;
                self.all_read = true;
                return Ok(Refill::End);
            }
            Ok(Message::Failed(error)) => error,
            Err(RecvTimeoutError::Disconnected) => broke_off(),
        };
        Err(self.failed(source))
    }

    fn failed(&mut self, source: io::Error) -> InputError {
        self.ended = true;
        InputError::Read {
            log: self.log.clone(),
            position: self.position + mem::take(&mut self.begun_length),
            source,
        }
    }

    /// Gives the block back.
    fn put_by(&mut self) {
        if !self.block.bytes().is_empty() {
            self.reader.recycle(mem::take(&mut self.block));
        }
        self.taken = 0;
    }

    /// Takes up a block, without what stands before the position to begin at.
    fn begin(&mut self, block: Block) {
        if block.position == 0 {
            self.turned = (self.options.encoding).settle(block.bytes()).then(Vec::new);
        }
        if let Some(watcher) = &mut self.watcher {
            watcher(block.position, block.bytes());
        }
        let before = self.options.start.saturating_sub(block.position);
        self.taken = usize::try_from(before)
            .unwrap_or(usize::MAX)
            .min(block.bytes().len());
        self.block = block;
    }
}

fn broke_off() -> io::Error {
    io::Error::other("the thread that reads it broke off")
}

#[cfg(test)]
mod tests;
