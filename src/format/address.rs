//! Reads the address field of a line, whatever the format.

use std::net::{IpAddr, Ipv6Addr};

/// What a log calls an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedAddress<'a> {
    /// An IPv4 or IPv6 address as logged, without port, brackets and zone.
    Ip(&'a [u8]),
    /// A host name, a hash or a masked address.
    Other(&'a [u8]),
}

impl<'a> LoggedAddress<'a> {
    /// Reads the first address of a list. Returns `None` if the field is empty or `-`.
    pub fn first(field: &'a [u8]) -> Option<Self> {
        if is_dotted_quad(field) {
            return Some(Self::Ip(field));
        }
        let entries = field.split(|byte| *byte == b',').map(trimmed);
        let first = entries.into_iter().find(|entry| !is_absent(entry))?;
        let text = without_port(first);
        let address = Some(without_zone(text)).filter(|address| is_ip(address));
        Some(match address.or_else(|| nine_groups(text)) {
            Some(address) => Self::Ip(address),
            None => Self::Other(text),
        })
    }
}

/// Whether a field is an IP address, or a list that begins with one.
pub fn looks_like_address(field: &[u8]) -> bool {
    matches!(LoggedAddress::first(field), Some(LoggedAddress::Ip(_)))
}

/// Whether a text is an IPv4 address, without leading zeros. Nearly all addresses are.
fn is_dotted_quad(text: &[u8]) -> bool {
    const NONE: u32 = 1000;
    let (mut dots, mut number) = (0, NONE);
    for byte in text {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit < 10 {
            number = match number {
                NONE => digit,
                // A leading zero.
                0 => return false,
                _ => number * 10 + digit,
            };
            if number > 255 {
                return false;
            }
        } else if *byte == b'.' && number != NONE {
            dots += 1;
            number = NONE;
        } else {
            return false;
        }
    }
    dots == 3 && number != NONE
}

fn is_ip(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Whether an entry says nothing. Proxies write `unknown` into lists.
fn is_absent(entry: &[u8]) -> bool {
    matches!(entry, b"" | b"-") || entry.eq_ignore_ascii_case(b"unknown")
}

/// Removes blanks and quotes around an entry. W3C logs write a blank as a plus.
fn trimmed(mut entry: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'+' | b'"', rest @ ..] | [rest @ .., b' ' | b'\t' | b'+' | b'"'] =
        entry
    {
        entry = rest;
    }
    entry
}

/// Removes brackets and port: `[2001:db8::1]:443`, `192.0.2.1:443`.
fn without_port(address: &[u8]) -> &[u8] {
    if let Some(inner) = address.strip_prefix(b"[") {
        let end = memchr::memchr(b']', inner);
        return end.map_or(address, |end| &inner[..end]);
    }
    match memchr::memrchr(b':', address) {
        Some(colon)
            if !address[..colon].contains(&b':')
                && address[colon + 1..].iter().all(u8::is_ascii_digit) =>
        {
            &address[..colon]
        }
        _ => address,
    }
}

/// Removes the zone: `fe80::1%eth0`.
fn without_zone(address: &[u8]) -> &[u8] {
    match memchr::memchr(b'%', address) {
        Some(percent) => &address[..percent],
        None => address,
    }
}

/// A full IPv6 address before a port that no bracket separates.
fn nine_groups(text: &[u8]) -> Option<&[u8]> {
    let (address, port) = text.split_at(memchr::memrchr(b':', text)?);
    let is_v6 = str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    (is_v6 && port[1..].iter().all(u8::is_ascii_digit)).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_may_have_a_port_brackets_a_zone_and_company() {
        for text in [
            "203.0.113.9",
            "203.0.113.9:8080",
            "203.0.113.9,10.0.0.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "fe80::1%eth0",
            "::ffff:203.0.113.9",
        ] {
            assert!(looks_like_address(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "-",
            "www.example.com",
            "www.example.com:80",
            "203.0.113.xxx",
            "203.0.113",
            "[www]",
            "a:b:c",
        ] {
            assert!(!looks_like_address(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_scan_agrees_with_the_parser(text in "[0-9.]{0,16}", quad in any::<std::net::Ipv4Addr>()) {
            for text in [text, quad.to_string()] {
                let is_v4 = text.parse::<std::net::Ipv4Addr>().is_ok();
                prop_assert_eq!(is_dotted_quad(text.as_bytes()), is_v4, "{}", text);
            }
        }
    }
}
