//! Decompresses logs. The first bytes, not the file name, decide about the compression, and all
//! members of a file are read (guide/options.md, "Log files").
//!
//! An error of kind `UnexpectedEof` means that compressed data is truncated, `InvalidData` that it
//! is damaged. All data before the error is returned first. Memory is bounded, whatever the data
//! claims.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom};
use std::mem;
use std::ops::RangeInclusive;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::encoding::may_have_utf16_bom;
use crate::error::Error;

/// Maximum window of zstd data, as a power of two: 128 MiB, the limit of the zstd program.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Maximum bytes of memory to decompress xz data; `xz -9` needs 65 MiB.
const MAX_XZ_BYTES: u64 = 256 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Bzip2,
    Zstd,
    Xz,
}

/// Magic numbers, as one range per byte. The second one of zstd begins a skippable frame.
#[rustfmt::skip]
static MAGIC_NUMBERS: &[(Compression, &[RangeInclusive<u8>])] = &[
    (Compression::Gzip, &[0x1f..=0x1f, 0x8b..=0x8b]),
    (Compression::Bzip2, &[b'B'..=b'B', b'Z'..=b'Z', b'h'..=b'h', b'1'..=b'9']),
    (Compression::Zstd, &[0x28..=0x28, 0xb5..=0xb5, 0x2f..=0x2f, 0xfd..=0xfd]),
    (Compression::Zstd, &[0x50..=0x5f, 0x2a..=0x2a, 0x4d..=0x4d, 0x18..=0x18]),
    (Compression::Xz, &[0xfd..=0xfd, b'7'..=b'7', b'z'..=b'z', b'X'..=b'X', b'Z'..=b'Z', 0..=0]),
];

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
        })
    }
}

/// Reads the decompressed bytes of `R`, or its bytes if they are not compressed.
pub struct Decompressor<R: Read>(DecompressorState<R>);

enum DecompressorState<R: Read> {
    Plain(PeekReader<R>),
    /// Before a member.
    Between(PeekReader<R>, Compression),
    Gzip(Box<GzDecoder<PeekReader<R>>>),
    Bzip2(Box<BzDecoder<PeekReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, PeekReader<R>>>),
    Xz(Box<XzDecoder<PeekReader<R>>>),
    /// At the end, or after an error.
    Done,
}

impl<R: Read> Decompressor<R> {
    /// Reads the magic number. Blocks only for as many bytes as it needs.
    pub fn new(inner: R) -> io::Result<Self> {
        Self::of_size(inner, PEEK_BUFFER_BYTES)
    }

    /// The same for an input of about this many bytes. A small one gets a small buffer.
    pub fn of_size(inner: R, bytes: usize) -> io::Result<Self> {
        let mut input = PeekReader::new(inner, bytes.clamp(512, PEEK_BUFFER_BYTES));
        Ok(Self(match compression(&mut input)? {
            Some(compression) => DecompressorState::Between(input, compression),
            None => DecompressorState::Plain(input),
        }))
    }

    /// Whether the input is compressed.
    pub fn is_compressed(&self) -> bool {
        !matches!(self.0, DecompressorState::Plain(_))
    }

    /// The compression of the first member. Call it before the first read.
    pub fn compression(&self) -> Option<Compression> {
        match self.0 {
            DecompressorState::Between(_, compression) => Some(compression),
            _ => None,
        }
    }

    /// Whether the input is not compressed and begins with a byte order mark of UTF-16. Call it
    /// before the first read. Blocks only for as many bytes as it needs.
    pub fn has_utf16_bom(&mut self) -> io::Result<bool> {
        let DecompressorState::Plain(input) = &mut self.0 else {
            return Ok(false);
        };
        Ok(may_have_utf16_bom(input.peek(1)?) && may_have_utf16_bom(input.peek(2)?))
    }

    /// Moves to the next member or to the end. Zeros between members are skipped; tapes and block
    /// devices pad with them.
    fn next_member(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.0, DecompressorState::Done) {
            DecompressorState::Between(input, compression) => {
                self.0 = member(input, compression)?;
                Ok(())
            }
            DecompressorState::Gzip(decoder) => {
                self.after_member(decoder.into_inner(), Compression::Gzip)
            }
            DecompressorState::Bzip2(decoder) => {
                self.after_member(decoder.into_inner(), Compression::Bzip2)
            }
            DecompressorState::Zstd(decoder) => {
                self.after_member(decoder.finish(), Compression::Zstd)
            }
            DecompressorState::Xz(decoder) => {
                self.after_member(decoder.into_inner(), Compression::Xz)
            }
            DecompressorState::Plain(_) | DecompressorState::Done => Ok(()),
        }
    }

    fn after_member(&mut self, mut input: PeekReader<R>, last: Compression) -> io::Result<()> {
        loop {
            let bytes = input.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let (all_zeros, at_end) = (zeros == bytes.len(), bytes.is_empty());
            input.consume(zeros);
            if at_end {
                return Ok(());
            }
            if !all_zeros {
                break;
            }
        }
        let Some(compression) = compression(&mut input)? else {
            return Err(damaged(last, "other data follows its end"));
        };
        self.0 = DecompressorState::Between(input, compression);
        Ok(())
    }
}

impl<R: Read + Seek> Decompressor<R> {
    /// Moves to a position if the input is not compressed. Returns the position from which reading
    /// continues, in decompressed bytes. Call it before the first read.
    pub fn seek_if_plain(&mut self, position: u64) -> io::Result<u64> {
        match &mut self.0 {
            DecompressorState::Plain(input) => input.seek_to(position).map(|()| position),
            _ => Ok(0),
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let (result, compression) = match &mut self.0 {
                DecompressorState::Plain(input) => return input.read(into),
                DecompressorState::Done => return Ok(0),
                DecompressorState::Between(_, compression) => (Ok(0), *compression),
                DecompressorState::Gzip(decoder) => (decoder.read(into), Compression::Gzip),
                DecompressorState::Bzip2(decoder) => (decoder.read(into), Compression::Bzip2),
                DecompressorState::Zstd(decoder) => (decoder.read(into), Compression::Zstd),
                DecompressorState::Xz(decoder) => (decoder.read(into), Compression::Xz),
            };
            match result {
                Ok(0) => self.next_member()?,
                Ok(read) => return Ok(read),
                Err(error) => {
                    self.0 = DecompressorState::Done;
                    return Err(explain(compression, error));
                }
            }
        }
    }
}

/// The compression of what follows, if any. Blocks only for as many bytes as it needs.
fn compression<R: Read>(input: &mut PeekReader<R>) -> io::Result<Option<Compression>> {
    let mut wanted = 1;
    loop {
        let bytes = input.peek(wanted)?;
        let mut fitting = MAGIC_NUMBERS.iter().filter(|(_, beginning)| {
            let mut pairs = beginning.iter().zip(bytes);
            pairs.all(|(range, byte)| range.contains(byte))
        });
        match fitting.next() {
            Some((compression, beginning)) if bytes.len() >= beginning.len() => {
                return Ok(Some(*compression));
            }
            Some(_) if bytes.len() >= wanted => wanted = bytes.len() + 1,
            _ => return Ok(None),
        }
    }
}

fn member<R: Read>(
    input: PeekReader<R>,
    compression: Compression,
) -> io::Result<DecompressorState<R>> {
    Ok(match compression {
        Compression::Gzip => DecompressorState::Gzip(Box::new(GzDecoder::new(input))),
        Compression::Bzip2 => DecompressorState::Bzip2(Box::new(BzDecoder::new(input))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
            DecompressorState::Zstd(Box::new(decoder))
        }
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(MAX_XZ_BYTES, 0)?;
            DecompressorState::Xz(Box::new(XzDecoder::new_stream(input, stream)))
        }
    })
}

/// Describes errors of the compressed data. Errors of the system and of a tee stay as they are.
fn explain(compression: Compression, error: io::Error) -> io::Error {
    let is_from_tee = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    if error.raw_os_error().is_some() || is_from_tee {
        error
    } else if error.kind() == ErrorKind::UnexpectedEof {
        let text = format!("its {compression} data is truncated");
        io::Error::new(ErrorKind::UnexpectedEof, text)
    } else {
        damaged(compression, error)
    }
}

fn damaged(compression: Compression, what: impl fmt::Display) -> io::Error {
    let text = format!("its {compression} data is damaged or needs too much memory ({what})");
    io::Error::new(ErrorKind::InvalidData, text)
}

/// Most bytes of the buffer of a [`PeekReader`].
const PEEK_BUFFER_BYTES: usize = 64 * 1024;

/// A buffered reader that can look at the next bytes without consuming them.
struct PeekReader<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// `start..end` is read and not yet consumed.
    start: usize,
    end: usize,
}

impl<R: Read> PeekReader<R> {
    fn new(inner: R, buffer_bytes: usize) -> Self {
        Self {
            inner,
            buffer: vec![0; buffer_bytes].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// The next bytes, at least `count` (at most 16), or fewer at the end of the input. Blocks.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < count {
            let read = self.inner.read(&mut self.buffer[self.end..])?;
            if read == 0 {
                break;
            }
            self.end += read;
        }
        Ok(&self.buffer[self.start..self.end])
    }
}

impl<R: Seek> PeekReader<R> {
    /// Continues at a position of the input.
    fn seek_to(&mut self, position: u64) -> io::Result<()> {
        self.inner.seek(SeekFrom::Start(position))?;
        (self.start, self.end) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for PeekReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.inner.read(into);
        }
        let read = (&self.buffer[self.start..self.end]).read(into)?;
        self.start += read;
        Ok(read)
    }
}

impl<R: Read> BufRead for PeekReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = self.inner.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }
}

#[cfg(test)]
pub(super) mod tests;
