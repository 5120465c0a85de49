//! Line ends in bytes of a log whose encoding extends ASCII, without reading its lines.

/// The end of the last line end (`\n`, `\r\n` or `\r`).
pub fn last_line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr2(b'\n', b'\r', bytes).map(|at| at + 1)
}

/// Counts the line ends in consecutive blocks of a log. In UTF-16 it counts `\r\n` twice.
#[derive(Debug, Default)]
pub struct LineCounter {
    position: u64,
    lines: u64,
    end: u64,
    /// The position after a `\r` that `\n` may follow.
    after_cr: Option<u64>,
}

impl LineCounter {
    pub fn add(&mut self, block: &[u8]) {
        for at in memchr::memchr2_iter(b'\n', b'\r', block) {
            let next = self.position + at as u64 + 1;
            let is_line_feed = block[at] == b'\n';
            let is_pair = is_line_feed && self.after_cr == Some(next - 1);
            if let Some(end) = self.after_cr.take().filter(|_| !is_pair) {
                self.count(end);
            }
            match is_line_feed {
                true => self.count(next),
                false => self.after_cr = Some(next),
            }
        }
        self.position += block.len() as u64;
        if let Some(end) = self.after_cr.take_if(|end| *end < self.position) {
            self.count(end);
        }
    }

    fn count(&mut self, end: u64) {
        self.lines += 1;
        self.end = end;
    }

    /// The number of line ends. A `\r` at the end of the last block does not count,
    /// because `\n` may follow.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The position after the last of them.
    pub fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_carriage_return_at_the_end_does_not_count_yet() {
        let mut counter = LineCounter::default();
        for (block, lines, end) in [
            (&b"a\nb\r"[..], 1, 2),
            (b"\n", 2, 5),
            (b"c\r", 2, 5),
            (b"", 2, 5),
            (b"d", 3, 7),
        ] {
            counter.add(block);
            assert_eq!((counter.lines(), counter.end()), (lines, end));
        }
    }

    proptest! {
        #[test]
        fn blocks_of_any_length_have_the_same_lines(text in "[a\r\n]{0,30}", length in 1usize..7) {
            let mut counter = LineCounter::default();
            text.as_bytes().chunks(length).for_each(|block| counter.add(block));
            let decided = text.strip_suffix('\r').unwrap_or(&text);
            let unix = decided.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(counter.lines(), unix.matches('\n').count() as u64);
            let end = last_line_end(decided.as_bytes()).unwrap_or(0);
            prop_assert_eq!(counter.end(), end as u64);
        }
    }
}
