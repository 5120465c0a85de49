//! Decides who is a listener: not the source client, the administrator, a relay or a reader of
//! playlists (guide/listening.md, "Which lines").

use super::mount::{StreamServer, page};
use crate::network::NetworkSet;
use crate::report::Reason;

/// Who counts as a listener.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// `--relay`: other servers that pass on the stream.
    pub relays: NetworkSet,
    /// `--minimum-listening`, in seconds.
    pub min_seconds: u64,
    /// `--enable-icecast-admin`: keep lines that are no connections of listeners: those of source
    /// clients, of the server's own pages and playlists, and of other methods.
    pub keep_admin: bool,
    /// `--enable-relays`: a relay that only its user agent shows counts as a listener.
    pub keep_relay_agents: bool,
}

/// What [`Audience::judge`] needs to know of a line.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    pub server: StreamServer,
    /// `None` if the format has no method.
    pub method: Option<&'a [u8]>,
    /// Without the query.
    pub path: &'a [u8],
    pub ip: &'a [u8],
    pub user_agent: &'a [u8],
}

/// The client behind a line that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// A listener, if method and status say so, too.
    Listener,
    /// A source client or a visitor of the server's own pages: a plain hit.
    Admin,
}

impl ClientRequest<'_> {
    /// Why this is no connection to a mount point. `None` if it is one.
    fn no_connection(&self) -> Option<Reason> {
        match self.method {
            Some(b"SOURCE" | b"PUT") => Some(Reason::SourceClient),
            Some(b"HEAD" | b"OPTIONS" | b"STATS") => Some(Reason::NoStream),
            _ => page(self.server, self.path),
        }
    }

    /// Whether this asks for a stream, as a listener or not.
    pub fn is_connection(&self) -> bool {
        self.no_connection().is_none()
    }
}

impl Audience {
    /// Judges a line before its duration is known.
    ///
    /// # Errors
    ///
    /// The reason to drop the line.
    pub fn judge(&self, request: &ClientRequest) -> Result<ClientRole, Reason> {
        if self.relays.contains_text(request.ip) {
            return Err(Reason::Relay);
        }
        if !self.keep_relay_agents && is_relay_agent(request.user_agent) {
            return Err(Reason::RelayAgent);
        }
        match request.no_connection() {
            None => Ok(ClientRole::Listener),
            Some(_) if self.keep_admin => Ok(ClientRole::Admin),
            Some(reason) => Err(reason),
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
}

/// Whether a user agent is that of a streaming server, which passes on the stream: `Icecast 2.4.4`,
/// `icecast2`, `Steamcast/1.0`, `SHOUTcast DNAS/...`. A player may have such a word in its name.
fn is_relay_agent(user_agent: &[u8]) -> bool {
    // Most others are known by their first letter.
    if !matches!(user_agent.first(), Some(b'i' | b'I' | b's' | b'S')) {
        return false;
    }
    let after = |name: &[u8]| {
        let (begin, rest) = user_agent.split_at_checked(name.len())?;
        begin.eq_ignore_ascii_case(name).then_some(rest)
    };
    if let Some(rest) = after(b"icecast").or_else(|| after(b"steamcast")) {
        let version = rest.trim_ascii_start();
        let version = version.strip_prefix(b"/").unwrap_or(version);
        let is_kh = version.len() >= 3 && version[..3].eq_ignore_ascii_case(b"-kh");
        return is_kh || version.first().is_none_or(u8::is_ascii_digit);
    }
    let is_dnas = |rest: &[u8]| {
        let rest = rest.to_ascii_lowercase();
        let mut names = ["dnas", "distributed network audio server"].iter();
        names.any(|name| memchr::memmem::find(&rest, name.as_bytes()).is_some())
    };
    after(b"shoutcast").is_some_and(is_dnas)
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
    use crate::network::Network;

    fn relays(networks: &[&str]) -> Audience {
        Audience {
            relays: networks.iter().map(|text| text.parse().unwrap()).collect(),
            ..Audience::default()
        }
    }

    const PLAYER: &[u8] = b"VLC/3.0.20 LibVLC/3.0.20";

    fn request<'a>(method: Option<&'a str>, path: &'a str, ip: &'a str) -> ClientRequest<'a> {
        ClientRequest {
            server: StreamServer::Icecast,
            method: method.map(str::as_bytes),
            path: path.as_bytes(),
            ip: ip.as_bytes(),
            user_agent: PLAYER,
        }
    }

    fn is_relay(network: &str, ip: &str) -> bool {
        let verdict = relays(&[network]).judge(&request(Some("GET"), "/live", ip));
        verdict == Err(Reason::Relay)
    }

    #[test]
    fn source_clients_pages_and_other_methods_are_no_connections() {
        let dropping = Audience::default();
        let keeping = Audience {
            keep_admin: true,
            ..Audience::default()
        };
        for (method, path, reason) in [
            ("SOURCE", "/live.mp3", Reason::SourceClient),
            ("PUT", "/live.mp3", Reason::SourceClient),
            ("HEAD", "/live.mp3", Reason::NoStream),
            ("OPTIONS", "/live.mp3", Reason::NoStream),
            ("STATS", "/", Reason::NoStream),
            ("GET", "/", Reason::WebFile),
            ("GET", "/index.html", Reason::WebFile),
            ("GET", "/live.m3u", Reason::Playlist),
            ("GET", "/admin/stats.xml", Reason::AdminPage),
            ("GET", "/admin/", Reason::AdminPage),
            ("GET", "/status.xsl", Reason::AdminPage),
            ("POST", "/status_version.xsl", Reason::AdminPage),
        ] {
            let request = request(Some(method), path, "192.0.2.1");
            assert_eq!(dropping.judge(&request), Err(reason), "{method} {path}");
            assert_eq!(
                keeping.judge(&request),
                Ok(ClientRole::Admin),
                "{method} {path}"
            );
            assert!(!request.is_connection());
        }
    }

    #[test]
    fn everyone_else_may_be_a_listener() {
        let audience = Audience::default();
        for path in ["/live.mp3", "/adminradio", "/admin", "/status-quo.mp3"] {
            for method in [
                Some("GET"),
                Some("POST"),
                Some("source"),
                Some("head"),
                None,
            ] {
                let request = request(method, path, "192.0.2.1");
                assert_eq!(audience.judge(&request), Ok(ClientRole::Listener), "{path}");
                assert!(request.is_connection());
            }
        }
    }

    #[test]
    fn user_agents_of_streaming_servers_are_those_of_relays() {
        let verdict = |agent: &str, keep_relay_agents| {
            let audience = Audience {
                keep_relay_agents,
                ..Audience::default()
            };
            audience.judge(&ClientRequest {
                user_agent: agent.as_bytes(),
                ..request(Some("GET"), "/live", "192.0.2.1")
            })
        };
        for agent in [
            "Icecast 2.4.4",
            "Icecast 2.4.0-kh15",
            "Icecast/2.5",
            "icecast2",
            "ICECAST",
            "Icecast-KH 2.4",
            "Icecast-kh",
            "Steamcast/1.0",
            "SHOUTcast DNAS/posix(linux x64) v2.6.1.777",
            "Shoutcast/2.6 (DNAS)",
            "SHOUTcast Distributed Network Audio Server/Linux v1.9.8",
        ] {
            assert_eq!(verdict(agent, false), Err(Reason::RelayAgent), "{agent}");
            assert_eq!(verdict(agent, true), Ok(ClientRole::Listener), "{agent}");
        }
        for agent in [
            "",
            "-",
            "IcecastPlayer/1.0",
            "Icecast Radio/2",
            "Icecast-Player",
            "My Icecast 2.4.4",
            "Steamcaster/1",
            "SHOUTcast Radio/3.1 (iPhone)",
            "WinampMPEG/5.9, Ultravox/2.1",
            "StreamTheWorld/1.0",
            "ice",
        ] {
            assert_eq!(verdict(agent, false), Ok(ClientRole::Listener), "{agent}");
        }
    }

    #[test]
    fn relays_of_the_options_are_dropped_even_if_other_relays_are_kept() {
        let mut audience = relays(&["192.0.2.1"]);
        audience.keep_relay_agents = true;
        let request = request(None, "/live", "192.0.2.1");
        assert_eq!(audience.judge(&request), Err(Reason::Relay));
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
        let judge = |path, ip| audience.judge(&request(None, path, ip));
        assert_eq!(judge("/admin/stats.xml", "10.0.0.1"), Err(Reason::Relay));
        assert_eq!(judge("/live", "192.0.2.1"), Err(Reason::Relay));
        assert_eq!(judge("/live", "192.0.2.2"), Ok(ClientRole::Listener));
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
        let garbled = ClientRequest {
            ip: b"\xff\xfe",
            ..request(None, "/live", "")
        };
        assert!(relays(&["0.0.0.0/0"]).judge(&garbled).is_ok());
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
