//! A small tracker for trying things out: with `--sandbox` an import goes to it instead of Matomo.
//!
//! It speaks HTTP on a loopback port, as Matomo does: `tracker` takes bulk tracking requests,
//! `api` the API calls that an import makes. `store` keeps what was sent in an SQLite database,
//! and `report` prints what is in it. Every host and every site asked for exists, so that a
//! trial needs no setup. Only the import's own requests are answered: they have the token of this
//! run.

mod api;
pub mod http;
mod report;
mod sessions;
mod store;
mod tracker;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

pub use self::api::{ApiRequest, unknown_site};
pub use self::http::{Hook, Responder};
pub use self::report::report;
pub use self::sessions::SandboxSession;
pub use self::store::{HitStore, StoredSite};

use crate::error::{Error, Result};
use crate::secret::Secret;

#[derive(Default)]
pub struct SandboxOptions {
    /// The SQLite file to create, or to add to. Without one, the hits are lost with the sandbox.
    pub file: Option<PathBuf>,
    /// Sees each request before the sandbox does, and decides which are answered.
    pub hook: Option<Arc<dyn Hook>>,
}

/// A running sandbox. It stops when dropped; its file stays.
pub struct Sandbox {
    address: SocketAddr,
    responder: Arc<Responder>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a server on a free loopback port.
    ///
    /// # Errors
    ///
    /// There is no free port, the thread cannot start, or the file is not a sandbox's database.
    pub fn start(options: SandboxOptions) -> Result<Self> {
        let store = HitStore::open(options.file.as_deref())?;
        let responder = Arc::new(Responder::new(store));
        Self::serve(Arc::clone(&responder), options.hook).map_err(|error| {
            Error::stopped(format!("the sandbox cannot listen on 127.0.0.1: {error}"))
        })
    }

    fn serve(responder: Arc<Responder>, hook: Option<Arc<dyn Hook>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = http::serve(listener, address, Arc::clone(&responder), hook, stopped);
        let thread = std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok(Self {
            address,
            responder,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// `http://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The token that may do everything. It is drawn at random.
    pub fn token(&self) -> &Secret {
        self.responder.token()
    }

    pub fn store(&self) -> &HitStore {
        self.responder.store()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails if the thread has already ended.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// Sends a bulk request as a program without HTTP library would, and returns the first line of
    /// the response.
    fn send(sandbox: &Sandbox, host: &str, more: &str, token: &str) -> String {
        let body = format!("{{\"token_auth\":\"{token}\",\"requests\":[\"?idsite=1&rec=1\"]}}");
        let request = format!(
            "POST /piwik.php HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(sandbox.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_running_sandbox_stores_only_what_its_import_sends() {
        let sandbox = Sandbox::start(SandboxOptions::default()).unwrap();
        let (own, token) = (sandbox.address.to_string(), sandbox.token().expose());
        let another = Sandbox::start(SandboxOptions::default()).unwrap();
        for (host, more, token, status) in [
            (own.as_str(), "", "", "401"),
            (&own, "", another.token().expose(), "401"),
            (&own, "Origin: http://evil.example\r\n", token, "403"),
            (&own, "Sec-Fetch-Site: cross-site\r\n", token, "403"),
            ("evil.example", "", token, "403"),
        ] {
            let answer = send(&sandbox, host, more, token);
            assert!(answer.contains(status), "{host} {more}: {answer}");
        }
        assert_eq!(sandbox.store().count().unwrap(), 0);
        assert!(send(&sandbox, &own, "", token).contains("200"));
        assert_eq!(sandbox.store().count().unwrap(), 1);
    }
    #[test]
    fn a_foreign_request_is_refused_before_its_body_is_read() {
        let sandbox = Sandbox::start(SandboxOptions::default()).unwrap();
        let mut stream = TcpStream::connect(sandbox.address).unwrap();
        let head = "POST /piwik.php HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 9\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    }
}
