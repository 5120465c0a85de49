//! Options checked and compiled once.
