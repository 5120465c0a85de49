//! Hits that Matomo leaves out on purpose, by the settings that its API shows.

use std::net::IpAddr;

use super::api::{Api, ApiSite};

/// Addresses and user agents whose hits Matomo does not store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    addresses: Vec<AddressRange>,
    /// In lower case.
    agents: Vec<String>,
}

/// All addresses with these first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddressRange {
    address: IpAddr,
    bits: u32,
}

impl Exclusions {
    /// The settings of a site, with those for all sites if the token may see them.
    pub fn of_site(api: &Api, site: &ApiSite) -> Self {
        let (addresses, agents) = api.global_exclusions().unwrap_or_default();
        let mut exclusions = Self::default();
        exclusions.add(&addresses, &agents);
        exclusions.add(
            site.excluded_ips.as_deref().unwrap_or_default(),
            site.excluded_user_agents.as_deref().unwrap_or_default(),
        );
        exclusions
    }

    /// Adds lists separated by commas.
    fn add(&mut self, addresses: &str, agents: &str) {
        let parts = |list: &'_ str| -> Vec<String> {
            let parts = list.split(',').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            parts.map(str::to_lowercase).collect()
        };
        let ranges = parts(addresses);
        self.addresses
            .extend(ranges.iter().filter_map(|text| AddressRange::parse(text)));
        self.agents.extend(parts(agents));
    }

    /// The setting that excludes a hit.
    pub fn reason(&self, address: Option<IpAddr>, agent: &str) -> Option<&'static str> {
        let agent = agent.to_lowercase();
        if address.is_some_and(|address| self.addresses.iter().any(|it| it.contains(address))) {
            return Some("excluded address");
        }
        let is_excluded = self.agents.iter().any(|part| agent.contains(part));
        is_excluded.then_some("excluded user agent")
    }
}

impl AddressRange {
    /// Parses `192.0.2.1`, `192.0.2.0/24`, `192.0.*.*` and the like.
    fn parse(text: &str) -> Option<Self> {
        let wildcards = u32::try_from(text.matches('*').count()).ok()?;
        if wildcards > 0 {
            let address = text.replace('*', "0").parse().ok()?;
            let bits = 32u32.checked_sub(8 * wildcards)?;
            return matches!(address, IpAddr::V4(_)).then_some(Self { address, bits });
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, bits.parse().ok()?),
            None => (text.parse().ok()?, 128),
        };
        Some(Self { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let mask = |width: u32| {
            let removed = width.saturating_sub(self.bits);
            u128::MAX.checked_shl(removed).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(own.to_bits() ^ other.to_bits()) & mask(32) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) & mask(128) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(address: &str, agent: &str) -> Option<&'static str> {
        let mut exclusions = Exclusions::default();
        exclusions.add(
            "192.0.2.1, 198.51.*.*,203.0.113.0/28,10.0.0.0/8,2001:db8::/32,*.1.2.3,nonsense",
            "Monitor, curl/7",
        );
        exclusions.reason(address.parse().ok(), agent)
    }

    #[test]
    fn addresses_are_excluded_one_by_one_and_in_ranges() {
        for excluded in [
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.15",
            "10.9.8.7",
            "2001:db8:1::1",
        ] {
            assert_eq!(reason(excluded, "Firefox"), Some("excluded address"));
        }
        for other in [
            "192.0.2.2",
            "198.52.0.1",
            "203.0.113.16",
            "11.0.0.1",
            "2001:db9::1",
            "-",
        ] {
            assert_eq!(reason(other, "Firefox"), None, "{other}");
        }
    }

    #[test]
    fn user_agents_are_excluded_by_their_parts() {
        assert_eq!(reason("-", "A MONITOR 1.0"), Some("excluded user agent"));
        assert_eq!(reason("-", "curl/7.88"), Some("excluded user agent"));
        assert_eq!(reason("-", "curl/8"), None);
        assert_eq!(Exclusions::default().reason(None, ""), None);
    }
}
