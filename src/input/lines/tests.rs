//! Lines over real files and pipes, and over any bytes in any pieces.

use super::*;
use crate::input::encoding::Encoding;
use crate::input::reader::BLOCK;
use crate::input::unpack::tests::pack_all;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

/// Longer than any test takes: a wait that ends because something came.
const LONG: Duration = Duration::from_secs(60);
/// A wait that is to end without anything having come.
const SHORT: Duration = Duration::from_millis(20);

/// A line that does not borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    text: String,
    number: u64,
    start: u64,
    end: u64,
    terminated: bool,
    too_long: bool,
}

impl From<Line<'_>> for Owned {
    fn from(line: Line<'_>) -> Self {
        Self {
            text: String::from_utf8_lossy(line.bytes).into_owned(),
            number: line.number,
            start: line.start,
            end: line.end,
            terminated: line.terminated,
            too_long: line.too_long,
        }
    }
}

/// All lines, and the error that ends them.
fn all(mut lines: Lines) -> (Vec<Owned>, Option<InputError>) {
    let mut found = Vec::new();
    loop {
        match lines.next(LONG) {
            Ok(Next::Line(line)) => found.push(line.into()),
            Ok(Next::Pause) => panic!("a pause"),
            Ok(Next::End) => {
                assert_eq!(lines.next(LONG).unwrap(), Next::End);
                return (found, None);
            }
            Err(error) => {
                assert_eq!(lines.next(LONG).unwrap(), Next::End);
                return (found, Some(error));
            }
        }
    }
}

fn file(data: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(data).unwrap();
    file
}

fn open(path: &Path, options: Options) -> Lines {
    Lines::open(&Source::File(path.to_owned()), options).unwrap()
}

fn read(data: &[u8], options: Options) -> Vec<Owned> {
    let (lines, error) = all(open(file(data).path(), options));
    assert!(error.is_none(), "{error:?}");
    lines
}

fn texts(data: &[u8], options: Options) -> Vec<String> {
    read(data, options)
        .into_iter()
        .map(|line| line.text)
        .collect()
}

fn encoding(name: &str) -> Options {
    Options {
        encoding: Encoding::by_name(name).unwrap(),
        ..Options::default()
    }
}

/// Lines from a pipe, and its end to write to.
fn pipe() -> (Lines, File) {
    let (from, to) = rustix::pipe::pipe().unwrap();
    let lines = Lines::from_file("stdin".to_owned(), File::from(from), Options::default()).unwrap();
    (lines, File::from(to))
}

/// Nobody keeps it.
fn opened(log: impl Read + 'static) -> Opened {
    Opened {
        log: Box::new(log),
        position: 0,
        rest: None,
    }
}

fn next_text(lines: &mut Lines, wait: Duration) -> Option<String> {
    match lines.next(wait).unwrap() {
        Next::Line(line) => Some(Owned::from(line).text),
        Next::Pause => None,
        Next::End => panic!("the end"),
    }
}

#[test]
fn a_line_has_its_number_and_its_place() {
    let line = |text: &str, number, start, end, terminated| Owned {
        text: text.to_owned(),
        number,
        start,
        end,
        terminated,
        too_long: false,
    };
    assert_eq!(
        read(b"one\r\n\ntwo\r\r\nx\0\0y\nlast", Options::default()),
        [
            line("one", 1, 0, 5, true),
            line("", 2, 5, 6, true),
            line("two\r", 3, 6, 12, true),
            line("x\0\0y", 4, 12, 17, true),
            line("last", 5, 17, 21, false),
        ]
    );
    assert_eq!(read(b"", Options::default()), []);
}

#[test]
fn a_last_line_without_its_end_is_left_where_the_log_may_grow() {
    let growing = Options {
        incomplete_last: false,
        ..Options::default()
    };
    assert_eq!(texts(b"one\ntwo", growing.clone()), ["one"]);
    assert_eq!(texts(b"one\ntwo\n", growing), ["one", "two"]);
}

#[test]
fn reading_begins_at_a_position_whether_packed_or_not() {
    let data = b"one\ntwo\n\xe4\n".as_slice();
    let options = Options {
        start: 4,
        start_line: 2,
        ..Options::default()
    };
    let want = &read(data, Options::default())[1..];
    assert_eq!(read(data, options.clone()), want);
    for packed in pack_all(data) {
        assert_eq!(read(&packed, options.clone()), want);
    }
    let beyond = Options {
        start: 1000,
        ..Options::default()
    };
    let (lines, error) = all(open(file(data).path(), beyond.clone()));
    assert_eq!(lines, []);
    assert!(error.unwrap().to_string().contains("cut off"));
    assert_eq!(read(&pack_all(data)[0], beyond), []);
}

#[test]
fn a_line_in_the_middle_that_looks_packed_is_a_line() {
    let options = Options {
        start: 4,
        ..Options::default()
    };
    assert_eq!(
        texts(b"one\n\x1f\x8b\x08\n", options),
        ["\u{1f}\u{fffd}\u{8}"]
    );
}

#[test]
fn a_bom_is_passed_over_but_counted() {
    let lines = read(b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", Options::default());
    assert_eq!(
        (lines[0].text.as_str(), lines[0].start, lines[0].end),
        ("one", 0, 7)
    );
    assert_eq!(lines[1].text, "\u{feff}two");
    assert_eq!(
        texts(b"\xef\xbb\xbfcaf\xe9\n", encoding("latin-1")),
        ["café"]
    );
}

#[test]
fn lines_are_decoded() {
    assert_eq!(
        texts(b"/caf\xe9\r\n/a\n", encoding("latin-1")),
        ["/café", "/a"]
    );
    assert_eq!(texts(b"/\xa4\xa4\xa4\xe5\n", encoding("big5")), ["/中文"]);
}

#[test]
fn utf16_is_read_in_its_own_units() {
    let text = "\u{feff}eins\r\n\u{a0a}\u{a00}ਊ\nletzte";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (data, name) in [
        (&little, "utf-16"),
        (&big, "utf-16"),
        (&little, "utf-16-le"),
        (&big, "utf-16-be"),
    ] {
        let lines = read(data, encoding(name));
        assert_eq!(
            lines
                .iter()
                .map(|line| line.text.as_str())
                .collect::<Vec<_>>(),
            ["eins", "\u{a0a}\u{a00}ਊ", "letzte"]
        );
        assert_eq!((lines[1].start, lines[1].end), (14, 22));
        // The BOM counts wherever reading begins.
        let later = Options {
            start: 14,
            start_line: 2,
            ..encoding(name)
        };
        assert_eq!(read(data, later), lines[1..]);
    }
}

#[test]
fn a_line_may_lie_over_many_blocks() {
    let long = "x".repeat(2 * BLOCK + 17);
    let exact = "y".repeat(BLOCK - 1);
    let data = format!("a\n{long}\n{exact}\n{exact}\nb\n");
    let lines = read(data.as_bytes(), Options::default());
    let lengths: Vec<usize> = lines.iter().map(|line| line.text.len()).collect();
    assert_eq!(lengths, [1, long.len(), exact.len(), exact.len(), 1]);
    assert_eq!(lines[4].end, data.len() as u64);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
    let options = Options {
        max_line: 5,
        ..Options::default()
    };
    let lines = read(b"12345\n123456\n1234\r\n12345\r\nlonger", options);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line.text.as_str(), line.too_long))
        .collect();
    assert_eq!(
        seen,
        [
            ("12345", false),
            ("12345", true),
            ("1234", false),
            ("12345", true),
            ("longe", true)
        ]
    );
    assert_eq!(lines[3].start, 19);
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
            Next::Line(line) => found.push(line.into()),
            Next::Pause => panic!("a pause"),
            Next::End => break,
        }
        assert!(lines.begun.capacity() + lines.whole.capacity() + lines.text.capacity() < 8 << 20);
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
    assert_eq!(lines.next(LONG).unwrap(), Next::End);
}

#[test]
fn an_endless_line_does_not_keep_a_signal_waiting() {
    let open = || Ok(opened(io::repeat(b'x')));
    let reader = Reader::start(1, open).unwrap();
    let mut lines = Lines::new(
        String::new(),
        reader,
        Arc::default(),
        None,
        Options::default(),
    );
    while lines.reader.messages.len() < 3 {
        thread::yield_now();
    }
    // More is there, but the time is up.
    assert_eq!(lines.next(Duration::ZERO).unwrap(), Next::Pause);
    assert_eq!(lines.begun_length, BLOCK as u64);
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
            .contains("cut off")
    );
}

#[test]
fn a_pipe_that_does_not_wait_is_waited_for() {
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
    let mut lines =
        Lines::from_file("stdin".to_owned(), File::from(from), Options::default()).unwrap();
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
    let mut lines = open(&path, Options::default());
    assert_eq!(next_text(&mut lines, SHORT), None);
    fs::write(&path, "one\n").unwrap();
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    assert_eq!(lines.next(LONG).unwrap(), Next::End);
}

#[test]
fn what_cannot_be_opened_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        let result = Lines::open(&Source::File(path.to_owned()), Options::default());
        result.err().unwrap().to_string()
    };
    assert!(error(folder.path()).contains(": cannot be read: is a directory"));
    let missing = folder.path().join("none.log");
    assert_eq!(
        error(&missing),
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            missing.display()
        )
    );
}

#[test]
fn a_cut_log_gives_its_whole_lines_and_then_the_error() {
    let data: String = (0..20_000)
        .map(|number: u64| {
            format!(
                "{number} {:x}\n",
                number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
        })
        .collect();
    let want: Vec<&str> = data.lines().collect();
    for packed in pack_all(data.as_bytes()) {
        let (lines, error) = all(open(
            file(&packed[..packed.len() - 20]).path(),
            Options::default(),
        ));
        let error = error.unwrap();
        assert!(lines.len() > 10_000, "{}", lines.len());
        assert!(
            lines
                .iter()
                .zip(&want)
                .all(|(line, want)| line.terminated && line.text == *want)
        );
        let InputError::Read { position, .. } = &error else {
            panic!("{error}");
        };
        assert!(*position >= lines.last().unwrap().end);
        assert!(error.to_string().contains("data is cut off"), "{error}");
    }
}

#[test]
fn a_log_that_shrinks_while_it_is_read_was_cut_off() {
    let data = b"0123456789abcde\n".repeat(BLOCK / 2);
    let file = file(&data);
    let mut lines = open(file.path(), Options::default());
    assert_eq!(lines.total(), Some(data.len() as u64));
    assert!(next_text(&mut lines, LONG).is_some());
    file.as_file().set_len(0).unwrap();
    let (rest, error) = all(lines);
    assert!(error.unwrap().to_string().contains("cut off"));
    assert!(rest.len() < BLOCK / 2 - 1);
}

#[test]
fn a_file_of_the_system_that_has_no_size_is_not_cut_off() {
    let Ok(lines) = Lines::open(
        &Source::File("/proc/self/status".into()),
        Options::default(),
    ) else {
        return;
    };
    let (lines, error) = all(lines);
    assert!(lines.len() > 5 && error.is_none());
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
    assert_eq!(lines.next(LONG).unwrap(), Next::End);
}

/// Gives its bytes in pieces of these lengths, again and again.
struct Pieces {
    data: io::Cursor<Vec<u8>>,
    lengths: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths.next().unwrap_or(1).min(into.len());
        self.data.read(&mut into[..length])
    }
}

fn in_pieces(data: &[u8], lengths: &[usize], options: Options) -> Vec<Owned> {
    let data = data.to_vec();
    let lengths = Vec::from(lengths).into_iter().cycle();
    let open = move || {
        let pieces = Pieces {
            data: io::Cursor::new(data),
            lengths,
        };
        Ok(opened(Unpack::new(pieces)?))
    };
    let reader = Reader::start(options.encoding.unit(), open).unwrap();
    let (lines, error) = all(Lines::new(
        "pieces".to_owned(),
        reader,
        Arc::default(),
        None,
        options,
    ));
    assert!(error.is_none(), "{error:?}");
    lines
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_all_there(
        data in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0), any::<u8>()], 0..300),
        lengths in proptest::collection::vec(1usize..20, 1..8),
        packed in any::<bool>(),
        start in 0usize..40,
        max_line in 1usize..40,
    ) {
        let log = if packed { pack_all(&data)[2].clone() } else { [b"#".as_slice(), &data].concat() };
        let unpacked = if packed { data } else { log.clone() };
        let options = Options { start: start as u64, max_line, ..Options::default() };
        let lines = in_pieces(&log, &lengths, options);
        let mut position = start;
        for (number, line) in (1..).zip(&lines) {
            prop_assert_eq!((line.start, line.number), (position as u64, number));
            let whole = &unpacked[position..line.end as usize];
            let ends = whole.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(ends, usize::from(line.terminated));
            prop_assert_eq!(line.terminated, whole.ends_with(b"\n"));
            let text = whole.strip_suffix(b"\n").unwrap_or(whole);
            prop_assert_eq!(line.too_long, text.len() > max_line);
            let mut text = &text[..text.len().min(max_line)];
            if position == 0 {
                text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            }
            if !line.too_long {
                text = text.strip_suffix(b"\r").unwrap_or(text);
            }
            prop_assert_eq!(&line.text, &String::from_utf8_lossy(text));
            position = line.end as usize;
        }
        prop_assert_eq!(position.max(unpacked.len()), unpacked.len().max(start));
        prop_assert!(lines.iter().rev().skip(1).all(|line| line.terminated));
    }

    #[test]
    fn utf16_is_the_same_in_any_pieces(
        units in proptest::collection::vec(prop_oneof![Just(10u16), Just(0x0a0a), Just(0x000d), any::<u16>()], 0..60),
        lengths in proptest::collection::vec(1usize..9, 1..6),
    ) {
        let data: Vec<u8> = std::iter::once(0xfeff).chain(units).flat_map(u16::to_be_bytes).collect();
        prop_assert_eq!(in_pieces(&data, &lengths, encoding("utf-16")), in_pieces(&data, &[usize::MAX], encoding("utf-16")));
    }
}

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
    let mut lines = Lines::open_pipe(&source, tee, Options::default()).unwrap();
    // Its thread opens it, and the file goes with this function.
    let _ = lines.peek(LONG);
    (lines, kept)
}

#[test]
fn what_cannot_be_unpacked_is_kept_all_the_same() {
    let [gzip, ..] = pack_all(b"one\n");
    let data = [gzip, b"no packing\n".repeat(100_000)].concat();
    let (mut lines, kept) = kept(&data, usize::MAX);
    while let Ok(next) = lines.next(LONG) {
        assert_ne!(next, Next::End, "no error");
    }
    assert!(lines.drain(LONG, LONG, || false).unwrap());
    assert!(*kept.lock().unwrap() == data);
}

#[test]
fn behind_what_could_not_be_kept_nothing_is_kept() {
    let data = b"a line\n".repeat(BLOCK);
    let (mut lines, kept) = kept(&data, 3 * BLOCK);
    let error = lines.drain(LONG, LONG, || false).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    assert!(data.starts_with(&kept.lock().unwrap()));
}
