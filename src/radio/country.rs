//! Countries of listeners, from a database in MaxMind's format (guide/listening.md, "Countries").

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use maxminddb::{PathElement, Reader, WithinOptions};

use crate::error::{Error, Result};

/// Bytes of the largest database. Those of cities take less than 150 MiB.
const MAX_BYTES: u64 = 1 << 30;

/// Networks to look at when a database is opened, until one has a country.
const MAX_PROBED: usize = 10_000;

/// A country by its code in ISO 3166-1, two letters in upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

impl CountryCode {
    /// Reads two letters in any case.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let code: [u8; 2] = text.try_into().ok()?;
        let is_code = code.iter().all(u8::is_ascii_alphabetic);
        is_code.then(|| Self(code.map(|letter| letter.to_ascii_uppercase())))
    }

    /// A number below [`Self::COUNT`], 0 for an unknown country.
    pub(super) fn number(code: Option<Self>) -> u16 {
        code.map_or(0, |Self(letters)| {
            let [first, second] = letters.map(|letter| u16::from(letter - b'A'));
            1 + 26 * first + second
        })
    }

    /// The number of all codes, and one more.
    pub(super) const COUNT: u16 = 1 + 26 * 26;

    /// The country with a number. `None` for 0.
    pub(super) fn from_number(number: u16) -> Option<Self> {
        let index = number.checked_sub(1)?;
        // Below 26.
        let letter = |number: u16| b'A' + (number % 26) as u8;
        Some(Self([letter(index / 26), letter(index)]))
    }

    pub fn as_str(&self) -> &str {
        // Always UTF-8, since both are letters.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for CountryCode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let code = Self::read(text.trim().as_bytes())
            .ok_or("expected the two letters of a country in ISO 3166, such as US or DE")?;
        match &code.0 {
            b"UK" => Err("the United Kingdom has the code GB".into()),
            _ => Ok(code),
        }
    }
}

/// A database of the countries of IP addresses. Clones share it.
#[derive(Clone, Debug)]
pub struct CountryDatabase {
    reader: Arc<Reader<Vec<u8>>>,
    field: CountryField,
}

/// Where the records of a database have the country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountryField {
    /// `country.iso_code`: GeoLite2, GeoIP2, DB-IP. Not `registered_country`, which is that of the
    /// provider.
    Nested,
    /// `country_code`: IPinfo Lite, whose `country` is a name.
    Code,
    /// `country`: other databases of IPinfo.
    Country,
}

impl CountryField {
    const ALL: [Self; 3] = [Self::Nested, Self::Code, Self::Country];

    fn path(self) -> &'static [PathElement<'static>] {
        match self {
            Self::Nested => &[PathElement::Key("country"), PathElement::Key("iso_code")],
            Self::Code => &[PathElement::Key("country_code")],
            Self::Country => &[PathElement::Key("country")],
        }
    }
}

impl CountryDatabase {
    /// Reads a database into memory.
    ///
    /// # Errors
    ///
    /// A usage error that names the file if it cannot be read, is larger than 1 GiB, is not in
    /// MaxMind's format, or has no countries.
    pub fn open(file: &Path) -> Result<Self> {
        let failed = |problem: &dyn fmt::Display| {
            Error::usage(format!("--geoip-database={}: {problem}", file.display()))
        };
        let mut bytes = Vec::new();
        let opened = File::open(file);
        let read = opened.and_then(|opened| opened.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| failed(&format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(failed(
                &"larger than 1 GiB; a database of countries has some megabytes",
            ));
        }
        Self::of_bytes(bytes).map_err(|problem| failed(&problem))
    }

    fn of_bytes(bytes: Vec<u8>) -> std::result::Result<Self, String> {
        const OBTAIN: &str = "download GeoLite2-Country.mmdb from maxmind.com or \
                              dbip-country-lite.mmdb from db-ip.com and unpack it";
        let reader = Reader::from_source(bytes)
            .map_err(|error| format!("not a database in MaxMind's format ({error}); {OBTAIN}"))?;
        let field = country_field(&reader).ok_or_else(|| {
            let kind = reader.metadata().database_type.escape_debug();
            format!("a database without countries ({kind}); {OBTAIN}")
        })?;
        let reader = Arc::new(reader);
        Ok(Self { reader, field })
    }

    /// The country of an address as in the log. Returns `None` for an address that is hidden, such
    /// as a hash, or that the database does not know.
    pub fn country(&self, address: &[u8]) -> Option<CountryCode> {
        let address: IpAddr = std::str::from_utf8(address).ok()?.parse().ok()?;
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        let text: &str = found.decode_path(self.field.path()).ok()??;
        CountryCode::read(text.as_bytes())
    }
}

/// Where the first record with a country has it.
fn country_field(reader: &Reader<Vec<u8>>) -> Option<CountryField> {
    // Otherwise a damaged tree could take forever to reach the next network with data.
    let options = WithinOptions::default().include_networks_without_data();
    let networks = reader.networks(options).ok()?;
    networks.take(MAX_PROBED).flatten().find_map(|found| {
        CountryField::ALL.into_iter().find(|field| {
            let text: Option<&str> = found.decode_path(field.path()).ok().flatten();
            text.is_some_and(|text| CountryCode::read(text.as_bytes()).is_some())
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/countries.mmdb");

    fn string(text: &str) -> Vec<u8> {
        assert!(text.len() < 29);
        [&[0x40 | text.len() as u8], text.as_bytes()].concat()
    }

    fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | entries.len() as u8];
        for (key, value) in entries {
            bytes.extend([string(key), value.clone()].concat());
        }
        bytes
    }

    /// A database of IPv4 with this record for addresses below 128.0.0.0.
    fn database(record: &[u8]) -> Vec<u8> {
        let metadata = map(&[
            ("binary_format_major_version", vec![0xa1, 2]),
            ("binary_format_minor_version", vec![0xa0]),
            ("build_epoch", vec![0x01, 0x02, 1]),
            ("database_type", string("Test")),
            ("description", map(&[])),
            ("ip_version", vec![0xa1, 4]),
            ("languages", vec![0x00, 0x04]),
            ("node_count", vec![0xc1, 1]),
            ("record_size", vec![0xa1, 24]),
        ]);
        // One node: its left record points behind the separator, its right one is empty.
        let tree = [0, 0, 17, 0, 0, 1];
        let marker = b"\xab\xcd\xefMaxMind.com";
        [&tree[..], &[0; 16], record, marker, &metadata].concat()
    }

    fn country_of(record: &[u8]) -> std::result::Result<Option<String>, String> {
        let database = CountryDatabase::of_bytes(database(record))?;
        assert_eq!(database.country(b"192.0.2.1"), None);
        assert_eq!(database.country(b"2001:db8::1"), None);
        let country = database.country(b"10.0.0.1");
        Ok(country.map(|country| country.to_string()))
    }

    #[test]
    fn addresses_have_the_countries_of_their_networks() {
        let database = CountryDatabase::open(Path::new(FIXTURE)).unwrap();
        for (address, country) in [
            ("192.0.2.0", "US"),
            ("192.0.2.127", "US"),
            ("192.0.2.128", "DE"),
            ("198.51.100.1", "AT"),
            ("198.51.100.200", "GB"),
            ("203.0.113.9", "FR"),
            ("::ffff:203.0.113.9", "FR"),
            ("::ffff:cb00:7109", "FR"),
            ("2001:db8:1::1", "US"),
            ("2001:DB8:2:0:0:0:0:1", "DE"),
            ("2001:db8:3:ffff::", "GB"),
        ] {
            let found = database.country(address.as_bytes()).unwrap();
            assert_eq!(found.as_str(), country, "{address}");
        }
    }

    #[test]
    fn unknown_and_hidden_addresses_have_no_country() {
        let database = CountryDatabase::open(Path::new(FIXTURE)).unwrap();
        for address in [
            "192.0.2.192",
            "10.0.0.1",
            "2001:db8:4::1",
            // Only the country of the provider is known.
            "203.0.113.200",
            "",
            "-",
            "192.0.2.x",
            "192.0.2",
            "192.0.2.1:80",
            "[2001:db8:1::1]",
            "0123456789abcdef",
            "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3",
            "radio.example.org",
        ] {
            assert_eq!(database.country(address.as_bytes()), None, "{address}");
        }
        assert_eq!(database.country(b"192.0.2.1\xff"), None);
    }

    #[test]
    fn databases_of_several_makers_are_read() {
        let nested = |code: &str| map(&[("country", map(&[("iso_code", string(code))]))]);
        let name = || ("country", string("United States"));
        for record in [
            nested("US"),
            nested("us"),
            map(&[name(), ("country_code", string("US"))]),
            map(&[("country", string("US")), ("country_name", string("x"))]),
        ] {
            assert_eq!(country_of(&record), Ok(Some("US".into())));
        }
        for record in [
            nested("USA"),
            nested("1\n"),
            nested(""),
            map(&[name()]),
            map(&[("country", vec![0xa1, 7])]),
            map(&[("autonomous_system_number", vec![0xa1, 7])]),
            map(&[("registered_country", map(&[("iso_code", string("US"))]))]),
            string("US"),
            // A pointer to itself, and a record that ends too early.
            vec![0x20, 0],
            vec![0xe1],
        ] {
            let error = country_of(&record).unwrap_err();
            assert!(error.contains("without countries (Test)"), "{error}");
        }
    }

    #[test]
    fn other_files_are_refused_with_their_name_and_where_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.mmdb");
        let text = folder.path().join("countries.csv");
        fs::write(&text, "192.0.2.0/25,US\n").unwrap();
        let asn = folder.path().join("asn.mmdb");
        fs::write(&asn, database(&map(&[("organization", string("x"))]))).unwrap();
        for (file, part) in [
            (&missing, "cannot be read"),
            (&folder.path().to_path_buf(), "cannot be read"),
            (&text, "not a database in MaxMind's format"),
            (&asn, "a database without countries (Test); download"),
        ] {
            let error = CountryDatabase::open(file).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            let start = format!("--geoip-database={}: {part}", file.display());
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }

    #[test]
    fn codes_are_two_letters() {
        for text in ["US", "us", " Us "] {
            assert_eq!(text.parse::<CountryCode>().unwrap().to_string(), "US");
        }
        for text in ["", "U", "USA", "U1", "Ü", "日", "U S", "United States"] {
            let error = text.parse::<CountryCode>().unwrap_err();
            assert!(error.contains("two letters"), "{error}");
        }
        let error = "uk".parse::<CountryCode>().unwrap_err();
        assert!(error.contains("GB"), "{error}");
    }

    fn look_up(bytes: Vec<u8>) {
        if let Ok(database) = CountryDatabase::of_bytes(bytes) {
            for address in [
                "192.0.2.1",
                "203.0.113.200",
                "2001:db8:3::1",
                "::",
                "9.9.9.9",
            ] {
                database.country(address.as_bytes());
            }
        }
    }

    #[test]
    fn damaged_databases_never_panic() {
        let whole = fs::read(FIXTURE).unwrap();
        for length in 0..whole.len() {
            look_up(whole[..length].to_vec());
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                look_up(damaged);
            }
        }
    }

    proptest! {
        #[test]
        fn badly_damaged_databases_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
            record in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = fs::read(FIXTURE).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            look_up(bytes);
            look_up(database(&record));
        }
    }
}
