//! `--include-path`, `--exclude-path` and the files of the same.

use crate::input::pattern::Pattern;
use crate::report::Reason;

/// Patterns over the path without query.
#[derive(Debug, Default)]
pub struct Paths {
    pub excluded: Vec<Pattern>,
    /// Empty: all.
    pub included: Vec<Pattern>,
}

impl Paths {
    pub fn judge(&self, path: &[u8]) -> Result<(), Reason> {
        if self.excluded.iter().any(|pattern| pattern.matches(path)) {
            return Err(Reason::PathExcluded);
        }
        if !self.included.is_empty() && !self.included.iter().any(|pattern| pattern.matches(path)) {
            return Err(Reason::PathNotIncluded);
        }
        Ok(())
    }
}
