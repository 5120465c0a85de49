//! Filters: keep or drop, with a reason. The first that drops a line is the one that counts (SPEC section 5).

mod agent;
mod extension;
mod host;
mod path;

pub use agent::Bots;
pub use extension::Extensions;
pub use host::Hosts;
pub use path::Paths;

use crate::hit::Hit;
use crate::report::Reason;

/// The whole chain, from the options of SPEC section 2.
#[derive(Debug)]
pub struct Filters {
    pub extensions: Extensions,
    pub hosts: Hosts,
    pub paths: Paths,
    pub bots: Bots,
    pub keep_errors: bool,
    pub keep_redirects: bool,
    pub keep_static: bool,
    pub keep_bots: bool,
    /// Seconds since 1970, UTC; a hit at that very second stays.
    pub oldest: Option<i64>,
    pub newest: Option<i64>,
}

impl Filters {
    /// Sets what kind of file a hit asks for, and whether the summary counts it as a download, also where a later
    /// filter drops it.
    pub fn classify(&self, hit: &mut Hit) {
        if !hit.is_listener {
            hit.file = self.extensions.kind(hit.extension);
            hit.is_download = hit.file.download;
        }
    }

    /// The filters that need no date, once the hit has been classified. Sets `is_bot`, and `is_download` for static
    /// resources that are kept.
    pub fn judge(&mut self, hit: &mut Hit) -> Result<(), Reason> {
        if hit.file.unwanted_download {
            return Err(Reason::Download);
        }
        if !self.hosts.matches_hostname(hit) {
            return Err(Reason::Hostname);
        }
        if hit.is_error() && !self.keep_errors {
            return Err(Reason::HttpError);
        }
        if hit.is_redirect() && !self.keep_redirects {
            return Err(Reason::HttpRedirect);
        }
        self.paths.judge(hit.path)?;
        if hit.file.is_static || (!hit.is_listener && extension::is_robots(hit.path)) {
            if !self.keep_static {
                return Err(Reason::Static);
            }
            hit.is_download = true;
        }
        hit.is_bot = self.bots.is_bot(hit);
        if hit.is_bot && !self.keep_bots {
            return Err(Reason::Bot);
        }
        Ok(())
    }

    /// The filters behind the date.
    pub fn judge_dated(&self, hit: &Hit) -> Result<(), Reason> {
        self.hosts.judge(hit)?;
        if self.oldest.is_some_and(|oldest| hit.time < oldest) {
            return Err(Reason::TooOld);
        }
        if self.newest.is_some_and(|newest| hit.time > newest) {
            return Err(Reason::TooNew);
        }
        Ok(())
    }
}
