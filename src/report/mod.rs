//! Report: the only module that prints.
