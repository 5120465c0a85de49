//! What is seen of answers, whole or in part, and of servers that give none.

use std::net::TcpListener;

use super::*;

fn no_answer(exchange: &Exchange) -> bool {
    match &exchange.seen {
        Seen::NoAnswer { timed_out, .. } => *timed_out,
        other => panic!("not without an answer: {other:?}"),
    }
}

#[test]
fn a_refused_connection_is_not_sent() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let exchange =
        client(&format!("http://u:pw@127.0.0.1:{port}")).track(Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, Cause::Refused);
    assert_eq!(
        detail,
        format!(
            "cannot reach http://127.0.0.1:{port}/piwik.php: connection refused; check host and port in --url, and that \
             the server runs"
        )
    );
}

#[test]
fn an_unknown_host_is_not_sent() {
    // `.localhost` passes proxies by, so that the name is looked up here.
    let exchange = client("http://no-such-host.invalid.localhost:1").track(Bytes::new());
    let (cause, detail) = not_sent(&exchange);
    // Some systems take every name below localhost for this machine.
    assert!(
        matches!(cause, Cause::NoSuchHost | Cause::Refused),
        "{detail}"
    );
    assert!(detail.contains("--url"), "{detail}");
}

#[test]
fn a_connection_that_ends_without_an_answer_leaves_doubt() {
    for act in [|| Act::Close, || Act::SayAndClose("HTTP/1.1 200 O".into())] {
        let server = Server::new(move |_, _| act());
        assert!(!no_answer(
            &client(&server.url()).track(Bytes::from_static(b"{}"))
        ));
        assert_eq!(
            server.seen().len(),
            1,
            "nothing is sent again behind our back"
        );
    }
}

#[test]
fn a_server_that_hangs_up_in_the_middle_of_the_body_leaves_doubt() {
    let server = Server::hasty(|_, _| Act::Close);
    let body = Bytes::from(vec![b' '; 32 << 20]);
    assert!(!no_answer(&client(&server.url()).track(body)));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_answer_that_comes_before_the_body_was_read_is_seen() {
    let server = Server::hasty(|_, _| reply(413, "Connection: close\r\n", "too large"));
    let body = Bytes::from(vec![b' '; 8 << 20]);
    let exchange = client(&server.url()).track(body);
    assert_eq!(answered(&exchange).status, 413);
}

#[test]
fn half_an_answer_is_told_from_a_whole_one() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{\"status\":\r\n",
    ] {
        let server = Server::new(move |_, _| Act::SayAndClose(half.into()));
        let exchange = client(&server.url()).track(Bytes::new());
        assert_eq!(answered(&exchange).body, b"{\"status\":");
        assert!(!answered(&exchange).whole);
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = Server::new(|_, _| Act::Stall);
    let client = Client::new(&ClientOptions {
        timeout: Duration::from_millis(300),
        ..options(&server.url())
    })
    .unwrap();
    let exchange = client.track(Bytes::from_static(b"{}"));
    assert!(no_answer(&exchange));
    assert!(format!("{exchange:?}").contains("--request-timeout"));
}

#[test]
fn an_answer_that_never_ends_is_given_up() {
    let server = Server::new(|n, _| match n {
        0 => Act::Say("HTTP/1.1 413 X\r\nContent-Length: 9\r\n\r\nhalf".into()),
        _ => Act::Stall,
    });
    let client = Client::new(&ClientOptions {
        timeout: Duration::from_millis(300),
        ..options(&server.url())
    })
    .unwrap();
    let exchange = client.track(Bytes::new());
    let answer = answered(&exchange);
    assert_eq!((answer.status, answer.whole), (413, false));
}

#[test]
fn redirects_are_not_followed_and_their_address_hides_its_query() {
    let server = Server::new(|_, _| reply(301, "Location: /other/piwik.php?key=secret\r\n", ""));
    let exchange = client(&server.url()).track(Bytes::new());
    let answer = answered(&exchange);
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.location,
        Some(format!("{}/other/piwik.php", server.url()))
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn headers_that_matter_are_read() {
    let server = Server::new(|_, _| {
        let headers = "Retry-After: 7\r\nWWW-Authenticate: Basic realm=x\r\n";
        reply(503, headers, "")
    });
    let exchange = client(&server.url()).track(Bytes::new());
    let answer = answered(&exchange);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert!(answer.challenge);
}

#[test]
fn of_a_long_tracker_answer_the_end_is_kept() {
    let long = format!("{}{OK}", "x".repeat(3 << 20));
    let server = Server::new(move |_, _| reply(200, "", &long));
    let exchange = client(&server.url()).track(Bytes::new());
    let answer = answered(&exchange);
    assert_eq!(answer.body.len(), TRACKER_ANSWER);
    assert!(answer.body.ends_with(OK.as_bytes()));
    assert!(answer.whole);
}
