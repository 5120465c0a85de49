//! The user's reference, one chapter a file, also shown by `--guide` and part of the man page.
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

pub mod markdown;
pub mod roff;
pub mod terminal;

/// A chapter of the guide.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// The name for `--guide`.
    pub name: &'static str,
    /// Markdown.
    pub text: &'static str,
}

/// All chapters, in the order of reading.
pub const CHAPTERS: [Chapter; 7] = [
    Chapter {
        name: "options",
        text: include_str!("options.md"),
    },
    Chapter {
        name: "formats",
        text: include_str!("formats.md"),
    },
    Chapter {
        name: "requests",
        text: include_str!("requests.md"),
    },
    Chapter {
        name: "listening",
        text: include_str!("listening.md"),
    },
    Chapter {
        name: "guarantees",
        text: include_str!("guarantees.md"),
    },
    Chapter {
        name: "migrating",
        text: include_str!("migrating.md"),
    },
    Chapter {
        name: "troubleshooting",
        text: include_str!("troubleshooting.md"),
    },
];

#[cfg(test)]
mod tests;
