//! Whose hit it is.
