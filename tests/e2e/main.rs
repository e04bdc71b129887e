//! End-to-end tests: one behaviour a test, on the real binaries.
//!
//! All tests are modules of one test target, so that the harness is linked once.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod common;

mod abort_backtrace;
mod analysis_unavailable;
mod api_deaths;
mod bad_deploy;
mod bearer_token;
mod cli_output;
mod commands;
mod containers;
mod crash_reports;
mod exactly_once;
mod example;
mod faults;
mod hangs;
mod idempotency_keys;
mod idle_wakeups;
mod isolation;
mod large_events;
mod log_snapshots;
mod memory_limits;
mod misbehaving_workers;
mod poison_events;
mod quarantine_commands;
mod random_requests;
mod readme;
mod refused_commits;
mod reload;
mod resource_leaks;
mod seqs_across_restarts;
mod series_removal;
mod short_campaign;
mod shutdown;
mod state_dir;
mod supervisor_death;
mod unexpected_signals;
mod unix_socket;
mod warm_standby;
