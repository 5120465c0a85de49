//! What is kept of a pipe while it is read.

use std::sync::Mutex;

use super::*;

/// A log that is read as a pipe is, and what is kept of it; the keeper has room for so many bytes.
fn kept(data: &[u8], room: usize) -> (Lines, Arc<Mutex<Vec<u8>>>) {
    let log = file(data);
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let (keeping, mut is_full) = (Arc::clone(&kept), false);
    let tee = Tee {
        before: file(b"").reopen().unwrap(),
        keeper: Box::new(move |bytes| {
            let mut kept = keeping.lock().unwrap();
            // It would have room again.
            if kept.len() + bytes.len() > room && !is_full {
                is_full = true;
                return Err(io::Error::other("no room"));
            }
            kept.extend_from_slice(bytes);
            Ok(())
        }),
    };
    let source = Source::File(log.path().to_owned());
    let mut lines = Lines::open_pipe(&source, tee, LineOptions::default()).unwrap();
    // Its thread opens it, and the file goes with this function.
    let _ = lines.peek(LONG);
    (lines, kept)
}

#[test]
fn what_cannot_be_unpacked_is_kept_all_the_same() {
    let [gzip, ..] = pack_all(b"one\n");
    let data = [gzip, b"no compression\n".repeat(100_000)].concat();
    let (mut lines, kept) = kept(&data, usize::MAX);
    while let Ok(next) = lines.next(LONG) {
        assert_ne!(next, LineEvent::End, "no error");
    }
    assert!(lines.drain(LONG, LONG, || false).unwrap());
    assert!(*kept.lock().unwrap() == data);
}

#[test]
fn behind_what_could_not_be_kept_nothing_is_kept() {
    let data = b"a line\n".repeat(BLOCK_BYTES);
    let (mut lines, kept) = kept(&data, 3 * BLOCK_BYTES);
    let error = lines.drain(LONG, LONG, || false).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert!(data.starts_with(&kept.lock().unwrap()));
}
