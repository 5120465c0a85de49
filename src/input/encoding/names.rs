//! The names of encodings, as Python's codecs have them.

use super::Endian;

/// How an entry of [`NAMES`] is decoded.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Utf8,
    Utf16(Option<Endian>),
    /// One byte a character as the table has it; 0x80 to 0x9f are the control characters of those numbers.
    Iso(&'static encoding_rs::Encoding),
    /// One byte a character as the table has it, but where that is a control character nothing is defined.
    CodePage(&'static encoding_rs::Encoding),
    MultiByte(&'static encoding_rs::Encoding),
}

use Entry::{CodePage, Iso, MultiByte, Utf8, Utf16};

/// Python's name, what it is, and Python's other names for it, all without their punctuation. The web's tables
/// have no ISO 8859-1, -9 and -11 of their own: they are the Windows code pages but for 0x80 to 0x9f.
#[rustfmt::skip]
pub(super) static NAMES: &[(&str, Entry, &[&str])] = &[
    ("utf-8", Utf8, &["u8", "utf", "utf8ucs2", "utf8ucs4", "cp65001", "utf8sig"]),
    ("ascii", Utf8, &["646", "ansix341968", "ansix341986", "cp367", "csascii", "ibm367", "iso646us", "iso646irv1991", "isoir6", "us", "usascii"]),
    ("utf-16", Utf16(None), &["u16"]),
    ("utf-16-le", Utf16(Some(Endian::Little)), &["unicodelittleunmarked"]),
    ("utf-16-be", Utf16(Some(Endian::Big)), &["unicodebigunmarked"]),
    ("latin-1", Iso(encoding_rs::WINDOWS_1252), &["8859", "cp819", "csisolatin1", "ibm819", "iso8859", "iso88591", "iso885911987", "isoir100", "l1", "latin"]),
    ("iso8859-2", Iso(encoding_rs::ISO_8859_2), &["csisolatin2", "iso885921987", "isoir101", "l2", "latin2"]),
    ("iso8859-3", Iso(encoding_rs::ISO_8859_3), &["csisolatin3", "iso885931988", "isoir109", "l3", "latin3"]),
    ("iso8859-4", Iso(encoding_rs::ISO_8859_4), &["csisolatin4", "iso885941988", "isoir110", "l4", "latin4"]),
    ("iso8859-5", Iso(encoding_rs::ISO_8859_5), &["csisolatincyrillic", "cyrillic", "iso885951988", "isoir144"]),
    ("iso8859-6", Iso(encoding_rs::ISO_8859_6), &["arabic", "asmo708", "csisolatinarabic", "ecma114", "iso885961987", "isoir127"]),
    ("iso8859-7", Iso(encoding_rs::ISO_8859_7), &["csisolatingreek", "ecma118", "elot928", "greek", "greek8", "iso885971987", "isoir126"]),
    ("iso8859-8", Iso(encoding_rs::ISO_8859_8), &["csisolatinhebrew", "hebrew", "iso885981988", "iso88598e", "iso88598i", "isoir138"]),
    ("iso8859-9", Iso(encoding_rs::WINDOWS_1254), &["csisolatin5", "iso885991989", "isoir148", "l5", "latin5"]),
    ("iso8859-10", Iso(encoding_rs::ISO_8859_10), &["csisolatin6", "iso8859101992", "isoir157", "l6", "latin6"]),
    ("iso8859-11", Iso(encoding_rs::WINDOWS_874), &["iso8859112001", "thai"]),
    ("iso8859-13", Iso(encoding_rs::ISO_8859_13), &["l7", "latin7"]),
    ("iso8859-14", Iso(encoding_rs::ISO_8859_14), &["iso8859141998", "isoceltic", "isoir199", "l8", "latin8"]),
    ("iso8859-15", Iso(encoding_rs::ISO_8859_15), &["l9", "latin9"]),
    ("iso8859-16", Iso(encoding_rs::ISO_8859_16), &["iso8859162001", "isoir226", "l10", "latin10"]),
    ("tis-620", Iso(encoding_rs::WINDOWS_874), &["isoir166", "tis6200", "tis62025290", "tis62025291"]),
    ("cp866", CodePage(encoding_rs::IBM866), &["866", "csibm866", "ibm866"]),
    ("cp874", CodePage(encoding_rs::WINDOWS_874), &["874", "windows874"]),
    ("cp1250", CodePage(encoding_rs::WINDOWS_1250), &["1250", "windows1250"]),
    ("cp1251", CodePage(encoding_rs::WINDOWS_1251), &["1251", "windows1251"]),
    ("cp1252", CodePage(encoding_rs::WINDOWS_1252), &["1252", "windows1252"]),
    ("cp1253", CodePage(encoding_rs::WINDOWS_1253), &["1253", "windows1253"]),
    ("cp1254", CodePage(encoding_rs::WINDOWS_1254), &["1254", "windows1254"]),
    ("cp1255", CodePage(encoding_rs::WINDOWS_1255), &["1255", "windows1255"]),
    ("cp1256", CodePage(encoding_rs::WINDOWS_1256), &["1256", "windows1256"]),
    ("cp1257", CodePage(encoding_rs::WINDOWS_1257), &["1257", "windows1257"]),
    ("cp1258", CodePage(encoding_rs::WINDOWS_1258), &["1258", "windows1258"]),
    ("koi8-r", CodePage(encoding_rs::KOI8_R), &["cskoi8r"]),
    ("koi8-u", CodePage(encoding_rs::KOI8_U), &[]),
    ("mac-roman", CodePage(encoding_rs::MACINTOSH), &["macintosh"]),
    ("mac-cyrillic", CodePage(encoding_rs::X_MAC_CYRILLIC), &[]),
    ("big5", MultiByte(encoding_rs::BIG5), &["big5tw", "csbig5", "big5hkscs", "hkscs", "cp950", "950", "ms950"]),
    ("gbk", MultiByte(encoding_rs::GBK), &["936", "cp936", "ms936"]),
    ("gb2312", MultiByte(encoding_rs::GBK), &["chinese", "csiso58gb231280", "euccn", "eucgb2312cn", "gb23121980", "gb231280", "isoir58"]),
    ("gb18030", MultiByte(encoding_rs::GB18030), &["gb180302000"]),
    ("shift-jis", MultiByte(encoding_rs::SHIFT_JIS), &["csshiftjis", "sjis"]),
    ("cp932", MultiByte(encoding_rs::SHIFT_JIS), &["932", "ms932", "mskanji", "windows31j"]),
    ("euc-jp", MultiByte(encoding_rs::EUC_JP), &["ujis"]),
    ("iso2022-jp", MultiByte(encoding_rs::ISO_2022_JP), &["csiso2022jp"]),
    ("euc-kr", MultiByte(encoding_rs::EUC_KR), &["korean", "ksc5601", "ksc56011987", "ksx1001"]),
    ("cp949", MultiByte(encoding_rs::EUC_KR), &["949", "ms949", "uhc"]),
];
