//! A reader whose next bytes can be looked at before they are taken.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// Bytes read at once where they are not read straight into the caller's buffer.
const ROOM: usize = 64 * 1024;

pub(super) struct Ahead<R> {
    inner: R,
    room: Box<[u8]>,
    /// What of `room` has been read and not been taken.
    start: usize,
    end: usize,
}

impl<R: Read> Ahead<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            room: vec![0; ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// The next bytes, at least `count` of them (up to 16); fewer only where the input ends. Waits for them.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.start + count > self.room.len() {
            self.room.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < count {
            let read = self.inner.read(&mut self.room[self.end..])?;
            if read == 0 {
                break;
            }
            self.end += read;
        }
        Ok(&self.room[self.start..self.end])
    }
}

impl<R: Seek> Ahead<R> {
    /// Goes on at this position of the input.
    pub(super) fn seek_to(&mut self, position: u64) -> io::Result<()> {
        self.inner.seek(SeekFrom::Start(position))?;
        (self.start, self.end) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.inner.read(into);
        }
        let read = (&self.room[self.start..self.end]).read(into)?;
        self.start += read;
        Ok(read)
    }
}

impl<R: Read> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = self.inner.read(&mut self.room)?;
        }
        Ok(&self.room[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }
}
