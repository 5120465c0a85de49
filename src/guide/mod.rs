//! The user's reference, one chapter a file.
//!
//! Comments cite a rule's source by chapter and heading, such as `guide/requests.md, "Parameters"`.
//! Tests check the citations, and that the chapters name every option and every format.

#[doc = include_str!("options.md")]
pub mod options {}

#[doc = include_str!("formats.md")]
pub mod formats {}

#[doc = include_str!("requests.md")]
pub mod requests {}

#[doc = include_str!("listening.md")]
pub mod listening {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

#[cfg(test)]
mod tests;
