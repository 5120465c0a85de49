//! The visitor log.

use serde_json::Value;

use super::client::Client;
use super::*;
use crate::support::fake::{Live, Mask};

const METHOD: &str = "Live.getLastVisitsDetails";

/// A server that does not anonymize addresses.
fn unmasked() -> FakeMatomo {
    FakeMatomo::start(Options {
        mask: Mask::Off,
        ..options()
    })
}

/// The visits of site 1 in the last days.
fn ask(matomo: &FakeMatomo, more: &[(&str, &str)]) -> Vec<Value> {
    let date = format!("{},{}", &noon(5)[..10], &noon(0)[..10]);
    let usual = [
        ("idSite", "1"),
        ("period", "range"),
        ("date", date.as_str()),
    ];
    let arguments: Vec<(&str, &str)> = usual.iter().chain(more).copied().collect();
    let answer = Client::of(matomo).call(METHOD, &arguments).unwrap();
    answer.json().as_array().unwrap().clone()
}

/// The `pv_id`s in the visits.
fn ids(visits: &[Value]) -> Vec<&str> {
    let actions = visits
        .iter()
        .flat_map(|visit| visit["actionDetails"].as_array().unwrap());
    actions
        .map(|action| action["idpageview"].as_str().unwrap())
        .collect()
}

#[test]
fn page_views_downloads_and_events_come_back_with_their_ids() {
    let matomo = unmasked();
    let mut requests = vec![hit(1), hit(1), hit(1)];
    requests[1]["download"] = json!("http://www.example.com/a.zip");
    requests[2]["e_c"] = json!("Listening");
    requests[2]["e_a"] = json!("connected");
    requests[2]["e_n"] = json!("/live");
    for (number, request) in requests.iter_mut().enumerate() {
        request["pv_id"] = json!(format!("mark{number}"));
    }
    send(&matomo, &requests).unwrap();
    let visits = ask(&matomo, &[]);
    assert_eq!(visits.len(), 1);
    assert_eq!(visits[0]["visitIp"], "10.0.0.1");
    assert_eq!(ids(&visits), ["mark0", "mark1", "mark2"]);
    let kinds: Vec<&Value> = visits[0]["actionDetails"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["type"])
        .collect();
    assert_eq!(kinds, ["action", "download", "event"]);
    assert_eq!(visits[0]["actionDetails"][2]["eventName"], "/live");
}

#[test]
fn visits_are_selected_by_address_url_and_hour() {
    let matomo = unmasked();
    send(&matomo, &hits(5)).unwrap();
    let by = |segment: &str| ask(&matomo, &[("segment", segment)]).len();
    assert_eq!(by("visitIp==10.0.0.1"), 1);
    assert_eq!(
        by("visitIp==10.0.0.1,visitIp==10.0.0.3,visitIp==10.9.9.9"),
        2
    );
    assert_eq!(by("actionUrl==http%3A%2F%2Fwww.example.com%2F4"), 1);
    assert_eq!(
        by("actionUrl==http%3A%2F%2Fwww.example.com%2F4;visitServerHour==12"),
        1
    );
    assert_eq!(
        by("actionUrl==http%3A%2F%2Fwww.example.com%2F4;visitServerHour==13"),
        0
    );
}

#[test]
fn visits_come_in_pages_newest_first() {
    let matomo = faultless();
    send(&matomo, &hits(5)).unwrap();
    let mut late = hit(9);
    late["cdt"] = json!(noon(2));
    send(&matomo, &[late]).unwrap();
    let page = |offset: &str| ask(&matomo, &[("filter_limit", "4"), ("filter_offset", offset)]);
    assert_eq!(ids(&page("0")), ["p00009", "p00004", "p00003", "p00002"]);
    assert_eq!(ids(&page("4")), ["p00001", "p00000"]);
    assert!(page("6").is_empty());
    assert_eq!(ask(&matomo, &[("filter_limit", "-1")]).len(), 6);
}

#[test]
fn only_the_requested_days_and_site_are_shown() {
    let matomo = faultless();
    let mut requests = hits(2);
    requests[0]["cdt"] = json!(noon(10));
    send(&matomo, &requests).unwrap();
    assert_eq!(ids(&ask(&matomo, &[])), ["p00001"]);
    let day = noon(10);
    let arguments = [("idSite", "1"), ("period", "day"), ("date", &day[..10])];
    let answer = Client::of(&matomo).call(METHOD, &arguments).unwrap().json();
    assert_eq!(ids(answer.as_array().unwrap()), ["p00000"]);
    let other = [("idSite", "2"), ("period", "day"), ("date", &day[..10])];
    assert_eq!(
        Client::of(&matomo).call(METHOD, &other).unwrap().text(),
        "[]"
    );
}

#[test]
fn hits_of_ai_assistants_are_in_no_visit() {
    let matomo = faultless();
    let mut request = hit(1);
    request["recMode"] = json!(1);
    send(&matomo, &[request]).unwrap();
    assert_eq!(matomo.store().count().unwrap(), 1);
    assert!(ask(&matomo, &[]).is_empty());
}

#[test]
fn invalid_calls_get_an_error() {
    let matomo = faultless();
    for arguments in [
        [("idSite", "99"), ("period", "day"), ("date", "today")],
        [("idSite", "1"), ("period", "week"), ("date", "today")],
        [("idSite", "1"), ("period", "day"), ("date", "soon")],
    ] {
        let answer = Client::of(&matomo).call(METHOD, &arguments).unwrap();
        assert_eq!(
            (answer.status, &answer.json()["result"]),
            (200, &json!("error"))
        );
    }
    let segment = [
        ("idSite", "1"),
        ("period", "day"),
        ("date", "today"),
        ("segment", "x==1"),
    ];
    let answer = Client::of(&matomo).call(METHOD, &segment).unwrap();
    assert_eq!(answer.json()["result"], "error");
}

#[test]
fn access_to_the_visitor_log_may_be_denied() {
    let closed = FakeMatomo::start(Options {
        live: Live::Closed,
        ..options()
    });
    let arguments = [("idSite", "1"), ("period", "day"), ("date", "today")];
    let answer = Client::of(&closed).call(METHOD, &arguments).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["result"]),
        (401, &json!("error"))
    );
}

#[test]
fn addresses_are_masked_and_found_by_their_masked_form_only() {
    let matomo = faultless();
    send(&matomo, &hits(2)).unwrap();
    assert!(ask(&matomo, &[("segment", "visitIp==10.0.0.1")]).is_empty());
    assert_eq!(ask(&matomo, &[("segment", "visitIp==10.0.0.0")]).len(), 2);
    let found = ask(
        &matomo,
        &[("segment", "actionUrl==http%3A%2F%2Fwww.example.com%2F1")],
    );
    assert_eq!(
        (ids(&found), &found[0]["visitIp"]),
        (vec!["p00001"], &json!("10.0.0.0"))
    );
}

#[test]
fn all_hits_of_a_url_with_two_action_ids_are_found_only_by_its_prefix() {
    for unique_actions in [false, true] {
        let matomo = FakeMatomo::start(Options {
            faults: slow_first(),
            unique_actions,
            ..options()
        });
        let same_page = |number: usize| {
            let mut hit = hit(number);
            hit["url"] = json!("http://www.example.com/shared");
            hit
        };
        send_during(&matomo, &[same_page(1)], &[same_page(2)]);
        // A later transaction uses the lowest committed ID.
        send(&matomo, &[same_page(3)]).unwrap();
        let by = |operator: &str| {
            let segment = format!("actionUrl{operator}http%3A%2F%2Fwww.example.com%2Fshared");
            ask(&matomo, &[("segment", &segment)]).len()
        };
        assert_eq!(by("=="), if unique_actions { 3 } else { 2 });
        assert_eq!((by("=^"), by("=@")), (3, 3));
    }
}

#[test]
fn dates_in_the_future_or_long_ago_become_now() {
    let matomo = faultless();
    let mut requests = hits(2);
    requests[0]["cdt"] = json!(noon(-2));
    requests[1]["cdt"] = json!("1999-12-31 23:59:59");
    send(&matomo, &requests).unwrap();
    let arguments = [("idSite", "1"), ("period", "day"), ("date", "today")];
    let answer = Client::of(&matomo).call(METHOD, &arguments).unwrap().json();
    assert_eq!(answer.as_array().unwrap().len(), 2);
}

#[test]
fn columns_and_the_earliest_time_can_be_chosen() {
    let matomo = faultless();
    let mut requests = hits(2);
    requests[0]["cdt"] = json!(noon(2));
    send(&matomo, &requests).unwrap();
    let all = ask(&matomo, &[]);
    let after = all[1]["lastActionTimestamp"].to_string();
    let later = ask(
        &matomo,
        &[
            ("minTimestamp", after.as_str()),
            ("showColumns", "visitIp,truncatedActionsCount,actionDetails"),
        ],
    );
    assert_eq!(ids(&later), ["p00000"]);
    let names: Vec<&String> = later[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["visitIp", "actionDetails"]);
}

#[test]
fn actions_are_counted_for_each_day_when_a_segment_is_new() {
    let matomo = faultless();
    send(&matomo, &hits(3)).unwrap();
    let count = |segment: &str| {
        let (from, to) = (noon(4), noon(3));
        let days = format!("{},{}", &from[..10], &to[..10]);
        let arguments = [
            ("idSite", "1"),
            ("period", "day"),
            ("date", &days),
            ("segment", segment),
        ];
        let method = "VisitsSummary.getActions";
        let answer = Client::of(&matomo).call(method, &arguments).unwrap();
        let json = answer.json();
        [&from, &to].map(|day| json[&day[..10]].as_u64().unwrap())
    };
    assert_eq!(count("actions>=0;actions<=9000001"), [0, 3]);
    send(&matomo, &hits(2)).unwrap();
    assert_eq!(count("actions>=0;actions<=9000001"), [0, 3]);
    assert_eq!(count("actions>=0;actions<=9000002"), [0, 5]);
}
