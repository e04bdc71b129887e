//! The keys of the contract (DESIGN 8), section by section: each is asked for once, checked, and given its default.

use super::{
    plan::{Listen, LogFormat, LogPlan, Plan, WorkerPlan},
    problem::{Fault, Notes, Problem},
    reader::Section,
    units,
    worker::{plain, worker},
};
use crate::{
    core::{Policy, policy},
    display::format_size,
};
use bulkhead_proto::{
    shm::ring::{MAX_CAPACITY, MIN_CAPACITY},
    wire::role::Role,
    worker::settings::Limits,
};
use std::{path::PathBuf, time::Duration};
use tracing::level_filters::LevelFilter;

/// Longer delays than a day are slips of the unit.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// A time of nothing would mean something else than what it says: no pause between restarts, no request ever in time.
const MIN_TIME: Duration = Duration::from_millis(1);

/// The smallest `max_body`: a handful of events.
const MIN_BODY: u64 = 1 << 10;

/// No request needs more at once: the ring takes at most an eighth of its capacity a record anyway.
const MAX_BODY: u64 = 1 << 30;

/// More connections than a process of the API could hold fds for.
const MAX_CONNECTIONS: u32 = 1 << 16;

/// The most series that may be kept: the tags that every reader scans grow with it.
const MAX_SERIES: u32 = 1 << 16;

/// What the environment says over the file, or where the file says nothing.
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
pub(super) fn plan(mut root: Section<'_>, overrides: &Overrides, notes: &Notes) -> Plan {
    let configured = root.text("state_dir", path);
    let state_dir =
        overrides.state_dir.clone().or(configured).or_else(|| overrides.default_state_dir.clone());
    let log = log(root.section("log"));
    let api = api(root.section("api"), overrides, notes);
    let (max_series, max_attempts, analytics) = analytics(root.section("analytics"));
    let capacity = link(root.section("link"));
    let restart = restart(root.section("restart"));
    let policy = Policy { faults: faults(root.section("faults")), max_attempts, ..restart };
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
    let formats = [
        ("auto", LogFormat::Auto),
        ("pretty", LogFormat::Pretty),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    let levels = [
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ];
    let plan = LogPlan {
        format: log.word("format", &formats).unwrap_or(LogFormat::Auto),
        level: log.word("level", &levels).unwrap_or(LevelFilter::INFO),
    };
    log.end();
    plan
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

fn api(mut api: Section<'_>, overrides: &Overrides, notes: &Notes) -> Api {
    let token = api.text("token_file", path).or_else(|| overrides.default_token.clone());
    // A key that is there but was not understood has been spoken of.
    let misread = api.has("token_file") && token.is_none();
    let insecure = api.flag("insecure").unwrap_or(false);
    let listen = listen(&mut api, insecure || token.is_some() || misread, overrides, notes);
    let max_body = api.size("max_body", MIN_BODY, MAX_BODY).unwrap_or(4 << 20);
    let limits = limits(&mut api);
    let worker = worker(&mut api, "api", Role::Api, Some("bulkhead-api"));
    api.end();
    Api { listen, max_body, limits, token, insecure, worker }
}

fn listen(api: &mut Section<'_>, safe: bool, overrides: &Overrides, notes: &Notes) -> Listen {
    let configured = api.text("listen", Listen::parse);
    let refused = |listen: &Listen| !listen.is_local() && !safe;
    match overrides.listen.as_deref().map(Listen::parse) {
        None => {
            let listen = configured.unwrap_or(Listen::DEFAULT);
            if refused(&listen) {
                api.report_with("listen", exposed(&listen), "insecure", "does not allow it");
            }
            listen
        }
        Some(overriding) => {
            let listen = overriding.and_then(|listen| match refused(&listen) {
                true => Err(exposed(&listen)),
                false => Ok(listen),
            });
            listen.unwrap_or_else(|fault| {
                notes.push(Problem::of_variable("BULKHEAD_API_LISTEN", fault));
                Listen::DEFAULT
            })
        }
    }
}

fn exposed(listen: &Listen) -> Fault {
    let found = format!("{:?} can be reached from other machines", listen.to_string());
    Fault::new(found, "anybody there could change things")
        .help("listen on 127.0.0.1, or ask for a token (api.token_file), or set api.insecure = true")
}

fn limits(api: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let all = api.number("max_connections", 1..MAX_CONNECTIONS + 1);
    let per_address = api.number("max_connections_per_address", 0..MAX_CONNECTIONS + 1);
    // A key that was misread has been spoken of.
    let most = all.or_else(|| (!api.has("max_connections")).then_some(default.max_connections));
    if let (Some(most), Some(per_address)) = (most, per_address)
        && per_address > most
    {
        let found = format!("{per_address} is more than api.max_connections, which is {most}");
        let fault = Fault::new(found, "never reached")
            .help("raise api.max_connections, or set this to 0 if one address may have all connections");
        api.report_with("max_connections_per_address", fault, "max_connections", "the most in all");
    }
    let timeout = api.duration("request_timeout", MIN_TIME, MAX_DELAY).map(|timeout| timeout.as_millis());
    Limits {
        max_connections: all.unwrap_or(default.max_connections),
        max_connections_per_address: per_address.unwrap_or(default.max_connections_per_address),
        request_timeout_ms: timeout
            .and_then(|timeout| u64::try_from(timeout).ok())
            .unwrap_or(default.request_timeout_ms),
    }
}

fn analytics(mut analytics: Section<'_>) -> (u32, u32, WorkerPlan) {
    let max_series = analytics.number("max_series", 1..MAX_SERIES + 1).unwrap_or(4096);
    let attempts = 1..policy::MAX_ATTEMPTS + 1;
    let max_attempts = analytics.number("max_attempts", attempts).unwrap_or(Policy::default().max_attempts);
    for key in ["standby", "instances"] {
        analytics.later(key);
    }
    let worker = worker(&mut analytics, "analytics", Role::Analytics, Some("bulkhead-analytics"));
    analytics.end();
    (max_series, max_attempts, worker)
}

fn link(mut link: Section<'_>) -> u64 {
    link.text("transport", |text| only(text, "ring"));
    link.text("durability", |text| only(text, "memory"));
    let capacity = link.size("capacity", MIN_CAPACITY, MAX_CAPACITY).unwrap_or(64 << 20);
    if !capacity.is_power_of_two() {
        let show = |bytes| format!("{:?}", format_size(bytes));
        let above = capacity.next_power_of_two();
        let fault = Fault::new(format!("{} is not a power of two", show(capacity)), "wanted a power of two");
        link.report("capacity", fault.offer(Some(format!("{} or {}", show(above / 2), show(above)))));
    }
    link.end();
    capacity
}

fn only(text: &str, known: &str) -> Result<(), Fault> {
    if text == known {
        return Ok(());
    }
    Err(Fault::new(format!("{text:?} is not in this version"), format!("wanted {known:?}")))
}

fn restart(mut restart: Section<'_>) -> Policy {
    let default = Policy::default();
    let max = restart.duration("max", MIN_TIME, MAX_DELAY);
    let policy = Policy {
        initial: restart.duration("initial", Duration::ZERO, MAX_DELAY).unwrap_or(default.initial),
        max: max.unwrap_or(default.max),
        limit: restart.number("limit", 1..policy::MAX_LIMIT + 1).unwrap_or(default.limit),
        period: restart.duration("period", MIN_TIME, MAX_DELAY).unwrap_or(default.period),
        starts: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        faults: default.faults,
        max_attempts: default.max_attempts,
    };
    // A key that was misread has been spoken of.
    let misread = restart.has("max") && max.is_none();
    if policy.initial > policy.max && !misread {
        let max = units::show_duration(policy.max);
        let fault = Fault::new(format!("longer than restart.max, which is {max}"), "the first delay")
            .help(format!("set restart.initial to at most \"{max}\", or raise restart.max"));
        restart.report_with("initial", fault, "max", "the longest delay");
    }
    restart.end();
    policy
}

fn faults(mut faults: Section<'_>) -> bool {
    let enabled = faults.flag("enabled").unwrap_or(false);
    faults.end();
    enabled
}

/// A path, which may be relative to where the supervisor is started.
pub(super) fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() { Err(Fault::new("an empty path", "wanted a path")) } else { Ok(text.into()) }
}
