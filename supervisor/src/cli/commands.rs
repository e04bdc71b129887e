//! Each command, from its arguments to its exit code.

use super::table;
use crate::{
    config, control,
    control::{
        client::{ClientError, call},
        protocol::{Command, Ended, Reply},
    },
    log, shell,
};
use bulkhead_proto::words::FaultKind;
use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// The command was not carried out.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// There is no supervisor to carry it out.
const UNREACHABLE: u8 = 3;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// As [`variable`]; a path need not be UTF-8.
fn any_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("bulkhead: {error}");
    code.into()
}

/// `bulkhead run`.
#[must_use]
pub fn run(config: Option<&Path>, socket: Option<&Path>) -> ExitCode {
    let (plan, source) = match config::load(config, &any_variable) {
        Ok(loaded) => loaded,
        Err(diagnosis) => return refuse(&diagnosis),
    };
    let log = match log::start(plan.log) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    let socket = control::paths::daemon(socket, &variable, &plan.state_dir);
    match shell::run(shell::Start { plan, source, socket, filter: log.filter.clone() }) {
        Ok(code) => code.into(),
        Err(error) => {
            tracing::error!(event_name = "supervisor_failed", "{error:#}");
            FAILED.into()
        }
    }
}

/// `bulkhead check`.
#[must_use]
pub fn check(config: Option<&Path>, json: bool) -> ExitCode {
    let executable = std::env::current_exe().unwrap_or_default();
    let (plan, diagnosis) = config::check(config, &any_variable, &executable);
    if json {
        say(&serde_json::to_string_pretty(&diagnosis.told()).unwrap_or_default());
        return if plan.is_some() { ExitCode::SUCCESS } else { USAGE.into() };
    }
    let Some(plan) = plan else { return refuse(&diagnosis) };
    anstream::eprint!("{}", diagnosis.render(true));
    let source = diagnosis.source();
    say(&format!("{source}: good; {} workers, the API at {}", plan.workers.len(), plan.listen));
    ExitCode::SUCCESS
}

/// Shows what is wrong with a configuration; in colours where those are wanted.
fn refuse(diagnosis: &config::Diagnosis) -> ExitCode {
    anstream::eprint!("{}", diagnosis.render(true));
    USAGE.into()
}

/// `bulkhead status`.
#[must_use]
pub fn status(json: bool, socket: Option<&Path>) -> ExitCode {
    command(Command::Status, socket, |reply| {
        let Some(report) = reply.report else { return "the supervisor tells nothing of itself".into() };
        if json { serde_json::to_string_pretty(&report).unwrap_or_default() } else { table::render(&report) }
    })
}

/// `bulkhead restart`.
#[must_use]
pub fn restart(worker: String, socket: Option<&Path>) -> ExitCode {
    command(Command::Restart(worker), socket, |reply| reply.text)
}

/// `bulkhead stop`.
#[must_use]
pub fn stop(worker: String, socket: Option<&Path>) -> ExitCode {
    command(Command::Stop(worker), socket, |reply| reply.text)
}

/// `bulkhead start`.
#[must_use]
pub fn start(worker: String, socket: Option<&Path>) -> ExitCode {
    command(Command::Start(worker), socket, |reply| reply.text)
}

/// `bulkhead fault`.
#[must_use]
pub fn fault(worker: String, kind: FaultKind, socket: Option<&Path>) -> ExitCode {
    command(Command::Fault(worker, kind), socket, |reply| reply.text)
}

fn command(command: Command, socket: Option<&Path>, show: impl FnOnce(Reply) -> String) -> ExitCode {
    // A configuration that cannot be read must not keep the operator from a supervisor that runs.
    let state_dir = config::load(None, &any_variable)
        .map_or_else(|_| "bulkhead-state".into(), |(plan, _)| plan.state_dir);
    let places = control::paths::client(socket, &variable, &state_dir);
    match call(&places, command) {
        Ok(reply) if reply.outcome == Ended::Done => {
            say(&show(reply));
            ExitCode::SUCCESS
        }
        Ok(reply) => fail(FAILED, &log::visible(&reply.text)),
        Err(error @ ClientError::Unreachable(_)) => fail(UNREACHABLE, &error),
        Err(error @ ClientError::Broken(..)) => fail(FAILED, &error),
    }
}

/// Prints to stdout; a reader that has left (`| head`) is no failure.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
