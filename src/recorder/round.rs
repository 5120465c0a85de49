//! A round: some requests under the same conditions, added up. What a hit costs is told from their sum, for one
//! request more or less says little.

use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    pub requests: usize,
    pub hits: usize,
    /// The server's time for all of them.
    pub seconds: f64,
    /// Requests beside which as many others were under way as were allowed.
    pub crowded: usize,
}

impl Round {
    /// A request was taken.
    pub fn request(&mut self, hits: usize, elapsed: Duration, crowded: bool) {
        self.requests += 1;
        self.hits += hits;
        self.seconds += elapsed.as_secs_f64();
        self.crowded += usize::from(crowded);
    }

    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.hits += other.hits;
        self.seconds += other.seconds;
        self.crowded += other.crowded;
    }

    /// Seconds of waiting for the server for each hit.
    pub fn cost(&self) -> f64 {
        self.seconds / self.hits.max(1) as f64
    }

    /// Seconds for each request.
    pub fn latency(&self) -> f64 {
        self.seconds / self.requests.max(1) as f64
    }

    /// Whether the limit was what held requests back.
    pub fn is_crowded(&self) -> bool {
        self.crowded * 2 >= self.requests
    }
}
