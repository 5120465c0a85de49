//! `VisitsSummary.getActions`: the number of actions for each day, as archived.

use std::collections::HashMap;

use chrono::{NaiveDate, Utc};
use hyper::Response;
use hyper::body::Bytes;
use import_logs::sandbox::http::{api_error, json};
use import_logs::sandbox::{ApiRequest, HitStore};
use serde_json::{Map, Value, json};

use super::actions::Actions;
use super::live::{self, Segment, Shown};

/// The numbers of past days by site, day and segment. Each is counted when it is first requested,
/// and does not change later. A segment that was never requested counts the stored hits.
#[derive(Default)]
pub(super) struct Archive(HashMap<(i64, NaiveDate, String), u64>);

impl Archive {
    /// The response for a site that exists.
    pub fn actions(
        &mut self,
        store: &HitStore,
        call: &ApiRequest,
        actions: &Actions,
        shown: Shown,
    ) -> Response<Bytes> {
        let idsite: i64 = call.get("idSite").parse().unwrap();
        let (period, date) = (call.get("period"), call.get("date"));
        let days = match (period, date.contains(',')) {
            ("day", true) => live::days("range", date, Utc::now()),
            ("day", false) => live::days("day", date, Utc::now()),
            _ => None,
        };
        let Some([from, to]) = days else {
            return api_error(200, "The period or the date is not supported.");
        };
        let segment = match Segment::parse(call.get("segment")) {
            Ok(segment) => segment,
            Err(part) => return live::invalid_segment(&part),
        };
        let today = Utc::now().date_naive();
        let mut count = |day: NaiveDate| {
            let matching = || {
                let days = [day, day];
                let visits = live::matching(store, idsite, days, &segment, actions, shown);
                visits.iter().map(|visit| visit.actions() as u64).sum()
            };
            match day == today {
                true => matching(),
                false => {
                    let key = (idsite, day, call.get("segment").to_owned());
                    *self.0.entry(key).or_insert_with(matching)
                }
            }
        };
        if !date.contains(',') {
            return json(200, &json!({ "value": count(from) }));
        }
        let days = from.iter_days().take_while(|day| *day <= to);
        let counts: Map<String, Value> = days
            .map(|day| (day.to_string(), json!(count(day))))
            .collect();
        json(200, &Value::Object(counts))
    }
}
