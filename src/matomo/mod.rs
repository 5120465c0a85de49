//! Matomo: batch to request, answer to outcome.
