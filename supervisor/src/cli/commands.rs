//! Runs each command: from its arguments to its exit code.

use super::{
    Cli, Command, CrashesArgs, EventArgs, QuarantineAction, SelectionArgs, WorkerArgs, crashes,
    failure::Failure,
    generate,
    lines::{Style, escape_lines},
    logs,
    output::{
        FAILED, USAGE, exit_on_ctrl_c, fail, json_line, print, print_error, print_json, print_reply,
        stdout_closes,
    },
    quarantine, status_table,
    watch::{POLL_INTERVAL, Watch},
};
use crate::{
    config, control,
    control::{
        client::Connection,
        protocol::{
            ChangeOutcome, CommandOutcome, ControlCommand, CrashList, CrashQuery, LogQuery,
            QuarantineCommand, Reply, StatusReport,
        },
    },
    display::{error_chain, format_count},
    limit_hint::limit_hint,
    log, runtime,
};
use bulkhead_proto::wire::{
    crash::{self, Report},
    ids::{CrashId, Seq},
    quarantine::{Entry, Filter},
    record_store::Page,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Runs a command. Returns the exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let socket = cli.socket.as_deref();
    match cli.command {
        Command::Run { config } => supervise(config.as_deref(), socket),
        Command::Check { config, json } => check(config.as_deref(), json),
        Command::Status { json, watch: true } => finish(watch_status(json, socket), json),
        Command::Status { json, watch: false } => finish(print_status(json, socket), json),
        Command::Logs { worker, follow, lines, json } => {
            finish(print_logs(LogQuery { of: worker, last: lines, follow }, json, socket), json)
        }
        Command::Restart(target) => worker_command(ControlCommand::Restart, target, socket),
        Command::Stop(target) => worker_command(ControlCommand::Stop, target, socket),
        Command::Start(target) => worker_command(ControlCommand::Start, target, socket),
        Command::Reload { json } => finish(reload(json, socket), json),
        Command::Fault { target, kind } => {
            worker_command(|worker| ControlCommand::Fault(worker, kind), target, socket)
        }
        Command::Crashes(CrashesArgs { id: Some(id), json, .. }) => {
            finish(show_crash(CrashId(id), json, socket), json)
        }
        Command::Crashes(CrashesArgs { id: None, worker, cause, limit, json }) => {
            let filter = crash::Filter { worker, cause };
            finish(list_crashes(&filter, limit.into(), json, socket), json)
        }
        Command::Quarantine { action } => match action {
            QuarantineAction::List { json } => finish(list_quarantined(json, socket), json),
            QuarantineAction::Show(event) => quarantine_command(QuarantineCommand::Show, event, socket),
            QuarantineAction::Replay(selection) => change_quarantined(Change::Replay, selection, socket),
            QuarantineAction::Drop(selection) => change_quarantined(Change::Drop, selection, socket),
        },
        Command::Completions { shell } => print(&String::from_utf8_lossy(&generate::completions(shell))),
        Command::Man { directory } => match generate::man(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                fail(FAILED, &format!("cannot write man pages to {}: {error}", directory.display()))
            }
        },
    }
}

/// The exit code of a command. Reports its failure.
fn finish(result: Result<ExitCode, Failure>, json: bool) -> ExitCode {
    result.unwrap_or_else(|failure| failure.report(json))
}

fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The current directory; empty if it does not exist any more. Then only absolute paths can be used.
fn start_dir() -> PathBuf {
    std::env::current_dir().unwrap_or_default()
}

/// `bulkhead run`.
fn supervise(config_file: Option<&Path>, socket: Option<&Path>) -> ExitCode {
    let start_dir = start_dir();
    let (config, source) = match config::load(config_file, &env, &start_dir) {
        Ok(loaded) => loaded,
        Err(report) => return report_problems(&report),
    };
    let log = match log::start(config.log) {
        Ok(log) => log,
        Err(error) => {
            // A limit may be raised without a change of the configuration.
            let limited = error.chain().any(|cause| limit_hint(cause).is_some());
            return fail(if limited { FAILED } else { USAGE }, &error_chain(&error));
        }
    };
    let socket = start_dir.join(control::socket_path::server_path(socket, &env, &config.state_dir));
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
fn check(config_file: Option<&Path>, json: bool) -> ExitCode {
    let executable = std::env::current_exe().unwrap_or_default();
    let (config, report) = config::check(config_file, &env, &executable, &start_dir());
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

fn print_status(json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    let report = fetch_status(socket)?;
    Ok(if json { print_json(&report) } else { print(&status_table::render(&report, Style::for_stdout())) })
}

fn watch_status(json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    exit_on_ctrl_c()?;
    let mut watch = Watch::new(json);
    loop {
        if let Some(end) = watch.update(&fetch_status(socket)?) {
            return Ok(end);
        }
        if stdout_closes(None, Some(POLL_INTERVAL)) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn fetch_status(socket: Option<&Path>) -> Result<StatusReport, Failure> {
    request(ControlCommand::Status, socket)?.0.report.ok_or_else(Failure::no_data)
}

fn print_logs(query: LogQuery, json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    let (_, connection) = request(ControlCommand::Logs(query), socket)?;
    logs::print(connection, json)
}

fn reload(json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    let (reply, _) = request(ControlCommand::Reload, socket)?;
    if !reply.warnings.is_empty() {
        print_error(&(escape_lines(reply.warnings.lines()) + "\n"));
    }
    let code = match json {
        true => print(&json_line(&serde_json::json!({ "changes": reply.changes }))),
        false => print(&escape_lines(reply.text.lines())),
    };
    let failed = reply.changes.into_iter().flatten().any(|change| change.how == ChangeOutcome::Failed);
    Ok(if failed { FAILED.into() } else { code })
}

/// `bulkhead restart`, `stop`, `start` and `fault`.
fn worker_command(
    command: impl FnOnce(String) -> ControlCommand,
    target: WorkerArgs,
    socket: Option<&Path>,
) -> ExitCode {
    let WorkerArgs { worker, json } = target;
    match request(command(worker.clone()), socket) {
        Ok((reply, _)) => print_reply(&reply, Some(&worker), json),
        Err(failure) => failure.for_worker(worker).report(json),
    }
}

/// A command about one quarantined event. Prints the event if the reply contains it.
fn quarantine_command(
    command: impl FnOnce(Seq) -> QuarantineCommand,
    event: EventArgs,
    socket: Option<&Path>,
) -> ExitCode {
    let EventArgs { seq, json } = event;
    let printed =
        request(ControlCommand::Quarantine(command(Seq(seq))), socket).map(|(reply, _)| {
            match reply.quarantine.as_ref().and_then(|page| page.items.first()) {
                Some(entry) if json => print_json(&entry.clone().complete()),
                Some(entry) => print(&quarantine::show(entry)),
                None => print_reply(&reply, None, json),
            }
        });
    finish(printed, json)
}

/// `bulkhead quarantine replay` and `drop`, for one event or for many.
fn change_quarantined(change: Change, selection: SelectionArgs, socket: Option<&Path>) -> ExitCode {
    let SelectionArgs { seq, all: _, series, cause, json } = selection;
    match seq {
        Some(seq) => quarantine_command(|seq| change.command(seq), EventArgs { seq, json }, socket),
        None => finish(change_all(change, &Filter { series, cause }, json, socket), json),
    }
}

/// Changes the events that are in quarantine now, in the order of their numbers, and stops at the first failure.
fn change_all(
    change: Change,
    filter: &Filter,
    json: bool,
    socket: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let selected = fetch_quarantined(socket)?.into_iter().filter(|entry| filter.matches(entry));
    let mut count = 0;
    for Entry { seq, .. } in selected {
        let outcome = request(ControlCommand::Quarantine(change.command(seq)), socket);
        outcome.map_err(|failure| failure.after(&change.describe(count)))?;
        count += 1;
    }
    let text = change.describe(count);
    Ok(match json {
        true => print(&json_line(&serde_json::json!({ "outcome": "done", "text": text, "count": count }))),
        false => print(&text),
    })
}

/// Fetches all pages.
fn fetch_quarantined(socket: Option<&Path>) -> Result<Vec<Entry>, Failure> {
    let (mut items, mut next) = (Vec::new(), Some(Seq(0)));
    while let Some(after) = next {
        let (reply, _) = request(ControlCommand::Quarantine(QuarantineCommand::List(after)), socket)?;
        let page = reply.quarantine.ok_or_else(Failure::no_data)?;
        items.extend(page.items);
        next = page.next.filter(|next| *next > after);
    }
    Ok(items)
}

fn list_quarantined(json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    let page = Page { items: fetch_quarantined(socket)?, next: None };
    Ok(if json { print_json(&page) } else { print(&quarantine::list(&page.items, Style::for_stdout())) })
}

/// Lists the newest reports that the filter selects, in as many requests as their size needs.
fn list_crashes(
    filter: &crash::Filter,
    limit: usize,
    json: bool,
    socket: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let mut page = Page { items: Vec::new(), next: None };
    loop {
        let limit = limit.saturating_sub(page.items.len());
        let list = CrashList { filter: filter.clone(), after: page.next, limit };
        let Page { items, next } = fetch_crashes(CrashQuery::List(list), socket)?;
        let full = items.len() >= limit;
        page.items.extend(items);
        page.next = next.filter(|next| page.next.is_none_or(|last| *next < last));
        if full || page.next.is_none() {
            break;
        }
    }
    Ok(if json { print_json(&page) } else { print(&crashes::list(&page, Style::for_stdout())) })
}

fn show_crash(id: CrashId, json: bool, socket: Option<&Path>) -> Result<ExitCode, Failure> {
    let page = fetch_crashes(CrashQuery::Show(id), socket)?;
    let report = page.items.first().ok_or_else(Failure::no_data)?;
    Ok(if json { print_json(report) } else { print(&crashes::show(report)) })
}

fn fetch_crashes(query: CrashQuery, socket: Option<&Path>) -> Result<Page<Report>, Failure> {
    let page = request(ControlCommand::Crashes(query), socket)?.0.crashes;
    page.map(|page| *page).ok_or_else(Failure::no_data)
}

/// What to do with quarantined events.
#[derive(Clone, Copy)]
enum Change {
    Replay,
    Drop,
}

impl Change {
    const fn command(self, seq: Seq) -> QuarantineCommand {
        match self {
            Self::Replay => QuarantineCommand::Replay(seq),
            Self::Drop => QuarantineCommand::Drop(seq),
        }
    }

    fn describe(self, count: u32) -> String {
        let events = format_count(count, "event");
        match self {
            Self::Replay => format!("{events} replayed"),
            Self::Drop => format!("{events} dropped"),
        }
    }
}

/// Sends a command. Returns its reply, and the connection, on which lines may follow.
fn request(command: ControlCommand, socket: Option<&Path>) -> Result<(Reply, Connection), Failure> {
    let paths = control::socket_path::client_paths(socket, &env, &config::state_dir(&env));
    let mut connection = Connection::open(&paths)?;
    let reply = connection.request(command)?;
    if reply.outcome == CommandOutcome::Done { Ok((reply, connection)) } else { Err(reply.into()) }
}
