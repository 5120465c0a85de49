//! Filters: keep or drop, with a reason. The first that drops a line is the one that counts (SPEC section 5).

mod agent;
mod extension;
mod host;
mod path;

pub use agent::Bots;
pub use extension::Extensions;
pub use host::Hosts;
pub use path::Paths;

use crate::hit::LoggedRequest;
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
    pub fn classify(&self, request: &mut LoggedRequest) {
        if !request.is_listener {
            request.file = self.extensions.kind(request.extension);
            request.is_download = request.file.download;
        }
    }

    /// The filters that need no date, once the hit has been classified. Sets `is_bot`, and `is_download` for static
    /// resources that are kept.
    pub fn judge(&mut self, request: &mut LoggedRequest) -> Result<(), Reason> {
        if request.file.unwanted_download {
            return Err(Reason::Download);
        }
        if !self.hosts.matches_hostname(request) {
            return Err(Reason::Hostname);
        }
        if request.is_error() && !self.keep_errors {
            return Err(Reason::HttpError);
        }
        if request.is_redirect() && !self.keep_redirects {
            return Err(Reason::HttpRedirect);
        }
        self.paths.judge(request.path)?;
        if request.file.is_static || (!request.is_listener && extension::is_robots(request.path)) {
            if !self.keep_static {
                return Err(Reason::Static);
            }
            request.is_download = true;
        }
        request.is_bot = self.bots.is_bot(request);
        if request.is_bot && !self.keep_bots {
            return Err(Reason::Bot);
        }
        Ok(())
    }

    /// The filters that come after the date. `time`: seconds since 1970, UTC.
    pub fn judge_dated(&self, request: &LoggedRequest, time: i64) -> Result<(), Reason> {
        self.hosts.judge(request)?;
        if self.oldest.is_some_and(|oldest| time < oldest) {
            return Err(Reason::TooOld);
        }
        if self.newest.is_some_and(|newest| time > newest) {
            return Err(Reason::TooNew);
        }
        Ok(())
    }
}
