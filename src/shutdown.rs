//! Shutdown flag shared by all threads, set by a signal or by a failed thread
//! (guide/guarantees.md, "Signals").

use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};

/// How often [`Shutdown::wait`] checks for a signal. A signal handler may only set a flag.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a second signal waits for [`Shutdown::on_second_signal`].
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// Tells every thread when to stop. Clones share the same flag.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<SharedFlags>);

#[derive(Debug, Default)]
struct SharedFlags {
    /// Number of the signal, or 0.
    signal: Arc<AtomicUsize>,
    /// What a second signal calls before it ends the process.
    last_words: Mutex<Option<SecondSignalHook>>,
    halted: AtomicBool,
    /// The first error passed to [`Shutdown::halt`].
    error: Mutex<Option<Error>>,
    wake_up: Condvar,
}

struct SecondSignalHook(Box<dyn FnOnce() + Send>);

impl fmt::Debug for SecondSignalHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecondSignalHook")
    }
}

impl Shutdown {
    /// Creates a flag that no signal sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the flag and installs the signal handlers. Call it once per process.
    ///
    /// The first SIGINT, SIGTERM or SIGHUP (unless ignored, as under `nohup`) sets the flag. The
    /// second ends the process with status 130, 143 or 129, half a second later at most. SIGXFSZ
    /// (`ulimit -f`) is caught, so that writing beyond the limit fails with an error instead of
    /// ending the process.
    pub fn install() -> Result<Self> {
        let shutdown = Self::new();
        let failed = |error: io::Error| {
            Error::stopped(format!(
                "cannot install a handler for signals: {error}; start the import again"
            ))
        };
        let hangup = Some(SIGHUP).filter(|signal| !is_ignored(*signal));
        let signals: Vec<i32> = [SIGINT, SIGTERM].into_iter().chain(hangup).collect();
        shutdown.listen(&signals).map_err(failed)?;
        // The flag is not read: having a handler is enough.
        flag::register(SIGXFSZ, Arc::default()).map_err(failed)?;
        Ok(shutdown)
    }

    fn listen(&self, signals: &[i32]) -> io::Result<()> {
        // Each signal writes a byte, so none is overlooked, however soon it follows the other.
        let (mut received, sender) = UnixStream::pair()?;
        for signal in signals {
            // Handlers run in the order of registration: the number is there before the byte.
            let number = signal.unsigned_abs() as usize;
            flag::register_usize(*signal, Arc::clone(&self.0.signal), number)?;
            low_level::pipe::register(*signal, sender.try_clone()?)?;
        }
        let shutdown = self.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if received.read_exact(&mut [0; 2]).is_ok() {
                    let status = 128 + shutdown.signal().unwrap_or(SIGINT);
                    shutdown.say_last_words();
                    low_level::exit(status);
                }
            })?;
        Ok(())
    }

    /// Sets what a second signal calls before it ends the process. It may take half a second.
    pub fn on_second_signal(&self, last_words: impl FnOnce() + Send + 'static) {
        *self.0.last_words.lock() = Some(SecondSignalHook(Box::new(last_words)));
    }

    fn say_last_words(&self) {
        let Some(SecondSignalHook(last_words)) = self.0.last_words.lock().take() else {
            return;
        };
        // On a thread of its own: writing to a terminal that is suspended blocks.
        let (done, is_done) = bounded::<()>(0);
        let spoken = thread::Builder::new()
            .name("last words".to_owned())
            .spawn(move || {
                last_words();
                drop(done);
            });
        if spoken.is_ok() {
            let _ = is_done.recv_timeout(LAST_WORDS_TIMEOUT);
        }
    }

    /// Returns the signal that requested the shutdown.
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.signal.load(Ordering::Acquire))
            .ok()
            .filter(|&signal| signal != 0)
    }

    /// Returns whether a signal or an error requested the shutdown. Cheap enough for every line.
    pub fn requested(&self) -> bool {
        self.0.halted.load(Ordering::Acquire) || self.0.signal.load(Ordering::Acquire) != 0
    }

    /// Stops all threads because of an error and wakes those that wait. Only the first error is
    /// kept; later ones follow from it.
    pub fn halt(&self, error: Error) {
        self.0.error.lock().get_or_insert(error);
        self.0.halted.store(true, Ordering::Release);
        self.0.wake_up.notify_all();
    }

    /// Takes the error that was passed to [`Shutdown::halt`].
    pub fn take_error(&self) -> Option<Error> {
        self.0.error.lock().take()
    }

    /// Sleeps for `time` or until the shutdown is requested. Returns whether it is requested.
    pub fn wait(&self, time: Duration) -> bool {
        let start = Instant::now();
        let mut error = self.0.error.lock();
        loop {
            if self.requested() {
                return true;
            }
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            error = self.0.wake_up.wait_timeout(error, left.min(POLL_INTERVAL));
        }
    }
}

/// Returns whether the process was started with the signal ignored. Always false where the system
/// has no `/proc`.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn nothing_is_requested_at_first() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.requested() && !shutdown.wait(Duration::from_millis(1)));
        assert!(shutdown.signal().is_none() && shutdown.take_error().is_none());
    }

    #[test]
    fn halt_wakes_waiting_threads_and_keeps_the_first_error() {
        let shutdown = Shutdown::new();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| shutdown.wait(LONG));
            shutdown.clone().halt(Error::stopped("the first error"));
            shutdown.halt(Error::stopped("a later error"));
            assert!(waiting.join().unwrap());
        });
        assert!(shutdown.requested() && shutdown.wait(LONG));
        assert_eq!(shutdown.signal(), None);
        assert_eq!(
            shutdown.take_error().unwrap().to_string(),
            "the first error"
        );
        assert!(shutdown.requested(), "even after the error is taken");
    }

    #[test]
    fn a_wait_of_any_length_ends_when_halted() {
        let shutdown = Shutdown::new();
        shutdown.halt(Error::stopped("x"));
        assert!(shutdown.wait(Duration::MAX) && shutdown.wait(Duration::ZERO));
    }

    /// Not a test by itself: the test below runs it as a child process and sends signals to it.
    #[test]
    fn signalled_process() {
        if std::env::var_os("IMPORT_LOGS_TEST_STOP").is_none() {
            return;
        }
        let shutdown = Shutdown::install().unwrap();
        match std::env::var("IMPORT_LOGS_TEST_LAST_WORDS").as_deref() {
            Ok("short") => shutdown.on_second_signal(|| println!("\nfarewell")),
            Ok("endless") => shutdown.on_second_signal(|| std::thread::sleep(LONG)),
            _ => {}
        }
        println!("\nready");
        if shutdown.wait(LONG) {
            println!("\nstopping for {:?}", shutdown.signal());
            std::thread::sleep(LONG);
        }
    }

    /// Starts the child, and returns it with a function that reads up to a line with the prefix.
    fn start(last_words: &str) -> (Child, impl FnMut(&str) -> String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "shutdown::tests::signalled_process",
                "--nocapture",
            ])
            .env("IMPORT_LOGS_TEST_STOP", "1")
            .env("IMPORT_LOGS_TEST_LAST_WORDS", last_words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = move |prefix: &str| {
            lines
                .find_map(|line| line.ok().filter(|line| line.starts_with(prefix)))
                .unwrap()
        };
        (child, until)
    }

    #[test]
    fn the_first_signal_requests_and_the_second_ends_the_process() {
        for (first, second, status) in [
            (Signal::INT, Signal::INT, 130),
            (Signal::TERM, Signal::TERM, 143),
            (Signal::INT, Signal::TERM, 143),
            (Signal::HUP, Signal::HUP, 129),
        ] {
            // Under nohup SIGHUP stays ignored.
            if is_ignored(first.as_raw()) {
                continue;
            }
            let (mut child, mut until) = start("");
            let pid = Pid::from_child(&child);
            until("ready");
            kill_process(pid, first).unwrap();
            assert_eq!(
                until("stopping"),
                format!("stopping for Some({})", first.as_raw())
            );
            kill_process(pid, second).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(status));
        }
    }

    #[test]
    fn the_second_signal_is_heard_but_waits_only_for_a_moment() {
        for last_words in ["short", "endless"] {
            let (mut child, mut until) = start(last_words);
            let pid = Pid::from_child(&child);
            until("ready");
            kill_process(pid, Signal::INT).unwrap();
            until("stopping");
            let begun = Instant::now();
            kill_process(pid, Signal::INT).unwrap();
            if last_words == "short" {
                until("farewell");
            }
            assert_eq!(child.wait().unwrap().code(), Some(130), "{last_words}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{last_words}");
        }
    }
}
