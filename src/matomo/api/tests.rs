//! The API against a real server: what is sent, how responses are read, and what is retried.

use std::sync::Mutex;

use url::form_urlencoded;

use super::*;
use crate::error::Error;
use crate::matomo::client::ClientOptions;
use crate::tests::server::{Act, Server, TestRequest, reply};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SITE: &str = r#"{"idsite":"7","name":"n","main_url":"https://www.example.com/a","more":{}}"#;

/// An API and its server. Waits are recorded, not waited.
struct ApiFixture {
    api: Api,
    server: Server,
    waits: Arc<Mutex<Vec<Duration>>>,
}

fn fixture(rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static) -> ApiFixture {
    let server = Server::new(rule);
    let waits = Arc::new(Mutex::new(Vec::new()));
    let recorded = waits.clone();
    let api = api_at(
        &server.url(),
        Arc::new(move |time| {
            recorded.lock().unwrap().push(time);
            false
        }),
    );
    ApiFixture { api, server, waits }
}

fn api_at(url: &str, wait: Waiter) -> Api {
    let client = Client::new(&ClientOptions {
        url: url.into(),
        tracker_path: "/piwik.php".into(),
        timeout: Duration::from_secs(20),
        ..ClientOptions::default()
    })
    .unwrap();
    let retry = RetryPolicy {
        attempts: 3,
        delay: Duration::from_secs(10),
    };
    Api::new(
        client,
        Some(Secret::new(TOKEN)),
        retry,
        wait,
        Shutdown::default(),
    )
}

impl ApiFixture {
    /// The forms that were received, decoded, as `key=value` joined by `&`.
    fn forms(&self) -> Vec<String> {
        self.server
            .seen()
            .iter()
            .map(|r| decoded(&r.body))
            .collect()
    }

    fn methods(&self) -> Vec<String> {
        let method = |form: &String| {
            let found = form
                .split('&')
                .find_map(|pair| pair.strip_prefix("method="));
            found.unwrap().rsplit('.').next().unwrap().to_owned()
        };
        self.forms().iter().map(method).collect()
    }
}

fn decoded(body: &[u8]) -> String {
    let pairs = form_urlencoded::parse(body).map(|(k, v)| format!("{k}={v}"));
    pairs.collect::<Vec<_>>().join("&")
}

#[test]
fn a_site_is_requested_with_the_token_in_the_body() {
    let f = fixture(|_, _| reply(200, "", SITE));
    let site = f.api.site("7").unwrap();
    assert_eq!(
        (&*site.id, &*site.main_url),
        ("7", "https://www.example.com/a")
    );
    assert_eq!(
        f.forms(),
        [format!(
            "module=API&format=json&method=SitesManager.getSiteFromId&filter_limit=-1&idSite=7&token_auth={TOKEN}"
        )]
    );
    assert!(f.server.seen()[0].head.starts_with("POST / HTTP/1.1\r\n"));
}

#[test]
fn an_unknown_site_and_a_bad_token_are_refusals_without_a_retry() {
    let unknown = r#"{"result":"error","message":"An unexpected website was found in the request: website id was set to '99' ."}"#;
    for (status, body, says) in [
        (200, unknown, "website id was set to '99'"),
        (
            401,
            r#"{"result":"error","message":"no access."}"#,
            "no access; check that the token is valid",
        ),
        (401, "<html>please log in</html>", "the token"),
    ] {
        let f = fixture(move |_, _| reply(status, "", body));
        let Err(ApiError::Refused(text)) = f.api.site("99") else {
            panic!("{status} {body}")
        };
        assert!(
            text.contains(says) && text.contains(&f.server.url()),
            "{text}"
        );
        assert!(!text.contains(".;"), "{text}");
        assert_eq!(f.server.seen().len(), 1);
    }
}

#[test]
fn unusable_responses_fail_at_once_and_say_what_to_check() {
    for (status, headers, body, says) in [
        (
            200,
            "",
            "<html><title>Welcome</title>",
            "an HTML page titled \"Welcome\"",
        ),
        (
            200,
            "",
            r#"{"idsite":[1],"main_url":""}"#,
            "JSON of an unexpected kind",
        ),
        (200, "", r#"["a"]"#, "JSON of an unexpected kind"),
        (200, "", "", "an empty body"),
        (
            302,
            "Location: https://new.m/\r\n",
            "",
            "use --url=https://new.m/",
        ),
        (401, "WWW-Authenticate: Basic\r\n", "", "--auth-user"),
        (404, "", "nothing", "check --url"),
        (403, "", "no", "forbids"),
        (400, "", "", "400"),
    ] {
        let f = fixture(move |_, _| reply(status, headers, body));
        let Err(ApiError::Failed(text) | ApiError::Broken(text)) = f.api.site("1") else {
            panic!("{status} {body}")
        };
        assert!(
            text.contains(says) && text.contains("SitesManager.getSiteFromId"),
            "{text}"
        );
        assert!(text.contains(&f.server.url()), "{text}");
        assert_eq!(f.server.seen().len(), 1, "{status} {body}");
    }
}

#[test]
fn transient_failures_are_retried_after_a_wait() {
    let f = fixture(|n, _| match n {
        0 => reply(503, "Retry-After: 2\r\n", ""),
        1 => reply(500, "", r#"{"result":"error","message":"database"}"#),
        _ => reply(200, "", SITE),
    });
    assert_eq!(f.api.site("7").unwrap().id, "7");
    let waits = f.waits.lock().unwrap().clone();
    assert_eq!(waits[0], Duration::from_secs(2));
    let second = Duration::from_secs(10)..=Duration::from_secs(20);
    assert!(waits.len() == 2 && second.contains(&waits[1]), "{waits:?}");
}

#[test]
fn a_missing_page_is_retried_only_if_matomo_was_reached_before() {
    let f = fixture(|n, _| match n {
        1 => reply(404, "", "deploying"),
        _ => reply(200, "", SITE),
    });
    f.api.site("7").unwrap();
    f.api.clone().site("7").unwrap();
    assert_eq!(f.server.seen().len(), 3);
}

#[test]
fn each_retry_is_reported_before_its_wait() {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reported);
    let hook: RetryHook = Arc::new(move |retry| seen.lock().unwrap().push(retry.clone()));
    let f = fixture(|n, _| match n {
        0 => reply(200, "", SITE),
        1 | 2 => reply(502, "Retry-After: 7\r\n", ""),
        _ => Act::Close,
    });
    let api = f.api.clone().on_retry(Arc::clone(&hook));
    api.site("7").unwrap();
    assert!(matches!(api.site("7"), Err(ApiError::Failed(_))));
    let place = f.server.url();
    let place = place.trim_start_matches("http://").trim_end_matches('/');
    let retry = |number| Retry {
        failure: format!("{place} answered 502 (Bad Gateway)"),
        number,
        of: 2,
        wait: Duration::from_secs(7),
        was_reached: true,
    };
    assert_eq!(*reported.lock().unwrap(), [retry(1), retry(2)]);
    reported.lock().unwrap().clear();
    // No server listens on this port.
    let api = api_at("http://127.0.0.1:1/", Arc::new(|_| false)).on_retry(hook);
    assert!(matches!(api.site("7"), Err(ApiError::Unavailable(_))));
    let reported = reported.lock().unwrap();
    let failure = "cannot reach 127.0.0.1:1: connection refused";
    assert_eq!(
        (reported[0].failure.as_str(), reported[0].was_reached),
        (failure, false)
    );
}

#[test]
fn a_server_is_broken_if_a_simple_call_fails_too() {
    for (broken, simple) in [
        (true, (500, "")),
        (true, (503, "")),
        (true, (200, "<html>Sign in</html>")),
        (false, (200, r#"{"value":"5.8.0"}"#)),
        (false, (200, r#"{"result":"error","message":"no"}"#)),
    ] {
        let f = fixture(move |n, _| match n {
            0..3 => reply(500, "", ""),
            _ => reply(simple.0, "", simple.1),
        });
        assert!(matches!(f.api.site("7"), Err(ApiError::Broken(_))));
        assert_eq!(f.api.is_broken(), broken, "{simple:?}");
        assert_eq!(f.methods().last().unwrap(), "getMatomoVersion");
        assert_eq!(f.server.seen().len(), 4);
    }
}

#[test]
fn the_last_failed_attempt_is_final() {
    let f = fixture(|_, _| Act::Close);
    let Err(ApiError::Failed(text)) = f.api.all_sites() else {
        panic!()
    };
    assert!(text.ends_with("(tried 3 times)"), "{text}");
    assert_eq!(f.server.seen().len(), 3);
}

#[test]
fn a_shutdown_ends_the_wait() {
    let server = Server::new(|_, _| reply(503, "", ""));
    let api = api_at(&server.url(), Arc::new(|_| true));
    assert_eq!(api.site("1"), Err(ApiError::Interrupted));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_first_site_of_a_host_is_used() {
    for (body, want) in [
        (r#"[{"idsite":"3"},{"idsite":"4"}]"#, Some("3")),
        (r#"[{"idsite":5}]"#, Some("5")),
        ("[]", None),
    ] {
        let f = fixture(move |_, _| reply(200, "", body));
        assert_eq!(
            f.api.site_of_host("www.example.com").unwrap().as_deref(),
            want
        );
        assert!(f.forms()[0].contains(
            "method=SitesManager.getSitesIdFromSiteUrl&filter_limit=-1&url=www.example.com&"
        ));
    }
}

#[test]
fn sites_are_a_list_or_an_object() {
    let object = r#"{"2":{"idsite":"2","main_url":"http://b"},"9":{"idsite":9,"main_url":"http://c","name":null}}"#;
    let list = r#"[{"idsite":"2","main_url":"http://b"},{"idsite":"9","main_url":"http://c"}]"#;
    for body in [object, list] {
        let f = fixture(move |_, _| reply(200, "", body));
        let sites = f.api.all_sites().unwrap();
        let ids: Vec<_> = sites
            .iter()
            .map(|site| (&*site.id, &*site.main_url))
            .collect();
        assert_eq!(ids, [("2", "http://b"), ("9", "http://c")]);
    }
}

#[test]
fn a_new_site_is_created() {
    for body in [r#"{"value":12}"#, "12", r#"{"value":"12"}"#] {
        let f = fixture(move |_, _| reply(200, "", body));
        assert_eq!(f.api.add_site("new.example.com").unwrap(), "12");
        let form = &f.forms()[0];
        assert!(
            form.contains("&siteName=new.example.com&urls[0]=http://new.example.com&token_auth="),
            "{form}"
        );
    }
}

#[test]
fn a_site_is_not_created_twice_after_a_lost_response() {
    // The first call creates the site, and its response is lost.
    let f = fixture(|n, _| match n {
        0 => Act::Close,
        _ => reply(200, "", r#"[{"idsite":"12"}]"#),
    });
    assert_eq!(f.api.add_site("h").unwrap(), "12");
    assert_eq!(f.methods(), ["addSite", "getSitesIdFromSiteUrl"]);
}

#[test]
fn a_site_is_created_again_if_it_is_missing_after_a_lost_response() {
    let f = fixture(|n, _| match n {
        0 => reply(502, "", ""),
        1 => reply(200, "", "[]"),
        _ => reply(200, "", r#"{"value":3}"#),
    });
    assert_eq!(f.api.add_site("h").unwrap(), "3");
    assert_eq!(f.methods(), ["addSite", "getSitesIdFromSiteUrl", "addSite"]);
}

#[test]
fn a_site_that_cannot_have_been_created_is_not_looked_up() {
    let f = fixture(|_, _| reply(503, "", ""));
    assert!(matches!(f.api.add_site("h"), Err(ApiError::Unavailable(_))));
    assert_eq!(f.methods(), ["addSite"; 3]);
}

#[test]
fn a_site_is_looked_up_after_the_last_lost_response() {
    let f = fixture(|n, _| match n % 2 {
        0 => reply(500, "", ""),
        _ => reply(200, "", "[]"),
    });
    let Err(ApiError::Broken(text)) = f.api.add_site("h") else {
        panic!()
    };
    assert!(text.ends_with("(tried 3 times)"), "{text}");
    assert_eq!(f.methods().last().unwrap(), "getSitesIdFromSiteUrl");
}

#[test]
fn a_token_without_the_right_to_create_sites_is_a_refusal() {
    let f = fixture(|_, _| reply(401, "", r#"{"result":"error","message":"You can't"}"#));
    assert!(matches!(f.api.add_site("h"), Err(ApiError::Refused(_))));
    assert_eq!(f.server.seen().len(), 1);
}

#[test]
fn a_login_returns_a_token_and_sends_none() {
    let f = fixture(|_, _| reply(200, "", &format!(r#"{{"value":"{TOKEN}"}}"#)));
    let token = f
        .api
        .create_token("admin", &Secret::new("se&cret"))
        .unwrap();
    assert_eq!(token.expose(), TOKEN);
    assert_eq!(
        f.forms(),
        [
            "module=API&format=json&method=UsersManager.createAppSpecificTokenAuth&filter_limit=-1&userLogin=admin\
          &passwordConfirmation=se&cret&description=Log importer&expireHours=48"
        ]
    );
}

#[test]
fn a_wrong_password_is_a_refusal() {
    let f = fixture(|_, _| reply(200, "", r#"{"result":"error","message":"wrong password"}"#));
    let Err(ApiError::Refused(text)) = f.api.create_token("admin", &Secret::new("geheim")) else {
        panic!()
    };
    assert!(
        text.contains("wrong password") && !text.contains("geheim"),
        "{text}"
    );
    let empty = fixture(|_, _| reply(200, "", r#"{"value":" "}"#));
    let given = empty.api.create_token("admin", &Secret::new("geheim"));
    assert!(matches!(given, Err(ApiError::Failed(_))));
}

#[test]
fn visits_are_requested_oldest_first() {
    let f = fixture(|_, _| reply(200, "", r#"[{"actionDetails":[{"idpageview":"abcdef"}]}]"#));
    let visits = f
        .api
        .last_visits(&VisitQuery {
            idsite: "1",
            days: "2026-11-15,2026-11-17",
            segment: &segment_condition("visitIp", "==", "192.0.2.1"),
            after: 1_794_902_400,
            limit: 500,
        })
        .unwrap();
    assert_eq!(visits[0].actions[0].pv_id.as_deref(), Some("abcdef"));
    assert_eq!(
        f.forms(),
        [format!(
            "module=API&format=json&method=Live.getLastVisitsDetails&idSite=1&period=range&date=2026-11-15,2026-11-17\
             &segment=visitIp==192.0.2.1&minTimestamp=1794902400&filter_limit=500&filter_sort_order=asc\
             &showColumns=visitIp,lastActionTimestamp,truncatedActionsCount,actionDetails&token_auth={TOKEN}"
        )]
    );
}

#[test]
fn an_odd_response_to_a_question_about_visits_is_believed_the_second_time() {
    let refusal = r#"{"result":"error","message":"no access"}"#;
    let query = VisitQuery {
        idsite: "1",
        days: "2026-11-15,2026-11-17",
        segment: "",
        after: 0,
        limit: 500,
    };
    for odd in ["<html>one moment</html>", r#""text""#, refusal] {
        let once = fixture(move |number, _| match number {
            0 => reply(200, "", odd),
            _ => reply(200, "", "[]"),
        });
        assert_eq!(once.api.last_visits(&query), Ok(Vec::new()), "{odd}");
        let always = fixture(move |_, _| reply(200, "", odd));
        let failed = always.api.last_visits(&query);
        assert_eq!(
            matches!(failed, Err(ApiError::Refused(_))),
            odd == refusal,
            "{failed:?}"
        );
        assert_eq!(always.forms().len(), 2);
    }
}

#[test]
fn the_token_is_never_printed() {
    let f = fixture(|_, _| reply(200, "", &format!("bad token {TOKEN}")));
    let error = f.api.site("1").unwrap_err();
    let shown = format!(
        "{:?} {error} {error:?} {:?}",
        f.api,
        Error::from(error.clone())
    );
    assert!(!shown.contains(TOKEN), "{shown}");
}

#[test]
fn visits_are_read_as_matomo_writes_them() {
    let json = r#"[{"idVisit":"7","visitIp":"192.0.2.0","actionDetails":[
        {"type":"action","url":"http://h/a","idpageview":"aB3xYz","timeSpent":5},
        {"type":"event","url":null,"idpageview":123456,"eventValue":{"a":[1]}},
        {"type":"search","idpageview":null}]},
        {"visitIp":false,"lastActionTimestamp":1794902400,"truncatedActionsCount":"12",
         "actionDetails":{"1":{"url":"http://h/b","idpageview":"q","timestamp":1794902300}}},
        {}]"#;
    let visits: Vec<VisitRecord> = serde_json::from_str(json).unwrap();
    let ids: Vec<Vec<Option<&str>>> = visits
        .iter()
        .map(|visit| visit.actions.iter().map(|a| a.pv_id.as_deref()).collect())
        .collect();
    assert_eq!(
        ids,
        [
            vec![Some("aB3xYz"), Some("123456"), None],
            vec![Some("q")],
            vec![]
        ]
    );
    assert_eq!(visits[0].ip.as_deref(), Some("192.0.2.0"));
    assert_eq!(visits[1].ip, None);
    assert_eq!(visits[1].last_action, Some(1_794_902_400));
    assert_eq!(visits[1].actions[0].time, Some(1_794_902_300));
    let truncated: Vec<_> = visits.iter().map(|visit| visit.truncated).collect();
    assert_eq!(truncated, [None, Some(12), None]);
}

#[test]
fn segment_values_are_escaped() {
    assert_eq!(
        segment_condition("actionUrl", "=^", "http://h/?a=1,2;b==é-_.~"),
        "actionUrl=^http%3A%2F%2Fh%2F%3Fa%3D1%2C2%3Bb%3D%3D%C3%A9-_.~"
    );
    assert_eq!(
        segment_condition("visitIp", "==", "2001:db8::1"),
        "visitIp==2001%3Adb8%3A%3A1"
    );
}
