//! What one exchange means for a batch of hits: a pure function, the table of the delivery's design, row by row.
//!
//! Doubt is the rule for all that is not sure: Matomo has no idempotency key, so a batch that is sent again though
//! it was stored is counted twice.

use std::time::Duration;

use serde_json::Value;

use super::answer::{self, Reply, Tally};
use super::exchange::{Answer, Cause, Exchange, Seen};
use super::words;

/// What this run has seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// A hit of (one of) the batch's sites was accepted.
    pub accepted_for_site: bool,
    /// Matomo has answered with a success.
    pub success: bool,
}

/// What is to be done about the batch. Each text says what happened, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, whatever became of each hit.
    Committed(Committed),
    /// Nothing of it is at the server: again, after a wait.
    NotSent { detail: String },
    /// The server turned it away untouched: again, after the time told.
    NotProcessed {
        retry_after: Option<Duration>,
        detail: String,
    },
    /// More than the server takes: again as two halves. A single hit is refused.
    TooLarge { detail: String },
    /// All of it, a part or nothing is stored: ask Matomo, else the policy.
    InDoubt {
        /// An answer came, so the server is done with it and can be asked at once.
        answered: bool,
        /// What is to be sent again goes as two halves: the server may have hung up on the size.
        halve: bool,
        retry_after: Option<Duration>,
        detail: String,
    },
    /// Nothing of it is done, and trying again does not help.
    Stop { message: String },
}

/// The parts of a batch: `tracked`, the refused and `lost` add up to what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub tracked: usize,
    pub refused: Refused,
    /// Hits that are neither tracked nor refused; which ones is not known.
    pub lost: usize,
    /// Text around Matomo's JSON: `debug=1`, PHP warnings. Fit to be shown.
    pub noise: Option<String>,
    /// The answer contradicts itself: a warning.
    pub odd: Option<String>,
}

/// Hits that Matomo refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Their places in the batch, from 0, ascending; none, where none was refused.
    Indices(Vec<usize>),
    /// How many; Matomo does not say which.
    Count(usize),
}

/// Says what an exchange means for a batch of `sent` hits.
pub fn judge(exchange: &Exchange, sent: usize, history: &History) -> Outcome {
    match &exchange.seen {
        Seen::NotSent { cause, detail } if *cause == Cause::Certificate => Outcome::Stop {
            message: detail.clone(),
        },
        Seen::NotSent { detail, .. } => Outcome::NotSent {
            detail: detail.clone(),
        },
        Seen::NoAnswer { timed_out, detail } => Outcome::InDoubt {
            answered: false,
            halve: !timed_out,
            retry_after: None,
            detail: detail.clone(),
        },
        Seen::Answer(answer) => by_status(exchange, answer, sent, history),
    }
}

fn by_status(exchange: &Exchange, answer: &Answer, sent: usize, history: &History) -> Outcome {
    let reply = answer::read(&answer.body);
    let from_matomo = !matches!(reply, Reply::Foreign);
    let not_processed = || Outcome::NotProcessed {
        retry_after: answer.retry_after,
        detail: detail(exchange, answer),
    };
    let stop = || Outcome::Stop {
        message: detail(exchange, answer),
    };
    match answer.status {
        200..=299 => match reply {
            Reply::Success(tally) => success(exchange, tally, sent, history),
            Reply::Error | Reply::Foreign => in_doubt(exchange, answer),
        },
        413 => Outcome::TooLarge {
            detail: detail(exchange, answer),
        },
        408 | 425 | 429 | 503 if !from_matomo => not_processed(),
        408 | 425 | 429 => in_doubt(exchange, answer),
        300..=399 | 400 | 401 | 407 => stop(),
        // What forbids or hides the address has let this run through before: that may heal.
        402..=499 if history.success => not_processed(),
        402..=499 => stop(),
        _ => in_doubt(exchange, answer),
    }
}

fn in_doubt(exchange: &Exchange, answer: &Answer) -> Outcome {
    Outcome::InDoubt {
        answered: answer.whole,
        halve: !answer.whole,
        retry_after: answer.retry_after,
        detail: detail(exchange, answer),
    }
}

fn success(exchange: &Exchange, tally: Tally, sent: usize, history: &History) -> Outcome {
    let url = &exchange.url;
    let told = (tally.tracked, tally.invalid);
    if told == (0, 0) && sent > 0 {
        return Outcome::Stop {
            message: format!(
                "Matomo at {url} took {sent} hits and recorded none: tracking is switched off there \
                 (record_statistics=0 in its config.ini.php), or something on the way changed what was sent"
            ),
        };
    }
    if tally.tracked == 0 && tally.invalid >= sent && sent > 0 && !history.accepted_for_site {
        return Outcome::Stop {
            message: format!(
                "Matomo at {url} refused all {sent} hits: the token is wrong or may not write to that site, or there is no \
                 such site; check the token and --idsite"
            ),
        };
    }
    let invalid = tally.invalid.min(sent);
    let tracked = tally.tracked.min(sent - invalid);
    let refused = match told {
        // All of them, whether it says which or not.
        (0, refused) if refused == sent => Refused::Indices((0..sent).collect()),
        _ => refused(tally.indices.as_deref(), invalid, sent),
    };
    let unclear = invalid > 0 && tally.indices.is_some() && matches!(refused, Refused::Count(_));
    let odd = (told != (tracked, invalid) || unclear).then(|| {
        let named = tally.indices.map_or(String::new(), |list| format!(", naming {} of them", list.len()));
        format!(
            "Matomo at {url} says it recorded {} and refused {} of {sent} hits{named}: that cannot be; taken as {tracked} \
             recorded",
            told.0, told.1
        )
    });
    Outcome::Committed(Committed {
        tracked,
        refused,
        lost: sent - tracked - invalid,
        noise: tally.noise,
        odd,
    })
}

/// The places of refused hits, where they are told and there are as many as told; else only how many.
fn refused(told: Option<&[Value]>, invalid: usize, sent: usize) -> Refused {
    let mut places: Vec<usize> = told
        .unwrap_or_default()
        .iter()
        .filter_map(|place| usize::try_from(place.as_u64()?).ok())
        .filter(|place| *place < sent)
        .collect();
    places.sort_unstable();
    places.dedup();
    match places.len() == invalid {
        true => Refused::Indices(places),
        false => Refused::Count(invalid),
    }
}

fn detail(exchange: &Exchange, answer: &Answer) -> String {
    let advice = match answer.status {
        400 => "Matomo's BulkTracking plugin may be switched off, or a firewall before it refuses the request".into(),
        401 if !answer.challenge => "check the token".into(),
        404 | 405 | 410 => format!(
            "there is no tracker at this address: check {} and --tracker-endpoint-path",
            exchange.option
        ),
        413 => "the web server takes no body of that size: raise its limit (nginx: client_max_body_size), or lower \
                --recorder-max-payload-size"
            .into(),
        _ => words::advice(exchange, answer),
    };
    words::sentence(&words::answered(exchange, answer), &advice)
}

#[cfg(test)]
mod tests;
