//! Waiting for something to become true, at most so long.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// A test that takes longer than this hangs.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Whether it became true in time; looks again every few milliseconds.
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
