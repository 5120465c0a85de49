//! The one list of formats.
