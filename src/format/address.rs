//! Reads the address field of a line, whatever the format.

use std::net::{IpAddr, Ipv6Addr};

use crate::network::NetworkSet;

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
        if is_plain_address(field) {
            return Some(Self::Ip(field));
        }
        let mut entries = field.split(|byte| *byte == b',').map(entry);
        let first = entries.find(|entry| !is_absent(entry))?;
        Some(Self::of_entry(first))
    }

    /// Reads the last address of a list outside these networks; if all are inside, the first one.
    /// Returns `None` if the field is empty or `-`.
    pub fn last_outside(field: &'a [u8], networks: &NetworkSet) -> Option<Self> {
        if is_plain_address(field) {
            return Some(Self::Ip(field));
        }
        let mut last = None;
        for entry in field.rsplit(|byte| *byte == b',').map(entry) {
            if is_absent(entry) {
                continue;
            }
            let address = Self::of_entry(entry);
            last = Some(address);
            if !matches!(address, Self::Ip(text) if networks.contains_text(text)) {
                break;
            }
        }
        last
    }

    fn of_entry(entry: &'a [u8]) -> Self {
        let text = without_port(entry);
        let address = Some(without_zone(text)).filter(|address| is_ip(address));
        match address.or_else(|| nine_groups(text)) {
            Some(address) => Self::Ip(address),
            None => Self::Other(text),
        }
    }
}

/// Whether a field is an IP address and nothing else, in the usual notation.
pub fn is_plain_address(field: &[u8]) -> bool {
    is_dotted_quad(field) || is_hex_groups(field)
}

/// Whether a field is an IP address, or a list that begins with one.
pub fn looks_like_address(field: &[u8]) -> bool {
    matches!(LoggedAddress::first(field), Some(LoggedAddress::Ip(_)))
}

/// Whether a field is an IP address with a port on which web servers listen. Clients have higher
/// ports.
pub fn is_address_of_server(field: &[u8]) -> bool {
    let port = field.rsplit(|byte| *byte == b':').next();
    let port = port.and_then(|port| str::from_utf8(port).ok()?.parse().ok());
    let is_for_web = matches!(port, Some(1..1024_u16 | 8000..9000));
    is_for_web && without_port(field).len() < field.len() && looks_like_address(field)
}

/// Whether a text is an IPv4 address, without leading zeros. Nearly all addresses are.
///
/// No branch depends on the text, so the compiler can vectorize the loop and the processor
/// mispredicts nothing.
fn is_dotted_quad(text: &[u8]) -> bool {
    const LONGEST: usize = "255.255.255.255".len();
    const BEFORE: usize = 4;
    // Two copies that overlap are faster than one whose length is not known.
    let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) else {
        return is_ip(text) && !text.contains(&b':');
    };
    // A dot precedes the text and another one ends it. Zeros fill the rest.
    let mut bytes = [0; BEFORE + LONGEST + 1];
    bytes[BEFORE - 1] = b'.';
    let Some(place) = bytes[BEFORE..].get_mut(..=text.len()) else {
        return false;
    };
    place[..8].copy_from_slice(first);
    place[text.len() - 8..text.len()].copy_from_slice(last);
    place[text.len()] = b'.';
    let is_digit = |byte: u8| byte.wrapping_sub(b'0') < 10;
    let (mut is_right, mut dots) = (true, 0_u8);
    for at in BEFORE..bytes.len() {
        let [before, a, b, c] = [4, 3, 2, 1].map(|back| bytes[at - back]);
        // A dot ends one, two or three digits.
        let one = (b == b'.') & is_digit(c);
        let two = (a == b'.') & is_digit(b) & (b != b'0') & is_digit(c);
        let to_199 = (a == b'1') & is_digit(b) & is_digit(c);
        let to_249 = (a == b'2') & (b'0'..b'5').contains(&b) & is_digit(c);
        let to_255 = (a == b'2') & (b == b'5') & (b'0'..b'6').contains(&c);
        let three = (before == b'.') & (to_199 | to_249 | to_255);
        let is_dot = bytes[at] == b'.';
        is_right &= is_digit(bytes[at]) | (bytes[at] == 0) | is_dot & (one | two | three);
        dots += u8::from(is_dot);
    }
    is_right & (dots == 4)
}

/// Whether a text is an IPv6 address without an IPv4 address in it.
fn is_hex_groups(text: &[u8]) -> bool {
    let rest = match text {
        [b':', rest @ ..] if rest.starts_with(b":") => rest,
        [b':', ..] => return false,
        _ => text,
    };
    // A colon without a digit before it is a gap.
    let (mut groups, mut gaps, mut digits) = (0, 0, 0);
    for byte in rest {
        match byte {
            b':' => {
                gaps += u32::from(digits == 0);
                digits = 0;
            }
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if digits < 4 => {
                groups += u32::from(digits == 0);
                digits += 1;
            }
            _ => return false,
        }
    }
    let is_complete = digits > 0 || text.ends_with(b"::");
    is_complete
        && match gaps {
            0 => groups == 8,
            1 => groups < 8,
            _ => false,
        }
}

fn is_ip(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Whether an entry says nothing. Proxies write `unknown` into lists.
fn is_absent(entry: &[u8]) -> bool {
    matches!(entry, b"" | b"-") || entry.eq_ignore_ascii_case(b"unknown")
}

/// An entry of a list. One of the header `Forwarded` (RFC 7239) is `for=ADDRESS;proto=http`.
fn entry(text: &[u8]) -> &[u8] {
    let text = trimmed(text);
    match text.split_first_chunk::<4>() {
        Some((name, address)) if name.eq_ignore_ascii_case(b"for=") => {
            let end = memchr::memchr(b';', address);
            trimmed(&address[..end.unwrap_or(address.len())])
        }
        _ => text,
    }
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
    use std::net::Ipv4Addr;

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
        fn the_scan_of_ipv4_agrees_with_the_parser(
            text in "[0-9.]{0,16}", address in any::<Ipv4Addr>(),
            close in "(25[0-9]|2?[0-9]{1,2}|00?)(\\.(2[0-9]{2}|[0-9]{1,3}|\0)){3}[0.\0]?",
        ) {
            for text in [text, close, address.to_string()] {
                let is_v4 = text.parse::<Ipv4Addr>().is_ok();
                prop_assert_eq!(is_dotted_quad(text.as_bytes()), is_v4, "{}", text);
            }
        }

        #[test]
        fn the_scan_of_ipv6_agrees_with_the_parser(
            text in "[0-9a-fA-F:]{0,12}", groups in "[0-9a-f]{1,5}(::?[0-9A-F]{1,4}){0,8}(::?)?",
            address in any::<Ipv6Addr>(), is_sparse in any::<u128>(),
        ) {
            let sparse = Ipv6Addr::from_bits(address.to_bits() & is_sparse & is_sparse >> 7);
            for text in [text, format!("::{groups}"), groups, address.to_string(), sparse.to_string()] {
                let is_v6 = text.parse::<Ipv6Addr>().is_ok() && !text.contains('.');
                prop_assert_eq!(is_hex_groups(text.as_bytes()), is_v6, "{}", text);
            }
        }
    }
}
