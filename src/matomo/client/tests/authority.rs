//! A private authority and what it signs, for servers and clients.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::*;

/// A private authority, a server certificate for 127.0.0.1 and a client certificate, in files.
pub struct Authority {
    folder: TempDir,
    ca: CertificateDer<'static>,
    ca_key: PrivateKeyDer<'static>,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Authority {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose own certificate is changed so.
    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
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

    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    /// A server that shows the authority's own certificate.
    pub fn serve_itself(&self) -> Server {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.ca.clone()], self.ca_key.clone_key());
        Server::tls(config.unwrap(), |_, _| reply(200, "", OK))
    }

    /// A server that shows its certificate, and wants to see the client's if told so.
    pub fn serve(&self, asks: bool) -> Server {
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
