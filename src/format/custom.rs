//! The user's own regex (`--log-format-regex`).
