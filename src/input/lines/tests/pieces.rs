//! Any bytes in any pieces.

use proptest::prelude::*;

use super::*;

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

fn in_pieces(data: &[u8], lengths: &[usize], options: LineOptions) -> Vec<Owned> {
    let data = data.to_vec();
    let lengths = Vec::from(lengths).into_iter().cycle();
    let open = move || {
        let pieces = Pieces {
            data: io::Cursor::new(data),
            lengths,
        };
        Ok(opened(Decompressor::new(pieces)?))
    };
    let reader = Reader::start(options.encoding.unit(), false, open).unwrap();
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

/// The lines of some bytes, found one byte at a time.
fn by_definition(data: &[u8], start: usize, max_line: usize) -> Vec<Owned> {
    let mut lines = Vec::new();
    let mut position = start.min(data.len());
    // The `\n` of a line end that is cut in two belongs to no line.
    let is_cut = data[..position].ends_with(b"\r") && data[position..].starts_with(b"\n");
    let mut at = position + usize::from(is_cut);
    loop {
        while data.get(at) == Some(&0) {
            at += 1;
        }
        let first = at;
        while data.get(at).is_some_and(|byte| !b"\r\n".contains(byte)) {
            at += 1;
        }
        let mut text = &data[first..at];
        let terminated = at < data.len();
        let too_long = text.len() > max_line;
        text = &text[..text.len().min(max_line)];
        if position == 0 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        at += match &data[at..] {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] if first == at => return lines,
            [] => 0,
        };
        lines.push(Owned {
            text: String::from_utf8_lossy(text).into_owned(),
            number: lines.len() as u64 + 1,
            start: position as u64,
            end: at as u64,
            terminated,
            too_long,
        });
        position = at;
    }
}

fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0), any::<u8>()];
    // Other first bytes may be a byte order mark or a magic number.
    proptest::collection::vec(byte, 0..300).prop_map(|data| [b"#".as_slice(), &data].concat())
}

fn any_lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1usize..20, 1..8)
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_are_all_there(
        data in any_log(),
        lengths in any_lengths(),
        packed in any::<bool>(),
        start in 0usize..40,
        max_line in 1usize..40,
    ) {
        let log = if packed { pack_all(&data)[2].clone() } else { data.clone() };
        let options = LineOptions { start: start as u64, max_line, ..LineOptions::default() };
        let lines = in_pieces(&log, &lengths, options);
        prop_assert_eq!(lines, by_definition(&data, start, max_line));
    }
}

proptest! {
    // Each case starts threads.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_that_is_resumed_at_any_line_gives_the_rest(
        data in any_log(),
        lengths in any_lengths(),
        boundary in any::<prop::sample::Index>(),
    ) {
        let lines = in_pieces(&data, &[usize::MAX], LineOptions::default());
        let at = boundary.index(lines.len() + 1);
        let start = if at == 0 { 0 } else { lines[at - 1].end };
        let options = LineOptions { start, start_line: at as u64 + 1, ..LineOptions::default() };
        prop_assert_eq!(&in_pieces(&data, &lengths, options.clone()), &lines[at..]);
        prop_assert_eq!(&all(open(file(&data).path(), options)).0, &lines[at..]);
    }

    /// A run reads what is there of a log, and the next one what came since.
    #[test]
    fn a_log_that_grows_between_two_runs_has_the_same_lines(
        data in any_log(),
        lengths in any_lengths(),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(data.len() + 1);
        let growing = LineOptions { incomplete_last: false, ..LineOptions::default() };
        let mut lines = in_pieces(&data[..cut], &lengths, growing);
        let options = LineOptions {
            start: lines.last().map_or(0, |last| last.end),
            start_line: lines.len() as u64 + 1,
            ..LineOptions::default()
        };
        lines.extend(in_pieces(&data, &lengths, options));
        prop_assert_eq!(lines, by_definition(&data, 0, usize::MAX));
    }

    /// The log was complete, as a compressed one is, and is longer now.
    #[test]
    fn a_line_end_that_is_cut_in_two_is_one(
        data in any_log(),
        lengths in any_lengths(),
        cut in any::<prop::sample::Index>(),
    ) {
        let ends: Vec<usize> = (1..data.len()).filter(|at| b"\r\n".contains(&data[at - 1])).collect();
        prop_assume!(!ends.is_empty());
        let cut = ends[cut.index(ends.len())];
        let mut lines = in_pieces(&data[..cut], &lengths, LineOptions::default());
        let options = LineOptions {
            start: cut as u64,
            start_line: lines.len() as u64 + 1,
            ..LineOptions::default()
        };
        lines.extend(in_pieces(&data, &lengths, options));
        let texts = |lines: &[Owned]| -> Vec<(u64, String)> {
            lines.iter().map(|line| (line.number, line.text.clone())).collect()
        };
        prop_assert_eq!(texts(&lines), texts(&by_definition(&data, 0, usize::MAX)));
    }

    #[test]
    fn utf16_is_the_same_in_any_pieces(
        units in proptest::collection::vec(prop_oneof![Just(10u16), Just(0x0a0a), Just(13), Just(0), any::<u16>()], 0..60),
        lengths in proptest::collection::vec(1usize..9, 1..6),
        big in any::<bool>(),
        name in prop_oneof![Just("utf-16"), Just("utf-8")],
    ) {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        let data: Vec<u8> = std::iter::once(0xfeff).chain(units.iter().copied()).flat_map(bytes).collect();
        let lines = in_pieces(&data, &lengths, encoding(name));
        prop_assert_eq!(&lines, &in_pieces(&data, &[usize::MAX], encoding(name)));
        let text = String::from_utf16_lossy(&units).replace("\r\n", "\n").replace('\r', "\n");
        let holes = |text: &str| -> Vec<String> {
            text.split('\n').map(|line| line.trim_start_matches('\0').to_owned()).collect()
        };
        let mut found: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
        // An unpaired surrogate becomes three bytes, and each an U+FFFD here.
        found.iter_mut().for_each(|line| *line = line.replace("\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}"));
        if lines.last().is_none_or(|line| line.terminated) {
            found.push(String::new());
        }
        // What follows the byte order mark is no hole.
        let want = holes(&format!("\u{feff}{text}"));
        prop_assert_eq!(found.join("\n"), want.join("\n").replacen('\u{feff}', "", 1));
    }
}
