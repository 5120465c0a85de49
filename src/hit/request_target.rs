//! Takes the target of a request apart, whatever the format; see guide/requests.md, "Paths and
//! queries".

use bumpalo::Bump;

use super::lowercase;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    pub kind: TargetKind,
    /// In lower case, if the target is a whole URL.
    pub scheme: Option<&'a [u8]>,
    /// With its port, as logged. Empty unless the target is a whole URL.
    pub host: &'a [u8],
    /// Begins with a slash.
    pub path: &'a [u8],
    /// Without the delimiter; may be empty.
    pub query: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetKind {
    #[default]
    Page,
    /// The server (`OPTIONS *`) or a tunnel (`CONNECT host:443`).
    NoPage,
    /// What the client sent was no HTTP request.
    NoRequest,
}

/// The parts of a logged request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestParts<'a> {
    /// `None` if the log has none: then `path` may be all that the client sent.
    pub method: Option<&'a [u8]>,
    pub path: &'a [u8],
    /// Without the delimiter.
    pub query: &'a [u8],
    pub is_error: bool,
}

impl<'a> RequestTarget<'a> {
    pub fn read(parts: RequestParts<'a>, arena: &'a Bump) -> Self {
        let RequestParts {
            method,
            path,
            query,
            is_error,
        } = parts;
        let target = |kind, path| Self {
            kind,
            scheme: None,
            host: b"",
            path,
            query,
        };
        let method = method.filter(|method| !matches!(*method, b"" | b"-"));
        if method.is_some_and(|method| method.iter().any(is_foreign)) {
            return target(TargetKind::NoRequest, rooted(path, arena));
        }
        if path.starts_with(b"/") {
            return target(TargetKind::Page, path);
        }
        if let Some((scheme, host, path)) = split_url(path) {
            return Self {
                scheme: Some(lowercase(scheme, arena)),
                host,
                ..target(TargetKind::Page, rooted(path, arena))
            };
        }
        let kind = if path == b"*" || method == Some(b"CONNECT") || is_authority(path) {
            TargetKind::NoPage
        } else if path == b"-" || (method.is_none() && is_noise(path, query, is_error)) {
            TargetKind::NoRequest
        } else {
            TargetKind::Page
        };
        target(kind, rooted(path, arena))
    }
}

/// Whether text that begins with no slash and has no method is no target.
fn is_noise(text: &[u8], query: &[u8], is_error: bool) -> bool {
    let is_empty = text.is_empty() && query.is_empty();
    // HAProxy writes `<BADREQ>`.
    let is_marked = text.starts_with(b"\\x") || text.starts_with(b"<");
    is_empty || is_error || is_marked || text.iter().any(u8::is_ascii_control)
}

/// Whether no method has the byte: a control character, perhaps escaped, or not ASCII.
fn is_foreign(byte: &u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f.. | b'\\' | b'<')
}

/// Puts a slash in front of a path that has none.
fn rooted<'a>(path: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    match path {
        [b'/', ..] => path,
        [] => b"/",
        _ => arena.alloc_slice_copy(&[b"/", path].concat()),
    }
}

/// Splits a URL into scheme, host and path. The host has no user.
fn split_url(url: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (scheme, rest) = url.split_at(memchr::memmem::find(url, b"://")?);
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(is_scheme) {
        return None;
    }
    let rest = &rest[3..];
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, path) = rest.split_at(end.unwrap_or(rest.len()));
    let host = authority.rsplit(|byte| *byte == b'@').next()?;
    Some((scheme, host, path))
}

/// Whether a target is `host:port`.
fn is_authority(text: &[u8]) -> bool {
    let is_of_host = |byte: &u8| !b"/?#@%= ".contains(byte);
    match super::host::split(text) {
        (host, Some(_)) => !host.is_empty() && host.iter().all(is_of_host),
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<'a>(
        method: Option<&'a str>,
        path: &'a str,
        query: &'a str,
        arena: &'a Bump,
    ) -> RequestTarget<'a> {
        let parts = RequestParts {
            method: method.map(str::as_bytes),
            path: path.as_bytes(),
            query: query.as_bytes(),
            is_error: false,
        };
        RequestTarget::read(parts, arena)
    }

    #[track_caller]
    fn assert_page(path: &str, scheme: Option<&str>, host: &str, expected: &str) {
        let arena = Bump::new();
        for method in [Some("GET"), None] {
            let target = read(method, path, "", &arena);
            assert_eq!(target.kind, TargetKind::Page, "{path}");
            assert_eq!(target.scheme, scheme.map(str::as_bytes), "{path}");
            assert_eq!(target.host, host.as_bytes(), "{path}");
            assert_eq!(target.path, expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn a_whole_url_has_scheme_host_and_path() {
        for (url, scheme, host, path) in [
            ("http://www.example.com/x", "http", "www.example.com", "/x"),
            ("HTTPS://h:8443/", "https", "h:8443", "/"),
            ("http://h", "http", "h", "/"),
            ("http://h#d", "http", "h", "/#d"),
            ("http://user:pw@H@x.y./", "http", "x.y.", "/"),
            (
                "https://[2001:db8::1]:8/x",
                "https",
                "[2001:db8::1]:8",
                "/x",
            ),
            ("http://h/to/http://y/", "http", "h", "/to/http://y/"),
            ("ftp://h//x", "ftp", "h", "//x"),
            ("http:///x", "http", "", "/x"),
        ] {
            assert_page(url, Some(scheme), host, path);
        }
    }

    #[test]
    fn other_paths_begin_with_a_slash_or_get_one() {
        for (path, expected) in [
            ("/", "/"),
            ("/index.html", "/index.html"),
            ("//h/x", "//h/x"),
            ("/to/http://x/", "/to/http://x/"),
            ("index.html", "/index.html"),
            ("://x/", "/://x/"),
            ("1http://x/", "/1http://x/"),
            ("a:b", "/a:b"),
            ("a/b:80", "/a/b:80"),
        ] {
            assert_page(path, None, "", expected);
        }
        let arena = Bump::new();
        let target = read(None, "", "q=1", &arena);
        assert_eq!((target.path, target.query), (&b"/"[..], &b"q=1"[..]));
    }

    #[test]
    fn the_server_and_tunnels_are_no_pages() {
        let arena = Bump::new();
        for (method, path) in [
            (Some("OPTIONS"), "*"),
            (None, "*"),
            (Some("CONNECT"), "www.example.com:443"),
            (Some("CONNECT"), "www.example.com"),
            (Some("GET"), "[2001:db8::1]:443"),
            (None, "www.example.com:443"),
        ] {
            let kind = read(method, path, "", &arena).kind;
            assert_eq!(kind, TargetKind::NoPage, "{path}");
        }
    }

    #[test]
    fn noise_is_no_request() {
        let arena = Bump::new();
        for (method, path) in [
            (None, "-"),
            (None, ""),
            (Some("-"), "-"),
            (None, "<BADREQ>"),
            (None, r"\x16\x03\x01"),
            (None, "\x16\x03\x01"),
            (Some(r"\x16\x03\x01"), "/x"),
            (Some("\x16\x03"), "x"),
        ] {
            let kind = read(method, path, "", &arena).kind;
            assert_eq!(kind, TargetKind::NoRequest, "{method:?} {path:?}");
        }
        let refused = RequestParts {
            path: b"hello there",
            is_error: true,
            ..RequestParts::default()
        };
        let kind = RequestTarget::read(refused, &arena).kind;
        assert_eq!(kind, TargetKind::NoRequest);
    }

    proptest! {
        #[test]
        fn every_path_begins_with_a_slash(
            method in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
            path in prop::collection::vec(any::<u8>(), 0..60),
            dense in "[a-z:/?#@*\\[\\]0-9-]{0,30}",
            is_error in any::<bool>(),
        ) {
            let arena = Bump::new();
            for path in [&path[..], dense.as_bytes()] {
                let method = method.as_deref();
                let parts = RequestParts { method, path, query: b"", is_error };
                let target = RequestTarget::read(parts, &arena);
                prop_assert!(target.path.starts_with(b"/"));
                let is_url = target.scheme.is_some();
                prop_assert!(is_url || target.host.is_empty());
                prop_assert!(!path.starts_with(b"/") || target.path == path);
            }
        }
    }
}
