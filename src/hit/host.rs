//! Normalizes hosts, whether they come from a field, from the target of a request or from an
//! option; see guide/requests.md, "Hosts".

use std::net::Ipv6Addr;

use bumpalo::Bump;

use super::{lowercase, unquoted};

/// The ports that browsers leave out.
pub const DEFAULT_PORTS: [&[u8]; 2] = [b"80", b"443"];

/// Returns a host in lower case, without quotes, surrounding dots and a default port, and with an
/// IPv6 address in brackets. `-` and `_` are no host, and become empty.
pub fn normalize<'a>(logged: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    // Most hosts need nothing but their default port removed.
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    let length = logged.iter().take_while(|byte| is_plain(byte)).count();
    if let (
        name @ [b'a'..=b'z' | b'0'..=b'9', .., b'a'..=b'z' | b'0'..=b'9'],
        b"" | b":80" | b":443",
    ) = logged.split_at(length)
    {
        return name;
    }
    let lower = lowercase(logged, arena);
    let host = without_dots(unquoted(without_dots(lower)));
    let (name_and_dots, port) = split(host);
    let name = without_dots(name_and_dots);
    match port {
        _ if matches!(name, b"" | b"-" | b"_") => b"",
        Some(port) if !is_default(port) => match name.len() == name_and_dots.len() {
            true => host,
            false => arena.alloc_slice_copy(&[name, b":", port].concat()),
        },
        _ if is_bare_v6(name) => arena.alloc_slice_copy(&[b"[", name, b"]"].concat()),
        _ => name,
    }
}

/// Splits a host into its name and its port. `None`: it has no port, or an empty one.
pub fn split(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(colon) = memchr::memrchr(b':', host) else {
        return (host, None);
    };
    let (name, port) = (&host[..colon], &host[colon + 1..]);
    // A host of --log-hostname may have a scheme.
    let authority = memchr::memmem::find(name, b"://").map_or(name, |at| &name[at + 3..]);
    let is_name = match authority {
        [b'[', .., b']'] => true,
        _ => !authority.contains(&b':') && !authority.starts_with(b"["),
    };
    match port.iter().all(u8::is_ascii_digit) && is_name {
        true => (name, (!port.is_empty()).then_some(port)),
        false => (host, None),
    }
}

/// Whether a port is one that browsers leave out.
pub fn is_default(port: &[u8]) -> bool {
    DEFAULT_PORTS.contains(&port)
}

/// Whether a host is an IPv6 address without brackets.
pub fn is_bare_v6(host: &[u8]) -> bool {
    host.contains(&b':') && str::from_utf8(host).is_ok_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

/// Host and port of a URL with the scheme `http` or `https`.
pub fn authority(url: &[u8]) -> Option<&[u8]> {
    let rest = url
        .strip_prefix(b"https://")
        .or_else(|| url.strip_prefix(b"http://"))?;
    rest.split(|byte| b"/?#".contains(byte)).next()
}

/// Strips surrounding dots.
fn without_dots(mut host: &[u8]) -> &[u8] {
    while let [b'.', rest @ ..] | [rest @ .., b'.'] = host {
        host = rest;
    }
    host
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalized(host: &str) -> String {
        let arena = Bump::new();
        String::from_utf8(normalize(host.as_bytes(), &arena).to_vec()).unwrap()
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (logged, host) in [
            ("www.example.com", "www.example.com"),
            ("WWW.Example.com.", "www.example.com"),
            ("\"www.example.com\"", "www.example.com"),
            ("\"www.example.com.:443\"", "www.example.com"),
            ("www.example.com:80", "www.example.com"),
            ("www.example.com:443", "www.example.com"),
            ("www.example.com:", "www.example.com"),
            ("www.example.com:8080", "www.example.com:8080"),
            ("www.example.com.:8080", "www.example.com:8080"),
            ("*.example.com:443", "*.example.com"),
            ("[2001:DB8::1]:443", "[2001:db8::1]"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("MÜNCHEN.example", "münchen.example"),
        ] {
            assert_eq!(normalized(logged), host, "{logged}");
        }
    }

    #[test]
    fn dashes_and_underscores_alone_are_no_host() {
        for logged in ["", "-", "_", "\"-\"", "-:80", "_:8080", ".", ":", ":80"] {
            assert_eq!(normalized(logged), "", "{logged}");
        }
        assert_eq!(normalized("_a"), "_a");
    }

    #[test]
    fn a_port_has_digits_and_follows_a_name() {
        let port = |host: &'static str| split(host.as_bytes()).1;
        assert_eq!(port("a:8080"), Some(&b"8080"[..]));
        assert_eq!(port("[::1]:8080"), Some(&b"8080"[..]));
        assert_eq!(port("https://a:8080"), Some(&b"8080"[..]));
        for host in ["a", "a:", "a:http", "::1", "[::1]", "https://a", "a:b:80"] {
            assert_eq!(port(host), None, "{host}");
        }
    }

    #[test]
    fn the_host_of_a_url_includes_its_port() {
        for (url, expected) in [
            ("http://radio.example:8000/a", Some("radio.example:8000")),
            ("https://radio.example", Some("radio.example")),
            ("radio.example/a", None),
        ] {
            let host = authority(url.as_bytes());
            assert_eq!(host, expected.map(str::as_bytes), "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_normalized_host_stays_as_it_is(
            bytes in prop::collection::vec(any::<u8>(), 0..40), dense in "[a.:\\[\\]\"0-9_-]{0,20}",
        ) {
            let arena = Bump::new();
            for logged in [&bytes[..], dense.as_bytes()] {
                let host = normalize(logged, &arena);
                prop_assert!(!matches!(host, b"-" | b"_"));
                prop_assert!(!split(host).1.is_some_and(is_default), "{:?}", host);
            }
        }

        #[test]
        fn every_port_but_the_default_ones_stays(
            name in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?|\\[[0-9a-f:]{2,9}\\]", port in any::<u16>(),
        ) {
            let host = normalized(&format!("{name}.:{port}").replace("].", "]"));
            let expected = match port {
                80 | 443 => name,
                _ => format!("{name}:{port}"),
            };
            prop_assert_eq!(host, expected);
        }
    }
}
