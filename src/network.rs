//! IP networks that users name in options.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// An IP address or network, as in `--relay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| {
                format!(
                    "'{text}' is not an IP address or network; \
                     examples: 192.0.2.1, 10.0.0.0/8, 2001:db8::/32"
                )
            })?;
        Ok(Self(canonical(network)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Converts an IPv4 network that is written as IPv6 (`::ffff:10.0.0.0/104`) to IPv4, because
/// addresses are converted before they are compared.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6
            .prefix_len()
            .checked_sub(96)
            .zip(v6.addr().to_ipv4_mapped()),
        IpNet::V4(_) => None,
    };
    mapped
        .and_then(|(prefix, address)| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

/// Networks in which addresses are searched for. A search takes logarithmic time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// The first and the last address of each range, in ascending order. No two ranges overlap.
type Ranges<T> = Vec<(T, T)>;

impl NetworkSet {
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => is_in(&self.v4, u32::from(address)),
            IpAddr::V6(address) => is_in(&self.v6, u128::from(address)),
        }
    }

    /// The same for an address as text. Other text is in no network.
    pub fn contains_text(&self, address: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        // Nearly all addresses.
        if let Some(address) = ipv4(address) {
            return is_in(&self.v4, address);
        }
        let address = std::str::from_utf8(address).ok();
        let address = address.and_then(|address| address.parse().ok());
        address.is_some_and(|address| self.contains(address))
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let mut set = Self::default();
        for Network(network) in networks {
            match network {
                IpNet::V4(v4) => set.v4.push((v4.network().into(), v4.broadcast().into())),
                IpNet::V6(v6) => set.v6.push((v6.network().into(), v6.broadcast().into())),
            }
        }
        merge(&mut set.v4);
        merge(&mut set.v6);
        set
    }
}

fn is_in<T: Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

/// Sorts ranges, and joins those that overlap.
fn merge<T: Ord + Copy>(ranges: &mut Ranges<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|range, before| {
        let overlaps = range.0 <= before.1;
        if overlaps {
            before.1 = before.1.max(range.1);
        }
        overlaps
    });
}

/// Reads an IPv4 address as the standard library does. Faster.
fn ipv4(text: &[u8]) -> Option<u32> {
    let (mut address, mut dots, mut part, mut digits) = (0, 0, 0, 0);
    for byte in text {
        match byte {
            b'0'..=b'9' if digits == 0 || part > 0 => {
                part = part * 10 + u32::from(byte - b'0');
                digits += 1;
                if part > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && dots < 3 => {
                address = address << 8 | part;
                dots += 1;
                (part, digits) = (0, 0);
            }
            _ => return None,
        }
    }
    (dots == 3 && digits > 0).then_some(address << 8 | part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        networks.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn contains(networks: &[&str], address: &str) -> bool {
        set(networks).contains_text(address.as_bytes())
    }

    #[test]
    fn addresses_and_networks_contain_their_addresses() {
        let networks = ["198.51.100.7", "10.1.2.3/8", "2001:db8::/32"];
        for inside in [
            "198.51.100.7",
            "10.0.0.0",
            "10.255.255.255",
            "::ffff:10.1.1.1",
            "2001:db8:ffff::1",
        ] {
            assert!(contains(&networks, inside), "{inside}");
        }
        for outside in [
            "198.51.100.8",
            "9.255.255.255",
            "11.0.0.0",
            "2001:db9::",
            "",
            "-",
            "10.0.0.1:80",
            "radio",
        ] {
            assert!(!contains(&networks, outside), "{outside}");
        }
        assert!(contains(&["::ffff:192.0.2.0/120"], "192.0.2.9"));
        assert!(contains(&["0.0.0.0/0"], "203.0.113.9"));
        assert!(!contains(&["0.0.0.0/0"], "2001:db8::1"));
        assert!(!contains(&[], "203.0.113.9"));
    }

    #[test]
    fn other_text_is_no_network() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "*.example.com"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ipv4_addresses_are_read_like_the_standard_library(
            address in any::<std::net::Ipv4Addr>(), text in "[0-9.]{0,16}", near in "([0-9]{1,3}\\.?){4}",
        ) {
            for text in [address.to_string(), text, near] {
                let expected = text.parse::<std::net::Ipv4Addr>().ok().map(u32::from);
                prop_assert_eq!(ipv4(text.as_bytes()), expected, "{}", text);
            }
        }

        #[test]
        fn a_set_contains_what_any_of_its_networks_contains(
            networks in prop::collection::vec((any::<IpAddr>(), 0..=128_u8), 0..40),
            few_bits in prop::collection::vec((0..256_u32, 24..=32_u8), 0..40),
            addresses in prop::collection::vec(any::<IpAddr>(), 20),
            near in prop::collection::vec(0..256_u32, 20),
        ) {
            let v4 = |bits: u32| IpAddr::V4(bits.into());
            let few = few_bits.into_iter().map(|(bits, length)| (v4(bits), length));
            let networks: Vec<IpNet> = networks
                .into_iter()
                .chain(few)
                .filter_map(|(address, length)| IpNet::new(address, length).ok())
                .map(canonical)
                .collect();
            let set: NetworkSet = networks.iter().copied().map(Network).collect();
            for address in addresses.into_iter().chain(near.into_iter().map(v4)) {
                let address = address.to_canonical();
                let expected = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(set.contains(address), expected, "{}", address);
            }
        }
    }
}
