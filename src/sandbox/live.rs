//! `Live.getLastVisitsDetails`: the visits of a site and days, newest first, each with its actions.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::Shared;
use super::answer::Answer;
use super::api::unknown_site;
use super::options::Live;
use super::segment::Segment;

/// Visits in one answer where the question names no number.
const USUAL_LIMIT: usize = 100;

/// Actions of one visitor, none of them far from the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Visit {
    /// Day, visitor and number within the two.
    pub key: (String, String, i64),
    /// Its first row in the table of hits.
    pub id: i64,
    pub address: String,
    pub uid: Option<String>,
    pub first: i64,
    /// UTC, seconds since 1970.
    pub last: i64,
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Action {
    pub url: Option<String>,
    pub kind: String,
    pub pv_id: Option<String>,
    pub title: Option<String>,
    pub epoch: i64,
    pub event: [Option<String>; 3],
    pub value: Option<f64>,
}

impl Visit {
    pub fn last_hour(&self) -> i64 {
        self.last.rem_euclid(86_400) / 3600
    }

    /// The address as it can be seen and asked for.
    pub fn address(&self, anonymised: bool) -> String {
        match anonymised {
            true => masked(&self.address),
            false => self.address.clone(),
        }
    }

    fn shown(&self, idsite: i64, anonymised: bool) -> Value {
        let actions: Vec<Value> = self.actions.iter().map(Action::shown).collect();
        json!({
            "idSite": idsite.to_string(),
            "idVisit": self.id.to_string(),
            "visitIp": self.address(anonymised),
            "visitorId": self.key.1,
            "userId": self.uid,
            "serverDate": self.key.0,
            "firstActionTimestamp": self.first,
            "lastActionTimestamp": self.last,
            "actions": actions.len().to_string(),
            "actionDetails": actions,
        })
    }
}

impl Action {
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

pub(super) fn last_visits(
    shared: &Shared,
    form: &BTreeMap<String, String>,
) -> rusqlite::Result<Answer> {
    let argument = |name: &str| form.get(name).map_or("", String::as_str);
    let asked = argument("idSite");
    let idsite: i64 = asked.parse().unwrap_or(0);
    if shared.store.site(idsite)?.is_none() {
        return Ok(unknown_site(asked));
    }
    let live = shared.options.live;
    if live == Live::Closed {
        let message = format!(
            "You can't access this resource as it requires 'view' access for the website id = {idsite}."
        );
        return Ok(Answer::api_error(401, &message));
    }
    let Some((from, to)) = days(argument("period"), argument("date"), Utc::now()) else {
        return Ok(Answer::api_error(
            200,
            "The period or the date is not supported.",
        ));
    };
    let segment = match Segment::read(argument("segment")) {
        Ok(segment) => segment,
        Err(part) => {
            let message = format!("The segment condition '{part}' is not valid.");
            return Ok(Answer::api_error(200, &message));
        }
    };
    let anonymised = live == Live::Anonymised;
    let mut visits = shared.store.with(|db| {
        let holds = |visit: &Visit| segment.holds(visit, anonymised);
        matching(db, idsite, [from, to], holds)
    })?;
    visits.sort_by_key(|visit| Reverse((visit.last, visit.id)));
    let offset = argument("filter_offset").parse().unwrap_or(0);
    let limit = match argument("filter_limit") {
        "-1" => usize::MAX,
        number => number.parse().unwrap_or(USUAL_LIMIT),
    };
    let page = visits.iter().skip(offset).take(limit);
    let shown: Vec<Value> = page.map(|visit| visit.shown(idsite, anonymised)).collect();
    Ok(Answer::json(200, &json!(shown)))
}

/// First and last day of a `day` or a `range`; the sites' time zone is UTC.
fn days(period: &str, date: &str, now: DateTime<Utc>) -> Option<(NaiveDate, NaiveDate)> {
    let day = |text: &str| match text {
        "today" => Some(now.date_naive()),
        "yesterday" => Some((now - TimeDelta::days(1)).date_naive()),
        text => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok(),
    };
    match period {
        "day" => day(date).map(|day| (day, day)),
        "range" => {
            let (from, to) = date.split_once(',')?;
            Some((day(from)?, day(to)?))
        }
        _ => None,
    }
}

/// The visits of these days that hold; only they are kept.
fn matching(
    db: &Connection,
    idsite: i64,
    days: [NaiveDate; 2],
    holds: impl Fn(&Visit) -> bool,
) -> rusqlite::Result<Vec<Visit>> {
    let mut ask = db.prepare_cached(
        "SELECT day, visitor, visit, id, address, uid, epoch, url, kind, pv_id, action_name, e_c, e_a, e_n, e_v
         FROM visit_hits WHERE idsite = ? AND day BETWEEN ? AND ? ORDER BY day, visitor, visit, epoch, id",
    )?;
    let [from, to] = days.map(|day| day.format("%Y-%m-%d").to_string());
    let mut rows = ask.query(params![idsite, from, to])?;
    let mut found = Vec::new();
    let mut visit = Visit::default();
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, row.get(1)?, row.get(2)?);
        if visit.key != key {
            let done = std::mem::replace(&mut visit, opened(key, row)?);
            if !done.actions.is_empty() && holds(&done) {
                found.push(done);
            }
        }
        visit.last = row.get(6)?;
        visit.actions.push(action(row)?);
    }
    if !visit.actions.is_empty() && holds(&visit) {
        found.push(visit);
    }
    Ok(found)
}

fn opened(key: (String, String, i64), row: &Row) -> rusqlite::Result<Visit> {
    Ok(Visit {
        key,
        id: row.get(3)?,
        address: row.get(4)?,
        uid: row.get(5)?,
        first: row.get(6)?,
        last: row.get(6)?,
        actions: Vec::new(),
    })
}

fn action(row: &Row) -> rusqlite::Result<Action> {
    Ok(Action {
        epoch: row.get(6)?,
        url: row.get(7)?,
        kind: row.get(8)?,
        pv_id: row.get(9)?,
        title: row.get(10)?,
        event: [row.get(11)?, row.get(12)?, row.get(13)?],
        value: row.get(14)?,
    })
}

/// The address without its last two bytes.
fn masked(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, ..] = address.octets();
            format!("{a}.{b}.0.0")
        }
        Ok(IpAddr::V6(address)) => {
            let mut parts = address.segments();
            parts[7] = 0;
            IpAddr::from(parts).to_string()
        }
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_ranges_are_read() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let day = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap();
        let one = day("2026-09-20");
        assert_eq!(days("day", "2026-09-20", now), Some((one, one)));
        assert_eq!(
            days("range", "2026-09-20,today", now),
            Some((one, now.date_naive()))
        );
        assert_eq!(days("week", "2026-09-20", now), None);
        assert_eq!(days("range", "2026-09-20", now), None);
        assert_eq!(days("day", "x", now), None);
    }

    #[test]
    fn addresses_are_masked_by_two_bytes() {
        assert_eq!(masked("10.1.2.3"), "10.1.0.0");
        assert_eq!(masked("2001:db8::1:2"), "2001:db8::1:0");
    }
}
