//! The wish to stop, known to all threads: from a signal, or because a recorder failed (SPEC section 10).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::error::{Error, Result};

/// How soon a waiting thread learns of a signal. A signal handler may set a flag and no more, so they look at it.
const GLANCE: Duration = Duration::from_millis(50);

/// Says whether to stop; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<SharedFlags>);

#[derive(Debug, Default)]
struct SharedFlags {
    /// The first signal's number; 0 until it came.
    signal: Arc<AtomicUsize>,
    /// Set by the first signal: the next one ends the process.
    armed: Arc<AtomicBool>,
    halted: AtomicBool,
    /// Why; the first reason stays.
    error: Mutex<Option<Error>>,
    woken: Condvar,
}

impl Shutdown {
    /// One that no signal reaches.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the first SIGINT, SIGTERM or SIGHUP (a terminal that is closed; not under `nohup`) asks for a stop,
    /// and the second ends the process at once with status 130, 143 or 129. And a file that may not grow any further
    /// (`ulimit -f`) is an error to be told, not the end. Once a process: each call adds its own handlers.
    pub fn install() -> Result<Self> {
        let stop = Self::new();
        let failed = |signal: i32, error: io::Error| {
            Error::stopped(format!(
                "signal {signal} cannot be handled: {error}; start the import again"
            ))
        };
        let hung_up = Some(SIGHUP).filter(|signal| !is_ignored(*signal));
        for signal in [SIGINT, SIGTERM].into_iter().chain(hung_up) {
            stop.listen(signal).map_err(|error| failed(signal, error))?;
        }
        // Nobody looks at this flag: that there is a handler is enough.
        flag::register(SIGXFSZ, Arc::default()).map_err(|error| failed(SIGXFSZ, error))?;
        Ok(stop)
    }

    fn listen(&self, signal: i32) -> io::Result<()> {
        // Handlers run in the order of their registration: the first signal finds the shutdown not yet armed, and
        // whoever sees its number can rely on the second one.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.0.armed))?;
        flag::register(signal, Arc::clone(&self.0.armed))?;
        flag::register_usize(
            signal,
            Arc::clone(&self.0.signal),
            signal.unsigned_abs() as usize,
        )?;
        Ok(())
    }

    /// The signal that asked for the stop.
    pub fn signal(&self) -> Option<i32> {
        i32::try_from(self.0.signal.load(Ordering::Acquire))
            .ok()
            .filter(|&signal| signal != 0)
    }

    /// Whether to stop, for whichever reason. Cheap enough for every line.
    pub fn requested(&self) -> bool {
        self.0.halted.load(Ordering::Acquire) || self.0.signal.load(Ordering::Acquire) != 0
    }

    /// Stops everything because of an error and wakes all who wait. Only the first error is kept: the others
    /// follow from it.
    pub fn halt(&self, error: Error) {
        self.error().get_or_insert(error);
        self.0.halted.store(true, Ordering::Release);
        self.0.woken.notify_all();
    }

    /// The error that [`Shutdown::halt`] was called with. It is handed out once.
    pub fn take_error(&self) -> Option<Error> {
        self.error().take()
    }

    /// Sleeps that long, or until a stop is asked for; true says that it is.
    pub fn wait(&self, time: Duration) -> bool {
        let start = Instant::now();
        let mut error = self.error();
        loop {
            if self.requested() {
                return true;
            }
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            error = match self.0.woken.wait_timeout(error, left.min(GLANCE)) {
                Ok((error, _)) => error,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn error(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process was started with a signal ignored, where the system tells.
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
    fn nobody_stops_before_being_asked_to() {
        let stop = Shutdown::new();
        assert!(!stop.requested() && !stop.wait(Duration::from_millis(1)));
        assert!(stop.signal().is_none() && stop.take_error().is_none());
    }

    #[test]
    fn a_failed_recorder_stops_and_wakes_the_others() {
        let stop = Shutdown::new();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| stop.wait(LONG));
            stop.clone().halt(Error::stopped("the first error"));
            stop.halt(Error::stopped("what followed from it"));
            assert!(waiting.join().unwrap());
        });
        assert!(stop.requested() && stop.wait(LONG));
        assert_eq!(stop.signal(), None);
        assert_eq!(stop.take_error().unwrap().to_string(), "the first error");
        assert!(stop.requested(), "also when the error is taken");
    }

    #[test]
    fn a_wait_of_any_length_can_be_stopped() {
        let stop = Shutdown::new();
        stop.halt(Error::stopped("x"));
        assert!(stop.wait(Duration::MAX) && stop.wait(Duration::ZERO));
    }

    /// Not a test by itself: the process that the tests below send signals to.
    #[test]
    fn signalled_process() {
        if std::env::var_os("IMPORT_LOGS_TEST_STOP").is_none() {
            return;
        }
        let stop = Shutdown::install().unwrap();
        println!("\nready");
        if stop.wait(LONG) {
            println!("\nstopping for {:?}", stop.signal());
            std::thread::sleep(LONG);
        }
    }

    /// The process, and what it says up to a line that begins so.
    fn start() -> (Child, impl FnMut(&str) -> String) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "shutdown::tests::signalled_process",
                "--nocapture",
            ])
            .env("IMPORT_LOGS_TEST_STOP", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = move |begin: &str| {
            lines
                .find_map(|line| line.ok().filter(|line| line.starts_with(begin)))
                .unwrap()
        };
        (child, until)
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends_the_process() {
        for (first, second, status) in [
            (Signal::INT, Signal::INT, 130),
            (Signal::TERM, Signal::TERM, 143),
            (Signal::INT, Signal::TERM, 143),
            (Signal::HUP, Signal::HUP, 129),
        ] {
            // Under nohup it stays so.
            if is_ignored(first.as_raw()) {
                continue;
            }
            let (mut child, mut until) = start();
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
}
