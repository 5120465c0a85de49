//! The harness: the real binary in a folder of its own, servers to run it against, and what came of it.

pub mod clock;
pub mod fake;
pub mod folder;
pub mod http;
pub mod logs;
pub mod matomo;
pub mod mutate;

pub mod program;
pub mod stored;
pub mod summary;
pub mod tls;

pub use clock::until;
pub use folder::Folder;
pub use program::{Ended, Program, Running};
pub use summary::Summary;

/// A token of the tests, for servers that do not draw their own. It may never be seen in any output.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
