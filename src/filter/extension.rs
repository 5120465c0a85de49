//! What a path's extension makes of a request: a download, a static resource, or a page.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::hit::FileKind;

const STATIC: &str =
    "gif jpg jpeg png bmp ico svg svgz ttf otf eot woff woff2 class swf css js xml webp";

const DOWNLOADS: &str = "7z aac arc arj asf asx avi bin csv deb dmg doc docx exe flac flv gz gzip hqx ibooks jar json \
    mpg mp2 mp3 mp4 mpeg mov movie msi msp odb odf odg odp ods odt ogg ogv pdf phps ppt pptx qt qtm ra ram rar rpm rtf \
    sea sit tar tbz bz2 tgz torrent txt wav webm wma wmv wpd xls xlsx xml xsd z zip azw3 epub mobi apk md5 sig";

/// Hardly an extension that anybody names is longer.
const LONGEST: usize = 32;

/// The extensions that mean something.
#[derive(Debug)]
pub struct Extensions {
    kinds: HashMap<Vec<u8>, FileKind, RandomState>,
    /// By the first byte, in either case: a bit for each length that one of them has. Most paths are told by this
    /// alone to have none.
    lengths: [u64; 256],
    /// The user names one that this does not tell: longer, or with letters beyond ASCII.
    has_odd: bool,
}

impl Extensions {
    /// `replacing`: the comma list of `--download-extensions`; `added`: those of `--add-download-extensions`.
    /// Entries are taken as typed: blanks and capitals never match (SPEC section 2).
    pub fn new(replacing: Option<&str>, added: &[String]) -> Self {
        let mut kinds: HashMap<Vec<u8>, FileKind, RandomState> = HashMap::default();
        let mut kind = |word: &str, set: fn(&mut FileKind)| {
            set(kinds.entry(word.as_bytes().to_vec()).or_default())
        };
        for word in DOWNLOADS.split_ascii_whitespace() {
            kind(word, |kind| kind.unwanted_download = true);
        }
        let typed = replacing
            .into_iter()
            .chain(added.iter().map(String::as_str));
        let built_in = DOWNLOADS
            .split_ascii_whitespace()
            .filter(|_| replacing.is_none());
        for word in typed.flat_map(|list| list.split(',')).chain(built_in) {
            kind(word, |kind| {
                kind.download = true;
                kind.unwanted_download = false;
            });
        }
        for word in STATIC.split_ascii_whitespace() {
            kind(word, |kind| kind.is_static = true);
        }
        let mut lengths = [0; 256];
        for word in kinds
            .keys()
            .filter(|word| (1..=LONGEST).contains(&word.len()))
        {
            for first in [word[0].to_ascii_lowercase(), word[0].to_ascii_uppercase()] {
                lengths[usize::from(first)] |= 1 << word.len();
            }
        }
        let has_odd = kinds.keys().any(|word| is_odd(word));
        Self {
            kinds,
            lengths,
            has_odd,
        }
    }

    /// `extension`: in whatever case.
    pub fn kind(&self, extension: &[u8]) -> FileKind {
        if self.has_odd && is_odd(extension) {
            let lower = std::str::from_utf8(extension).map(str::to_lowercase);
            let kind = lower
                .ok()
                .and_then(|lower| self.kinds.get(lower.as_bytes()));
            return kind.copied().unwrap_or_default();
        }
        let mut lower = [0; LONGEST];
        let Some(lower) = lower.get_mut(..extension.len()) else {
            return FileKind::default();
        };
        let is_none = |first: &u8| self.lengths[usize::from(*first)] >> extension.len() & 1 == 0;
        if extension.first().is_some_and(is_none) {
            return FileKind::default();
        }
        lower.copy_from_slice(extension);
        lower.make_ascii_lowercase();
        self.kinds.get(&*lower).copied().unwrap_or_default()
    }
}

fn is_odd(extension: &[u8]) -> bool {
    extension.len() > LONGEST || !extension.is_ascii()
}

/// `robots.txt` in whatever folder, a static resource by its whole name.
pub fn is_robots(path: &[u8]) -> bool {
    let folder = path.strip_suffix(b"robots.txt");
    folder.is_some_and(|folder| folder.is_empty() || folder.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(download: bool, unwanted_download: bool, is_static: bool) -> FileKind {
        FileKind {
            download,
            unwanted_download,
            is_static,
        }
    }

    #[test]
    fn an_extension_counts_in_any_case() {
        let extensions = Extensions::new(None, &[]);
        assert_eq!(extensions.kind(b"PdF"), kind(true, false, false));
        assert_eq!(extensions.kind(b"CSS"), kind(false, false, true));
        assert_eq!(extensions.kind(b"xml"), kind(true, false, true));
        for none in [&b"html"[..], b"", b"/index", &[b'x'; 1000]] {
            assert_eq!(extensions.kind(none), FileKind::default());
        }
    }

    #[test]
    fn a_list_of_the_users_makes_the_other_downloads_unwanted() {
        let extensions = Extensions::new(Some("pdf,foo"), &["Bar,baz".into(), " zip".into()]);
        for download in [&b"pdf"[..], b"foo", b"BAZ"] {
            assert_eq!(extensions.kind(download), kind(true, false, false));
        }
        for other in [&b"fo"[..], b"fooo", b"fop", b""] {
            assert_eq!(extensions.kind(other), FileKind::default());
        }
        let empty = Extensions::new(Some("pdf,"), &[]);
        assert_eq!(
            empty.kind(b""),
            kind(true, false, false),
            "an entry like any"
        );
        assert_eq!(extensions.kind(b"xml"), kind(false, true, true));
        assert_eq!(extensions.kind(b"zip"), kind(false, true, false));
        assert_eq!(
            extensions.kind(b"bar"),
            FileKind::default(),
            "capitals never match"
        );
    }

    #[test]
    fn an_extension_may_be_long_or_beyond_ascii() {
        let long = "very-long-".repeat(10);
        let extensions = Extensions::new(None, &["äö".into(), long.clone()]);
        for download in ["äö", "ÄÖ", "Äö", &long, &long.to_uppercase(), "pdf", "PDF"] {
            assert_eq!(
                extensions.kind(download.as_bytes()),
                kind(true, false, false),
                "{download}"
            );
        }
        for none in [&b"\xc3"[..], b"\xff\xfe", "ä".as_bytes(), &[b'x'; 100]] {
            assert_eq!(extensions.kind(none), FileKind::default());
        }
    }

    #[test]
    fn robots_is_a_whole_name() {
        assert!(
            is_robots(b"/robots.txt") && is_robots(b"/a/robots.txt") && is_robots(b"robots.txt")
        );
        assert!(!is_robots(b"/no-robots.txt") && !is_robots(b"/robots.txt/") && !is_robots(b"/"));
    }
}
