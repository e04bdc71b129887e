//! Each command, from its arguments to its exit code.

use super::{
    Numbered, SetAside, Target, crashes,
    failure::{Failure, lines},
    logs,
    output::{self, Answer, FAILED, USAGE, complain, end_with_ctrl_c, fail, say, show},
    pages, quarantine,
    table::{self, Look},
    watch::{PACE, Watch},
};
use crate::{
    config, control,
    control::{
        client::Connection,
        protocol::{Command, Crashes, Ended, How, Logs, Quarantine, Reply, Report},
    },
    display::error_chain,
    log::{self, escape_controls},
    shell,
};
use bulkhead_proto::wire::{
    ids::{CrashId, Seq},
    record_store::Page,
};
use clap_complete::Shell;
use std::{ffi::OsString, path::Path, process::ExitCode};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// As [`variable`]; a path need not be UTF-8.
fn any_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
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
    let option = config.map(Path::to_owned);
    match shell::run(shell::Start { plan, source, option, socket, log: log.clone() }) {
        Ok(code) => code.into(),
        Err(error) => {
            tracing::error!(event_name = "supervisor_failed", "{}", error_chain(&error));
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
        let said = show(&diagnosis.told());
        return if plan.is_some() { said } else { USAGE.into() };
    }
    let Some(plan) = plan else { return refuse(&diagnosis) };
    complain(&diagnosis.render(true));
    let source = diagnosis.source();
    say(&format!("{source}: good; {} workers, the API at {}", plan.workers.len(), plan.listen))
}

/// Shows what is wrong with a configuration; in colours where those are wanted.
fn refuse(diagnosis: &config::Diagnosis) -> ExitCode {
    complain(&diagnosis.render(true));
    USAGE.into()
}

/// `bulkhead status`.
#[must_use]
pub fn status(json: bool, watch: bool, socket: Option<&Path>) -> ExitCode {
    if watch {
        return watching(json, socket);
    }
    match report(json, socket) {
        Ok(report) if json => show(&report),
        Ok(report) => say(&table::render(&report, Look::of_stdout())),
        Err(failure) => failure,
    }
}

fn watching(json: bool, socket: Option<&Path>) -> ExitCode {
    if let Err(error) = end_with_ctrl_c() {
        return fail(FAILED, &error);
    }
    let mut watch = Watch::new(json);
    loop {
        match report(json, socket) {
            Ok(report) => match watch.show(&report) {
                None => std::thread::sleep(PACE),
                Some(end) => return end,
            },
            Err(failure) => return failure,
        }
    }
}

fn report(json: bool, socket: Option<&Path>) -> Result<Report, ExitCode> {
    let (reply, _) = ask(Command::Status, socket).map_err(|failure| failure.tell(json))?;
    reply.report.ok_or_else(|| fail(FAILED, &"the supervisor tells nothing of itself"))
}

/// `bulkhead logs`.
#[must_use]
pub fn logs(which: Logs, json: bool, socket: Option<&Path>) -> ExitCode {
    match ask(Command::Logs(which), socket) {
        Ok((_, connection)) => logs::print(connection, json),
        Err(failure) => failure.tell(json),
    }
}

/// `bulkhead reload`.
#[must_use]
pub fn reload(json: bool, socket: Option<&Path>) -> ExitCode {
    let (reply, _) = match ask(Command::Reload, socket) {
        Ok(told) => told,
        Err(failure) => return failure.tell(json),
    };
    let said = if json {
        say(&output::json(&serde_json::json!({ "changes": reply.changes })))
    } else {
        say(&lines(&reply.text))
    };
    let failed = reply.changes.into_iter().flatten().any(|change| change.how == How::Failed);
    if failed { FAILED.into() } else { said }
}

/// `bulkhead restart`, `stop`, `start` and `fault`.
#[must_use]
pub fn act(command: impl FnOnce(String) -> Command, target: Target, socket: Option<&Path>) -> ExitCode {
    let Target { worker, json } = target;
    match ask(command(worker.clone()), socket) {
        Ok((Reply { outcome, text, generation, .. }, _)) if json => {
            say(&output::json(&Answer { outcome, text: &text, worker: Some(&worker), generation }))
        }
        Ok((reply, _)) => say(&escape_controls(&reply.text)),
        Err(failure) => failure.about(worker).tell(json),
    }
}

/// `bulkhead quarantine`.
#[must_use]
pub fn quarantine(what: SetAside, socket: Option<&Path>) -> ExitCode {
    let (command, json) = match what {
        SetAside::List { json } => return list_set_aside(json, socket),
        SetAside::Show(Numbered { seq, json }) => (Quarantine::Show(Seq(seq)), json),
        SetAside::Replay(Numbered { seq, json }) => (Quarantine::Replay(Seq(seq)), json),
        SetAside::Drop(Numbered { seq, json }) => (Quarantine::Drop(Seq(seq)), json),
    };
    match ask(Command::Quarantine(command), socket) {
        Ok((Reply { outcome, text, quarantine, .. }, _)) => {
            match (quarantine.and_then(|page| page.items.into_iter().next()), json) {
                (Some(entry), true) => show(&entry),
                (Some(entry), false) => say(&quarantine::show(&entry)),
                (None, true) => {
                    say(&output::json(&Answer { outcome, text: &text, worker: None, generation: None }))
                }
                (None, false) => say(&escape_controls(&text)),
            }
        }
        Err(failure) => failure.tell(json),
    }
}

/// Page by page.
fn list_set_aside(json: bool, socket: Option<&Path>) -> ExitCode {
    let (mut items, mut after) = (Vec::new(), Seq(0));
    loop {
        let page = match ask(Command::Quarantine(Quarantine::List(after)), socket) {
            Ok((reply, _)) => reply.quarantine,
            Err(failure) => return failure.tell(json),
        };
        let Some(page) = page else { return fail(FAILED, &"the supervisor shows nothing") };
        items.extend(page.items);
        match page.next.filter(|next| *next > after) {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        return show(&Page { items, next: None });
    }
    say(&quarantine::list(&items, Look::of_stdout()))
}

/// `bulkhead crashes`.
#[must_use]
pub fn show_crashes(id: Option<u64>, json: bool, socket: Option<&Path>) -> ExitCode {
    let what = id.map_or(Crashes::List, |id| Crashes::Show(CrashId(id)));
    let page = match ask(Command::Crashes(what), socket) {
        Ok((reply, _)) => reply.crashes,
        Err(failure) => return failure.tell(json),
    };
    match (page.map(|page| *page), id) {
        (Some(page), None) if json => show(&page),
        (Some(page), None) => say(&crashes::list(&page, Look::of_stdout())),
        (Some(Page { items, .. }), Some(_)) => match items.first() {
            Some(report) if json => show(report),
            Some(report) => say(&crashes::show(report)),
            None => fail(FAILED, &"the supervisor shows nothing"),
        },
        (None, _) => fail(FAILED, &"the supervisor shows nothing"),
    }
}

/// `bulkhead completions`.
#[must_use]
pub fn completions(shell: Shell) -> ExitCode {
    say(&String::from_utf8_lossy(&pages::completions(shell)))
}

/// `bulkhead man`.
#[must_use]
pub fn man(directory: &Path) -> ExitCode {
    match pages::man(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, &format!("cannot write man pages to {}: {error}", directory.display())),
    }
}

/// The reply to a command that was carried out, and the connection on which more may follow.
fn ask(command: Command, socket: Option<&Path>) -> Result<(Reply, Connection), Failure> {
    let places = control::paths::client(socket, &variable, &config::state_dir(&any_variable));
    let mut connection = Connection::open(&places)?;
    let reply = connection.ask(command)?;
    if reply.outcome == Ended::Done { Ok((reply, connection)) } else { Err(reply.into()) }
}
