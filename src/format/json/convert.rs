//! Conversions of values that are not written as a field is.

use std::net::IpAddr;

use bumpalo::Bump;

use crate::format::Field;
use crate::format::address::LoggedAddress;

/// How a value becomes a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversion {
    #[default]
    None,
    /// A number in this unit, or a text with a unit of its own: `0.012s`, `21ms`, `1m2.5s`.
    Duration(TimeUnit),
    /// The same in seconds, but a whole number has an unknown unit and is not taken.
    FractionalSeconds,
    /// A user agent that is percent-encoded this many times.
    PercentEncoded(u8),
    /// A query to which Azure's gateway has added its own parameters.
    GatewayQuery,
    /// The address at the other end of a connection. If it is private, it is that of a proxy, and
    /// other keys of the field are preferred.
    Peer,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Second,
    Milli,
    Micro,
    Nano,
}

impl TimeUnit {
    fn milliseconds(self, number: f64) -> f64 {
        match self {
            TimeUnit::Second => number * 1e3,
            TimeUnit::Milli => number,
            TimeUnit::Micro => number / 1e3,
            TimeUnit::Nano => number / 1e6,
        }
    }

    /// The fields in which [`duration`] may return a value in this unit.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.field().into_iter().chain([Field::GenerationTimeMilli])
    }

    /// The field that has this unit.
    pub fn field(self) -> Option<Field> {
        match self {
            TimeUnit::Second => Some(Field::GenerationTimeSecs),
            TimeUnit::Milli => Some(Field::GenerationTimeMilli),
            TimeUnit::Micro => Some(Field::GenerationTimeMicro),
            TimeUnit::Nano => None,
        }
    }
}

/// Reads a duration. A unit in the text wins over `unit`. Returns the field whose unit the value
/// has, and `None` if the text is not a duration.
pub fn duration<'a>(text: &'a [u8], unit: TimeUnit, arena: &'a Bump) -> Option<(Field, &'a [u8])> {
    let text = text.trim_ascii();
    if text.last()?.is_ascii_digit() {
        if let Some(field) = unit.field() {
            return Some((field, text));
        }
        let number: f64 = str::from_utf8(text).ok()?.parse().ok()?;
        return as_milliseconds(unit.milliseconds(number), arena);
    }
    // Most logs write the unit of the key.
    if let Some((number, written)) = with_unit(text)
        && let Some(field) = written.field()
        && unit.fields().any(|own| own == field)
        && is_decimal(number)
    {
        return Some((field, number));
    }
    as_milliseconds(parts_in_milliseconds(text)?, arena)
}

fn as_milliseconds(milliseconds: f64, arena: &Bump) -> Option<(Field, &[u8])> {
    let text = milliseconds.is_finite().then(|| milliseconds.to_string())?;
    Some((
        Field::GenerationTimeMilli,
        arena.alloc_str(&text).as_bytes(),
    ))
}

/// Splits `21ms` into its number and its unit.
fn with_unit(text: &[u8]) -> Option<(&[u8], TimeUnit)> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let end = text.iter().rposition(is_of_number)? + 1;
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim_ascii_start() {
        b"s" | b"sec" | b"secs" | b"second" | b"seconds" => TimeUnit::Second,
        b"ms" | b"msec" => TimeUnit::Milli,
        // With the micro sign, or with a Greek mu.
        b"us" | b"usec" | b"\xc2\xb5s" | b"\xce\xbcs" => TimeUnit::Micro,
        b"ns" => TimeUnit::Nano,
        _ => return None,
    };
    Some((number, unit))
}

/// Milliseconds of a duration in several parts, as Go writes them: `1h2m3.5s`.
fn parts_in_milliseconds(mut text: &[u8]) -> Option<f64> {
    let mut sum = 0.0;
    while !text.is_empty() {
        let is_of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let number = text.iter().take_while(|byte| is_of_number(byte)).count();
        let unit = text[number..].iter();
        let unit = unit.take_while(|byte| !is_of_number(byte)).count();
        let (part, rest) = text.split_at(number + unit);
        let (number, unit) = part.split_at(number);
        let number: f64 = str::from_utf8(number).ok()?.parse().ok()?;
        sum += match unit {
            b"h" => number * 3_600_000.0,
            b"m" => number * 60_000.0,
            _ => with_unit(part)?.1.milliseconds(number),
        };
        text = rest;
    }
    Some(sum)
}

fn is_decimal(text: &[u8]) -> bool {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    text.iter().all(is_of_number)
}

/// The client's part of a query.
pub fn without_gateway_parameters(query: &[u8]) -> &[u8] {
    const FIRST: &[u8] = b"X-AzureApplicationGateway-";
    match memchr::memmem::find(query, FIRST) {
        Some(at) => query[..at].strip_suffix(b"&").unwrap_or(&query[..at]),
        None => query,
    }
}

/// Whether an address is one of a private network, or of the machine itself.
pub fn is_private(field: &[u8]) -> bool {
    let Some(LoggedAddress::Ip(text)) = LoggedAddress::first(field) else {
        return false;
    };
    match str::from_utf8(text).map(str::parse) {
        Ok(Ok(IpAddr::V4(ip))) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Ok(Ok(IpAddr::V6(ip))) => {
            ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The milliseconds of a duration, as a hit has them.
    fn milliseconds(text: &str, unit: TimeUnit) -> Option<f64> {
        let arena = Bump::new();
        let (field, text) = duration(text.as_bytes(), unit, &arena)?;
        assert!(unit.fields().any(|own| own == field), "{field:?}");
        let number: f64 = str::from_utf8(text).unwrap().parse().ok()?;
        Some(match field {
            Field::GenerationTimeSecs => number * 1e3,
            Field::GenerationTimeMicro => number * 0.001,
            _ => number,
        })
    }

    #[test]
    fn a_number_has_the_unit_of_its_key() {
        for (unit, want) in [
            (TimeUnit::Second, 1_500_000.0),
            (TimeUnit::Milli, 1500.0),
            (TimeUnit::Micro, 1.5),
            (TimeUnit::Nano, 0.0015),
        ] {
            assert_eq!(milliseconds("1500", unit), Some(want), "{unit:?}");
        }
    }

    #[test]
    fn a_unit_in_the_text_wins() {
        for unit in [
            TimeUnit::Second,
            TimeUnit::Milli,
            TimeUnit::Micro,
            TimeUnit::Nano,
        ] {
            for (text, want) in [
                ("0.012s", 12.0),
                ("21ms", 21.0),
                (" 21 ms ", 21.0),
                ("340us", 0.34),
                ("340µs", 0.34),
                ("340μs", 0.34),
                ("1500ns", 0.0015),
                ("1m2.5s", 62_500.0),
                ("1h2m3s", 3_723_000.0),
                ("2m", 120_000.0),
            ] {
                let found = milliseconds(text, unit);
                assert!(
                    found.is_some_and(|found| (found - want).abs() < 1e-9),
                    "{text} {unit:?} {found:?}"
                );
            }
            for text in [
                "", "s", "soon", "ms", "1 2s", "1.2.3s", "1x", "h", "1e5s", "-", "NaN", "1s2",
            ] {
                let found = milliseconds(text, unit);
                assert_eq!(found, None, "{text} {unit:?}");
            }
        }
    }

    #[test]
    fn the_gateway_is_removed_from_a_query() {
        for (query, want) in [
            ("a=1&b=2", "a=1&b=2"),
            (
                "a=1&X-AzureApplicationGateway-CACHE-HIT=0&SERVER-STATUS=200",
                "a=1",
            ),
            ("X-AzureApplicationGateway-CACHE-HIT=0", ""),
            ("", ""),
        ] {
            let found = without_gateway_parameters(query.as_bytes());
            assert_eq!(found, want.as_bytes());
        }
    }

    #[test]
    fn private_addresses_are_those_of_proxies() {
        for (text, want) in [
            ("10.0.0.1:4000", true),
            ("192.168.1.1", true),
            ("172.16.0.9", true),
            ("127.0.0.1:80", true),
            ("169.254.1.1", true),
            ("[fd00::1]:443", true),
            ("fe80::1%eth0", true),
            ("::1", true),
            ("203.0.113.9:443", false),
            ("2001:db8::1", false),
            ("www.example.com", false),
            ("-", false),
            ("", false),
        ] {
            assert_eq!(is_private(text.as_bytes()), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_none(
            bytes in prop::collection::vec(any::<u8>(), 0..20), text in "[0-9.hmsnµu ]{0,12}",
        ) {
            let arena = Bump::new();
            for text in [&bytes[..], text.as_bytes()] {
                for unit in [TimeUnit::Second, TimeUnit::Nano] {
                    if let Some((field, _)) = duration(text, unit, &arena) {
                        prop_assert!(unit.fields().any(|own| own == field));
                    }
                }
                without_gateway_parameters(text);
                is_private(text);
            }
        }

        #[test]
        fn a_duration_is_read_to_the_digit(whole in 0_u32..1_000_000, thousandth in 0_u32..1000) {
            let text = format!("{whole}.{thousandth:03}");
            let number: f64 = text.parse().unwrap();
            prop_assert_eq!(milliseconds(&format!("{text}ms"), TimeUnit::Second), Some(number));
            prop_assert_eq!(milliseconds(&text, TimeUnit::Milli), Some(number));
        }
    }
}
