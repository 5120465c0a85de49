//! Tests that need several modules.

mod architecture;
mod formats;
