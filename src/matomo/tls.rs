//! TLS for https addresses: whom to trust, and how to say who we are.

use std::path::Path;
use std::sync::Arc;

use reqwest::blocking::ClientBuilder;
use reqwest::{Certificate, Identity};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result};

/// `--accept-invalid-ssl-certificate`, `--ca-certificate`, `--client-certificate`, `--client-key`.
pub(super) struct Trust<'a> {
    pub accept_invalid: bool,
    pub ca: Option<&'a Path>,
    pub certificate: Option<&'a Path>,
    pub key: Option<&'a Path>,
}

/// The system's roots, and the user's own.
pub(super) fn secure(mut builder: ClientBuilder, trust: &Trust) -> Result<ClientBuilder> {
    // Fails where it is installed already, which is as good.
    let _ = ring::default_provider().install_default();
    builder = builder.tls_danger_accept_invalid_certs(trust.accept_invalid);
    if let Some(path) = trust.ca {
        let certificates = Certificate::from_pem_bundle(&read(path, "--ca-certificate")?)
            .ok()
            .filter(|found| !found.is_empty())
            .ok_or_else(|| {
                wrong(
                    "--ca-certificate",
                    path,
                    "this holds no certificate in PEM form",
                )
            })?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(identity) = identity(trust)? {
        builder = builder.identity(identity);
    }
    Ok(builder)
}

/// No TLS at all: nothing is trusted, so no root certificates are looked for, which takes longer than all else
/// at the start.
pub(super) fn plain(builder: ClientBuilder) -> Result<ClientBuilder> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::stopped(format!("the cryptography under TLS cannot be used: {e}")))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(config))
}

/// The certificate and its key, which may stand in one file.
fn identity(trust: &Trust) -> Result<Option<Identity>> {
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
    match Identity::from_pem(&pem) {
        Ok(identity) => Ok(Some(identity)),
        Err(_) => Err(wrong(
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
