//! Progress on stderr (SPEC section 2): a bar where somebody watches, plain lines where a script asked for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::account::Account;
use super::console::Console;
use super::count::Count;

/// How often a bar or spinner is brought up to date, and the shortest time between plain lines.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Off,
    /// A bar by bytes read; a spinner where the number of bytes to read is not known.
    Bar,
    /// A plain line each time this span has passed.
    Lines(Duration),
}

impl Style {
    /// `asked` is `--show-progress`, `delay` is `--show-progress-delay` (it spaces plain lines; a bar moves all
    /// the time).
    pub fn choose(asked: bool, delay: Duration, console: &Console) -> Self {
        let terminal = console.stderr_is_terminal();
        let bar = terminal && !ProgressDrawTarget::stderr().is_hidden();
        Self::of(asked, delay, console.is_quiet(), terminal, bar)
    }

    /// `bar`: the terminal can draw one (a dumb one cannot).
    fn of(asked: bool, delay: Duration, quiet: bool, terminal: bool, bar: bool) -> Self {
        match () {
            () if quiet || !(asked || terminal) => Self::Off,
            () if bar => Self::Bar,
            () => Self::Lines(delay.max(TICK)),
        }
    }
}

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct Watched {
    pub account: Arc<Account>,
    /// Bytes read so far, as they are on disk (packed).
    pub bytes: Arc<AtomicU64>,
    /// Bytes of all logs together, as they are on disk; `None` where it is not known (stdin).
    pub total: Option<u64>,
}

impl Watched {
    fn now(&self, elapsed: Duration) -> Sample {
        Sample {
            parsed: self.account.total(Count::Read),
            recorded: self.account.total(Count::Imported),
            elapsed,
        }
    }
}

/// Shows progress as long as it lives. Dropping it ends that at once and clears the bar.
#[must_use = "progress is shown until this is dropped"]
pub struct Progress {
    console: Console,
    reporter: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Where no thread can be started the import goes on without progress.
    pub fn start(console: &Console, style: Style, watched: Watched) -> Self {
        let target = match style {
            Style::Bar => ProgressDrawTarget::stderr(),
            Style::Off | Style::Lines(_) => ProgressDrawTarget::hidden(),
        };
        Self::start_on(target, console, style, watched)
    }

    fn start_on(
        target: ProgressDrawTarget,
        console: &Console,
        style: Style,
        watched: Watched,
    ) -> Self {
        let (guard, stopped) = bounded::<()>(0);
        // Nothing is ever sent: the reporter wakes early only when the guard is gone.
        let sleep =
            move |time| matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let start = Instant::now();
        let thread = std::thread::Builder::new().name("progress".into());
        let reporter = match style {
            Style::Off => None,
            Style::Bar => {
                let bar = bar(target, watched.total);
                console.show_bar(bar.clone());
                let report = move || {
                    while sleep(TICK) {
                        update(&bar, &watched, start.elapsed());
                    }
                };
                thread.spawn(report).ok()
            }
            Style::Lines(delay) => {
                let console = console.clone();
                let report = move || {
                    let mut last = Sample::default();
                    while sleep(delay) {
                        let now = watched.now(start.elapsed());
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
            // A reporter that panicked has nothing more to show.
            let _ = thread.join();
        }
        self.console.clear_bar();
    }
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    parsed: u64,
    recorded: u64,
    /// Since the start.
    elapsed: Duration,
}

impl Sample {
    /// The plain line; scripts read it, so the words stay.
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

/// Whole numbers of something a second, rounded; over no time at all it is none.
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

fn update(bar: &ProgressBar, watched: &Watched, elapsed: Duration) {
    let bytes = watched.bytes.load(Ordering::Relaxed);
    // A log may grow while it is read.
    if bar.length().is_some_and(|length| length < bytes) {
        bar.set_length(bytes);
    }
    bar.set_position(bytes);
    let now = watched.now(elapsed);
    bar.set_message(format!(
        "{} imported ({}/s)",
        now.recorded,
        per_second(now.recorded, now.elapsed)
    ));
    bar.tick();
}

#[cfg(test)]
mod tests;
