//! The active configuration, and its differences from a new one.

use super::{
    model::{Config, WorkerConfig},
    units::format_share,
};
use crate::{
    core::Policy,
    display::{format_exact_duration, format_size},
};
use bulkhead_proto::{
    wire::role::Role,
    worker::settings::{Access, Limits},
};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

/// The configuration that the service and each worker currently use.
#[derive(Clone, Debug)]
pub struct ActiveConfig {
    config: Arc<Config>,
    /// The configuration of each worker. It is an older one if the replacement of the worker failed.
    workers: BTreeMap<String, Arc<Config>>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key that needs no new process.
    Setting(SettingChange),
    /// A difference of the worker with this name.
    Worker(String, WorkerChange),
}

/// A changed key that needs no new process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The key.
    pub key: String,
    /// The old value.
    pub from: String,
    /// The new value.
    pub to: String,
    /// Takes effect at once: only the supervisor uses the key. Otherwise the old value stays active until the next start
    /// of the service.
    pub live: bool,
}

/// A difference of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerChange {
    /// These keys changed. The running process was started with the old values, so the worker needs a new process.
    Replaced(Vec<&'static str>),
    /// The worker is new.
    Added,
    /// The worker is no longer in the file.
    Removed,
}

impl ActiveConfig {
    /// The configuration at the start of the service.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let workers = config.workers.iter().map(|worker| (worker.name.clone(), Arc::clone(&config)));
        Self { workers: workers.collect(), config }
    }

    /// The configuration of the service.
    #[must_use]
    pub fn current(&self) -> &Config {
        &self.config
    }

    /// The configuration that this worker uses, if the worker exists.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<(&Config, &WorkerConfig)> {
        let config = self.workers.get(name)?;
        Some((config, config.worker(name)?))
    }

    /// The differences of a new configuration: first those of the service, then those of workers.
    #[must_use]
    pub fn changes(&self, file: &Config) -> Vec<Change> {
        let mut changes = service_changes(&self.config, file);
        let removed = self.workers.keys().filter(|name| file.worker(name).is_none());
        changes.extend(removed.map(|name| Change::Worker(name.clone(), WorkerChange::Removed)));
        for worker in &file.workers {
            match self.worker(&worker.name) {
                Some(former) => changes.extend(worker_changes(former, (file, worker))),
                None => changes.push(Change::Worker(worker.name.clone(), WorkerChange::Added)),
            }
        }
        changes
    }

    /// Activates a new configuration, except the keys that need a start of the service.
    pub fn adopt(&mut self, file: Config) {
        let Config { state_dir, listen, max_series, ring_capacity, .. } = (*self.config).clone();
        *self = Self::new(Config { state_dir, listen, max_series, ring_capacity, ..file });
    }

    /// Restores the former configuration of this worker.
    pub fn revert(&mut self, worker: &str, former: &Self) {
        match former.workers.get(worker) {
            Some(config) => self.workers.insert(worker.to_owned(), Arc::clone(config)),
            None => self.workers.remove(worker),
        };
    }
}

/// The keys of the service: name, value, and whether a change takes effect at once. The pattern names every field, so that
/// a new field cannot be forgotten.
fn settings(config: &Config) -> [(&'static str, String, bool); 16] {
    let Config {
        // The same for every configuration of a run.
        start_dir: _,
        state_dir,
        log,
        listen,
        max_series,
        ring_capacity,
        policy: Policy { faults, max_attempts, brake, initial, max, limit, period, standby, starts: _ },
        // Only decides whether `listen` is allowed.
        insecure: _,
        // The API and the analysis are started with these; see `start_keys`.
        max_body: _,
        limits: _,
        access: _,
        token_file: _,
        expire: _,
        workers: _,
    } = config;
    // The supervisor alone uses `hang_timeout`, so a change needs no new process.
    let hang_timeout = |name| config.worker(name).map_or(Duration::ZERO, |worker| worker.hang_timeout);
    [
        ("state_dir", state_dir.display().to_string(), false),
        ("api.listen", listen.to_string(), false),
        ("analytics.max_series", max_series.to_string(), false),
        ("link.capacity", format_size(*ring_capacity), false),
        ("analytics.max_attempts", max_attempts.to_string(), true),
        ("analytics.brake", format_share(*brake), true),
        ("analytics.standby", standby.to_string(), true),
        ("api.hang_timeout", format_exact_duration(hang_timeout("api")), true),
        ("analytics.hang_timeout", format_exact_duration(hang_timeout("analytics")), true),
        ("log.format", log.format.to_string(), true),
        ("log.level", log.level.to_string(), true),
        ("restart.initial", format_exact_duration(*initial), true),
        ("restart.max", format_exact_duration(*max), true),
        ("restart.limit", limit.to_string(), true),
        ("restart.period", format_exact_duration(*period), true),
        ("faults.enabled", faults.to_string(), true),
    ]
}

fn service_changes(running: &Config, file: &Config) -> Vec<Change> {
    let pairs = settings(running).into_iter().zip(settings(file));
    pairs.filter_map(|((key, from, live), (_, to, _))| setting(key, from, to, live)).collect()
}

fn setting(key: &str, from: String, to: String, live: bool) -> Option<Change> {
    (from != to).then(|| Change::Setting(SettingChange { key: key.to_owned(), from, to, live }))
}

/// The keys with which the process of a worker is started, and their values.
fn start_keys(config: &Config, worker: &WorkerConfig) -> [(&'static str, String); 17] {
    let WorkerConfig {
        name: _,
        role,
        command,
        env,
        pass_env,
        cwd,
        stop_timeout,
        memory_limit,
        hang_timeout: _,
    } = worker;
    let Limits {
        max_connections,
        max_connections_per_address,
        request_timeout_ms,
        idle_timeout_ms,
        max_event,
    } = &config.limits;
    let Access { allowed_hosts, cors_origins } = &config.access;
    let text = |value: &dyn Debug| format!("{value:?}");
    let linked = |value: &dyn Debug| if *role == Role::Plain { String::new() } else { text(value) };
    let only = |wanted, value: &dyn Debug| if *role == wanted { text(value) } else { String::new() };
    let api = |value: &dyn Debug| only(Role::Api, value);
    [
        ("command", text(command)),
        ("env", text(env)),
        ("pass_env", text(pass_env)),
        ("cwd", text(cwd)),
        ("memory_limit", text(memory_limit)),
        // The API and the analysis get `stop_timeout` at their start, so that they drain in time.
        ("stop_timeout", linked(stop_timeout)),
        ("faults.enabled", linked(&config.policy.faults)),
        ("max_body", api(&config.max_body)),
        ("max_event", api(max_event)),
        ("max_connections", api(max_connections)),
        ("max_connections_per_address", api(max_connections_per_address)),
        ("request_timeout", api(request_timeout_ms)),
        ("idle_timeout", api(idle_timeout_ms)),
        ("allowed_hosts", api(allowed_hosts)),
        ("cors_origins", api(cors_origins)),
        ("token_file", api(&config.token_file)),
        ("expire", only(Role::Analytics, &config.expire)),
    ]
}

/// A worker needs a new process if a value changed with which its process was started.
fn worker_changes(
    (config, worker): (&Config, &WorkerConfig),
    (file, new): (&Config, &WorkerConfig),
) -> Option<Change> {
    let pairs = start_keys(config, worker).into_iter().zip(start_keys(file, new));
    let keys: Vec<_> = pairs.filter(|(from, to)| from != to).map(|((key, _), _)| key).collect();
    if !keys.is_empty() {
        return Some(Change::Worker(new.name.clone(), WorkerChange::Replaced(keys)));
    }
    let [from, to] = [worker, new].map(|worker| format_exact_duration(worker.stop_timeout));
    setting(&format!("{}.stop_timeout", new.name), from, to, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source, parse};

    fn config_of(text: &str) -> Config {
        parse(text, Source::Defaults, &Overrides::default()).unwrap()
    }

    fn changes(from: &str, to: &str) -> Vec<Change> {
        ActiveConfig::new(config_of(from)).changes(&config_of(to))
    }

    fn replaced(worker: &str, keys: &[&'static str]) -> Change {
        Change::Worker(worker.into(), WorkerChange::Replaced(keys.to_vec()))
    }

    fn live_change(key: &str, from: &str, to: &str) -> Change {
        setting(key, from.into(), to.into(), true).unwrap()
    }

    const TWO: &str =
        "[[worker]]\nname = \"a\"\ncommand = [\"a\"]\n[[worker]]\nname = \"b\"\ncommand = [\"b\"]\n";

    #[test]
    fn an_equal_configuration_changes_nothing() {
        assert_eq!(changes(TWO, TWO), []);
    }

    #[test]
    fn the_order_of_workers_does_not_matter() {
        let moved =
            "[[worker]]\nname = \"b\"\ncommand = [\"b\"]\n[[worker]]\nname = \"a\"\ncommand = [\"a\"]\n";
        assert_eq!(changes(TWO, moved), []);
    }

    #[test]
    fn workers_are_added_and_removed_by_name() {
        let other =
            "[[worker]]\nname = \"b\"\ncommand = [\"b\"]\n[[worker]]\nname = \"c\"\ncommand = [\"a\"]\n";
        assert_eq!(
            changes(TWO, other),
            [
                Change::Worker("a".into(), WorkerChange::Removed),
                Change::Worker("c".into(), WorkerChange::Added)
            ]
        );
    }

    #[test]
    fn a_key_that_a_process_was_started_with_replaces_only_that_worker() {
        assert_eq!(changes("", "analytics.command = [\"x\"]"), [replaced("analytics", &["command"])]);
        assert_eq!(
            changes(
                "",
                "[api]\nmax_body = \"1MiB\"\nmax_event = \"1KiB\"\nenv = { A = \"1\" }\nstop_timeout = \"1s\""
            ),
            [replaced("api", &["env", "stop_timeout", "max_body", "max_event"])]
        );
    }

    #[test]
    fn a_new_memory_limit_replaces_a_worker_of_any_role() {
        let limited = |text: &str| text.replace("[\"a\"]", "[\"a\"]\nmemory_limit = \"64MiB\"");
        assert_eq!(changes(TWO, &limited(TWO)), [replaced("a", &["memory_limit"])]);
        assert_eq!(changes("", "analytics.memory_limit = \"1GiB\""), [], "the default");
        assert_eq!(
            changes("", "analytics.memory_limit = \"2GiB\""),
            [replaced("analytics", &["memory_limit"])]
        );
    }

    #[test]
    fn faults_change_the_supervisor_and_replace_the_api_and_the_analysis() {
        let live = live_change("faults.enabled", "false", "true");
        let keys = ["faults.enabled"];
        assert_eq!(
            changes(TWO, &format!("faults.enabled = true\n{TWO}")),
            [live, replaced("api", &keys), replaced("analytics", &keys)]
        );
    }

    #[test]
    fn a_new_hang_timeout_replaces_no_worker() {
        assert_eq!(changes("", "api.hang_timeout = \"1s\""), [live_change("api.hang_timeout", "10s", "1s")]);
    }

    #[test]
    fn a_new_stop_timeout_replaces_no_plain_worker() {
        let longer = TWO.replace("[\"a\"]", "[\"a\"]\nstop_timeout = \"1m\"");
        assert_eq!(changes(TWO, &longer), [live_change("a.stop_timeout", "10s", "1m")]);
    }

    #[test]
    fn a_key_that_needs_a_start_stays_and_is_reported_at_each_reload() {
        let file = config_of("link.capacity = \"128MiB\"\nrestart.limit = 3");
        let mut active = ActiveConfig::new(config_of(""));
        let next_start = setting("link.capacity", "64MiB".into(), "128MiB".into(), false).unwrap();
        assert_eq!(active.changes(&file)[0], next_start);
        active.adopt(file.clone());
        assert_eq!((active.current().ring_capacity, active.current().policy.limit), (64 << 20, 3));
        assert_eq!(active.changes(&file), [next_start]);
    }

    #[test]
    fn a_reverted_worker_differs_from_the_file_again() {
        let file = config_of("analytics.command = [\"x\"]\n[[worker]]\nname = \"a\"\ncommand = [\"a\"]");
        let former = ActiveConfig::new(config_of(""));
        let mut active = former.clone();
        active.adopt(file.clone());
        active.revert("analytics", &former);
        active.revert("a", &former);
        assert_eq!(active.worker("analytics").unwrap().1.command, ["bulkhead-analytics"]);
        assert_eq!(
            active.changes(&file),
            [replaced("analytics", &["command"]), Change::Worker("a".into(), WorkerChange::Added)]
        );
    }
}
