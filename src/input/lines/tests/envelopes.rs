//! Lines in an envelope, whole and in parts.

use proptest::prelude::*;

use super::*;
use crate::input::envelope::LogEnvelope;
use crate::input::envelope::tests::docker;
use crate::ledger::Ranges;

fn cri(stream: &str, tag: &str, text: &str) -> String {
    format!("2024-05-14T04:25:24.1Z {stream} {tag} {text}\n")
}

fn unwrapped(
    log: &str,
    envelope: LogEnvelope,
    options: LineOptions,
) -> (Vec<Owned>, Vec<Vec<LinePart>>) {
    let file = file(log.as_bytes());
    let mut lines = open(file.path(), options);
    lines.set_envelope(envelope);
    let (mut found, mut more) = (Vec::new(), Vec::new());
    while let LineEvent::Line(line) = lines.next(LONG).unwrap() {
        found.push(line.into());
        more.push(line.more.to_vec());
    }
    (found, more)
}

fn texts(lines: &[Owned]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn parts_are_joined_within_their_stream() {
    let parts = [
        cri("stdout", "P", "a1 "),
        cri("stderr", "P", "b1 "),
        "no envelope\n".to_owned(),
        cri("stdout", "P", "a2 "),
        cri("stdout", "F", "a3"),
        cri("stderr", "F", "b2"),
        cri("stdout", "F", "c"),
    ];
    let starts: Vec<u64> = parts
        .iter()
        .scan(0, |end, part| {
            let start = *end;
            *end += part.len() as u64;
            Some(start)
        })
        .collect();
    let log = parts.concat();
    let (lines, more) = unwrapped(&log, LogEnvelope::Cri, LineOptions::default());
    assert_eq!(texts(&lines), ["no envelope", "a1 a2 a3", "b1 b2", "c"]);
    let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, [3, 1, 2, 7]);
    for (line, part) in lines.iter().zip([2, 0, 1, 6]) {
        let end = starts[part] + parts[part].len() as u64;
        assert_eq!((line.start, line.end), (starts[part], end));
    }
    let joined = |first: usize, last: usize| LinePart {
        start: starts[first],
        end: starts[last] + parts[last].len() as u64,
        lines: (last - first) as u64 + 1,
    };
    assert_eq!(
        more,
        [vec![], vec![joined(3, 4)], vec![joined(5, 5)], vec![]]
    );
}

#[test]
fn a_line_of_docker_s_without_its_line_break_goes_on() {
    let parts = [
        docker(b"a1 ", "stdout"),
        docker(b"error\r\n", "stderr"),
        docker(b"a2\r", "stdout"),
        docker(b"\n", "stdout"),
        docker(b"b\n", "stdout"),
    ];
    let log: Vec<u8> = parts
        .iter()
        .flat_map(|part| [part, &b"\n"[..]].concat())
        .collect();
    let log = String::from_utf8(log).unwrap();
    let (lines, _) = unwrapped(&log, LogEnvelope::Docker, LineOptions::default());
    assert_eq!(texts(&lines), ["error", "a1 a2", "b"]);
}

#[test]
fn the_end_of_a_line_may_still_come() {
    let log = [cri("stdout", "F", "a"), cri("stdout", "P", "b1 ")].concat();
    let position = cri("stdout", "F", "a").len() as u64;
    for incomplete_last in [false, true] {
        let file = file(log.as_bytes());
        let options = LineOptions {
            incomplete_last,
            ..LineOptions::default()
        };
        let mut lines = open(file.path(), options.clone());
        lines.set_envelope(LogEnvelope::Cri);
        assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("a"));
        if incomplete_last {
            assert_eq!(next_text(&mut lines, LONG).as_deref(), Some("b1 "));
        }
        assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
        assert_eq!(lines.next(LONG).unwrap(), LineEvent::End);
        let (end, number) = match incomplete_last {
            true => (log.len() as u64, 3),
            false => (position, 2),
        };
        assert_eq!((lines.position(), lines.number()), (end, number));
    }
    // The next run reads it from its beginning.
    let log = log + &cri("stdout", "F", "b2");
    let options = LineOptions {
        start: position,
        start_line: 2,
        ..LineOptions::default()
    };
    let (lines, _) = unwrapped(&log, LogEnvelope::Cri, options);
    assert_eq!(texts(&lines), ["b1 b2"]);
    assert_eq!((lines[0].start, lines[0].number), (position, 2));
}

#[test]
fn a_joined_line_has_a_maximum_length() {
    let options = LineOptions {
        max_line: 64,
        ..LineOptions::default()
    };
    let part = cri("stdout", "P", "0123456789");
    let log = part.repeat(5) + &cri("stdout", "F", "abcd") + &cri("stdout", "F", "b");
    let (lines, more) = unwrapped(&log, LogEnvelope::Cri, options.clone());
    assert_eq!(
        texts(&lines),
        ["0123456789".repeat(5) + "abcd", "b".to_owned()]
    );
    assert!(!lines[0].too_long);
    assert_eq!(more[0][0].lines, 5);

    let log = part.repeat(1000) + &cri("stdout", "F", "abcd") + &cri("stdout", "F", "b");
    let (lines, more) = unwrapped(&log, LogEnvelope::Cri, options);
    assert_eq!((lines[0].text.len(), lines[0].too_long), (64, true));
    assert_eq!((more[0].len(), more[0][0].lines), (1, 1000));
    assert_eq!(lines[1].text, "b");
}

#[test]
fn a_line_in_too_many_places_is_too_long() {
    let pair = cri("stdout", "P", "a") + &cri("stderr", "F", "b");
    let log = pair.repeat(3000) + &cri("stdout", "F", "a");
    let (lines, more) = unwrapped(&log, LogEnvelope::Cri, LineOptions::default());
    let joined: Vec<&Owned> = lines.iter().filter(|line| line.text != "b").collect();
    assert!(joined.len() >= 3);
    let (last, cut) = joined.split_last().unwrap();
    assert!(cut.iter().all(|line| line.too_long) && !last.too_long);
    let total: usize = joined.iter().map(|line| line.text.len()).sum();
    assert_eq!(total, 3001);
    assert!(more.iter().all(|more| more.len() <= 1000));
}

#[test]
fn endless_parts_pause() {
    let log = cri("stdout", "P", "a").repeat(100_000);
    let file = file(log.as_bytes());
    let mut lines = open(file.path(), LineOptions::default());
    lines.set_envelope(LogEnvelope::Cri);
    assert_eq!(lines.next(Duration::ZERO).unwrap(), LineEvent::Pause);
    assert_eq!((lines.position(), lines.number()), (0, 1));
    assert_eq!(next_text(&mut lines, LONG).unwrap().len(), 100_000);
}

#[test]
fn lines_that_were_read_ahead_are_returned() {
    let log: Vec<String> = (1..=100)
        .map(|n| cri("stdout", if n % 3 == 0 { "P" } else { "F" }, &n.to_string()))
        .collect();
    let file = file(log.concat().as_bytes());
    for envelope in [None, Some(LogEnvelope::Cri)] {
        let plain = open(file.path(), LineOptions::default());
        let mut ahead = open(file.path(), LineOptions::default());
        assert_eq!(ahead.look_ahead(32, LONG), LookAhead::Done);
        assert_eq!(ahead.ahead().count(), 32);
        assert_eq!((ahead.position(), ahead.number()), (0, 1));
        let expected = match envelope {
            None => all(plain).0,
            Some(envelope) => {
                ahead.set_envelope(envelope);
                unwrapped(&log.concat(), envelope, LineOptions::default()).0
            }
        };
        assert_eq!(ahead.envelope(), envelope);
        assert_eq!(all(ahead).0, expected);
    }
}

#[test]
fn few_long_lines_are_read_ahead() {
    let log = ("x".repeat(1 << 20) + "\n").repeat(20);
    let file = file(log.as_bytes());
    let mut ahead = open(file.path(), LineOptions::default());
    assert_eq!(ahead.look_ahead(20, LONG), LookAhead::Done);
    assert_eq!(ahead.ahead().count(), 4);
    assert_eq!(all(ahead).0.len(), 20);
}

#[test]
fn errors_after_lines_that_were_read_ahead_are_returned() {
    let [gzip, ..] = pack_all(b"a line\n".repeat(10).as_slice());
    let file = file(&gzip[..gzip.len() - 4]);
    let expected = all(open(file.path(), LineOptions::default()));
    let mut ahead = open(file.path(), LineOptions::default());
    assert_eq!(ahead.look_ahead(32, LONG), LookAhead::Done);
    let found = all(ahead);
    assert_eq!(found.0, expected.0);
    assert_eq!(
        found.1.unwrap().to_string(),
        expected.1.unwrap().to_string()
    );
}

#[test]
fn the_raw_text_is_without_the_envelope_too() {
    let log = [
        cri("stdout", "P", "\u{e4}1"),
        cri("stdout", "F", "\u{e4}2"),
        "\u{e4}3\n".to_owned(),
    ]
    .concat();
    let utf_16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let latin_1 =
        |text: &str| -> Vec<u8> { text.chars().map(|character| character as u8).collect() };
    let utf_8 = |text: &str| text.as_bytes().to_vec();
    let encode = |name: &str, text: &str| match name {
        "utf-16-le" => utf_16(text),
        "latin-1" => latin_1(text),
        _ => utf_8(text),
    };
    for name in ["utf-8", "utf-16-le", "latin-1"] {
        let file = file(&encode(name, &log));
        let mut lines = open(file.path(), encoding(name));
        lines.set_envelope(LogEnvelope::Cri);
        for text in ["\u{e4}1\u{e4}2", "\u{e4}3"] {
            match lines.next(LONG).unwrap() {
                LineEvent::Line(line) => {
                    assert_eq!(line.bytes, text.as_bytes(), "{name}");
                    assert_eq!(line.raw, encode(name, text), "{name}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

/// A line of a log: its stream, and whether it is a part. `None` is a line without envelope.
type Written = Option<(bool, bool)>;

fn write(log: &[Written]) -> Vec<String> {
    let write = |(number, written): (usize, &Written)| match written {
        None => format!("{number}\n"),
        Some((is_stderr, is_partial)) => {
            let stream = if *is_stderr { "stderr" } else { "stdout" };
            let tag = if *is_partial { "P" } else { "F" };
            cri(stream, tag, &format!("{number} "))
        }
    };
    log.iter().enumerate().map(write).collect()
}

/// The texts of all lines, in the order of their ends.
fn joined(log: &[Written]) -> Vec<String> {
    let mut open = [const { String::new() }; 2];
    let mut texts = Vec::new();
    for (number, written) in log.iter().enumerate() {
        match written {
            None => texts.push(number.to_string()),
            Some((is_stderr, is_partial)) => {
                let text = &mut open[usize::from(*is_stderr)];
                text.push_str(&format!("{number} "));
                if !is_partial {
                    texts.push(std::mem::take(text));
                }
            }
        }
    }
    texts
}

proptest! {
    /// A run is killed after it took some lines, and some of them are done. The next run reads from
    /// the first line that is not done, and takes exactly the others.
    #[test]
    fn a_later_run_takes_exactly_the_lines_that_are_not_done(
        log in prop::collection::vec(any::<Written>(), 0..30),
        taken in any::<prop::sample::Index>(),
        done_bits in any::<u64>(),
    ) {
        let written = write(&log);
        let text = written.concat();
        let options = LineOptions { incomplete_last: false, ..LineOptions::default() };
        let (all, more) = unwrapped(&text, LogEnvelope::Cri, options.clone());
        prop_assert_eq!(texts(&all), joined(&log));

        let taken = taken.index(all.len() + 1);
        let mut done = Ranges::default();
        let mut left: Vec<Owned> = all[taken..].to_vec();
        for (index, (line, more)) in all.iter().zip(&more).enumerate().take(taken) {
            more.iter().for_each(|more| done.insert(more.start..more.end, more.lines));
            match done_bits >> (index % 64) & 1 {
                1 => done.insert(line.start..line.end, 1),
                _ => left.push(line.clone()),
            }
        }
        let resumed = LineOptions {
            start: done.first_gap(),
            start_line: done.lines_before_gap() + 1,
            ..options
        };
        let (found, _) = unwrapped(&text, LogEnvelope::Cri, resumed);
        let mut found: Vec<Owned> =
            found.into_iter().filter(|line| !done.contains(line.start)).collect();
        found.sort_by_key(|line| line.start);
        left.sort_by_key(|line| line.start);
        prop_assert_eq!(found, left);
    }

    #[test]
    fn any_bytes_are_read_in_any_envelope(log in any::<Vec<u8>>(), parts in prop::collection::vec(any::<Written>(), 0..9)) {
        let log = [write(&parts).concat().into_bytes(), log].concat();
        for (_, envelope) in LogEnvelope::NAMES {
            let file = file(&log);
            let mut lines = open(file.path(), LineOptions::default());
            lines.set_envelope(envelope);
            let mut read = 0;
            while let LineEvent::Line(line) = lines.next(LONG).unwrap() {
                read += line.end - line.start;
                read += line.more.iter().map(|more| more.end - more.start).sum::<u64>();
            }
            let mut plain = open(file.path(), LineOptions::default());
            while let LineEvent::Line(_) = plain.next(LONG).unwrap() {}
            prop_assert_eq!(lines.position(), plain.position());
            prop_assert_eq!(lines.number(), plain.number());
            prop_assert!(read <= log.len() as u64);
        }
    }
}
