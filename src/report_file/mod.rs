//! Report files: `--report=FILE`, in the format of its extension (guide/listening.md, "Report
//! files").

mod figures;
mod html;

pub use figures::{LogFigures, RunFigures, RunReport, WebFigures};
