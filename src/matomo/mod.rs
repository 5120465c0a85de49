//! The client of Matomo: batch to request, response to outcome.
//!
//! `client` performs one HTTP exchange and reports what it observed (`exchange`). `outcome`
//! says what that means for a batch, `api` what it means for an API call. `retry` says how long
//! to wait before the next attempt, `auth` finds the token, [`tracking`] writes the requests.
//! `clock` is the server's.

pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod clock;
mod diagnose;
pub(crate) mod exchange;
pub(crate) mod exclusions;
pub(crate) mod json;
pub(crate) mod outcome;
mod response;
pub(crate) mod retry;
mod tls;
pub(crate) mod tracker_queue;
pub mod tracking;
pub(crate) mod visit_log;
