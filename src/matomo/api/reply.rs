//! What an exchange means for a question to the API: a pure function, and the shapes that its JSON comes in.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::matomo::exchange::{Answer, Cause, Exchange, Seen};
use crate::matomo::{shown, words};

pub(super) enum Reply {
    /// JSON that is no error.
    Json(Vec<u8>),
    /// Matomo will not.
    Refused(String),
    /// No answer of Matomo's, and asking again does not change that.
    Odd(String),
    /// It may go well the next time.
    Again(Again),
}

pub(super) struct Again {
    /// The call surely changed nothing there.
    pub untouched: bool,
    /// Nobody was there, or it asked to be left alone: that passes. What is slow or breaks may do so each time.
    pub away: bool,
    pub retry_after: Option<Duration>,
    pub detail: String,
}

/// What is known of a question when its answer comes.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub method: &'a str,
    /// A token was sent.
    pub with_token: bool,
    /// An earlier question has been answered.
    pub reached: bool,
}

/// Says what an exchange means.
pub(super) fn read(mut exchange: Exchange, known: Known) -> Reply {
    if let Seen::Answer(answer) = &mut exchange.seen
        && is_good(answer)
    {
        return Reply::Json(std::mem::take(&mut answer.body));
    }
    match &exchange.seen {
        Seen::NotSent { cause, detail } if *cause == Cause::Certificate => {
            Reply::Odd(detail.clone())
        }
        Seen::NotSent { detail, .. } => Reply::Again(Again {
            untouched: true,
            away: true,
            retry_after: None,
            detail: detail.clone(),
        }),
        Seen::NoAnswer { detail, .. } => again(false, None, detail.clone()),
        Seen::Answer(answer) => by_status(&exchange, answer, known),
    }
}

fn is_good(answer: &Answer) -> bool {
    answer.whole
        && (200..300).contains(&answer.status)
        && error_of(&answer.body).is_none()
        && serde_json::from_slice::<de::IgnoredAny>(&answer.body).is_ok()
}

fn by_status(exchange: &Exchange, answer: &Answer, known: Known) -> Reply {
    let error = error_of(&answer.body);
    let from_matomo = error.is_some();
    let detail = match &error {
        Some(message) => said(exchange, message, known),
        None => describe(exchange, answer, known),
    };
    match answer.status {
        200..=299 if !answer.whole => again(false, None, detail),
        408 | 425 | 429 | 503 => Reply::Again(Again {
            untouched: !from_matomo,
            away: true,
            retry_after: answer.retry_after,
            detail,
        }),
        500.. => again(false, answer.retry_after, detail),
        _ if from_matomo => Reply::Refused(detail),
        // A bad token: Matomo answers with a page.
        401 if !answer.challenge => {
            Reply::Refused(said(exchange, "it does not accept the request", known))
        }
        402..=499 if known.reached => again(true, answer.retry_after, detail),
        _ => Reply::Odd(detail),
    }
}

fn again(untouched: bool, retry_after: Option<Duration>, detail: String) -> Reply {
    Reply::Again(Again {
        untouched,
        away: false,
        retry_after,
        detail,
    })
}

/// The message of `{"result":"error","message":"..."}`.
fn error_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Told {
        result: String,
        #[serde(default)]
        message: String,
    }
    let told: Told = serde_json::from_slice(body).ok()?;
    (told.result == "error").then(|| shown::excerpt(told.message.as_bytes()))
}

fn said(exchange: &Exchange, message: &str, known: Known) -> String {
    let advice = match known.with_token {
        true => "check what was asked for, and that the token is right and may do that",
        false => "no token was sent: give one with --token-auth-file or MATOMO_TOKEN_AUTH",
    };
    format!(
        "Matomo at {} refused {}: {message}; {advice}",
        exchange.url, known.method
    )
}

fn describe(exchange: &Exchange, answer: &Answer, known: Known) -> String {
    let what = format!("{}: {}", known.method, words::answered(exchange, answer));
    words::sentence(&what, &words::advice(exchange, answer))
}

/// A number or a text, bare or as `{"value": ...}`: Matomo writes ids in any of these ways.
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Number(u64),
            Text(String),
            Value { value: Box<Shape> },
        }
        let mut shape = Shape::deserialize(deserializer)?;
        loop {
            match shape {
                Shape::Number(number) => return Ok(Self(number.to_string())),
                Shape::Text(text) => return Ok(Self(text)),
                Shape::Value { value } => shape = *value,
            }
        }
    }
}

/// A list, or an object whose values are meant: PHP writes a list whose keys have gaps as one.
pub(super) struct List<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while let Some((_, item)) = map.next_entry::<de::IgnoredAny, T>()? {
                    items.push(item);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_any(Items(PhantomData))
    }
}
