//! Tells visitors apart by the address in a log, or without one; see guide/requests.md,
//! "Addresses".

use std::net::IpAddr;

use crate::format::address::{LoggedAddress, is_plain_address};
use crate::network::NetworkSet;
use crate::radio::stable_hash;

/// Hexadecimal digits of a visitor id (`cid`).
pub const VISITOR_ID_DIGITS: usize = 16;

/// How a visitor is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress<'a> {
    /// An IPv4 or IPv6 address as logged, without port, brackets and zone.
    Ip(&'a [u8]),
    /// The log has no address: a visitor id, in hexadecimal digits, the same in every run.
    Id([u8; VISITOR_ID_DIGITS]),
    /// A masked address, and a visitor id that tells those who share it apart.
    Pseudonym {
        ip: &'a [u8],
        id: [u8; VISITOR_ID_DIGITS],
    },
}

impl<'a> ClientAddress<'a> {
    /// Reads the first address of a list. A host name, a hash or a masked address becomes a visitor
    /// id. Returns `None` if the field is empty or `-`.
    pub fn read(field: &'a [u8]) -> Option<Self> {
        LoggedAddress::first(field).map(Self::of_logged)
    }

    /// The same, but reads the last address that is in none of these networks.
    pub fn outside(field: &'a [u8], networks: &NetworkSet) -> Option<Self> {
        LoggedAddress::last_outside(field, networks).map(Self::of_logged)
    }

    fn of_logged(address: LoggedAddress<'a>) -> Self {
        match address {
            LoggedAddress::Ip(address) => Self::Ip(address),
            LoggedAddress::Other(text) => Self::Id(Self::id_of_text(text)),
        }
    }

    /// The same as [`ClientAddress::read`], but if the field says nothing, the user agent becomes
    /// the visitor id.
    pub fn of(field: Option<&'a [u8]>, agent: &[u8]) -> Self {
        match field {
            Some(field) if is_plain_address(field) => Self::Ip(field),
            _ => Self::of_unusual(field, agent),
        }
    }

    #[cold]
    fn of_unusual(field: Option<&'a [u8]>, agent: &[u8]) -> Self {
        field
            .and_then(Self::read)
            .unwrap_or_else(|| Self::of_agent(agent))
    }

    /// Identifies a visitor of whom only the user agent is known.
    pub fn of_agent(agent: &[u8]) -> Self {
        Self::Id(hexadecimal(stable_hash(agent.iter().copied())))
    }

    /// Bytes that differ for visitors that differ.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ip(address) => address,
            Self::Id(digits) | Self::Pseudonym { id: digits, .. } => digits,
        }
    }

    /// The address, or the visitor id without one, as it is sent.
    pub fn shown(&self) -> &[u8] {
        match self {
            Self::Ip(address) | Self::Pseudonym { ip: address, .. } => address,
            Self::Id(digits) => digits,
        }
    }

    /// The address. `None` if there is only a visitor id.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(text) | Self::Pseudonym { ip: text, .. } => {
                str::from_utf8(text).ok()?.parse().ok()
            }
            Self::Id(_) => None,
        }
    }

    pub fn is_id(&self) -> bool {
        matches!(self, Self::Id(_))
    }

    /// The visitor id of a text that is no address.
    pub(super) fn id_of_text(text: &[u8]) -> [u8; VISITOR_ID_DIGITS] {
        match text.first_chunk::<VISITOR_ID_DIGITS>() {
            // A hash.
            Some(digits) if text.iter().all(u8::is_ascii_hexdigit) => {
                digits.map(|digit| digit.to_ascii_lowercase())
            }
            _ => hexadecimal(stable_hash(text.iter().copied())),
        }
    }
}

/// A number as the digits of a visitor id.
pub(super) fn hexadecimal(number: u64) -> [u8; VISITOR_ID_DIGITS] {
    std::array::from_fn(|index| {
        let digit = number >> (4 * (VISITOR_ID_DIGITS - 1 - index)) & 0xf;
        b"0123456789abcdef"[digit as usize]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_ip(field: &str, address: &str) {
        let read = ClientAddress::read(field.as_bytes());
        assert_eq!(read, Some(ClientAddress::Ip(address.as_bytes())), "{field}");
    }

    #[track_caller]
    fn assert_id(field: &[u8], id: &[u8; VISITOR_ID_DIGITS]) {
        assert_eq!(ClientAddress::read(field), Some(ClientAddress::Id(*id)));
    }

    #[test]
    fn addresses_stay_as_logged() {
        for address in [
            "198.51.100.7",
            "0.0.0.0",
            "255.255.255.255",
            "2001:DB8:0:0:0:0:0:1",
            "::1",
            "::ffff:192.0.2.1",
        ] {
            assert_ip(address, address);
        }
    }

    #[test]
    fn port_brackets_and_zone_are_no_part_of_an_address() {
        for (field, address) in [
            ("198.51.100.7:5678", "198.51.100.7"),
            ("198.51.100.7:", "198.51.100.7"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("[2001:db8::6]:443", "2001:db8::6"),
            ("2001:db8::7%eth0", "2001:db8::7"),
            ("[fe80::7%eth0]:443", "fe80::7"),
            ("2001:db8:0:0:0:0:0:7:443", "2001:db8:0:0:0:0:0:7"),
            ("\"198.51.100.7\"", "198.51.100.7"),
        ] {
            assert_ip(field, address);
        }
    }

    #[test]
    fn the_first_of_a_list_is_the_client() {
        for (field, address) in [
            ("203.0.113.9, 10.0.0.4", "203.0.113.9"),
            ("203.0.113.9,10.0.0.4,10.0.0.5", "203.0.113.9"),
            ("203.0.113.12:4455,+203.0.113.99:80", "203.0.113.12"),
            ("-, 203.0.113.9", "203.0.113.9"),
            (",203.0.113.9", "203.0.113.9"),
            ("unknown, 203.0.113.9", "203.0.113.9"),
            ("for=203.0.113.9;proto=https;by=10.0.0.4", "203.0.113.9"),
            (" [2001:db8::1]:80 , 10.0.0.4", "2001:db8::1"),
        ] {
            assert_ip(field, address);
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy() {
        let proxies: NetworkSet = ["10.0.0.0/8", "2001:db8::/32"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        for (field, address) in [
            ("203.0.113.9, 198.51.100.7, 10.0.0.4", Some("198.51.100.7")),
            (
                "203.0.113.9, 10.0.0.4:443, [2001:db8::1]:80",
                Some("203.0.113.9"),
            ),
            ("203.0.113.9", Some("203.0.113.9")),
            ("10.0.0.5, 10.0.0.4", Some("10.0.0.5")),
            ("203.0.113.9, -, unknown, 10.0.0.4", Some("203.0.113.9")),
            (
                "for=192.0.2.43;proto=http, FOR=\"[2001:db8:cafe::17]:4711\";by=10.0.0.1",
                Some("192.0.2.43"),
            ),
            ("", None),
            ("-, unknown", None),
        ] {
            let read = ClientAddress::outside(field.as_bytes(), &proxies);
            let expected = address.map(|address| ClientAddress::Ip(address.as_bytes()));
            assert_eq!(read, expected, "{field}");
        }
        let hidden = ClientAddress::outside(b"203.0.113.9, _hidden, 10.0.0.4", &proxies);
        assert!(hidden.is_some_and(|hidden| hidden.is_id()));
    }

    #[test]
    fn a_pseudonym_differs_by_its_id_and_is_shown_by_its_address() {
        let id = *b"0123456789abcdef";
        let ip = b"203.0.0.0";
        let pseudonym = ClientAddress::Pseudonym { ip, id };
        assert_eq!(
            (pseudonym.as_bytes(), pseudonym.shown()),
            (&id[..], &ip[..])
        );
        assert_eq!(pseudonym.ip(), Some(IpAddr::from([203, 0, 0, 0])));
        assert!(!pseudonym.is_id());
        let (only_ip, only_id) = (ClientAddress::Ip(ip), ClientAddress::Id(id));
        assert_eq!((only_ip.shown(), only_ip.as_bytes()), (&ip[..], &ip[..]));
        assert_eq!((only_id.shown(), only_id.ip()), (&id[..], None));
    }

    #[test]
    fn a_field_may_say_nothing() {
        for field in ["", "-", "\"-\"", "-, -", "unknown", " ", ","] {
            assert_eq!(ClientAddress::read(field.as_bytes()), None, "{field}");
        }
    }

    #[test]
    fn the_id_of_a_hashed_address_is_its_first_digits() {
        let id = b"0123456789abcdef";
        assert_id(b"0123456789ABCDEFfedcba9876543210", id);
        assert_id(b"ffffffffffffffff", b"ffffffffffffffff");
    }

    #[test]
    fn the_id_of_other_text_is_a_stable_hash() {
        // The published test vectors of FNV-1a.
        assert_id(b"foobar", b"85944171f73967e8");
        assert_id(b"a", b"af63dc4c8601ec8c");
        assert_id(b"foobar:5678", b"85944171f73967e8");
        for text in [
            "192.0.2.*",
            "192.0.2.xxx",
            "192.0.2.256",
            "192.0.2.01",
            "192.0.2",
            "192.0.2.1.2",
            "deadbeef",
            "radio.example.org",
            "sha256:0123456789abcdef",
            "_1",
            "[",
            "[192.0.2.1",
        ] {
            let read = ClientAddress::read(text.as_bytes());
            assert!(read.is_some_and(|read| read.is_id()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_field_is_an_address_or_an_id_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            dense in "[0-9a-f.:,+%\\[\\] x-]{0,40}",
        ) {
            for field in [&bytes[..], dense.as_bytes()] {
                let proxies = NetworkSet::default();
                prop_assert_eq!(
                    ClientAddress::outside(field, &proxies).is_some(),
                    ClientAddress::read(field).is_some()
                );
                match ClientAddress::read(field) {
                    Some(ClientAddress::Ip(address)) => {
                        prop_assert!(str::from_utf8(address).unwrap().parse::<IpAddr>().is_ok());
                    }
                    Some(ClientAddress::Id(digits) | ClientAddress::Pseudonym { id: digits, .. }) => {
                        let is_lower_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
                        prop_assert!(digits.iter().all(is_lower_hex));
                    }
                    None => {
                        let says_something = |byte: &u8| !b"-, \t+\"unkowUNKOW".contains(byte);
                        prop_assert!(!field.iter().any(says_something));
                    }
                }
            }
        }

        #[test]
        fn every_spelling_of_an_address_is_read(
            address in any::<IpAddr>(), port in any::<u16>(), others in "(, ?[0-9a-z.:]{0,9}){0,3}",
        ) {
            let text = address.to_string();
            let with_port = match address {
                IpAddr::V4(_) => format!("{text}:{port}"),
                IpAddr::V6(_) => format!("[{text}]:{port}"),
            };
            for spelling in [&text, &with_port] {
                let list = format!("{spelling}{others}");
                let read = ClientAddress::read(list.as_bytes());
                prop_assert_eq!(read, Some(ClientAddress::Ip(text.as_bytes())));
            }
        }
    }
}
