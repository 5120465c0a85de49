//! Lines of files: their places, encodings and lengths, and files that break off.

use super::*;

fn read(data: &[u8], options: LineOptions) -> Vec<Owned> {
    let (lines, error) = all(open(file(data).path(), options));
    assert!(error.is_none(), "{error:?}");
    lines
}

fn texts(data: &[u8], options: LineOptions) -> Vec<String> {
    read(data, options)
        .into_iter()
        .map(|line| line.text)
        .collect()
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
        read(b"one\r\n\ntwo\r\r\nx\0\0y\nlast", LineOptions::default()),
        [
            line("one", 1, 0, 5, true),
            line("", 2, 5, 6, true),
            line("two", 3, 6, 10, true),
            line("", 4, 10, 12, true),
            line("x\0\0y", 5, 12, 17, true),
            line("last", 6, 17, 21, false),
        ]
    );
    assert_eq!(read(b"", LineOptions::default()), []);
    assert_eq!(
        read(b"\0\0one\r\0two\0\r\0\0", LineOptions::default()),
        [line("one", 1, 0, 6, true), line("two\0", 2, 6, 12, true),]
    );
}

#[test]
fn a_log_of_carriage_returns_is_read_in_pieces() {
    let data = b"0123456789abcde\r".repeat(BLOCK_BYTES / 4);
    let log = file(&data);
    let mut lines = open(log.path(), LineOptions::default());
    let mut count = 0;
    while let LineEvent::Line(line) = lines.next(LONG).unwrap() {
        assert_eq!((line.bytes, line.end - line.start), (&data[..15], 16));
        count += 1;
        assert!(lines.partial.capacity() + lines.assembled.capacity() < BLOCK_BYTES);
    }
    assert_eq!(count, BLOCK_BYTES / 4);
}

#[test]
fn a_hole_of_any_length_takes_no_memory_and_no_line() {
    const HOLE: u64 = 32 << 20;
    let log = file(b"one\n");
    log.as_file().set_len(HOLE).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(log.path())
        .and_then(|mut log| log.write_all(b"two\nthree\n"))
        .unwrap();
    let options = LineOptions {
        max_line: 5,
        ..LineOptions::default()
    };
    let mut lines = open(log.path(), options.clone());
    assert!(lines.inspect(LONG).unwrap());
    assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("one"));
    let LineEvent::Line(two) = lines.next(LONG).unwrap() else {
        panic!("no line");
    };
    assert_eq!(
        (two.bytes, two.number, two.too_long),
        (&b"two"[..], 2, false)
    );
    assert_eq!((two.start, two.end), (4, HOLE + 4));
    assert!(lines.partial.capacity() + lines.assembled.capacity() < 100);
    // A log that ends with one is complete.
    log.as_file().set_len(HOLE / 64).unwrap();
    let (lines, error) = all(open(log.path(), options));
    assert_eq!((lines.len(), error.is_none()), (1, true));
}

#[test]
fn a_last_line_without_its_end_is_left_where_the_log_may_grow() {
    let growing = LineOptions {
        incomplete_last: false,
        ..LineOptions::default()
    };
    assert_eq!(texts(b"one\ntwo", growing.clone()), ["one"]);
    assert_eq!(texts(b"one\ntwo\n", growing.clone()), ["one", "two"]);
    // A line feed may follow.
    assert_eq!(texts(b"one\rtwo\r", growing), ["one"]);
    assert_eq!(texts(b"one\rtwo\r", LineOptions::default()), ["one", "two"]);
}

#[test]
fn reading_begins_at_a_position_whether_packed_or_not() {
    let data = b"one\ntwo\n\xe4\n".as_slice();
    let options = LineOptions {
        start: 4,
        start_line: 2,
        ..LineOptions::default()
    };
    let want = &read(data, LineOptions::default())[1..];
    assert_eq!(read(data, options.clone()), want);
    for packed in pack_all(data) {
        assert_eq!(read(&packed, options.clone()), want);
    }
    let beyond = LineOptions {
        start: 1000,
        ..LineOptions::default()
    };
    let (lines, error) = all(open(file(data).path(), beyond.clone()));
    assert_eq!(lines, []);
    assert!(error.unwrap().to_string().contains("truncated"));
    assert_eq!(read(&pack_all(data)[0], beyond), []);
}

#[test]
fn a_line_in_the_middle_that_looks_packed_is_a_line() {
    let options = LineOptions {
        start: 4,
        ..LineOptions::default()
    };
    assert_eq!(
        texts(b"one\n\x1f\x8b\x08\n", options),
        ["\u{1f}\u{fffd}\u{8}"]
    );
}

#[test]
fn a_bom_is_passed_over_but_counted() {
    let lines = read(
        b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n",
        LineOptions::default(),
    );
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
        (&little, "utf-8"),
        (&big, "latin-1"),
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
        let later = LineOptions {
            start: 14,
            start_line: 2,
            ..encoding(name)
        };
        assert_eq!(read(data, later), lines[1..]);
    }
}

#[test]
fn a_line_may_lie_over_many_blocks() {
    let long = "x".repeat(2 * BLOCK_BYTES + 17);
    let exact = "y".repeat(BLOCK_BYTES - 1);
    let data = format!("a\n{long}\n{exact}\n{exact}\nb\n");
    let lines = read(data.as_bytes(), LineOptions::default());
    let lengths: Vec<usize> = lines.iter().map(|line| line.text.len()).collect();
    assert_eq!(lengths, [1, long.len(), exact.len(), exact.len(), 1]);
    assert_eq!(lines[4].end, data.len() as u64);
}

#[test]
fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
    let options = LineOptions {
        max_line: 5,
        ..LineOptions::default()
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
            ("12345", false),
            ("longe", true)
        ]
    );
    assert_eq!(lines[3].start, 19);
}

#[test]
fn what_cannot_be_opened_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        let result = Lines::open(&Source::File(path.to_owned()), LineOptions::default());
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
            LineOptions::default(),
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
        assert!(error.to_string().contains("data is truncated"), "{error}");
    }
}

#[test]
fn a_log_that_shrinks_while_it_is_read_was_cut_off() {
    let data = b"0123456789abcde\n".repeat(BLOCK_BYTES / 2);
    let file = file(&data);
    let mut lines = open(file.path(), LineOptions::default());
    assert_eq!(lines.total(), Some(data.len() as u64));
    assert!(next_text(&mut lines, LONG).is_some());
    file.as_file().set_len(0).unwrap();
    let (rest, error) = all(lines);
    assert!(error.unwrap().to_string().contains("truncated"));
    assert!(rest.len() < BLOCK_BYTES / 2 - 1);
}

#[test]
fn a_file_of_the_system_that_has_no_size_is_not_cut_off() {
    let Ok(lines) = Lines::open(
        &Source::File("/proc/self/status".into()),
        LineOptions::default(),
    ) else {
        return;
    };
    let (lines, error) = all(lines);
    assert!(lines.len() > 5 && error.is_none());
}
