//! Report files: `--report=FILE`, in the format of its extension (guide/listening.md, "Report
//! files").

mod figures;
mod html;
mod listener_log;

pub use figures::{LogFigures, RunFigures, RunReport, WebFigures};
pub use listener_log::{ListenerLog, LoggedSession, StreamFile};
