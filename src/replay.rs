//! Replaying Matomo's own tracker log.
