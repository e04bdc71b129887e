//! Hostile memory: what readers make of bytes that nobody honest wrote.
//!
//! Each target in [`targets`] takes bytes, spoils an honest memory as they say, lets the real readers loose on it, and checks
//! that no wrong value is accepted: values are self-checking, for they follow from their keys and numbers. Each has a form
//! in which a second thread spoils the memory while it is read. A target panics when a property does not hold.
//!
//! The same targets run under cargo-fuzz (`proto/fuzz`, `make fuzz`) and, on the committed corpus and on seeded bytes, in
//! this package's tests.

#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    reason = "a target panics when a property does not hold: fuzzers and tests look for that"
)]

pub mod honest;
pub mod input;
pub mod spoil;
pub mod targets;
