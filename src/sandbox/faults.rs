//! The faults a test can ask for, each seen on a real server or its front end.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, Closed, Reply};

/// Which faults to have, and when.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The n-th tracking request gets the n-th entry; `None`, and those past the end, go by `rules`.
    pub script: Vec<Option<Fault>>,
    /// The first that holds counts.
    pub rules: Vec<(When, Fault)>,
    /// The n-th API call gets the n-th entry. Faults about hits do not concern it.
    pub api: Vec<Option<Fault>>,
    /// The API answers 503 HTML while the tracker goes on recording.
    pub maintenance: bool,
    /// So many tracking requests at once are served at full speed; for each so many more the work takes twice as
    /// long.
    pub crowd: Option<NonZeroUsize>,
    /// First batches of a site and past day that run at the same time deadlock: the later one gets
    /// [`Fault::Deadlock`].
    pub deadlock_first_days: bool,
    /// Tokens hold for so many tracking requests; after these each is a bad one.
    pub token_holds: Option<u64>,
}

/// What a tracking request must be like for a rule to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// The n-th tracking request, counted from 1, and all after it.
    From(u64),
    /// A hit's url holds the text.
    UrlHolds(String),
    /// More hits than that in the batch.
    HitsAbove(usize),
    /// More tracking requests than that in progress, this one included.
    BusyAbove(usize),
}

/// One fault. What is said to be stored is stored whole and once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed before the body is read.
    Refuse,
    /// The connection is closed in the middle of the body.
    CloseInBody,
    /// Stored, then the connection is closed without an answer.
    CommitClose,
    /// Stored, then no answer for so long, then closed.
    CommitStall(Duration),
    /// Stored and answered only after so long, whether the client still waits or not.
    CommitLate(Duration),
    /// Nothing stored and no answer for so long, then closed: a frozen database.
    Stall(Duration),
    /// 500 with Matomo's JSON error, nothing stored.
    RollBack,
    /// 500 with Matomo's JSON error that says all were tracked: the batch's first half is forgotten, its second
    /// half stored.
    Deadlock,
    /// 500 without a body, nothing stored: PHP ran out of memory or time.
    Empty500,
    /// 413, nothing stored.
    TooLarge,
    /// This status (429, 503) with a `Retry-After` or without, nothing stored.
    Busy(u16, Option<String>),
    /// This status with an HTML page, nothing stored: 200, 400, 403, 404, 502, 504.
    Html(u16),
    /// This status with an HTML page, but stored: a front end gave up on a PHP that goes on.
    CommitHtml(u16),
    /// This status with this `Location`, nothing stored.
    Redirect(u16, String),
    /// 200, 0 tracked and 0 invalid, nothing stored: tracking is off.
    Nothing,
    /// Stored, but the JSON of the answer is cut short.
    HalfJson,
    /// Stored, and PHP's warnings stand before the JSON of the answer.
    Warnings,
    /// So many of the first hits are dropped, neither tracked nor invalid.
    Lost(usize),
    /// The hits at these places are refused.
    Invalid(Vec<usize>),
    /// Stored once, but the answer counts every hit twice.
    Twice,
}

impl Fault {
    /// What is answered in place of doing the work; `None` where the work is done.
    pub(super) async fn instead(&self, sent: usize) -> Option<Reply> {
        Some(match self {
            Self::Refuse | Self::CloseInBody => Err(Closed),
            Self::Stall(wait) => {
                tokio::time::sleep(*wait).await;
                Err(Closed)
            }
            // What was counted until the failure; nothing of it stays.
            Self::RollBack => Ok(Answer::failed(sent.saturating_sub(1), None)),
            Self::Empty500 => Ok(Answer::empty(500)),
            Self::TooLarge => Ok(Answer::too_large()),
            Self::Busy(status, None) => Ok(Answer::html(*status)),
            Self::Busy(status, Some(after)) => Ok(Answer::html(*status).with("retry-after", after)),
            Self::Html(status) => Ok(Answer::html(*status)),
            Self::Redirect(status, to) => Ok(Answer::html(*status).with("location", to)),
            Self::Nothing => Ok(Answer::tracked(0, 0, None)),
            Self::CommitClose
            | Self::CommitStall(_)
            | Self::CommitLate(_)
            | Self::CommitHtml(_)
            | Self::Deadlock
            | Self::HalfJson
            | Self::Warnings
            | Self::Lost(_)
            | Self::Invalid(_)
            | Self::Twice => return None,
        })
    }

    fn is_about_hits(&self) -> bool {
        matches!(
            self,
            Self::RollBack
                | Self::Deadlock
                | Self::Nothing
                | Self::Lost(_)
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

    /// What becomes of the answer once the work is done.
    pub(super) async fn spoil(&self, answer: Answer) -> Reply {
        match self {
            Self::CommitClose => Err(Closed),
            Self::CommitStall(wait) => {
                tokio::time::sleep(*wait).await;
                Err(Closed)
            }
            Self::CommitHtml(status) => Ok(Answer::html(*status)),
            Self::HalfJson => {
                let half = answer.body.len() / 2;
                Ok(answer.map_body(|body| body.truncate(half)))
            }
            Self::Warnings => Ok(answer.after_text(
                "<br />\n<b>Warning</b>: Undefined array key \"x\" in <b>/var/www/Tracker.php</b> on line <b>1</b><br />\n",
            )),
            Self::Twice => Ok(twice(answer)),
            _ => Ok(answer),
        }
    }
}

/// The answer with `tracked` doubled; one without it stays as it is.
fn twice(answer: Answer) -> Answer {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut body) if body["tracked"].is_u64() => {
            body["tracked"] = json!(body["tracked"].as_u64().unwrap_or(0).saturating_mul(2));
            Answer::json(answer.status, &body)
        }
        _ => answer,
    }
}

/// The faults and how many calls they have seen.
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

    /// The fault of the next tracking request as far as it can be told before its body is read.
    pub fn next_tracker(&mut self) -> Option<Fault> {
        self.tracker_calls += 1;
        let call = self.tracker_calls;
        let scripted = usize::try_from(call - 1)
            .ok()
            .and_then(|index| self.faults.script.get(index).cloned().flatten());
        scripted.or_else(|| self.rule(|when| matches!(when, When::From(first) if call >= *first)))
    }

    pub fn token_is_over(&self) -> bool {
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
    pub fn for_batch(&self, requests: &[Value], busy: usize) -> Option<Fault> {
        self.rule(|when| match when {
            When::From(_) => false,
            When::UrlHolds(text) => requests
                .iter()
                .any(|hit| hit["url"].as_str().is_some_and(|url| url.contains(text))),
            When::HitsAbove(most) => requests.len() > *most,
            When::BusyAbove(most) => busy > *most,
        })
    }

    fn rule(&self, holds: impl Fn(&When) -> bool) -> Option<Fault> {
        let rule = self.faults.rules.iter().find(|(when, _)| holds(when));
        rule.map(|(_, fault)| fault.clone())
    }

    /// How long the work takes with so many tracking requests in progress, if it takes `delay` for one alone.
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
    fn a_script_goes_before_rules_and_ends() {
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
    fn rules_look_at_urls_sizes_and_crowds() {
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
            script.for_batch(&[good.clone(), poison], 1),
            Some(Fault::RollBack)
        );
        assert_eq!(script.for_batch(&[good.clone(), good.clone()], 4), None);
        assert_eq!(
            script.for_batch(&[good.clone(), good.clone(), good.clone()], 4),
            Some(Fault::TooLarge)
        );
        assert_eq!(script.for_batch(&[good], 5), Some(Fault::Empty500));
    }

    #[test]
    fn work_doubles_for_each_crowd_more() {
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
