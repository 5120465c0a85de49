//! The client against a real server: what is sent, and what is seen of every way to fail.

use std::io::{Read, Write};
use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::super::exchange::Cause;
use super::super::test_server::{Act, Server, reply};
use super::*;
use crate::error::Kind;

const OK: &str = r#"{"status":"success","tracked":1,"invalid":0}"#;

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

fn answered(exchange: &Exchange) -> &Answer {
    match &exchange.seen {
        Seen::Answer(answer) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

fn not_sent(exchange: &Exchange) -> (Cause, &str) {
    match &exchange.seen {
        Seen::NotSent { cause, detail } => (*cause, detail),
        other => panic!("sent: {other:?}"),
    }
}

fn no_answer(exchange: &Exchange) -> bool {
    match &exchange.seen {
        Seen::NoAnswer { timed_out, .. } => *timed_out,
        other => panic!("not without an answer: {other:?}"),
    }
}

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

/// A private authority, a server certificate for 127.0.0.1 and a client certificate, in files.
struct Authority {
    folder: TempDir,
    ca: CertificateDer<'static>,
    ca_key: PrivateKeyDer<'static>,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Authority {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose own certificate is changed so.
    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let own_key = PrivateKeyDer::Pkcs8(ca_key.serialize_der().into());
        let ca = CertifiedIssuer::self_signed(params, ca_key).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &ca).unwrap(), key)
        };
        let (server, server_key) = signed("127.0.0.1");
        let (user, user_key) = signed("importer");
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", ca.pem());
        write("user.pem", user.pem());
        write("user.key", user_key.serialize_pem());
        write("both.pem", user_key.serialize_pem() + &user.pem());
        write("empty.pem", String::new());
        Self {
            ca: ca.der().clone(),
            ca_key: own_key,
            server: (
                server.der().clone(),
                PrivateKeyDer::Pkcs8(server_key.serialize_der().into()),
            ),
            folder,
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    /// A server that shows the authority's own certificate.
    fn serve_itself(&self) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.ca.clone()], self.ca_key.clone_key());
        Server::tls(config.unwrap(), |_, _| reply(200, "", OK))
    }

    /// A server that shows its certificate, and wants to see the client's if told so.
    fn serve(&self, asks: bool) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let builder = match asks {
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .unwrap(),
            ),
            false => builder.with_no_client_auth(),
        };
        let (certificate, key) = (self.server.0.clone(), self.server.1.clone_key());
        let config = builder.with_single_cert(vec![certificate], key).unwrap();
        Server::tls(config, |_, _| reply(200, "", OK))
    }
}

fn https(server: &Server) -> ClientOptions {
    options(&format!("https://127.0.0.1:{}/", server.port()))
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let server = authority.serve(false);
    // Trusting another authority keeps this test from needing the system's roots.
    let other = Authority::new();
    let client = Client::new(&ClientOptions {
        ca_certificate: other.file("ca.pem"),
        ..https(&server)
    })
    .unwrap();
    let exchange = client.track(Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, Cause::Certificate, "{detail}");
    assert!(detail.contains("--ca-certificate"), "{detail}");
    assert!(
        detail.contains("--accept-invalid-ssl-certificate"),
        "{detail}"
    );
    assert!(server.seen().is_empty());
}

#[test]
fn a_private_authority_or_no_check_lets_the_request_through() {
    let authority = Authority::new();
    let server = authority.serve(false);
    for trusting in [
        ClientOptions {
            ca_certificate: authority.file("ca.pem"),
            ..https(&server)
        },
        ClientOptions {
            accept_invalid_certificate: true,
            ..https(&server)
        },
    ] {
        let exchange = Client::new(&trusting).unwrap().track(Bytes::new());
        assert_eq!(answered(&exchange).body, OK.as_bytes());
    }
}

/// What `openssl req -x509` makes: a server's certificate that is its own authority.
#[test]
fn an_authority_that_serves_itself_is_trusted_if_its_name_and_dates_are_good() {
    let named = |name: &str| {
        CertificateParams::new([name.to_owned()])
            .unwrap()
            .subject_alt_names
    };
    let (other, nobody) = (named("matomo.example"), Authority::new());
    let cases = [
        (Authority::new(), None, "ok"),
        (
            Authority::with(|ca| ca.subject_alt_names = other),
            None,
            "not valid for name",
        ),
        (
            Authority::with(|ca| ca.not_after = rcgen::date_time_ymd(2020, 1, 1)),
            None,
            "expired",
        ),
        (
            Authority::with(|ca| ca.not_before = rcgen::date_time_ymd(2150, 1, 1)),
            None,
            "not valid yet",
        ),
        (Authority::new(), nobody.file("ca.pem"), "CaUsedAsEndEntity"),
    ];
    for (authority, trusted, want) in cases {
        let server = authority.serve_itself();
        let client = Client::new(&ClientOptions {
            ca_certificate: trusted.or_else(|| authority.file("ca.pem")),
            ..https(&server)
        });
        let exchange = client.unwrap().track(Bytes::new());
        if want == "ok" {
            assert_eq!(answered(&exchange).body, OK.as_bytes());
            continue;
        }
        let (cause, detail) = not_sent(&exchange);
        assert_eq!(cause, Cause::Certificate, "{detail}");
        assert!(detail.contains(want), "{want}: {detail}");
        assert!(server.seen().is_empty(), "{want}");
    }
}

/// What is seen of a port that answers the beginning of a handshake with these bytes.
fn https_answered_with(bytes: &'static [u8]) -> Exchange {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream.write_all(bytes).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let client = Client::new(&ClientOptions {
        accept_invalid_certificate: true,
        ..options(&format!("https://127.0.0.1:{port}"))
    })
    .unwrap();
    let exchange = client.track(Bytes::new());
    thread.join().unwrap();
    exchange
}

/// Servers of TLS 1.2 say no more than that the handshake failed.
#[test]
fn a_server_of_tls_1_2_that_wants_a_certificate_is_told_from_one_without_tls() {
    // A fatal alert: handshake_failure.
    let exchange = https_answered_with(&[21, 3, 3, 0, 2, 2, 40]);
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, Cause::Certificate, "{detail}");
    assert!(
        detail.contains("wants one and got none") && detail.contains("--client-certificate"),
        "{detail}"
    );
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_it() {
    let authority = Authority::new();
    let server = authority.serve(true);
    let trusting = ClientOptions {
        ca_certificate: authority.file("ca.pem"),
        ..https(&server)
    };
    for (certificate, key) in [("user.pem", Some("user.key")), ("both.pem", None)] {
        let client = Client::new(&ClientOptions {
            client_certificate: authority.file(certificate),
            client_key: key.and_then(|key| authority.file(key)),
            ..trusting.clone()
        })
        .unwrap();
        answered(&client.track(Bytes::new()));
    }
    let served = server.seen().len();
    let exchange = Client::new(&trusting).unwrap().track(Bytes::new());
    // The refusal may be lost with the connection; that is then a doubt, never an answer.
    match &exchange.seen {
        Seen::NotSent { cause, detail } => {
            assert_eq!(*cause, Cause::Certificate);
            assert!(detail.contains("--client-certificate"), "{detail}");
        }
        Seen::NoAnswer { timed_out, .. } => assert!(!timed_out),
        Seen::Answer(answer) => panic!("{answer:?}"),
    }
    assert_eq!(server.seen().len(), served);
}

#[test]
fn https_to_a_port_that_speaks_http_is_not_sent() {
    let exchange = https_answered_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, Cause::Tls, "{detail}");
    assert!(detail.contains("speaks https"), "{detail}");
}

#[test]
fn a_handshake_that_is_not_answered_is_not_sent() {
    // Connections wait in the listener's queue; nobody takes them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::new(&ClientOptions {
        accept_invalid_certificate: true,
        timeout: Duration::from_millis(400),
        ..options(&format!("https://127.0.0.1:{port}"))
    })
    .unwrap();
    let exchange = client.track(Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, Cause::ConnectTimeout, "{detail}");
    assert!(detail.contains("firewalls"), "{detail}");
}

#[test]
fn certificate_files_that_cannot_be_used_are_wrong_use() {
    let authority = Authority::new();
    let base = options("https://127.0.0.1:1");
    for (wrong, option) in [
        (
            ClientOptions {
                ca_certificate: authority.file("none.pem"),
                ..base.clone()
            },
            "--ca-certificate",
        ),
        (
            ClientOptions {
                ca_certificate: authority.file("empty.pem"),
                ..base.clone()
            },
            "--ca-certificate",
        ),
        (
            ClientOptions {
                client_certificate: authority.file("user.pem"),
                ..base.clone()
            },
            "--client-certificate",
        ),
        (
            ClientOptions {
                client_key: authority.file("user.key"),
                ..base.clone()
            },
            "--client-key",
        ),
    ] {
        let error = Client::new(&wrong).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().starts_with(option), "{error}");
    }
}
