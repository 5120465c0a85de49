//! The W3C family.
