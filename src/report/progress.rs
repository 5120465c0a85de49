//! Progress on stderr: a bar on a terminal, plain lines otherwise (guide/options.md, "Output").
//!
//! The bar shows what the server has taken. The parser is far ahead of it: a log of a few megabytes
//! is read before the first response. [`pace`] estimates the time left, and [`mod@line`] chooses
//! what fits into the terminal.

mod line;
mod pace;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::line::{Parts, Stopping};
use self::pace::Pace;
use super::console::Console;
use super::counters::{Account, Count};
use crate::shutdown::Shutdown;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

/// Time between updates of the bar, and the minimum time between plain lines.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// Columns that the bar leaves free. In the last one some terminals begin a new line, and Ctrl-C is
/// shown as `^C`.
const SPARE_COLUMNS: usize = 3;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    Off,
    /// A bar by bytes that are settled, or only numbers if the total is unknown.
    Bar,
    /// A plain line at this interval.
    Lines(Duration),
}

impl ProgressMode {
    /// `asked` is `--show-progress`. `delay` is `--show-progress-delay`, the interval of plain
    /// lines; it does not affect the bar.
    pub fn choose(asked: bool, delay: Duration, console: &Console) -> Self {
        let terminal = console.stderr_is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let bar = terminal && !dumb;
        Self::of(asked, delay, console.is_quiet(), terminal, bar)
    }

    /// `bar` says whether the terminal can draw one.
    fn of(asked: bool, delay: Duration, quiet: bool, terminal: bool, bar: bool) -> Self {
        match () {
            () if quiet || !(asked || terminal) => Self::Off,
            () if bar => Self::Bar,
            () => Self::Lines(delay.max(UPDATE_INTERVAL)),
        }
    }
}

/// The numbers that progress shows.
#[derive(Clone, Debug)]
pub struct ProgressSource {
    pub account: Arc<Account>,
    /// Total bytes of all logs, compressed as on disk; `None` if unknown, as for stdin.
    pub total: Option<u64>,
    pub shutdown: Shutdown,
    /// How long requests under way may take to finish after a shutdown is requested.
    pub grace_period: Duration,
}

impl ProgressSource {
    fn now(&self, elapsed: Duration) -> ProgressSample {
        ProgressSample {
            parsed: self.account.total(Count::Read),
            recorded: self.account.total(Count::Imported),
            elapsed,
        }
    }
}

/// Shows progress until it is dropped.
#[must_use = "progress is shown until this is dropped"]
pub struct Progress {
    console: Console,
    reporter: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts a thread that reports. Without one, the import runs without progress.
    pub fn start(console: &Console, mode: ProgressMode, source: ProgressSource) -> Self {
        let (guard, stopped) = bounded::<()>(0);
        // Nothing is ever sent. The reporter wakes early only when the guard is dropped.
        let sleep =
            move |time| matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let start = Instant::now();
        let thread = std::thread::Builder::new().name("progress".into());
        let reporter = match mode {
            ProgressMode::Off => None,
            ProgressMode::Bar => {
                let console = console.clone();
                let mut view = BarView::default();
                let report = move || {
                    while sleep(UPDATE_INTERVAL) {
                        let parts = view.parts(&source, start.elapsed());
                        let width = terminal_width();
                        console.draw_bar(&parts.text(width.saturating_sub(SPARE_COLUMNS)), width);
                    }
                };
                thread.spawn(report).ok()
            }
            ProgressMode::Lines(delay) => {
                let console = console.clone();
                let report = move || {
                    let mut last = ProgressSample::default();
                    while sleep(delay) {
                        let now = source.now(start.elapsed());
                        console.progress(&now.line(&last));
                        last = now;
                    }
                };
                thread.spawn(report).ok()
            }
        };
        Self {
            console: console.clone(),
            reporter: reporter.map(|thread| (guard, thread)),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((guard, thread)) = self.reporter.take() {
            drop(guard);
            // A reporter that panicked has nothing more to print.
            let _ = thread.join();
        }
        self.console.clear_bar();
    }
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProgressSample {
    parsed: u64,
    recorded: u64,
    /// Since the start.
    elapsed: Duration,
}

impl ProgressSample {
    /// The plain line. Scripts read it, so its words never change.
    fn line(&self, last: &Self) -> String {
        let average = per_second(self.recorded, self.elapsed);
        let current = per_second(
            self.recorded.saturating_sub(last.recorded),
            self.elapsed.saturating_sub(last.elapsed),
        );
        format!(
            "{} lines parsed, {} lines recorded, {average} records/sec (avg), {current} records/sec (current)",
            self.parsed, self.recorded
        )
    }
}

/// Rounded rate per second; 0 if no time has passed.
pub(super) fn per_second(number: u64, time: Duration) -> u64 {
    if time.is_zero() {
        return 0;
    }
    // Casts from float saturate.
    (number as f64 / time.as_secs_f64()).round() as u64
}

/// What the bar remembers from one update to the next.
#[derive(Default)]
struct BarView {
    pace: Pace,
    /// When a signal was first seen, since the start.
    stopping_since: Option<Duration>,
}

impl BarView {
    fn parts(&mut self, source: &ProgressSource, elapsed: Duration) -> Parts {
        let account = &source.account;
        let extent = account.extent();
        // The log may grow while it is read.
        let total = source.total.filter(|&total| total > 0);
        let total = total.map(|total| total.max(extent.read));
        self.pace.observe(elapsed, extent);
        let imported = account.total(Count::Imported);
        let stopping = source.shutdown.signal().is_some().then(|| {
            let since = *self.stopping_since.get_or_insert(elapsed);
            Stopping {
                requests: account.under_way.requests(),
                at_most: (source.grace_period).saturating_sub(elapsed.saturating_sub(since)),
            }
        });
        let is_ahead = |total: u64| extent.read < total || extent.open > total / 20;
        Parts {
            done: total.map(|total| {
                let done = u128::from(extent.settled()) * 1000 / u128::from(total);
                u16::try_from(done).unwrap_or(1000)
            }),
            imported,
            rate: per_second(imported, elapsed),
            left: total.and_then(|total| self.pace.time_left(total)),
            read: total.is_none_or(is_ahead).then_some(extent.read),
            stopping,
        }
    }
}

/// The width of the terminal in columns. It is asked for each time, because it may change.
fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    match columns {
        0 => 80,
        columns => columns,
    }
}

#[cfg(test)]
mod tests;
