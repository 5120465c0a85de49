//! A segment: which visits a question is about.

use std::net::IpAddr;

use url::form_urlencoded;

use super::live::Visit;

/// Conditions that must all hold, each a list of alternatives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment(Vec<Vec<Condition>>);

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// `None`: no address, which nobody has.
    Address(Option<IpAddr>),
    Url(String),
    User(String),
    /// The hour (UTC) of a visit's last action.
    Hour(u32),
}

impl Segment {
    /// Reads `name==value` conditions, `,` for alternatives, which binds closer than `;` for what must hold as
    /// well. The error is the part that is not understood.
    pub fn read(text: &str) -> Result<Self, String> {
        let all = text.split(';').filter(|part| !part.is_empty());
        all.map(|part| part.split(',').map(Condition::read).collect())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn holds(&self, visit: &Visit, anonymised: bool) -> bool {
        let holds = |condition: &Condition| condition.holds(visit, anonymised);
        self.0
            .iter()
            .all(|alternatives| alternatives.iter().any(holds))
    }
}

impl Condition {
    fn read(text: &str) -> Result<Self, String> {
        let unknown = || text.chars().take(100).collect::<String>();
        let (name, value) = text.split_once("==").ok_or_else(unknown)?;
        let value = decode(value);
        match name {
            "visitIp" => Ok(Self::Address(value.parse().ok())),
            "actionUrl" => Ok(Self::Url(value)),
            "userId" => Ok(Self::User(value)),
            "visitServerHour" => value.parse().map(Self::Hour).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }

    fn holds(&self, visit: &Visit, anonymised: bool) -> bool {
        match self {
            Self::Address(address) => {
                address.is_some() && visit.address(anonymised).parse().ok() == *address
            }
            Self::Url(url) => visit
                .actions
                .iter()
                .any(|action| action.url.as_ref() == Some(url)),
            Self::User(user) => visit.uid.as_ref() == Some(user),
            Self::Hour(hour) => visit.last_hour() == i64::from(*hour),
        }
    }
}

/// Percent-decoded as PHP's `urldecode` does it: `+` is a blank.
fn decode(value: &str) -> String {
    let one_key = value.replace('&', "%26").replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(one_key.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(key, _)| key.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::live::Action;

    fn visit() -> Visit {
        let action = |url: &str| Action {
            url: Some(url.to_owned()),
            ..Action::default()
        };
        Visit {
            address: "10.0.0.1".into(),
            uid: Some("ann".into()),
            last: 10 * 3600 + 5,
            actions: vec![action("http://a/x?b=1&c=2"), action("http://a/y z")],
            ..Visit::default()
        }
    }

    fn holds(segment: &str) -> bool {
        Segment::read(segment).unwrap().holds(&visit(), false)
    }

    #[test]
    fn conditions_are_decoded_and_compared_whole() {
        assert!(holds("actionUrl==http%3A%2F%2Fa%2Fx%3Fb%3D1%26c%3D2"));
        assert!(holds("actionUrl==http://a/y+z"));
        assert!(!holds("actionUrl==http%3A%2F%2Fa%2F"));
        assert!(holds("visitIp==10.0.0.1"));
        assert!(holds("userId==ann"));
        assert!(holds("visitServerHour==10"));
        assert!(holds(""));
    }

    #[test]
    fn a_comma_binds_closer_than_a_semicolon() {
        assert!(holds(
            "visitIp==9.9.9.9,visitIp==10.0.0.1;visitServerHour==10"
        ));
        assert!(!holds("visitIp==10.0.0.1;visitServerHour==11"));
        assert!(!holds(
            "visitIp==9.9.9.9,visitIp==8.8.8.8;visitServerHour==10"
        ));
    }

    #[test]
    fn anonymised_addresses_are_not_found() {
        let segment = Segment::read("visitIp==10.0.0.1").unwrap();
        assert!(!segment.holds(&visit(), true));
        let segment = Segment::read("visitIp==10.0.0.0").unwrap();
        assert!(segment.holds(&visit(), true));
    }

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        let visit = Visit {
            address: "2001:db8::1".into(),
            ..visit()
        };
        let holds = |segment: &str| Segment::read(segment).unwrap().holds(&visit, false);
        assert!(holds("visitIp==2001%3ADB8%3A0%3A0%3A%3A01"));
        assert!(!holds("visitIp==2001%3Adb8%3A%3A2"));
        assert!(!holds("visitIp==-"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(
            Segment::read("visitIp==1;browser==x"),
            Err("browser==x".into())
        );
        assert_eq!(
            Segment::read("visitServerHour==x"),
            Err("visitServerHour==x".into())
        );
    }
}
