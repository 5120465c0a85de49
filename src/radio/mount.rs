//! What a path on a streaming server is: a mount point, or a page or file of the server's own
//! (guide/listening.md, "Which lines").

use crate::report::Reason;

/// The server that wrote a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamServer {
    Icecast,
    Shoutcast,
}

impl StreamServer {
    /// The server whose log has this format. `None` for other formats.
    pub fn of(format: &str) -> Option<Self> {
        match format {
            "icecast2" => Some(Self::Icecast),
            "shoutcast" => Some(Self::Shoutcast),
            _ => None,
        }
    }
}

/// The name of a mount point: the path without doubled slashes at its beginning, without slashes
/// at its end, and without a semicolon and what follows it, which players append for SHOUTcast.
///
/// `path` has no query.
pub fn mount_point(path: &[u8]) -> &[u8] {
    let mut mount = without_doubled_slashes(path);
    // Faster than memchr, because names are short.
    if let Some(semicolon) = mount.iter().position(|byte| *byte == b';') {
        mount = &mount[..semicolon];
    }
    while let [rest @ .., b'/'] = mount {
        mount = rest;
    }
    if mount.is_empty() { b"/" } else { mount }
}

/// Why a request for this path is no connection to a stream. `None`: it is a mount point.
pub(super) fn page(server: StreamServer, path: &[u8]) -> Option<Reason> {
    let mount = mount_point(path);
    let is_admin = without_doubled_slashes(path).starts_with(b"/admin/")
        || matches!(mount, b"/status" | b"/stats")
        || (mount.starts_with(b"/status") && mount.ends_with(b".xsl"));
    // SHOUTcast streams from there.
    let is_front_page = mount == b"/" && server == StreamServer::Icecast;
    if is_admin {
        Some(Reason::AdminPage)
    } else if is_front_page {
        Some(Reason::WebFile)
    } else {
        let dot = mount.iter().rposition(|byte| *byte == b'.');
        dot.and_then(|dot| file_of_server(&mount[dot + 1..]))
    }
}

/// What a file with this extension, in any case, is if it is not a stream.
fn file_of_server(extension: &[u8]) -> Option<Reason> {
    const MAX_LENGTH: usize = 5;
    let mut lower = [0; MAX_LENGTH];
    let lower = lower.get_mut(..extension.len())?;
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    match &*lower {
        // Web pages and their parts.
        b"html" | b"htm" | b"css" | b"js" | b"json" | b"xml" | b"xsl" | b"ico" | b"png"
        | b"jpg" | b"jpeg" | b"gif" | b"svg" | b"webp" | b"bmp" | b"avif" => Some(Reason::WebFile),
        // A player reads it before it connects.
        b"m3u" | b"m3u8" | b"pls" | b"xspf" | b"asx" => Some(Reason::Playlist),
        _ => None,
    }
}

fn without_doubled_slashes(path: &[u8]) -> &[u8] {
    let mut path = path;
    while path.starts_with(b"//") {
        path = &path[1..];
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAYLISTS: [&str; 5] = ["m3u", "m3u8", "pls", "xspf", "asx"];

    const WEB_FILES: [&str; 16] = [
        "html", "htm", "css", "js", "json", "xml", "xsl", "ico", "png", "jpg", "jpeg", "gif",
        "svg", "webp", "bmp", "avif",
    ];

    fn pages(path: &str) -> [Option<Reason>; 2] {
        [StreamServer::Icecast, StreamServer::Shoutcast].map(|server| page(server, path.as_bytes()))
    }

    #[test]
    fn a_mount_point_has_one_name_however_it_is_spelled() {
        for (mount, spellings) in [
            (
                "/live",
                &[
                    "/live",
                    "/live/",
                    "/live//",
                    "/live;",
                    "/live/;",
                    "/live;/",
                    "//live",
                    "///live/",
                    "/live;stream.mp3",
                    "/live/;stream.nsv",
                ][..],
            ),
            ("/", &["/", "//", "/;", "/;stream.mp3", ";", ""]),
            ("/a/b.mp3", &["/a/b.mp3", "//a/b.mp3/;"]),
            ("/a//b", &["/a//b"]),
            ("live", &["live", "live;"]),
            ("/Live.MP3", &["/Live.MP3"]),
        ] {
            for spelling in spellings {
                let found = mount_point(spelling.as_bytes());
                assert_eq!(found, mount.as_bytes(), "{spelling}");
            }
        }
    }

    #[test]
    fn pages_of_the_server_are_not_mount_points() {
        for path in [
            "/admin/",
            "/admin/stats.xml",
            "//admin/listclients",
            "/stats",
            "/stats/",
            "/status",
            "/status;",
            "/status.xsl",
            "/status2.xsl",
            "/status-json.xsl",
            "//status.xsl",
            "/status_version.xsl",
        ] {
            assert_eq!(pages(path), [Some(Reason::AdminPage); 2], "{path}");
        }
        let extensions = PLAYLISTS.iter().map(|known| (known, Reason::Playlist));
        let web_files = WEB_FILES.iter().map(|known| (known, Reason::WebFile));
        for (extension, reason) in extensions.chain(web_files) {
            for path in [
                format!("/live.{extension}"),
                format!("/live.mp3.{}", extension.to_uppercase()),
                format!("//a/b.{extension}/;"),
            ] {
                assert_eq!(pages(&path), [Some(reason); 2], "{path}");
            }
        }
        assert_eq!(pages("/7.html"), [Some(Reason::WebFile); 2]);
    }

    #[test]
    fn names_that_only_look_like_those_of_pages_are_mount_points() {
        for path in [
            "/live",
            "/live.mp3",
            "/status-quo.mp3",
            "/status-quo",
            "/status/quo",
            "/statusquo",
            "/status.mp3",
            "/stats.ogg",
            "/stats/live",
            "/admin",
            "/administration",
            "/adminradio.mp3",
            "/live/admin/",
            "/html",
            "/m3u",
            "/live.m3u/hd",
            "/xml.mp3",
            "/a.htmlx",
            "/a.",
            ".mp3",
        ] {
            assert_eq!(pages(path), [None; 2], "{path}");
        }
    }

    #[test]
    fn only_shoutcast_streams_from_the_root() {
        for path in ["/", "/;", "/;stream.mp3", "//", ""] {
            assert_eq!(pages(path), [Some(Reason::WebFile), None], "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_name_of_a_mount_point_is_stable(path in "[/;.a?]{0,12}|\\PC{0,20}") {
            let mount = mount_point(path.as_bytes());
            prop_assert_eq!(mount_point(mount), mount);
            prop_assert!(!mount.is_empty() && !mount.contains(&b';') && !mount.starts_with(b"//"));
            prop_assert!(mount == b"/" || !mount.ends_with(b"/"));
            for (before, after) in [("/", ""), ("", "/"), ("", ";"), ("", "/;"), ("", ";x.mp3")] {
                let spelling = format!("{before}/{path}{after}");
                let plain = format!("/{path}");
                let expected = mount_point(plain.as_bytes());
                prop_assert_eq!(mount_point(spelling.as_bytes()), expected);
            }
        }

        #[test]
        fn any_bytes_have_a_name(path in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(!mount_point(&path).is_empty());
            page(StreamServer::Icecast, &path);
        }
    }
}
