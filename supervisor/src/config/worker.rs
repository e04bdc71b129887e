//! The keys of workers: those that every worker has, and the plain workers (`[[worker]]`).

use super::{
    model::WorkerConfig,
    problem::Issue,
    reader::{Section, check_unexpanded, parse_path},
    units::MAX_DURATION,
};
use crate::core::policy;
use bulkhead_proto::{
    wire::role::Role,
    worker::{fds::FDS_VARIABLE, settings::SETTINGS_VARIABLE},
};
use std::{collections::BTreeMap, time::Duration};

/// The most plain workers. The ledger has room for `MAX_WORKERS`; the API and the analysis take two.
const MAX_PLAIN: usize = policy::MAX_WORKERS - 2;

/// The smallest `memory_limit`, in bytes. The API and the analysis do not start with less.
const MIN_MEMORY_LIMIT: u64 = 16 << 20;

/// The largest `memory_limit`, in bytes; more memory than machines have.
const MAX_MEMORY_LIMIT: u64 = 1 << 44;

/// The bounds of `hang_timeout`. A shorter timeout would kill workers that only wait for a page fault; a longer
/// one would report a hang too late.
const MIN_HANG_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_HANG_TIMEOUT: Duration = Duration::from_secs(3600);

/// The length of one argument or variable (`NAME=value`) that execve(2) refuses, in bytes: `MAX_ARG_STRLEN`, with the
/// final NUL.
const MAX_ARGUMENT: usize = 128 << 10;

/// Names with a special meaning in commands and logs.
const RESERVED_NAMES: [&str; 3] = ["api", "analytics", "supervisor"];

/// Reads the plain workers, in the order of the file.
pub(super) fn read_plain_workers(root: &mut Section<'_>) -> Vec<WorkerConfig> {
    let sections = root.section_list("worker");
    if sections.len() > MAX_PLAIN {
        let found = format!("found {} plain workers", sections.len());
        let issue = Issue::new(found, format!("expected at most {MAX_PLAIN}"));
        root.report(
            "worker",
            issue.with_help("run a second service for the others, with its own state_dir and api.listen"),
        );
    }
    let mut names = BTreeMap::new();
    let mut workers = Vec::new();
    for (index, mut section) in sections.into_iter().enumerate() {
        let name = section.string("name", parse_worker_name);
        if !section.has("name") {
            section.report(
                "name",
                Issue::new("missing key", "every worker needs a name").with_help("add name = \"…\""),
            );
        }
        let name = name.unwrap_or_default();
        if let Some(first) = names.get(&name) {
            let issue = Issue::new(format!("{name:?} is already used"), "second use")
                .with_help("give each worker its own name");
            section.report_with_key("name", issue, &format!("worker[{first}].name"), "first use");
        } else if !name.is_empty() {
            names.insert(name.clone(), index);
        }
        workers.push(read_worker(&mut section, &name, Role::Plain, None));
        section.finish();
    }
    workers
}

fn parse_worker_name(text: &str) -> Result<String, Issue> {
    let expected = || format!("expected 1 to {} of the characters a-z, 0-9, - and _", policy::MAX_NAME);
    let fits = (1..=policy::MAX_NAME).contains(&text.len());
    if text.starts_with('-') {
        let found = format!("{text:?} is not a valid worker name");
        return Err(Issue::new(found, "commands would take it for an option")
            .with_help("begin the name with a letter or a digit"));
    }
    if !fits || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)) {
        return Err(Issue::new(format!("{text:?} is not a valid worker name"), expected()));
    }
    if RESERVED_NAMES.contains(&text) {
        return Err(Issue::new(format!("{text:?} is a reserved name"), "used by Bulkhead")
            .with_help("choose another name"));
    }
    Ok(text.to_owned())
}

/// Reads the keys that every worker has.
pub(super) fn read_worker(
    section: &mut Section<'_>,
    name: &str,
    role: Role,
    default: Option<&str>,
) -> WorkerConfig {
    let command = read_command(section, default);
    let mut worker = WorkerConfig::new(name, role, command);
    worker.env = section.string_map("env").unwrap_or_default();
    worker.pass_env = section.string_list("pass_env").unwrap_or_default();
    check_variables(section, &worker);
    worker.cwd = section.string("cwd", parse_path);
    worker.memory_limit =
        section.size("memory_limit", MIN_MEMORY_LIMIT, MAX_MEMORY_LIMIT).or(worker.memory_limit);
    if role == Role::Plain {
        let issue =
            Issue::new("not a key of a plain worker", "only the API and the analysis are watched for hangs");
        section.refuse("hang_timeout", issue.with_help("remove this key"));
    } else if let Some(timeout) = section.duration("hang_timeout", MIN_HANG_TIMEOUT, MAX_HANG_TIMEOUT) {
        worker.hang_timeout = timeout;
    }
    if let Some(timeout) = section.duration("stop_timeout", Duration::ZERO, MAX_DURATION) {
        worker.stop_timeout = timeout;
    }
    worker
}

fn read_command(section: &mut Section<'_>, default: Option<&str>) -> Vec<String> {
    let command = section.string_list("command");
    let example = "such as [\"/usr/bin/collector\", \"-v\"]";
    let issue = |found| {
        Issue::new(found, "expected a program and its arguments").with_help(format!("write a list {example}"))
    };
    match (command, default) {
        (Some(command), _) if command.first().is_none_or(String::is_empty) => {
            section.report("command", issue("no program"));
            Vec::new()
        }
        (Some(command), _) => {
            check_arguments(section, &command);
            command
        }
        (None, Some(program)) => vec![program.to_owned()],
        (None, None) => {
            if !section.has("command") {
                section.report("command", issue("missing key"));
            }
            Vec::new()
        }
    }
}

/// Checks the length of each argument, and whether a shell would expand the program.
fn check_arguments(section: &Section<'_>, command: &[String]) {
    for (index, argument) in command.iter().enumerate() {
        let checked = if index == 0 { check_unexpanded(argument) } else { Ok(()) };
        if let Err(issue) = checked.and_then(|()| check_length(argument.len())) {
            section.report(&format!("command[{index}]"), issue);
        }
    }
}

/// execve(2) refuses a longer argument or variable.
fn check_length(bytes: usize) -> Result<(), Issue> {
    if bytes < MAX_ARGUMENT {
        return Ok(());
    }
    Err(Issue::new(format!("{bytes} bytes are too long"), format!("expected less than {MAX_ARGUMENT} bytes")))
}

/// Checks the names and lengths of variables.
fn check_variables(section: &Section<'_>, worker: &WorkerConfig) {
    for (name, value) in &worker.env {
        if let Err(issue) = check_length(name.len() + 1 + value.len()) {
            section.report(&format!("env.{name}"), issue);
        }
    }
    let passed = worker.pass_env.iter().enumerate().map(|(index, name)| (format!("pass_env[{index}]"), name));
    for (key, name) in worker.env.keys().map(|name| (format!("env.{name}"), name)).chain(passed) {
        if name.is_empty() || name.contains(['=', '\0']) {
            let issue = Issue::new(
                format!("{name:?} is not a valid variable name"),
                "expected a non-empty name without \"=\"",
            );
            section.report(&key, issue);
        } else if supervisor_variables(worker.role).contains(&name.as_str()) {
            let issue =
                Issue::new("set by the supervisor", "cannot be set here").with_help("remove this variable");
            section.report(&key, issue);
        }
    }
    for (index, name) in worker.pass_env.iter().enumerate().filter(|(_, name)| worker.env.contains_key(*name))
    {
        let issue = Issue::new(format!("{name} is set in env and also passed on"), "passed on here")
            .with_help("keep one of the two");
        section.report_with_sibling(&format!("pass_env[{index}]"), issue, &format!("env.{name}"), "set here");
    }
}

/// The variables that the supervisor sets for a worker of this role.
fn supervisor_variables(role: Role) -> &'static [&'static str] {
    match role {
        Role::Plain => &["BULKHEAD_WORKER", "BULKHEAD_API_URL"],
        Role::Api | Role::Analytics => {
            &["BULKHEAD_WORKER", "BULKHEAD_STATE_DIR", FDS_VARIABLE, SETTINGS_VARIABLE]
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overrides, ProblemReport, Source, parse};

    fn parse_text(text: &str) -> Result<Config, ProblemReport> {
        parse(text, Source::Defaults, &Overrides::default())
    }

    fn error(text: &str) -> String {
        parse_text(text).unwrap_err().to_string()
    }

    #[test]
    fn arguments_and_variables_that_execve_refuses_are_errors() {
        let worker = |argument: usize, variable: usize| {
            let [argument, variable] = [argument, variable].map(|length| "x".repeat(length));
            format!("api = {{ command = [\"a\", \"{argument}\"], env = {{ A = \"{variable}\" }} }}")
        };
        assert!(parse_text(&worker((128 << 10) - 1, (128 << 10) - 3)).is_ok());
        assert!(error(&worker(128 << 10, 0)).contains("api.command[1]: 131072 bytes are too long"));
        assert!(error(&worker(0, (128 << 10) - 2)).contains("api.env.A: 131072 bytes are too long"));
    }
}
