//! What a run needs before its first line: the server asked for token and sites, the file of rejects, the recorders.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::input::discover::Source;
use crate::input::encoding::Encoding;
use crate::ledger::Ledger;
use crate::recorder::DeliveryOptions;
use crate::recorder::{Context, Pool, Queue};
use crate::report::rejects::Rejects;
use crate::report::{Account, Console};
use crate::shutdown::Shutdown;
use crate::site::SiteOptions;
use crate::site::Sites;
use crate::target::{Connected, Destination};

/// What is to be ready before the first line is read.
pub struct Prepare<'c> {
    pub destination: Destination,
    pub delivery: DeliveryOptions,
    pub sites: SiteOptions,
    pub rejects: Option<&'c Path>,
    /// What earlier runs did is kept, and so are their rejects.
    pub going_on: bool,
    pub encoding: &'c Encoding,
    pub replaying: bool,
    pub dry_run: bool,
}

/// And what then is.
pub struct Prepared {
    pub server: Connected,
    pub sites: Sites,
    pub rejects: Option<Arc<Rejects>>,
    pub pool: Pool,
    pub outbox: Queue,
}

impl Prepare<'_> {
    /// An error: no token is to be had, a site is not there, the rejects cannot be written, a thread cannot be started.
    pub fn run(
        self,
        sources: &[Source],
        ledger: Option<&Arc<Ledger>>,
        account: &Arc<Account>,
        console: &Console,
        stop: &Shutdown,
    ) -> Result<Prepared> {
        let server = (self.destination).connect(self.delivery.retry, console, stop)?;
        let sites = Sites::new(self.sites, self.replaying, self.dry_run, &server.api)?;
        let rejects = self
            .rejects
            .map(|path| Rejects::open(path, self.encoding, sources, self.going_on))
            .transpose()?
            .map(Arc::new);
        let shared = Arc::new(Context {
            client: server.client.clone(),
            api: server.api.clone(),
            token: server.token.clone(),
            account: Arc::clone(account),
            console: console.clone(),
            stop: stop.clone(),
            options: self.delivery,
            ledger: ledger.cloned(),
            rejects: rejects.clone(),
            server: Default::default(),
        });
        let (pool, outbox) = match self.dry_run {
            true => Pool::for_dry_run(account, console),
            false => Pool::start(&shared)?,
        };
        Ok(Prepared {
            server,
            sites,
            rejects,
            pool,
            outbox,
        })
    }
}
