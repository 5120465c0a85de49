//! The user's reference, one chapter a file, also shown by `--guide` and part of the man page.
//!
//! Comments cite a rule's source by chapter and heading, such as `guide/requests.md, "Parameters"`.
//! Tests check the citations, and that the chapters name every option and every format.

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

/// Makes a module and an entry of [`CHAPTERS`] from each chapter.
macro_rules! chapters {
    ($($name:ident),+ $(,)?) => {
        $(
            #[doc = include_str!(concat!(stringify!($name), ".md"))]
            pub mod $name {}
        )+

        /// All chapters, in the order of reading.
        pub const CHAPTERS: [Chapter; 9] = [$(Chapter {
            name: stringify!($name),
            text: include_str!(concat!(stringify!($name), ".md")),
        }),+];
    };
}

chapters![
    options,
    formats,
    requests,
    listening,
    guarantees,
    faster,
    big,
    migrating,
    troubleshooting,
];

#[cfg(test)]
mod tests;
