//! Tells systemd how a run is doing: the protocol of `sd_notify`, over the socket that
//! `NOTIFY_SOCKET` names.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// What systemd says to a service, and to no other process.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often the status line changes at most.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// The service manager, if it started this process and listens. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager(Option<Arc<NotifySocket>>);

#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    /// Half of `WATCHDOG_USEC`. `None` without a watchdog.
    interval: Option<Duration>,
    /// The thread that the watchdog watches.
    parser: ThreadId,
    last: Mutex<LastNotices>,
}

/// When and what systemd heard last.
#[derive(Debug, Default)]
struct LastNotices {
    beat: Option<Instant>,
    status: Option<(Instant, String)>,
}

impl ServiceManager {
    /// From the environment, for the thread that calls this. Without `NOTIFY_SOCKET`, or if it
    /// cannot be reached, nothing is sent.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name);
        let Some(name) = variable("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let Ok(socket) = connect(name.as_bytes()) else {
            return Self::default();
        };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let interval = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        Self(Some(Arc::new(NotifySocket {
            socket,
            interval: interval.map(|usec| Duration::from_micros(usec / 2)),
            parser: thread::current().id(),
            last: Mutex::default(),
        })))
    }

    /// The run has begun.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The run is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Shows what the run is doing, at most once a second.
    pub fn status(&self, text: impl FnOnce() -> String) {
        let Some(manager) = &self.0 else {
            return;
        };
        let now = Instant::now();
        let line = {
            let mut last = manager.last.lock();
            let shown = last.status.as_ref();
            if shown.is_some_and(|(since, _)| now.duration_since(*since) < STATUS_INTERVAL) {
                return;
            }
            let text = text().replace('\n', " ");
            let is_new = shown.is_none_or(|(_, shown)| *shown != text);
            last.status = Some((now, text.clone()));
            is_new.then(|| format!("STATUS={text}"))
        };
        if let Some(line) = line {
            self.send(&line);
        }
    }

    /// Tells the watchdog that the parser is alive. Other threads say nothing. Cheap enough to be
    /// called often: it sends something only when half of the watchdog's time has passed.
    pub fn beat(&self) {
        let Some((manager, interval)) = self.0.as_ref().and_then(|it| Some((it, it.interval?)))
        else {
            return;
        };
        if thread::current().id() != manager.parser {
            return;
        }
        let now = Instant::now();
        {
            let mut last = manager.last.lock();
            if last
                .beat
                .is_some_and(|beat| now.duration_since(beat) < interval)
            {
                return;
            }
            last.beat = Some(now);
        }
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some(manager) = &self.0 {
            // What systemd does not hear changes nothing in the import.
            let _ = manager.socket.send(text.as_bytes());
        }
    }
}

/// Connects to a socket. A name that begins with `@` is an abstract one.
fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop the import.
    socket.set_nonblocking(true)?;
    match name.strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&abstract_address(name)?)?,
        None => socket.connect_addr(&SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(
            name,
        ))?)?,
    }
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
