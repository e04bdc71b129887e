//! The supervisor: starts, watches, restarts and explains the workers.
//!
//! It never touches event payloads on the hot path, never blocks on a worker, and trusts nothing that a worker writes.
// Allowed in `sys` alone.
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod crashes;
pub mod listener;
pub mod log;
pub mod quarantine;
pub mod shell;
mod shown;
pub mod state_dir;
pub mod step;
pub mod sys;
pub mod systemd;
mod told;
