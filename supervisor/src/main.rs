//! `bulkhead`: the supervisor and its command line. See `bulkhead --help`.
#![forbid(unsafe_code)]

use bulkhead_supervisor::{
    cli::{Cli, Verb, commands},
    control::protocol::{Command, Logs},
};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket.as_deref();
    match cli.verb {
        Verb::Run { config } => commands::run(config.as_deref(), socket),
        Verb::Check { config, json } => commands::check(config.as_deref(), json),
        Verb::Status { json, watch } => commands::status(json, watch, socket),
        Verb::Logs { worker, follow, lines, json } => {
            commands::logs(Logs { of: worker, last: lines, follow }, json, socket)
        }
        Verb::Restart(target) => commands::act(Command::Restart, target, socket),
        Verb::Stop(target) => commands::act(Command::Stop, target, socket),
        Verb::Start(target) => commands::act(Command::Start, target, socket),
        Verb::Reload { json } => commands::reload(json, socket),
        Verb::Fault { target, kind } => commands::act(|worker| Command::Fault(worker, kind), target, socket),
        Verb::Crashes { id, json } => commands::show_crashes(id, json, socket),
        Verb::Quarantine { what } => commands::quarantine(what, socket),
        Verb::Completions { shell } => commands::completions(shell),
        Verb::Man { directory } => commands::man(&directory),
    }
}
