//! `bulkhead`: the supervisor and the operator's commands. See `bulkhead --help`.
#![forbid(unsafe_code)]

use bulkhead_supervisor::cli::{Cli, Verb, commands};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket.as_deref();
    match cli.verb {
        Verb::Run { config } => commands::run(config.as_deref(), socket),
        Verb::Check { config, json } => commands::check(config.as_deref(), json),
        Verb::Status { json } => commands::status(json, socket),
        Verb::Restart { worker } => commands::restart(worker, socket),
        Verb::Stop { worker } => commands::stop(worker, socket),
        Verb::Start { worker } => commands::start(worker, socket),
        Verb::Fault { worker, kind } => commands::fault(worker, kind, socket),
    }
}
