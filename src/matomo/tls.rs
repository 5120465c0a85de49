//! TLS: which server certificates to trust, and which client certificate to send.

use std::path::Path;
use std::sync::Arc;

use reqwest::ClientBuilder;
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
use crate::input::small_file;

/// `--accept-invalid-ssl-certificate`, `--ca-certificate`, `--client-certificate`, `--client-key`.
pub(super) struct TlsOptions<'a> {
    pub accept_invalid: bool,
    pub ca: Option<&'a Path>,
    pub certificate: Option<&'a Path>,
    pub key: Option<&'a Path>,
}

/// Configures TLS. Certificates are verified with the system's root certificates and
/// `--ca-certificate`.
pub(super) fn secure(builder: ClientBuilder, options: &TlsOptions) -> Result<ClientBuilder> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CertificateVerifier::new(options)?));
    let mut config = match client_certificate(options)? {
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

/// Configures a client that does not use TLS: it loads no root certificates, which would dominate
/// the start-up time.
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
        "cannot set up TLS: {error}; check --ca-certificate, and that the system's root certificates \
         (ca-certificates) are installed"
    ))
}

#[derive(Debug)]
struct CertificateVerifier {
    /// `None` accepts any certificate (`--accept-invalid-ssl-certificate`).
    roots: Option<Verifier>,
    /// The certificates of `--ca-certificate`.
    own: Vec<CertificateDer<'static>>,
}

impl CertificateVerifier {
    fn new(options: &TlsOptions) -> Result<Self> {
        let own = options.ca.map_or(Ok(Vec::new()), ca_certificates)?;
        let roots = match options.accept_invalid {
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

impl ServerCertVerifier for CertificateVerifier {
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
            // `openssl req -x509` makes a certificate that is its own authority. The user trusts
            // exactly this one. Its dates were verified before its usage was.
            Err(error) if is_ca_as_server(&error) && self.own.contains(certificate) => {
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
            // All, including those that this program could not verify.
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

/// Whether the only fault of a server's certificate is that it is an authority's.
fn is_ca_as_server(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else {
        return false;
    };
    matches!(why.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn ca_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    match parse_certificates(&read(path, "--ca-certificate")?) {
        Some(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(wrong(
            "--ca-certificate",
            path,
            "it contains no certificate in PEM format",
        )),
    }
}

/// All certificates of a PEM file. Returns `None` if it is not valid PEM.
fn parse_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .ok()
}

/// The file of a client certificate, its certificate chain, and its private key.
type ClientCertificate<'a> = (
    &'a Path,
    Vec<CertificateDer<'static>>,
    PrivateKeyDer<'static>,
);

/// Reads the client certificate and its key, which may be in one file.
fn client_certificate<'a>(options: &TlsOptions<'a>) -> Result<Option<ClientCertificate<'a>>> {
    let Some(path) = options.certificate else {
        return match options.key {
            Some(_) => Err(Error::usage("--client-key needs --client-certificate")),
            None => Ok(None),
        };
    };
    let mut pem = read(path, "--client-certificate")?;
    if let Some(key) = options.key {
        pem.push(b'\n');
        pem.extend(read(key, "--client-key")?);
    }
    match (
        parse_certificates(&pem),
        PrivateKeyDer::from_pem_slice(&pem),
    ) {
        (Some(certificates), Ok(key)) if !certificates.is_empty() => {
            Ok(Some((path, certificates, key)))
        }
        _ => Err(wrong(
            "--client-certificate",
            path,
            "it needs a certificate and an unencrypted private key in PEM format; the key may be in \
             --client-key",
        )),
    }
}

fn read(path: &Path, option: &str) -> Result<Vec<u8>> {
    small_file::read(path).map_err(|e| wrong(option, path, &format!("cannot be read: {e}")))
}

fn wrong(option: &str, path: &Path, why: &str) -> Error {
    Error::usage(format!("{option}={}: {why}", path.display()))
}
