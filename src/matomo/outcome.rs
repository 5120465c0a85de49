//! Classifies the exchange of a batch: a pure function, tested row by row as a table.
//!
//! Whatever is not certain is unconfirmed: Matomo has no idempotency key, so a batch that was
//! stored and is sent again is counted twice. See guide/guarantees.md, "Outcome of an exchange".

use std::time::Duration;

use serde_json::Value;

use super::diagnose;
use super::exchange::{ConnectFailure, Exchange, ExchangeResult, HttpResponse};
use super::response::{self, BulkCounts, BulkResponse};

/// What this run has seen before the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Matomo has accepted a hit of one of the batch's sites.
    pub accepted_for_site: bool,
    /// Matomo has acknowledged a batch.
    pub success: bool,
}

/// What to do with the batch. Each text says what happened, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Matomo has processed the batch. Hits may be refused or lost.
    Acknowledged(Acknowledged),
    /// Matomo has put the batch into its queue, and stores it later.
    Queued,
    /// The server received nothing: retry after a wait.
    NotSent { detail: String },
    /// The server rejected the batch without processing it: retry after a wait.
    NotProcessed {
        retry_after: Option<Duration>,
        detail: String,
    },
    /// The batch is larger than the server accepts: send it in halves, or refuse a single hit.
    TooLarge { detail: String },
    /// All, a part or nothing of the batch is stored: ask Matomo, or apply `--in-doubt`.
    Unconfirmed {
        /// The response is complete, so the server has finished and can be asked at once.
        answered: bool,
        /// Send what is missing in halves: the server may have hung up because of the size.
        halve: bool,
        /// Another request would be answered alike: stop the import after asking Matomo.
        hopeless: bool,
        /// The server says that the batch itself is wrong: find the hit that it does not accept.
        rejected: bool,
        retry_after: Option<Duration>,
        detail: String,
    },
    /// Nothing of the batch is stored, and a retry does not help: stop the import.
    Stop { message: String },
}

/// What became of the hits of a batch. `tracked`, `refused` and `lost` add up to the hits sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub tracked: usize,
    pub refused: Refused,
    /// Hits neither tracked nor refused. Matomo does not say which.
    pub lost: usize,
    /// Text around Matomo's JSON, from `debug=1` or PHP warnings; redacted.
    pub noise: Option<String>,
    /// A warning that the response contradicts itself.
    pub warning: Option<String>,
}

/// Hits that Matomo refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Their indices in the batch, ascending. Empty if no hit was refused.
    Indices(Vec<usize>),
    /// Their number. Matomo does not say which.
    Count(usize),
}

/// Classifies the exchange of a batch of `sent` hits.
pub fn classify(exchange: &Exchange, sent: usize, history: &History) -> Outcome {
    match &exchange.result {
        ExchangeResult::NotSent {
            cause: ConnectFailure::Certificate,
            detail,
        } => Outcome::Stop {
            message: detail.clone(),
        },
        ExchangeResult::NotSent { detail, .. } => Outcome::NotSent {
            detail: detail.clone(),
        },
        ExchangeResult::NoResponse { timed_out, detail } => Outcome::Unconfirmed {
            answered: false,
            halve: !timed_out,
            hopeless: false,
            rejected: false,
            retry_after: None,
            detail: detail.clone(),
        },
        ExchangeResult::Response(response) => classify_response(exchange, response, sent, history),
    }
}

fn classify_response(
    exchange: &Exchange,
    response: &HttpResponse,
    sent: usize,
    history: &History,
) -> Outcome {
    let bulk = response::parse_bulk(&response.body);
    let from_matomo = !matches!(bulk, BulkResponse::Foreign);
    let detail = || diagnose_response(exchange, response, history);
    // Since version 5.7, Matomo answers some wrong hits with 400. If it accepted others before, it
    // is not the address.
    let rejected = response.complete && response.status == 400 && history.success;
    let unconfirmed = || Outcome::Unconfirmed {
        answered: response.complete,
        halve: !response.complete || rejected,
        rejected,
        hopeless: response.complete && !from_matomo && is_hopeless(response, history),
        retry_after: response.retry_after,
        detail: detail(),
    };
    let not_processed = || Outcome::NotProcessed {
        retry_after: response.retry_after,
        detail: detail(),
    };
    let stop = || Outcome::Stop { message: detail() };
    match response.status {
        200..=299 => match bulk {
            BulkResponse::Success(counts) => classify_success(exchange, counts, sent, history),
            BulkResponse::Foreign if exchange.to_queue && is_queued(response) => Outcome::Queued,
            BulkResponse::MatomoError | BulkResponse::Foreign => unconfirmed(),
        },
        413 => Outcome::TooLarge { detail: detail() },
        408 | 425 | 429 | 503 if !from_matomo => not_processed(),
        408 | 425 | 429 => unconfirmed(),
        400 if history.success => unconfirmed(),
        300..=400 | 401 | 407 => stop(),
        // Matomo was reached before in this run, so the error may pass.
        402..=499 if history.success => not_processed(),
        402..=499 => stop(),
        _ => unconfirmed(),
    }
}

/// Whether Matomo has put a batch into its queue. It answers with an image then. Status 204 says
/// nothing, because with `send_image=0` it also answers so to what it does not put there.
fn is_queued(response: &HttpResponse) -> bool {
    response.complete && is_pixel(response)
}

fn is_pixel(response: &HttpResponse) -> bool {
    diagnose::answer_kind(response) == Some(diagnose::AnswerKind::Pixel)
}

/// Whether a response that is not the tracker's JSON comes from a server that would answer any
/// batch like that.
fn is_hopeless(response: &HttpResponse, history: &History) -> bool {
    use diagnose::AnswerKind;
    if !(200..300).contains(&response.status) {
        return false;
    }
    match diagnose::answer_kind(response) {
        Some(
            AnswerKind::Pixel | AnswerKind::Notice | AnswerKind::NoContent | AnswerKind::Login,
        ) => true,
        // A firewall may answer some requests with a page of its own.
        Some(AnswerKind::Page) => !history.success,
        // The memory limit of PHP, for example, which a smaller batch may not reach.
        Some(AnswerKind::PhpMessage) | None => false,
    }
}

fn classify_success(
    exchange: &Exchange,
    counts: BulkCounts,
    sent: usize,
    history: &History,
) -> Outcome {
    let url = &exchange.url;
    let received = (counts.tracked, counts.invalid);
    if received == (0, 0) && sent > 0 {
        return Outcome::Stop {
            message: format!(
                "Matomo at {url} accepted {sent} hits but recorded none: tracking is switched off \
                 there (record_statistics=0 in its config.ini.php), or a proxy altered the request"
            ),
        };
    }
    if counts.tracked == 0 && counts.invalid >= sent && sent > 0 && !history.accepted_for_site {
        return Outcome::Stop {
            message: format!(
                "Matomo at {url} refused all {sent} hits: the token is wrong, has expired or has \
                 no write access to the site, or the site does not exist; check the token and \
                 --idsite"
            ),
        };
    }
    let invalid = counts.invalid.min(sent);
    let tracked = counts.tracked.min(sent - invalid);
    let refused = match received {
        // All of them, also if the indices are missing.
        (0, refused) if refused == sent => Refused::Indices((0..sent).collect()),
        _ => refused_hits(counts.indices.as_deref(), invalid, sent),
    };
    let wrong_indices =
        invalid > 0 && counts.indices.is_some() && matches!(refused, Refused::Count(_));
    let warning = (received != (tracked, invalid) || wrong_indices).then(|| {
        let named = counts.indices.map_or(String::new(), |indices| {
            format!(", naming {} of them", indices.len())
        });
        format!(
            "Matomo at {url} contradicts itself: of {sent} hits, it recorded {} and refused {}\
             {named}; {tracked} are counted as recorded",
            received.0, received.1
        )
    });
    Outcome::Acknowledged(Acknowledged {
        tracked,
        refused,
        lost: sent - tracked - invalid,
        noise: counts.noise,
        warning,
    })
}

/// The indices of the refused hits if they are valid and match the number, else the number.
fn refused_hits(indices: Option<&[Value]>, invalid: usize, sent: usize) -> Refused {
    let mut indices: Vec<usize> = indices
        .unwrap_or_default()
        .iter()
        .filter_map(|index| usize::try_from(index.as_u64()?).ok())
        .filter(|index| *index < sent)
        .collect();
    indices.sort_unstable();
    indices.dedup();
    match indices.len() == invalid {
        true => Refused::Indices(indices),
        false => Refused::Count(invalid),
    }
}

fn diagnose_response(exchange: &Exchange, response: &HttpResponse, history: &History) -> String {
    let advice = match response.status {
        400 if history.success => {
            "Matomo or a firewall in front of it rejects one of the hits, or \
                                   its BulkTracking plugin was switched off"
                .into()
        }
        400 if exchange.to_queue && is_pixel(response) => {
            "the token is wrong, has expired or has no write access to the site, or a site does not \
             exist; check the token and --idsite"
                .into()
        }
        400 => "Matomo's BulkTracking plugin may be switched off, or a firewall in front of it \
                refuses the request"
            .into(),
        401 if !response.challenge => "the token is wrong or has expired".into(),
        404 | 405 | 410 => format!(
            "there is no tracker at this address: check {} and --tracker-endpoint-path",
            exchange.option
        ),
        413 => "the web server accepts no body of that size: raise its limit (nginx: \
                client_max_body_size), or lower --recorder-max-payload-size"
            .into(),
        _ => diagnose::advice(exchange, response),
    };
    diagnose::sentence(&diagnose::describe(exchange, response), &advice)
}

#[cfg(test)]
mod tests;
