//! Names and bytes against what Python's codecs say.

use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn decode(name: &str, bytes: &[u8]) -> Vec<u8> {
    let encoding = Encoding::by_name(name).unwrap();
    encoding.decode(bytes, &mut Vec::new()).to_vec()
}

fn assert_text(name: &str, bytes: &[u8], text: &str) {
    let decoded = decode(name, bytes);
    assert_eq!(String::from_utf8_lossy(&decoded), text, "{name}");
    assert_eq!(decoded, text.as_bytes(), "{name}");
}

#[test]
fn names_are_pythons_whatever_their_case_and_punctuation() {
    for [one, other] in [
        ["utf8", "UTF-8"],
        ["utf8", "utf_8_sig"],
        ["utf8", "us-ascii"],
        ["latin-1", "ISO-8859-1"],
        ["latin-1", "iso8859 1"],
        ["latin-1", "L1"],
        ["latin-1", "8859"],
        ["cp1252", "windows-1252"],
        ["iso8859-15", "latin9"],
        ["koi8-r", "KOI8_R"],
        ["mac-roman", "macintosh"],
        ["shift_jis", "sjis"],
        ["shift_jis", "cp932"],
        ["euc-kr", "uhc"],
        ["gbk", "cp936"],
        ["utf-16le", "UTF_16_LE"],
    ] {
        assert_eq!(
            Encoding::by_name(one).unwrap(),
            Encoding::by_name(other).unwrap()
        );
    }
    assert_ne!(
        Encoding::by_name("latin-1").unwrap(),
        Encoding::by_name("cp1252").unwrap()
    );
}

#[test]
fn every_name_is_listed_once() {
    let mut all: Vec<String> = NAMES
        .iter()
        .flat_map(|(name, _, others)| {
            let others = others.iter().map(|other| (*other).to_owned());
            others.chain([without_punctuation(name)])
        })
        .collect();
    let count = all.len();
    assert!(all.iter().all(|name| *name == without_punctuation(name)));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn an_unknown_name_is_a_usage_error_that_names_the_known_ones() {
    let error = Encoding::by_name("klingon").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(
        error
            .to_string()
            .starts_with("--encoding=klingon: unknown encoding")
    );
    assert!(error.to_string().contains("latin-1"));
}

#[test]
fn text_is_decoded() {
    assert_text("latin-1", b"/caf\xe9 \x80", "/café \u{80}");
    assert_text("cp1252", b"\x80 \xe9", "€ é");
    assert_text("iso8859-15", b"\xa4", "€");
    assert_text("iso8859-9", b"\x80\xf0\xfe", "\u{80}ğş");
    assert_text("cp1251", b"\xcf\xf0\xe8", "При");
    assert_text("koi8-r", b"\xf0\xd2\xc9", "При");
    assert_text("cp866", b"\x8f\xe0\xa8", "При");
    assert_text("mac-roman", b"\x8e", "é");
    assert_text("big5", b"/\xa4\xa4\xa4\xe5", "/中文");
    assert_text("gbk", b"\xd6\xd0\xce\xc4", "中文");
    assert_text("gb18030", b"\x81\x30\x81\x30", "\u{80}");
    assert_text("shift_jis", b"\x83\x8d\x83\x4f", "ログ");
    assert_text("euc-jp", b"\xa5\xed\xa5\xb0", "ログ");
    assert_text("iso2022-jp", b"a\x1b$B%m%0\x1b(Bb", "aログb");
    assert_text("euc-kr", b"\xb7\xce\xb1\xd7", "로그");
    assert_text("utf-16-le", b"a\0\xac\x20\x3d\xd8\x00\xde", "a€😀");
    assert_text("utf-16-be", b"\0a\x20\xac", "a€");
}

#[test]
fn bytes_that_are_no_text_stay() {
    assert_eq!(decode("utf8", b"caf\xe9"), b"caf\xe9");
    assert_eq!(decode("ascii", b"caf\xe9"), b"caf\xe9");
    assert_eq!(decode("cp1252", b"\x81\xe9"), b"\x81\xc3\xa9");
    assert_eq!(decode("iso8859-7", b"\xff\xe1"), b"\xff\xce\xb1");
    assert_eq!(
        decode("big5", b"\xa4\xa4\xa4\"x\xff"),
        b"\xe4\xb8\xad\xa4\"x\xff"
    );
    assert_eq!(decode("gb18030", b"\x81\x30\x81\"x"), b"\x810\x81\"x");
    assert_eq!(
        decode("iso2022-jp", b"\x1b$B%m\x1b(B\x1b\xe9"),
        b"\xe3\x83\xad\x1b\xe9"
    );
    assert_eq!(decode("iso2022-jp", b"\x1b$\xe9z"), b"\x1b$\xe9z");
    // Half a pair, and half a unit.
    assert_eq!(decode("utf-16-le", b"\x22\xdca\0b"), b"\xed\xb0\xa2ab");
}

fn line_end(name: &str, bytes: &[u8]) -> Option<(usize, usize)> {
    let end = Encoding::by_name(name).unwrap().line_end(bytes)?;
    Some((end.start, end.length))
}

#[test]
fn a_line_ends_at_a_line_feed_a_carriage_return_or_both() {
    assert_eq!(line_end("utf8", b"a\nb"), Some((1, 1)));
    assert_eq!(line_end("utf8", b"a\rb"), Some((1, 1)));
    assert_eq!(line_end("utf8", b"a\r\nb"), Some((1, 2)));
    assert_eq!(line_end("utf8", b"a\r\r\n"), Some((1, 1)));
    assert_eq!(line_end("utf8", b"a\n"), Some((1, 1)));
    // A line feed may follow.
    assert_eq!(line_end("utf8", b"a\r"), None);
    assert_eq!(line_end("utf8", b"a"), None);
}

#[test]
fn line_ends_of_utf16_are_whole_units() {
    assert_eq!(line_end("utf-16-le", b"a\0\n\0"), Some((2, 2)));
    assert_eq!(line_end("utf-16-be", b"\0a\0\n"), Some((2, 2)));
    assert_eq!(line_end("utf-16-le", b"a\0\r\0\n\0"), Some((2, 4)));
    assert_eq!(line_end("utf-16-be", b"\0a\0\r\0\n"), Some((2, 4)));
    assert_eq!(line_end("utf-16-le", b"a\0\r\0b\0"), Some((2, 2)));
    assert_eq!(line_end("utf-16-be", b"\0a\0\r\0b"), Some((2, 2)));
    assert_eq!(line_end("utf-16-le", b"a\0\r\0"), None);
    assert_eq!(line_end("utf-16-be", b"\0a\0\r"), None);
    // U+0A00 and U+000A at an odd place, U+0A0A.
    assert_eq!(line_end("utf-16-le", b"\0\n\0\n\n\n"), None);
    assert_eq!(line_end("utf-16-be", b"\n\0\n\0\n\n"), None);
    assert_eq!(line_end("utf-16-le", b"\n"), None);
    assert_eq!(line_end("utf-16-be", b"\n"), None);
    // U+0D0A, U+0D00.
    assert_eq!(line_end("utf-16-le", b"\n\r\0\r\n\0"), Some((4, 2)));
    assert_eq!(line_end("utf-16-be", b"\r\n\r\0\0\n"), Some((4, 2)));
}

#[test]
fn a_bom_of_utf16_decides_against_every_other_encoding() {
    let (little, big) = (
        Encoding::by_name("utf-16-le").unwrap(),
        Encoding::by_name("utf-16-be").unwrap(),
    );
    let of_log = |name: &str, first: &[u8]| Encoding::by_name(name).unwrap().of_log(first);
    for name in ["utf-16", "utf8", "latin-1", "big5"] {
        assert_eq!(of_log(name, b"\xfe\xff\0a"), big);
        assert_eq!(of_log(name, b"\xff\xfea\0"), little);
    }
    assert_eq!(of_log("utf-16", b"a\0"), little);
    assert_eq!(of_log("utf8", b"\xff"), Encoding::default());
    assert_eq!(of_log("utf8", b"\xef\xbb\xbfa"), Encoding::default());
    // The byte order that the user names stays.
    assert_eq!(of_log("utf-16-le", b"\xfe\xff\0a"), little);
    assert_eq!(big.without_bom(b"\xfe\xff\0a"), b"\0a");
    assert!(may_have_utf16_bom(b"\xff") && may_have_utf16_bom(b"\xfe\xff\0"));
    assert!(!may_have_utf16_bom(b"") && !may_have_utf16_bom(b"\xff\xff"));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_and_none_is_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for (name, entry, _) in NAMES {
            let decoded = decode(name, &bytes);
            match entry {
                NamedEncoding::Utf8 => prop_assert_eq!(&decoded, &bytes),
                NamedEncoding::Iso(_) | NamedEncoding::CodePage(_) => prop_assert!(decoded.len() >= bytes.len()),
                NamedEncoding::Utf16(_) | NamedEncoding::MultiByte(_) => prop_assert!(decoded.is_empty() == bytes.is_empty() || *name == "iso2022-jp"),
            }
        }
    }

    #[test]
    fn text_comes_back(text in "[a-zéñ中文ログ€\"]{0,20}") {
        for name in ["gb18030", "utf-16-le"] {
            let bytes: Vec<u8> = match name {
                "gb18030" => tables::GB18030.encode(&text).0.into_owned(),
                _ => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            };
            prop_assert_eq!(decode(name, &bytes), text.as_bytes());
        }
    }
}
