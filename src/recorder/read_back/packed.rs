//! The requests of a batch, compressed.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use crate::recorder::buffer::Buffer;

const COMPRESSION_LEVEL: i32 = 1;

/// A request, with the index of its log and its line there.
pub struct SentRequest {
    pub file: u32,
    pub line: u64,
    pub json: Vec<u8>,
}

/// Compresses batches. One for all recorders, because its buffers are as large as batches.
pub struct Packer {
    compressor: Compressor<'static>,
    text: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(COMPRESSION_LEVEL)?,
            text: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Compresses the requests of a batch, each with its log and line. Returns also their size.
    pub fn pack(&mut self, buffer: &Buffer, requests: &[u32]) -> io::Result<(Vec<u8>, usize)> {
        let text = &mut self.text;
        text.clear();
        for request in requests {
            let group = buffer.group(*request);
            let json = buffer.json(*request);
            text.extend_from_slice(&group.file.to_le_bytes());
            text.extend_from_slice(&group.position.line.to_le_bytes());
            text.extend_from_slice(&(json.len() as u32).to_le_bytes());
            text.extend_from_slice(json);
        }
        self.packed.clear();
        self.packed.reserve(compress_bound(text.len()));
        let compressor = &mut self.compressor;
        compressor.compress_to_buffer(&text[..], &mut self.packed)?;
        Ok((self.packed.to_vec(), text.len()))
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
