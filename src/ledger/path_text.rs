//! Paths in the ledger's files, which are text.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A path as text that keeps every byte: `%` and bytes that are no UTF-8 are written as `%XX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct PathText(pub PathBuf);

impl From<PathText> for String {
    fn from(path: PathText) -> Self {
        let mut text = String::new();
        for chunk in path.0.as_os_str().as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('%', "%25"));
            for byte in chunk.invalid() {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }
}

impl From<String> for PathText {
    fn from(text: String) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
            let escaped = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
            let (byte, left) = match escaped {
                Some(byte) if first == b'%' => (byte, &after[2..]),
                _ => (first, after),
            };
            bytes.push(byte);
            rest = left;
        }
        Self(OsString::from_vec(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_path_reads_back(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            let text = String::from(PathText(path.clone()));
            prop_assert_eq!(PathText::from(text).0, path);
        }

        #[test]
        fn any_text_reads_as_some_path(text in "[%0-9A-Fa-fé/]{0,20}") {
            let path = PathText::from(text);
            prop_assert_eq!(PathText::from(String::from(path.clone())), path);
        }
    }
}
