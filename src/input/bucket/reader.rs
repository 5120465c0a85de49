//! Reads an object as a stream of bytes.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use super::Object;

/// What is downloaded ahead of the reader of one object, in bytes.
pub(super) const BUFFERED_BYTES: usize = 256 * 1024;

/// How often a reader that may be stopped looks for bytes.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Whether to give up waiting for a bucket.
pub type ShouldStop = Arc<dyn Fn() -> bool + Send + Sync>;

/// How often a download is begun again without any progress. Each time, its requests are repeated
/// as well.
const MAX_FAILURES: u32 = 2;

/// Some bytes of an object. The permit is for the room that they take.
pub(super) struct DownloadedBytes {
    pub bytes: Bytes,
    pub _room: OwnedSemaphorePermit,
}

/// A download that is under way. Dropping it ends the download.
pub(super) struct Download(pub Receiver<io::Result<DownloadedBytes>>);

/// Reads an object as it was listed: reading fails if it was replaced since.
pub struct ObjectReader {
    object: Object,
    /// `None` until the first read, and after [`Seek::seek`].
    download: Option<Download>,
    chunk: Option<DownloadedBytes>,
    /// Of the next byte, in compressed bytes.
    position: u64,
    /// How often the download failed since the last bytes came.
    failures: u32,
    /// Bytes read so far, for others.
    count: Arc<AtomicU64>,
    should_stop: Option<ShouldStop>,
}

impl ObjectReader {
    /// `count` is kept at the number of bytes read so far.
    pub fn new(object: Object, count: Arc<AtomicU64>) -> Self {
        Self {
            object,
            download: None,
            chunk: None,
            position: 0,
            failures: 0,
            count,
            should_stop: None,
        }
    }

    /// Makes reading fail when `should_stop` says so.
    pub fn stopped_by(self, should_stop: ShouldStop) -> Self {
        Self {
            should_stop: Some(should_stop),
            ..self
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = &mut self.chunk {
                let length = chunk.bytes.len().min(into.len());
                into[..length].copy_from_slice(&chunk.bytes.split_to(length));
                if chunk.bytes.is_empty() {
                    self.chunk = None;
                }
                if length > 0 || into.is_empty() {
                    self.position += length as u64;
                    self.count.store(self.position, Ordering::Relaxed);
                    return Ok(length);
                }
            }
            let size = self.object.meta().size;
            if self.position >= size {
                return Ok(0);
            }
            let download = self.download.get_or_insert_with(|| match self.position {
                0 => self.object.take_download(),
                position => self.object.download(position),
            });
            let received = match &self.should_stop {
                None => download.0.blocking_recv(),
                Some(should_stop) => loop {
                    match download.0.try_recv() {
                        Ok(chunk) => break Some(chunk),
                        Err(TryRecvError::Disconnected) => break None,
                        Err(TryRecvError::Empty) if should_stop() => {
                            return Err(io::Error::other("interrupted"));
                        }
                        Err(TryRecvError::Empty) => sleep(POLL_INTERVAL),
                    }
                },
            };
            let received = received.unwrap_or_else(|| {
                let text = format!("only {} of {size} bytes came", self.position);
                Err(io::Error::other(text))
            });
            match received {
                Ok(chunk) => {
                    self.chunk = Some(chunk);
                    self.failures = 0;
                }
                // A connection may be closed while an object waits for its turn.
                Err(error) if error.kind() == ErrorKind::Other && self.failures < MAX_FAILURES => {
                    self.failures += 1;
                    self.download = Some(self.object.download(self.position));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(position) = to else {
            return Err(ErrorKind::Unsupported.into());
        };
        if position != self.position {
            (self.download, self.chunk) = (None, None);
            self.position = position;
        }
        self.count.store(position, Ordering::Relaxed);
        Ok(position)
    }
}
