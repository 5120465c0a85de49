//! TLS for https addresses: whom to trust, and how to say who we are.

use std::path::Path;
use std::sync::Arc;

use reqwest::blocking::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_platform_verifier::Verifier;

use crate::error::{Error, Result};

/// `--accept-invalid-ssl-certificate`, `--ca-certificate`, `--client-certificate`, `--client-key`.
pub(super) struct Trust<'a> {
    pub accept_invalid: bool,
    pub ca: Option<&'a Path>,
    pub certificate: Option<&'a Path>,
    pub key: Option<&'a Path>,
}

/// The system's roots, and the user's own.
pub(super) fn secure(builder: ClientBuilder, trust: &Trust) -> Result<ClientBuilder> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Check::new(trust)?));
    let mut config = match identity(trust)? {
        Some((path, certificates, key)) => config
            .with_client_auth_cert(certificates, key)
            .map_err(|e| {
                wrong(
                    "--client-certificate",
                    path,
                    &format!("cannot be used: {e}"),
                )
            })?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(builder.tls_backend_preconfigured(config))
}

/// No TLS at all: nothing is trusted, so no root certificates are looked for, which takes longer than all else
/// at the start.
pub(super) fn plain(builder: ClientBuilder) -> Result<ClientBuilder> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(config))
}

fn unusable(error: rustls::Error) -> Error {
    Error::stopped(format!(
        "TLS cannot be set up: {error}; check --ca-certificate, and that the system's root certificates \
         (ca-certificates) are installed"
    ))
}

/// Says whether a server's certificate is to be trusted.
#[derive(Debug)]
struct Check {
    /// `None`: whatever it is (`--accept-invalid-ssl-certificate`).
    roots: Option<Verifier>,
    /// What `--ca-certificate` holds.
    own: Vec<CertificateDer<'static>>,
}

impl Check {
    fn new(trust: &Trust) -> Result<Self> {
        let own = trust.ca.map_or(Ok(Vec::new()), authorities)?;
        let roots = match trust.accept_invalid {
            true => None,
            false => {
                let provider = Arc::new(ring::default_provider());
                let roots = Verifier::new_with_extra_roots(own.iter().cloned(), provider);
                Some(roots.map_err(unusable)?)
            }
        };
        Ok(Self { roots, own })
    }
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        match roots.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // What `openssl req -x509` makes is an authority and its only certificate in one: the user trusts this very
            // certificate. Its dates have been found good before its use is looked at.
            Err(error) if is_authority(&error) && self.own.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        match &self.roots {
            Some(roots) => roots.verify_tls12_signature(message, certificate, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        match &self.roots {
            Some(roots) => roots.verify_tls13_signature(message, certificate, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.roots {
            Some(roots) => roots.supported_verify_schemes(),
            // Those too that could not be verified here.
            None => vec![
                SignatureScheme::ECDSA_NISTP256_SHA256,
                SignatureScheme::ECDSA_NISTP384_SHA384,
                SignatureScheme::ECDSA_NISTP521_SHA512,
                SignatureScheme::ED25519,
                SignatureScheme::ED448,
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA512,
                SignatureScheme::RSA_PKCS1_SHA256,
                SignatureScheme::RSA_PKCS1_SHA384,
                SignatureScheme::RSA_PKCS1_SHA512,
                SignatureScheme::ECDSA_SHA1_Legacy,
                SignatureScheme::RSA_PKCS1_SHA1,
            ],
        }
    }
}

/// All that is wrong with a server's certificate is that it is an authority's.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else {
        return false;
    };
    matches!(why.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    match certificates(&read(path, "--ca-certificate")?) {
        Some(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(
            "--ca-certificate",
            path,
            "this holds no certificate in PEM form",
        )),
    }
}

/// All that PEM text holds; `None`: it is none.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .ok()
}

/// Where it came from, the certificate with those that vouch for it, and its key.
type Identity<'a> = (
    &'a Path,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
);

/// The certificate and its key, which may stand in one file.
fn identity<'a>(trust: &Trust<'a>) -> Result<Option<Identity<'a>>> {
    let Some(path) = trust.certificate else {
        return match trust.key {
            Some(_) => Err(Error::usage(
                "--client-key needs --client-certificate beside it",
            )),
            None => Ok(None),
        };
    };
    let mut pem = read(path, "--client-certificate")?;
    if let Some(key) = trust.key {
        pem.push(b'\n');
        pem.extend(read(key, "--client-key")?);
    }
    match (certificates(&pem), PrivateKeyDer::from_pem_slice(&pem)) {
        (Some(found), Ok(key)) if !found.is_empty() => Ok(Some((path, found, key))),
        _ => Err(wrong(
            "--client-certificate",
            path,
            "a certificate and an unencrypted private key in PEM form are needed, the key here or in --client-key",
        )),
    }
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| wrong(option, path, &format!("cannot be read: {e}")))
}

fn wrong(option: &str, path: &Path, why: &str) -> Error {
    Error::usage(format!("{option}={}: {why}", path.display()))
}
