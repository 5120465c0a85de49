//! Reading an answer's body within bounds of memory and time.

use std::io::{ErrorKind, Read};
use std::time::Instant;

/// How much of an answer is kept.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    /// The last so many bytes.
    End(usize),
    /// All of it, or up to so many bytes and no further.
    All(usize),
}

/// Reads a body; `false`: not to its end. Memory stays below twice what is to be kept.
pub(super) fn read(body: &mut impl Read, keep: Keep, deadline: Option<Instant>) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    let mut part = [0; 16 * 1024];
    let whole = loop {
        match body.read(&mut part) {
            Ok(0) => break true,
            Ok(n) => kept.extend_from_slice(&part[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
        match keep {
            Keep::All(limit) if kept.len() > limit => break false,
            Keep::End(limit) if kept.len() > 2 * limit => drop_front(&mut kept, limit),
            _ => {}
        }
        if deadline.is_some_and(|end| Instant::now() >= end) {
            break false;
        }
    };
    if let Keep::End(limit) = keep {
        drop_front(&mut kept, limit);
    }
    (kept, whole)
}

fn drop_front(kept: &mut Vec<u8>, limit: usize) {
    kept.drain(..kept.len().saturating_sub(limit));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_to_be_read_whole_no_more_than_the_limit_is_read() {
        let (kept, whole) = read(&mut std::io::repeat(b'x'), Keep::All(100_000), None);
        assert!(!whole && kept.len() < 200_000);
        let (kept, whole) = read(&mut &b"abc"[..], Keep::All(3), None);
        assert_eq!((kept.as_slice(), whole), (&b"abc"[..], true));
        let past = Instant::now();
        assert!(!read(&mut std::io::repeat(b'x'), Keep::End(10), Some(past)).1);
    }
}
