//! Recorders: hits to batches.
