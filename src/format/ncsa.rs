//! The NCSA family.
