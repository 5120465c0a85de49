//! Record to hit.
