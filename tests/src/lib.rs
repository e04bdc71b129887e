//! The end-to-end harness.
#![forbid(unsafe_code)]
