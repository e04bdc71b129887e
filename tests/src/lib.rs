//! The end-to-end harness: it starts the real binaries, waits for what they say, and checks what they answer.
//!
//! Never: sleeps for a guessed time, uses a fixed port, or signals a process that it did not start. Whatever it waits
//! for is bounded by [`log::DEADLINE`], and a failure prints the supervisor's whole log.
//! Where to start reading: [`Home`], then [`log::Reading`].
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test harness reports by panicking")]

pub mod binaries;
mod bulkhead;
pub mod faults;
pub mod flights;
pub mod footprint;
pub mod gate;
mod home;
pub mod http;
pub mod ids;
pub mod killer;
pub mod log;
pub mod process;
pub mod reading;

pub use bulkhead::{Bulkhead, Stopped, eventually};
pub use home::{Home, Said};
