//! The thread that reads a log in blocks of decompressed bytes, and finds their line feeds.
//!
//! It is separate from the parser so that the parser notices when a pipe pauses, and signals while
//! a read blocks. Three buffers circulate between the threads; they bound the memory, and the
//! reader waits for a free one.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use thiserror::Error;

use super::encoding::may_have_utf16_bom;
use crate::sync::Mutex;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;
/// The same for a small log, which may still grow.
pub(super) const MIN_BLOCK_BYTES: usize = 16 * 1024;
/// The same for an object in a bucket: many are open at once.
pub(super) const OBJECT_BLOCK_BYTES: usize = 32 * 1024;
/// Number of blocks: one is being read, one waits, one is with the parser.
const BLOCKS: usize = 3;

/// Consecutive decompressed bytes of a log.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Reused without being cleared, so longer than its contents.
    buffer: Vec<u8>,
    length: usize,
    /// Position of the first byte in the log.
    pub(super) position: u64,
    /// Whether it may contain `\r`, so that `line_feeds` is not enough to find its lines. Found out
    /// by the reading thread, since the parser has more to do.
    pub(super) has_cr: bool,
    /// The places of all `\n`, unless `has_cr` or the encoding is UTF-16.
    pub(super) line_feeds: Vec<u32>,
}

impl Block {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Finds the lines of a block whose contents are complete.
    fn find_lines(&mut self, unit: usize) {
        let bytes = &self.buffer[..self.length];
        self.has_cr = unit > 1 || memchr::memchr(b'\r', bytes).is_some();
        self.line_feeds.clear();
        if !self.has_cr {
            let line_feeds = memchr::memchr_iter(b'\n', bytes).map(|at| at as u32);
            self.line_feeds.extend(line_feeds);
        }
    }
}

/// A message from the thread. `End` and `Failed` are the last ones, unless a tee wants the rest:
/// then `Copied` follows `Failed` for each further read, and a second `End` or `Failed`.
pub(super) enum Message {
    Block(Block),
    End,
    Failed(io::Error),
    Copied,
}

/// An open log.
pub(super) struct OpenedSource {
    /// Its decompressed bytes.
    pub(super) log: Box<dyn Read + Send>,
    /// Their position in the log.
    pub(super) position: u64,
    /// The source to read to its end for a tee, even after an error.
    pub(super) rest: Option<Box<dyn Read + Send>>,
    /// Bytes of a block: fewer if the log is small.
    pub(super) block_bytes: usize,
}

/// The parser's end. Dropping it ends the thread after its next block. A blocked read stays
/// blocked.
pub(super) struct Reader {
    pub(super) messages: Receiver<Message>,
    free: Sender<Block>,
}

impl Reader {
    /// Starts the thread. The thread opens the log, since opening a named pipe without a writer
    /// blocks. A log that can be read `at_once` is opened here, and so are its first blocks read: a
    /// small one needs no thread. The length of all blocks but the last is a multiple of `unit`
    /// bytes, or of two if the log has a byte order mark of UTF-16.
    pub(super) fn start(
        unit: usize,
        at_once: bool,
        open: impl FnOnce() -> io::Result<OpenedSource> + Send + 'static,
    ) -> io::Result<Self> {
        // Room for all blocks and the last message, so that sending never blocks. `Copied` messages
        // may block until the parser reads them.
        let (sender, messages) = bounded(BLOCKS + 1);
        let (free, buffers) = bounded(BLOCKS);
        for _ in 0..BLOCKS {
            // Memory is allocated on first use: a short log needs only one buffer.
            let _ = free.send(Block::default());
        }
        let mut reader = BlockReader {
            unit,
            partial: Vec::new(),
            buffers,
            sender,
        };
        let rest: Box<dyn FnOnce() + Send> = match at_once {
            false => Box::new(move || match open() {
                Ok(opened) => reader.read_all(opened),
                Err(error) => reader.send_last(Message::Failed(error)),
            }),
            true => {
                let opened = match open() {
                    Ok(opened) => reader.read_beginning(opened),
                    Err(error) => {
                        reader.send_last(Message::Failed(error));
                        None
                    }
                };
                match opened {
                    Some(opened) => Box::new(move || reader.read_all(opened)),
                    None => return Ok(Self { messages, free }),
                }
            }
        };
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(rest)?;
        Ok(Self { messages, free })
    }

    /// Returns a block for reuse.
    pub(super) fn recycle(&self, block: Block) {
        // Fails if the thread has ended.
        let _ = self.free.send(block);
    }
}

/// Reads a log into blocks and sends them to the parser.
struct BlockReader {
    unit: usize,
    /// An incomplete unit.
    partial: Vec<u8>,
    buffers: Receiver<Block>,
    sender: Sender<Message>,
}

impl BlockReader {
    /// Reads as many blocks as there are free buffers for. Returns the log if there may be more.
    fn read_beginning(&mut self, mut opened: OpenedSource) -> Option<OpenedSource> {
        while let Ok(block) = self.buffers.try_recv() {
            match self.read_block(&mut opened, block) {
                Ok(true) => {}
                Ok(false) => {
                    self.send_last(Message::End);
                    return None;
                }
                Err(error) => {
                    self.end(opened, error);
                    return None;
                }
            }
        }
        Some(opened)
    }

    /// Reads to the end, or until the parser is gone.
    fn read_all(mut self, mut opened: OpenedSource) {
        while let Ok(block) = self.buffers.recv() {
            match self.read_block(&mut opened, block) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.end(opened, error),
            }
        }
        self.send_last(Message::End);
    }

    /// Sends an error and, for a tee, reads on to the end, so that it receives everything.
    fn end(&self, opened: OpenedSource, error: io::Error) {
        let failure = Message::Failed(error);
        match opened.rest {
            None => self.send_last(failure),
            Some(rest) if self.sender.send(failure).is_ok() => {
                self.send_last(copy_rest(rest, &self.sender));
            }
            Some(_) => {}
        }
    }

    fn send_last(&self, last: Message) {
        // Fails if the parser stopped early.
        let _ = self.sender.send(last);
    }

    /// Reads and sends a block. Returns false at the end of the log, and if the parser is gone.
    fn read_block(&mut self, opened: &mut OpenedSource, mut block: Block) -> io::Result<bool> {
        let OpenedSource {
            log,
            position,
            block_bytes,
            ..
        } = opened;
        let buffer = &mut block.buffer;
        if buffer.is_empty() {
            *buffer = vec![0; *block_bytes];
        }
        let mut length = self.partial.len();
        buffer[..length].copy_from_slice(&self.partial);
        let at_end = loop {
            match log.read(&mut buffer[length..])? {
                0 => break true,
                read => length += read,
            }
            if *position == 0 && may_have_utf16_bom(&buffer[..length]) {
                self.unit = 2;
            }
            if length >= self.unit {
                break false;
            }
        };
        self.partial.clear();
        if !at_end {
            let whole = length - length % self.unit;
            self.partial.extend_from_slice(&buffer[whole..length]);
            length = whole;
        }
        if length > 0 {
            block.length = length;
            block.position = *position;
            block.find_lines(self.unit);
            *position += length as u64;
            if self.sender.send(Message::Block(block)).is_err() {
                return Ok(false);
            }
        }
        Ok(!at_end)
    }
}

/// Reads to the end so that the tee receives everything. Returns the last message.
fn copy_rest(mut rest: Box<dyn Read + Send>, sender: &Sender<Message>) -> Message {
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Message::End,
            Ok(_) if sender.send(Message::Copied).is_ok() => {}
            Ok(_) => return Message::End,
            Err(error) => return Message::Failed(error),
        }
    }
}

/// A file that has another content than before.
#[derive(Debug, Error)]
#[error("it was truncated while it was read")]
struct Replaced;

/// Whether an error says that the file was truncated.
pub(super) fn is_replaced(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<Replaced>())
}

/// Bytes before the current position that are compared before each read.
const TAIL_BYTES: usize = 64;

/// An open file, pipe or terminal, compressed as it is.
pub(super) struct SourceFile {
    /// Read first, and not copied to the tee.
    pub(super) before: Option<File>,
    pub(super) file: File,
    /// Where to read next, if the file shares its position with other handles.
    pub(super) place: Option<u64>,
    /// Bytes of a regular file when it was opened.
    pub(super) size: Option<u64>,
    /// Bytes read so far.
    pub(super) count: Arc<AtomicU64>,
    /// Receives all bytes before anything else does.
    pub(super) tee: Option<TeeState>,
    /// The last bytes read of a regular file. If they change, the file was replaced in place.
    pub(super) tail: Vec<u8>,
}

/// The copy of a pipe.
pub(super) struct TeeState {
    keeper: Keeper,
    /// Set at the end of the pipe, since bytes of a second writer belong to another log, and after
    /// an error, since later bytes would have the wrong position.
    end: Option<TeeEnd>,
}

#[derive(Clone, Copy)]
enum TeeEnd {
    Ended,
    Failed,
}

impl TeeState {
    pub(super) fn new(keeper: Keeper) -> Self {
        Self { keeper, end: None }
    }

    fn copy(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = (self.keeper)(bytes);
        self.end = match &result {
            Ok(()) => bytes.is_empty().then_some(TeeEnd::Ended),
            Err(_) => Some(TeeEnd::Failed),
        };
        result
    }
}

/// Receives the bytes of a pipe, compressed as they are, and an empty slice at the end. An error
/// stops the reading.
pub type Keeper = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

impl SourceFile {
    /// Whether the file was truncated and has grown again past the current position. Call it after
    /// `read` more bytes were read.
    fn was_replaced(&self, read: usize) -> bool {
        let mut now = vec![0; self.tail.len()];
        let back = (now.len() + read) as u64;
        // Relative to the current position: stdin may be a file that was partly read before.
        let start = match self.place {
            Some(place) => Some(place.saturating_add(read as u64)),
            None => (&self.file).stream_position().ok(),
        };
        let Some(start) = start.and_then(|position| position.checked_sub(back)) else {
            return false;
        };
        !now.is_empty() && self.file.read_exact_at(&mut now, start).is_ok() && now != self.tail
    }

    /// Remembers the last bytes read.
    fn remember(&mut self, read: &[u8]) {
        if self.size.is_some_and(|size| size > 0) && !read.is_empty() {
            self.tail.clear();
            let from = read.len().saturating_sub(TAIL_BYTES);
            self.tail.extend_from_slice(&read[from..]);
        }
    }

    /// Whether more bytes were read than the file has now. Files without a size, such as those in
    /// /proc, are never truncated.
    fn is_truncated(&self) -> io::Result<bool> {
        match self.size {
            None | Some(0) => Ok(false),
            Some(_) => Ok(self.file.metadata()?.len() < self.count.load(Ordering::Relaxed)),
        }
    }
}

impl Read for SourceFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.tee.as_ref().and_then(|tee| tee.end) {
            None => {}
            Some(TeeEnd::Ended) => return Ok(0),
            Some(TeeEnd::Failed) => {
                return Err(io::Error::other("it cannot be copied any further"));
            }
        }
        if let Some(before) = &mut self.before {
            match before.read(into) {
                Ok(0) => self.before = None,
                Err(error) if error.kind() == ErrorKind::Interrupted => return self.read(into),
                other => return other,
            }
        }
        loop {
            let read = match self.place {
                Some(place) => self.file.read_at(into, place),
                None => self.file.read(into),
            };
            match read {
                Ok(read) if self.was_replaced(read) || (read == 0 && self.is_truncated()?) => {
                    return Err(io::Error::other(Replaced));
                }
                Ok(read) => {
                    self.remember(&into[..read]);
                    if let Some(place) = &mut self.place {
                        *place += read as u64;
                    }
                    self.count.fetch_add(read as u64, Ordering::Relaxed);
                    if let Some(tee) = &mut self.tee {
                        tee.copy(&into[..read])?;
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares the pipe may have made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    retry_on_intr(|| poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None))?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Seek for SourceFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match (&mut self.place, to) {
            (Some(place), SeekFrom::Start(to)) => {
                *place = to;
                to
            }
            (_, to) => self.file.seek(to)?,
        };
        self.tail.clear();
        self.count.store(position, Ordering::Relaxed);
        Ok(position)
    }
}

/// A source with two readers: the decompressor, and the tee if decompression fails.
#[derive(Clone)]
pub(super) struct SharedSource(Arc<Mutex<SourceFile>>);

impl SharedSource {
    pub(super) fn new(source: SourceFile) -> Self {
        Self(Arc::new(Mutex::new(source)))
    }
}

impl Read for SharedSource {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(into)
    }
}

impl Seek for SharedSource {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.lock().seek(to)
    }
}
