//! The API against a real server: what is asked, what is made of the answers, when it is asked again.

use std::sync::Mutex;

use url::form_urlencoded;

use super::*;
use crate::error::Error;
use crate::matomo::client::ClientOptions;
use crate::matomo::test_server::{Act, Server, TestRequest, reply};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SITE: &str = r#"{"idsite":"7","name":"n","main_url":"https://www.example.com/a","more":{}}"#;

/// An API on a server; the waits it was told are kept instead of waited.
struct Fixture {
    api: Api,
    server: Server,
    waits: Arc<Mutex<Vec<Duration>>>,
}

fn fixture(rule: impl Fn(usize, &TestRequest) -> Act + Send + Sync + 'static) -> Fixture {
    let server = Server::new(rule);
    let waits = Arc::new(Mutex::new(Vec::new()));
    let told = waits.clone();
    let api = api_at(
        &server.url(),
        Arc::new(move |time| {
            told.lock().unwrap().push(time);
            false
        }),
    );
    Fixture { api, server, waits }
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

impl Fixture {
    /// The forms that came, as `key=value` joined by `&`, decoded.
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
fn a_site_is_asked_for_with_the_token_in_the_body() {
    let f = fixture(|_, _| reply(200, "", SITE));
    let site = f.api.site("7").unwrap();
    assert_eq!(
        (&*site.id, &*site.name, &*site.main_url),
        ("7", "n", "https://www.example.com/a")
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
fn an_unknown_site_and_a_bad_token_are_refusals_that_are_not_repeated() {
    let unknown = r#"{"result":"error","message":"An unexpected website was found in the request: website id was set to '99' ."}"#;
    for (status, body, says) in [
        (200, unknown, "website id was set to '99'"),
        (
            401,
            r#"{"result":"error","message":"no access"}"#,
            "no access",
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
        assert_eq!(f.server.seen().len(), 1);
    }
}

#[test]
fn odd_answers_stop_at_once_and_say_what_to_check() {
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
            "not what this call gives",
        ),
        (200, "", r#"["a"]"#, "not what this call gives"),
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
        let Err(ApiError::Failed(text)) = f.api.site("1") else {
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
fn what_may_heal_is_asked_again_after_a_wait() {
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
fn a_page_that_is_gone_heals_only_where_matomo_was_reached_before() {
    let f = fixture(|n, _| match n {
        1 => reply(404, "", "deploying"),
        _ => reply(200, "", SITE),
    });
    f.api.site("7").unwrap();
    f.api.clone().site("7").unwrap();
    assert_eq!(f.server.seen().len(), 3);
}

#[test]
fn it_gives_up_after_all_attempts() {
    let f = fixture(|_, _| Act::Close);
    let Err(ApiError::Failed(text)) = f.api.all_sites() else {
        panic!()
    };
    assert!(text.ends_with("(tried 3 times)"), "{text}");
    assert_eq!(f.server.seen().len(), 3);
}

#[test]
fn a_stop_ends_the_waiting() {
    let server = Server::new(|_, _| reply(503, "", ""));
    let api = api_at(&server.url(), Arc::new(|_| true));
    assert_eq!(api.site("1"), Err(ApiError::Interrupted));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_host_has_the_first_of_its_sites_or_none() {
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
fn all_sites_are_a_list_or_an_object() {
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
fn a_site_whose_creation_was_not_answered_is_not_created_twice() {
    // The first call creates the site, and its answer is lost.
    let f = fixture(|n, _| match n {
        0 => Act::Close,
        _ => reply(200, "", r#"[{"idsite":"12"}]"#),
    });
    assert_eq!(f.api.add_site("h").unwrap(), "12");
    assert_eq!(f.methods(), ["addSite", "getSitesIdFromSiteUrl"]);
}

#[test]
fn a_site_that_is_not_there_after_a_lost_answer_is_created_again() {
    let f = fixture(|n, _| match n {
        0 => reply(502, "", ""),
        1 => reply(200, "", "[]"),
        _ => reply(200, "", r#"{"value":3}"#),
    });
    assert_eq!(f.api.add_site("h").unwrap(), "3");
    assert_eq!(f.methods(), ["addSite", "getSitesIdFromSiteUrl", "addSite"]);
}

#[test]
fn a_site_that_was_surely_not_created_is_tried_again_unasked() {
    let f = fixture(|_, _| reply(503, "", ""));
    assert!(matches!(f.api.add_site("h"), Err(ApiError::Away(_))));
    assert_eq!(f.methods(), ["addSite"; 3]);
}

#[test]
fn after_the_last_lost_answer_it_is_asked_once_more() {
    let f = fixture(|n, _| match n % 2 {
        0 => reply(500, "", ""),
        _ => reply(200, "", "[]"),
    });
    let Err(ApiError::Failed(text)) = f.api.add_site("h") else {
        panic!()
    };
    assert!(text.ends_with("(tried 3 times)"), "{text}");
    assert_eq!(f.methods().last().unwrap(), "getSitesIdFromSiteUrl");
}

#[test]
fn a_site_that_may_not_be_created_is_a_refusal() {
    let f = fixture(|_, _| reply(401, "", r#"{"result":"error","message":"You can't"}"#));
    assert!(matches!(f.api.add_site("h"), Err(ApiError::Refused(_))));
    assert_eq!(f.server.seen().len(), 1);
}

#[test]
fn a_login_gives_a_token_and_sends_none() {
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
fn visits_are_asked_for_page_by_page() {
    let f = fixture(|_, _| reply(200, "", r#"[{"actionDetails":[{"idpageview":"abcdef"}]}]"#));
    let segment = any_of("visitIp", ["192.0.2.1"]);
    let visits = f
        .api
        .last_visits(&VisitQuery {
            idsite: "1",
            days: "2026-11-15,2026-11-17",
            segment: &segment,
            limit: 500,
            offset: 1000,
        })
        .unwrap();
    assert_eq!(visits[0].actions[0].pv_id.as_deref(), Some("abcdef"));
    assert_eq!(
        f.forms(),
        [format!(
            "module=API&format=json&method=Live.getLastVisitsDetails&idSite=1&period=range&date=2026-11-15,2026-11-17\
             &segment=visitIp==192.0.2.1&filter_limit=500&filter_offset=1000&token_auth={TOKEN}"
        )]
    );
}

#[test]
fn nothing_that_can_be_printed_holds_the_token() {
    let f = fixture(|_, _| reply(200, "", &format!("bad token {TOKEN}")));
    let error = f.api.site("1").unwrap_err();
    let shown = format!(
        "{:?} {error} {error:?} {:?}",
        f.api,
        Error::from(error.clone())
    );
    assert!(!shown.contains(TOKEN), "{shown}");
}
