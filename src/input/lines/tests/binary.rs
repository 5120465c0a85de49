//! What is not a log at all.

use super::super::looks_binary;

const LINE: &[u8] =
    b"203.0.113.5 - - [14/May/2024:06:25:24 +0200] \"GET /a HTTP/1.1\" 200 5120 \"-\" \"x\"\n";

#[test]
fn text_in_any_encoding_is_not_binary() {
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
fn a_few_bytes_are_not_binary() {
    assert!(!looks_binary(b"\x01\x02\x03\x04"));
}
