//! The supervisor: starts, watches, restarts and explains the workers.
//!
//! It never touches event payloads on the hot path, never blocks on a worker, and trusts nothing that a worker writes.
// Only `sys` may contain unsafe code.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod crashes;
pub mod listener;
pub mod log;
pub mod quarantine;
pub mod runtime;
mod shown;
pub mod state_dir;
pub mod sys;
pub mod systemd;
mod told;
