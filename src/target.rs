//! The server that hits go to: Matomo or the sandbox.
//!
//! A [`Target`] has an address, but nothing has been sent to it yet. So the ledger can be opened,
//! and the pipes saved in it, even if the server is away and [`Target::connect`] fails.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::matomo::api::{Api, Retry, RetryHook};
use crate::matomo::auth::{self, TokenSources};
use crate::matomo::client::{Client, ClientOptions};
use crate::matomo::retry::{RetryPolicy, Waiter};
use crate::matomo::visit_log::VisitLog;
use crate::private_file;
use crate::report::Console;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::secret::Secret;
use crate::shutdown::Shutdown;
use crate::systemd::ServiceManager;

#[derive(Debug)]
pub enum TargetOptions {
    Matomo {
        client: ClientOptions,
        token: Box<TokenSources>,
    },
    Sandbox {
        /// The database that keeps its hits. `None`: they are kept in memory.
        file: Option<PathBuf>,
        client: ClientOptions,
    },
}

/// How often the service manager hears of a thread that waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// A server that has not been contacted.
pub struct Target {
    url: String,
    client: Client,
    credentials: Credentials,
}

enum Credentials {
    Matomo(Box<TokenSources>),
    /// The running sandbox, which knows its token. It stops when dropped.
    Sandbox(Sandbox),
}

/// A server, and the token for it.
pub struct ConnectedTarget {
    /// The address as the user gave it.
    pub url: String,
    pub client: Client,
    pub api: Api,
    pub visits: VisitLog,
    pub token: Option<Secret>,
    /// Stops when dropped.
    pub sandbox: Option<Sandbox>,
}

impl Target {
    /// # Errors
    ///
    /// Returns an error if an address or a certificate is invalid, or if the sandbox cannot be
    /// started.
    pub fn new(options: TargetOptions, console: &Console) -> Result<Self> {
        match options {
            TargetOptions::Matomo {
                client: options,
                mut token,
            } => {
                warn_of_exposed_key(&options, console);
                let client = Client::new(&options)?;
                token.local.host = client.url().host_str().unwrap_or_default().to_owned();
                hide_secrets(&token, &client, console);
                Ok(Self {
                    url: options.url,
                    client,
                    credentials: Credentials::Matomo(token),
                })
            }
            TargetOptions::Sandbox {
                file,
                client: options,
            } => {
                let sandbox = Sandbox::start(SandboxOptions { file, hook: None })?;
                let options = ClientOptions {
                    url: sandbox.url(),
                    ..options
                };
                console.hide(sandbox.token());
                Ok(Self {
                    client: Client::new(&options)?,
                    url: options.url,
                    credentials: Credentials::Sandbox(sandbox),
                })
            }
        }
    }

    /// The parsed address.
    pub fn url(&self) -> &url::Url {
        self.client.url()
    }

    pub fn is_sandbox(&self) -> bool {
        matches!(self.credentials, Credentials::Sandbox(_))
    }

    /// Gets the token, which may take a request to Matomo.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no token.
    pub fn connect(
        self,
        retry: RetryPolicy,
        console: &Console,
        shutdown: &Shutdown,
        service: &ServiceManager,
    ) -> Result<ConnectedTarget> {
        let Self {
            url,
            client,
            credentials,
        } = self;
        let waiter: Waiter = {
            let (shutdown, service) = (shutdown.clone(), service.clone());
            Arc::new(move |time| wait(time, &shutdown, &service))
        };
        let api = |token: Option<Secret>| {
            let wait = Arc::clone(&waiter);
            let api = Api::new(client.clone(), token, retry, wait, shutdown.clone());
            match console.stderr_is_terminal() && !console.is_quiet() {
                true => api.on_retry(report_retries(console)),
                false => api,
            }
        };
        let (token, sandbox) = match credentials {
            Credentials::Sandbox(sandbox) => {
                // If the sandbox cannot store hits (a full disk), retries are pointless.
                let shutdown = shutdown.clone();
                let store = sandbox.store();
                store.on_write_error(move |error| shutdown.halt(error));
                (Some(sandbox.token().clone()), Some(sandbox))
            }
            Credentials::Matomo(sources) => {
                let found = auth::find_token(&sources, &|login, password| {
                    // That of --auth-config is not hidden yet, and a server may echo it.
                    console.hide(password);
                    Ok(api(None).create_token(login, password)?)
                })?;
                for warning in found.warnings {
                    console.warn(warning);
                }
                if let Some(token) = &found.token {
                    console.hide(token);
                }
                for (option, is_given, instead) in [
                    (
                        "--token-auth",
                        sources.token_auth.is_some(),
                        "--token-auth-file or MATOMO_TOKEN_AUTH",
                    ),
                    ("--password", sources.password.is_some(), "--auth-config"),
                ] {
                    if is_given {
                        console.hint(format!(
                            "other users of this machine can see {option} in the process list; \
                             use {instead} instead"
                        ));
                    }
                }
                let unencrypted = client.unencrypted().into_iter();
                for url in unencrypted.filter(|_| found.token.is_some()) {
                    console.warn(format!(
                        "the token is sent to {url} without encryption: use https"
                    ));
                }
                (found.token, None)
            }
        };
        let api = api(token.clone());
        Ok(ConnectedTarget {
            url,
            visits: VisitLog::new(api.clone()),
            api,
            client,
            token,
            sandbox,
        })
    }
}

/// Sleeps like [`Shutdown::wait`], and shows the service manager that the parser is alive.
fn wait(time: Duration, shutdown: &Shutdown, service: &ServiceManager) -> bool {
    let mut left = time;
    while !left.is_zero() {
        service.beat();
        let part = left.min(BEAT_INTERVAL);
        if shutdown.wait(part) {
            return true;
        }
        left -= part;
    }
    service.beat();
    shutdown.requested()
}

/// Warns if other users can read the key of a client certificate, which may be in the file of the
/// certificate.
fn warn_of_exposed_key(options: &ClientOptions, console: &Console) {
    let key = match (&options.client_key, &options.client_certificate) {
        (Some(key), _) => ("--client-key", key),
        (None, Some(certificate)) => ("--client-certificate", certificate),
        (None, None) => return,
    };
    let (option, path) = key;
    let warning = File::open(path)
        .ok()
        .and_then(|file| private_file::exposure(&file, &format!("{option}={}", path.display())));
    // A file that cannot be opened is an error of the client.
    if let Some(warning) = warning {
        console.warn(warning);
    }
}

/// Shows each retry on a terminal. The first ones matter most: a wrong address should be seen at
/// once.
fn report_retries(console: &Console) -> RetryHook {
    let console = console.clone();
    Arc::new(move |retry| {
        let text = retry_text(retry);
        match retry.was_reached {
            true => console.note_repeated(&retry.failure, text),
            false => console.note(text),
        }
    })
}

fn retry_text(retry: &Retry) -> String {
    let Retry {
        failure,
        number,
        of,
        wait,
        ..
    } = retry;
    let when = match wait.as_secs_f64().round() as u64 {
        0 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    };
    format!("{failure}; retry {number} of {of} {when}")
}

/// Keeps secrets from the command line and the environment out of all output.
fn hide_secrets(token: &TokenSources, client: &Client, console: &Console) {
    let secrets = [&token.token_auth, &token.environment, &token.password];
    let of_client = client.secrets();
    secrets
        .into_iter()
        .flatten()
        .chain(&of_client)
        .for_each(|secret| console.hide(secret));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_retry_is_one_line() {
        let retry = |milliseconds| Retry {
            failure: "cannot reach matomo.example:443: connection refused".to_owned(),
            number: 1,
            of: 3,
            wait: Duration::from_millis(milliseconds),
            was_reached: false,
        };
        assert_eq!(
            retry_text(&retry(9_700)),
            "cannot reach matomo.example:443: connection refused; retry 1 of 3 in 10 s"
        );
        assert!(retry_text(&retry(0)).ends_with("; retry 1 of 3 now"));
    }
}
