//! The keys of a worker: those that all have, and the further programs (`[[worker]]`).

use super::{
    plan::WorkerPlan,
    problem::Fault,
    reader::Section,
    sections::{MAX_DELAY, path},
};
use crate::core::policy;
use bulkhead_proto::{
    wire::role::Role,
    worker::{fds::FDS_VARIABLE, settings::SETTINGS_VARIABLE},
};
use std::{collections::BTreeMap, time::Duration};

/// The most plain workers: the two fixed roles take the rest of what the ledger holds.
const MAX_PLAIN: usize = policy::MAX_WORKERS - 2;

/// The smallest `memory_limit`: with less, a worker of ours does not even start.
const MIN_MEMORY: u64 = 16 << 20;

/// More memory than machines have.
const MAX_MEMORY: u64 = 1 << 44;
/// Less would condemn who merely had a page to wait for; and a person wants to hear of a hang within the hour.
const MIN_HANG: Duration = Duration::from_millis(100);
const MAX_HANG: Duration = Duration::from_secs(3600);

/// Names that commands and logs use for something else.
const TAKEN: [&str; 3] = ["api", "analytics", "supervisor"];

/// The further workers, in the order of the file.
pub(super) fn plain(root: &mut Section<'_>) -> Vec<WorkerPlan> {
    let sections = root.sections("worker");
    if sections.len() > MAX_PLAIN {
        let found = format!("found {} further workers", sections.len());
        root.report("worker", Fault::new(found, format!("wanted at most {MAX_PLAIN}")));
    }
    let mut names = BTreeMap::new();
    let mut workers = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let name = section.text("name", name);
        if !section.has("name") {
            section
                .report("name", Fault::new("missing", "every worker needs a name").help("add name = \"…\""));
        }
        let name = name.unwrap_or_default();
        if let Some(first) = names.get(&name) {
            let fault = Fault::new(format!("{name:?} is taken"), "the second of that name");
            section.report_beside("name", fault, &format!("worker[{first}].name"), "the first");
        } else if !name.is_empty() {
            names.insert(name.clone(), index);
        }
        workers.push(worker(&mut section, &name, Role::Plain, None));
        section.end();
    }
    workers
}

fn name(text: &str) -> Result<String, Fault> {
    let wanted = || format!("wanted 1 to {} of a-z, 0-9, - and _", policy::MAX_NAME);
    let fits = (1..=policy::MAX_NAME).contains(&text.len());
    if !fits || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)) {
        return Err(Fault::new(format!("{text:?} is not a worker's name"), wanted()));
    }
    if TAKEN.contains(&text) {
        return Err(Fault::new(format!("{text:?} is taken"), "Bulkhead's own").help("choose another name"));
    }
    Ok(text.to_owned())
}

/// The keys that every worker has.
pub(super) fn worker(section: &mut Section<'_>, name: &str, role: Role, default: Option<&str>) -> WorkerPlan {
    let command = command(section, default);
    let mut worker = WorkerPlan::new(name, role, command);
    worker.env = section.pairs("env").unwrap_or_default();
    worker.pass_env = section.texts("pass_env").unwrap_or_default();
    variables(section, &worker);
    worker.cwd = section.text("cwd", path);
    worker.memory_limit = section.size("memory_limit", MIN_MEMORY, MAX_MEMORY).or(worker.memory_limit);
    if role != Role::Plain
        && let Some(timeout) = section.duration("hang_timeout", MIN_HANG, MAX_HANG)
    {
        worker.hang_timeout = timeout;
    }
    if let Some(timeout) = section.duration("stop_timeout", Duration::ZERO, MAX_DELAY) {
        worker.stop_timeout = timeout;
    }
    worker
}

fn command(section: &mut Section<'_>, default: Option<&str>) -> Vec<String> {
    let command = section.texts("command");
    let example = "such as [\"/usr/bin/collector\", \"-v\"]";
    let fault = |found| {
        Fault::new(found, "wanted a program and its arguments").help(format!("write a list {example}"))
    };
    match (command, default) {
        (Some(command), _) if command.first().is_none_or(String::is_empty) => {
            section.report("command", fault("no program"));
            Vec::new()
        }
        (Some(command), _) => command,
        (None, Some(program)) => vec![program.to_owned()],
        (None, None) => {
            if !section.has("command") {
                section.report("command", fault("missing"));
            }
            Vec::new()
        }
    }
}

/// Judges the names of variables.
fn variables(section: &Section<'_>, worker: &WorkerPlan) {
    let passed = worker.pass_env.iter().enumerate().map(|(index, name)| (format!("pass_env[{index}]"), name));
    for (key, name) in worker.env.keys().map(|name| (format!("env.{name}"), name)).chain(passed) {
        if name.is_empty() || name.contains(['=', '\0']) {
            let fault =
                Fault::new(format!("{name:?} cannot be a variable's name"), "wanted a name without =");
            section.report(&key, fault);
        } else if ours(worker.role).contains(&name.as_str()) {
            let fault = Fault::new("set by the supervisor itself", "not yours to set").help("remove it");
            section.report(&key, fault);
        }
    }
    for (index, name) in worker.pass_env.iter().enumerate().filter(|(_, name)| worker.env.contains_key(*name))
    {
        let fault = Fault::new(format!("{name} is passed on and set as well"), "passes it on")
            .help("keep one of the two");
        section.report_with(&format!("pass_env[{index}]"), fault, &format!("env.{name}"), "sets it");
    }
}

/// The variables by which the supervisor speaks to a worker of this role.
fn ours(role: Role) -> &'static [&'static str] {
    match role {
        Role::Plain => &["BULKHEAD_WORKER", "BULKHEAD_API_URL"],
        Role::Api | Role::Analytics => {
            &["BULKHEAD_WORKER", "BULKHEAD_STATE_DIR", FDS_VARIABLE, SETTINGS_VARIABLE]
        }
    }
}
