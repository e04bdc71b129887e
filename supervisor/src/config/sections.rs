//! The keys of the contract (DESIGN 8), section by section: each is asked for once, checked, and given its default.

use super::{
    plan::{Listen, LogFormat, LogPlan, Plan, WorkerPlan},
    reader::{Problem, Problems, Section},
};
use crate::step::{Policy, policy};
use bulkhead_proto::{settings::Limits, words::Role};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};
use tracing::level_filters::LevelFilter;

/// Longer delays than a day are slips of the unit.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// No request needs more at once: the ring takes at most an eighth of its capacity a record anyway.
const MAX_BODY: u64 = 1 << 30;

/// More connections than a process of the API could hold fds for.
const MAX_CONNECTIONS: u32 = 1 << 16;

/// The ring's smallest capacity: below it, throughput falls 3 to 6 times.
const MIN_CAPACITY: u64 = 4 << 20;

/// The ring's largest capacity: it is held in memory.
const MAX_CAPACITY: u64 = 64 << 30;

/// The most series that may be kept: the tags that every reader scans grow with it.
const MAX_SERIES: u32 = 1 << 16;

/// The most plain workers: the two fixed roles take the rest of what the ledger holds.
const MAX_PLAIN: usize = policy::MAX_WORKERS - 2;

/// What the environment says over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `BULKHEAD_API_LISTEN`.
    pub listen: Option<String>,
    /// `BULKHEAD_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `STATE_DIRECTORY`, the default of `state_dir`.
    pub default_state_dir: Option<PathBuf>,
    /// The token among systemd's credentials, the default of `api.token_file`.
    pub default_token: Option<PathBuf>,
}

/// Reads all sections; every problem is noted, and then the plan is not to be used.
pub(super) fn plan(mut root: Section<'_>, overrides: &Overrides, problems: &Problems) -> Plan {
    let configured = root.text("state_dir", path);
    let state_dir =
        overrides.state_dir.clone().or(configured).or_else(|| overrides.default_state_dir.clone());
    let log = log(root.section("log"));
    let api = api(root.section("api"), overrides, problems);
    let (max_series, analytics) = analytics(root.section("analytics"));
    let capacity = link(root.section("link"));
    let policy = Policy { faults: faults(root.section("faults")), ..restart(root.section("restart")) };
    let mut workers = vec![api.worker, analytics];
    workers.extend(plain(&mut root));
    root.later("history");
    root.end();
    Plan {
        state_dir: state_dir.unwrap_or_else(|| "bulkhead-state".into()),
        log,
        listen: api.listen,
        max_body: api.max_body,
        limits: api.limits,
        token: api.token,
        insecure: api.insecure,
        max_series,
        capacity,
        policy,
        workers,
    }
}

fn log(mut log: Section<'_>) -> LogPlan {
    let format = log.text("format", |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        "journald" => Ok(LogFormat::Journald),
        _ => Err(format!("wanted \"auto\", \"pretty\", \"json\" or \"journald\", found {text:?}")),
    });
    let level = log.text("level", |text| match text {
        "error" | "warn" | "info" | "debug" | "trace" => text.parse().map_err(|_| text.to_owned()),
        _ => Err(format!("wanted \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found {text:?}")),
    });
    log.end();
    LogPlan { format: format.unwrap_or(LogFormat::Auto), level: level.unwrap_or(LevelFilter::INFO) }
}

/// What the section `[api]` comes to.
struct Api {
    listen: Listen,
    max_body: u64,
    limits: Limits,
    token: Option<PathBuf>,
    insecure: bool,
    worker: WorkerPlan,
}

fn api(mut api: Section<'_>, overrides: &Overrides, problems: &Problems) -> Api {
    let token = api.text("token_file", path).or_else(|| overrides.default_token.clone());
    let insecure = api.flag("insecure").unwrap_or(false);
    let listen = listen(&mut api, insecure || token.is_some(), overrides, problems);
    let max_body = api.size("max_body", 1 << 10, MAX_BODY).unwrap_or(4 << 20);
    let limits = limits(&mut api);
    let worker = worker(&mut api, "api", Role::Api, Some("bulkhead-api"));
    api.end();
    Api { listen, max_body, limits, token, insecure, worker }
}

fn listen(api: &mut Section<'_>, safe: bool, overrides: &Overrides, problems: &Problems) -> Listen {
    let configured = api.text("listen", Listen::parse);
    let exposed = |listen: &Listen| {
        format!(
            "{listen} can be reached from other machines, and anybody there may then change things; \
             listen on 127.0.0.1, ask for a token (api.token_file), or set api.insecure = true"
        )
    };
    let overridden = |text: String| {
        problems.borrow_mut().push(Problem::general(format!("BULKHEAD_API_LISTEN: {text}")));
    };
    match overrides.listen.as_deref().map(Listen::parse) {
        Some(Ok(listen)) => {
            if !listen.is_local() && !safe {
                overridden(exposed(&listen));
            }
            listen
        }
        Some(Err(error)) => {
            overridden(error);
            Listen::DEFAULT
        }
        None => {
            let listen = configured.unwrap_or(Listen::DEFAULT);
            if !listen.is_local() && !safe {
                api.report("listen", &exposed(&listen));
            }
            listen
        }
    }
}

fn limits(api: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let per_address = api.number("max_connections_per_address", 0..MAX_CONNECTIONS + 1);
    Limits {
        max_connections: api
            .number("max_connections", 1..MAX_CONNECTIONS + 1)
            .unwrap_or(default.max_connections),
        max_connections_per_address: per_address.unwrap_or(default.max_connections_per_address),
        request_timeout_ms: api
            .duration("request_timeout", MAX_DELAY)
            .map_or(default.request_timeout_ms, |timeout| {
                u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)
            }),
    }
}

fn analytics(mut analytics: Section<'_>) -> (u32, WorkerPlan) {
    let max_series = analytics.number("max_series", 1..MAX_SERIES + 1).unwrap_or(4096);
    for key in ["standby", "instances", "max_attempts", "hang_timeout"] {
        analytics.later(key);
    }
    let worker = worker(&mut analytics, "analytics", Role::Analytics, Some("bulkhead-analytics"));
    analytics.end();
    (max_series, worker)
}

fn link(mut link: Section<'_>) -> u64 {
    link.text("transport", |text| only(text, "ring"));
    link.text("durability", |text| only(text, "memory"));
    let capacity = link.size("capacity", MIN_CAPACITY, MAX_CAPACITY).unwrap_or(64 << 20);
    if !capacity.is_power_of_two() {
        let (below, above) = (capacity.next_power_of_two() / 2, capacity.next_power_of_two());
        let show = super::units::show_size;
        link.report(
            "capacity",
            &format!("wanted a power of two, such as {:?} or {:?}", show(below), show(above)),
        );
    }
    link.end();
    capacity
}

fn only(text: &str, known: &str) -> Result<(), String> {
    if text == known { Ok(()) } else { Err(format!("{text:?} is not in this version; use {known:?}")) }
}

fn restart(mut restart: Section<'_>) -> Policy {
    let default = Policy::default();
    let policy = Policy {
        initial: restart.duration("initial", MAX_DELAY).unwrap_or(default.initial),
        max: restart.duration("max", MAX_DELAY).unwrap_or(default.max),
        limit: restart.number("limit", 1..policy::MAX_LIMIT + 1).unwrap_or(default.limit),
        period: restart.duration("period", MAX_DELAY).unwrap_or(default.period),
        starts: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        faults: default.faults,
    };
    if policy.initial > policy.max {
        restart.report("initial", "is longer than restart.max; make it at most as long");
    }
    restart.end();
    policy
}

fn faults(mut faults: Section<'_>) -> bool {
    let enabled = faults.flag("enabled").unwrap_or(false);
    faults.end();
    enabled
}

fn plain(root: &mut Section<'_>) -> Vec<WorkerPlan> {
    let mut names = BTreeSet::from(["api".to_owned(), "analytics".to_owned(), "supervisor".to_owned()]);
    let mut workers = Vec::new();
    for mut section in root.sections("worker") {
        let name = section.text("name", |text| name(text, &names));
        if !section.has("name") {
            section.report("name", "every worker needs one");
        }
        let worker = worker(&mut section, name.as_deref().unwrap_or_default(), Role::Plain, None);
        section.end();
        names.insert(worker.name.clone());
        workers.push(worker);
    }
    if workers.len() > MAX_PLAIN {
        root.report(
            "worker",
            &format!("wanted at most {MAX_PLAIN} further workers, found {}", workers.len()),
        );
    }
    workers
}

/// The keys that every worker has.
fn worker(section: &mut Section<'_>, name: &str, role: Role, default: Option<&str>) -> WorkerPlan {
    let command = section.texts("command");
    let usable =
        command.as_ref().is_some_and(|command| command.first().is_some_and(|program| !program.is_empty()));
    if command.is_some() && !usable || command.is_none() && default.is_none() {
        section.report(
            "command",
            "wanted a program and its arguments, such as [\"/usr/bin/collector\", \"-v\"]",
        );
    }
    let command = command.or_else(|| default.map(|program| vec![program.to_owned()]));
    let mut worker = WorkerPlan::new(name, role, command.unwrap_or_default());
    worker.env = section.pairs("env").unwrap_or_default();
    worker.pass_env = section.texts("pass_env").unwrap_or_default();
    for variable in worker.env.keys().chain(&worker.pass_env) {
        if variable.is_empty() || variable.contains(['=', '\0']) {
            section.report("env", &format!("{variable:?} is not a name of a variable"));
        }
    }
    worker.cwd = section.text("cwd", path);
    section.later("memory_limit");
    if let Some(timeout) = section.duration("stop_timeout", MAX_DELAY) {
        worker.stop_timeout = timeout;
    }
    worker
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("wanted a path, found \"\"".into()) } else { Ok(text.into()) }
}

fn name(text: &str, taken: &BTreeSet<String>) -> Result<String, String> {
    let fits = (1..=policy::MAX_NAME).contains(&text.len());
    if !fits || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b)) {
        return Err(format!("wanted 1 to {} of a-z, 0-9, - and _, found {text:?}", policy::MAX_NAME));
    }
    if taken.contains(text) {
        Err(format!("{text:?} is taken; choose another name"))
    } else {
        Ok(text.to_owned())
    }
}
