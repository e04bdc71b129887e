//! The HTTP API worker, as a library.
#![forbid(unsafe_code)]
