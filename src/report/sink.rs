//! Where text goes: stdout, stderr or a file, which may be full or closed.

use std::io::{self, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Where text goes.
pub(super) struct Sink {
    writer: Box<dyn Write + Send>,
    /// A terminal also shows the progress bar, which then has to step aside.
    pub(super) terminal: bool,
    closed: bool,
    /// There was an error; the next text may fare better.
    failed: bool,
}

impl Sink {
    pub(super) fn new(writer: impl Write + Send + 'static, terminal: bool) -> Self {
        Self {
            writer: Box::new(writer),
            terminal,
            closed: false,
            failed: false,
        }
    }

    /// Gives the first error; a reader who has enough is none.
    pub(super) fn write(&mut self, text: &str) -> Option<io::Error> {
        if self.closed {
            return None;
        }
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        let error = written.err()?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.closed = true;
            return None;
        }
        let first = !std::mem::replace(&mut self.failed, true);
        first.then_some(error)
    }
}
