//! Filters: keep or drop a request, with a reason. The first filter that drops it gives the reason.
//!
//! To add a filter, add it to [`Filters::judge`], or to [`Filters::judge_dated`] if it needs the
//! date, and give it a [`Reason`]. The summary line follows from the reason.

mod agent;
mod assistant;
mod bot_counter;
mod bot_list;
mod bot_ranges;
mod extension;
mod host;

pub use agent::{BotOptions, Bots};
pub use assistant::{AssistantMode, Assistants, assistant_list};
pub use bot_counter::{BotCounter, BotFigures, BotRow};
pub use bot_list::{BotEntry, BotList};
pub use bot_ranges::BotRanges;
pub use extension::Extensions;
pub use host::{HostPattern, HostSet, Hosts};

use crate::hit::{AgentClass, ClientAddress, LoggedRequest, TargetKind};
use crate::input::pattern::Pattern;
use crate::network::NetworkSet;
use crate::report::Reason;

/// The whole chain; see guide/options.md, "Filters".
#[derive(Debug)]
pub struct Filters {
    pub extensions: Extensions,
    pub hosts: Hosts,
    pub paths: Paths,
    pub bots: Bots,
    /// `--ai-assistants`. Their errors, redirects and bots are kept.
    pub assistants: Assistants,
    /// `--exclude-ip`.
    pub excluded_addresses: NetworkSet,
    pub keep_errors: bool,
    pub keep_redirects: bool,
    pub keep_static: bool,
    pub keep_bots: bool,
    /// Seconds since 1970, UTC. A request at that second is kept.
    pub oldest: Option<i64>,
    /// Seconds since 1970, UTC. A request at that second is kept.
    pub newest: Option<i64>,
}

impl Filters {
    /// Sets `file` and `is_download`. Call it before the filters: the summary counts downloads that
    /// they drop, too.
    pub fn classify(&self, request: &mut LoggedRequest) {
        if !request.is_listener {
            request.file = self.extensions.kind(request.extension);
            request.is_download = request.file.download;
        }
    }

    /// Runs the filters that need no date on a classified request. Sets `is_bot`, `is_assistant`,
    /// and `is_download` for static files that are kept.
    pub fn judge(&mut self, request: &mut LoggedRequest) -> Result<(), Reason> {
        if request.file.unwanted_download {
            return Err(Reason::Download);
        }
        if !self.hosts.matches_hostname(request) {
            return Err(Reason::Hostname);
        }
        if request.target == TargetKind::NoRequest {
            return Err(Reason::NoRequest);
        }
        if request.is_error() && !self.keep_errors && !self.is_assistant(request) {
            return Err(Reason::HttpError);
        }
        if request.is_redirect() && !self.keep_redirects && !self.is_assistant(request) {
            return Err(Reason::HttpRedirect);
        }
        if request.target == TargetKind::NoPage {
            return Err(Reason::NoPage);
        }
        self.paths.judge(request.path)?;
        if request.file.is_static || (!request.is_listener && extension::is_robots(request.path)) {
            if !self.keep_static {
                return Err(Reason::Static);
            }
            request.is_download = true;
        }
        if self.assistants.is_off() || request.is_listener {
            request.is_bot = self.bots.is_bot(request);
        } else {
            let class = self.bots.classify(request);
            request.is_bot = class.is_bot;
            request.is_assistant = self.is_reported(class);
        }
        if request.is_bot && !self.keep_bots && !request.is_assistant {
            return Err(Reason::Bot);
        }
        Ok(())
    }

    /// Whether a request goes to Matomo's reports of AI assistants.
    fn is_assistant(&mut self, request: &LoggedRequest) -> bool {
        if self.assistants.is_off() || request.is_listener {
            return false;
        }
        let class = self.bots.classify(request);
        self.is_reported(class)
    }

    /// Whether a request has the user agent of an assistant, wherever this run sends it.
    pub fn may_be_assistant(&mut self, request: &LoggedRequest) -> bool {
        let entry = self.bots.classify(request).entry;
        let entry = entry.and_then(|entry| self.bots.entries().get(entry));
        entry.is_some_and(Assistants::knows)
    }

    fn is_reported(&mut self, class: AgentClass) -> bool {
        let entry = class.entry;
        entry.is_some_and(|entry| self.assistants.includes(entry, self.bots.entries()))
    }

    /// Runs the filter by address. The address is read only if there is something to compare it
    /// with.
    pub fn judge_address<'a>(
        &self,
        address: impl FnOnce() -> ClientAddress<'a>,
    ) -> Result<(), Reason> {
        let is_excluded = !self.excluded_addresses.is_empty()
            && matches!(address(), ClientAddress::Ip(ip) if self.excluded_addresses.contains_text(ip));
        match is_excluded {
            true => Err(Reason::AddressExcluded),
            false => Ok(()),
        }
    }

    /// Runs the filters that come after the date. `time` is in seconds since 1970, UTC.
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

/// `--include-path` and `--exclude-path`, and the files of patterns. They match the path without
/// query.
#[derive(Debug, Default)]
pub struct Paths {
    pub excluded: Vec<Pattern>,
    /// Empty includes all.
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
