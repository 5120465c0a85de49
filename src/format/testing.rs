//! For the tests of all formats: the content of a record, and mutated log lines.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::format::{Field, Record};

/// The fields of a record in the order of [`Field::all`].
pub fn values(record: &Record) -> Vec<(&'static str, String)> {
    let value = |field: Field| {
        let value = String::from_utf8_lossy(record.get(field)?).into_owned();
        Some((field.name(), value))
    };
    Field::all().filter_map(value).collect()
}

#[derive(Debug, Clone)]
enum Edit {
    FlipBit(Index, u8),
    Cut(Index, usize),
    Insert(Index, u8),
    /// Inserts a part of another line, as if two processes wrote to the log at once.
    Splice(Index, usize, Index, usize),
}

/// Lines of a log with up to three edits.
pub fn mutated_lines<L: AsRef<[u8]>>(lines: &'static [L]) -> impl Strategy<Value = Vec<u8>> {
    let length = || prop_oneof![5 => 1..9_usize, 1 => Just(usize::MAX)];
    let edit = prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Edit::FlipBit(at, bit)),
        (any::<Index>(), length()).prop_map(|(from, length)| Edit::Cut(from, length)),
        (any::<Index>(), special_byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (any::<Index>(), 0..lines.len(), any::<Index>(), length())
            .prop_map(|(at, line, from, length)| Edit::Splice(at, line, from, length)),
    ];
    let edits = prop_oneof![3 => 0..=1_usize, 1 => 2..=3_usize]
        .prop_flat_map(move |count| proptest::collection::vec(edit.clone(), count));
    (0..lines.len(), edits).prop_map(move |(line, edits)| {
        let mut bytes = lines[line].as_ref().to_vec();
        for edit in edits {
            apply(edit, &mut bytes, lines);
        }
        bytes
    })
}

fn special_byte() -> impl Strategy<Value = u8> {
    proptest::sample::select(&b" \"\t\\[](){}:,-.0_\0\x7f\xc3\xa9\xff"[..])
}

fn apply<L: AsRef<[u8]>>(edit: Edit, bytes: &mut Vec<u8>, lines: &[L]) {
    let range = |from: Index, length: usize, whole: usize| {
        let from = from.index(whole + 1);
        from..from.saturating_add(length).min(whole)
    };
    let place = |at: Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match edit {
        Edit::FlipBit(at, bit) => {
            let at = place(at, bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Edit::Cut(from, length) => {
            bytes.drain(range(from, length, bytes.len()));
        }
        Edit::Insert(at, byte) => bytes.insert(place(at, bytes), byte),
        Edit::Splice(at, line, from, length) => {
            let line = lines[line].as_ref();
            let part = &line[range(from, length, line.len())];
            let at = place(at, bytes);
            bytes.splice(at..at, part.iter().copied());
        }
    }
}
