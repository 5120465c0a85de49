//! Listening time.
