//! Tests of progress.

use super::*;
use crate::report::Counter;
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
    file.set_passed(512);
    ProgressSource {
        account,
        total,
        shutdown: Shutdown::new(),
        grace_period: 30 * SECOND,
    }
}

/// The bar after a second, in a wide terminal.
fn drawn(source: &ProgressSource) -> String {
    BarView::default().parts(source, SECOND).text(120)
}

#[test]
fn a_bar_shows_what_the_server_has_taken() {
    let text = drawn(&source(Some(1024)));
    // Three quarters of the half that was read.
    assert!(
        text.contains(" 37 %, 30 imported, 30/s, ") && text.contains("left, read 512 B"),
        "{text}"
    );
}

#[test]
fn lines_that_wait_for_the_server_are_not_done() {
    let source = source(Some(512));
    let (_, other) = source.account.open("filtered.log");
    other.add(Count::Read, 10);
    other.add(Count::Filtered, 10);
    let done = |total| {
        let total = Some(total);
        let source = ProgressSource {
            total,
            ..source.clone()
        };
        BarView::default().parts(&source, SECOND).done
    };
    assert_eq!(done(512), Some(750));
    other.set_passed(512);
    assert_eq!(done(1024), Some(875));
    // What a run that stops has not sent is not done either.
    source.account.files()[0].add(Count::Unsent, 10);
    assert_eq!(done(1024), Some(875));
}

#[test]
fn bytes_count_when_their_lines_do() {
    let account = Arc::new(Account::new());
    let (_, file) = account.open("access.log");
    let counter = Counter::new(file);
    let source = ProgressSource {
        account,
        ..source(Some(1024))
    };
    let shown = || {
        let parts = BarView::default().parts(&source, SECOND);
        (parts.done, parts.read)
    };
    counter.add(Count::Read, 10);
    counter.set_bytes(512);
    assert_eq!(shown(), (Some(0), Some(0)));
    counter.flush();
    assert_eq!(shown(), (Some(0), Some(512)));
    counter.add(Count::Filtered, 5);
    counter.flush();
    assert_eq!(shown(), (Some(250), Some(512)));
    // A log that is not read to its end, and one that is.
    source.account.files()[0].add(Count::Imported, 5);
    assert_eq!(shown(), (Some(500), Some(512)));
    source.account.files()[0].set_passed(1024);
    assert_eq!(shown(), (Some(1000), None));
}

#[test]
fn lines_that_an_earlier_run_has_sent_are_done() {
    let source = source(Some(1024));
    let file = &source.account.files()[0];
    file.set_passed(1024);
    file.set_resumed(60);
    // 90 of 100 lines.
    assert_eq!(BarView::default().parts(&source, SECOND).done, Some(900));
}

#[test]
fn a_bar_never_goes_beyond_the_end_of_a_log_that_grows() {
    let source = source(Some(100));
    source.account.files()[0].add(Count::Imported, 10);
    assert_eq!(BarView::default().parts(&source, SECOND).done, Some(1000));
}

#[test]
fn without_a_known_size_there_are_only_numbers() {
    for total in [None, Some(0)] {
        let text = drawn(&source(total));
        assert!(
            text.contains("30 imported, 30/s, read 512 B") && !text.contains('%'),
            "{text}"
        );
    }
}

#[test]
fn requests_are_under_way_until_they_are_answered() {
    let account = Account::new();
    let under_way = &account.under_way;
    let numbers = || (under_way.requests(), under_way.hits());
    let first = under_way.begin(300);
    let second = under_way.begin(100);
    assert_eq!(numbers(), (2, 400));
    drop(first);
    assert_eq!(numbers(), (1, 100));
    drop(second);
    assert_eq!(numbers(), (0, 0));
}

#[test]
fn dropping_progress_ends_it_at_once_and_clears_the_bar() {
    let (console, _, err) = captured(0, false, true);
    let progress = Progress::start(&console, ProgressMode::Bar, source(Some(1024)));
    while !err.text().contains("30 imported") {
        std::thread::yield_now();
    }
    drop(progress);
    let text = err.text();
    assert!(text.ends_with("\x1b[2K") && !console.has_bar(), "{text}");
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
