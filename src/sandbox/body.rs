//! Reading request bodies: never without bound.

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

use super::answer::Closed;

/// The bound where the user sets none, in bytes.
const MOST: usize = 256 << 20;

pub(super) enum Received {
    Whole(Bytes),
    /// Over the limit; it was read to its end, so that the client reads the answer.
    TooLarge,
}

/// Reads a body of at most `limit` bytes; [`Closed`] where the client hangs up before its end.
pub(super) async fn read(mut body: Incoming, limit: Option<usize>) -> Result<Received, Closed> {
    let limit = limit.unwrap_or(MOST).min(MOST);
    let mut whole = Vec::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Closed)?.into_data() else {
            continue;
        };
        fits = fits && data.len() <= limit.saturating_sub(whole.len());
        if fits {
            whole.extend_from_slice(&data);
        } else {
            whole = Vec::new();
        }
    }
    Ok(match fits {
        true => Received::Whole(Bytes::from(whole)),
        false => Received::TooLarge,
    })
}

/// Reads no more than a body's first piece.
pub(super) async fn begin(mut body: Incoming) {
    // Whatever it is, the connection is closed after it.
    let _ = body.frame().await;
}
