//! Undoes what streaming servers do to fields: they escape bytes, and hash or mask addresses.

use std::net::IpAddr;

use bumpalo::Bump;

use crate::format::percent::hex_byte;

/// The contents of a log's address field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// An IPv4 or IPv6 address.
    Address,
    /// `-` or empty.
    Unknown,
    /// A hash, a name or a masked address. It cannot be sent as `cip`, but it still identifies the
    /// visitor, by this `cid`: hexadecimal digits, the same in every run.
    Hidden([u8; CID_DIGITS]),
}

/// Hexadecimal digits of a `cid`, Matomo's visitor id.
pub const CID_DIGITS: usize = 16;

impl ClientAddress {
    /// Reads the field as it is in the log.
    pub fn read(ip: &[u8]) -> Self {
        if ip.is_empty() || ip == b"-" {
            return Self::Unknown;
        }
        if std::str::from_utf8(ip).is_ok_and(|text| text.parse::<IpAddr>().is_ok()) {
            return Self::Address;
        }
        match ip.first_chunk::<CID_DIGITS>() {
            Some(digits) if ip.iter().all(u8::is_ascii_hexdigit) => {
                Self::Hidden(digits.map(|digit| digit.to_ascii_lowercase()))
            }
            _ => Self::Hidden(hexadecimal(stable_hash(ip))),
        }
    }
}

/// Decodes `\xHH`, which Icecast 2.5 and nginx write for bytes that are not plain text. An escaped
/// backslash (`\\x41`) and other escapes stay as they are. Returns `None` if there is nothing to
/// decode.
pub fn decode_hex_escapes<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    memchr::memmem::find(text, b"\\x")?;
    let decoded = arena.alloc_slice_copy(text);
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        // The number of bytes to copy, or the byte that four of them encode.
        let (plain, byte) = match text[from..] {
            [b'\\', b'x', high, low, ..] => (2, hex_byte(high, low)),
            // The second backslash does not begin an escape.
            [b'\\', b'\\', ..] => (2, None),
            _ => (1, None),
        };
        match byte {
            Some(byte) => {
                decoded[to] = byte;
                from += 4;
                to += 1;
            }
            None => {
                decoded[to..to + plain].copy_from_slice(&text[from..from + plain]);
                from += plain;
                to += plain;
            }
        }
    }
    Some(&decoded[..to])
}

/// FNV-1a, because it is the same in every run, version and machine.
fn stable_hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn hexadecimal(number: u64) -> [u8; CID_DIGITS] {
    std::array::from_fn(|index| {
        let digit = number >> (4 * (CID_DIGITS - 1 - index)) & 0xf;
        b"0123456789abcdef"[digit as usize]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        decode_hex_escapes(text.as_bytes(), &Bump::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn hex_escapes_are_decoded() {
        for (text, bytes) in [
            (r"caf\xC3\xa9", "café".as_bytes()),
            (r"\x22quoted\x22", b"\"quoted\""),
            (r"\xff", b"\xff"),
            (r"\\x41\x42", br"\\x41B"),
            (r"\\\x41", br"\\A"),
            (r"\xg1\x4", br"\xg1\x4"),
            (r"\x\x41", br"\xA"),
            (r"\x5cx41", br"\x41"),
            (r"\n\x41\", b"\\nA\\"),
        ] {
            assert_eq!(decoded(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        assert_eq!(decoded(r"Mozilla/5.0 \\ \n"), None);
    }

    #[test]
    fn addresses_are_recognized() {
        for ip in [
            "192.0.2.1",
            "2001:db8::42",
            "::1",
            "::ffff:192.0.2.1",
            "1234:5678:9abc:def0:1234:5678:9abc:def0",
        ] {
            assert_eq!(
                ClientAddress::read(ip.as_bytes()),
                ClientAddress::Address,
                "{ip}"
            );
        }
        assert_eq!(ClientAddress::read(b"-"), ClientAddress::Unknown);
        assert_eq!(ClientAddress::read(b""), ClientAddress::Unknown);
    }

    #[test]
    fn the_id_of_a_hashed_address_is_its_first_digits() {
        assert_eq!(
            ClientAddress::read(b"0123456789ABCDEFfedcba9876543210"),
            ClientAddress::Hidden(*b"0123456789abcdef")
        );
        assert_eq!(
            ClientAddress::read(b"ffffffffffffffff"),
            ClientAddress::Hidden(*b"ffffffffffffffff")
        );
    }

    #[test]
    fn the_id_of_other_text_is_a_stable_hash() {
        // The published test vectors of FNV-1a.
        assert_eq!(
            ClientAddress::read(b"foobar"),
            ClientAddress::Hidden(*b"85944171f73967e8")
        );
        assert_eq!(
            ClientAddress::read(b"a"),
            ClientAddress::Hidden(*b"af63dc4c8601ec8c")
        );
        for ip in [
            "192.0.2.*",
            "deadbeef",
            "radio.example.org",
            "sha256:0123456789abcdef",
            "_1",
        ] {
            assert!(
                matches!(ClientAddress::read(ip.as_bytes()), ClientAddress::Hidden(_)),
                "{ip}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_decoded(text in prop::collection::vec(any::<u8>(), 0..100), dense in r"[\\x0-9a-f]{0,40}") {
            let arena = Bump::new();
            for text in [&text[..], dense.as_bytes()] {
                prop_assert!(decode_hex_escapes(text, &arena).unwrap_or(text).len() <= text.len());
                if let ClientAddress::Hidden(cid) = ClientAddress::read(text) {
                    prop_assert!(cid.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
                }
            }
        }

        #[test]
        fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
            let arena = Bump::new();
            let encoded: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(decode_hex_escapes(encoded.as_bytes(), &arena), Some(&bytes[..]));
        }
    }
}
