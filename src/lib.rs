//! import-logs: web-server and Icecast access logs into Matomo.
//!
//! A line walks once through the rooms, in this order, and never back: `input` bytes to lines -> `format` line
//! to record -> `filter` keep or drop, with a reason -> `hit` record to hit -> `site` whose hit it is ->
//! `recorder` hits to batches, one visitor always on the same recorder -> `matomo` batch to request, answer to
//! outcome -> `report` what came of it.

pub mod cli;
pub mod config;
pub mod error;
pub mod filter;
pub mod format;
pub mod hit;
pub mod input;
pub mod ledger;
pub mod listening;
pub mod matomo;
pub mod pipeline;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod sandbox;
pub mod secret;
pub mod site;
pub mod stop;
