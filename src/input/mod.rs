//! Input: from names on the command line to lines (SPEC section 2, `FILE...` and `--encoding`).
//!
//! [`discover`] makes names into sources, [`unpack`] tells by the first bytes whether a log is packed, a thread
//! in [`reader`] reads and unpacks it in blocks, and [`lines`] cuts the blocks into lines, each with its number
//! and its position in unpacked bytes; [`encoding`] makes a line UTF-8.

mod ahead;
pub mod binary;
pub mod discover;
pub mod encoding;
pub mod error;
mod line;
pub mod lines;
pub mod pattern;
pub mod reader;
pub mod unpack;
