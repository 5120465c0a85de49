//! The API: sites, tokens and errors.

use super::client::Client;
use super::*;
use crate::support::fake::Fault;

#[test]
fn sites_are_found_by_id_and_by_host() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    let site = client
        .call("SitesManager.getSiteFromId", &[("idSite", "2")])
        .unwrap()
        .json();
    assert_eq!(
        (&site["idsite"], &site["main_url"]),
        (&json!("2"), &json!("https://stream.example.org"))
    );
    let found = |client: &mut Client, url: &str| {
        client
            .call("SitesManager.getSitesIdFromSiteUrl", &[("url", url)])
            .unwrap()
            .text()
    };
    assert_eq!(found(&mut client, "www.example.com"), r#"[{"idsite":"1"}]"#);
    assert_eq!(
        found(&mut client, "http://stream.example.org/"),
        r#"[{"idsite":"2"}]"#
    );
    assert_eq!(found(&mut client, "unknown.example"), "[]");
    let all = client.call("SitesManager.getAllSites", &[]).unwrap().json();
    assert_eq!(all["1"]["main_url"], "http://www.example.com");
    assert_eq!(all["2"]["idsite"], "2");
}

#[test]
fn a_created_site_can_be_found_and_tracked() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    let arguments = [
        ("siteName", "new.example"),
        ("urls[0]", "http://new.example"),
    ];
    assert_eq!(
        client
            .call("SitesManager.addSite", &arguments)
            .unwrap()
            .text(),
        r#"{"value":3}"#
    );
    let found = client
        .call(
            "SitesManager.getSitesIdFromSiteUrl",
            &[("url", "new.example")],
        )
        .unwrap();
    assert_eq!(found.text(), r#"[{"idsite":"3"}]"#);
    let mut request = hit(1);
    request["idsite"] = json!(3);
    assert_eq!(
        client
            .track(&good_body(&matomo, &[request]))
            .unwrap()
            .json()["tracked"],
        1
    );
}

#[test]
fn an_unknown_site_is_an_error_with_status_200() {
    let matomo = faultless();
    for id in ["99", "x", "-1"] {
        let answer = Client::of(&matomo)
            .call("SitesManager.getSiteFromId", &[("idSite", id)])
            .unwrap();
        assert_eq!(answer.status, 200);
        let message = format!(
            "An unexpected website was found in the request: website id was set to '{id}' ."
        );
        assert_eq!(
            answer.json(),
            json!({"result": "error", "message": message})
        );
    }
}

#[test]
fn tokens_limit_api_calls() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    let none = client.call_as("", "SitesManager.getAllSites", &[]).unwrap();
    assert_eq!(
        (none.status, &none.json()["result"]),
        (401, &json!("error"))
    );
    let bad = client
        .call_as("bad", "SitesManager.getAllSites", &[])
        .unwrap();
    assert!(bad.status == 401 && bad.is_html());
    assert_eq!(
        client
            .call_as(VIEW, "SitesManager.getAllSites", &[])
            .unwrap()
            .status,
        200
    );
    let add = client
        .call_as(WRITE, "SitesManager.addSite", &[("siteName", "x")])
        .unwrap();
    assert_eq!((add.status, &add.json()["result"]), (401, &json!("error")));
    let query = client
        .post(
            &format!("/?token_auth={}", matomo.token().expose()),
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"module=API&method=SitesManager.getAllSites",
        )
        .unwrap();
    assert_eq!(query.status, 401);
}

#[test]
fn an_unknown_method_is_an_error_with_status_200() {
    let matomo = faultless();
    let answer = Client::of(&matomo).call("No.such", &[]).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["result"]),
        (200, &json!("error"))
    );
}

#[test]
fn a_login_gets_a_token_and_its_password_is_not_logged() {
    let matomo = FakeMatomo::start(Options {
        login: Some(("admin".into(), Secret::new("secret"))),
        ..options()
    });
    let mut client = Client::of(&matomo);
    let method = "UsersManager.createAppSpecificTokenAuth";
    let right = [("userLogin", "admin"), ("passwordConfirmation", "secret")];
    let answer = client.call_as("", method, &right).unwrap();
    assert_eq!(answer.json(), json!({"value": matomo.token().expose()}));
    let wrong = [("userLogin", "admin"), ("passwordConfirmation", "x")];
    let answer = client.call_as("", method, &wrong).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["result"]),
        (200, &json!("error"))
    );
    let log = matomo.log();
    assert_eq!(log.api.len(), 2);
    assert_eq!(log.api[0].form["userLogin"], "admin");
    assert!(!format!("{:?}", log.api).contains("secret"));
}

#[test]
fn the_tracker_works_during_maintenance() {
    let matomo = faulty(Faults {
        maintenance: true,
        ..Faults::default()
    });
    let mut client = Client::of(&matomo);
    let answer = client.call("SitesManager.getAllSites", &[]).unwrap();
    assert!(answer.status == 503 && answer.is_html());
    assert_eq!(
        client.track(&good_body(&matomo, &hits(1))).unwrap().status,
        200
    );
}

#[test]
fn api_calls_have_faults_of_their_own() {
    let matomo = faulty(Faults {
        api: vec![
            Some(Fault::Html(502)),
            Some(Fault::CommitClose),
            Some(Fault::Deadlock),
        ],
        ..Faults::default()
    });
    let add = |name: &str| Client::of(&matomo).call("SitesManager.addSite", &[("siteName", name)]);
    assert_eq!(add("a").unwrap().status, 502);
    assert!(add("b").is_none());
    assert_eq!(add("c").unwrap().text(), r#"{"value":4}"#);
}
