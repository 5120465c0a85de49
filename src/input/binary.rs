//! Telling what is no log at all: a program, a picture, an archive.

/// Fewer bytes than this say nothing.
const SAMPLE: usize = 64;
/// NUL bytes in a row from which on they are a hole: a log that lost blocks in a crash, or that was cut off in
/// place while its writer kept its position, has one, and its lines follow.
const HOLE: usize = 16;

/// Whether these first unpacked bytes of a file are no text: more than one in sixteen is NUL or another control
/// byte that no text has (random bytes have one in ten), holes of NUL bytes not counted. UTF-16 looks binary
/// too, so ask only where a line's bytes are ASCII's.
pub fn looks_binary(bytes: &[u8]) -> bool {
    let (mut seen, mut strange) = (0usize, 0usize);
    for run in bytes.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
        if run[0] == 0 {
            if run.len() < HOLE {
                seen += run.len();
                strange += run.len();
            }
        } else {
            seen += run.len();
            strange += run.iter().filter(|byte| is_strange(**byte)).count();
        }
    }
    seen >= SAMPLE && strange > seen / 16
}

/// Control bytes but white space, bell, backspace and escape, which terminals' texts have.
fn is_strange(byte: u8) -> bool {
    matches!(byte, 0x00..=0x06 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"203.0.113.5 - - [14/May/2024:06:25:24 +0200] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\"\n";

    #[test]
    fn a_log_is_text_in_any_encoding_of_bytes() {
        assert!(!looks_binary(&LINE.repeat(20)));
        assert!(!looks_binary("/café/€ 中文\r\n\t".repeat(20).as_bytes()));
        assert!(!looks_binary(
            &b"caf\xe9 \xa4\xa4\xa4\xe5 \x83\x8d\n".repeat(20)
        ));
        assert!(!looks_binary(b""));
    }

    #[test]
    fn a_hole_of_nul_bytes_does_not_make_a_log_binary() {
        assert!(!looks_binary(
            &[LINE, &[0; 4096], b"\n", LINE, LINE].concat()
        ));
        assert!(!looks_binary(&[0; 65536]));
    }

    #[test]
    fn programs_pictures_and_random_bytes_are_binary() {
        let program: Vec<u8> = [
            b"\x7fELF\x02\x01\x01\0\0\0\0".as_slice(),
            b"\x03\0\x3e\0.text\0_init\0\0\x01",
        ]
        .concat()
        .repeat(20);
        assert!(looks_binary(&program));
        let mut state = 1u32;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(4096)
        .collect();
        assert!(looks_binary(&random));
    }

    #[test]
    fn a_few_bytes_say_nothing() {
        assert!(!looks_binary(b"\x01\x02\x03\x04"));
    }
}
