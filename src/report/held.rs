//! What `--quiet` holds back until it is known whether all is well.

use std::collections::VecDeque;

use super::sink::Stream;

/// Bytes held at most, of the newest messages.
pub(super) const HELD_BYTES: usize = 1 << 20;

/// What `--quiet` holds back: the newest texts, of [`HELD_BYTES`] together.
#[derive(Default)]
pub(super) struct Held {
    texts: VecDeque<(Stream, String)>,
    bytes: usize,
    dropped: u64,
}

impl Held {
    pub(super) fn push(&mut self, stream: Stream, mut text: String) {
        if text.len() > HELD_BYTES {
            let fits = (0..=HELD_BYTES / 2)
                .rev()
                .find(|&end| text.is_char_boundary(end));
            text.truncate(fits.unwrap_or(0));
            text.push_str("…\n");
        }
        text.shrink_to_fit();
        self.bytes += Self::cost(&text);
        self.texts.push_back((stream, text));
        while self.bytes > HELD_BYTES && self.texts.len() > 1 {
            if let Some((_, oldest)) = self.texts.pop_front() {
                self.bytes -= Self::cost(&oldest);
                self.dropped += 1;
            }
        }
    }

    /// All that is held, the oldest first.
    pub(super) fn texts(self) -> impl Iterator<Item = (Stream, String)> {
        let note = (self.dropped > 0).then(|| {
            let note = format!(
                "import-logs: {} older messages are left out\n",
                self.dropped
            );
            (Stream::Err, note)
        });
        note.into_iter().chain(self.texts)
    }

    /// Its own bytes and those that keep it: many empty texts take memory too.
    fn cost(text: &str) -> usize {
        text.len() + size_of::<(Stream, String)>()
    }
}
