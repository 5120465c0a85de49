//! Filters: keep or drop, with a reason.
