//! Masks addresses as Matomo does: their end is set to zero.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How much of an address is removed, as in the setting of Matomo's anonymizer: the number of bytes
/// of an IPv4 address, from 0 to 4. Of an IPv6 address, 64, 48 or 24 bits stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressMask(u8);

impl AddressMask {
    /// Without anonymization, and the masks that leave a part of the address.
    pub const PARTIAL: [Self; 4] = [Self(0), Self(1), Self(2), Self(3)];
    pub const DEFAULT: Self = Self(2);
    /// Removes the whole address. All visits of a site have the same one then.
    pub const WHOLE: Self = Self(4);

    /// A mask that leaves a part of the address: of 1 to 3 bytes.
    pub fn of_bytes(bytes: u8) -> Option<Self> {
        (1..=3).contains(&bytes).then_some(Self(bytes))
    }

    /// The number of bytes that an IPv4 address loses.
    pub fn v4_bytes(self) -> usize {
        usize::from(self.0)
    }

    /// The address as Matomo stores it.
    pub fn apply(self, address: IpAddr) -> IpAddr {
        let bytes = u32::from(self.0);
        match address {
            IpAddr::V4(address) => {
                IpAddr::V4(Ipv4Addr::from_bits(keep32(address.to_bits(), bytes)))
            }
            // An IPv4 address in IPv6 notation keeps its prefix.
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
                let bits = address.to_bits();
                let low = keep32(bits as u32, bytes);
                IpAddr::V6(Ipv6Addr::from_bits(bits >> 32 << 32 | u128::from(low)))
            }
            IpAddr::V6(address) => {
                let removed = [0, 64, 80, 104, 128][usize::from(self.0)];
                let mask = u128::MAX.checked_shl(removed).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }
}

fn keep32(bits: u32, removed_bytes: u32) -> u32 {
    bits & u32::MAX.checked_shl(8 * removed_bytes).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_masked(address: &str, expected: [&str; 5]) {
        let address: IpAddr = address.parse().unwrap();
        let masks = AddressMask::PARTIAL.into_iter().chain([AddressMask::WHOLE]);
        for (mask, expected) in masks.zip(expected) {
            assert_eq!(mask.apply(address).to_string(), expected, "{mask:?}");
        }
    }

    #[test]
    fn addresses_lose_bytes_at_their_end() {
        assert_masked(
            "203.0.113.7",
            [
                "203.0.113.7",
                "203.0.113.0",
                "203.0.0.0",
                "203.0.0.0",
                "0.0.0.0",
            ],
        );
        assert_masked(
            "9.8.7.6",
            ["9.8.7.6", "9.8.7.0", "9.8.0.0", "9.0.0.0", "0.0.0.0"],
        );
    }

    #[test]
    fn ipv6_addresses_keep_64_48_or_24_bits() {
        assert_masked(
            "2001:db8:1:2:3:4:5:6",
            [
                "2001:db8:1:2:3:4:5:6",
                "2001:db8:1:2::",
                "2001:db8:1::",
                "2001:d00::",
                "::",
            ],
        );
    }

    #[test]
    fn ipv4_in_ipv6_notation_is_masked_as_ipv4() {
        assert_masked(
            "::ffff:203.0.113.7",
            [
                "::ffff:203.0.113.7",
                "::ffff:203.0.113.0",
                "::ffff:203.0.0.0",
                "::ffff:203.0.0.0",
                "::ffff:0.0.0.0",
            ],
        );
    }
}
