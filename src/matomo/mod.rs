//! Matomo: batch to request, answer to outcome.
//!
//! [`client`] does one exchange over HTTP and says what was seen ([`exchange`]); [`outcome`] says what that means
//! for a batch of hits, [`api`] what it means for a question; [`retry`] how long to wait before the next attempt;
//! [`auth`] finds the token.

pub mod api;
pub mod auth;
pub mod client;
pub mod exchange;
pub mod json;
pub mod outcome;
pub mod retry;
pub mod shown;
pub mod tracking;
pub mod visit_log;

mod address;
mod answer;
mod failure;
#[cfg(test)]
mod test_server;
mod tls;
mod words;
