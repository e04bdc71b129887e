//! `bulkhead`: the supervisor and the operator's commands. See `bulkhead --help`.
#![forbid(unsafe_code)]

use bulkhead_supervisor::cli::{Cli, commands};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
