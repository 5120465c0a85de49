//! What looks like an address.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a text is an IPv4 or IPv6 address, or a list that begins with one. Each may have
/// brackets, a port and a zone.
pub fn looks_like_address(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b',').next().unwrap_or_default();
    let Ok(first) = std::str::from_utf8(first) else {
        return false;
    };
    if let Some((inner, _port)) = first.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return is_v6(inner);
    }
    match first.split_once(':') {
        None => is_v4(first),
        Some((address, port)) if !port.contains(':') => is_v4(address),
        Some(_) => is_v6(first),
    }
}

fn is_v4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

fn is_v6(text: &str) -> bool {
    let (address, _zone) = text.split_once('%').unwrap_or((text, ""));
    address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
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
}
