//! A hit as it is stored: a row of the table `hits`.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use url::Url;

/// The largest generation time Matomo keeps, in milliseconds.
const MOST_PF: i64 = 16_777_215;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub idsite: i64,
    /// UTC, seconds since 1970.
    pub epoch: i64,
    /// The same as `YYYY-MM-DD hh:mm:ss`.
    pub time: String,
    pub kind: Kind,
    /// 16 hexadecimal digits: the same for the same `uid`, else the `cid`, else the same for the same address and
    /// agent.
    pub visitor: String,
    pub address: String,
    pub uid: Option<String>,
    pub agent: Option<String>,
    pub url: Option<String>,
    pub referrer: Option<String>,
    pub referrer_host: Option<String>,
    pub status: Option<i64>,
    pub bytes: Option<i64>,
    /// Milliseconds.
    pub pf_srv: Option<i64>,
    pub download: Option<String>,
    pub action_name: Option<String>,
    pub e_c: Option<String>,
    pub e_a: Option<String>,
    pub e_n: Option<String>,
    pub e_v: Option<f64>,
    pub new_visit: bool,
    pub pv_id: Option<String>,
    /// The request as it was sent, without its token.
    pub json: String,
}

/// What a hit counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Page,
    Download,
    Event,
    /// `ca=1` without an event: keeps the visit open, no more.
    Other,
    /// `recMode=1`: for the AI-assistant reports only, part of no visit.
    Assistant,
}

impl Kind {
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Page => "page view",
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
            Self::Page
        }
    }
}

impl Stored {
    pub fn new(
        hit: &Map<String, Value>,
        idsite: i64,
        date: DateTime<Utc>,
        address: IpAddr,
    ) -> Self {
        let kind = Kind::of(hit);
        let referrer = text(hit, "urlref");
        let (uid, agent) = (text(hit, "uid"), text(hit, "ua"));
        let address = address.to_string();
        let generation = integer(hit, "pf_srv").filter(|pf| (0..=MOST_PF).contains(pf));
        Self {
            idsite,
            epoch: date.timestamp(),
            time: date.format("%Y-%m-%d %H:%M:%S").to_string(),
            visitor: match (&uid, text(hit, "cid").filter(|cid| is_visitor(cid))) {
                (Some(uid), _) => visitor(&["uid", uid]),
                (None, Some(cid)) => cid.to_ascii_lowercase(),
                (None, None) => visitor(&[&address, agent.as_deref().unwrap_or_default()]),
            },
            referrer_host: referrer.as_deref().and_then(host),
            status: integer(hit, "http_status").or_else(|| status(hit)),
            bytes: integer(hit, "bw_bytes"),
            pf_srv: generation.filter(|_| matches!(kind, Kind::Page | Kind::Assistant)),
            url: text(hit, "url"),
            download: text(hit, "download"),
            action_name: text(hit, "action_name"),
            e_c: text(hit, "e_c"),
            e_a: text(hit, "e_a"),
            e_n: text(hit, "e_n"),
            e_v: text(hit, "e_v")
                .and_then(|value| value.parse().ok())
                .filter(|value: &f64| value.is_finite()),
            new_visit: integer(hit, "new_visit") == Some(1),
            pv_id: text(hit, "pv_id"),
            json: without_token(hit),
            kind,
            address,
            uid,
            agent,
            referrer,
        }
    }
}

/// An argument as text; `None` where it is missing, empty or no text.
pub(super) fn text(hit: &Map<String, Value>, key: &str) -> Option<String> {
    match hit.get(key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An argument as a whole number, also where it is sent as text.
pub(super) fn integer(hit: &Map<String, Value>, key: &str) -> Option<i64> {
    match hit.get(key)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The status among the custom variables: `{"1": ["HTTP-code", "200"]}`, as an object or its JSON text.
fn status(hit: &Map<String, Value>) -> Option<i64> {
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

fn host(referrer: &str) -> Option<String> {
    Url::parse(referrer).ok()?.host_str().map(str::to_owned)
}

/// FNV-1a over the parts: the same in every version, as files stay.
fn visitor(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// What Matomo takes for a visitor's id.
fn is_visitor(cid: &str) -> bool {
    cid.len() == 16 && cid.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn without_token(hit: &Map<String, Value>) -> String {
    let mut shown = hit.clone();
    shown.shift_remove("token_auth");
    Value::Object(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stored(hit: Value) -> Stored {
        let date = DateTime::from_timestamp(1_789_898_400, 0).unwrap();
        Stored::new(
            hit.as_object().unwrap(),
            1,
            date,
            "10.0.0.1".parse().unwrap(),
        )
    }

    #[test]
    fn kinds_are_told_by_their_arguments() {
        for (hit, kind) in [
            (json!({"url": "http://a/"}), Kind::Page),
            (json!({"download": "http://a/b.zip"}), Kind::Download),
            (
                json!({"e_c": "Listening", "e_a": "listened", "ca": 1}),
                Kind::Event,
            ),
            (json!({"ca": 1}), Kind::Other),
            (json!({"recMode": 1}), Kind::Assistant),
        ] {
            assert_eq!(stored(hit).kind, kind);
        }
    }

    #[test]
    fn the_status_is_found_among_the_custom_variables() {
        let text = r#"{"1":["HTTP-method","GET"],"2":["HTTP-code","404"]}"#;
        assert_eq!(stored(json!({"cvar": text})).status, Some(404));
        assert_eq!(
            stored(json!({"cvar": {"1": ["HTTP-code", 200]}})).status,
            Some(200)
        );
        assert_eq!(stored(json!({"http_status": 206})).status, Some(206));
        assert_eq!(stored(json!({"cvar": "{"})).status, None);
    }

    #[test]
    fn a_uid_is_the_visitor_else_address_and_agent_are() {
        assert_eq!(
            stored(json!({"uid": "a", "ua": "x"})).visitor,
            stored(json!({"uid": "a", "ua": "y"})).visitor
        );
        assert_ne!(
            stored(json!({"ua": "x"})).visitor,
            stored(json!({"ua": "y"})).visitor
        );
        let cid = |cid: &str| stored(json!({"ua": "x", "cid": cid})).visitor;
        assert_eq!(cid("0123456789ABCDEF"), "0123456789abcdef");
        assert_eq!(cid("short"), stored(json!({"ua": "x"})).visitor);
    }

    #[test]
    fn generation_times_are_kept_for_page_views_up_to_matomos_limit() {
        assert_eq!(stored(json!({"pf_srv": MOST_PF})).pf_srv, Some(MOST_PF));
        assert_eq!(stored(json!({"pf_srv": MOST_PF + 1})).pf_srv, None);
        assert_eq!(
            stored(json!({"pf_srv": 5, "download": "http://a/"})).pf_srv,
            None
        );
    }

    #[test]
    fn the_token_is_not_stored_and_a_referrer_gives_its_host() {
        let row = stored(json!({"token_auth": "secret", "urlref": "https://News.Example:8080/x"}));
        assert!(!row.json.contains("secret"));
        assert_eq!(row.referrer_host.as_deref(), Some("news.example"));
        assert_eq!(stored(json!({"urlref": "-"})).referrer_host, None);
    }
}
