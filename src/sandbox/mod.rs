//! The sandbox: a small Matomo of our own, over real HTTP on loopback, with its hits in SQLite.
//!
//! For users (`--sandbox`) it shows what an import would give without touching a real Matomo; for tests it can be
//! told which sites and tokens there are and which faults to have. A tracking request walks from `server` through
//! `tracker` (with the `faults` asked for), `bulk` and `judge` into the `store`; API calls through `api` and `live`.
//! `log` keeps what was seen, `report` puts the store into words.

mod access;
mod answer;
mod api;
mod body;
mod bulk;
mod days;
mod faults;
mod judge;
mod live;
mod log;
mod options;
mod report;
mod schema;
mod segment;
mod server;
mod sites;
mod store;
mod stored;
mod tracker;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

pub use self::access::Role;
pub use self::faults::{Fault, Faults, When};
pub use self::log::{ApiCall, Log, TrackerCall};
pub use self::options::{Live, Options, Sites, Tokens};
pub use self::report::report;
pub use self::store::Store;

use self::access::Guard;
use self::days::Days;
use self::faults::Script;
use self::log::Watch;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A running sandbox; it stops when dropped, and its file, if it has one, stays.
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What every request needs.
struct Shared {
    options: Options,
    store: Store,
    watch: Watch,
    script: Mutex<Script>,
    guard: Mutex<Guard>,
    days: Days,
}

impl Sandbox {
    /// Starts on a free loopback port.
    ///
    /// An error: no port, no thread, or a file that is no database of a sandbox.
    pub fn start(options: Options) -> Result<Self> {
        let store = Store::open(options.file.as_deref(), &options.sites)?;
        let failed = |error: std::io::Error| {
            Error::stopped(format!("the sandbox cannot start on 127.0.0.1: {error}"))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let shared = Arc::new(Shared {
            script: Mutex::new(Script::new(options.faults.clone())),
            guard: Mutex::new(Guard::default()),
            days: Days::default(),
            watch: Watch::new(options.keep_log),
            store,
            options,
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || runtime.block_on(server::run(serving, listener, stopped)))
            .map_err(failed)?;
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The super user's token.
    pub fn token(&self) -> &Secret {
        &self.shared.options.tokens.super_user
    }

    /// What was stored.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// What was seen until now; calls one by one only with [`Options::keep_log`].
    pub fn log(&self) -> Log {
        self.shared.watch.log()
    }

    /// Other faults from now on; scripts begin anew.
    pub fn set_faults(&self, faults: Faults) {
        *locked(&self.shared.script) = Script::new(faults);
    }

    /// Waits until no tracking request that has come is in progress any more (the server goes on after its client
    /// hung up): whether that came true in the time given.
    pub fn wait_idle(&self, at_most: Duration) -> bool {
        self.shared.watch.wait_idle(at_most)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only where the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The lock, also after a panic of who held it: what it guards is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
