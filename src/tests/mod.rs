//! Tests that need several modules.

mod architecture;
mod formats;
pub(crate) mod server;
