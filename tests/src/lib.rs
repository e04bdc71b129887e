//! The end-to-end harness: it starts the real binaries, waits for lines of their log, and checks their responses.
//!
//! The harness never sleeps for a guessed time, never uses a fixed port, and never signals a process that it did not
//! start. [`log::DEADLINE`] bounds each wait. A failed wait prints the whole log of the supervisor.
//!
//! Start reading at [`Fixture`], then [`log::LogReader`].
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test harness reports by panicking")]

pub mod background_readers;
pub mod binaries;
mod bulkhead;
pub mod event_id;
pub mod expected_death;
mod fixture;
pub mod flights;
pub mod http;
pub mod injection_pacer;
mod launch;
pub mod log;
pub mod process;
pub mod resource_usage;
pub mod worker_killer;

pub use bulkhead::{Bulkhead, Stopped};
pub use fixture::{CliOutput, Fixture};
pub use log::eventually;
