//! Decides who is a listener: not the source client, the administrator or a relay
//! (guide/listening.md, "Which lines").

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use crate::report::Reason;

/// Who counts as a listener.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// `--relay`: other servers that pass on the stream.
    pub relays: Vec<Network>,
    /// `--minimum-listening`, in seconds.
    pub min_seconds: u64,
    /// `--enable-icecast-admin`: keep lines of source clients and the server's own pages.
    pub keep_admin: bool,
}

/// The client behind a line that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// A listener, if method and status say so, too.
    Listener,
    /// A source client or a visitor of the server's own pages: a plain hit.
    Admin,
}

impl Audience {
    /// Judges a line before its duration is known. `method` is `None` if the format has no method.
    /// `path` has no query.
    ///
    /// # Errors
    ///
    /// The reason to drop the line.
    pub fn judge(
        &self,
        method: Option<&[u8]>,
        path: &[u8],
        ip: &[u8],
    ) -> Result<ClientRole, Reason> {
        if self.is_relay(ip) {
            return Err(Reason::Relay);
        }
        let reason = if matches!(method, Some(b"SOURCE" | b"PUT")) {
            Reason::SourceClient
        } else if is_admin_page(path) {
            Reason::AdminPage
        } else {
            return Ok(ClientRole::Listener);
        };
        if self.keep_admin {
            Ok(ClientRole::Admin)
        } else {
            Err(reason)
        }
    }

    /// Judges the length of a session, in seconds.
    ///
    /// # Errors
    ///
    /// It is shorter than `--minimum-listening`.
    pub fn judge_length(&self, seconds: u64) -> Result<(), Reason> {
        if seconds < self.min_seconds {
            Err(Reason::TooShort)
        } else {
            Ok(())
        }
    }

    fn is_relay(&self, ip: &[u8]) -> bool {
        if self.relays.is_empty() {
            return false;
        }
        let address = std::str::from_utf8(ip)
            .ok()
            .and_then(|text| text.parse::<IpAddr>().ok());
        address.is_some_and(|address| {
            let address = address.to_canonical();
            self.relays.iter().any(|relay| relay.0.contains(&address))
        })
    }
}

/// Matches `/admin/*` and `/status*.xsl`.
fn is_admin_page(path: &[u8]) -> bool {
    path.starts_with(b"/admin/") || (path.starts_with(b"/status") && path.ends_with(b".xsl"))
}

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

/// FNV-1a, because it is the same in every run, version and machine.
pub fn stable_hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(networks: &[&str]) -> Audience {
        Audience {
            relays: networks.iter().map(|text| text.parse().unwrap()).collect(),
            ..Audience::default()
        }
    }

    fn is_relay(network: &str, ip: &str) -> bool {
        let verdict = relays(&[network]).judge(Some(b"GET"), b"/live", ip.as_bytes());
        verdict == Err(Reason::Relay)
    }

    #[test]
    fn source_clients_and_server_pages_are_not_listeners() {
        let dropping = Audience::default();
        let keeping = Audience {
            keep_admin: true,
            ..Audience::default()
        };
        for (method, path, reason) in [
            ("SOURCE", "/live.mp3", Reason::SourceClient),
            ("PUT", "/live.mp3", Reason::SourceClient),
            ("GET", "/admin/stats.xml", Reason::AdminPage),
            ("GET", "/admin/", Reason::AdminPage),
            ("GET", "/status.xsl", Reason::AdminPage),
            ("GET", "/status2.xsl", Reason::AdminPage),
            ("GET", "/status-json.xsl", Reason::AdminPage),
            ("POST", "/status_version.xsl", Reason::AdminPage),
        ] {
            let judge = |audience: &Audience| {
                audience.judge(Some(method.as_bytes()), path.as_bytes(), b"192.0.2.1")
            };
            assert_eq!(judge(&dropping), Err(reason), "{method} {path}");
            assert_eq!(judge(&keeping), Ok(ClientRole::Admin), "{method} {path}");
        }
    }

    #[test]
    fn everyone_else_may_be_a_listener() {
        let audience = Audience::default();
        for path in [
            "/live.mp3",
            "/adminradio",
            "/admin",
            "/live/admin/",
            "/status",
            "/status.mp3",
            "/my/status.xsl",
            "/",
            "",
        ] {
            for method in [Some(&b"GET"[..]), Some(b"HEAD"), Some(b"source"), None] {
                assert_eq!(
                    audience.judge(method, path.as_bytes(), b"192.0.2.1"),
                    Ok(ClientRole::Listener),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn relays_are_addresses_or_networks_of_ipv4_and_ipv6() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("10.1.2.3/8", "10.9.9.9", "11.0.0.1"),
            ("2001:db8::1", "2001:db8:0:0::1", "2001:db8::2"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            assert!(is_relay(network, inside), "{network} contains {inside}");
            assert!(
                !is_relay(network, outside),
                "{network} does not contain {outside}"
            );
        }
    }

    #[test]
    fn all_relays_are_dropped_even_if_admin_lines_are_kept() {
        let mut audience = relays(&["192.0.2.1", "10.0.0.0/8"]);
        audience.keep_admin = true;
        assert_eq!(
            audience.judge(None, b"/admin/stats.xml", b"10.0.0.1"),
            Err(Reason::Relay)
        );
        assert_eq!(
            audience.judge(None, b"/live", b"192.0.2.1"),
            Err(Reason::Relay)
        );
        assert_eq!(
            audience.judge(None, b"/live", b"192.0.2.2"),
            Ok(ClientRole::Listener)
        );
    }

    #[test]
    fn text_that_is_not_an_address_is_not_a_relay() {
        for ip in [
            "-",
            "",
            "0123456789abcdef0123456789abcdef",
            "192.0.2.*",
            "radio.example.org",
        ] {
            assert!(!is_relay("0.0.0.0/0", ip), "{ip}");
        }
        assert!(
            relays(&["0.0.0.0/0"])
                .judge(None, b"/live", b"\xff\xfe")
                .is_ok()
        );
    }

    #[test]
    fn text_that_is_not_a_network_is_refused_with_examples() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "radio.example.org",
            "[::1]",
            "10.0.0.1 ",
            "10.0.0.*",
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(
                error.contains(&format!("'{text}'")) && error.contains("10.0.0.0/8"),
                "{error}"
            );
        }
    }

    #[test]
    fn sessions_shorter_than_the_minimum_are_filtered() {
        let audience = Audience {
            min_seconds: 60,
            ..Audience::default()
        };
        assert_eq!(audience.judge_length(59), Err(Reason::TooShort));
        assert_eq!(audience.judge_length(60), Ok(()));
        assert_eq!(Audience::default().judge_length(0), Ok(()));
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published test vectors.
        assert_eq!(stable_hash(*b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(stable_hash(*b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
