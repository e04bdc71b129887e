//! Reads the configuration section by section: each key is read once, checked, and given its default.

use super::{
    access::read_access,
    model::{Config, ListenAddr, LogConfig, LogFormat, WorkerConfig},
    overrides::Overrides,
    problem::{Diagnostics, Issue, Problem},
    reader::{Section, check_unexpanded, parse_path},
    units::{MAX_DURATION, parse_expire, parse_share},
    worker::{read_plain_workers, read_worker},
};
use crate::{
    core::{Policy, policy},
    display::{format_exact_duration, format_size},
};
use bulkhead_proto::{
    shm::ring::{MAX_CAPACITY, MIN_CAPACITY, capacity_for},
    wire::{
        event::{MAX_DATA, largest_event},
        role::Role,
    },
    worker::settings::{Access, Limits},
};
use std::{path::PathBuf, time::Duration};
use tracing::level_filters::LevelFilter;

/// The shortest duration. Zero would mean no pause between restarts, or requests that always time out.
const MIN_DURATION: Duration = Duration::from_millis(1);

/// The shortest `idle_timeout`. A shorter one would close connections between the requests of a busy client.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The smallest `max_body`, in bytes: a few events.
const MIN_BODY: u64 = 1 << 10;

/// The largest `max_body`, in bytes. Clients split larger batches into several requests.
const MAX_BODY: u64 = 1 << 30;

/// The smallest `max_event`, in bytes.
const MIN_EVENT: u64 = 1 << 10;

/// The largest `max_connections`: more than the API has file descriptors for.
const MAX_CONNECTIONS: u32 = 1 << 16;

/// The largest `max_series`. 256 GiB of address space are reserved for it.
const MAX_SERIES: u32 = 4_000_000;

/// The default of `api.max_body`, in bytes: thousands of events in one request.
const DEFAULT_MAX_BODY: u64 = 4 << 20;

/// The default of `analytics.standby`: a takeover takes a quarter of the time of a start.
const DEFAULT_STANDBY: bool = true;

/// The default of `analytics.max_series`.
const DEFAULT_MAX_SERIES: u32 = 100_000;

/// The default of `link.capacity`, in bytes: hundreds of thousands of events while the analysis is away.
const DEFAULT_RING_CAPACITY: u64 = 64 << 20;

/// Reads all sections and adds every problem to `diagnostics`. The result must not be used if there is an error.
pub(super) fn read_config(mut root: Section<'_>, overrides: &Overrides, diagnostics: &Diagnostics) -> Config {
    let configured = root.string("state_dir", parse_path);
    if let Some(text) = overrides.state_dir.as_ref().and_then(|path| path.to_str())
        && let Err(issue) = check_unexpanded(text)
    {
        diagnostics.push(Problem::in_environment("BULKHEAD_STATE_DIR", issue));
    }
    let state_dir =
        overrides.state_dir.clone().or(configured).or_else(|| overrides.default_state_dir.clone());
    let log = read_log(root.section("log"));
    let api = read_api(root.section("api"), overrides, diagnostics);
    let analytics = read_analytics(root.section("analytics"));
    let ring_capacity = read_link(root.section("link"));
    check_ring(api.limits.max_event, ring_capacity, diagnostics);
    let restart = read_restart(root.section("restart"));
    let Analytics { max_series, expire, max_attempts, brake, standby, worker } = analytics;
    let faults = read_faults(root.section("faults"));
    let policy = Policy { faults, max_attempts, brake, standby, ..restart };
    let mut workers = vec![api.worker, worker];
    workers.extend(read_plain_workers(&mut root));
    root.reserved("history");
    root.finish();
    Config {
        start_dir: PathBuf::new(),
        state_dir: state_dir.unwrap_or_else(|| "bulkhead-state".into()),
        log,
        listen: api.listen,
        max_body: api.max_body,
        limits: api.limits,
        access: api.access,
        token_file: api.token_file,
        insecure: api.insecure,
        max_series,
        expire,
        ring_capacity,
        policy,
        workers,
    }
}

fn read_log(mut log: Section<'_>) -> LogConfig {
    let formats = LogFormat::ALL.iter().map(|format| (format.as_str(), *format));
    let levels = ["error", "warn", "info", "debug", "trace"].into_iter();
    let levels = levels.map(|word| (word, word.parse().unwrap_or(LevelFilter::INFO)));
    let config = LogConfig {
        format: log.choice("format", formats).unwrap_or(LogFormat::Auto),
        level: log.choice("level", levels).unwrap_or(LevelFilter::INFO),
    };
    log.finish();
    config
}

/// The values of the section `[api]`.
struct Api {
    listen: ListenAddr,
    max_body: u64,
    limits: Limits,
    access: Access,
    token_file: Option<PathBuf>,
    insecure: bool,
    worker: WorkerConfig,
}

fn read_api(mut api: Section<'_>, overrides: &Overrides, diagnostics: &Diagnostics) -> Api {
    let token_file = api.string("token_file", parse_path).or_else(|| overrides.default_token.clone());
    // An invalid key is already reported.
    let invalid = api.has("token_file") && token_file.is_none();
    let insecure = api.boolean("insecure").unwrap_or(false);
    let listen = read_listen(&mut api, insecure || token_file.is_some() || invalid, overrides, diagnostics);
    let max_body = api.size("max_body", MIN_BODY, MAX_BODY).unwrap_or(DEFAULT_MAX_BODY);
    let limits = read_limits(&mut api);
    let access = read_access(&mut api);
    let worker = read_worker(&mut api, "api", Role::Api, Some("bulkhead-api"));
    api.finish();
    Api { listen, max_body, limits, access, token_file, insecure, worker }
}

fn read_listen(
    api: &mut Section<'_>,
    exposure_allowed: bool,
    overrides: &Overrides,
    diagnostics: &Diagnostics,
) -> ListenAddr {
    let configured = api.string("listen", ListenAddr::parse);
    let checked = |listen: ListenAddr| match listen.is_local() || exposure_allowed {
        true => Ok(listen),
        false => Err(exposed_issue(&listen)),
    };
    let listen = match overrides.listen.as_deref() {
        None => checked(configured.unwrap_or(ListenAddr::DEFAULT)).map_err(|issue| {
            let label = "exposure without a token is not allowed";
            api.report_with_sibling("listen", issue, "insecure", label);
        }),
        Some(overriding) => ListenAddr::parse(overriding)
            .and_then(checked)
            .map_err(|issue| diagnostics.push(Problem::in_environment("BULKHEAD_API_LISTEN", issue))),
    };
    listen.unwrap_or(ListenAddr::DEFAULT)
}

fn exposed_issue(listen: &ListenAddr) -> Issue {
    let found = format!("{:?} can be reached from other machines", listen.to_string());
    Issue::new(found, "clients there could change state without a token")
        .with_help("listen on 127.0.0.1, or set api.token_file, or set api.insecure = true")
}

fn read_limits(api: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let all = api.integer("max_connections", 1..MAX_CONNECTIONS + 1);
    let per_address = api.integer("max_connections_per_address", 0..MAX_CONNECTIONS + 1);
    // An invalid key is already reported.
    let most = all.or_else(|| (!api.has("max_connections")).then_some(default.max_connections));
    if let (Some(most), Some(per_address)) = (most, per_address)
        && per_address > most
    {
        let found = format!("{per_address} is greater than api.max_connections ({most})");
        let issue = Issue::new(found, "this limit is never reached")
            .with_help("raise api.max_connections, or set this key to 0 for no limit per address");
        api.report_with_sibling(
            "max_connections_per_address",
            issue,
            "max_connections",
            "the limit of all connections",
        );
    }
    let mut timeout = |key, min| {
        api.duration(key, min, MAX_DURATION).and_then(|timeout| u64::try_from(timeout.as_millis()).ok())
    };
    let request_timeout_ms = timeout("request_timeout", MIN_DURATION).unwrap_or(default.request_timeout_ms);
    let idle_timeout_ms = timeout("idle_timeout", MIN_IDLE_TIMEOUT).unwrap_or(default.idle_timeout_ms);
    let max_event = api.size("max_event", MIN_EVENT, MAX_DATA as u64);
    Limits {
        max_connections: all.unwrap_or(default.max_connections),
        max_connections_per_address: per_address.unwrap_or(default.max_connections_per_address),
        request_timeout_ms,
        idle_timeout_ms,
        max_event: max_event.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(default.max_event),
    }
}

/// The values of the section `[analytics]`.
struct Analytics {
    max_series: u32,
    expire: Option<Duration>,
    max_attempts: u32,
    brake: Option<u8>,
    standby: bool,
    worker: WorkerConfig,
}

fn read_analytics(mut analytics: Section<'_>) -> Analytics {
    let max_series = analytics.integer("max_series", 1..MAX_SERIES + 1).unwrap_or(DEFAULT_MAX_SERIES);
    let expire = analytics.string("expire", parse_expire).unwrap_or_default();
    let attempts = 1..policy::MAX_ATTEMPTS + 1;
    let max_attempts = analytics.integer("max_attempts", attempts).unwrap_or(Policy::default().max_attempts);
    let brake = analytics.string("brake", parse_share).unwrap_or(Policy::default().brake);
    let standby = analytics.boolean("standby").unwrap_or(DEFAULT_STANDBY);
    analytics.reserved("instances");
    let worker = read_worker(&mut analytics, "analytics", Role::Analytics, Some("bulkhead-analytics"));
    analytics.finish();
    Analytics { max_series, expire, max_attempts, brake, standby, worker }
}

fn read_link(mut link: Section<'_>) -> u64 {
    link.string("transport", |text| require_value(text, "ring"));
    link.string("durability", |text| require_value(text, "memory"));
    let capacity = link.size("capacity", MIN_CAPACITY, MAX_CAPACITY).unwrap_or(DEFAULT_RING_CAPACITY);
    if !capacity.is_power_of_two() {
        let show = |bytes| format!("{:?}", format_size(bytes));
        let above = capacity.next_power_of_two();
        let issue =
            Issue::new(format!("{} is not a power of two", show(capacity)), "expected a power of two");
        link.report("capacity", issue.suggest(Some(format!("{} or {}", show(above / 2), show(above)))));
    }
    link.finish();
    capacity
}

/// Checks that the ring takes the largest event.
fn check_ring(max_event: u32, capacity: u64, diagnostics: &Diagnostics) {
    let needed = ring_capacity_for(max_event);
    if capacity >= needed {
        return;
    }
    let show = |bytes| format!("{:?}", format_size(bytes));
    let found = format!(
        "api.max_event: {} is too large for link.capacity ({})",
        show(max_event.into()),
        show(capacity)
    );
    let issue = Issue::new(found, "an event may take an eighth of the ring")
        .with_help(format!("set link.capacity to {} or more, or lower api.max_event", show(needed)));
    let label = "the size of the ring".to_owned();
    let related = diagnostics.span_of("link.capacity").map(|span| (span, label));
    diagnostics.push(Problem { related, ..Problem::new(issue, diagnostics.span_of("api.max_event")) });
}

/// The smallest ring that takes events with this much `data`, in bytes.
pub(crate) fn ring_capacity_for(max_event: u32) -> u64 {
    capacity_for(largest_event(usize::try_from(max_event).unwrap_or(usize::MAX)))
}

fn require_value(text: &str, supported: &str) -> Result<(), Issue> {
    if text == supported {
        return Ok(());
    }
    Err(Issue::new(format!("{text:?} is not supported in this version"), format!("expected {supported:?}")))
}

fn read_restart(mut restart: Section<'_>) -> Policy {
    let default = Policy::default();
    let max = restart.duration("max", MIN_DURATION, MAX_DURATION);
    let policy = Policy {
        initial: restart.duration("initial", Duration::ZERO, MAX_DURATION).unwrap_or(default.initial),
        max: max.unwrap_or(default.max),
        limit: restart.integer("limit", 1..policy::MAX_LIMIT + 1).unwrap_or(default.limit),
        period: restart.duration("period", MIN_DURATION, MAX_DURATION).unwrap_or(default.period),
        starts: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
        faults: default.faults,
        max_attempts: default.max_attempts,
        brake: default.brake,
        standby: default.standby,
    };
    // An invalid key is already reported.
    let invalid = restart.has("max") && max.is_none();
    if policy.initial > policy.max && !invalid {
        let max = format_exact_duration(policy.max);
        let issue = Issue::new(
            format!("longer than restart.max ({max})"),
            "the first delay cannot exceed the longest delay",
        )
        .with_help(format!("set restart.initial to at most \"{max}\", or raise restart.max"));
        restart.report_with_sibling("initial", issue, "max", "the longest delay");
    }
    restart.finish();
    policy
}

fn read_faults(mut faults: Section<'_>) -> bool {
    let enabled = faults.boolean("enabled").unwrap_or(false);
    faults.finish();
    enabled
}
