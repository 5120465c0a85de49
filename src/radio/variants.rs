//! Icecast in the wild: fields that were escaped, and addresses that are none.

use std::net::IpAddr;

use bumpalo::Bump;

use crate::format::percent::hex_byte;

/// What a log has in the place of the listener's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// An address of either kind.
    Address,
    /// `-` or nothing.
    Unknown,
    /// A hash, a name, or an address with parts blotted out: not to be sent as `cip`. It still tells visitors
    /// apart, as this `cid`: 16 hexadecimal digits, the same in every run.
    Hidden([u8; CID]),
}

/// Digits of a `cid`.
pub const CID: usize = 16;

impl ClientAddress {
    /// `ip`: the field as it stands in the log.
    pub fn read(ip: &[u8]) -> Self {
        if ip.is_empty() || ip == b"-" {
            return Self::Unknown;
        }
        if std::str::from_utf8(ip).is_ok_and(|text| text.parse::<IpAddr>().is_ok()) {
            return Self::Address;
        }
        match ip.first_chunk::<CID>() {
            Some(digits) if ip.iter().all(u8::is_ascii_hexdigit) => {
                Self::Hidden(digits.map(|digit| digit.to_ascii_lowercase()))
            }
            _ => Self::Hidden(hexadecimal(stable_hash(ip))),
        }
    }
}

/// The bytes behind `\xHH`, as Icecast 2.5 and nginx write what is no plain text. A backslash that is itself escaped
/// (`\\x41`) is left alone, and so is every other escape. `None`: there is nothing to decode.
pub fn hex_decoded<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    memchr::memmem::find(text, b"\\x")?;
    let decoded = arena.alloc_slice_copy(text);
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        // How many bytes stay as they are, or the one byte that four stand for.
        let (plain, byte) = match text[from..] {
            [b'\\', b'x', high, low, ..] => (2, hex_byte(high, low)),
            // The second of the pair must not be taken for the beginning of an escape.
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

/// FNV-1a: a hash that is the same in every run, version and machine.
fn stable_hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn hexadecimal(number: u64) -> [u8; CID] {
    std::array::from_fn(|place| {
        let digit = number >> (4 * (CID - 1 - place)) & 0xf;
        b"0123456789abcdef"[digit as usize]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Option<Vec<u8>> {
        hex_decoded(text.as_bytes(), &Bump::new()).map(<[u8]>::to_vec)
    }

    #[test]
    fn hexadecimal_escapes_are_bytes() {
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
            assert_eq!(hex(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        assert_eq!(hex(r"Mozilla/5.0 \\ \n"), None);
    }

    #[test]
    fn addresses_are_addresses() {
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
    fn a_hashed_address_is_told_apart_by_its_first_digits() {
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
    fn other_texts_are_told_apart_by_a_hash_that_stays_the_same() {
        // The published values of FNV-1a.
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
        fn any_bytes_are_decoded(text in prop::collection::vec(any::<u8>(), 0..100), dense in r"[\\x0-9a-f]{0,40}") {
            let arena = Bump::new();
            for text in [&text[..], dense.as_bytes()] {
                prop_assert!(hex_decoded(text, &arena).unwrap_or(text).len() <= text.len());
                if let ClientAddress::Hidden(cid) = ClientAddress::read(text) {
                    prop_assert!(cid.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
                }
            }
        }

        #[test]
        fn decoding_undoes_encoding(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
            let arena = Bump::new();
            let encoded: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(hex_decoded(encoded.as_bytes(), &arena), Some(&bytes[..]));
        }
    }
}
