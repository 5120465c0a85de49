//! Look-ups against a server that selects visits as Matomo does.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use url::form_urlencoded;

use super::*;
use crate::matomo::client::{Client, ClientOptions};
use crate::matomo::clock::seconds;
use crate::matomo::retry::RetryPolicy;
use crate::shutdown::Shutdown;
use crate::tests::server::{Server, TestRequest, reply};

/// 2026-11-17 08:00:00 UTC.
const TIME: i64 = 1_794_902_400;

/// A visit in the visitor log.
#[derive(Clone)]
struct Visit {
    ip: &'static str,
    user: &'static str,
    visitor: &'static str,
    url: &'static str,
    last: i64,
    pv_ids: Vec<String>,
    truncated: i64,
}

fn visit(ip: &'static str, pv_id: &str) -> Visit {
    Visit {
        ip,
        user: "",
        visitor: "",
        url: "http://h/page",
        last: TIME,
        pv_ids: vec![pv_id.to_owned()],
        truncated: 0,
    }
}

impl Visit {
    fn matches(&self, condition: &str) -> bool {
        let decoded = |text: &str| {
            let pair = form_urlencoded::parse(text.as_bytes()).next();
            pair.map(|(key, _)| key.into_owned()).unwrap_or_default()
        };
        match condition.split_once(['=']) {
            Some(("visitIp", address)) => decoded(&address[1..]) == self.ip,
            Some(("userId", user)) => decoded(&user[1..]) == self.user,
            Some(("visitorId", visitor)) => decoded(&visitor[1..]) == self.visitor,
            Some(("actionUrl", url)) if url.starts_with('^') => {
                self.url.starts_with(&decoded(&url[1..]))
            }
            _ => panic!("the server does not know {condition}"),
        }
    }

    fn shown(&self) -> Value {
        let action = |id: &String| json!({"idpageview": id, "timestamp": self.last});
        let actions: Vec<Value> = self.pv_ids.iter().map(action).collect();
        let mut shown = json!({
            "visitIp": self.ip,
            "lastActionTimestamp": self.last + self.truncated,
            "actionDetails": actions,
        });
        if self.truncated > 0 {
            shown["truncatedActionsCount"] = json!(self.truncated);
        }
        shown
    }
}

/// A visitor log, and the server that holds it.
struct Fixture {
    log: VisitLog,
    server: Server,
    /// The server ignores the order that is asked for.
    newest_first: Arc<AtomicBool>,
}

fn fixture(visits: Vec<Visit>) -> Fixture {
    let newest_first = Arc::new(AtomicBool::new(false));
    let is_reversed = Arc::clone(&newest_first);
    let server = Server::new(move |_, request| {
        let form = form(request);
        let after: i64 = form["minTimestamp"].parse().unwrap();
        let limit: usize = form["filter_limit"].parse().unwrap();
        let mut found: Vec<&Visit> = visits
            .iter()
            .filter(|visit| visit.last > after)
            .filter(|visit| form["segment"].split(',').any(|part| visit.matches(part)))
            .collect();
        found.sort_by_key(|visit| visit.last);
        if is_reversed.load(Ordering::Relaxed) {
            found.reverse();
        }
        let page: Vec<Value> = found.into_iter().take(limit).map(Visit::shown).collect();
        reply(200, "", &json!(page).to_string())
    });
    let client = Client::new(&ClientOptions {
        url: server.url(),
        tracker_path: "/piwik.php".into(),
        timeout: Duration::from_secs(20),
        ..ClientOptions::default()
    })
    .unwrap();
    let retry = RetryPolicy {
        attempts: 1,
        delay: Duration::ZERO,
    };
    let api = Api::new(
        client,
        None,
        retry,
        Arc::new(|_| false),
        Shutdown::default(),
    );
    Fixture {
        log: VisitLog::new(api),
        server,
        newest_first,
    }
}

fn form(request: &TestRequest) -> HashMap<String, String> {
    let pairs = form_urlencoded::parse(&request.body);
    pairs
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

impl Fixture {
    fn find(&self, hits: &[Value]) -> Vec<Presence> {
        let sent_at = SystemTime::now();
        self.log.find_at(hits, sent_at).unwrap()
    }

    /// The segments of the questions so far, decoded.
    fn segments(&self) -> Vec<String> {
        let decoded = |request: &TestRequest| {
            let segment = form(request)["segment"].replace("%3A", ":");
            segment.replace("%2F", "/")
        };
        self.server.seen().iter().map(decoded).collect()
    }
}

impl VisitLog {
    fn find_at(&self, hits: &[Value], sent_at: SystemTime) -> Result<Vec<Presence>, LookupError> {
        let requests: Vec<Vec<u8>> = hits.iter().map(|hit| hit.to_string().into()).collect();
        let requests: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
        self.find(&requests, true, sent_at)
    }
}

fn hit(address: &str, pv_id: &str) -> Value {
    hit_at(address, pv_id, TIME)
}

fn hit_at(address: &str, pv_id: &str, time: i64) -> Value {
    let date = DateTime::from_timestamp(time, 0).unwrap();
    json!({
        "idsite": "1",
        "url": "http://h/page?a=1",
        "cip": address,
        "cdt": date.format("%Y-%m-%d %H:%M:%S").to_string(),
        "pv_id": pv_id,
        "rec": "1",
    })
}

use Presence::{Missing, Present, Unknown};

#[test]
fn questions_are_asked_200_times_a_minute_at_most() {
    let mut questions = VecDeque::new();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    for _ in 0..QUESTIONS_PER_MINUTE {
        assert_eq!(next_question(&mut questions, start), Duration::ZERO);
    }
    // Those that wait take the places of the first ones.
    for _ in 0..QUESTIONS_PER_MINUTE {
        let wait = next_question(&mut questions, at(10));
        assert_eq!(wait, Duration::from_secs(50));
    }
    assert_eq!(
        next_question(&mut questions, at(60)),
        Duration::from_secs(60)
    );
    assert_eq!(next_question(&mut questions, at(300)), Duration::ZERO);
    assert_eq!(questions.len(), QUESTIONS_PER_MINUTE);
}

#[test]
fn a_question_names_every_form_of_an_address_until_one_is_known() {
    let f = fixture(vec![
        visit("203.5.0.0", "aaaaaa"),
        visit("203.7.0.0", "bbbbbb"),
    ]);
    assert_eq!(f.find(&[hit("203.5.113.7", "aaaaaa")]), [Present]);
    let other = Fixture {
        log: f.log.clone(),
        ..f
    };
    assert_eq!(other.find(&[hit("203.7.1.2", "bbbbbb")]), [Present]);
    assert_eq!(
        other.segments(),
        [
            "visitIp==0.0.0.0,visitIp==203.0.0.0,visitIp==203.5.0.0,visitIp==203.5.113.0,visitIp==203.5.113.7",
            "visitIp==203.7.0.0",
        ]
    );
}

#[test]
fn each_mask_is_found() {
    for stored in ["9.8.7.6", "9.8.7.0", "9.8.0.0", "9.0.0.0", "0.0.0.0"] {
        let f = fixture(vec![visit(stored, "aaaaaa")]);
        assert_eq!(f.find(&[hit("9.8.7.6", "aaaaaa")]), [Present], "{stored}");
    }
    for stored in [
        "2001:db8:1:2:3:4:5:6",
        "2001:db8:1:2::",
        "2001:db8:1::",
        "2001:d00::",
        "::",
    ] {
        let f = fixture(vec![visit(stored, "aaaaaa")]);
        let hit = hit("2001:DB8:1:2:3:4:5:6", "aaaaaa");
        assert_eq!(f.find(&[hit]), [Present], "{stored}");
    }
}

#[test]
fn hits_that_are_missing_in_the_known_form_are_looked_up_in_the_others() {
    let f = fixture(vec![
        visit("203.5.0.0", "aaaaaa"),
        visit("203.5.113.8", "bbbbbb"),
    ]);
    f.find(&[hit("203.5.113.7", "aaaaaa")]);
    let found = f.find(&[hit("203.5.113.8", "bbbbbb"), hit("203.5.113.9", "cccccc")]);
    assert_eq!(found, [Present, Missing]);
    assert_eq!(f.segments().len(), 3, "{:?}", f.segments());
}

#[test]
fn an_address_with_zeros_leaves_several_forms() {
    let f = fixture(vec![
        visit("9.0.0.0", "aaaaaa"),
        visit("203.7.0.0", "bbbbbb"),
        visit("203.8.0.0", "cccccc"),
    ]);
    for (address, pv_id) in [
        ("9.0.8.7", "aaaaaa"),
        ("203.7.1.2", "bbbbbb"),
        ("203.8.1.2", "cccccc"),
    ] {
        assert_eq!(f.find(&[hit(address, pv_id)]), [Present]);
    }
    assert_eq!(
        f.segments(),
        [
            "visitIp==0.0.0.0,visitIp==9.0.0.0,visitIp==9.0.8.0,visitIp==9.0.8.7",
            "visitIp==203.0.0.0,visitIp==203.7.0.0",
            "visitIp==203.8.0.0",
        ]
    );
}

#[test]
fn urls_are_the_last_resort() {
    let by_url = "actionUrl=^http://h/page";
    // No visit has a form of the address.
    let f = fixture(vec![visit("7.7.7.7", "aaaaaa")]);
    assert_eq!(f.find(&[hit("9.8.7.6", "aaaaaa")]), [Present]);
    assert_eq!(f.segments()[1..], [by_url]);
    // The forms are known, so the hit is missing.
    let f = fixture(vec![visit("9.8.0.0", "aaaaaa")]);
    assert_eq!(f.find(&[hit("9.8.7.6", "cccccc")]), [Missing]);
    assert!(!f.segments().contains(&by_url.to_owned()));
    // The visitor may have had another address.
    let mut known = hit("9.8.7.6", "bbbbbb");
    known["_id"] = json!("0123456789abcdef");
    let f = fixture(vec![visit("9.8.0.0", "aaaaaa"), visit("7.7.0.0", "bbbbbb")]);
    assert_eq!(f.find(&[known]), [Present]);
    assert!(f.segments().contains(&by_url.to_owned()));
    // There is no address.
    let f = fixture(vec![visit("7.7.0.0", "aaaaaa")]);
    assert_eq!(f.find(&[hit("-", "aaaaaa")]), [Present]);
    assert_eq!(f.segments(), [by_url]);
}

#[test]
fn a_user_is_found_at_any_address_without_a_url() {
    let f = fixture(vec![Visit {
        user: "anna b",
        ..visit("7.7.0.0", "aaaaaa")
    }]);
    let mut hit = hit("9.8.7.6", "aaaaaa");
    hit["uid"] = json!("anna b");
    assert_eq!(f.find(&[hit]), [Present]);
    assert_eq!(f.segments().len(), 1);
}

/// Many visits of one network, each with the id of its number.
fn crowd(visits: i64, last: impl Fn(i64) -> i64) -> Vec<Visit> {
    let visit = |number| Visit {
        last: TIME + last(number),
        ..visit("203.5.0.0", &format!("{number:06}"))
    };
    (0..visits).map(visit).collect()
}

#[test]
fn all_pages_are_read() {
    let spread: fn(i64) -> i64 = |number| number / 3;
    // Everything within one second does not fit a page.
    let same: fn(i64) -> i64 = |number| i64::from(number > 1);
    for (times, newest_first) in [(spread, false), (same, false), (spread, true)] {
        let f = fixture(crowd(1700, times));
        f.newest_first.store(newest_first, Ordering::Relaxed);
        let hits = ["000000", "001699", "000700", "cccccc"].map(|id| hit("203.5.113.7", id));
        assert_eq!(f.find(&hits), [Present, Present, Present, Missing]);
    }
}

#[test]
fn reading_ends_when_all_hits_are_found() {
    let f = fixture(crowd(1700, |number| number));
    assert_eq!(f.find(&[hit("203.5.113.7", "000001")]), [Present]);
    assert_eq!(f.segments().len(), 1);
}

#[test]
fn reading_ends_when_time_is_up() {
    let f = fixture(Vec::new());
    let log = VisitLog {
        time_limit: Duration::ZERO,
        ..f.log.clone()
    };
    let failed = log.find_at(&[hit("203.5.113.7", "aaaaaa")], SystemTime::now());
    let Err(LookupError::Never(why)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(why, "reading the visits of site 1 takes more than 0 s");
}

#[test]
fn a_hit_may_be_among_the_actions_that_a_visit_does_not_show() {
    // Its actions until TIME are shown, and more follow in the next 20 seconds.
    let truncated = Visit {
        truncated: 20,
        ..visit("203.5.0.0", "aaaaaa")
    };
    let f = fixture(vec![truncated]);
    let found = f.find(&[
        hit("203.5.113.7", "aaaaaa"),
        hit("203.5.113.8", "bbbbbb"),
        hit_at("203.5.113.8", "cccccc", TIME + 20),
        hit_at("203.5.113.8", "dddddd", TIME + 21),
        hit_at("203.5.113.8", "eeeeee", TIME - 1),
        hit_at("203.1.113.8", "ffffff", TIME + 10),
    ]);
    assert_eq!(
        found,
        [Present, Unknown, Unknown, Missing, Missing, Missing]
    );
}

#[test]
fn hits_are_looked_up_at_the_dates_that_matomo_gives_them() {
    let windows = |time, sent_at, now| {
        let text = hit_at("9.8.7.6", "aaaaaa", time).to_string();
        SoughtHit::parse(text.as_bytes())
            .unwrap()
            .windows(sent_at, now)
    };
    let window = |first, last| Some(TimeRange { first, last });
    let (sent_at, now) = (TIME, TIME + 100);
    let present = window(TIME - CLOCK_SKEW, now);
    let own = |time| window(time, time);
    let past = TIME - DAY;
    assert_eq!(windows(past, sent_at, now), [own(past), None, None]);
    for just_now in [TIME - 5, TIME + 50] {
        assert_eq!(windows(just_now, sent_at, now), [None, present, None]);
    }
    // Or the clock of this machine is behind.
    let future = TIME + 30 * DAY;
    assert_eq!(windows(future, sent_at, now), [None, present, own(future)]);
    let limit = TIME - MAX_AGE;
    assert_eq!(windows(limit, sent_at, now), [own(limit), present, None]);
    let old = limit - 2 * DAY;
    assert_eq!(windows(old, sent_at, now), [None, present, None]);
    let young = limit + 2 * DAY;
    assert_eq!(windows(young, sent_at, now), [own(young), None, None]);
    // The clock was set back after the hit was sent.
    let now = TIME - 10 * DAY;
    let present = window(now - CLOCK_SKEW, now);
    assert_eq!(windows(past, sent_at, now), [None, present, own(past)]);
}

#[test]
fn hits_of_the_present_are_a_question_of_their_own() {
    let now = seconds(SystemTime::now());
    let f = fixture(vec![
        visit("203.5.0.0", "aaaaaa"),
        Visit {
            last: now,
            ..visit("203.5.0.0", "bbbbbb")
        },
    ]);
    let found = f.find(&[
        hit_at("203.5.113.7", "bbbbbb", now + 40 * DAY),
        hit("203.5.113.7", "aaaaaa"),
    ]);
    assert_eq!(found, [Present, Present]);
    let day = |time: i64| DateTime::from_timestamp(time, 0).unwrap().date_naive();
    let asked: Vec<(String, String)> = f
        .server
        .seen()
        .iter()
        .map(form)
        .map(|form| (form["date"].clone(), form["minTimestamp"].clone()))
        .collect();
    assert_eq!(
        asked[0],
        ("2026-11-16,2026-11-18".to_owned(), (TIME - 1).to_string())
    );
    let tomorrow = day(now + DAY).to_string();
    assert!(asked[1].0.ends_with(&tomorrow), "{asked:?}");
}

#[test]
fn witnesses_of_a_site_are_one_question() {
    let f = fixture(vec![
        visit("203.5.0.0", "aaaaaa"),
        visit("203.7.0.0", "bbbbbb"),
    ]);
    let witness = |idsite, address: &str, pv_id: &[u8; 6]| Witness {
        idsite,
        visitor: None,
        address: address.parse().unwrap(),
        time: TIME,
        pv_id: *pv_id,
    };
    let found = f.log.find_witnesses(&[
        witness("2", "203.7.1.2", b"bbbbbb"),
        witness("1", "203.5.113.7", b"aaaaaa"),
        witness("1", "203.7.1.2", b"cccccc"),
    ]);
    assert_eq!(found.unwrap(), [Present, Present, Missing]);
    assert_eq!(f.segments().len(), 2);
}

#[test]
fn hits_without_an_address_are_found_by_visitor_id() {
    let of_id = Visit {
        visitor: "0123456789abcdef",
        ..visit("0.0.0.0", "aaaaaa")
    };
    let f = fixture(vec![of_id, visit("203.7.0.0", "bbbbbb")]);
    let without_address = |pv_id| {
        let mut hit = hit("0.0.0.0", pv_id);
        hit["cid"] = json!("0123456789abcdef");
        hit
    };
    let with_address = hit("203.7.1.2", "bbbbbb");
    let found = f.find(&[without_address("aaaaaa"), with_address.clone()]);
    assert_eq!(found, [Present, Present]);
    let [segment] = &f.segments()[..] else {
        panic!("one question is enough");
    };
    assert!(segment.contains("visitorId==0123456789abcdef"), "{segment}");
    // The visit of the first does not say that Matomo stores no addresses.
    assert_eq!(f.find(&[with_address]), [Present]);
    let last = f.segments().pop();
    assert_eq!(last.as_deref(), Some("visitIp==203.7.0.0"));
    let witness = Witness {
        idsite: "1",
        address: "0.0.0.0".parse().unwrap(),
        visitor: Some("0123456789abcdef"),
        time: TIME,
        pv_id: *b"aaaaaa",
    };
    assert_eq!(f.log.find_witnesses(&[witness]).unwrap(), [Present]);
}

#[test]
fn hits_with_a_masked_address_and_an_id_are_found_by_visitor_id() {
    let of_id = Visit {
        visitor: "0123456789abcdef",
        ..visit("203.7.0.0", "aaaaaa")
    };
    let f = fixture(vec![of_id, visit("203.7.0.0", "bbbbbb")]);
    let with_id = |pv_id| {
        let mut hit = hit("203.7.0.0", pv_id);
        hit["cid"] = json!("0123456789abcdef");
        hit
    };
    assert_eq!(
        f.find(&[with_id("aaaaaa"), with_id("cccccc")]),
        [Present, Missing]
    );
    assert_eq!(f.segments()[0], "visitorId==0123456789abcdef");
    // The visitor of a user has an id of Matomo's.
    let mut of_user = with_id("bbbbbb");
    of_user["uid"] = json!("ann");
    assert_eq!(f.find(&[of_user]), [Present]);
    let by_address = |segment: &String| segment.contains("visitIp==203.7.0.0");
    assert!(f.segments().iter().any(by_address), "{:?}", f.segments());
}

#[test]
fn many_addresses_are_several_questions() {
    let f = fixture(Vec::new());
    let hits: Vec<Value> = (0..200)
        .map(|number| hit(&format!("10.{number}.1.1"), &format!("{number:06}")))
        .collect();
    assert!(f.find(&hits).iter().all(|found| *found == Missing));
    let conditions = f.segments();
    let conditions = conditions.iter().map(|segment| segment.split(',').count());
    assert!(conditions.max() <= Some(MAX_CONDITIONS));
}

#[test]
fn some_hits_cannot_be_looked_up() {
    let f = fixture(Vec::new());
    let with = |key: &str, value: Value| {
        let mut hit = hit("9.8.7.6", "aaaaaa");
        hit[key] = value;
        hit
    };
    for hit in [
        with("rec", json!("0")),
        with("rec", json!(0)),
        with("recMode", json!(1)),
        with("cdt", json!("yesterday")),
        with("pv_id", json!("abc")),
    ] {
        let failed = f.log.find_at(std::slice::from_ref(&hit), SystemTime::now());
        assert!(matches!(failed, Err(LookupError::Never(_))), "{hit}");
    }
    let json = hit("9.8.7.6", "aaaaaa").to_string();
    let failed = f.log.find(&[json.as_bytes()], false, SystemTime::now());
    assert!(matches!(failed, Err(LookupError::Never(_))));
    assert!(f.segments().is_empty());
}

#[test]
fn the_present_is_that_of_the_servers_clock() {
    const HOUR: i64 = 3600;
    let now = seconds(SystemTime::now());
    // The server is three hours behind, so a hit of two hours ago is of its future.
    let f = fixture(vec![Visit {
        last: now - 3 * HOUR,
        ..visit("203.5.0.0", "aaaaaa")
    }]);
    let ahead = [hit_at("203.5.113.7", "aaaaaa", now - 30 * 60)];
    f.log
        .api
        .clock()
        .set(SystemTime::now() - Duration::from_secs(3 * HOUR as u64));
    assert_eq!(f.find(&ahead), [Present]);
    // The clock of this machine was three hours ahead when the hit was sent.
    let f = fixture(vec![Visit {
        last: now - 60,
        ..visit("203.5.0.0", "aaaaaa")
    }]);
    f.log.api.clock().set(SystemTime::now());
    let sent_at = SystemTime::now() + Duration::from_secs(3 * HOUR as u64);
    let ahead = [hit_at("203.5.113.7", "aaaaaa", now + HOUR)];
    assert_eq!(f.log.find_at(&ahead, sent_at).unwrap(), [Present]);
}
