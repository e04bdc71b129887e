//! End-to-end: one behaviour a test, on the real binaries.
//!
//! `main.rs` is the only test target, so that the harness is linked once.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod aborted;
mod api_deaths;
mod at_rest;
mod campaign;
mod commands;
mod containers;
mod crashes;
mod example;
mod faults;
mod flights;
mod golden;
mod hanging;
mod hostile;
mod isolation;
mod keys;
mod leaks;
mod listening;
mod logs;
mod memory;
mod numbers;
mod outages;
mod poison;
mod properties;
mod quarantine;
mod readme;
mod refused_commits;
mod reload;
mod state_dir;
mod stopping;
mod supervisor_death;
mod token;

/// A configuration for tests that induce faults.
const FAULTS: &str = "[faults]\nenabled = true\n";

/// Likewise, for those that let workers hang.
const HANGS: &str =
    "[faults]\nenabled = true\n[api]\nhang_timeout = \"300ms\"\n[analytics]\nhang_timeout = \"300ms\"\n";
