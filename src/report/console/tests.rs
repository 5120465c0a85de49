//! Tests of the console, and a console whose text other tests can read.

use std::io::Write;

use super::*;

/// Text written to one stream of a console made by [`captured`].
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A console, and what it wrote to stdout and stderr.
pub fn captured(debug: u8, quiet: bool, terminal: bool) -> (Console, Captured, Captured) {
    let (out, err) = (Captured::default(), Captured::default());
    let sinks = [&out, &err].map(|captured| Sink::new(captured.clone(), terminal));
    let [out_sink, err_sink] = sinks;
    (
        Console::of((out_sink, err_sink), None, debug, quiet),
        out,
        err,
    )
}

#[test]
fn reports_go_to_stdout_and_messages_to_stderr() {
    let (console, out, err) = captured(1, false, false);
    console.print("Logs import summary\n  two");
    console.print("three\n");
    console.note("access.log: already imported");
    console.warn("odd");
    console.error("broken\n");
    assert_eq!(out.text(), "Logs import summary\n  two\nthree\n");
    assert_eq!(
        err.text(),
        "import-logs: access.log: already imported\n\
         import-logs: warning: odd\nimport-logs: error: broken\n"
    );
}

#[test]
fn a_debug_message_is_made_only_at_its_level() {
    let (console, _, err) = captured(1, false, false);
    console.debug(1, || "does this".into());
    console.debug(2, || unreachable!("level 2 was not asked for"));
    assert_eq!(err.text(), "import-logs: debug: does this\n");
    assert!(console.debugs(1) && !console.debugs(2));
}

#[test]
fn no_text_can_steer_the_terminal_or_pass_for_another_message() {
    let (console, out, err) = captured(0, false, false);
    console.warn("host\x1b[2J\nimport-logs: error: forged\r");
    console.print("\x1b]0;owned\x07");
    assert_eq!(
        err.text(),
        "import-logs: warning: host\\x1b[2J\n    import-logs: error: forged\\r\n"
    );
    assert_eq!(out.text(), "\\x1b]0;owned\\x07\n");
}

#[test]
fn a_secret_is_never_shown_however_it_is_spelt() {
    let (console, out, err) = captured(2, false, false);
    console.hide(&Secret::new("0123456789abcdef"));
    console.hide(&Secret::new("p\"ss w\u{f6}rd"));
    console.hide(&Secret::new("p\"ss w\u{f6}rd and more"));
    console.hide(&Secret::new("s\u{1b}cret"));
    console.hide(&Secret::new(""));
    console.hide(&Secret::new("a"));
    console.print("token_auth=0123456789abcdef&a=1");
    console.debug(1, || {
        "p%22ss+w%C3%B6rd, {\"p\\\"ss wörd\"}, p\"ss wörd, p\"ss wörd and more".into()
    });
    console.error("s\u{1b}cret");
    assert_eq!(out.text(), "token_auth=***&a=1\n");
    assert_eq!(
        err.text(),
        "import-logs: debug: ***, {\"***\"}, ***, ***\nimport-logs: error: ***\n"
    );
}

#[test]
fn quiet_says_nothing_when_all_went_well() {
    let (console, out, err) = captured(2, true, false);
    console.print("summary");
    console.warn("odd");
    console.debug(1, || "does this".into());
    console.finish(Exit::Ok);
    assert_eq!((out.text(), err.text()), (String::new(), String::new()));
}

#[test]
fn quiet_says_everything_in_order_when_something_went_wrong() {
    let (console, out, err) = captured(0, true, false);
    console.warn("one");
    console.print("summary");
    console.error("two");
    assert_eq!(err.text(), "");
    console.finish(Exit::Incomplete);
    console.error("three");
    assert_eq!(out.text(), "summary\n");
    assert_eq!(
        err.text(),
        "import-logs: warning: one\nimport-logs: error: two\nimport-logs: error: three\n"
    );
}

#[test]
fn quiet_holds_back_the_newest_messages_within_bounds() {
    let (console, _, err) = captured(0, true, false);
    for i in 0..3000 {
        console.warn(format!("{i} {}", "x".repeat(1000)));
    }
    console.error("the last word");
    console.finish(Exit::Stopped);
    let text = err.text();
    assert!(
        text.len() <= WITHHELD_BYTES && text.len() > WITHHELD_BYTES / 2,
        "{}",
        text.len()
    );
    let shown = text.lines().count() - 2;
    assert!(text.starts_with(&format!(
        "import-logs: {} older messages were dropped\n",
        3000 - shown
    )));
    assert!(text.ends_with("import-logs: error: the last word\n"));
}

#[test]
fn quiet_cuts_a_message_that_is_too_long_to_hold() {
    let (console, out, _) = captured(0, true, false);
    console.print("ö".repeat(WITHHELD_BYTES));
    console.finish(Exit::Stopped);
    assert!(out.text().len() <= WITHHELD_BYTES);
    assert!(out.text().ends_with("ö…\n"));
}

#[test]
fn output_is_appended_to_the_file_and_never_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.txt");
    std::fs::write(&path, "before\n").unwrap();
    let console = Console::new(0, false, Some(&path)).unwrap();
    console.print("summary");
    console.warn("odd");
    console.progress("0 lines parsed");
    console.print("end");
    assert!(!console.stderr_is_terminal());
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "before\nsummary\nimport-logs: warning: odd\n0 lines parsed\nend\n"
    );
}

#[test]
fn an_output_file_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/out.txt");
    let error = Console::new(0, false, Some(&path)).err().unwrap();
    assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
    let text = error.to_string();
    assert!(
        text.contains("--output=") && text.contains("missing/out.txt"),
        "{text}"
    );
}

/// Fails the first write with this error, and keeps what comes later.
struct Failing(Option<io::ErrorKind>, Captured);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.take() {
            Some(kind) => Err(kind.into()),
            None => self.1.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_or_a_full_disk_stops_nothing_and_the_disk_is_told_of() {
    for (kind, expected, told) in [
        (io::ErrorKind::BrokenPipe, "", ""),
        (
            io::ErrorKind::StorageFull,
            "two\n",
            "import-logs: warning: stdout cannot be written: no storage space; some output is lost\n",
        ),
    ] {
        let (kept, err) = (Captured::default(), Captured::default());
        let out = Sink::new(Failing(Some(kind), kept.clone()), false);
        let console = Console::of((out, Sink::new(err.clone(), false)), None, 0, false);
        console.print("one");
        console.print("two");
        console.finish(Exit::Ok);
        assert_eq!(
            (kept.text().as_str(), err.text().as_str()),
            (expected, told)
        );
        assert!(!console.is_incomplete());
    }
}

#[test]
fn a_warning_that_something_is_missing_decides_the_exit_status() {
    let (console, _, err) = captured(0, false, false);
    console.warn("odd");
    assert!(!console.is_incomplete());
    console.clone().warn_incomplete("a file is missing");
    assert!(console.is_incomplete());
    assert!(
        err.text()
            .ends_with("import-logs: warning: a file is missing\n")
    );
}

#[test]
fn messages_come_out_above_the_bar_and_the_bar_goes_at_the_end() {
    let (console, out, err) = captured(0, false, true);
    console.draw_bar("10 %", 80);
    console.warn("odd");
    console.print("text");
    console.finish(Exit::Ok);
    assert!(!console.has_bar());
    assert_eq!(out.text(), "text\n");
    let clear = "\r\x1b[2K";
    assert_eq!(
        err.text(),
        format!("10 %{clear}import-logs: warning: odd\n10 %{clear}10 %{clear}")
    );
}

#[test]
fn messages_of_several_threads_do_not_mix() {
    let (console, _, err) = captured(0, false, false);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..200).for_each(|_| console.warn("all of one message")));
        }
    });
    let text = err.text();
    assert_eq!(text.lines().count(), 800);
    assert!(
        text.lines()
            .all(|line| line == "import-logs: warning: all of one message")
    );
}

#[test]
fn a_hint_goes_to_a_terminal_only() {
    for terminal in [true, false] {
        let (console, _, err) = captured(0, false, terminal);
        console.hint("use --idsite");
        assert_eq!(err.text().contains("use --idsite"), terminal);
    }
}

#[test]
fn labels_are_colored_only_if_the_terminal_and_the_user_allow_it() {
    let (console, _, err) = captured(0, false, true);
    console.streams().err.color = true;
    console.error("no site");
    console.note("plain");
    assert_eq!(
        err.text(),
        "import-logs: \u{1b}[1;31merror:\u{1b}[0m no site\nimport-logs: plain\n"
    );
    let allows = |variables: &[(&str, &str)]| {
        allows_color(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        })
    };
    assert!(allows(&[("TERM", "xterm")]));
    assert!(allows(&[("TERM", "xterm"), ("NO_COLOR", "")]));
    assert!(!allows(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
    assert!(!allows(&[("TERM", "dumb")]) && !allows(&[]));
}

#[test]
fn an_error_of_the_command_line_has_the_same_prefix() {
    let (console, _, err) = captured(0, false, false);
    console.usage_error("error: unexpected argument\n\nUsage: import-logs\n\n");
    assert_eq!(
        err.text(),
        "import-logs: error: unexpected argument\n\nUsage: import-logs\n"
    );
}
