//! Tests of progress, on a terminal that keeps what is written to it.

use std::io;
use std::sync::Mutex;

use indicatif::TermLike;

use super::*;
use crate::report::console::tests::captured;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_terminal_gets_a_bar_and_a_script_gets_lines_when_it_asks() {
    let lines = ProgressMode::Lines(SECOND);
    // (asked, quiet, terminal, able to draw a bar) -> style
    let cases = [
        (false, false, true, true, ProgressMode::Bar),
        (true, false, true, true, ProgressMode::Bar),
        (false, false, true, false, lines),
        (true, false, false, false, lines),
        (false, false, false, false, ProgressMode::Off),
        (true, true, true, true, ProgressMode::Off),
        (true, true, false, false, ProgressMode::Off),
    ];
    for (asked, quiet, terminal, bar, style) in cases {
        assert_eq!(
            ProgressMode::of(asked, SECOND, quiet, terminal, bar),
            style,
            "{asked} {quiet} {terminal} {bar}"
        );
    }
    assert_eq!(
        ProgressMode::of(true, Duration::ZERO, false, false, false),
        ProgressMode::Lines(UPDATE_INTERVAL)
    );
    let (console, ..) = captured(0, false, false);
    assert_eq!(ProgressMode::choose(true, SECOND, &console), lines);
}

#[test]
fn the_plain_line_has_the_words_that_scripts_read() {
    let last = ProgressSample {
        parsed: 900,
        recorded: 500,
        elapsed: 9 * SECOND,
    };
    let now = ProgressSample {
        parsed: 1200,
        recorded: 1000,
        elapsed: 10 * SECOND,
    };
    assert_eq!(
        now.line(&last),
        "1200 lines parsed, 1000 lines recorded, 100 records/sec (avg), 500 records/sec (current)"
    );
    assert_eq!(
        ProgressSample::default().line(&ProgressSample::default()),
        "0 lines parsed, 0 lines recorded, 0 records/sec (avg), 0 records/sec (current)"
    );
}

#[test]
fn a_rate_is_rounded_and_never_overflows() {
    assert_eq!(per_second(3, 2 * SECOND), 2);
    assert_eq!(per_second(5, Duration::ZERO), 0);
    assert_eq!(per_second(9, SECOND / 10), 90);
    assert_eq!(per_second(u64::MAX, Duration::from_nanos(1)), u64::MAX);
}

fn source(total: Option<u64>) -> ProgressSource {
    let account = Arc::new(Account::new());
    let (_, file) = account.open("access.log");
    file.add(Count::Read, 40);
    file.add(Count::Imported, 30);
    ProgressSource {
        account,
        bytes: Arc::new(AtomicU64::new(512)),
        total,
    }
}

/// A terminal that keeps everything written, clearings as `<clear>`.
#[derive(Clone, Debug, Default)]
struct Terminal(Arc<Mutex<String>>);

impl Terminal {
    fn put(&self, text: &str) -> io::Result<()> {
        self.0.lock().unwrap().push_str(text);
        Ok(())
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn target(&self) -> ProgressDrawTarget {
        ProgressDrawTarget::term_like(Box::new(self.clone()))
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        120
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(text)?;
        self.put("\n")
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        self.put("<clear>")
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bar_shows_bytes_and_what_was_imported() {
    let terminal = Terminal::default();
    let bar = bar(terminal.target(), Some(1024));
    update(&bar, &source(Some(1024)), SECOND);
    let text = terminal.text();
    assert!(
        text.contains(" 50% [=")
            && text.contains("512 B/1.00 KiB")
            && text.contains("30 imported (30/s)"),
        "{text}"
    );
}

#[test]
fn a_bar_never_goes_beyond_the_end_of_a_log_that_grows() {
    let bar = bar(ProgressDrawTarget::hidden(), Some(100));
    update(&bar, &source(Some(100)), SECOND);
    assert_eq!((bar.position(), bar.length()), (512, Some(512)));
}

#[test]
fn without_a_known_size_there_is_a_spinner_with_counts() {
    for total in [None, Some(0)] {
        let terminal = Terminal::default();
        update(&bar(terminal.target(), total), &source(total), SECOND);
        let text = terminal.text();
        assert!(
            text.contains("512 B read") && text.contains("30 imported (30/s)"),
            "{text}"
        );
        assert!(!text.contains('%'), "{text}");
    }
}

#[test]
fn dropping_progress_ends_it_at_once_and_clears_the_bar() {
    let terminal = Terminal::default();
    let (console, _, err) = captured(0, false, true);
    let progress = Progress::start_on(
        terminal.target(),
        &console,
        ProgressMode::Bar,
        source(Some(1024)),
    );
    while !terminal.text().contains("30 imported") {
        std::thread::yield_now();
    }
    console.warn("odd");
    drop(progress);
    let text = terminal.text();
    assert!(text.ends_with("<clear>"), "{text}");
    assert_eq!(err.text(), "import-logs: warning: odd\n");
    // A delay of hours is not waited for.
    drop(Progress::start(
        &console,
        ProgressMode::Lines(10_000 * SECOND),
        source(None),
    ));
}

#[test]
fn plain_lines_go_to_stderr_until_dropped() {
    let (console, out, err) = captured(0, false, false);
    let progress = Progress::start(
        &console,
        ProgressMode::Lines(Duration::from_millis(1)),
        source(None),
    );
    while err.text().lines().count() < 2 {
        std::thread::yield_now();
    }
    drop(progress);
    let text = err.text();
    assert!(
        text.starts_with("40 lines parsed, 30 lines recorded, "),
        "{text}"
    );
    assert!(
        text.lines()
            .all(|line| line.ends_with("records/sec (current)")),
        "{text}"
    );
    assert_eq!(out.text(), "");
}

#[test]
fn off_shows_nothing() {
    let (console, _, err) = captured(0, false, true);
    drop(Progress::start(&console, ProgressMode::Off, source(None)));
    assert_eq!(err.text(), "");
}
