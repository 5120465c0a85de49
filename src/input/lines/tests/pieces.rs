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
        let options = LineOptions { start: start as u64, max_line, ..LineOptions::default() };
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
