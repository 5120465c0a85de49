//! Points where a test can abort the process, as if the power had failed, and a clock that a test
//! can set.
//!
//! `IMPORT_LOGS_ABORT_AT=NAME` aborts the process when it first reaches the failpoint of that
//! name, `IMPORT_LOGS_ABORT_AT=NAME:N` when it reaches it for the Nth time.
//!
//! `IMPORT_LOGS_CLOCK=FILE` puts the clock ahead by the seconds in that file, or back if they are
//! negative. The file is read each time, so a test can set the clock of a run.
//!
//! `IMPORT_LOGS_PAUSE=SECONDS` limits the pauses between questions about Matomo's queue.
//!
//! Only builds with the feature `failpoints` read these variables, and only tests turn the feature
//! on: the package lists itself with it among its dev-dependencies.

use bytes::Bytes;
use reqwest::Body;

#[cfg(feature = "failpoints")]
pub use self::armed::{now, pause, reach, request_body};

/// The time of day.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &str) {}

/// A pause of this length.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pause(length: std::time::Duration) -> std::time::Duration {
    length
}

/// The body of a tracking request.
#[cfg(not(feature = "failpoints"))]
pub fn request_body(bytes: Bytes) -> Body {
    Body::from(bytes)
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::convert::Infallible;
    use std::ffi::OsString;
    use std::fs;
    use std::pin::Pin;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, ready};
    use std::time::{Duration, SystemTime};

    use hyper::body::{Frame, SizeHint};
    use tokio::time::{Sleep, sleep};

    use super::{Body, Bytes};

    const VARIABLE: &str = "IMPORT_LOGS_ABORT_AT";
    const CLOCK: &str = "IMPORT_LOGS_CLOCK";
    const PAUSE: &str = "IMPORT_LOGS_PAUSE";

    /// Reached when the first half of a tracking request's body is sent.
    const IN_BODY: &str = "in-body";
    /// Time for the first half to pass the buffers between the process and the network.
    const SEND_TIME: Duration = Duration::from_millis(50);

    static ABORT_AT: OnceLock<Option<Failpoint>> = OnceLock::new();

    pub(super) struct Failpoint {
        name: String,
        /// How often it is still reached until the process aborts, that time included.
        left: AtomicU64,
    }

    impl Failpoint {
        pub(super) fn parse(text: &str) -> Self {
            let (name, times) = match text.rsplit_once(':') {
                Some((name, times)) => (name, times.parse().unwrap_or(1)),
                None => (text, 1),
            };
            Self {
                name: name.to_owned(),
                left: AtomicU64::new(times),
            }
        }

        /// Counts a visit. Returns whether to abort now.
        pub(super) fn reach(&self, name: &str) -> bool {
            self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    fn abort_at() -> Option<&'static Failpoint> {
        let read = || {
            std::env::var(VARIABLE)
                .ok()
                .map(|text| Failpoint::parse(&text))
        };
        ABORT_AT.get_or_init(read).as_ref()
    }

    /// Aborts the process if the environment asks for it at this failpoint.
    pub fn reach(name: &str) {
        if abort_at().is_some_and(|point| point.reach(name)) {
            std::process::abort();
        }
    }

    /// The time of day, by the clock that the environment names.
    pub fn now() -> SystemTime {
        static FILE: OnceLock<Option<OsString>> = OnceLock::new();

        let now = SystemTime::now();
        let Some(file) = FILE.get_or_init(|| std::env::var_os(CLOCK)) else {
            return now;
        };
        let ahead = fs::read_to_string(file).unwrap_or_default();
        let ahead: i64 = ahead.trim().parse().unwrap_or(0);
        let shift = Duration::from_secs(ahead.unsigned_abs());
        match ahead < 0 {
            true => now.checked_sub(shift).unwrap_or(SystemTime::UNIX_EPOCH),
            false => now + shift,
        }
    }

    /// A pause of this length, or a shorter one if the environment says so.
    pub fn pause(length: Duration) -> Duration {
        static LONGEST: OnceLock<Option<Duration>> = OnceLock::new();

        let longest = LONGEST.get_or_init(|| {
            let seconds = std::env::var(PAUSE).ok()?.parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        });
        longest.map_or(length, |longest| length.min(longest))
    }

    /// The body of a tracking request, which reaches a failpoint between its halves.
    pub fn request_body(bytes: Bytes) -> Body {
        if abort_at().is_none_or(|point| point.name != IN_BODY) {
            return Body::from(bytes);
        }
        Body::wrap(HalvedBody {
            rest: bytes,
            pause: None,
        })
    }

    struct HalvedBody {
        rest: Bytes,
        /// Between the halves.
        pause: Option<Pin<Box<Sleep>>>,
    }

    impl hyper::body::Body for HalvedBody {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.pause.is_some() && self.rest.is_empty() {
                return Poll::Ready(None);
            }
            let length = match &mut self.pause {
                None => {
                    self.pause = Some(Box::pin(sleep(SEND_TIME)));
                    self.rest.len() / 2
                }
                Some(pause) => {
                    ready!(pause.as_mut().poll(context));
                    reach(IN_BODY);
                    self.rest.len()
                }
            };
            let half = self.rest.split_to(length);
            Poll::Ready(Some(Ok(Frame::data(half))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.rest.len() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::armed::*;

    #[test]
    fn the_nth_visit_aborts() {
        let point = Failpoint::parse("after-done:3");
        let visits: Vec<bool> = (0..5).map(|_| point.reach("after-done")).collect();
        assert_eq!(visits, [false, false, true, false, false]);
        assert!(Failpoint::parse("after-done").reach("after-done"));
    }

    #[test]
    fn other_failpoints_do_not_count() {
        let point = Failpoint::parse("after-done");
        assert!(!point.reach("after-intent"));
        assert!(point.reach("after-done"));
    }
}
