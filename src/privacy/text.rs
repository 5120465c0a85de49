//! Masks IP addresses in text of any kind: a line of a log, a query, a custom variable.
//!
//! A text may have addresses in quotes and brackets, with ports, in lists and percent-encoded. So
//! whatever has the form of an address counts as one, even part of a version with four numbers.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::mask::AddressMask;

/// Bytes of the longest IPv6 address, which ends with an IPv4 address.
const MAX_V6_BYTES: usize = 45;

/// A part of a text, and what replaces it.
#[derive(Debug)]
struct Edit {
    place: Range<usize>,
    text: String,
}

impl AddressMask {
    /// Masks all addresses in a text.
    pub fn mask_text(self, text: &[u8]) -> Cow<'_, [u8]> {
        self.mask_text_if(text, |_| true)
    }

    /// Masks the addresses in a text for which this returns true. It gets `None` for digits around
    /// an address that may belong to it or not.
    pub fn mask_text_if(
        self,
        text: &[u8],
        is_wanted: impl Fn(Option<IpAddr>) -> bool,
    ) -> Cow<'_, [u8]> {
        let edits = self.edits(text, is_wanted);
        match edits.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(edited(text, &edits, 1, |text| text.as_bytes().to_vec())),
        }
    }

    /// Masks all addresses in a text in UTF-16. `encode` encodes text like it.
    pub fn mask_utf16(self, text: &[u8], encode: impl Fn(&str) -> Vec<u8>) -> Cow<'_, [u8]> {
        let is_big_endian = encode("0").first() == Some(&0);
        let (units, _) = text.as_chunks::<2>();
        let ascii: Vec<u8> = units
            .iter()
            .map(|unit| match is_big_endian {
                true => u16::from_be_bytes(*unit),
                false => u16::from_le_bytes(*unit),
            })
            .map(|unit| u8::try_from(unit).unwrap_or(u8::MAX))
            .collect();
        let edits = self.edits(&ascii, |_| true);
        match edits.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(edited(text, &edits, 2, encode)),
        }
    }

    /// The changes that mask addresses, in their order.
    fn edits(self, text: &[u8], is_wanted: impl Fn(Option<IpAddr>) -> bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        let (mut at, mut run) = (0, AddressRun::default());
        while at < text.len() {
            let end = run.read(text, at);
            if end > at {
                run.mask(self, &is_wanted, &mut edits);
                at = end;
            } else {
                at += other_bytes(&text[at..]);
            }
        }
        edits
    }
}

/// Applies edits of a text whose characters have `unit` bytes.
fn edited(text: &[u8], edits: &[Edit], unit: usize, encode: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let (mut new, mut copied) = (Vec::with_capacity(text.len()), 0);
    for edit in edits {
        new.extend_from_slice(&text[copied * unit..edit.place.start * unit]);
        new.extend_from_slice(&encode(&edit.text));
        copied = edit.place.end;
    }
    new.extend_from_slice(&text[copied * unit..]);
    new
}

/// A character that addresses have, and its length. Colons and dots may be percent-encoded, several
/// times over.
fn character(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'%', rest @ ..] => {
            let repeated = rest.chunks_exact(2).take_while(|pair| *pair == b"25");
            let length = 2 * repeated.count();
            match rest[length..] {
                [b'3', b'A' | b'a', ..] => Some((b':', length + 3)),
                [b'2', b'E' | b'e', ..] => Some((b'.', length + 3)),
                _ => None,
            }
        }
        [
            byte @ (b'.' | b':' | b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F'),
            ..,
        ] => Some((*byte, 1)),
        _ => None,
    }
}

/// The length of a character that no address has: the digits of `%20` belong to no number.
fn other_bytes(text: &[u8]) -> usize {
    match text {
        [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
        _ => 1,
    }
}

/// Characters that addresses have, one after the other.
#[derive(Debug, Default)]
struct AddressRun {
    text: Vec<u8>,
    /// Where each of them begins, and where the last one ends.
    places: Vec<usize>,
    /// How the first encoded colon is written.
    colon: String,
}

impl AddressRun {
    /// Reads the characters from a position on. Returns where they end.
    fn read(&mut self, text: &[u8], mut at: usize) -> usize {
        self.text.clear();
        self.places.clear();
        self.colon.clear();
        while let Some((byte, length)) = character(&text[at..]) {
            if byte == b':' && length > 1 && self.colon.is_empty() {
                self.colon = String::from_utf8_lossy(&text[at..at + length]).into_owned();
            }
            self.text.push(byte);
            self.places.push(at);
            at += length;
        }
        self.places.push(at);
        at
    }

    fn mask(
        &self,
        mask: AddressMask,
        is_wanted: &impl Fn(Option<IpAddr>) -> bool,
        edits: &mut Vec<Edit>,
    ) {
        let mut begin = 0;
        if self.may_have_v6() {
            let mut start = 0;
            while let Some(rest) = self.text.get(start..).filter(|rest| rest.len() > 1) {
                let is_start =
                    start == 0 || self.text[start - 1] == b':' || rest.starts_with(b"::");
                match is_start.then(|| v6(rest)).flatten() {
                    Some((address, length)) => {
                        self.mask_v4(begin..start, mask, is_wanted, edits);
                        let address = IpAddr::V6(address);
                        let masked = mask.apply(address);
                        if masked != address && is_wanted(Some(address)) {
                            edits.push(self.v6_edit(start..start + length, &masked.to_string()));
                        }
                        start += length;
                        begin = start;
                    }
                    None => start += 1,
                }
            }
        }
        self.mask_v4(begin..self.text.len(), mask, is_wanted, edits);
    }

    /// Whether there are enough colons.
    fn may_have_v6(&self) -> bool {
        let is_colon = |byte: &&u8| **byte == b':';
        memchr::memmem::find(&self.text, b"::").is_some()
            || self.text.iter().filter(is_colon).count() >= 7
    }

    fn v6_edit(&self, range: Range<usize>, masked: &str) -> Edit {
        let place = self.places[range.start]..self.places[range.end];
        let is_encoded = place.len() > range.len() && !self.colon.is_empty();
        Edit {
            place,
            text: match is_encoded {
                true => masked.replace(':', &self.colon),
                false => masked.to_owned(),
            },
        }
    }

    /// Masks IPv4 addresses in a part of the run.
    fn mask_v4(
        &self,
        range: Range<usize>,
        mask: AddressMask,
        is_wanted: &impl Fn(Option<IpAddr>) -> bool,
        edits: &mut Vec<Edit>,
    ) {
        let is_part = |at: usize| self.text[at].is_ascii_digit() || self.text[at] == b'.';
        let mut at = range.start;
        while at < range.end {
            let end = (at..range.end)
                .find(|at| !is_part(*at))
                .unwrap_or(range.end);
            self.mask_numbers(at..end, mask, is_wanted, edits);
            at = end + 1;
        }
    }

    /// Masks IPv4 addresses among numbers and dots.
    fn mask_numbers(
        &self,
        range: Range<usize>,
        mask: AddressMask,
        is_wanted: &impl Fn(Option<IpAddr>) -> bool,
        edits: &mut Vec<Edit>,
    ) {
        let mut start = range.start;
        let numbers: Vec<Range<usize>> = self.text[range]
            .split(|byte| *byte == b'.')
            .map(|number| {
                let place = start..start + number.len();
                start = place.end + 1;
                place
            })
            .collect();
        let mut rest = &numbers[..];
        while let [first, second, third, fourth, ..] = rest {
            let [first, second, third, fourth] = [first, second, third, fourth];
            let value = |number: &Range<usize>| octet(&self.text[number.clone()]);
            // Other digits may be next to the first and the last one.
            let is_address = value(second).is_some()
                && value(third).is_some()
                && !first.is_empty()
                && !fourth.is_empty();
            let address = || {
                let octets = [value(first)?, value(second)?, value(third)?, value(fourth)?];
                Some(IpAddr::V4(Ipv4Addr::from(octets)))
            };
            if !is_address || !is_wanted(address()) {
                rest = &rest[1..];
                continue;
            }
            let kept = 4 - mask.v4_bytes().min(4);
            for number in &rest[kept..4] {
                if self.text[number.clone()] != *b"0" {
                    edits.push(Edit {
                        place: self.places[number.start]..self.places[number.end],
                        text: "0".to_owned(),
                    });
                }
            }
            rest = &rest[4..];
        }
    }
}

/// The longest IPv6 address that a text begins with, and its length. Another number may follow
/// after a colon, such as a port.
fn v6(text: &[u8]) -> Option<(Ipv6Addr, usize)> {
    // Long rows of colons would take long.
    if text.starts_with(b":::") {
        return None;
    }
    let is_end = |length: &usize| {
        text.get(*length).is_none_or(|next| b":.".contains(next)) || text[length - 1] == b':'
    };
    let lengths = 2..=text.len().min(MAX_V6_BYTES);
    lengths.rev().filter(is_end).find_map(|length| {
        let address = str::from_utf8(&text[..length]).ok()?;
        Some((address.parse().ok()?, length))
    })
}

/// Reads an IPv4 address that may have leading zeros.
pub fn read_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut numbers = text.split(|byte| *byte == b'.').map(octet);
    let mut next = || numbers.next().flatten();
    let address = Ipv4Addr::from([next()?, next()?, next()?, next()?]);
    numbers.next().is_none().then_some(address)
}

/// A number of an IPv4 address. Some logs write leading zeros.
fn octet(digits: &[u8]) -> Option<u8> {
    match digits.len() {
        1..=3 => str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        let masked = AddressMask::DEFAULT.mask_text(text.as_bytes());
        String::from_utf8(masked.into_owned()).unwrap()
    }

    #[test]
    fn ipv4_addresses_are_masked_wherever_they_are() {
        for (text, expected) in [
            ("203.0.113.9", "203.0.0.0"),
            (
                "203.0.113.9 - - [14/May/2024:06:25:24 +0200]",
                "203.0.0.0 - - [14/May/2024:06:25:24 +0200]",
            ),
            ("\"203.0.113.9, 198.51.100.7\"", "\"203.0.0.0, 198.51.0.0\""),
            (
                "203.0.113.9:4455,+203.0.113.99:80",
                "203.0.0.0:4455,+203.0.0.0:80",
            ),
            ("for=203.0.113.9;by=10.1.2.3", "for=203.0.0.0;by=10.1.0.0"),
            (
                "a,%20203.0.113.9%2C198.51.100.7",
                "a,%20203.0.0.0%2C198.51.0.0",
            ),
            // Digits of a doubled escape are next to it.
            ("a,%2520203.0.113.9", "a,%2520203.0.0.0"),
            ("203%2E0%2e113.9", "203%2E0%2e0.0"),
            ("203%252E0%252e113.9", "203%252E0%252e0.0"),
            ("203.000.113.009", "203.000.0.0"),
            ("ip203.0.113.9.", "ip203.0.0.0."),
            ("203.0.113.9.443", "203.0.0.0.443"),
            ("203.0.113.9.198.51.100.7", "203.0.0.0.198.51.0.0"),
            (
                "https://203.0.113.9:8443/?c=203.0.113.9#203.0.113.9",
                "https://203.0.0.0:8443/?c=203.0.0.0#203.0.0.0",
            ),
            (
                "{\"ip\":\"203.0.113.9\",\"t\":1.5}",
                "{\"ip\":\"203.0.0.0\",\"t\":1.5}",
            ),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_are_masked_wherever_they_are() {
        for (text, expected) in [
            ("2001:db8:1:2::7", "2001:db8:1::"),
            ("2001:DB8:1:2:3:4:5:6", "2001:db8:1::"),
            ("[2001:db8:1:2::7]:443", "[2001:db8:1::]:443"),
            ("fe80::1234%eth0", "fe80::%eth0"),
            (
                "2001:db8:1:2::7, 2001:db8:9::1",
                "2001:db8:1::, 2001:db8:9::",
            ),
            ("2001:db8:1:2:3:4:5:6:443", "2001:db8:1:::443"),
            ("2001:db8:1:2::7.", "2001:db8:1::."),
            ("addr:2001:db8:1:2::7", "addr:2001:db8:1::"),
            ("::1", "::"),
            ("::ffff:203.0.113.9", "::ffff:203.0.0.0"),
            ("::ffff:cb00:7109", "::ffff:203.0.0.0"),
            ("64:ff9b::203.0.113.9", "64:ff9b::"),
            ("203.0.113.9:2001:db8:1:2::7", "203.0.0.0:2001:db8:1::"),
            (
                "ip=2001%3Adb8%3a1%3A2%3A%3A7&x=1",
                "ip=2001%3Adb8%3A1%3A%3A&x=1",
            ),
            (
                "ip=2001%253adb8%253A1%253A2%253A%253A7&x=1",
                "ip=2001%253adb8%253a1%253a%253a&x=1",
            ),
            ("%2525253A2001%25253Adb8", "%2525253A2001%25253Adb8"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn other_text_and_masked_addresses_stay() {
        for text in [
            "",
            "203.0.0.0",
            "2001:db8:1::",
            "2001:DB8:1:0:0::",
            "::ffff:203.0.0.0",
            "::",
            "203.0.113.xxx",
            "1.2.3",
            "14/May/2024:06:25:24",
            "2024-05-14T06:25:24.123",
            "Chrome/124.0.0.0 Safari/537.36 Edg/120.0.2210.61",
            "de:ad:be:ef:00:01",
            "std::string",
            "1.300.3.4",
            "..1..2..3..4..",
        ] {
            let masked = AddressMask::DEFAULT.mask_text(text.as_bytes());
            assert!(matches!(masked, Cow::Borrowed(_)), "{text}: {masked:?}");
        }
    }

    #[test]
    fn only_wanted_addresses_are_masked() {
        let own: IpAddr = "203.0.113.9".parse().unwrap();
        let text = b"/1.2.3.4/203.0.113.9/9.203.0.113.9/2001:db8::1";
        let masked = AddressMask::DEFAULT.mask_text_if(text, |it| it == Some(own));
        assert_eq!(*masked, *b"/1.2.3.4/203.0.0.0/9.203.0.0.0/2001:db8::1");
    }

    #[test]
    fn each_number_of_bytes_is_masked() {
        for (bytes, expected) in [
            (1, "203.0.113.0 2001:db8:1:2::"),
            (3, "203.0.0.0 2001:d00::"),
        ] {
            let mask = AddressMask::of_bytes(bytes).unwrap();
            let masked = mask.mask_text(b"203.0.113.9 2001:db8:1:2::7");
            assert_eq!(str::from_utf8(&masked), Ok(expected));
        }
    }

    #[test]
    fn text_in_utf_16_stays_utf_16() {
        let little = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>()
        };
        let big = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect::<Vec<_>>()
        };
        let (text, expected) = (
            "caf\u{e9} 203.0.113.9 \u{3130}",
            "caf\u{e9} 203.0.0.0 \u{3130}",
        );
        let mask = AddressMask::DEFAULT;
        // Half a character follows.
        let with_half = |text: Vec<u8>| [text, vec![b'x']].concat();
        assert_eq!(
            *mask.mask_utf16(&with_half(little(text)), little),
            with_half(little(expected))
        );
        assert_eq!(*mask.mask_utf16(&big(text), big), big(expected));
        assert!(matches!(
            mask.mask_utf16(&little("no"), little),
            Cow::Borrowed(_)
        ));
    }

    proptest! {
        #[test]
        fn no_address_is_left(
            addresses in prop::collection::vec(any::<IpAddr>(), 1..4),
            between in "([ ,;\"/&?=|g-z]|%20){1,3}", after in "(:443)?", sparse in any::<u128>(),
        ) {
            let addresses: Vec<IpAddr> = addresses
                .into_iter()
                .map(|address| match address {
                    IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & sparse)),
                    v4 => v4,
                })
                .collect();
            let texts: Vec<String> = addresses
                .iter()
                .map(|address| match address {
                    IpAddr::V4(_) => format!("{address}{after}"),
                    IpAddr::V6(_) => format!("[{address}]{after}"),
                })
                .collect();
            let text = masked(&texts.join(&between));
            let expected: Vec<String> = addresses
                .iter()
                .map(|address| match AddressMask::DEFAULT.apply(*address) {
                    masked if masked == *address => format!("{address}"),
                    masked => format!("{masked}"),
                })
                .zip(&addresses)
                .map(|(masked, address)| match address {
                    IpAddr::V4(_) => format!("{masked}{after}"),
                    IpAddr::V6(_) => format!("[{masked}]{after}"),
                })
                .collect();
            prop_assert_eq!(&text, &expected.join(&between));
            // What is masked stays as it is.
            prop_assert_eq!(masked(&text), text);
        }

        #[test]
        fn any_text_can_be_masked_and_stays_masked(
            bytes in prop::collection::vec(any::<u8>(), 0..60), dense in "[0-9a-f.:%3A2E]{0,60}",
        ) {
            for text in [&bytes[..], dense.as_bytes()] {
                let once = AddressMask::DEFAULT.mask_text(text);
                let twice = AddressMask::DEFAULT.mask_text(&once);
                prop_assert_eq!(&twice, &once);
            }
        }
    }
}
