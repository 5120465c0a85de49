//! A thread that runs asynchronous tasks for the other threads.

use std::io;
use std::thread;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

/// Runs the tasks that are spawned on its handle. It ends when this is dropped.
pub struct AsyncThread {
    pub handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl AsyncThread {
    /// # Errors
    ///
    /// If the system has no thread or no open file left.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            // Fails when the sender is dropped.
            .spawn(move || runtime.block_on(stopped).is_ok())?;
        Ok(Self {
            handle,
            _stop: stop,
        })
    }
}
