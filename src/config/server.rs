//! Where hits go, and where the token comes from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{AuthenticationArgs, Cli};
use crate::error::{Error, Result};
use crate::matomo::auth::{self, LocalMatomo, TokenSources};
use crate::matomo::client::ClientOptions;
use crate::secret::Secret;
use crate::target::TargetOptions;

pub(super) fn server(cli: &Cli, timeout: Duration, recorders: usize) -> Result<TargetOptions> {
    let Cli {
        matomo,
        authentication,
        connection,
        ..
    } = cli;
    let client = ClientOptions {
        url: matomo.url.clone().unwrap_or_default(),
        api_url: matomo.api_url.clone(),
        tracker_path: matomo.tracker_endpoint_path.clone(),
        basic_auth: authentication.auth_user.clone().map(|user| {
            (
                user,
                Secret::new(authentication.auth_password.clone().unwrap_or_default()),
            )
        }),
        accept_invalid_certificate: connection.accept_invalid_ssl_certificate,
        ca_certificate: connection.ca_certificate.clone(),
        client_certificate: connection.client_certificate.clone(),
        client_key: connection.client_key.clone(),
        timeout,
        request_suffix: connection.request_suffix.clone(),
        debug_tracker: cli.output.debug_tracker,
        connections: recorders,
    };
    match (&matomo.sandbox, &matomo.url) {
        (Some(_), Some(_)) => Err(Error::usage(
            "--sandbox stands instead of --url: give one of them",
        )),
        (Some(file), None) => Ok(TargetOptions::Sandbox {
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
        (None, Some(_)) => Ok(TargetOptions::Matomo {
            client,
            token: token_sources(authentication),
        }),
        // Nothing is sent, so nobody need say where to.
        (None, None) if cli.log_format.dump_log_regex => {
            Ok(TargetOptions::Sandbox { file: None, client })
        }
        (None, None) => Err(Error::usage(
            "--url is missing: give Matomo's address, such as --url=https://matomo.example, \
             or try it without one: --sandbox",
        )),
    }
}

/// As token and as a log.
fn reads_stdin_twice(cli: &Cli) -> bool {
    cli.authentication.token_auth.is_none()
        && cli.authentication.token_auth_file.as_deref() == Some(Path::new("-"))
        && cli.files.iter().any(|file| file == "-")
}

fn token_sources(from: &AuthenticationArgs) -> TokenSources {
    TokenSources {
        token_auth: from.token_auth.clone().map(Secret::new),
        token_auth_file: from.token_auth_file.clone(),
        auth_config: from.auth_config.clone(),
        environment: std::env::var(auth::VARIABLE).ok().map(Secret::new),
        login: from.login.clone(),
        password: from.password.clone().map(Secret::new),
        local: LocalMatomo {
            config: from.config.clone(),
            php_binary: PathBuf::from(&from.php_binary),
            testmode: from.enable_testmode,
            // Known once the address has been read.
            host: String::new(),
        },
    }
}
