//! The sandbox: a small tracker of our own.
