//! Hostile memory: readers get bytes that no honest process wrote.
//!
//! Each target in [`targets`] takes bytes, corrupts an honest memory as the bytes say, and lets the real
//! readers read it. It checks that no wrong value is accepted. Values check themselves, because they follow
//! from their keys and numbers. Each target has a form in which a second thread corrupts the memory while it
//! is read. A target panics when a property does not hold.
//!
//! The same targets run under cargo-fuzz (`proto/fuzz`, `make fuzz`) and in this package's tests, on the
//! committed corpus and on seeded bytes.

#![forbid(unsafe_code)]
#![expect(
    clippy::panic,
    reason = "a target panics when a property does not hold: fuzzers and tests detect the panic"
)]

pub mod corruption;
pub mod honest;
pub mod input;
pub mod targets;
