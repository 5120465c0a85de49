//! What is sent differs from what is logged: options that change a hit after the filters have seen
//! its request; see guide/requests.md, "Parameters of a query" and guide/requests.md, "Privacy".

use std::borrow::Cow;
use std::net::IpAddr;

use bumpalo::Bump;

use super::address::{ClientAddress, hexadecimal};
use super::host::{authority, normalize};
use super::query::QueryFilter;
use super::{Event, Hit, LoggedRequest, Site};
use crate::privacy::{AddressMask, VisitorKey, read_v4};

/// What to change in hits that passed the filters.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// `--drop-query` or `--keep-query`.
    pub query: Option<QueryFilter>,
    pub privacy: Option<Privacy>,
}

/// What is hidden of visitors.
#[derive(Clone, Debug)]
pub struct Privacy {
    /// `--anonymize-ip`: of all addresses that are sent or written.
    pub mask: AddressMask,
    /// `--privacy=cnil`: the key of visitor ids. Without it, visitors have no ids.
    pub visitors: Option<VisitorKey>,
}

/// Addresses that are kept per line. A line with more counts every address as its own.
const MAX_OWN_ADDRESSES: usize = 16;

/// The addresses in the address fields of a line: those of its client, proxies and connection. None
/// of them is sent as it is.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    addresses: Vec<IpAddr>,
    /// The line has more than [`MAX_OWN_ADDRESSES`].
    are_too_many: bool,
}

impl Rewrite {
    /// Changes the texts of a request. `own` are the addresses of its line.
    pub(super) fn request<'a>(
        &self,
        request: &mut LoggedRequest<'a>,
        own: &OwnAddresses,
        site: &Site,
        arena: &'a Bump,
    ) {
        if let Some(query) = &self.query {
            request.query = query.cut(request.query, arena);
            if is_own_page(request, site, arena) {
                request.referrer = query.cut_url(request.referrer, arena);
            }
        }
        if let Some(privacy) = &self.privacy {
            if privacy.visitors.is_some() {
                request.path = before_query(request.path);
                request.query = b"";
                request.referrer = host_of_referrer(request.referrer, arena);
            }
            privacy.mask_request(request, own, arena);
        }
    }
}

impl Privacy {
    /// Masks addresses in a request. Those of its own line are masked everywhere. Others are masked
    /// in queries, where they are hardly anything else, and in paths if they cannot be a version.
    fn mask_request<'a>(
        &self,
        request: &mut LoggedRequest<'a>,
        own: &OwnAddresses,
        arena: &'a Bump,
    ) {
        let is_own = |address: Option<IpAddr>| own.contains(address);
        let is_own_or_v6 = |address: Option<IpAddr>| {
            own.contains(address) || address.is_some_and(|address| address.is_ipv6())
        };
        let referrer = request.referrer;
        let (page, query) = referrer.split_at(before_query(referrer).len());
        request.host = request.host.map(|host| self.masked(host, is_own, arena));
        request.path = self.masked(request.path, is_own_or_v6, arena);
        request.query = self.masked(request.query, |_| true, arena);
        request.user_agent = self.masked(request.user_agent, is_own, arena);
        let masked_page = self.masked(page, is_own, arena);
        let masked_query = self.masked(query, |_| true, arena);
        if (masked_page, masked_query) != (page, query) {
            request.referrer = arena.alloc_slice_copy(&[masked_page, masked_query].concat());
        }
    }

    /// Masks what identifies the visitor of a hit.
    pub(super) fn hit<'a>(&self, hit: &mut Hit<'a>, own: &OwnAddresses, arena: &'a Bump) {
        let is_own = |address: Option<IpAddr>| own.contains(address);
        hit.address = self.address(hit, arena);
        hit.userid = match self.visitors {
            Some(_) => None,
            None => hit.userid.map(|user| self.masked(user, |_| true, arena)),
        };
        let masked = |text| self.masked(text, is_own, arena);
        hit.event = hit.event.map(|event| Event {
            category: masked(event.category),
            action: masked(event.action),
            name: event.name.map(masked),
        });
    }

    fn address<'a>(&self, hit: &Hit<'a>, arena: &'a Bump) -> ClientAddress<'a> {
        let id = |visitor: &[u8]| {
            let day = hit.site.calendar.day(hit.time);
            let agent = hit.request.user_agent;
            let key = self.visitors.as_ref()?;
            Some(hexadecimal(key.id(&hit.site.id, day, visitor, agent)))
        };
        let Some(address) = hit.address.ip() else {
            return id(hit.address.as_bytes()).map_or(hit.address, ClientAddress::Id);
        };
        let ip = arena
            .alloc_str(&self.mask.apply(address).to_string())
            .as_bytes();
        let id = match address.to_canonical() {
            IpAddr::V4(address) => id(&address.octets()),
            IpAddr::V6(address) => id(&address.octets()),
        };
        match id {
            Some(id) => ClientAddress::Pseudonym { ip, id },
            None => ClientAddress::Ip(ip),
        }
    }

    fn masked<'a>(
        &self,
        text: &'a [u8],
        is_wanted: impl Fn(Option<IpAddr>) -> bool,
        arena: &'a Bump,
    ) -> &'a [u8] {
        match self.mask.mask_text_if(text, is_wanted) {
            Cow::Borrowed(text) => text,
            Cow::Owned(masked) => arena.alloc_slice_copy(&masked),
        }
    }
}

impl OwnAddresses {
    /// Adds the addresses in a field, which may be a list.
    pub fn add(&mut self, field: &[u8]) {
        for entry in field.split(|byte| *byte == b',') {
            let address = ClientAddress::read(entry).and_then(|client| client.ip());
            let address = address.or_else(|| read_v4(entry.trim_ascii()).map(IpAddr::V4));
            let Some(address) = address else {
                continue;
            };
            if self.addresses.len() == MAX_OWN_ADDRESSES {
                self.are_too_many = true;
                return;
            }
            self.addresses.push(address.to_canonical());
        }
    }

    /// Whether a text that looks like an address is one of these.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        let is_one = |address: IpAddr| self.addresses.contains(&address.to_canonical());
        self.are_too_many || address.is_some_and(is_one)
    }
}

/// What precedes a query and a fragment.
fn before_query(url: &[u8]) -> &[u8] {
    &url[..memchr::memchr2(b'?', b'#', url).unwrap_or(url.len())]
}

/// Scheme and host of a referrer, and the path `/`: `https://www.example.com/`. Empty if it has no
/// host.
fn host_of_referrer<'a>(referrer: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    let (scheme, rest) = match memchr::memmem::find(referrer, b"://") {
        Some(at) => referrer.split_at(at + 3),
        // Some servers log it without.
        None => (&b""[..], referrer),
    };
    let end = rest.iter().position(|byte| b"/\\?#".contains(byte));
    let authority = &rest[..end.unwrap_or(rest.len())];
    let host = authority.rsplit(|byte| *byte == b'@').next();
    let host = host.unwrap_or_default();
    let is_of_host =
        |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte) || *byte > 0x7f;
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.:/".contains(byte);
    match host.is_empty() || !host.iter().all(is_of_host) || !scheme.iter().all(is_of_scheme) {
        true => b"",
        false => arena.alloc_slice_copy(&[scheme, host, b"/"].concat()),
    }
}

/// Whether the referrer is a page of the host that the request is for.
fn is_own_page(request: &LoggedRequest, site: &Site, arena: &Bump) -> bool {
    let host = request.host.filter(|host| !host.is_empty());
    let main_url = site.main_url.as_deref().map(str::as_bytes);
    let (Some(own), Some(other)) = (host.or(main_url), authority(request.referrer)) else {
        return false;
    };
    // `--log-hostname` may be a URL.
    let own = authority(own).unwrap_or(own);
    normalize(own, arena) == normalize(other, arena)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_host(referrer: &str, expected: &str) {
        let arena = Bump::new();
        let host = host_of_referrer(referrer.as_bytes(), &arena);
        assert_eq!(str::from_utf8(host), Ok(expected), "{referrer}");
    }

    #[test]
    fn a_referrer_is_cut_to_its_host() {
        for (referrer, expected) in [
            (
                "https://search.example/search?q=me#x",
                "https://search.example/",
            ),
            ("https://search.example", "https://search.example/"),
            ("https://search.example?q=me", "https://search.example/"),
            ("https://joe:pw@a.example:8443/x", "https://a.example:8443/"),
            ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80/"),
            ("android-app://com.example/x", "android-app://com.example/"),
            (
                "https://m\u{fc}nchen.example/x",
                "https://m\u{fc}nchen.example/",
            ),
            ("www.example.com/x?y", "www.example.com/"),
            ("", ""),
            ("/only/a/path", ""),
            ("file:///home/joe", ""),
            ("me and my address", ""),
            ("q=me://host/", ""),
        ] {
            assert_host(referrer, expected);
        }
    }

    #[test]
    fn the_addresses_of_a_line_are_those_in_its_lists() {
        let mut own = OwnAddresses::default();
        own.add(b"203.0.113.9, for=198.51.100.7, [2001:db8::1]:443, unknown, -, 192.0.2.x");
        own.add(b"::ffff:192.0.2.1");
        for address in [
            "203.0.113.9",
            "198.51.100.7",
            "2001:db8::1",
            "192.0.2.1",
            "::ffff:203.0.113.9",
        ] {
            assert!(own.contains(address.parse().ok()), "{address}");
        }
        assert!(!own.contains("192.0.2.2".parse().ok()));
        assert!(!own.contains(None));
    }

    #[test]
    fn all_addresses_belong_to_a_line_that_has_too_many() {
        let mut own = OwnAddresses::default();
        let list: Vec<String> = (0..=MAX_OWN_ADDRESSES)
            .map(|number| format!("192.0.2.{number}"))
            .collect();
        own.add(list.join(",").as_bytes());
        assert_eq!(own.addresses.len(), MAX_OWN_ADDRESSES);
        assert!(own.contains("203.0.113.9".parse().ok()) && own.contains(None));
    }

    proptest! {
        #[test]
        fn any_referrer_becomes_a_host_or_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..40), dense in "[a:/@?#.\\\\-]{0,20}",
        ) {
            for referrer in [&bytes[..], dense.as_bytes()] {
                let arena = Bump::new();
                let host = host_of_referrer(referrer, &arena);
                prop_assert!(host.is_empty() || host.ends_with(b"/"));
                prop_assert_eq!(host_of_referrer(host, &arena), host);
            }
        }
    }
}
