//! The thread that reads a log: blocks of unpacked bytes, handed over as soon as they are there.
//!
//! It stands apart from the parser so that a pipe that pauses is noticed, and a signal too while a read hangs.
//! Buffers go round: three of them are all the memory a log takes, and a reader that is ahead waits for one.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;

/// Bytes in a block.
pub(super) const BLOCK: usize = 256 * 1024;
/// Blocks that exist: one being read, one waiting, one with the parser.
const BLOCKS: usize = 3;

/// Unpacked bytes of the log that follow each other.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Longer than what it holds: a buffer is used again as it is.
    buffer: Vec<u8>,
    length: usize,
    /// Of the first byte, from the log's beginning.
    pub(super) position: u64,
}

impl Block {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// What the thread has to say. After `End` comes nothing, nor after `Failed`, unless the rest is to be kept: then come
/// `Kept`, as often as more was read, and `End` or `Failed` once more. When the thread broke off, none of them comes.
pub(super) enum Message {
    Block(Block),
    End,
    Failed(io::Error),
    Kept,
}

/// A log, ready to be read.
pub(super) struct Opened {
    /// Its unpacked bytes.
    pub(super) log: Box<dyn Read>,
    /// Where they begin.
    pub(super) position: u64,
    /// What is to be read to its end, be it of no use: somebody keeps it.
    pub(super) rest: Option<Box<dyn Read>>,
}

/// The parser's side. Dropping it ends the thread at its next block; a read that hangs is left to hang.
pub(super) struct Reader {
    pub(super) messages: Receiver<Message>,
    free: Sender<Vec<u8>>,
}

impl Reader {
    /// Starts the thread. It opens the log itself, since opening may hang (a named pipe without writer). Blocks
    /// hold a whole number of `unit` bytes, but for the last one.
    pub(super) fn start(
        unit: usize,
        open: impl FnOnce() -> io::Result<Opened> + Send + 'static,
    ) -> io::Result<Self> {
        // There is always room for all blocks and the last word, so that sending never waits; but a rest that is
        // only kept waits for whoever wants it kept.
        let (say, messages) = bounded(BLOCKS + 1);
        let (free, buffers) = bounded(BLOCKS);
        for _ in 0..BLOCKS {
            // Room is made when a buffer is first used: a short log needs only one.
            let _ = free.send(Vec::new());
        }
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                let last = match open() {
                    Ok(opened) => read_all(opened, unit, &buffers, &say),
                    Err(error) => Message::Failed(error),
                };
                // Nobody listens where the parser stopped early.
                let _ = say.send(last);
            })?;
        Ok(Self { messages, free })
    }

    /// Gives a block back.
    pub(super) fn recycle(&self, block: Block) {
        // The thread has ended: no more is read.
        let _ = self.free.send(block.buffer);
    }
}

/// Reads to the end, also beyond what cannot be unpacked. Gives the last word.
fn read_all(
    opened: Opened,
    unit: usize,
    buffers: &Receiver<Vec<u8>>,
    say: &Sender<Message>,
) -> Message {
    let Opened {
        mut log,
        position,
        rest,
    } = opened;
    let failure = match read(&mut *log, position, unit, buffers, say) {
        Ok(()) => return Message::End,
        Err(error) => Message::Failed(error),
    };
    let Some(rest) = rest else { return failure };
    match say.send(failure) {
        Ok(()) => keep(rest, say),
        Err(_) => Message::End,
    }
}

/// Reads on to the end for the sake of whoever keeps what is read.
fn keep(mut rest: Box<dyn Read>, say: &Sender<Message>) -> Message {
    let mut buffer = vec![0; BLOCK];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Message::End,
            Ok(_) if say.send(Message::Kept).is_ok() => {}
            Ok(_) => return Message::End,
            Err(error) => return Message::Failed(error),
        }
    }
}

/// Reads to the end, or until nobody listens.
fn read(
    log: &mut dyn Read,
    mut position: u64,
    unit: usize,
    buffers: &Receiver<Vec<u8>>,
    say: &Sender<Message>,
) -> io::Result<()> {
    // The bytes of a unit whose other bytes are not there yet.
    let mut begun: Vec<u8> = Vec::with_capacity(unit);
    while let Ok(mut buffer) = buffers.recv() {
        buffer.resize(BLOCK, 0);
        let mut length = begun.len();
        buffer[..length].copy_from_slice(&begun);
        let at_end = loop {
            match log.read(&mut buffer[length..])? {
                0 => break true,
                read => length += read,
            }
            if length >= unit {
                break false;
            }
        };
        begun.clear();
        if !at_end {
            let whole = length - length % unit;
            begun.extend_from_slice(&buffer[whole..length]);
            length = whole;
        }
        if length > 0 {
            let block = Block {
                buffer,
                length,
                position,
            };
            position += length as u64;
            if say.send(Message::Block(block)).is_err() {
                break;
            }
        }
        if at_end {
            break;
        }
    }
    Ok(())
}

/// Bytes by which a file is known again while it is read.
const LAST: usize = 64;

/// A file, pipe or terminal as it is, with a count of what was read.
pub(super) struct Counted {
    /// Comes first, and is not kept again.
    pub(super) before: Option<File>,
    pub(super) file: File,
    /// Bytes of a plain file when it was opened, packed as they are.
    pub(super) size: Option<u64>,
    /// Packed bytes read so far, for a progress report.
    pub(super) count: Arc<AtomicU64>,
    /// Keeps what was read, before anybody else has it.
    pub(super) keeper: Option<Kept>,
    /// The last bytes read of a plain file: as long as they stand where they stood, it is the file that was read.
    pub(super) last: Vec<u8>,
}

/// What is kept of a pipe.
pub(super) struct Kept {
    keeper: Keeper,
    /// Nothing more is to be kept: the pipe had ended (a second writer's bytes are not for this log), or something could
    /// not be kept, and what follows would stand in the wrong place.
    over: Option<Over>,
}

#[derive(Clone, Copy)]
enum Over {
    Ended,
    Failed,
}

impl Kept {
    pub(super) fn new(keeper: Keeper) -> Self {
        Self { keeper, over: None }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let kept = (self.keeper)(bytes);
        self.over = match &kept {
            Ok(()) => bytes.is_empty().then_some(Over::Ended),
            Err(_) => Some(Over::Failed),
        };
        kept
    }
}

/// Takes bytes as they were read, packed as they are; none when there is no more. An error ends the reading.
pub type Keeper = Box<dyn FnMut(&[u8]) -> io::Result<()> + Send>;

impl Counted {
    /// Whether the file is no longer what was read of it so far: it was cut off, and has grown past that since.
    /// To be asked when so many bytes more were read of it.
    fn is_other(&self, read: usize) -> bool {
        let mut now = vec![0; self.last.len()];
        let back = (now.len() + read) as u64;
        // Not from its beginning, where stdin is a file that somebody has read of before.
        let start = (&self.file).stream_position().ok();
        let Some(start) = start.and_then(|position| position.checked_sub(back)) else {
            return false;
        };
        !now.is_empty() && self.file.read_exact_at(&mut now, start).is_ok() && now != self.last
    }

    /// Keeps the last of what was just read.
    fn remember(&mut self, read: &[u8]) {
        if self.size.is_some_and(|size| size > 0) && !read.is_empty() {
            self.last.clear();
            let from = read.len().saturating_sub(LAST);
            self.last.extend_from_slice(&read[from..]);
        }
    }

    /// At its end: whether more was read of a file than there is of it now. Files without a size of their own, as in
    /// /proc, are none of those.
    fn is_cut_off(&self) -> io::Result<bool> {
        match self.size {
            None | Some(0) => Ok(false),
            Some(_) => Ok(self.file.metadata()?.len() < self.count.load(Ordering::Relaxed)),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.keeper.as_ref().and_then(|kept| kept.over) {
            None => {}
            Some(Over::Ended) => return Ok(0),
            Some(Over::Failed) => return Err(io::Error::other("nothing more of it can be kept")),
        }
        if let Some(before) = &mut self.before {
            match before.read(into) {
                Ok(0) => self.before = None,
                Err(error) if error.kind() == ErrorKind::Interrupted => return self.read(into),
                other => return other,
            }
        }
        loop {
            match self.file.read(into) {
                Ok(read) if self.is_other(read) || (read == 0 && self.is_cut_off()?) => {
                    return Err(io::Error::other("it was cut off while it was read"));
                }
                Ok(read) => {
                    self.remember(&into[..read]);
                    self.count.fetch_add(read as u64, Ordering::Relaxed);
                    if let Some(kept) = &mut self.keeper {
                        kept.keep(&into[..read])?;
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that shares a pipe may have set it not to wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    retry_on_intr(|| poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None))?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        self.last.clear();
        self.count.store(position, Ordering::Relaxed);
        Ok(position)
    }
}

/// The same for two: one unpacks it, and the other reads on where it cannot be unpacked.
#[derive(Clone)]
pub(super) struct Shared(Rc<RefCell<Counted>>);

impl Shared {
    pub(super) fn new(counted: Counted) -> Self {
        Self(Rc::new(RefCell::new(counted)))
    }
}

impl Read for Shared {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into)
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.borrow_mut().seek(to)
    }
}
