//! The Matomo of the recorded cases. It accepts every hit; its sites, faults and basic
//! authentication are part of the case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::TOKEN;
use super::http::{Request, Response};

/// An API call as the cases compare it: path, and form without the token.
pub type ApiCall = (String, BTreeMap<String, String>);

pub struct Matomo {
    /// `server` of the case.
    spec: Value,
    seen: Mutex<Seen>,
}

/// What it has received so far.
#[derive(Clone, Default)]
pub struct Seen {
    pub api: BTreeSet<ApiCall>,
    /// All hits in the order of their arrival.
    pub hits: Vec<Value>,
    /// Path and query of tracking requests.
    pub tracker: BTreeSet<String>,
    pub tokens: BTreeSet<String>,
    new_sites: BTreeMap<String, String>,
    tracker_calls: usize,
}

impl Matomo {
    pub fn new(spec: &Value) -> Self {
        Self {
            spec: spec.clone(),
            seen: Mutex::default(),
        }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    pub fn answer(&self, request: &Request) -> Response {
        let mut seen = self.seen.lock().unwrap();
        if let Some(login) = self.spec["basic_auth"].as_str()
            && request.header("authorization")
                != Some(&format!("Basic {}", base64(login.as_bytes())))
        {
            return Response::json(401, json!({"result": "error", "message": "no"}));
        }
        if request.body.starts_with(b"{") {
            return self.track(&mut seen, request);
        }
        let mut form: BTreeMap<String, String> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        form.extend(request.query());
        match form.get("method").cloned() {
            Some(method) => {
                Response::json(200, self.call(&mut seen, request.path(), &method, form))
            }
            None => Response::json(
                404,
                json!({"result": "error", "message": "unknown request"}),
            ),
        }
    }

    fn track(&self, seen: &mut Seen, request: &Request) -> Response {
        let fault = &self.spec["tracker_faults"][seen.tracker_calls];
        seen.tracker_calls += 1;
        let status = fault["status"].as_u64().unwrap_or(200);
        if status != 200 {
            let body = match fault.get("body") {
                Some(body) => body.clone(),
                None => json!({"status": "error", "tracked": 0, "message": "down"}),
            };
            return Response::json(status as u16, body);
        }
        let data: Value = serde_json::from_slice(&request.body).unwrap();
        let hits = data["requests"].as_array().unwrap();
        let mut query = request.query();
        query.sort();
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        seen.tracker.insert(format!("{}?{query}", request.path()));
        seen.tokens
            .insert(data["token_auth"].as_str().unwrap_or("no token").to_owned());
        seen.hits.extend_from_slice(hits);
        let sent = hits.iter().filter(|hit| !hit.is_null()).count();
        let invalid = fault["invalid_indices"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let answer = json!({
            "status": "success",
            "tracked": sent - invalid.len(),
            "invalid": invalid.len(),
            "invalid_indices": invalid,
        });
        Response::json(200, answer)
    }

    fn call(
        &self,
        seen: &mut Seen,
        path: &str,
        method: &str,
        mut form: BTreeMap<String, String>,
    ) -> Value {
        // The script never looks up hits, so these calls are answered but not compared.
        if method.starts_with("Live.") {
            return visits(&seen.hits, &form);
        }
        if method == "API.getBulkRequest" {
            let urls = (0..).map_while(|index| form.get(&format!("urls[{index}]")));
            let answers = urls.map(|url| {
                let mut inner: BTreeMap<String, String> = form_urlencoded::parse(url.as_bytes())
                    .into_owned()
                    .collect();
                // Recorded as separate calls.
                for key in ["module", "format", "filter_limit", "token_auth"] {
                    let value = form.get(key).cloned().unwrap_or_default();
                    inner.insert(key.to_owned(), value);
                }
                let method = inner["method"].clone();
                self.call(seen, path, &method, inner)
            });
            return answers.collect();
        }
        let token = form.remove("token_auth").unwrap_or_default();
        let asked = |key: &str| form.get(key).map_or("", String::as_str);
        // Nor does it ask about the server itself.
        if !method.starts_with("API.") && !method.starts_with("CoreAdminHome.") {
            seen.api.insert((path.to_owned(), form.clone()));
        }
        if !["", TOKEN].contains(&token.as_str())
            && method != "UsersManager.createAppSpecificTokenAuth"
        {
            return json!({"result": "error", "message": "bad token"});
        }
        match method {
            "SitesManager.getSiteFromId" => match self.sites().get(asked("idSite")) {
                Some(url) => site(asked("idSite"), url),
                None => json!({"result": "error", "message": format!(
                    "An unexpected website was found in the request: website id was set to '{}' .",
                    asked("idSite")
                )}),
            },
            "SitesManager.getSitesIdFromSiteUrl" => {
                let host = host(asked("url"));
                let new = seen.new_sites.get(host).map(|id| json!(id));
                match new.or_else(|| self.hosts().get(host).cloned()) {
                    Some(id) => json!([{"idsite": id}]),
                    None => json!([]),
                }
            }
            "SitesManager.getAllSites" => {
                let sites = self.sites();
                let all = sites.iter().map(|(id, url)| (id.clone(), site(id, url)));
                Value::Object(all.collect())
            }
            "SitesManager.addSite" => {
                let id = 100 + seen.new_sites.len();
                seen.new_sites
                    .insert(host(asked("urls[0]")).to_owned(), id.to_string());
                json!({"value": id})
            }
            "UsersManager.createAppSpecificTokenAuth" => {
                match (asked("userLogin"), asked("passwordConfirmation")) {
                    ("admin", "secret") => json!({"value": TOKEN}),
                    _ => json!({"result": "error", "message": "wrong password"}),
                }
            }
            other => {
                json!({"result": "error", "message": format!("The method '{other}' does not exist")})
            }
        }
    }

    fn sites(&self) -> Map<String, Value> {
        self.with(
            json!({"1": "http://www.example.com", "2": "https://stream.example.org"}),
            "sites",
        )
    }

    fn hosts(&self) -> Map<String, Value> {
        self.with(
            json!({"www.example.com": "1", "stream.example.org": "2"}),
            "hosts",
        )
    }

    /// The defaults, and what the case adds.
    fn with(&self, always: Value, key: &str) -> Map<String, Value> {
        let mut all = always.as_object().unwrap().clone();
        all.extend(self.spec[key].as_object().cloned().unwrap_or_default());
        all
    }
}

fn site(id: &str, url: &Value) -> Value {
    json!({"idsite": id, "name": format!("s{id}"), "main_url": url})
}

/// The host of a URL with or without scheme.
fn host(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn visits(hits: &[Value], form: &BTreeMap<String, String>) -> Value {
    let number = |key: &str| form.get(key).and_then(|number| number.parse::<i64>().ok());
    let offset = number("filter_offset").unwrap_or(0).max(0) as usize;
    let limit = number("filter_limit").unwrap_or(100);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let visits = hits.iter().filter(|hit| !hit.is_null()).map(|hit| {
        json!({"visitIp": hit["cip"], "actionDetails": [
            {"type": "action", "url": hit["url"], "idpageview": hit["pv_id"]}
        ]})
    });
    visits.skip(offset).take(limit).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let six = bits >> (18 - 6 * place) & 63;
            text.push(match place > three.len() {
                true => '=',
                false => char::from(ALPHABET[six as usize]),
            });
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn from_base64(text: &str) -> Vec<u8> {
    let digits = text
        .bytes()
        .filter_map(|digit| ALPHABET.iter().position(|known| *known == digit));
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for digit in digits {
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
