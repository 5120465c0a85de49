//! Input: bytes to lines.
