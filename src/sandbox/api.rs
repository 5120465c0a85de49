//! Matomo's API as far as an importer asks it: sites, a token for a login, the last visits.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::access::Role;
use super::answer::{Answer, Reply};
use super::faults::Fault;
use super::options::Sites;
use super::sites::{Site, host};
use super::{Shared, live, locked};

/// The longest a site's name is taken, in characters, as Matomo's table has it.
const LONGEST_NAME: usize = 90;

/// An API call: its method, its arguments, and the token apart from them.
pub(super) struct Call {
    method: String,
    form: BTreeMap<String, String>,
    token: Option<String>,
}

impl Call {
    /// `None` where the form names no method. The query adds to the form, but a token counts only in the form.
    pub fn read(head: &Parts, body: &Bytes) -> Option<Self> {
        let mut form: BTreeMap<String, String> =
            form_urlencoded::parse(body).into_owned().collect();
        let token = form.remove("token_auth");
        let query = head.uri.query().unwrap_or_default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if key != "token_auth" {
                form.entry(key).or_insert(value);
            }
        }
        Some(Self {
            method: form.get("method")?.clone(),
            form,
            token,
        })
    }
}

pub(super) async fn serve(shared: &Shared, head: &Parts, mut call: Call) -> Reply {
    let password = call.form.remove("passwordConfirmation");
    let role = shared.role(call.token.as_deref());
    shared.watch.api(head, &call.method, &call.form, role);
    let (fault, maintenance) = {
        let mut script = locked(&shared.script);
        (script.next_api(), script.faults.maintenance)
    };
    let late = fault.as_ref().map(Fault::work).unwrap_or_default();
    tokio::time::sleep(shared.options.delay.saturating_add(late)).await;
    if let Some(fault) = &fault
        && let Some(reply) = fault.instead(0).await
    {
        return reply;
    }
    let answer = if maintenance {
        Answer::html(503)
    } else if shared.locked_out() {
        Answer::html(500)
    } else if call.form.get("module").map(String::as_str) != Some("API") {
        // A page of Matomo's own screens.
        Answer::html(200)
    } else {
        carry_out(shared, &call, password.as_deref(), role)
    };
    match fault {
        Some(fault) => fault.spoil(answer).await,
        None => Ok(answer),
    }
}

fn carry_out(shared: &Shared, call: &Call, password: Option<&str>, role: Role) -> Answer {
    let form = &call.form;
    if call.method == "UsersManager.createAppSpecificTokenAuth" {
        return create_token(shared, form, password);
    }
    match role {
        Role::Bad => return Answer::html(401),
        Role::None => {
            return Answer::api_error(401, "You must be logged in to access this functionality.");
        }
        _ => {}
    }
    let done = match call.method.as_str() {
        "SitesManager.getSiteFromId" => site_from_id(shared, form),
        "SitesManager.getSitesIdFromSiteUrl" => sites_of_url(shared, form),
        "SitesManager.getAllSites" => all_sites(shared),
        "SitesManager.addSite" => add_site(shared, form, role),
        "Live.getLastVisitsDetails" => live::last_visits(shared, form),
        method => Ok(Answer::api_error(
            200,
            &format!("The method '{method}' does not exist or is not available."),
        )),
    };
    done.unwrap_or_else(|error| Answer::api_error(500, &format!("the sandbox's database: {error}")))
}

fn create_token(
    shared: &Shared,
    form: &BTreeMap<String, String>,
    password: Option<&str>,
) -> Answer {
    let fits = shared
        .options
        .login
        .as_ref()
        .is_some_and(|(login, wanted)| {
            form.get("userLogin") == Some(login) && password == Some(wanted.expose())
        });
    match fits {
        true => value(json!(shared.options.tokens.super_user.expose())),
        false => Answer::api_error(200, "The current password you entered is not correct."),
    }
}

fn site_from_id(shared: &Shared, form: &BTreeMap<String, String>) -> rusqlite::Result<Answer> {
    let asked = form.get("idSite").map_or("", String::as_str);
    let Some(idsite) = asked.parse().ok().filter(|idsite| *idsite > 0) else {
        return Ok(unknown_site(asked));
    };
    let mut site = shared.store.site(idsite)?;
    if site.is_none() && matches!(shared.options.sites, Sites::EveryHost) {
        shared
            .store
            .add_site(Some(idsite), &format!("Site {idsite}"), &[])?;
        site = shared.store.site(idsite)?;
    }
    Ok(match site {
        Some(site) => Answer::json(200, &shown(&site)),
        None => unknown_site(asked),
    })
}

fn sites_of_url(shared: &Shared, form: &BTreeMap<String, String>) -> rusqlite::Result<Answer> {
    let host = host(form.get("url").map_or("", String::as_str));
    let mut idsite = shared.store.site_of_host(&host)?;
    if idsite.is_none() && !host.is_empty() && matches!(shared.options.sites, Sites::EveryHost) {
        idsite = Some(
            shared
                .store
                .add_site(None, &host, &[format!("http://{host}")])?,
        );
    }
    let found: Vec<Value> = idsite
        .iter()
        .map(|idsite| json!({"idsite": idsite.to_string()}))
        .collect();
    Ok(Answer::json(200, &json!(found)))
}

fn all_sites(shared: &Shared) -> rusqlite::Result<Answer> {
    let sites = shared.store.sites()?;
    let all: Map<String, Value> = sites
        .iter()
        .map(|site| (site.idsite.to_string(), shown(site)))
        .collect();
    Ok(Answer::json(200, &Value::Object(all)))
}

fn add_site(
    shared: &Shared,
    form: &BTreeMap<String, String>,
    role: Role,
) -> rusqlite::Result<Answer> {
    if role < Role::Super {
        let message = "You can't access this resource as it requires 'superuser' access.";
        return Ok(Answer::api_error(401, message));
    }
    let name: String = form
        .get("siteName")
        .map_or("", String::as_str)
        .chars()
        .take(LONGEST_NAME)
        .collect();
    if name.is_empty() {
        return Ok(Answer::api_error(
            200,
            "Please specify a value for 'siteName'.",
        ));
    }
    let urls = (0..).map_while(|index| form.get(&format!("urls[{index}]")));
    let urls: Vec<String> = urls.cloned().collect();
    let idsite = shared.store.add_site(None, &name, &urls)?;
    Ok(value(json!(idsite)))
}

/// A plain value as the API sends it.
fn value(value: Value) -> Answer {
    Answer::json(200, &json!({ "value": value }))
}

fn shown(site: &Site) -> Value {
    json!({
        "idsite": site.idsite.to_string(),
        "name": site.name,
        "main_url": site.main_url,
        "timezone": "UTC",
    })
}

pub(super) fn unknown_site(asked: &str) -> Answer {
    let asked: String = asked.chars().take(LONGEST_NAME).collect();
    Answer::api_error(
        200,
        &format!(
            "An unexpected website was found in the request: website id was set to '{asked}' ."
        ),
    )
}
