//! Progress on stderr: a bar on a terminal, plain lines otherwise (guide/options.md, "Output").

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use super::counters::{Account, Count};

/// Time between updates of the bar, and the minimum time between plain lines.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    Off,
    /// A bar by bytes read, or a spinner if the total is unknown.
    Bar,
    /// A plain line at this interval.
    Lines(Duration),
}

impl ProgressMode {
    /// `asked` is `--show-progress`. `delay` is `--show-progress-delay`, the interval of plain
    /// lines; it does not affect the bar.
    pub fn choose(asked: bool, delay: Duration, console: &Console) -> Self {
        let terminal = console.stderr_is_terminal();
        let bar = terminal && !ProgressDrawTarget::stderr().is_hidden();
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
    /// Bytes read so far, compressed as on disk.
    pub bytes: Arc<AtomicU64>,
    /// Total bytes of all logs, compressed as on disk; `None` if unknown, as for stdin.
    pub total: Option<u64>,
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
        let target = match mode {
            ProgressMode::Bar => ProgressDrawTarget::stderr(),
            ProgressMode::Off | ProgressMode::Lines(_) => ProgressDrawTarget::hidden(),
        };
        Self::start_on(target, console, mode, source)
    }

    fn start_on(
        target: ProgressDrawTarget,
        console: &Console,
        mode: ProgressMode,
        source: ProgressSource,
    ) -> Self {
        let (guard, stopped) = bounded::<()>(0);
        // Nothing is ever sent. The reporter wakes early only when the guard is dropped.
        let sleep =
            move |time| matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let start = Instant::now();
        let thread = std::thread::Builder::new().name("progress".into());
        let reporter = match mode {
            ProgressMode::Off => None,
            ProgressMode::Bar => {
                let bar = bar(target, source.total);
                console.show_bar(bar.clone());
                let report = move || {
                    while sleep(UPDATE_INTERVAL) {
                        update(&bar, &source, start.elapsed());
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

fn bar(target: ProgressDrawTarget, total: Option<u64>) -> ProgressBar {
    let total = total.filter(|&total| total > 0);
    let template = match total {
        Some(_) => {
            "{percent:>3}% [{wide_bar:.cyan}] {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}"
        }
        None => "{spinner} {elapsed}: {binary_bytes} read, {binary_bytes_per_sec}, {msg}",
    };
    let bar = ProgressBar::with_draw_target(total, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn update(bar: &ProgressBar, source: &ProgressSource, elapsed: Duration) {
    let bytes = source.bytes.load(Ordering::Relaxed);
    // The log may grow while it is read.
    if bar.length().is_some_and(|length| length < bytes) {
        bar.set_length(bytes);
    }
    bar.set_position(bytes);
    let now = source.now(elapsed);
    bar.set_message(format!(
        "{} imported ({}/s)",
        now.recorded,
        per_second(now.recorded, now.elapsed)
    ));
    bar.tick();
}

#[cfg(test)]
mod tests;
