//! The calls of Matomo's API that an import makes: finding sites and creating them.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::{Request, Response};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::http::{self, Responder};
use super::store::StoredSite;

/// The longest site name in Matomo's database, in characters. Longer ones are cut.
const MAX_NAME_CHARS: usize = 90;

/// An API call, its token apart from the other parameters.
pub struct ApiRequest {
    pub method: String,
    pub parameters: BTreeMap<String, String>,
    pub token: Option<String>,
}

impl ApiRequest {
    /// Reads the form and the query. A token counts only in the form, as in Matomo 5.
    ///
    /// Returns `None` if there is no `method`.
    pub fn read(request: &Request<Bytes>) -> Option<Self> {
        let mut parameters: BTreeMap<String, String> = form_urlencoded::parse(request.body())
            .into_owned()
            .collect();
        let token = parameters.remove("token_auth");
        let query = request.uri().query().unwrap_or_default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if key != "token_auth" {
                parameters.entry(key).or_insert(value);
            }
        }
        Some(Self {
            method: parameters.get("method")?.clone(),
            parameters,
            token,
        })
    }

    /// A parameter, or an empty string if it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

impl Responder {
    pub(super) fn call(&self, call: &ApiRequest) -> Response<Bytes> {
        if !self.is_token(call.token.as_deref()) {
            let message = "You must be logged in to access this functionality.";
            return http::api_error(401, message);
        }
        let response = match call.method.as_str() {
            "SitesManager.getSiteFromId" => self.site_from_id(call.get("idSite")),
            "SitesManager.getSitesIdFromSiteUrl" => self.sites_of_url(call.get("url")),
            "SitesManager.getAllSites" => self.all_sites(),
            "SitesManager.addSite" => self.add_site(call),
            method => Ok(http::api_error(
                200,
                &format!("The method '{method}' does not exist or is not available."),
            )),
        };
        response.unwrap_or_else(|error| {
            http::api_error(500, &format!("the sandbox's database: {error}"))
        })
    }

    fn site_from_id(&self, id: &str) -> rusqlite::Result<Response<Bytes>> {
        let Some(idsite) = id.parse().ok().filter(|idsite| *idsite > 0) else {
            return Ok(unknown_site(id));
        };
        if self.store().site(idsite)?.is_none() {
            let name = format!("Site {idsite}");
            self.store().add_site(Some(idsite), &name, &[])?;
        }
        Ok(match self.store().site(idsite)? {
            Some(site) => http::json(200, &description(&site)),
            None => unknown_site(id),
        })
    }

    fn sites_of_url(&self, url: &str) -> rusqlite::Result<Response<Bytes>> {
        let host = host(url);
        let mut idsite = self.store().site_of_host(&host)?;
        if idsite.is_none() && !host.is_empty() {
            let urls = [format!("http://{host}")];
            idsite = Some(self.store().add_site(None, &host, &urls)?);
        }
        let sites: Vec<Value> = idsite
            .iter()
            .map(|idsite| json!({"idsite": idsite.to_string()}))
            .collect();
        Ok(http::json(200, &Value::Array(sites)))
    }

    fn all_sites(&self) -> rusqlite::Result<Response<Bytes>> {
        let sites = self.store().sites()?;
        let sites: Map<String, Value> = sites
            .iter()
            .map(|site| (site.idsite.to_string(), description(site)))
            .collect();
        Ok(http::json(200, &Value::Object(sites)))
    }

    fn add_site(&self, call: &ApiRequest) -> rusqlite::Result<Response<Bytes>> {
        let name: String = call.get("siteName").chars().take(MAX_NAME_CHARS).collect();
        if name.is_empty() {
            let message = "Please specify a value for 'siteName'.";
            return Ok(http::api_error(200, message));
        }
        let urls = (0..).map_while(|index| call.parameters.get(&format!("urls[{index}]")));
        let urls: Vec<String> = urls.cloned().collect();
        let idsite = self.store().add_site(None, &name, &urls)?;
        Ok(http::json(200, &json!({ "value": idsite })))
    }
}

/// Matomo's error for a site that does not exist.
pub fn unknown_site(id: &str) -> Response<Bytes> {
    let id: String = id.chars().take(MAX_NAME_CHARS).collect();
    let message =
        format!("An unexpected website was found in the request: website id was set to '{id}' .");
    http::api_error(200, &message)
}

fn description(site: &StoredSite) -> Value {
    json!({
        "idsite": site.idsite.to_string(),
        "name": site.name,
        "main_url": site.main_url,
        "timezone": "UTC",
    })
}

/// The host of a URL with or without scheme, in lower case, with its port.
pub(super) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::store::HitStore;

    fn responder() -> Responder {
        Responder::new(HitStore::open(None).unwrap())
    }

    fn call(responder: &Responder, method: &str, parameters: &[(&str, &str)]) -> Value {
        let parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let response = responder.call(&ApiRequest {
            method: format!("SitesManager.{method}"),
            parameters: parameters.collect(),
            token: Some(responder.token().expose().to_owned()),
        });
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn a_token_counts_only_in_the_form() {
        let request = Request::builder()
            .uri("/?module=API&token_auth=b&idSite=7")
            .body(Bytes::from("method=m&token_auth=a"))
            .unwrap();
        let call = ApiRequest::read(&request).unwrap();
        assert_eq!((&*call.method, call.get("idSite")), ("m", "7"));
        assert_eq!(call.token.as_deref(), Some("a"));
        let request = request.map(|_| Bytes::from("token_auth=a"));
        assert!(ApiRequest::read(&request).is_none());
    }

    #[test]
    fn a_call_needs_the_token() {
        let responder = responder();
        for token in [None, Some("wrong".to_owned())] {
            let response = responder.call(&ApiRequest {
                method: "SitesManager.getAllSites".into(),
                parameters: BTreeMap::new(),
                token,
            });
            assert_eq!(response.status(), 401);
        }
    }

    #[test]
    fn every_host_and_every_site_exists() {
        let responder = responder();
        let id = |host| call(&responder, "getSitesIdFromSiteUrl", &[("url", host)]);
        assert_eq!(id("a.example"), json!([{"idsite": "2"}]));
        assert_eq!(id("http://B.example/"), json!([{"idsite": "3"}]));
        assert_eq!(id("a.example"), json!([{"idsite": "2"}]));
        assert_eq!(id(""), json!([]));
        for id in ["1", "7"] {
            let site = call(&responder, "getSiteFromId", &[("idSite", id)]);
            assert_eq!(site["idsite"], id);
        }
        let sites = call(&responder, "getAllSites", &[]);
        assert_eq!(sites.as_object().unwrap().len(), 4);
        assert_eq!(sites["3"]["main_url"], "http://b.example");
    }

    #[test]
    fn a_site_can_be_created() {
        let responder = responder();
        let new = [
            ("siteName", "new.example"),
            ("urls[0]", "http://new.example"),
        ];
        assert_eq!(call(&responder, "addSite", &new), json!({"value": 2}));
        let found = call(
            &responder,
            "getSitesIdFromSiteUrl",
            &[("url", "new.example")],
        );
        assert_eq!(found, json!([{"idsite": "2"}]));
        assert_eq!(call(&responder, "addSite", &[])["result"], "error");
    }

    #[test]
    fn an_invalid_site_id_and_an_unknown_method_are_errors() {
        let responder = responder();
        for id in ["x", "-1", "0", ""] {
            let error = call(&responder, "getSiteFromId", &[("idSite", id)]);
            assert_eq!(error["result"], "error", "{id}");
        }
        assert_eq!(call(&responder, "noSuchMethod", &[])["result"], "error");
    }

    #[test]
    fn a_host_is_found_with_and_without_scheme() {
        for url in ["http://A.example:80/x", "a.example:80", "a.example:80?x"] {
            assert_eq!(host(url), "a.example:80");
        }
    }
}
