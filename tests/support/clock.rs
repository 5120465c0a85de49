//! Waiting for a condition, with a time limit.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// A test that waits longer than this fails.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Polls until the condition is true. Returns whether that happened in time.
pub fn until(at_most: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() >= at_most {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
}
