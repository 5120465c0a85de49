//! What becomes of one hit: Matomo's checks of site, token, date and address.

use std::net::{IpAddr, Ipv4Addr};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::access::Role;
use super::stored::{Stored, integer, text};

#[derive(Debug)]
pub(super) enum Verdict {
    Store(Box<Stored>),
    /// Tracked, but left out on purpose: `rec=0`, `ping=1`.
    LeftOut,
    /// Invalid: no such site, or a date or address that the token does not allow.
    Refused,
    /// Makes the whole batch fail.
    Fails,
    /// Neither tracked nor invalid.
    Gone,
}

impl Verdict {
    pub fn is_tracked(&self) -> bool {
        matches!(self, Self::Store(_) | Self::LeftOut)
    }
}

/// A date older than this needs a token.
const FREE: TimeDelta = TimeDelta::days(1);
/// A date older than this counts as none.
const OLDEST: TimeDelta = TimeDelta::days(20 * 365);

/// Judges a hit that came with a token of this role; `knows` tells which sites there are.
pub(super) fn judge(
    hit: &Map<String, Value>,
    role: Role,
    knows: impl FnOnce(i64) -> bool,
    now: DateTime<Utc>,
) -> Verdict {
    let Some(site) = integer(hit, "idsite").filter(|site| *site > 0) else {
        return Verdict::Refused;
    };
    let date = text(hit, "cdt")
        .and_then(|cdt| date(&cdt))
        .filter(|date| *date <= now && now.signed_duration_since(date) < OLDEST);
    let address = text(hit, "cip");
    let is_old = date.is_some_and(|date| now.signed_duration_since(date) > FREE);
    if (is_old || address.is_some()) && role < Role::Write || !knows(site) {
        return Verdict::Refused;
    }
    if integer(hit, "rec") != Some(1) || integer(hit, "ping") == Some(1) {
        return Verdict::LeftOut;
    }
    if integer(hit, "bw_bytes").is_some_and(|bytes| bytes < 0) {
        return Verdict::Fails;
    }
    let address = match address {
        // All that talk to the sandbox are on this machine.
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(address) => address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    };
    Verdict::Store(Box::new(Stored::new(
        hit,
        site,
        date.unwrap_or(now),
        address,
    )))
}

/// `YYYY-MM-DD hh:mm:ss` in UTC, with a fraction or a `T`, or epoch seconds.
fn date(text: &str) -> Option<DateTime<Utc>> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"));
    match parsed {
        Ok(date) => Some(date.and_utc()),
        Err(_) => DateTime::from_timestamp(text.parse().ok()?, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_790_000_000;

    fn verdict(hit: Value, role: Role) -> Verdict {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        judge(hit.as_object().unwrap(), role, |site| site == 1, now)
    }

    fn epoch(cdt: &str) -> i64 {
        match verdict(json!({"idsite": 1, "rec": 1, "cdt": cdt}), Role::Super) {
            Verdict::Store(stored) => stored.epoch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(epoch("2026-09-20 10:00:00"), 1_789_898_400);
        assert_eq!(epoch("2026-09-20 10:00:00.250"), 1_789_898_400);
        assert_eq!(epoch("1789898400"), 1_789_898_400);
    }

    #[test]
    fn no_date_the_future_and_long_ago_are_now() {
        for cdt in [
            "",
            "yesterday",
            "2026-13-01 00:00:00",
            "2027-01-01 00:00:00",
            "1999-01-01 00:00:00",
        ] {
            assert_eq!(epoch(cdt), NOW, "{cdt}");
        }
    }

    #[test]
    fn an_address_or_an_old_date_needs_a_token_that_may_write() {
        let address = json!({"idsite": 1, "rec": 1, "cip": "10.0.0.1"});
        let old = json!({"idsite": 1, "rec": 1, "cdt": "2026-09-01 00:00:00"});
        let plain = json!({"idsite": 1, "rec": 1, "url": "http://a/"});
        for role in [Role::Bad, Role::None, Role::View] {
            assert!(matches!(verdict(address.clone(), role), Verdict::Refused));
            assert!(matches!(verdict(old.clone(), role), Verdict::Refused));
            assert!(matches!(verdict(plain.clone(), role), Verdict::Store(_)));
        }
        for role in [Role::Write, Role::Super] {
            assert!(matches!(verdict(address.clone(), role), Verdict::Store(_)));
            assert!(matches!(verdict(old.clone(), role), Verdict::Store(_)));
        }
    }

    #[test]
    fn a_site_must_be_there() {
        for site in [
            json!(2),
            json!("x"),
            json!(0),
            json!(-1),
            Value::Null,
            json!([1]),
        ] {
            assert!(matches!(
                verdict(json!({"idsite": site, "rec": 1}), Role::Super),
                Verdict::Refused
            ));
        }
        assert!(matches!(
            verdict(json!({"idsite": "1", "rec": "1"}), Role::Super),
            Verdict::Store(_)
        ));
    }

    #[test]
    fn unrecorded_hits_and_pings_count_but_are_left_out() {
        assert!(matches!(
            verdict(json!({"idsite": 1, "rec": 0}), Role::Super),
            Verdict::LeftOut
        ));
        assert!(matches!(
            verdict(json!({"idsite": 1, "rec": 1, "ping": 1}), Role::Super),
            Verdict::LeftOut
        ));
    }

    #[test]
    fn negative_bytes_make_the_batch_fail() {
        assert!(matches!(
            verdict(json!({"idsite": 1, "rec": 1, "bw_bytes": -5}), Role::Super),
            Verdict::Fails
        ));
    }

    #[test]
    fn what_is_no_address_is_all_zeros() {
        let Verdict::Store(stored) = verdict(
            json!({"idsite": 1, "rec": 1, "cip": "unknown"}),
            Role::Super,
        ) else {
            panic!("not stored");
        };
        assert_eq!(stored.address, "0.0.0.0");
    }
}
