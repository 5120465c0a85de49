//! The requests of a batch, compressed.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use crate::recorder::buffer::Buffer;

const COMPRESSION_LEVEL: i32 = 1;

/// A batch is compressed in pieces of about this size, in bytes, because the compressor needs
/// several times the memory of a piece.
const PIECE_BYTES: usize = 64 << 10;

/// A request, with the index of its log and its line there.
pub struct SentRequest {
    pub file: u32,
    pub line: u64,
    pub json: Vec<u8>,
}

/// Compresses batches. One for all recorders, because it needs much memory.
pub struct Packer {
    compressor: Compressor<'static>,
    piece: Vec<u8>,
    packed_piece: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(COMPRESSION_LEVEL)?,
            piece: Vec::new(),
            packed_piece: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Compresses the requests of a batch, each with its log and line. Returns also their size.
    pub fn pack(&mut self, buffer: &Buffer, requests: &[u32]) -> io::Result<(Vec<u8>, usize)> {
        self.packed.clear();
        self.piece.clear();
        let mut bytes = 0;
        for request in requests {
            let group = buffer.group(*request);
            let json = buffer.json(*request);
            self.piece.extend_from_slice(&group.file.to_le_bytes());
            self.piece
                .extend_from_slice(&group.position.line.to_le_bytes());
            self.piece
                .extend_from_slice(&(json.len() as u32).to_le_bytes());
            self.piece.extend_from_slice(json);
            if self.piece.len() >= PIECE_BYTES {
                bytes += self.end_piece()?;
            }
        }
        bytes += self.end_piece()?;
        Ok((self.packed.to_vec(), bytes))
    }

    /// Compresses what there is of a piece, as a frame of its own. Returns its size before.
    fn end_piece(&mut self) -> io::Result<usize> {
        let bytes = self.piece.len();
        self.packed_piece.clear();
        self.packed_piece.reserve(compress_bound(bytes));
        self.compressor
            .compress_to_buffer(&self.piece[..], &mut self.packed_piece)?;
        self.packed.extend_from_slice(&self.packed_piece);
        self.piece.clear();
        Ok(bytes)
    }
}

pub fn unpack(mut text: &[u8]) -> Option<Vec<SentRequest>> {
    let mut requests = Vec::new();
    while !text.is_empty() {
        let (file, rest) = text.split_first_chunk()?;
        let (line, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        requests.push(SentRequest {
            file: u32::from_le_bytes(*file),
            line: u64::from_le_bytes(*line),
            json: json.to_vec(),
        });
        text = rest;
    }
    Some(requests)
}
