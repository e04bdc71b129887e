//! The supervisor: starts the workers, detects their deaths and hangs, restarts them, and reports why they died.
//!
//! It never touches event payloads on the hot path, never blocks on a worker, and trusts nothing that a worker writes.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
mod display;
pub mod listener;
pub mod log;
pub mod shell;
pub mod step;
pub mod store;
pub mod systemd;
