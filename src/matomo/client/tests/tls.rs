//! TLS: which certificates are trusted and sent, and what is observed of failed handshakes.

use std::io::{Read, Write};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::*;

/// A private authority, a server certificate for 127.0.0.1 and a client certificate, as files.
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

    /// An authority whose own certificate is modified.
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

    /// A server that presents the authority's own certificate.
    fn serve_itself(&self) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.ca.clone()], self.ca_key.clone_key());
        Server::tls(config.unwrap(), |_, _| reply(200, "", OK))
    }

    /// A server that may require a client certificate.
    fn serve(&self, requires_certificate: bool) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let builder = match requires_certificate {
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
fn a_certificate_of_an_unknown_authority_is_rejected() {
    let authority = Authority::new();
    let server = authority.serve(false);
    // With an authority of its own, this test does not need the system's root certificates.
    let other = Authority::new();
    let client = Client::new(&ClientOptions {
        ca_certificate: other.file("ca.pem"),
        ..https(&server)
    })
    .unwrap();
    let exchange = client.track_direct(0, Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, ConnectFailure::Certificate, "{detail}");
    assert!(detail.contains("--ca-certificate"), "{detail}");
    assert!(
        detail.contains("--accept-invalid-ssl-certificate"),
        "{detail}"
    );
    assert!(server.seen().is_empty());
}

#[test]
fn a_private_authority_or_no_verification_lets_the_request_through() {
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
        let exchange = Client::new(&trusting)
            .unwrap()
            .track_direct(0, Bytes::new());
        assert_eq!(response(&exchange).body, OK.as_bytes());
    }
}

/// As `openssl req -x509` makes them: a server certificate that is its own authority.
#[test]
fn an_authority_used_by_a_server_is_trusted_if_name_and_dates_are_valid() {
    let named = |name: &str| {
        CertificateParams::new([name.to_owned()])
            .unwrap()
            .subject_alt_names
    };
    let (other_name, other_authority) = (named("matomo.example"), Authority::new());
    let cases = [
        (Authority::new(), None, "ok"),
        (
            Authority::with(|ca| ca.subject_alt_names = other_name),
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
        (
            Authority::new(),
            other_authority.file("ca.pem"),
            "CaUsedAsEndEntity",
        ),
    ];
    for (authority, trusted, want) in cases {
        let server = authority.serve_itself();
        let client = Client::new(&ClientOptions {
            ca_certificate: trusted.or_else(|| authority.file("ca.pem")),
            ..https(&server)
        });
        let exchange = client.unwrap().track_direct(0, Bytes::new());
        if want == "ok" {
            assert_eq!(response(&exchange).body, OK.as_bytes());
            continue;
        }
        let (cause, detail) = not_sent(&exchange);
        assert_eq!(cause, ConnectFailure::Certificate, "{detail}");
        assert!(detail.contains(want), "{want}: {detail}");
        assert!(server.seen().is_empty(), "{want}");
    }
}

/// The exchange with a server that responds to the client hello with these bytes.
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
    let exchange = client.track_direct(0, Bytes::new());
    thread.join().unwrap();
    exchange
}

/// TLS 1.2 servers only report that the handshake failed.
#[test]
fn a_tls_1_2_server_that_requires_a_certificate_is_not_one_without_tls() {
    // A fatal alert: handshake_failure.
    let exchange = https_answered_with(&[21, 3, 3, 0, 2, 2, 40]);
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, ConnectFailure::Certificate, "{detail}");
    assert!(
        detail.contains("requires a client certificate") && detail.contains("--client-certificate"),
        "{detail}"
    );
}

#[test]
fn a_client_certificate_is_sent_on_request() {
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
        response(&client.track_direct(0, Bytes::new()));
    }
    let served = server.seen().len();
    let exchange = Client::new(&trusting)
        .unwrap()
        .track_direct(0, Bytes::new());
    // The alert may be lost with the connection: then there is no response, but never a success.
    match &exchange.result {
        ExchangeResult::NotSent { cause, detail } => {
            assert_eq!(*cause, ConnectFailure::Certificate);
            assert!(detail.contains("--client-certificate"), "{detail}");
        }
        ExchangeResult::NoResponse { timed_out, .. } => assert!(!timed_out),
        ExchangeResult::Response(response) => panic!("{response:?}"),
    }
    assert_eq!(server.seen().len(), served);
}

#[test]
fn https_to_a_port_that_speaks_http_is_not_sent() {
    let exchange = https_answered_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, ConnectFailure::Tls, "{detail}");
    assert!(detail.contains("speaks https"), "{detail}");
}

#[test]
fn a_handshake_without_response_is_not_sent() {
    // The connection waits in the listener's queue and is never accepted.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::new(&ClientOptions {
        accept_invalid_certificate: true,
        timeout: Duration::from_millis(400),
        ..options(&format!("https://127.0.0.1:{port}"))
    })
    .unwrap();
    let exchange = client.track_direct(0, Bytes::from_static(b"{}"));
    let (cause, detail) = not_sent(&exchange);
    assert_eq!(cause, ConnectFailure::Timeout, "{detail}");
    assert!(detail.contains("firewalls"), "{detail}");
}

#[test]
fn unusable_certificate_files_are_usage_errors() {
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
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().starts_with(option), "{error}");
    }
}
