//! `bulkhead`: the supervisor and the operator's commands. See `bulkhead --help`.
#![forbid(unsafe_code)]

use bulkhead_supervisor::{
    cli::{Cli, Command, commands},
    control::protocol::{ControlCommand, LogQuery},
};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket.as_deref();
    match cli.command {
        Command::Run { config } => commands::run(config.as_deref(), socket),
        Command::Check { config, json } => commands::check(config.as_deref(), json),
        Command::Status { json, watch } => commands::status(json, watch, socket),
        Command::Logs { worker, follow, lines, json } => {
            commands::logs(LogQuery { of: worker, last: lines, follow }, json, socket)
        }
        Command::Restart(target) => commands::worker_command(ControlCommand::Restart, target, socket),
        Command::Stop(target) => commands::worker_command(ControlCommand::Stop, target, socket),
        Command::Start(target) => commands::worker_command(ControlCommand::Start, target, socket),
        Command::Reload { json } => commands::reload(json, socket),
        Command::Fault { target, kind } => {
            commands::worker_command(|worker| ControlCommand::Fault(worker, kind), target, socket)
        }
        Command::Crashes { id, json } => commands::show_crashes(id, json, socket),
        Command::Quarantine { action } => commands::quarantine(action, socket),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { directory } => commands::man(&directory),
    }
}
