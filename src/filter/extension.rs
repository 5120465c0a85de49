//! Tells downloads and static files by their extension; see guide/requests.md, "Downloads and
//! static files".

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::hit::FileKind;

const STATIC: &str =
    "gif jpg jpeg png bmp ico svg svgz ttf otf eot woff woff2 class swf css js xml webp";

const DOWNLOADS: &str = "7z aac arc arj asf asx avi bin csv deb dmg doc docx exe flac flv gz gzip hqx ibooks jar json \
    mpg mp2 mp3 mp4 mpeg mov movie msi msp odb odf odg odp ods odt ogg ogv pdf phps ppt pptx qt qtm ra ram rar rpm rtf \
    sea sit tar tbz bz2 tgz torrent txt wav webm wma wmv wpd xls xlsx xml xsd z zip azw3 epub mobi apk md5 sig";

/// Longer extensions take the slow path.
const MAX_FAST_BYTES: usize = 32;

/// The extensions of downloads and static files.
#[derive(Debug)]
pub struct Extensions {
    kinds: HashMap<Vec<u8>, FileKind, RandomState>,
    /// By [`short_key`], which takes a fraction of the time.
    short_kinds: HashMap<u64, FileKind, RandomState>,
    /// For each first byte, in either case: one bit for each length of a known extension. This
    /// alone rules out most paths.
    lengths: [u64; 256],
    /// The user named an extension that `lengths` does not cover: a long or non-ASCII one.
    has_slow: bool,
}

impl Extensions {
    /// `replacing` is the comma-separated list of `--download-extensions`, `added` are those of
    /// `--add-download-extensions`. Entries are not trimmed or lower-cased, so one with a blank or
    /// a capital never matches.
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
        let is_fast = |word: &&Vec<u8>| (1..=MAX_FAST_BYTES).contains(&word.len());
        for word in kinds.keys().filter(is_fast) {
            for first in [word[0].to_ascii_lowercase(), word[0].to_ascii_uppercase()] {
                lengths[usize::from(first)] |= 1 << word.len();
            }
        }
        let short_kinds = (kinds.iter())
            .filter(|(word, _)| !word.iter().any(u8::is_ascii_uppercase))
            .filter_map(|(word, kind)| Some((short_key(word)?, *kind)))
            .collect();
        let has_slow = kinds.keys().any(|word| is_slow(word));
        Self {
            kinds,
            short_kinds,
            lengths,
            has_slow,
        }
    }

    /// `extension` may be in any case.
    pub fn kind(&self, extension: &[u8]) -> FileKind {
        if self.has_slow && is_slow(extension) {
            let lower = std::str::from_utf8(extension).map(str::to_lowercase);
            let kind = lower
                .ok()
                .and_then(|lower| self.kinds.get(lower.as_bytes()));
            return kind.copied().unwrap_or_default();
        }
        if extension.len() > MAX_FAST_BYTES {
            return FileKind::default();
        }
        let is_unknown = |first: &u8| self.lengths[usize::from(*first)] >> extension.len() & 1 == 0;
        if extension.first().is_some_and(is_unknown) {
            return FileKind::default();
        }
        if let Some(key) = short_key(extension) {
            return self.short_kinds.get(&key).copied().unwrap_or_default();
        }
        let mut lower = [0; MAX_FAST_BYTES];
        let lower = &mut lower[..extension.len()];
        lower.copy_from_slice(extension);
        lower.make_ascii_lowercase();
        self.kinds.get(&*lower).copied().unwrap_or_default()
    }
}

/// The bytes of a short extension in lower case, and their number.
fn short_key(extension: &[u8]) -> Option<u64> {
    let mut key = [0; 8];
    if extension.len() >= key.len() {
        return None;
    }
    for (lower, byte) in key.iter_mut().zip(extension) {
        *lower = byte.to_ascii_lowercase();
    }
    key[7] = extension.len() as u8;
    Some(u64::from_le_bytes(key))
}

fn is_slow(extension: &[u8]) -> bool {
    extension.len() > MAX_FAST_BYTES || !extension.is_ascii()
}

/// Whether a path is `robots.txt` in any folder. It counts as a static file.
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
    fn a_replacing_list_makes_the_other_downloads_unwanted() {
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
            "an empty entry matches an empty extension"
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
    fn an_extension_may_be_long_or_non_ascii() {
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
    fn robots_txt_is_matched_by_its_whole_name() {
        assert!(
            is_robots(b"/robots.txt") && is_robots(b"/a/robots.txt") && is_robots(b"robots.txt")
        );
        assert!(!is_robots(b"/no-robots.txt") && !is_robots(b"/robots.txt/") && !is_robots(b"/"));
    }
}
