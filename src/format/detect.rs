//! Detection: which format a log has.
