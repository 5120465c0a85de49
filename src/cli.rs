//! Every option as typed.
