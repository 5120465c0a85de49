//! The tracker: checks each hit of a bulk request as Matomo does, and stores the batch.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hyper::body::Bytes;
use hyper::{Request, Response};
use memchr::memmem;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::http::{self, Responder};
use crate::radio::stable_hash;

/// An older date is replaced by the current time.
const MAX_AGE: TimeDelta = TimeDelta::days(20 * 365);
/// The longest generation time that Matomo keeps, in milliseconds.
const MAX_PF_SRV: i64 = 16_777_215;

impl Responder {
    pub(super) fn track(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let batch = match TrackerBody::parse(request.body()) {
            TrackerBody::NotBulk => return http::html(400),
            TrackerBody::Unreadable => return counts(200, 0, 0, None),
            TrackerBody::Bulk(batch) => batch,
        };
        let response = self.track_batch(batch, Utc::now());
        let response = response.unwrap_or_else(|error| {
            let message = format!("the sandbox's database: {error}");
            let body = json!({"status": "error", "tracked": 0, "invalid": 0, "message": message});
            http::json(500, &body)
        });
        if response.status() != 200 || !has_debug(request) {
            return response;
        }
        response.map(|body| {
            let debug = &b"Debug enabled - Input parameters:\narray (\n)\n"[..];
            [debug, &body].concat().into()
        })
    }

    /// Stores all of the batch in one transaction, or nothing.
    fn track_batch(
        &self,
        batch: BulkRequest,
        now: DateTime<Utc>,
    ) -> rusqlite::Result<Response<Bytes>> {
        let token = batch.token.as_deref();
        let token = token.or_else(|| batch.requests.iter().find_map(own_token));
        // Matomo tells only super users which hits are invalid.
        let is_super_user = self.is_token(token);
        let mut sites = HashMap::new();
        let (mut hits, mut tracked, mut invalid) = (Vec::new(), 0, Vec::new());
        for (index, request) in batch.requests.iter().enumerate() {
            let is_authorized = self.is_token(own_token(request).or(batch.token.as_deref()));
            let Some(hit) = parameters(request) else {
                continue;
            };
            let idsite = integer(&hit, "idsite").unwrap_or_default();
            let site_exists = match sites.get(&idsite) {
                Some(exists) => *exists,
                None => {
                    let exists = self.store().site(idsite)?.is_some();
                    sites.insert(idsite, exists);
                    exists
                }
            };
            match judge(hit, site_exists, is_authorized, now) {
                HitVerdict::Stored(hit) => {
                    tracked += 1;
                    hits.push(*hit);
                }
                HitVerdict::NotRecorded => tracked += 1,
                HitVerdict::Invalid => invalid.push(index),
                HitVerdict::FailsBatch => return Ok(counts(500, index, 0, None)),
            }
        }
        self.store().record(&hits)?;
        let indices = is_super_user.then_some(invalid.as_slice());
        Ok(counts(200, tracked, invalid.len(), indices))
    }
}

/// The tracker's answer to a batch.
fn counts(
    status: u16,
    tracked: usize,
    invalid: usize,
    indices: Option<&[usize]>,
) -> Response<Bytes> {
    let word = if status == 200 { "success" } else { "error" };
    let mut body = json!({"status": word, "tracked": tracked, "invalid": invalid});
    if let Some(indices) = indices {
        body["invalid_indices"] = json!(indices);
    }
    http::json(status, &body)
}

fn has_debug(request: &Request<Bytes>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "debug" && value == "1")
}

/// The body of a tracking request, as Matomo sees it.
#[derive(Debug, PartialEq)]
enum TrackerBody {
    /// Without the word `"requests"`: taken for a single hit, and rejected.
    NotBulk,
    /// With that word, but no JSON with requests: taken for an empty batch.
    Unreadable,
    Bulk(BulkRequest),
}

#[derive(Debug, PartialEq)]
struct BulkRequest {
    token: Option<String>,
    requests: Vec<Value>,
}

impl TrackerBody {
    fn parse(bytes: &[u8]) -> Self {
        let has = |word: &str| memmem::find(bytes, word.as_bytes()).is_some();
        if !has("\"requests\"") && !has("'requests'") {
            return Self::NotBulk;
        }
        // Rejects invalid UTF-8 and lone surrogates, like PHP's `json_decode`.
        let Ok(Value::Object(mut body)) = serde_json::from_slice(bytes) else {
            return Self::Unreadable;
        };
        match body.remove("requests") {
            Some(Value::Array(requests)) if !requests.is_empty() => Self::Bulk(BulkRequest {
                token: body
                    .get("token_auth")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                requests,
            }),
            _ => Self::Unreadable,
        }
    }
}

fn own_token(request: &Value) -> Option<&str> {
    request.get("token_auth")?.as_str()
}

/// The parameters of one hit, sent as an object or as a query string.
///
/// Returns `None` for anything else, which Matomo ignores.
fn parameters(request: &Value) -> Option<Map<String, Value>> {
    match request {
        Value::Object(parameters) if !parameters.is_empty() => Some(parameters.clone()),
        Value::String(url) if !url.is_empty() => {
            let query = url.split_once('?').map_or(url.as_str(), |(_, query)| query);
            let pairs = form_urlencoded::parse(query.as_bytes());
            Some(
                pairs
                    .map(|(key, value)| (key.into_owned(), value.into()))
                    .collect(),
            )
        }
        _ => None,
    }
}

#[derive(Debug)]
enum HitVerdict {
    Stored(Box<StoredHit>),
    /// Counts as tracked, but is left out on purpose: `rec=0`, `ping=1`.
    NotRecorded,
    /// No such site, or a missing or wrong token. Matomo needs one only for addresses and past
    /// dates, but any web page can send requests to this machine.
    Invalid,
    /// Makes Matomo reject the whole batch.
    FailsBatch,
}

/// Checks site, token, date and address of a hit.
fn judge(
    hit: Map<String, Value>,
    site_exists: bool,
    is_authorized: bool,
    now: DateTime<Utc>,
) -> HitVerdict {
    let Some(idsite) = integer(&hit, "idsite").filter(|idsite| *idsite > 0) else {
        return HitVerdict::Invalid;
    };
    let date = text(&hit, "cdt")
        .and_then(|cdt| parse_date(&cdt))
        .filter(|date| *date <= now && now.signed_duration_since(date) < MAX_AGE);
    let address = text(&hit, "cip");
    if !is_authorized || !site_exists {
        return HitVerdict::Invalid;
    }
    if integer(&hit, "rec") != Some(1) || integer(&hit, "ping") == Some(1) {
        return HitVerdict::NotRecorded;
    }
    if integer(&hit, "bw_bytes").is_some_and(|bytes| bytes < 0) {
        return HitVerdict::FailsBatch;
    }
    let address = match address {
        // Every client of the sandbox is on this machine.
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(address) => address.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    };
    let hit = StoredHit::new(hit, idsite, date.unwrap_or(now), address);
    HitVerdict::Stored(Box::new(hit))
}

/// Parses `YYYY-MM-DD hh:mm:ss` in UTC, with a fraction or a `T`, or seconds since 1970.
fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f"));
    match parsed {
        Ok(date) => Some(date.and_utc()),
        Err(_) => DateTime::from_timestamp(text.parse().ok()?, 0),
    }
}

/// Parameters that are stored as text, and their columns in the table `hits`.
pub(super) const TEXT_COLUMNS: [(&str, &str); 10] = [
    ("uid", "uid"),
    ("ua", "agent"),
    ("url", "url"),
    ("urlref", "referrer"),
    ("download", "download"),
    ("action_name", "action_name"),
    ("e_c", "e_c"),
    ("e_a", "e_a"),
    ("e_n", "e_n"),
    ("pv_id", "pv_id"),
];

/// A row of the table `hits`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredHit {
    pub idsite: i64,
    /// Seconds since 1970, UTC.
    pub epoch: i64,
    /// The same as `YYYY-MM-DD hh:mm:ss`.
    pub time: String,
    pub kind: HitKind,
    /// 16 hexadecimal digits that identify the visitor by `uid`, else by `cid`, else by address and
    /// user agent.
    pub visitor: String,
    pub address: String,
    pub referrer_host: Option<String>,
    pub status: Option<i64>,
    pub bytes: Option<i64>,
    /// Generation time in milliseconds.
    pub pf_srv: Option<i64>,
    pub e_v: Option<f64>,
    pub new_visit: bool,
    /// The parameters of [`TEXT_COLUMNS`].
    pub texts: [Option<String>; TEXT_COLUMNS.len()],
    /// The request as it was sent, without its token.
    pub json: String,
}

/// What a hit counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HitKind {
    PageView,
    Download,
    Event,
    /// `ca=1` without an event: only keeps the visit open.
    Other,
    /// `recMode=1`: counts only in the reports on AI assistants, and belongs to no visit.
    Assistant,
}

impl HitKind {
    pub fn as_text(self) -> &'static str {
        match self {
            Self::PageView => "page view",
            Self::Download => "download",
            Self::Event => "event",
            Self::Other => "other",
            Self::Assistant => "assistant",
        }
    }

    fn of(hit: &Map<String, Value>) -> Self {
        if integer(hit, "recMode") == Some(1) {
            Self::Assistant
        } else if text(hit, "e_c").is_some() && text(hit, "e_a").is_some() {
            Self::Event
        } else if text(hit, "download").is_some() {
            Self::Download
        } else if integer(hit, "ca") == Some(1) {
            Self::Other
        } else {
            Self::PageView
        }
    }
}

impl StoredHit {
    pub fn new(
        mut hit: Map<String, Value>,
        idsite: i64,
        date: DateTime<Utc>,
        address: IpAddr,
    ) -> Self {
        hit.shift_remove("token_auth");
        let kind = HitKind::of(&hit);
        let (uid, agent) = (text(&hit, "uid"), text(&hit, "ua"));
        let address = address.to_string();
        let pf_srv = integer(&hit, "pf_srv").filter(|pf| (0..=MAX_PF_SRV).contains(pf));
        Self {
            idsite,
            epoch: date.timestamp(),
            time: date.format("%Y-%m-%d %H:%M:%S").to_string(),
            visitor: match (&uid, text(&hit, "cid").filter(|cid| is_visitor_id(cid))) {
                (Some(uid), _) => visitor_id(&["uid", uid]),
                (None, Some(cid)) => cid.to_ascii_lowercase(),
                (None, None) => visitor_id(&[&address, agent.as_deref().unwrap_or_default()]),
            },
            referrer_host: text(&hit, "urlref").and_then(|referrer| referrer_host(&referrer)),
            status: integer(&hit, "http_status").or_else(|| status_variable(&hit)),
            bytes: integer(&hit, "bw_bytes"),
            pf_srv: pf_srv.filter(|_| matches!(kind, HitKind::PageView | HitKind::Assistant)),
            e_v: text(&hit, "e_v")
                .and_then(|value| value.parse().ok())
                .filter(|value: &f64| value.is_finite()),
            new_visit: integer(&hit, "new_visit") == Some(1),
            texts: TEXT_COLUMNS.map(|(parameter, _)| text(&hit, parameter)),
            json: Value::Object(hit).to_string(),
            kind,
            address,
        }
    }
}

/// A parameter as text. Returns `None` if it is missing, empty, or neither text nor number.
fn text(hit: &Map<String, Value>, key: &str) -> Option<String> {
    match hit.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A parameter as an integer, sent as a number or as text.
fn integer(hit: &Map<String, Value>, key: &str) -> Option<i64> {
    match hit.get(key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The status in the custom variables `{"1": ["HTTP-code", "200"]}`, sent as JSON or as JSON text.
fn status_variable(hit: &Map<String, Value>) -> Option<i64> {
    let variables = match hit.get("cvar")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        value => value.clone(),
    };
    let pairs: Vec<&Value> = match &variables {
        Value::Object(pairs) => pairs.values().collect(),
        Value::Array(pairs) => pairs.iter().collect(),
        _ => return None,
    };
    let code = pairs
        .into_iter()
        .find(|pair| pair[0] == "HTTP-code")
        .map(|pair| &pair[1])?;
    code.as_i64().or_else(|| code.as_str()?.parse().ok())
}

fn referrer_host(referrer: &str) -> Option<String> {
    Url::parse(referrer).ok()?.host_str().map(str::to_owned)
}

/// Hashes the parts. No version may change the hash: databases outlive the program.
fn visitor_id(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    format!("{:016x}", stable_hash(bytes))
}

/// Whether Matomo accepts the `cid` as a visitor's ID.
fn is_visitor_id(cid: &str) -> bool {
    cid.len() == 16 && cid.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::store::HitStore;

    const NOW: i64 = 1_790_000_000;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("not an object: {other}"),
        }
    }

    fn responder() -> Responder {
        Responder::new(HitStore::open(None).unwrap())
    }

    /// Status and body of the response to a tracking request.
    fn track_at(responder: &Responder, target: &str, body: impl Into<Bytes>) -> (u16, String) {
        let request = Request::builder().method("POST").uri(target);
        let response = responder.respond(&request.body(body.into()).unwrap());
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status().as_u16(), body)
    }

    fn track(responder: &Responder, requests: &[Value]) -> (u16, String) {
        let token = responder.token().expose();
        let body = json!({"token_auth": token, "requests": requests});
        track_at(responder, "/piwik.php", body.to_string())
    }

    fn page(number: usize) -> Value {
        json!({
            "rec": 1, "idsite": 1, "cip": format!("10.0.0.{}", number % 250), "ua": "Agent",
            "url": format!("http://www.example.com/{number}"),
        })
    }

    fn pages(count: usize) -> Vec<Value> {
        (0..count).map(page).collect()
    }

    fn verdict(hit: Value, is_authorized: bool) -> HitVerdict {
        let site_exists = hit["idsite"] == 1 || hit["idsite"] == "1";
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        judge(object(hit), site_exists, is_authorized, now)
    }

    fn stored(hit: Value) -> StoredHit {
        let date = DateTime::from_timestamp(1_789_898_400, 0).unwrap();
        StoredHit::new(object(hit), 1, date, [10, 0, 0, 1].into())
    }

    #[test]
    fn a_batch_is_stored_and_counted() {
        let responder = responder();
        let success = r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#;
        assert_eq!(track(&responder, &pages(3)), (200, success.to_owned()));
        assert_eq!(responder.store().hits().unwrap(), pages(3));
        track(&responder, &pages(1));
        assert_eq!(responder.store().count().unwrap(), 4);
    }

    #[test]
    fn hits_of_unknown_sites_are_invalid_and_the_others_stored() {
        let responder = responder();
        let mut requests = pages(3);
        requests[1]["idsite"] = json!(99);
        let answer = r#"{"status":"success","tracked":2,"invalid":1,"invalid_indices":[1]}"#;
        assert_eq!(track(&responder, &requests), (200, answer.to_owned()));
        assert_eq!(responder.store().hits().unwrap(), [page(0), page(2)]);
    }

    #[test]
    fn only_the_token_in_the_body_or_in_a_hit_counts() {
        let responder = responder();
        let token = responder.token().expose();
        let target = format!("/piwik.php?token_auth={token}");
        let bare = json!({"requests": pages(2)}).to_string();
        let none = r#"{"status":"success","tracked":0,"invalid":2}"#;
        assert_eq!(track_at(&responder, &target, bare), (200, none.to_owned()));
        let wrong = json!({"token_auth": "x", "requests": pages(2)}).to_string();
        let (_, answer) = track_at(&responder, "/piwik.php", wrong);
        assert_eq!(answer, none);
        let mut requests = pages(2);
        requests[1]["token_auth"] = json!(token);
        let own = json!({"requests": requests}).to_string();
        let (_, answer) = track_at(&responder, "/piwik.php", own);
        let one = r#"{"status":"success","tracked":1,"invalid":1,"invalid_indices":[0]}"#;
        assert_eq!(answer, one);
        assert_eq!(responder.store().hits().unwrap(), [page(1)]);
    }

    #[test]
    fn hits_that_are_not_recorded_count_as_tracked() {
        let responder = responder();
        let mut requests = pages(3);
        requests[0]["rec"] = json!(0);
        requests[1]["ping"] = json!(1);
        requests.push(Value::Null);
        let answer = r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#;
        assert_eq!(track(&responder, &requests), (200, answer.to_owned()));
        assert_eq!(responder.store().hits().unwrap(), [page(2)]);
    }

    #[test]
    fn negative_bytes_fail_the_batch() {
        let responder = responder();
        let mut requests = pages(4);
        requests[2]["bw_bytes"] = json!(-5);
        let answer = r#"{"status":"error","tracked":2,"invalid":0}"#;
        assert_eq!(track(&responder, &requests), (500, answer.to_owned()));
        assert_eq!(responder.store().count().unwrap(), 0);
    }

    #[test]
    fn unreadable_bodies_are_empty_batches() {
        let responder = responder();
        for body in [
            &br#"{"requests":[{"url":"http"#[..],
            b"{\"requests\":[{\"url\":\"\xff\"}]}",
            br#"{"requests":[{"url":"\ud83d"}]}"#,
            br#"{"requests":[]}"#,
            br#"{"token_auth":"x","requests":{}}"#,
            br#"["requests"]"#,
        ] {
            let answer = r#"{"status":"success","tracked":0,"invalid":0}"#;
            assert_eq!(
                track_at(&responder, "/piwik.php", body),
                (200, answer.to_owned())
            );
        }
        for body in [&b""[..], b"{}", b"\x1f\x8b\x08\x00", b"idsite=1&rec=1"] {
            assert_eq!(track_at(&responder, "/piwik.php", body).0, 400);
        }
    }

    #[test]
    fn a_request_may_be_a_query_string() {
        let query = json!("/piwik.php?idsite=1&url=http%3A%2F%2Fa%2F");
        let expected = json!({"idsite": "1", "url": "http://a/"});
        assert_eq!(parameters(&query).map(Value::Object), Some(expected));
        assert_eq!(parameters(&Value::Null), None);
    }

    #[test]
    fn debug_output_precedes_the_answer() {
        let responder = responder();
        let body = json!({"token_auth": responder.token().expose(), "requests": pages(1)});
        let (_, answer) = track_at(&responder, "/matomo.php?debug=1", body.to_string());
        assert!(answer.starts_with("Debug enabled"), "{answer}");
        assert!(answer.ends_with(r#""tracked":1,"invalid":0,"invalid_indices":[]}"#));
    }

    #[test]
    fn a_full_database_fails_the_batch() {
        let responder = responder();
        track(&responder, &pages(2));
        let limit_pages = |pages: &str| {
            let limit = format!("PRAGMA max_page_count = {pages}");
            let set = responder
                .store()
                .read(|db| db.query_row(&limit, [], |_| Ok(())));
            set.unwrap();
        };
        limit_pages("1");
        let more = pages(2000).split_off(2);
        let (status, answer) = track(&responder, &more);
        assert_eq!(status, 500, "{answer}");
        let problem = "the sandbox's database: database or disk is full";
        assert!(answer.contains(problem), "{answer}");
        limit_pages("1000000");
        track(&responder, &more);
        assert_eq!(responder.store().hits().unwrap(), pages(2000));
    }

    fn epoch(cdt: &str) -> i64 {
        match verdict(json!({"idsite": 1, "rec": 1, "cdt": cdt}), true) {
            HitVerdict::Stored(hit) => hit.epoch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(epoch("2026-09-20 10:00:00"), 1_789_898_400);
        assert_eq!(epoch("2026-09-20 10:00:00.250"), 1_789_898_400);
        assert_eq!(epoch("2026-09-20T10:00:00"), 1_789_898_400);
        assert_eq!(epoch("1789898400"), 1_789_898_400);
    }

    #[test]
    fn unusable_dates_are_replaced_by_the_current_time() {
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
    fn every_hit_needs_a_token() {
        let is_stored =
            |hit: &Value, token| matches!(verdict(hit.clone(), token), HitVerdict::Stored(_));
        let address = json!({"idsite": 1, "rec": 1, "cip": "10.0.0.1"});
        let old = json!({"idsite": 1, "rec": 1, "cdt": "2026-09-01 00:00:00"});
        let plain = json!({"idsite": 1, "rec": 1, "url": "http://a/"});
        for hit in [&address, &old, &plain] {
            assert!(is_stored(hit, true) && !is_stored(hit, false), "{hit}");
        }
    }

    #[test]
    fn a_site_must_exist() {
        for site in [
            json!(2),
            json!("x"),
            json!(0),
            json!(-1),
            Value::Null,
            json!([1]),
        ] {
            let verdict = verdict(json!({"idsite": site, "rec": 1}), true);
            assert!(matches!(verdict, HitVerdict::Invalid), "{site}");
        }
        let verdict = verdict(json!({"idsite": "1", "rec": "1"}), true);
        assert!(matches!(verdict, HitVerdict::Stored(_)));
    }

    #[test]
    fn an_invalid_address_is_stored_as_zeros() {
        let hit = json!({"idsite": 1, "rec": 1, "cip": "unknown"});
        let HitVerdict::Stored(hit) = verdict(hit, true) else {
            panic!("not stored");
        };
        assert_eq!(hit.address, "0.0.0.0");
    }

    #[test]
    fn the_kind_follows_from_the_parameters() {
        let event = json!({"e_c": "Listening", "e_a": "listened", "ca": 1});
        for (hit, kind) in [
            (json!({"url": "http://a/"}), HitKind::PageView),
            (json!({"download": "http://a/b.zip"}), HitKind::Download),
            (event, HitKind::Event),
            (json!({"ca": 1}), HitKind::Other),
            (json!({"recMode": 1}), HitKind::Assistant),
        ] {
            assert_eq!(stored(hit.clone()).kind, kind, "{hit}");
        }
    }

    #[test]
    fn the_status_is_found_among_the_custom_variables() {
        let text = r#"{"1":["HTTP-method","GET"],"2":["HTTP-code","404"]}"#;
        assert_eq!(stored(json!({"cvar": text})).status, Some(404));
        let object = json!({"cvar": {"1": ["HTTP-code", 200]}});
        assert_eq!(stored(object).status, Some(200));
        assert_eq!(stored(json!({"http_status": 206})).status, Some(206));
        assert_eq!(stored(json!({"cvar": "{"})).status, None);
    }

    #[test]
    fn a_visitor_is_a_uid_or_a_cid_or_an_address_with_an_agent() {
        let visitor = |hit: Value| stored(hit).visitor;
        let by_uid = visitor(json!({"uid": "a", "ua": "x"}));
        assert_eq!(by_uid, visitor(json!({"uid": "a", "ua": "y"})));
        let by_agent = visitor(json!({"ua": "x"}));
        assert_ne!(by_agent, visitor(json!({"ua": "y"})));
        let by_cid = visitor(json!({"ua": "x", "cid": "0123456789ABCDEF"}));
        assert_eq!(by_cid, "0123456789abcdef");
        assert_eq!(by_agent, visitor(json!({"ua": "x", "cid": "short"})));
    }

    #[test]
    fn generation_times_are_kept_for_page_views_up_to_a_limit() {
        let kept = |hit: Value| stored(hit).pf_srv;
        assert_eq!(kept(json!({"pf_srv": MAX_PF_SRV})), Some(MAX_PF_SRV));
        assert_eq!(kept(json!({"pf_srv": MAX_PF_SRV + 1})), None);
        assert_eq!(kept(json!({"pf_srv": 5, "download": "http://a/"})), None);
    }

    #[test]
    fn the_token_is_not_stored() {
        let hit = stored(json!({"token_auth": "secret", "url": "http://a/"}));
        assert_eq!(hit.json, r#"{"url":"http://a/"}"#);
    }

    #[test]
    fn a_referrer_has_a_host() {
        let host = |referrer| stored(json!({"urlref": referrer})).referrer_host;
        let news = host("https://News.Example:8080/x");
        assert_eq!(news.as_deref(), Some("news.example"));
        assert_eq!(host("-"), None);
    }
}
