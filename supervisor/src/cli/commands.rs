//! Runs each command: from its arguments to its exit code.

use super::{
    EventArgs, QuarantineAction, WorkerArgs, crashes,
    failure::{Failure, escape_lines},
    generate, logs,
    output::{self, FAILED, JsonReply, USAGE, exit_on_ctrl_c, fail, print, print_error, print_json},
    quarantine,
    status_table::{self, Style},
    watch::{POLL_INTERVAL, Watch},
};
use crate::{
    config, control,
    control::{
        client::Connection,
        protocol::{
            ChangeOutcome, CommandOutcome, ControlCommand, CrashQuery, LogQuery, QuarantineCommand, Reply,
            StatusReport,
        },
    },
    display::error_chain,
    log::{self, escape_controls},
    runtime,
};
use bulkhead_proto::wire::{
    ids::{CrashId, Seq},
    record_store::Page,
};
use clap_complete::Shell;
use std::{ffi::OsString, path::Path, process::ExitCode};

/// The error for a reply without the data that the command asked for.
const NO_DATA: &str =
    "the supervisor's reply has no data; run the bulkhead program that started the supervisor";

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Like [`env`], for paths, which need not be UTF-8.
fn env_os(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// `bulkhead run`.
#[must_use]
pub fn run(config_file: Option<&Path>, socket: Option<&Path>) -> ExitCode {
    let (config, source) = match config::load(config_file, &env_os) {
        Ok(loaded) => loaded,
        Err(report) => return report_problems(&report),
    };
    let log = match log::start(config.log) {
        Ok(log) => log,
        Err(error) => return fail(USAGE, &error),
    };
    let socket = control::socket_path::server_path(socket, &env, &config.state_dir);
    let config_path = config_file.map(Path::to_owned);
    match runtime::run(runtime::Start { config, source, config_path, socket, log: log.clone() }) {
        Ok(code) => code.into(),
        Err(error) => {
            tracing::error!(event_name = "supervisor_failed", "{}", error_chain(&error));
            FAILED.into()
        }
    }
}

/// `bulkhead check`.
#[must_use]
pub fn check(config_file: Option<&Path>, json: bool) -> ExitCode {
    let executable = std::env::current_exe().unwrap_or_default();
    let (config, report) = config::check(config_file, &env_os, &executable);
    if json {
        let code = print_json(&report.json());
        return if config.is_some() { code } else { USAGE.into() };
    }
    let Some(config) = config else { return report_problems(&report) };
    print_error(&report.render(true));
    let source = report.source();
    print(&format!("{source}: OK; {} workers, API on {}", config.workers.len(), config.listen))
}

/// Prints the problems of a configuration on stderr, with colours on a terminal.
fn report_problems(report: &config::ProblemReport) -> ExitCode {
    print_error(&report.render(true));
    USAGE.into()
}

/// `bulkhead status`.
#[must_use]
pub fn status(json: bool, watch: bool, socket: Option<&Path>) -> ExitCode {
    if watch {
        return watch_status(json, socket);
    }
    match fetch_status(json, socket) {
        Ok(report) if json => print_json(&report),
        Ok(report) => print(&status_table::render(&report, Style::for_stdout())),
        Err(failure) => failure,
    }
}

fn watch_status(json: bool, socket: Option<&Path>) -> ExitCode {
    if let Err(error) = exit_on_ctrl_c() {
        return fail(FAILED, &error);
    }
    let mut watch = Watch::new(json);
    loop {
        match fetch_status(json, socket) {
            Ok(report) => match watch.update(&report) {
                None => std::thread::sleep(POLL_INTERVAL),
                Some(end) => return end,
            },
            Err(failure) => return failure,
        }
    }
}

fn fetch_status(json: bool, socket: Option<&Path>) -> Result<StatusReport, ExitCode> {
    let (reply, _) = request(ControlCommand::Status, socket).map_err(|failure| failure.report(json))?;
    reply.report.ok_or_else(|| fail(FAILED, &NO_DATA))
}

/// `bulkhead logs`.
#[must_use]
pub fn logs(query: LogQuery, json: bool, socket: Option<&Path>) -> ExitCode {
    match request(ControlCommand::Logs(query), socket) {
        Ok((_, connection)) => logs::print(connection, json),
        Err(failure) => failure.report(json),
    }
}

/// `bulkhead reload`.
#[must_use]
pub fn reload(json: bool, socket: Option<&Path>) -> ExitCode {
    let (reply, _) = match request(ControlCommand::Reload, socket) {
        Ok(replied) => replied,
        Err(failure) => return failure.report(json),
    };
    let code = if json {
        print(&output::json_line(&serde_json::json!({ "changes": reply.changes })))
    } else {
        print(&escape_lines(&reply.text))
    };
    let failed = reply.changes.into_iter().flatten().any(|change| change.how == ChangeOutcome::Failed);
    if failed { FAILED.into() } else { code }
}

/// `bulkhead restart`, `stop`, `start` and `fault`.
#[must_use]
pub fn worker_command(
    command: impl FnOnce(String) -> ControlCommand,
    target: WorkerArgs,
    socket: Option<&Path>,
) -> ExitCode {
    let WorkerArgs { worker, json } = target;
    match request(command(worker.clone()), socket) {
        Ok((Reply { outcome, text, generation, .. }, _)) if json => {
            print(&output::json_line(&JsonReply { outcome, text: &text, worker: Some(&worker), generation }))
        }
        Ok((reply, _)) => print(&escape_controls(&reply.text)),
        Err(failure) => failure.for_worker(worker).report(json),
    }
}

/// `bulkhead quarantine`.
#[must_use]
pub fn quarantine(action: QuarantineAction, socket: Option<&Path>) -> ExitCode {
    let (command, json) = match action {
        QuarantineAction::List { json } => return list_quarantined(json, socket),
        QuarantineAction::Show(EventArgs { seq, json }) => (QuarantineCommand::Show(Seq(seq)), json),
        QuarantineAction::Replay(EventArgs { seq, json }) => (QuarantineCommand::Replay(Seq(seq)), json),
        QuarantineAction::Drop(EventArgs { seq, json }) => (QuarantineCommand::Drop(Seq(seq)), json),
    };
    match request(ControlCommand::Quarantine(command), socket) {
        Ok((Reply { outcome, text, quarantine, .. }, _)) => {
            match (quarantine.and_then(|page| page.items.into_iter().next()), json) {
                (Some(entry), true) => print_json(&entry),
                (Some(entry), false) => print(&quarantine::show(&entry)),
                (None, true) => print(&output::json_line(&JsonReply {
                    outcome,
                    text: &text,
                    worker: None,
                    generation: None,
                })),
                (None, false) => print(&escape_controls(&text)),
            }
        }
        Err(failure) => failure.report(json),
    }
}

/// Fetches all pages, then prints the list.
fn list_quarantined(json: bool, socket: Option<&Path>) -> ExitCode {
    let (mut items, mut after) = (Vec::new(), Seq(0));
    loop {
        let page = match request(ControlCommand::Quarantine(QuarantineCommand::List(after)), socket) {
            Ok((reply, _)) => reply.quarantine,
            Err(failure) => return failure.report(json),
        };
        let Some(page) = page else { return fail(FAILED, &NO_DATA) };
        items.extend(page.items);
        match page.next.filter(|next| *next > after) {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        return print_json(&Page { items, next: None });
    }
    print(&quarantine::list(&items, Style::for_stdout()))
}

/// `bulkhead crashes`.
#[must_use]
pub fn show_crashes(id: Option<u64>, json: bool, socket: Option<&Path>) -> ExitCode {
    let query = id.map_or(CrashQuery::List, |id| CrashQuery::Show(CrashId(id)));
    let page = match request(ControlCommand::Crashes(query), socket) {
        Ok((reply, _)) => reply.crashes,
        Err(failure) => return failure.report(json),
    };
    match (page.map(|page| *page), id) {
        (Some(page), None) if json => print_json(&page),
        (Some(page), None) => print(&crashes::list(&page, Style::for_stdout())),
        (Some(Page { items, .. }), Some(_)) => match items.first() {
            Some(report) if json => print_json(report),
            Some(report) => print(&crashes::show(report)),
            None => fail(FAILED, &NO_DATA),
        },
        (None, _) => fail(FAILED, &NO_DATA),
    }
}

/// `bulkhead completions`.
#[must_use]
pub fn completions(shell: Shell) -> ExitCode {
    print(&String::from_utf8_lossy(&generate::completions(shell)))
}

/// `bulkhead man`.
#[must_use]
pub fn man(directory: &Path) -> ExitCode {
    match generate::man(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("cannot write man pages to {}: {error}", directory.display())),
    }
}

/// Sends a command. Returns its reply, and the connection, on which lines may follow.
fn request(command: ControlCommand, socket: Option<&Path>) -> Result<(Reply, Connection), Failure> {
    let paths = control::socket_path::client_paths(socket, &env, &config::state_dir(&env_os));
    let mut connection = Connection::open(&paths)?;
    let reply = connection.request(command)?;
    if reply.outcome == CommandOutcome::Done { Ok((reply, connection)) } else { Err(reply.into()) }
}
