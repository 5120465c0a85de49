//! JSON formats.
