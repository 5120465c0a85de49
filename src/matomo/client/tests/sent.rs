//! What is sent, where to and with whose credentials.

use super::*;
use crate::error::Kind;

#[test]
fn a_tracking_request_is_sent_as_matomo_wants_it() {
    let server = Server::new(|_, _| reply(200, "", OK));
    let exchange =
        client(&format!("{}/matomo", server.url())).track(Bytes::from_static(b"{\"a\":1}"));
    assert_eq!(answered(&exchange).body, OK.as_bytes());
    assert!(answered(&exchange).whole);
    let request = &server.seen()[0];
    let head = request.head.to_ascii_lowercase();
    assert!(
        head.starts_with("post /matomo/piwik.php?queuedtracking=0 http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nuser-agent: matomo/logimport\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\ncontent-length: 7\r\n"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(request.body, b"{\"a\":1}");
}

#[test]
fn an_api_call_is_a_form_to_the_api_address() {
    let server = Server::new(|_, _| reply(200, "", "[]"));
    let client = Client::new(&ClientOptions {
        api_url: Some(format!("{}/api", server.url())),
        request_suffix: Some("foo=bar".into()),
        ..options("http://127.0.0.1:1")
    })
    .unwrap();
    let exchange = client.call(&[("urls[0]", "http://a b&c"), ("x", "é")]);
    assert_eq!(answered(&exchange).body, b"[]");
    assert_eq!(exchange.option, "--api-url");
    let request = &server.seen()[0];
    assert!(
        request.head.starts_with("POST /api/?foo=bar HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.body, b"urls%5B0%5D=http%3A%2F%2Fa+b%26c&x=%C3%A9");
}

#[test]
fn one_connection_serves_tracker_and_api() {
    let server = Server::new(|_, _| reply(200, "", OK));
    let client = client(&server.url());
    for _ in 0..3 {
        answered(&client.track(Bytes::from_static(b"{}")));
        answered(&client.call(&[]));
    }
    let connections: Vec<_> = server.seen().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0; 6]);
}

#[test]
fn credentials_are_sent_from_options_or_address_and_never_shown() {
    let server = Server::new(|_, _| reply(200, "", OK));
    let url = format!("http://joe:pa%3Ass@127.0.0.1:{}", server.port());
    let inside = client(&url);
    let wins = Client::new(&ClientOptions {
        basic_auth: Some(("ann".into(), Secret::new("geheim"))),
        ..options(&url)
    })
    .unwrap();
    let exchanges = [
        inside.track(Bytes::new()),
        inside.call(&[]),
        wins.track(Bytes::new()),
    ];
    let sent: Vec<_> = server
        .seen()
        .iter()
        .map(|r| {
            let line = r.head.lines().find(|l| l.starts_with("authorization:"));
            line.unwrap().rsplit(' ').next().unwrap().to_owned()
        })
        .collect();
    assert_eq!(sent, ["am9lOnBhOnNz", "am9lOnBhOnNz", "YW5uOmdlaGVpbQ=="]);
    let shown = format!(
        "{exchanges:?} {inside:?} {wins:?} {:?}",
        ClientOptions {
            basic_auth: Some(("ann".into(), Secret::new("geheim"))),
            request_suffix: Some("key=verborgen".into()),
            ..options(&url)
        }
    );
    for secret in ["pa:ss", "pa%3Ass", "geheim", "verborgen"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn credentials_of_the_main_address_do_not_go_to_another() {
    let server = Server::new(|_, _| reply(200, "", "[]"));
    let client = Client::new(&ClientOptions {
        api_url: Some(server.url()),
        ..options("http://joe:secret@127.0.0.1:1")
    })
    .unwrap();
    answered(&client.call(&[]));
    assert!(!server.seen()[0].head.contains("authorization"));
}

#[test]
fn an_address_that_cannot_be_used_is_wrong_use() {
    for (url, api_url) in [
        ("ftp://m/", None),
        ("", None),
        ("http://m", Some("gopher://m")),
    ] {
        let error = Client::new(&ClientOptions {
            api_url: api_url.map(Into::into),
            ..options(url)
        })
        .unwrap_err();
        assert_eq!(error.kind(), Kind::Usage, "{error}");
    }
}
