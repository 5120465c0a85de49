//! `Live.getLastVisitsDetails`: the visits of a site and days, newest first, with their actions.

use std::cmp::Reverse;
use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hyper::Response;
use hyper::body::Bytes;
use import_logs::sandbox::http::{api_error, json};
use import_logs::sandbox::{ApiRequest, HitStore};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};
use url::form_urlencoded;

/// What the visitor log shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    #[default]
    Open,
    /// The token may not see it.
    Closed,
    /// Addresses lose their last two bytes, IPv6 all but 48 bits (Matomo's default).
    Anonymised,
}

/// Visits in a response, if the call does not say how many.
const DEFAULT_LIMIT: usize = 100;

/// Actions of a visit that are shown.
const SHOWN_ACTIONS: usize = 500;

/// Actions of one visitor, each soon after the one before.
#[derive(Clone, Debug, Default)]
struct Visit {
    /// Day, visitor, and number within the two.
    key: (String, String, i64),
    /// Its first row in the table of hits.
    id: i64,
    address: String,
    uid: Option<String>,
    first: i64,
    /// UTC, seconds since 1970.
    last: i64,
    actions: Vec<Action>,
}

#[derive(Clone, Debug, Default)]
struct Action {
    url: Option<String>,
    kind: String,
    pv_id: Option<String>,
    title: Option<String>,
    epoch: i64,
    event: [Option<String>; 3],
    value: Option<f64>,
}

impl Visit {
    fn from_row(key: (String, String, i64), row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            key,
            id: row.get(3)?,
            address: row.get(4)?,
            uid: row.get(5)?,
            first: row.get(6)?,
            last: row.get(6)?,
            actions: Vec::new(),
        })
    }

    fn last_hour(&self) -> i64 {
        self.last.rem_euclid(86_400) / 3600
    }

    /// The address as it is shown and searched for.
    fn address(&self, anonymised: bool) -> String {
        match anonymised {
            true => masked(&self.address),
            false => self.address.clone(),
        }
    }

    fn shown(&self, idsite: i64, anonymised: bool) -> Value {
        let shown = self.actions.iter().take(SHOWN_ACTIONS);
        let actions: Vec<Value> = shown.map(Action::shown).collect();
        let mut shown = json!({
            "idSite": idsite.to_string(),
            "idVisit": self.id.to_string(),
            "visitIp": self.address(anonymised),
            "visitorId": self.key.1,
            "userId": self.uid,
            "serverDate": self.key.0,
            "firstActionTimestamp": self.first,
            "lastActionTimestamp": self.last,
            "actions": self.actions.len().to_string(),
            "actionDetails": actions,
        });
        if self.actions.len() > SHOWN_ACTIONS {
            shown["truncatedActionsCount"] = json!(self.actions.len() - SHOWN_ACTIONS);
        }
        shown
    }
}

impl Action {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            epoch: row.get(6)?,
            url: row.get(7)?,
            kind: row.get(8)?,
            pv_id: row.get(9)?,
            title: row.get(10)?,
            event: [row.get(11)?, row.get(12)?, row.get(13)?],
            value: row.get(14)?,
        })
    }

    fn shown(&self) -> Value {
        let mut shown = json!({
            "type": match self.kind.as_str() {
                "download" => "download",
                "event" => "event",
                _ => "action",
            },
            "url": self.url,
            "idpageview": self.pv_id,
            "timestamp": self.epoch,
            "pageTitle": self.title,
        });
        if self.kind == "event" {
            let [category, action, name] = &self.event;
            shown["eventCategory"] = json!(category);
            shown["eventAction"] = json!(action);
            shown["eventName"] = json!(name);
            shown["eventValue"] = json!(self.value);
        }
        shown
    }
}

/// The response for a site that exists.
pub(super) fn last_visits(store: &HitStore, call: &ApiRequest, live: Live) -> Response<Bytes> {
    let idsite: i64 = call.get("idSite").parse().unwrap();
    if live == Live::Closed {
        let message = format!(
            "You can't access this resource as it requires 'view' access for the website id = {idsite}."
        );
        return api_error(401, &message);
    }
    let Some(days) = days(call.get("period"), call.get("date"), Utc::now()) else {
        return api_error(200, "The period or the date is not supported.");
    };
    let segment = match Segment::parse(call.get("segment")) {
        Ok(segment) => segment,
        Err(part) => {
            let message = format!("The segment condition '{part}' is not valid.");
            return api_error(200, &message);
        }
    };
    let anonymised = live == Live::Anonymised;
    let after = call.get("minTimestamp").parse().unwrap_or(i64::MIN);
    let matches = |visit: &Visit| visit.last > after && segment.matches(visit, anonymised);
    let mut visits = store
        .read(|db| matching(db, idsite, days, matches))
        .unwrap();
    match call.get("filter_sort_order") {
        "asc" => visits.sort_by_key(|visit| (visit.last, visit.id)),
        _ => visits.sort_by_key(|visit| Reverse((visit.last, visit.id))),
    }
    let offset = call.get("filter_offset").parse().unwrap_or(0);
    let limit = match call.get("filter_limit") {
        "-1" => usize::MAX,
        number => number.parse().unwrap_or(DEFAULT_LIMIT),
    };
    let page = visits.iter().skip(offset).take(limit);
    let shown: Vec<Value> = page.map(|visit| visit.shown(idsite, anonymised)).collect();
    json(200, &json!(shown))
}

/// First and last day of a `day` or a `range`. The sites' time zone is UTC.
fn days(period: &str, date: &str, now: DateTime<Utc>) -> Option<[NaiveDate; 2]> {
    let day = |text: &str| match text {
        "today" => Some(now.date_naive()),
        "yesterday" => Some((now - TimeDelta::days(1)).date_naive()),
        text => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
    };
    match period {
        "day" => day(date).map(|day| [day, day]),
        "range" => {
            let (from, to) = date.split_once(',')?;
            Some([day(from)?, day(to)?])
        }
        _ => None,
    }
}

/// The visits of these days that match. Only they are kept in memory.
fn matching(
    db: &Connection,
    idsite: i64,
    days: [NaiveDate; 2],
    matches: impl Fn(&Visit) -> bool,
) -> rusqlite::Result<Vec<Visit>> {
    let mut query = db.prepare_cached(
        "SELECT day, visitor, visit, id, address, uid, epoch, url, kind, pv_id, action_name, e_c, e_a, e_n, e_v
         FROM visit_hits WHERE idsite = ? AND day BETWEEN ? AND ? ORDER BY day, visitor, visit, epoch, id",
    )?;
    let [from, to] = days.map(|day| day.format("%Y-%m-%d").to_string());
    let mut rows = query.query(params![idsite, from, to])?;
    let mut found = Vec::new();
    let mut visit = Visit::default();
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, row.get(1)?, row.get(2)?);
        if visit.key != key {
            let done = std::mem::replace(&mut visit, Visit::from_row(key, row)?);
            if !done.actions.is_empty() && matches(&done) {
                found.push(done);
            }
        }
        visit.last = row.get(6)?;
        visit.actions.push(Action::from_row(row)?);
    }
    if !visit.actions.is_empty() && matches(&visit) {
        found.push(visit);
    }
    Ok(found)
}

/// The address without its last two bytes; of IPv6, the first 48 bits.
fn masked(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, ..] = address.octets();
            format!("{a}.{b}.0.0")
        }
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0]).to_string()
        }
        Err(_) => address.to_owned(),
    }
}

/// Conditions that must all match, each a list of alternatives.
#[derive(Debug, PartialEq, Eq)]
struct Segment(Vec<Vec<Condition>>);

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// `None`: not an address, which no visit has.
    Address(Option<IpAddr>),
    Url(String),
    UrlPrefix(String),
    User(String),
    Visitor(String),
    /// The hour (UTC) of a visit's last action.
    Hour(u32),
}

impl Segment {
    /// Parses `name==value` and `name=^value` conditions. `,` separates alternatives and binds closer than `;`, which
    /// separates what must match as well. The error is the invalid part.
    fn parse(text: &str) -> Result<Self, String> {
        let all = text.split(';').filter(|part| !part.is_empty());
        all.map(|part| part.split(',').map(Condition::parse).collect())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn matches(&self, visit: &Visit, anonymised: bool) -> bool {
        let matches = |condition: &Condition| condition.matches(visit, anonymised);
        self.0
            .iter()
            .all(|alternatives| alternatives.iter().any(matches))
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || text.chars().take(100).collect::<String>();
        if let Some(("actionUrl", value)) = text.split_once("=^") {
            return Ok(Self::UrlPrefix(decode(value)));
        }
        let (name, value) = text.split_once("==").ok_or_else(invalid)?;
        let value = decode(value);
        match name {
            "visitIp" => Ok(Self::Address(value.parse().ok())),
            "actionUrl" => Ok(Self::Url(value)),
            "visitorId" => Ok(Self::Visitor(value)),
            "userId" => Ok(Self::User(value)),
            "visitServerHour" => value.parse().map(Self::Hour).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }

    fn matches(&self, visit: &Visit, anonymised: bool) -> bool {
        match self {
            Self::Address(address) => {
                address.is_some() && visit.address(anonymised).parse().ok() == *address
            }
            Self::Url(url) => visit
                .actions
                .iter()
                .any(|action| action.url.as_ref() == Some(url)),
            Self::UrlPrefix(prefix) => visit.actions.iter().any(|action| {
                action
                    .url
                    .as_ref()
                    .is_some_and(|url| url.starts_with(prefix))
            }),
            Self::Visitor(visitor) => visit.key.1 == *visitor,
            Self::User(user) => visit.uid.as_ref() == Some(user),
            Self::Hour(hour) => visit.last_hour() == i64::from(*hour),
        }
    }
}

/// Percent-decodes like PHP's `urldecode`: `+` is a blank.
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

    #[test]
    fn days_and_ranges_are_parsed() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
        let one = day("2026-09-20");
        assert_eq!(days("day", "2026-09-20", now), Some([one, one]));
        assert_eq!(
            days("range", "2026-09-20,today", now),
            Some([one, now.date_naive()])
        );
        assert_eq!(days("week", "2026-09-20", now), None);
        assert_eq!(days("range", "2026-09-20", now), None);
        assert_eq!(days("day", "x", now), None);
    }

    #[test]
    fn addresses_are_masked_by_two_bytes() {
        assert_eq!(masked("10.1.2.3"), "10.1.0.0");
        assert_eq!(masked("2001:db8:1:2:3::4"), "2001:db8:1::");
    }

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

    fn matches(segment: &str) -> bool {
        Segment::parse(segment).unwrap().matches(&visit(), false)
    }

    #[test]
    fn conditions_are_decoded_and_compared_as_a_whole() {
        assert!(matches("actionUrl==http%3A%2F%2Fa%2Fx%3Fb%3D1%26c%3D2"));
        assert!(matches("actionUrl==http://a/y+z"));
        assert!(!matches("actionUrl==http%3A%2F%2Fa%2F"));
        assert!(matches("actionUrl=^http%3A%2F%2Fa%2F"));
        assert!(!matches("actionUrl=^http%3A%2F%2Fb%2F"));
        assert!(matches("visitIp==10.0.0.1"));
        assert!(matches("userId==ann"));
        assert!(matches("visitServerHour==10"));
        assert!(matches(""));
    }

    #[test]
    fn a_comma_binds_closer_than_a_semicolon() {
        assert!(matches(
            "visitIp==9.9.9.9,visitIp==10.0.0.1;visitServerHour==10"
        ));
        assert!(!matches("visitIp==10.0.0.1;visitServerHour==11"));
        assert!(!matches(
            "visitIp==9.9.9.9,visitIp==8.8.8.8;visitServerHour==10"
        ));
    }

    #[test]
    fn anonymised_addresses_do_not_match() {
        let segment = Segment::parse("visitIp==10.0.0.1").unwrap();
        assert!(!segment.matches(&visit(), true));
        let segment = Segment::parse("visitIp==10.0.0.0").unwrap();
        assert!(segment.matches(&visit(), true));
    }

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        let visit = Visit {
            address: "2001:db8::1".into(),
            ..visit()
        };
        let matches = |segment: &str| Segment::parse(segment).unwrap().matches(&visit, false);
        assert!(matches("visitIp==2001%3ADB8%3A0%3A0%3A%3A01"));
        assert!(!matches("visitIp==2001%3Adb8%3A%3A2"));
        assert!(!matches("visitIp==-"));
    }

    #[test]
    fn an_invalid_condition_is_named() {
        assert_eq!(
            Segment::parse("visitIp==1;browser==x"),
            Err("browser==x".into())
        );
        assert_eq!(
            Segment::parse("visitServerHour==x"),
            Err("visitServerHour==x".into())
        );
    }
}
