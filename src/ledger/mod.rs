//! The ledger: what is done, kept on disk.
