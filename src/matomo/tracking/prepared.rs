//! The requests of a connection, made ready once: there may be hundreds, which differ in their dates only.

/// Bytes of a connection's event that may be repeated as they are.
pub const LONGEST_EVENT: usize = 4 * 1024;

/// Bytes of each of its texts where it is longer.
const SHORTENED: usize = 256;

/// The beginning of a text, which ends with a whole character.
pub fn shorten(text: &[u8]) -> &[u8] {
    if text.len() <= SHORTENED {
        return text;
    }
    let continues = |place: &usize| text[*place] & 0xc0 == 0x80;
    // What has more of them behind each other is no UTF-8.
    let back = (0..3).take_while(|back| continues(&(SHORTENED - back)));
    &text[..SHORTENED - back.count()]
}

/// Bytes of a [`SessionTemplate`], as a rule.
pub const PREPARED: usize = 640;

/// The requests of a connection, but for their dates and marks.
#[derive(Clone, Debug)]
pub struct SessionTemplate {
    /// What all of them have, then what the page view has besides, then what the events have besides.
    pub(super) text: Vec<u8>,
    /// Where each of the first two ends.
    pub(super) common: usize,
    pub(super) view: usize,
}

impl SessionTemplate {
    pub(super) fn push_view(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[..self.view]);
    }

    pub(super) fn push_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[..self.common]);
        out.extend_from_slice(&self.text[self.view..]);
    }

    /// Bytes of an event, but for its own members.
    pub(super) fn event_size(&self) -> usize {
        self.text.len() - (self.view - self.common)
    }

    /// Gives back what memory it does not need.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.text.capacity()
    }
}
