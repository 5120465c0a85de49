//! TLS: which certificates are trusted and shown, and what is seen of handshakes that fail.

use std::io::{Read, Write};
use std::net::TcpListener;

use rcgen::CertificateParams;

use super::authority::Authority;
use super::*;
use crate::error::Kind;

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
