//! Packed logs: told by their first bytes, unpacked as they are read, all members of a file (SPEC section 2).
//!
//! An error of the kind `UnexpectedEof` says that the packed data is cut off, one of `InvalidData` that it is
//! damaged; what could be unpacked before has been handed over. Memory stays small whatever the data claims.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Seek};
use std::mem;
use std::ops::RangeInclusive;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::ahead::Ahead;

/// The most history that zstd data may ask to be kept, as a power of two: 128 MiB, as the zstd program has it.
const ZSTD_WINDOW: u32 = 27;
/// The most memory in bytes that xz data may ask for; `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Bzip2,
    Zstd,
    Xz,
}

/// How packed data begins, byte by byte. The second entry of zstd is a frame that is to be passed over.
#[rustfmt::skip]
static BEGINNINGS: &[(Packing, &[RangeInclusive<u8>])] = &[
    (Packing::Gzip, &[0x1f..=0x1f, 0x8b..=0x8b]),
    (Packing::Bzip2, &[b'B'..=b'B', b'Z'..=b'Z', b'h'..=b'h', b'1'..=b'9']),
    (Packing::Zstd, &[0x28..=0x28, 0xb5..=0xb5, 0x2f..=0x2f, 0xfd..=0xfd]),
    (Packing::Zstd, &[0x50..=0x5f, 0x2a..=0x2a, 0x4d..=0x4d, 0x18..=0x18]),
    (Packing::Xz, &[0xfd..=0xfd, b'7'..=b'7', b'z'..=b'z', b'X'..=b'X', b'Z'..=b'Z', 0..=0]),
];

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::Gzip => "gzip",
            Packing::Bzip2 => "bzip2",
            Packing::Zstd => "zstd",
            Packing::Xz => "xz",
        })
    }
}

/// Reads the unpacked bytes of `R`; where `R` is not packed, its bytes.
pub struct Unpack<R: Read>(State<R>);

enum State<R: Read> {
    Plain(Ahead<R>),
    /// Before the first member, or after one.
    Between(Ahead<R>, Packing),
    Gzip(Box<GzDecoder<Ahead<R>>>),
    Bzip2(Box<BzDecoder<Ahead<R>>>),
    Zstd(Box<zstd::Decoder<'static, Ahead<R>>>),
    Xz(Box<XzDecoder<Ahead<R>>>),
    /// At the end, or after an error.
    Done,
}

impl<R: Read> Unpack<R> {
    /// Looks at the first bytes, waiting only for as many as it takes to tell.
    pub fn new(inner: R) -> io::Result<Self> {
        let mut ahead = Ahead::new(inner);
        Ok(Self(match packing(&mut ahead)? {
            Some(packing) => State::Between(ahead, packing),
            None => State::Plain(ahead),
        }))
    }

    /// Whether what is read is packed.
    pub fn is_packed(&self) -> bool {
        !matches!(self.0, State::Plain(_))
    }

    /// The next member, or the end. Zero bytes may stand between members: tapes and block devices fill up so.
    fn next_member(&mut self) -> io::Result<()> {
        match mem::replace(&mut self.0, State::Done) {
            State::Between(ahead, packing) => {
                self.0 = member(ahead, packing)?;
                Ok(())
            }
            State::Gzip(decoder) => self.after_member(decoder.into_inner(), Packing::Gzip),
            State::Bzip2(decoder) => self.after_member(decoder.into_inner(), Packing::Bzip2),
            State::Zstd(decoder) => self.after_member(decoder.finish(), Packing::Zstd),
            State::Xz(decoder) => self.after_member(decoder.into_inner(), Packing::Xz),
            State::Plain(_) | State::Done => Ok(()),
        }
    }

    fn after_member(&mut self, mut ahead: Ahead<R>, last: Packing) -> io::Result<()> {
        loop {
            let bytes = ahead.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let (all_zeros, at_end) = (zeros == bytes.len(), bytes.is_empty());
            ahead.consume(zeros);
            if at_end {
                return Ok(());
            }
            if !all_zeros {
                break;
            }
        }
        let Some(packing) = packing(&mut ahead)? else {
            return Err(damaged(last, "what follows its end is not packed"));
        };
        self.0 = State::Between(ahead, packing);
        Ok(())
    }
}

impl<R: Read + Seek> Unpack<R> {
    /// Goes to this position of a log that is not packed; in a packed one nothing can be passed over. Returns
    /// the position in unpacked bytes at which reading goes on. Only before the first read.
    pub fn seek_if_plain(&mut self, position: u64) -> io::Result<u64> {
        match &mut self.0 {
            State::Plain(ahead) => ahead.seek_to(position).map(|()| position),
            _ => Ok(0),
        }
    }
}

impl<R: Read> Read for Unpack<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let (result, packing) = match &mut self.0 {
                State::Plain(ahead) => return ahead.read(into),
                State::Done => return Ok(0),
                State::Between(_, packing) => (Ok(0), *packing),
                State::Gzip(decoder) => (decoder.read(into), Packing::Gzip),
                State::Bzip2(decoder) => (decoder.read(into), Packing::Bzip2),
                State::Zstd(decoder) => (decoder.read(into), Packing::Zstd),
                State::Xz(decoder) => (decoder.read(into), Packing::Xz),
            };
            match result {
                Ok(0) => self.next_member()?,
                Ok(read) => return Ok(read),
                Err(error) => {
                    self.0 = State::Done;
                    return Err(explain(packing, error));
                }
            }
        }
    }
}

/// How what follows is packed, if it is. Waits for no more bytes than it takes to tell.
fn packing<R: Read>(ahead: &mut Ahead<R>) -> io::Result<Option<Packing>> {
    let mut wanted = 1;
    loop {
        let bytes = ahead.peek(wanted)?;
        let mut fitting = BEGINNINGS.iter().filter(|(_, beginning)| {
            let mut pairs = beginning.iter().zip(bytes);
            pairs.all(|(range, byte)| range.contains(byte))
        });
        match fitting.next() {
            Some((packing, beginning)) if bytes.len() >= beginning.len() => {
                return Ok(Some(*packing));
            }
            Some(_) if bytes.len() >= wanted => wanted = bytes.len() + 1,
            _ => return Ok(None),
        }
    }
}

fn member<R: Read>(ahead: Ahead<R>, packing: Packing) -> io::Result<State<R>> {
    Ok(match packing {
        Packing::Gzip => State::Gzip(Box::new(GzDecoder::new(ahead))),
        Packing::Bzip2 => State::Bzip2(Box::new(BzDecoder::new(ahead))),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(ahead)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW)?;
            State::Zstd(Box::new(decoder))
        }
        Packing::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, 0)?;
            State::Xz(Box::new(XzDecoder::new_stream(ahead, stream)))
        }
    })
}

/// Errors of the system stay as they are; the others are about the packed data.
fn explain(packing: Packing, error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        error
    } else if error.kind() == ErrorKind::UnexpectedEof {
        let text = format!("its {packing} data is cut off");
        io::Error::new(ErrorKind::UnexpectedEof, text)
    } else {
        damaged(packing, error)
    }
}

fn damaged(packing: Packing, what: impl fmt::Display) -> io::Error {
    let text = format!("its {packing} data is damaged or needs too much memory ({what})");
    io::Error::new(ErrorKind::InvalidData, text)
}

#[cfg(test)]
pub(super) mod tests;
