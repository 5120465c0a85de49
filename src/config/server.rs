//! Where hits go, and where the token comes from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Server;
use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::matomo::auth::{self, LocalMatomo, TokenSources};
use crate::matomo::client::ClientOptions;
use crate::secret::Secret;

pub(super) fn server(cli: &Cli, timeout: Duration, recorders: usize) -> Result<Server> {
    let client = ClientOptions {
        url: cli.url.clone().unwrap_or_default(),
        api_url: cli.api_url.clone(),
        tracker_path: cli.tracker_endpoint_path.clone(),
        basic_auth: cli.auth_user.clone().map(|user| {
            (
                user,
                Secret::new(cli.auth_password.clone().unwrap_or_default()),
            )
        }),
        accept_invalid_certificate: cli.accept_invalid_ssl_certificate,
        ca_certificate: cli.ca_certificate.clone(),
        client_certificate: cli.client_certificate.clone(),
        client_key: cli.client_key.clone(),
        timeout,
        request_suffix: cli.request_suffix.clone(),
        debug_tracker: cli.debug_tracker,
        connections: recorders,
    };
    match (&cli.sandbox, &cli.url) {
        (Some(_), Some(_)) => Err(Error::usage(
            "--sandbox stands instead of --url: give one of them",
        )),
        (Some(file), None) => Ok(Server::Sandbox {
            file: Some(file)
                .filter(|file| !file.is_empty())
                .map(PathBuf::from),
            client: ClientOptions {
                api_url: None,
                ..client
            },
        }),
        (None, Some(_)) if reads_stdin_twice(cli) => Err(Error::usage(
            "--token-auth-file=-: a log comes from standard input already; put the token into a file, \
             or into MATOMO_TOKEN_AUTH",
        )),
        (None, Some(_)) => Ok(Server::Matomo {
            client,
            token: token_sources(cli),
        }),
        // Nothing is sent, so nobody need say where to.
        (None, None) if cli.dump_log_regex => Ok(Server::Sandbox { file: None, client }),
        (None, None) => Err(Error::usage(
            "--url is missing: give Matomo's address, such as --url=https://matomo.example, \
             or try it without one: --sandbox",
        )),
    }
}

/// As token and as a log.
fn reads_stdin_twice(cli: &Cli) -> bool {
    cli.token_auth.is_none()
        && cli.token_auth_file.as_deref() == Some(Path::new("-"))
        && cli.files.iter().any(|file| file == "-")
}

fn token_sources(cli: &Cli) -> TokenSources {
    TokenSources {
        token_auth: cli.token_auth.clone().map(Secret::new),
        token_auth_file: cli.token_auth_file.clone(),
        auth_config: cli.auth_config.clone(),
        environment: std::env::var(auth::VARIABLE).ok().map(Secret::new),
        login: cli.login.clone(),
        password: cli.password.clone().map(Secret::new),
        local: LocalMatomo {
            config: cli.config.clone(),
            php_binary: PathBuf::from(&cli.php_binary),
            testmode: cli.enable_testmode,
            // Known once the address has been read.
            host: String::new(),
        },
    }
}
