//! `Live.getLastVisitsDetails`: the visits of a site and days, newest first, with their actions.

use std::cmp::Reverse;
use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use hyper::Response;
use hyper::body::Bytes;
use import_logs::sandbox::http::{api_error, json};
use import_logs::sandbox::{ApiRequest, HitStore};
use ipnet::IpNet;
use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::actions::Actions;

/// Whether the token may see the visitor log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Live {
    #[default]
    Open,
    Closed,
}

/// How many bytes of an IPv4 address are set to zero. For IPv6, it is 64, 80 or 104 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// Addresses are not anonymized.
    Off,
    OneByte,
    /// Matomo's default.
    #[default]
    TwoBytes,
    ThreeBytes,
}

impl Mask {
    fn of(self, address: &str) -> String {
        let (v4, v6) = match self {
            Self::Off => (32, 128),
            Self::OneByte => (24, 64),
            Self::TwoBytes => (16, 48),
            Self::ThreeBytes => (8, 24),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return address.to_owned();
        };
        let bits = match address {
            IpAddr::V4(_) => v4,
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => 96 + v4,
            IpAddr::V6(_) => v6,
        };
        let network = IpNet::new(address, bits).unwrap();
        network.trunc().addr().to_string()
    }
}

/// How visits are shown and found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    pub mask: Mask,
    /// `actionUrl==` finds all hits of a URL, whatever their action IDs.
    pub unique_actions: bool,
}

/// The default of `filter_limit`.
const DEFAULT_LIMIT: usize = 100;
/// The most actions of a visit in a response. Further actions are only counted.
const MAX_ACTIONS: usize = 500;

/// Actions of one visitor, each soon after the previous.
#[derive(Clone, Debug, Default)]
pub(super) struct Visit {
    /// The day, the visitor, and the number of the visit within them.
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
    /// Its row in the table of hits.
    row: i64,
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

    /// The number of its actions.
    pub fn actions(&self) -> usize {
        self.actions.len()
    }

    /// In seconds. Matomo adds one if there are several actions.
    fn duration(&self) -> i64 {
        self.last - self.first + i64::from(self.actions.len() > 1)
    }

    fn shown(&self, idsite: i64, mask: Mask) -> Map<String, Value> {
        let actions = self.actions.iter().take(MAX_ACTIONS);
        let actions: Vec<Value> = actions.map(Action::shown).collect();
        let hidden = self.actions.len() - actions.len();
        let visit = json!({
            "idSite": idsite.to_string(),
            "idVisit": self.id.to_string(),
            "visitIp": mask.of(&self.address),
            "visitorId": self.key.1,
            "userId": self.uid,
            "serverDate": self.key.0,
            "firstActionTimestamp": self.first,
            "lastActionTimestamp": self.last,
            "visitDuration": self.duration().to_string(),
            "actions": self.actions.len().to_string(),
            "actionDetails": actions,
        });
        let mut visit = visit.as_object().unwrap().clone();
        if hidden > 0 {
            visit.insert("truncatedActionsCount".into(), json!(hidden));
        }
        visit
    }
}

impl Action {
    fn from_row(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(3)?,
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
pub(super) fn last_visits(
    store: &HitStore,
    call: &ApiRequest,
    live: Live,
    actions: &Actions,
    shown: Shown,
) -> Response<Bytes> {
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
        Err(part) => return invalid_segment(&part),
    };
    let min_timestamp = call.get("minTimestamp").parse().unwrap_or(i64::MIN);
    let mut visits = matching(store, idsite, days, &segment, actions, shown);
    visits.retain(|visit| visit.last > min_timestamp);
    match call.get("filter_sort_order") {
        "asc" => visits.sort_by_key(|visit| (visit.last, visit.id)),
        _ => visits.sort_by_key(|visit| Reverse((visit.last, visit.id))),
    }
    let offset = call.get("filter_offset").parse().unwrap_or(0);
    let limit = match call.get("filter_limit") {
        "-1" => usize::MAX,
        number => number.parse().unwrap_or(DEFAULT_LIMIT),
    };
    let columns: Vec<&str> = match call.get("showColumns") {
        "" => Vec::new(),
        columns => columns.split(',').collect(),
    };
    let page = visits.iter().skip(offset).take(limit);
    let page = page.map(|visit| {
        let mut visit = visit.shown(idsite, shown.mask);
        visit.retain(|name, _| columns.is_empty() || columns.contains(&name.as_str()));
        Value::Object(visit)
    });
    json(200, &page.collect())
}

/// The error for a segment with this invalid part.
pub(super) fn invalid_segment(part: &str) -> Response<Bytes> {
    let message = format!("The segment condition '{part}' is not valid.");
    api_error(200, &message)
}

/// First and last day of a `day` or a `range`. The sites' time zone is UTC.
pub(super) fn days(period: &str, date: &str, now: DateTime<Utc>) -> Option<[NaiveDate; 2]> {
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

/// The visits of these days that match.
pub(super) fn matching(
    store: &HitStore,
    idsite: i64,
    days: [NaiveDate; 2],
    segment: &Segment,
    actions: &Actions,
    shown: Shown,
) -> Vec<Visit> {
    let is_excluded = |visit: &Visit| segment.excludes(visit, shown);
    let mut visits = store
        .read(|db| read_visits(db, idsite, days, is_excluded))
        .unwrap();
    visits.retain(|visit| segment.matches(visit, actions, shown));
    visits
}

/// The visits of these days, except those that `is_excluded` excludes before their actions are
/// read. All other requests wait meanwhile.
fn read_visits(
    db: &Connection,
    idsite: i64,
    days: [NaiveDate; 2],
    is_excluded: impl Fn(&Visit) -> bool,
) -> rusqlite::Result<Vec<Visit>> {
    let mut query = db.prepare_cached(
        "SELECT day, visitor, visit, id, address, uid, epoch, url, kind, pv_id, action_name, e_c, e_a, e_n, e_v
         FROM visit_hits WHERE idsite = ? AND day BETWEEN ? AND ? ORDER BY day, visitor, visit, epoch, id",
    )?;
    let [from, to] = days.map(|day| day.format("%Y-%m-%d").to_string());
    let mut rows = query.query(params![idsite, from, to])?;
    let mut found: Vec<Visit> = Vec::new();
    let mut key = (String::new(), String::new(), 0);
    let mut is_wanted = false;
    while let Some(row) = rows.next()? {
        let is_same = row.get::<_, i64>(2)? == key.2
            && row.get_ref(1)?.as_str()? == key.1
            && row.get_ref(0)?.as_str()? == key.0;
        if !is_same {
            key = (row.get(0)?, row.get(1)?, row.get(2)?);
            let visit = Visit::from_row(key.clone(), row)?;
            is_wanted = !is_excluded(&visit);
            found.extend(is_wanted.then_some(visit));
        }
        if let Some(visit) = found.last_mut().filter(|_| is_wanted) {
            visit.last = row.get(6)?;
            visit.actions.push(Action::from_row(row)?);
        }
    }
    Ok(found)
}

/// Conditions that must all match, each a list of alternatives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment(Vec<Vec<Condition>>);

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// `None` if it is not an address. No visit matches.
    Address(Option<IpAddr>),
    Url(String),
    UrlBegins(String),
    UrlContains(String),
    User(String),
    Visitor(String),
    /// The hour (UTC) of a visit's last action.
    Hour(u32),
    MinActions(usize),
    MaxActions(usize),
}

/// The operators of conditions, longest first.
const OPERATORS: [&str; 5] = ["==", "=^", "=@", ">=", "<="];

impl Segment {
    /// Parses conditions such as `name==value`. `,` means "or" and binds closer than `;`, which
    /// means "and". The error is the invalid part.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all = text.split(';').filter(|part| !part.is_empty());
        all.map(|part| part.split(',').map(Condition::parse).collect())
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the address or the user of a visit is enough to exclude it.
    fn excludes(&self, visit: &Visit, shown: Shown) -> bool {
        let is_of_visitor = |c: &Condition| matches!(c, Condition::Address(_) | Condition::User(_));
        let of_visitor = |alternatives: &&Vec<Condition>| alternatives.iter().all(is_of_visitor);
        let alternatives = self.0.iter().filter(of_visitor);
        !Self::all_match(alternatives, visit, &Actions::default(), shown)
    }

    pub fn matches(&self, visit: &Visit, actions: &Actions, shown: Shown) -> bool {
        Self::all_match(self.0.iter(), visit, actions, shown)
    }

    fn all_match<'c>(
        mut conditions: impl Iterator<Item = &'c Vec<Condition>>,
        visit: &Visit,
        actions: &Actions,
        shown: Shown,
    ) -> bool {
        // Computed once, because there may be hundreds of conditions.
        let address = shown.mask.of(&visit.address).parse().ok();
        let matches = |condition: &Condition| match condition {
            Condition::Address(wanted) => wanted.is_some() && address == *wanted,
            other => other.matches(visit, actions, shown),
        };
        conditions.all(|alternatives| alternatives.iter().any(matches))
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || text.chars().take(100).collect::<String>();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = text.split_at(end.ok_or_else(invalid)?);
        let operator = OPERATORS
            .iter()
            .find(|operator| rest.starts_with(**operator));
        let operator = operator.ok_or_else(invalid)?;
        let value = decode(&rest[operator.len()..]);
        match (name, *operator) {
            ("visitIp", "==") => Ok(Self::Address(value.parse().ok())),
            ("actionUrl", "==") => Ok(Self::Url(value)),
            ("actionUrl", "=^") => Ok(Self::UrlBegins(value)),
            ("actionUrl", "=@") => Ok(Self::UrlContains(value)),
            ("userId", "==") => Ok(Self::User(value)),
            ("visitorId", "==") => Ok(Self::Visitor(value)),
            ("visitServerHour", "==") => value.parse().map(Self::Hour).map_err(|_| invalid()),
            ("actions", ">=") => value.parse().map(Self::MinActions).map_err(|_| invalid()),
            ("actions", "<=") => value.parse().map(Self::MaxActions).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }

    fn matches(&self, visit: &Visit, actions: &Actions, shown: Shown) -> bool {
        let any_url = |matches: &dyn Fn(&Action, &str) -> bool| {
            let mut of_visit = visit.actions.iter();
            of_visit.any(|action| action.url.as_ref().is_some_and(|url| matches(action, url)))
        };
        match self {
            Self::Address(_) => false,
            Self::Url(wanted) => any_url(&|action, url| {
                url == wanted && (shown.unique_actions || actions.is_found(action.row, url))
            }),
            Self::UrlBegins(wanted) => any_url(&|_, url| url.starts_with(wanted)),
            Self::UrlContains(wanted) => any_url(&|_, url| url.contains(wanted)),
            Self::Visitor(visitor) => visit.key.1 == *visitor,
            Self::User(user) => visit.uid.as_ref() == Some(user),
            Self::Hour(hour) => visit.last_hour() == i64::from(*hour),
            Self::MinActions(least) => visit.actions() >= *least,
            Self::MaxActions(most) => visit.actions() <= *most,
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
    fn addresses_are_masked_by_up_to_three_bytes() {
        let masks = [Mask::Off, Mask::OneByte, Mask::TwoBytes, Mask::ThreeBytes];
        assert_eq!(Mask::default(), Mask::TwoBytes);
        assert_eq!(
            masks.map(|mask| mask.of("203.0.113.9")),
            ["203.0.113.9", "203.0.113.0", "203.0.0.0", "203.0.0.0"]
        );
        assert_eq!(
            masks.map(|mask| mask.of("2001:db8:1:2:3::9")),
            [
                "2001:db8:1:2:3::9",
                "2001:db8:1:2::",
                "2001:db8:1::",
                "2001:d00::"
            ]
        );
        assert_eq!(Mask::TwoBytes.of("::ffff:203.0.113.9"), "::ffff:203.0.0.0");
        assert_eq!(Mask::TwoBytes.of("unknown"), "unknown");
    }

    #[test]
    fn a_visit_of_several_actions_is_longer_by_a_second() {
        let mut visit = visit();
        (visit.first, visit.last) = (100, 160);
        assert_eq!(visit.duration(), 61);
        visit.actions.truncate(1);
        visit.last = 100;
        assert_eq!(visit.duration(), 0);
    }

    #[test]
    fn a_visit_shows_its_first_500_actions() {
        let mut visit = visit();
        let shown = |visit: &Visit| Value::Object(visit.shown(1, Mask::Off));
        assert_eq!(shown(&visit)["truncatedActionsCount"], Value::Null);
        visit.actions = (0..503)
            .map(|epoch| Action {
                epoch,
                ..Action::default()
            })
            .collect();
        let shown = shown(&visit);
        assert_eq!(
            (&shown["actions"], &shown["truncatedActionsCount"]),
            (&json!("503"), &json!(3))
        );
        let actions = shown["actionDetails"].as_array().unwrap();
        assert_eq!(
            (actions.len(), &actions[499]["timestamp"]),
            (500, &json!(499))
        );
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

    fn matches_with(segment: &str, visit: &Visit, mask: Mask) -> bool {
        let shown = Shown {
            mask,
            unique_actions: true,
        };
        let segment = Segment::parse(segment).unwrap();
        segment.matches(visit, &Actions::default(), shown)
    }

    fn matches(segment: &str) -> bool {
        matches_with(segment, &visit(), Mask::Off)
    }

    #[test]
    fn conditions_are_decoded_and_compared_as_a_whole() {
        assert!(matches("actionUrl==http%3A%2F%2Fa%2Fx%3Fb%3D1%26c%3D2"));
        assert!(matches("actionUrl==http://a/y+z"));
        assert!(!matches("actionUrl==http%3A%2F%2Fa%2F"));
        assert!(matches("visitIp==10.0.0.1"));
        assert!(matches("userId==ann"));
        assert!(matches("visitServerHour==10"));
        assert!(matches("actionUrl=^http%3A%2F%2Fa%2Fx"));
        assert!(!matches("actionUrl=^a%2Fx"));
        assert!(matches("actionUrl=@a%2Fx%3Fb"));
        assert!(!matches("actionUrl=@a%2Fz"));
        assert!(matches("actions>=2;actions<=2"));
        assert!(!matches("actions>=3") && !matches("actions<=1"));
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
    fn only_the_masked_address_matches() {
        let matches = |segment| matches_with(segment, &visit(), Mask::TwoBytes);
        assert!(!matches("visitIp==10.0.0.1"));
        assert!(matches("visitIp==10.0.0.0"));
    }

    #[test]
    fn an_address_may_be_written_in_many_ways() {
        let visit = Visit {
            address: "2001:db8::1".into(),
            ..visit()
        };
        let matches = |segment: &str| matches_with(segment, &visit, Mask::Off);
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
        for part in [
            "visitServerHour==x",
            "userId=@a",
            "visitIp",
            "actions==1",
            "==1",
        ] {
            assert_eq!(Segment::parse(part), Err(part.into()));
        }
    }
}
