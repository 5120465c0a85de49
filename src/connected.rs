//! The server that a run talks to: Matomo, or the sandbox in its place.

use std::sync::Arc;

use crate::config::Server;
use crate::error::Result;
use crate::matomo::api::Api;
use crate::matomo::auth;
use crate::matomo::client::{Client, ClientOptions};
use crate::matomo::retry::{RetryPolicy, Waiter};
use crate::report::Console;
use crate::sandbox::{self, Sandbox};
use crate::secret::Secret;
use crate::stop::Stop;

/// The server that hits go to, and how it is asked.
pub struct Connected {
    pub url: String,
    pub client: Client,
    pub api: Api,
    pub token: Option<Secret>,
    /// Stops when it is dropped.
    pub sandbox: Option<Sandbox>,
}

impl Connected {
    /// An error: an address or a certificate cannot be used, no token is to be had, or the sandbox cannot start.
    pub fn new(server: Server, retry: RetryPolicy, console: &Console, stop: &Stop) -> Result<Self> {
        let waiter: Waiter = {
            let stop = stop.clone();
            Arc::new(move |time| stop.wait(time))
        };
        let api = |client: &Client, token: Option<Secret>| {
            let wait = Arc::clone(&waiter);
            Api::new(client.clone(), token, retry, wait, stop.clone())
        };
        match server {
            Server::Matomo {
                client: options,
                mut token,
            } => {
                let client = Client::new(&options)?;
                token.local.host = client.url().host_str().unwrap_or_default().to_owned();
                hide_all(&token, &client, console);
                let found = auth::token(&token, &|login, password| {
                    Ok(api(&client, None).create_token(login, password)?)
                })?;
                found
                    .warnings
                    .into_iter()
                    .for_each(|warning| console.warn(warning));
                found.token.iter().for_each(|token| console.hide(token));
                if token.token_auth.is_some() {
                    console.hint("others on this machine can see --token-auth in the list of processes: --token-auth-file or MATOMO_TOKEN_AUTH hide it");
                }
                let api = api(&client, found.token.clone());
                Ok(Self {
                    url: options.url,
                    client,
                    api,
                    token: found.token,
                    sandbox: None,
                })
            }
            Server::Sandbox {
                file,
                client: options,
            } => {
                let sandbox = Sandbox::start(sandbox::Options {
                    file,
                    ..Default::default()
                })?;
                let options = ClientOptions {
                    url: sandbox.url(),
                    ..options
                };
                let client = Client::new(&options)?;
                let token = Some(sandbox.token().clone());
                token.iter().for_each(|token| console.hide(token));
                let api = api(&client, token.clone());
                Ok(Self {
                    url: options.url,
                    client,
                    api,
                    token,
                    sandbox: Some(sandbox),
                })
            }
        }
    }
}

/// Secrets that were typed: none of them is ever shown, whatever becomes of them.
fn hide_all(token: &auth::TokenSources, client: &Client, console: &Console) {
    let typed = [&token.token_auth, &token.environment, &token.password];
    typed
        .into_iter()
        .flatten()
        .chain(client.passwords())
        .for_each(|secret| console.hide(secret));
}
