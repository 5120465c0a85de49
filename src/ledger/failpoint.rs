//! Named points at which a run can be made to die: an aid for the tests of crashes.
//!
//! `IMPORT_LOGS_ABORT_AT=name` (or `name:n`) in the environment aborts the process when it reaches the point of that
//! name (for the n-th time), as if the power had gone. Points: `after-spool-append`, `after-intent`, `in-body`,
//! `after-answer`, `after-done`, `before-rename`, `after-rename`, `between-files`. They are there in every build, so
//! that what is tested is what is used; unset, a point costs one atomic load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "IMPORT_LOGS_ABORT_AT";

static POINT: OnceLock<Option<Point>> = OnceLock::new();

struct Point {
    name: String,
    /// How many times it may still be reached, the last one included.
    left: AtomicU64,
}

impl Point {
    fn parse(text: &str) -> Self {
        let (name, times) = match text.rsplit_once(':') {
            Some((name, times)) => (name, times.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Self {
            name: name.to_owned(),
            left: AtomicU64::new(times),
        }
    }

    /// Whether this is the time to die.
    fn is_up(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Whether the process is to end at the point of that name, some time.
pub fn is_asked_for(name: &str) -> bool {
    point().is_some_and(|point| point.name == name)
}

fn point() -> Option<&'static Point> {
    POINT
        .get_or_init(|| std::env::var(VARIABLE).ok().map(|text| Point::parse(&text)))
        .as_ref()
}

/// Marks the point of that name; ends the process there when the environment asks for it.
pub fn reach(name: &str) {
    if let Some(point) = point()
        && point.is_up(name)
    {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_up_at_its_nth_time_only() {
        let point = Point::parse("after-done:3");
        let times: Vec<bool> = (0..5).map(|_| point.is_up("after-done")).collect();
        assert_eq!(times, [false, false, true, false, false]);
        assert!(Point::parse("after-done").is_up("after-done"));
    }

    #[test]
    fn another_name_does_not_count() {
        let point = Point::parse("after-done");
        assert!(!point.is_up("after-intent"));
        assert!(point.is_up("after-done"));
    }
}
