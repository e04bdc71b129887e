//! The supervisor: starts the workers, detects their deaths and hangs, restarts them, and reports why they died.
//!
//! It never touches event payloads on the hot path, never blocks on a worker, and trusts nothing that a worker writes.
// Only `sys` may contain unsafe code.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod core;
mod display;
mod file_identity;
mod limit_hint;
pub mod listener;
pub mod log;
pub mod runtime;
mod socket_address;
mod socket_file;
pub mod store;
mod suggest;
pub mod sys;
pub mod systemd;
