//! Tests that need several modules.

mod formats;
