//! Lines of pipes, which pause and may never end.

use std::thread;

use super::*;

/// Lines from a pipe, and its end to write to.
fn pipe() -> (Lines, File) {
    let (from, to) = rustix::pipe::pipe().unwrap();
    let lines =
        Lines::from_file("stdin".to_owned(), File::from(from), LineOptions::default()).unwrap();
    (lines, File::from(to))
}

#[test]
fn a_line_of_100_mb_takes_no_memory() {
    let (mut lines, mut to) = pipe();
    let writer = thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            to.write_all(&piece).unwrap();
        }
        to.write_all(b"\nnext\n").unwrap();
    });
    let mut found: Vec<Owned> = Vec::new();
    loop {
        match lines.next(LONG).unwrap() {
            LineEvent::Line(line) => found.push(line.into()),
            LineEvent::Pause => panic!("a pause"),
            LineEvent::End => break,
        }
        assert!(
            lines.partial.capacity() + lines.assembled.capacity() + lines.decoded.capacity()
                < 8 << 20
        );
    }
    writer.join().unwrap();
    assert_eq!(
        (found[0].text.len(), found[0].too_long, found[0].end),
        (1 << 20, true, (100 << 20) + 1)
    );
    assert_eq!(
        (found[1].text.as_str(), found[1].number, found[1].too_long),
        ("next", 2, false)
    );
}

#[test]
fn a_pause_of_a_pipe_is_noticed_and_nothing_is_lost() {
    let (mut lines, mut to) = pipe();
    assert_eq!(next_text(&mut lines, SHORT), None);
    to.write_all(b"one\nt").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    assert_eq!(next_text(&mut lines, SHORT), None);
    assert_eq!(next_text(&mut lines, Duration::ZERO), None);
    to.write_all(b"wo\nthree").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("two"));
    assert_eq!(next_text(&mut lines, SHORT), None);
    assert_eq!(lines.bytes_read(), 13);
    assert_eq!(lines.total(), None);
    drop(to);
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("three"));
    assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
}

#[test]
fn an_endless_line_does_not_keep_a_signal_waiting() {
    let open = || Ok(opened(io::repeat(b'x')));
    let reader = Reader::start(1, false, open).unwrap();
    let mut lines = Lines::new(
        String::new(),
        reader,
        Arc::default(),
        None,
        LineOptions::default(),
    );
    while lines.reader.messages.len() < 3 {
        thread::yield_now();
    }
    // More is there, but the time is up.
    assert_eq!(lines.next(Duration::ZERO).unwrap(), LineEvent::Pause);
    assert_eq!(lines.partial_length, BLOCK_BYTES as u64);
}

#[test]
fn a_log_that_is_left_early_is_read_no_further() {
    let (mut lines, mut to) = pipe();
    assert_eq!(next_text(&mut lines, SHORT), None);
    drop(lines);
    let piece = vec![b'x'; 1 << 16];
    // Until the other end is closed.
    while to.write_all(&piece).is_ok() {}
}

#[test]
fn a_packed_pipe_is_unpacked_as_it_comes() {
    let (mut lines, mut to) = pipe();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"one\n").unwrap();
    encoder.flush().unwrap();
    to.write_all(encoder.get_ref()).unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    drop(to);
    assert!(
        lines
            .next(LONG)
            .unwrap_err()
            .to_string()
            .contains("truncated")
    );
}

#[test]
fn a_pipe_that_does_not_wait_is_waited_for() {
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let mut lines =
        Lines::from_file("stdin".to_owned(), File::from(from), LineOptions::default()).unwrap();
    assert_eq!(next_text(&mut lines, SHORT), None);
    File::from(to).write_all(b"one\n").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
}

#[test]
fn a_named_pipe_without_writer_does_not_hang_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &path,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let mut lines = open(&path, LineOptions::default());
    assert_eq!(next_text(&mut lines, SHORT), None);
    fs::write(&path, "one\n").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
}

#[test]
fn a_look_at_the_beginning_takes_nothing() {
    let (mut lines, mut to) = pipe();
    assert_eq!(lines.peek(SHORT).unwrap(), b"");
    to.write_all(b"one\ntwo\n").unwrap();
    assert_eq!(lines.peek(LONG).unwrap(), b"one\ntwo\n");
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    assert_eq!(lines.peek(LONG).unwrap(), b"two\n");
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("two"));
    drop(to);
    assert_eq!(lines.peek(LONG).unwrap(), b"");
    assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
}

#[test]
fn a_carriage_return_ends_a_line_when_the_next_byte_is_there() {
    let (mut lines, mut to) = pipe();
    to.write_all(b"one\r").unwrap();
    assert_eq!(next_text(&mut lines, SHORT), None);
    to.write_all(b"\ntwo\r").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    assert_eq!(next_text(&mut lines, SHORT), None);
    to.write_all(b"three\r").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("two"));
    assert_eq!(next_text(&mut lines, SHORT), None);
    drop(to);
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("three"));
    assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
}

#[test]
fn a_bom_of_utf16_that_comes_in_two_pieces_is_one() {
    let (mut lines, mut to) = pipe();
    to.write_all(b"\xff").unwrap();
    assert_eq!(next_text(&mut lines, SHORT), None);
    to.write_all(b"\xfea\0\n").unwrap();
    assert_eq!(next_text(&mut lines, SHORT), None);
    to.write_all(b"\0").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("a"));
}
