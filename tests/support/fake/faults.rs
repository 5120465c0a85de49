//! The faults that a test can choose. Each was seen on a real server or its front end.

use std::num::NonZeroUsize;
use std::time::Duration;

use hyper::Response;
use hyper::body::Bytes;
use import_logs::sandbox::http::html;
use serde_json::{Value, json};

use super::{edit, empty, failed, too_large, with_header};

/// Which faults occur, and when.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The nth tracking request gets the nth entry. For `None` and after the end, `rules` apply.
    pub script: Vec<Option<Fault>>,
    /// The first rule that matches counts.
    pub rules: Vec<(When, Fault)>,
    /// The nth API call gets the nth entry. Faults of hits do not apply.
    pub api: Vec<Option<Fault>>,
    /// The API answers with 503 and HTML; the tracker works.
    pub maintenance: bool,
    /// This many concurrent tracking requests are served at full speed. For each further group of
    /// that size, the work takes twice as long.
    pub crowd: Option<NonZeroUsize>,
    /// First batches of a site and past day that run at the same time deadlock: the later one gets
    /// [`Fault::Deadlock`]. Independent of this, see [`super::Options::days_may_meet`].
    pub deadlock_first_days: bool,
    /// Tokens expire after this many tracking requests.
    pub token_holds: Option<u64>,
}

/// The tracking requests that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The nth tracking request, counted from 1, and all later ones.
    From(u64),
    /// The path of the request begins so: it came to one of several front ends.
    PathBegins(String),
    /// A hit's URL contains the text.
    UrlHolds(String),
    /// The batch has more hits.
    HitsAbove(usize),
    /// More tracking requests are in progress, this one included.
    BusyAbove(usize),
}

/// A fault. "Stored" means stored completely and once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before the body is read.
    Refuse,
    /// The connection is closed in the middle of the body.
    CloseInBody,
    /// Stored, then the connection is closed without a response.
    CommitClose,
    /// Stored, then no response for this long, then closed.
    CommitStall(Duration),
    /// Stored and answered only after this long, even if the client has disconnected.
    CommitLate(Duration),
    /// Nothing stored and no response for this long, then closed: a hanging database.
    Stall(Duration),
    /// 500 with Matomo's JSON error, nothing stored.
    RollBack,
    /// 500 with Matomo's JSON error, which claims that all hits were tracked: the first half of the
    /// batch is lost, the second half stored.
    Deadlock,
    /// 500 without a body, nothing stored: PHP ran out of memory or time.
    Empty500,
    /// 413, nothing stored.
    TooLarge,
    /// This status (429, 503) with or without `Retry-After`, nothing stored.
    Busy(u16, Option<String>),
    /// This status with an HTML page, nothing stored: 200, 400, 403, 404, 502, 504.
    Html(u16),
    /// This status with this body, nothing stored.
    Answer(u16, &'static str),
    /// This status with an HTML page, but stored: a front end gave up while PHP finished.
    CommitHtml(u16),
    /// This status with this `Location`, nothing stored.
    Redirect(u16, String),
    /// 200, 0 tracked and 0 invalid, nothing stored: tracking is disabled.
    Nothing,
    /// Stored, but the JSON of the response is cut short.
    HalfJson,
    /// Stored, with PHP warnings before the JSON of the response.
    Warnings,
    /// This many of the first hits are lost but counted as tracked: Matomo swallowed a deadlock.
    Swallowed(usize),
    /// This many of the first hits are lost, counted neither as tracked nor as invalid.
    Lost(usize),
    /// The hits at these places are invalid.
    Invalid(Vec<usize>),
    /// Stored once, but the response counts every hit twice.
    Twice,
}

impl Fault {
    /// The response in place of the work, or `None` if the work is done. A response of `None`
    /// closes the connection.
    pub(super) async fn instead(&self, sent: usize) -> Option<Option<Response<Bytes>>> {
        Some(Some(match self {
            Self::Refuse | Self::CloseInBody => return Some(None),
            Self::Stall(wait) => {
                tokio::time::sleep(*wait).await;
                return Some(None);
            }
            // Counts the hits before the failure, although none is stored.
            Self::RollBack => failed(sent.saturating_sub(1), false),
            Self::Empty500 => empty(500),
            Self::TooLarge => too_large(),
            Self::Busy(status, None) => html(*status),
            Self::Busy(status, Some(after)) => with_header(html(*status), "retry-after", after),
            Self::Html(status) => html(*status),
            Self::Answer(status, body) => {
                let mut response = Response::new(Bytes::from_static(body.as_bytes()));
                *response.status_mut() = hyper::StatusCode::from_u16(*status).unwrap();
                response
            }
            Self::Redirect(status, to) => with_header(html(*status), "location", to),
            Self::Nothing => {
                let body = json!({"status": "success", "tracked": 0, "invalid": 0});
                import_logs::sandbox::http::json(200, &body)
            }
            Self::CommitClose
            | Self::CommitStall(_)
            | Self::CommitLate(_)
            | Self::CommitHtml(_)
            | Self::Deadlock
            | Self::HalfJson
            | Self::Warnings
            | Self::Lost(_)
            | Self::Swallowed(_)
            | Self::Invalid(_)
            | Self::Twice => return None,
        }))
    }

    /// Whether any hits are stored.
    pub(super) fn stores(&self) -> bool {
        !matches!(
            self,
            Self::Refuse
                | Self::CloseInBody
                | Self::Stall(_)
                | Self::RollBack
                | Self::Empty500
                | Self::TooLarge
                | Self::Busy(..)
                | Self::Html(_)
                | Self::Redirect(..)
                | Self::Nothing
        )
    }

    fn is_about_hits(&self) -> bool {
        matches!(
            self,
            Self::RollBack
                | Self::Deadlock
                | Self::Nothing
                | Self::Lost(_)
                | Self::Swallowed(_)
                | Self::Invalid(_)
                | Self::Twice
        )
    }

    /// How much longer the work takes.
    pub(super) fn work(&self) -> Duration {
        match self {
            Self::CommitLate(wait) => *wait,
            _ => Duration::ZERO,
        }
    }

    /// Changes the response after the work. `None` closes the connection.
    pub(super) async fn spoil(&self, response: Response<Bytes>) -> Option<Response<Bytes>> {
        Some(match self {
            Self::CommitClose => return None,
            Self::CommitStall(wait) => {
                tokio::time::sleep(*wait).await;
                return None;
            }
            Self::CommitHtml(status) => html(*status),
            Self::HalfJson => response.map(|body| body.slice(..body.len() / 2)),
            Self::Warnings => response.map(|body| {
                let warning = b"<br />\n<b>Warning</b>: Undefined array key \"x\" in \
                    <b>/var/www/Tracker.php</b> on line <b>1</b><br />\n";
                [&warning[..], &body].concat().into()
            }),
            Self::Twice => edit(response, |body| {
                if let Some(tracked) = body.get("tracked").and_then(Value::as_u64) {
                    body.insert("tracked".into(), json!(tracked * 2));
                }
            }),
            _ => response,
        })
    }
}

/// The faults, and how many calls they have seen.
pub(super) struct Script {
    pub faults: Faults,
    tracker_calls: u64,
    api_calls: usize,
}

impl Script {
    pub fn new(faults: Faults) -> Self {
        Self {
            faults,
            tracker_calls: 0,
            api_calls: 0,
        }
    }

    /// The fault of the next tracking request, if it is known before the body is read.
    pub fn next_tracker(&mut self) -> Option<Fault> {
        self.tracker_calls += 1;
        let call = self.tracker_calls;
        let scripted = usize::try_from(call - 1)
            .ok()
            .and_then(|index| self.faults.script.get(index).cloned().flatten());
        scripted.or_else(|| self.rule(|when| matches!(when, When::From(first) if call >= *first)))
    }

    pub fn token_has_expired(&self) -> bool {
        self.faults
            .token_holds
            .is_some_and(|most| self.tracker_calls > most)
    }

    pub fn next_api(&mut self) -> Option<Fault> {
        self.api_calls += 1;
        let fault = self.faults.api.get(self.api_calls - 1)?;
        fault.clone().filter(|fault| !fault.is_about_hits())
    }

    /// The fault of a tracking request whose body is known.
    pub fn for_batch(&self, path: &str, requests: &[Value], busy: usize) -> Option<Fault> {
        self.rule(|when| match when {
            When::From(_) => false,
            When::PathBegins(text) => path.starts_with(text),
            When::UrlHolds(text) => requests
                .iter()
                .any(|hit| hit["url"].as_str().is_some_and(|url| url.contains(text))),
            When::HitsAbove(most) => requests.len() > *most,
            When::BusyAbove(most) => busy > *most,
        })
    }

    fn rule(&self, matches: impl Fn(&When) -> bool) -> Option<Fault> {
        let rule = self.faults.rules.iter().find(|(when, _)| matches(when));
        rule.map(|(_, fault)| fault.clone())
    }

    /// How long the work takes while `busy` tracking requests are in progress, if it takes `delay`
    /// for one alone.
    pub fn work(&self, delay: Duration, busy: usize) -> Duration {
        let doublings = self
            .faults
            .crowd
            .map_or(0, |fit| busy.saturating_sub(1) / fit);
        delay.saturating_mul(1 << doublings.min(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_precedes_rules_and_ends() {
        let mut script = Script::new(Faults {
            script: vec![None, Some(Fault::RollBack)],
            rules: vec![(When::From(2), Fault::Empty500)],
            ..Faults::default()
        });
        assert_eq!(script.next_tracker(), None);
        assert_eq!(script.next_tracker(), Some(Fault::RollBack));
        assert_eq!(script.next_tracker(), Some(Fault::Empty500));
    }

    #[test]
    fn rules_match_urls_sizes_and_concurrency() {
        let script = Script::new(Faults {
            rules: vec![
                (When::UrlHolds("poison".into()), Fault::RollBack),
                (When::HitsAbove(2), Fault::TooLarge),
                (When::BusyAbove(4), Fault::Empty500),
            ],
            ..Faults::default()
        });
        let poison = json!({"url": "http://a/poison"});
        let good = json!({"url": "http://a/"});
        assert_eq!(
            script.for_batch("/piwik.php", &[good.clone(), poison], 1),
            Some(Fault::RollBack)
        );
        assert_eq!(
            script.for_batch("/piwik.php", &[good.clone(), good.clone()], 4),
            None
        );
        assert_eq!(
            script.for_batch("/piwik.php", &[good.clone(), good.clone(), good.clone()], 4),
            Some(Fault::TooLarge)
        );
        assert_eq!(
            script.for_batch("/piwik.php", &[good], 5),
            Some(Fault::Empty500)
        );
    }

    #[test]
    fn work_doubles_with_each_further_group() {
        let script = Script::new(Faults {
            crowd: NonZeroUsize::new(2),
            ..Faults::default()
        });
        let took: Vec<u128> = (1..=6)
            .map(|busy| script.work(Duration::from_millis(10), busy).as_millis())
            .collect();
        assert_eq!(took, [10, 10, 20, 20, 40, 40]);
    }
}
