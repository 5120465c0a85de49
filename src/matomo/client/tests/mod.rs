//! The client against a real server: what is sent, and what is observed of every way to fail.

mod tls;

use std::net::TcpListener;

use proptest::prelude::*;

use super::super::exchange::ConnectFailure;
use super::*;
use crate::error::ErrorKind;
use crate::tests::server::{Act, Server, reply};

const OK: &str = r#"{"status":"success","tracked":1,"invalid":0}"#;

impl Client {
    fn track_direct(&self, front: usize, body: Bytes) -> Exchange {
        self.track(front, body, TrackingWay::Direct)
    }
}

fn options(url: &str) -> ClientOptions {
    ClientOptions {
        url: url.into(),
        tracker_path: "/piwik.php".into(),
        timeout: Duration::from_secs(20),
        connections: 2,
        ..ClientOptions::default()
    }
}

fn client(url: &str) -> Client {
    Client::new(&options(url)).unwrap()
}

fn response(exchange: &Exchange) -> &HttpResponse {
    match &exchange.result {
        ExchangeResult::Response(response) => response,
        other => panic!("no response: {other:?}"),
    }
}

fn not_sent(exchange: &Exchange) -> (ConnectFailure, &str) {
    match &exchange.result {
        ExchangeResult::NotSent { cause, detail } => (*cause, detail),
        other => panic!("sent: {other:?}"),
    }
}

fn base(typed: &str) -> BaseUrl {
    BaseUrl::parse(typed, "--url").unwrap()
}

fn tracker_of(typed: &str, path: &str, suffix: Option<&str>) -> String {
    tracker_url(&base(typed).url, path, TrackingWay::Direct, false, suffix).into()
}

#[test]
fn exactly_one_slash_joins_url_and_path() {
    for (typed, path, want) in [
        ("http://m", "/piwik.php", "http://m/piwik.php"),
        ("http://m/", "piwik.php", "http://m/piwik.php"),
        (
            "m:8080/matomo",
            "/piwik.php",
            "http://m:8080/matomo/piwik.php",
        ),
        (
            "HTTPS://m/matomo//",
            "//matomo.php",
            "https://m/matomo/matomo.php",
        ),
        ("localhost", "/matomo.php", "http://localhost/matomo.php"),
        ("http://m/index.php", "/piwik.php", "http://m/piwik.php"),
        ("http://m/a/piwik.php", "/piwik.php", "http://m/a/piwik.php"),
        ("m/matomo.php", "/piwik.php", "http://m/piwik.php"),
    ] {
        let want = format!("{want}?queuedtracking=0");
        assert_eq!(tracker_of(typed, path, None), want, "{typed} {path}");
    }
}

#[test]
fn the_query_has_debug_and_suffix() {
    let base = base("http://m").url;
    assert_eq!(
        tracker_url(
            &base,
            "/piwik.php",
            TrackingWay::Direct,
            true,
            Some("&foo=bar&x=y")
        )
        .query(),
        Some("queuedtracking=0&debug=1&foo=bar&x=y")
    );
    assert_eq!(
        tracker_of("http://m", "/p.php?a=1", Some("b=c d")),
        "http://m/p.php?a=1&queuedtracking=0&b=c%20d"
    );
    assert_eq!(
        api_url(&base, Some("foo=bar")).as_str(),
        "http://m/?foo=bar"
    );
}

#[test]
fn api_calls_go_to_the_base_url() {
    for (typed, want) in [
        ("http://m", "http://m/"),
        ("http://m/matomo", "http://m/matomo/"),
        ("http://m/matomo/", "http://m/matomo/"),
        ("http://m/index.php", "http://m/index.php"),
        ("http://m/a/piwik.php", "http://m/a/"),
        ("http://m/matomo.php", "http://m/"),
        ("http://m/own.php", "http://m/own.php"),
    ] {
        assert_eq!(api_url(&base(typed).api, None).as_str(), want);
    }
}

#[test]
fn only_an_encrypted_or_local_connection_keeps_the_token_secret() {
    for (url, api_url, want) in [
        ("https://m", None, None),
        ("http://127.0.0.1:1", None, None),
        ("localhost", None, None),
        ("m", None, Some("http://m/piwik.php?queuedtracking=0")),
        ("https://m", Some("http://m/api"), Some("http://m/api/")),
    ] {
        let options = ClientOptions {
            api_url: api_url.map(Into::into),
            ..options(url)
        };
        let client = Client::new(&options).unwrap();
        let want = want.map(|url| url.split('?').next().unwrap());
        assert_eq!(
            client.unencrypted(),
            Vec::from_iter(want),
            "{url} {api_url:?}"
        );
    }
    let options = ClientOptions {
        tracker_urls: ["php1", "https://php2", "php3", "php3/a"]
            .map(Into::into)
            .into(),
        ..options("https://m")
    };
    let client = Client::new(&options).unwrap();
    let found = client.unencrypted().into_iter();
    let hosts: Vec<&str> = found.filter_map(|url| url.split('/').nth(2)).collect();
    assert_eq!(hosts, ["php1", "php3"]);
}

#[test]
fn credentials_are_removed_from_the_url() {
    let BaseUrl {
        url, basic_auth, ..
    } = base("https://joe%40x:pa%3Ass@m/");
    assert_eq!(url.as_str(), "https://m/");
    assert_eq!(basic_auth, Some(("joe@x".into(), Secret::new("pa:ss"))));
    assert!(base("https://m/").basic_auth.is_none());
}

#[test]
fn an_invalid_url_is_a_usage_error_that_hides_credentials() {
    for typed in [
        "",
        "ftp://joe:secret@m/",
        "http://joe:secret@m:99999/",
        "http://m/?a=1",
        "http://",
    ] {
        let error = BaseUrl::parse(typed, "--url").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().starts_with("--url="), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn loopback_hosts_are_recognized() {
    let local = |typed| is_loopback(&base(typed).url);
    assert!(local("localhost") && local("http://127.3.2.1") && local("http://[::1]:80/"));
    assert!(!local("http://localhost.example.com") && !local("http://10.0.0.1"));
}

proptest! {
    #[test]
    fn any_typed_url_is_parsed_or_rejected(typed: String, path: String, suffix: String) {
        if let Ok(address) = BaseUrl::parse(&typed, "--url") {
            tracker_url(&address.url, &path, TrackingWay::Direct, true, Some(&suffix));
            api_url(&address.url, Some(&suffix));
        }
    }
}

#[test]
fn a_tracking_request_has_the_headers_that_matomo_expects() {
    let server = Server::new(|_, _| reply(200, "", OK));
    let client = client(&format!("{}/matomo", server.url()));
    let exchange = client.track_direct(0, Bytes::from_static(b"{\"a\":1}"));
    assert_eq!(client.tracked(), 1);
    assert_eq!(response(&exchange).body, OK.as_bytes());
    assert!(response(&exchange).complete);
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
fn an_api_call_is_a_form_to_the_api_url() {
    let server = Server::new(|_, _| reply(200, "", "[]"));
    let client = Client::new(&ClientOptions {
        api_url: Some(format!("{}/api", server.url())),
        request_suffix: Some("foo=bar".into()),
        ..options("http://127.0.0.1:1")
    })
    .unwrap();
    let exchange = client.call(&[("urls[0]", "http://a b&c"), ("x", "é")]);
    assert_eq!(response(&exchange).body, b"[]");
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
        response(&client.track_direct(0, Bytes::from_static(b"{}")));
        response(&client.call(&[]));
    }
    let connections: Vec<_> = server.seen().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0; 6]);
}

#[test]
fn credentials_come_from_options_or_url_and_are_never_shown() {
    let server = Server::new(|_, _| reply(200, "", OK));
    let url = format!("http://joe:pa%3Ass@127.0.0.1:{}", server.port());
    let inside = client(&url);
    let wins = Client::new(&ClientOptions {
        basic_auth: Some(("ann".into(), Secret::new("geheim"))),
        ..options(&url)
    })
    .unwrap();
    let exchanges = [
        inside.track_direct(0, Bytes::new()),
        inside.call(&[]),
        wins.track_direct(0, Bytes::new()),
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
    // The server may echo the header.
    for (client, secrets) in [
        (&inside, ["pa:ss", "am9lOnBhOnNz"]),
        (&wins, ["geheim", "YW5uOmdlaGVpbQ=="]),
    ] {
        for secret in secrets {
            assert!(client.secrets().contains(&Secret::new(secret)), "{secret}");
        }
    }
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
fn credentials_of_url_are_not_sent_to_api_url() {
    let server = Server::new(|_, _| reply(200, "", "[]"));
    let client = Client::new(&ClientOptions {
        api_url: Some(server.url()),
        ..options("http://joe:secret@127.0.0.1:1")
    })
    .unwrap();
    response(&client.call(&[]));
    assert!(!server.seen()[0].head.contains("authorization"));
}

#[test]
fn an_unusable_url_is_a_usage_error() {
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
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
}

fn timed_out(exchange: &Exchange) -> bool {
    match &exchange.result {
        ExchangeResult::NoResponse { timed_out, .. } => *timed_out,
        other => panic!("a response or not sent: {other:?}"),
    }
}

#[test]
fn a_refused_connection_is_not_sent() {
    // A port that was just free.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let exchange =
        client(&format!("http://u:pw@127.0.0.1:{port}")).track_direct(0, Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, ConnectFailure::Refused);
    assert_eq!(
        detail,
        format!(
            "cannot reach http://127.0.0.1:{port}/piwik.php: connection refused; check host and port in --url, and that \
             the server is running"
        )
    );
}

#[test]
fn an_unknown_host_is_not_sent() {
    // `.localhost` is never reached through a proxy, so the name is resolved here.
    let exchange = client("http://no-such-host.invalid.localhost:1").track_direct(0, Bytes::new());
    let (cause, detail) = not_sent(&exchange);
    // Some systems resolve every name below localhost to this machine.
    assert!(
        matches!(cause, ConnectFailure::UnknownHost | ConnectFailure::Refused),
        "{detail}"
    );
    assert!(detail.contains("--url"), "{detail}");
}

#[test]
fn a_connection_closed_without_a_response_is_no_response() {
    for act in [|| Act::Close, || Act::SayAndClose("HTTP/1.1 200 O".into())] {
        let server = Server::new(move |_, _| act());
        assert!(!timed_out(
            &client(&server.url()).track_direct(0, Bytes::from_static(b"{}"))
        ));
        assert_eq!(server.seen().len(), 1, "the HTTP library does not retry");
    }
}

#[test]
fn a_connection_closed_during_the_request_is_no_response() {
    let server = Server::hasty(|_, _| Act::Close);
    let body = Bytes::from(vec![b' '; 32 << 20]);
    assert!(!timed_out(&client(&server.url()).track_direct(0, body)));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_response_sent_before_the_body_was_read_is_received() {
    let server = Server::hasty(|_, _| reply(413, "Connection: close\r\n", "too large"));
    let body = Bytes::from(vec![b' '; 8 << 20]);
    let exchange = client(&server.url()).track_direct(0, body);
    assert_eq!(response(&exchange).status, 413);
}

#[test]
fn a_truncated_response_is_incomplete() {
    for half in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{\"status\":\r\n",
    ] {
        let server = Server::new(move |_, _| Act::SayAndClose(half.into()));
        let exchange = client(&server.url()).track_direct(0, Bytes::new());
        assert_eq!(response(&exchange).body, b"{\"status\":");
        assert!(!response(&exchange).complete);
    }
}

#[test]
fn a_silent_server_times_out() {
    let server = Server::new(|_, _| Act::Stall);
    let client = Client::new(&ClientOptions {
        timeout: Duration::from_millis(300),
        ..options(&server.url())
    })
    .unwrap();
    let exchange = client.track_direct(0, Bytes::from_static(b"{}"));
    assert!(timed_out(&exchange));
    assert!(format!("{exchange:?}").contains("--request-timeout"));
}

#[test]
fn an_endless_response_times_out() {
    let server = Server::new(|n, _| match n {
        0 => Act::Say("HTTP/1.1 413 X\r\nContent-Length: 9\r\n\r\nhalf".into()),
        _ => Act::Stall,
    });
    let client = Client::new(&ClientOptions {
        timeout: Duration::from_millis(300),
        ..options(&server.url())
    })
    .unwrap();
    let exchange = client.track_direct(0, Bytes::new());
    let response = response(&exchange);
    assert_eq!((response.status, response.complete), (413, false));
}

#[test]
fn redirects_are_not_followed_and_their_query_is_hidden() {
    let server = Server::new(|_, _| reply(301, "Location: /other/piwik.php?key=secret\r\n", ""));
    let exchange = client(&server.url()).track_direct(0, Bytes::new());
    let response = response(&exchange);
    assert_eq!(response.status, 301);
    assert_eq!(
        response.location,
        Some(format!("{}/other/piwik.php", server.url()))
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn retry_after_and_challenge_are_read() {
    let server = Server::new(|_, _| {
        let headers = "Retry-After: 7\r\nWWW-Authenticate: Basic realm=x\r\n";
        reply(503, headers, "")
    });
    let exchange = client(&server.url()).track_direct(0, Bytes::new());
    let response = response(&exchange);
    assert_eq!(response.retry_after, Some(Duration::from_secs(7)));
    assert!(response.challenge);
}

#[test]
fn the_end_of_a_long_tracker_response_is_kept() {
    let long = format!("{}{OK}", "x".repeat(3 << 20));
    let server = Server::new(move |_, _| reply(200, "", &long));
    let exchange = client(&server.url()).track_direct(0, Bytes::new());
    let response = response(&exchange);
    assert_eq!(response.body.len(), TRACKER_RESPONSE_BYTES);
    assert!(response.body.ends_with(OK.as_bytes()));
    assert!(response.complete);
}

#[test]
fn a_body_is_read_up_to_its_limit() {
    let read = |limit, bytes: &[u8]| {
        let mut body = ResponseBody {
            limit,
            kept: Vec::new(),
        };
        let is_complete = body.keep(bytes);
        (body.finish(), is_complete)
    };
    let (kept, complete) = read(BodyLimit::Whole(100_000), &[b'x'; 1_000_000]);
    assert!(!complete && kept.len() < 200_000);
    assert_eq!(read(BodyLimit::Whole(3), b"abc"), (b"abc".to_vec(), true));
    assert_eq!(read(BodyLimit::Tail(2), b"abc"), (b"bc".to_vec(), true));
}

#[test]
fn what_arrived_while_the_process_was_stopped_is_read() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let limit = Duration::from_millis(20);
    let response = async {
        // Nothing else runs meanwhile, as if the process was stopped.
        std::thread::sleep(limit + 2 * MAX_DELAY);
        // The task that reads the connection runs before this one, and so does the timer.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    assert!(runtime.block_on(in_time(limit, response)).is_some());
    let never = std::future::pending::<()>();
    assert!(runtime.block_on(in_time(limit, never)).is_none());
}
