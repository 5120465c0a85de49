//! The server that a run talks to: Matomo, or the sandbox in its place.
//!
//! Where it is stands fixed before it is first asked for something (a token, for `--login`): what is to be kept while it
//! is away can be kept.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::matomo::api::Api;
use crate::matomo::auth::{self, TokenSources};
use crate::matomo::client::{Client, ClientOptions};
use crate::matomo::retry::{RetryPolicy, Waiter};
use crate::report::Console;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::secret::Secret;
use crate::shutdown::Shutdown;

/// Where hits go.
#[derive(Debug)]
pub enum TargetOptions {
    Matomo {
        client: ClientOptions,
        token: TokenSources,
    },
    /// The built-in tracker, with the file that keeps its hits (none: memory).
    Sandbox {
        file: Option<PathBuf>,
        client: ClientOptions,
    },
}

/// Where hits are to go.
pub struct Destination {
    url: String,
    pub client: Client,
    token: Token,
}

/// What a server is told, or where that comes from.
enum Token {
    Sought(TokenSources),
    /// It stops when it is dropped.
    OfSandbox(Sandbox),
}

/// The server that hits go to, and how it is asked.
pub struct Connected {
    pub url: String,
    pub client: Client,
    pub api: Api,
    pub token: Option<Secret>,
    /// Stops when it is dropped.
    pub sandbox: Option<Sandbox>,
}

impl Destination {
    /// An error: an address or a certificate cannot be used, or the sandbox cannot start.
    pub fn new(server: TargetOptions, console: &Console) -> Result<Self> {
        match server {
            TargetOptions::Matomo {
                client: options,
                mut token,
            } => {
                let client = Client::new(&options)?;
                token.local.host = client.url().host_str().unwrap_or_default().to_owned();
                hide_all(&token, &client, console);
                Ok(Self {
                    url: options.url,
                    client,
                    token: Token::Sought(token),
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
                    token: Token::OfSandbox(sandbox),
                })
            }
        }
    }

    /// Whether nothing leaves this program.
    pub fn is_sandbox(&self) -> bool {
        matches!(self.token, Token::OfSandbox(_))
    }

    /// An error: no token is to be had.
    pub fn connect(
        self,
        retry: RetryPolicy,
        console: &Console,
        stop: &Shutdown,
    ) -> Result<Connected> {
        let Self { url, client, token } = self;
        let waiter: Waiter = {
            let stop = stop.clone();
            Arc::new(move |time| stop.wait(time))
        };
        let api = |token: Option<Secret>| {
            let wait = Arc::clone(&waiter);
            Api::new(client.clone(), token, retry, wait, stop.clone())
        };
        let (token, sandbox) = match token {
            Token::OfSandbox(sandbox) => {
                // Retrying does not help if the sandbox cannot write.
                let stop = stop.clone();
                sandbox
                    .store()
                    .on_write_error(move |error| stop.halt(error));
                (Some(sandbox.token().clone()), Some(sandbox))
            }
            Token::Sought(sources) => {
                let found = auth::find_token(&sources, &|login, password| {
                    Ok(api(None).create_token(login, password)?)
                })?;
                found
                    .warnings
                    .into_iter()
                    .for_each(|warning| console.warn(warning));
                found.token.iter().for_each(|token| console.hide(token));
                if sources.token_auth.is_some() {
                    console.hint("others on this machine can see --token-auth in the list of processes: --token-auth-file or MATOMO_TOKEN_AUTH hide it");
                }
                (found.token, None)
            }
        };
        Ok(Connected {
            url,
            api: api(token.clone()),
            client,
            token,
            sandbox,
        })
    }
}

/// Secrets that were typed: none of them is ever shown, whatever becomes of them.
fn hide_all(token: &TokenSources, client: &Client, console: &Console) {
    let typed = [&token.token_auth, &token.environment, &token.password];
    typed
        .into_iter()
        .flatten()
        .chain(client.passwords())
        .for_each(|secret| console.hide(secret));
}
