//! What an exchange means for an API call.

use std::time::Duration;

use serde::de::IgnoredAny;

use super::ApiError;
use crate::matomo::diagnose;
use crate::matomo::exchange::{ConnectFailure, Exchange, ExchangeResult, HttpResponse};
use crate::matomo::response;

/// What an exchange means for an API call.
pub(super) enum ApiReply {
    /// JSON that is not an error.
    Json(Vec<u8>),
    /// Matomo refused the call.
    Refused(String),
    /// Not a response of Matomo, and a retry would not change that.
    Unusable(String),
    /// A retry may succeed.
    Retry(TransientFailure),
}

pub(super) struct TransientFailure {
    /// The call had no effect on the server for certain.
    pub untouched: bool,
    pub kind: FailureKind,
    pub retry_after: Option<Duration>,
    pub detail: String,
    /// The same in a few words, without advice.
    pub brief: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The server could not be reached or was busy, which passes.
    Unavailable,
    /// It answered with a server error.
    ServerError,
    /// A slow or broken response, which may occur each time.
    Connection,
}

impl TransientFailure {
    /// The error after the last of `attempts`.
    pub fn give_up(self, attempts: u32) -> ApiError {
        let detail = match attempts {
            1 => self.detail,
            n => format!("{} (tried {n} times)", self.detail),
        };
        match self.kind {
            FailureKind::Unavailable => ApiError::Unavailable(detail),
            FailureKind::ServerError => ApiError::Broken(detail),
            FailureKind::Connection => ApiError::Failed(detail),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct CallContext<'a> {
    pub method: &'a str,
    /// What status 401 means.
    pub unauthorized: &'a str,
    /// What to do if Matomo refuses the call.
    pub advice: &'a str,
    /// Matomo has answered an earlier call.
    pub reached: bool,
}

/// Classifies the exchange of an API call: a pure function.
pub(super) fn classify(mut exchange: Exchange, context: CallContext) -> ApiReply {
    if let ExchangeResult::Response(response) = &mut exchange.result
        && is_success(response)
    {
        return ApiReply::Json(std::mem::take(&mut response.body));
    }
    match &exchange.result {
        ExchangeResult::NotSent {
            cause: ConnectFailure::Certificate,
            detail,
        } => ApiReply::Unusable(detail.clone()),
        ExchangeResult::NotSent { detail, .. } => ApiReply::Retry(TransientFailure {
            untouched: true,
            kind: FailureKind::Unavailable,
            retry_after: None,
            detail: detail.clone(),
            brief: diagnose::brief(&exchange),
        }),
        ExchangeResult::NoResponse { detail, .. } => ApiReply::Retry(TransientFailure {
            untouched: false,
            kind: FailureKind::Connection,
            retry_after: None,
            detail: detail.clone(),
            brief: diagnose::brief(&exchange),
        }),
        ExchangeResult::Response(response) => classify_failure(&exchange, response, context),
    }
}

fn is_success(response: &HttpResponse) -> bool {
    response.complete
        && (200..300).contains(&response.status)
        && response::api_error(&response.body).is_none()
        && serde_json::from_slice::<IgnoredAny>(&response.body).is_ok()
}

fn classify_failure(
    exchange: &Exchange,
    response: &HttpResponse,
    context: CallContext,
) -> ApiReply {
    let error = response::api_error(&response.body);
    let from_matomo = error.is_some();
    let detail = match &error {
        Some(message) => refusal(exchange, message, context),
        None => {
            let what = diagnose::describe(exchange, response);
            let what = format!("{}: {what}", context.method);
            diagnose::sentence(&what, &diagnose::advice(exchange, response))
        }
    };
    let retry = |untouched, kind, detail| {
        ApiReply::Retry(TransientFailure {
            untouched,
            kind,
            retry_after: response.retry_after,
            detail,
            brief: diagnose::brief(exchange),
        })
    };
    match response.status {
        200..=299 if !response.complete => retry(false, FailureKind::Connection, detail),
        408 | 425 | 429 | 503 => retry(!from_matomo, FailureKind::Unavailable, detail),
        500.. => retry(false, FailureKind::ServerError, detail),
        // Matomo answers a bad token with an HTML page, or says only that one must be logged in.
        401 if !response.challenge && error.as_deref().is_none_or(asks_for_login) => {
            ApiReply::Refused(refusal(exchange, context.unauthorized, context))
        }
        _ if from_matomo => ApiReply::Refused(detail),
        402..=499 if context.reached => retry(true, FailureKind::Connection, detail),
        _ => ApiReply::Unusable(detail),
    }
}

/// Whether a message of Matomo is about the token itself, and not about its rights.
fn asks_for_login(message: &str) -> bool {
    message.contains("must be logged in") || message.contains("Unable to authenticate")
}

fn refusal(exchange: &Exchange, message: &str, context: CallContext) -> String {
    format!(
        "Matomo at {} refused {}: {}; {}",
        exchange.url,
        context.method,
        // Matomo's messages are sentences.
        message.trim_end_matches([' ', '.']),
        context.advice
    )
}
