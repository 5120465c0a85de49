//! What a path's extension makes of a request: a download, a static resource, or a page.

use std::collections::HashSet;

use crate::hit::Hit;

const STATIC: &str =
    "gif jpg jpeg png bmp ico svg svgz ttf otf eot woff woff2 class swf css js xml webp";

const DOWNLOADS: &str = "7z aac arc arj asf asx avi bin csv deb dmg doc docx exe flac flv gz gzip hqx ibooks jar json \
    mpg mp2 mp3 mp4 mpeg mov movie msi msp odb odf odg odp ods odt ogg ogv pdf phps ppt pptx qt qtm ra ram rar rpm rtf \
    sea sit tar tbz bz2 tgz torrent txt wav webm wma wmv wpd xls xlsx xml xsd z zip azw3 epub mobi apk md5 sig";

/// Longer than any built-in extension, and than any that a user has reason to name.
const LONGEST: usize = 32;

/// Which extensions make a download.
#[derive(Debug)]
pub struct Extensions {
    downloads: HashSet<Vec<u8>, foldhash::fast::RandomState>,
    built_in: HashSet<Vec<u8>, foldhash::fast::RandomState>,
    statics: HashSet<Vec<u8>, foldhash::fast::RandomState>,
}

impl Extensions {
    /// `replacing`: the comma list of `--download-extensions`; `added`: those of `--add-download-extensions`.
    /// Entries are taken as typed: blanks and capitals never match (SPEC section 2).
    pub fn new(replacing: Option<&str>, added: &[String]) -> Self {
        let built_in: HashSet<_, _> = words(DOWNLOADS);
        let mut downloads = match replacing {
            Some(list) => list
                .split(',')
                .map(|entry| entry.as_bytes().to_vec())
                .collect(),
            None => built_in.clone(),
        };
        downloads.extend(
            added
                .iter()
                .flat_map(|list| list.split(','))
                .map(|entry| entry.as_bytes().to_vec()),
        );
        Self {
            downloads,
            built_in,
            statics: words(STATIC),
        }
    }

    pub fn is_download(&self, extension: &[u8]) -> bool {
        has(&self.downloads, extension)
    }

    /// A download by the built-in list that the user's list leaves out.
    pub fn is_unwanted_download(&self, extension: &[u8]) -> bool {
        has(&self.built_in, extension)
    }

    pub fn is_static(&self, hit: &Hit) -> bool {
        has(&self.statics, hit.extension)
            || hit.path.rsplit(|byte| *byte == b'/').next() == Some(b"robots.txt")
    }
}

fn words(list: &str) -> HashSet<Vec<u8>, foldhash::fast::RandomState> {
    list.split_ascii_whitespace()
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn has(set: &HashSet<Vec<u8>, foldhash::fast::RandomState>, extension: &[u8]) -> bool {
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..extension.len()) else {
        return false;
    };
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    set.contains(&*lower)
}
