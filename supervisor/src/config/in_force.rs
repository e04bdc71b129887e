//! The configuration in force, and what another one changes about it.

use super::{Plan, WorkerPlan, units::show_duration};
use crate::{core::Policy, display::format_size};
use bulkhead_proto::{wire::role::Role, worker::settings::Limits};
use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

/// What the service and each of its workers go by.
#[derive(Clone, Debug)]
pub struct InForce {
    plan: Arc<Plan>,
    /// A worker whose replacement failed goes by a former plan.
    workers: BTreeMap<String, Arc<Plan>>,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key that takes no process.
    Setting(Setting),
    /// The worker of this name.
    Worker(String, WorkerChange),
}

/// A key that takes no process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It takes effect with the plan, since the supervisor alone goes by it.
    Live {
        /// The key.
        key: String,
        /// Its value so far.
        from: String,
        /// Its value from here on.
        to: String,
    },
    /// Only a start of the whole service can bring it about: until then, its value stays.
    Later {
        /// The key.
        key: &'static str,
        /// The value that stays.
        running: String,
        /// The value in the file.
        file: String,
    },
}

/// What becomes of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerChange {
    /// It needs another process, for these keys have changed that the present one was started with.
    Replaced(Vec<&'static str>),
    /// It is new.
    Added,
    /// It is no longer in the file.
    Removed,
}

impl InForce {
    /// At the start of the service.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let workers = plan.workers.iter().map(|worker| (worker.name.clone(), Arc::clone(&plan)));
        Self { workers: workers.collect(), plan }
    }

    /// What the service goes by.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What this worker goes by, if there is such a worker.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<(&Plan, &WorkerPlan)> {
        let plan = self.workers.get(name)?;
        Some((plan, plan.worker(name)?))
    }

    /// The changes that this plan would make, the service's own before those of its workers.
    #[must_use]
    pub fn changes(&self, file: &Plan) -> Vec<Change> {
        let mut changes = service(&self.plan, file);
        let gone = self.workers.keys().filter(|name| file.worker(name).is_none());
        changes.extend(gone.map(|name| Change::Worker(name.clone(), WorkerChange::Removed)));
        for worker in &file.workers {
            match self.worker(&worker.name) {
                Some(former) => changes.extend(of_worker(former, (file, worker))),
                None => changes.push(Change::Worker(worker.name.clone(), WorkerChange::Added)),
            }
        }
        changes
    }

    /// Goes by this plan from here on, apart from what only a start of the service can change.
    pub fn adopt(&mut self, file: Plan) {
        let Plan { state_dir, listen, max_series, capacity, .. } = (*self.plan).clone();
        *self = Self::new(Plan { state_dir, listen, max_series, capacity, ..file });
    }

    /// Lets this worker go by what it went by before.
    pub fn revert(&mut self, worker: &str, former: &Self) {
        match former.workers.get(worker) {
            Some(plan) => self.workers.insert(worker.to_owned(), Arc::clone(plan)),
            None => self.workers.remove(worker),
        };
    }
}

/// The keys that are not a worker's. Every field is named, so that none is forgotten.
fn service(now: &Plan, file: &Plan) -> Vec<Change> {
    let Plan {
        state_dir,
        log,
        listen,
        max_series,
        capacity,
        policy: Policy { faults, max_attempts, initial, max, limit, period, starts: _ },
        // Nothing but whether `listen` is allowed.
        insecure: _,
        // The API is started with these.
        max_body: _,
        limits: _,
        token: _,
        workers: _,
    } = file;
    let policy = &now.policy;
    [
        later("state_dir", now.state_dir.display(), state_dir.display()),
        later("api.listen", &now.listen, listen),
        later("analytics.max_series", now.max_series, max_series),
        later("link.capacity", format_size(now.capacity), format_size(*capacity)),
        live("analytics.max_attempts", policy.max_attempts, max_attempts),
        patience(now, file, "api"),
        patience(now, file, "analytics"),
        live("log.format", now.log.format, log.format),
        live("log.level", now.log.level, log.level),
        live("restart.initial", show_duration(policy.initial), show_duration(*initial)),
        live("restart.max", show_duration(policy.max), show_duration(*max)),
        live("restart.limit", policy.limit, limit),
        live("restart.period", show_duration(policy.period), show_duration(*period)),
        live("faults.enabled", policy.faults, faults),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn later(key: &'static str, running: impl Display, file: impl Display) -> Option<Change> {
    let (running, file) = (running.to_string(), file.to_string());
    (running != file).then_some(Change::Setting(Setting::Later { key, running, file }))
}

fn live(key: &str, from: impl Display, to: impl Display) -> Option<Change> {
    let (from, to) = (from.to_string(), to.to_string());
    (from != to).then(|| Change::Setting(Setting::Live { key: key.to_owned(), from, to }))
}

/// How long one may hang is no matter of its process.
fn patience(now: &Plan, file: &Plan, name: &str) -> Option<Change> {
    let timeout = |plan: &Plan| plan.worker(name).map_or(Duration::ZERO, |worker| worker.hang_timeout);
    live(&format!("{name}.hang_timeout"), show_duration(timeout(now)), show_duration(timeout(file)))
}

/// A worker is replaced when anything has changed that its process was started with.
fn of_worker((plan, worker): (&Plan, &WorkerPlan), (file, new): (&Plan, &WorkerPlan)) -> Option<Change> {
    let WorkerPlan { name, role, command, env, pass_env, cwd, stop_timeout, memory_limit, hang_timeout: _ } =
        new;
    let Limits { max_connections, max_connections_per_address, request_timeout_ms } = &file.limits;
    let (ours, api) = (*role != Role::Plain, *role == Role::Api);
    let slower = worker.stop_timeout != *stop_timeout;
    let keys = [
        ("command", worker.command != *command),
        ("env", worker.env != *env),
        ("pass_env", worker.pass_env != *pass_env),
        ("cwd", worker.cwd != *cwd),
        ("memory_limit", worker.memory_limit != *memory_limit),
        // Workers of ours are told it, lest they take longer.
        ("stop_timeout", ours && slower),
        ("faults.enabled", ours && plan.policy.faults != file.policy.faults),
        ("max_body", api && plan.max_body != file.max_body),
        ("max_connections", api && plan.limits.max_connections != *max_connections),
        (
            "max_connections_per_address",
            api && plan.limits.max_connections_per_address != *max_connections_per_address,
        ),
        ("request_timeout", api && plan.limits.request_timeout_ms != *request_timeout_ms),
        ("token_file", api && plan.token != file.token),
    ];
    let keys: Vec<_> = keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    if !keys.is_empty() {
        return Some(Change::Worker(name.clone(), WorkerChange::Replaced(keys)));
    }
    let key = format!("{name}.stop_timeout");
    live(&key, show_duration(worker.stop_timeout), show_duration(*stop_timeout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source, parse};

    fn plan(text: &str) -> Plan {
        parse(text, Source::Defaults, &Overrides::default()).unwrap()
    }

    fn changes(from: &str, to: &str) -> Vec<Change> {
        InForce::new(plan(from)).changes(&plan(to))
    }

    fn replaced(worker: &str, keys: &[&'static str]) -> Change {
        Change::Worker(worker.into(), WorkerChange::Replaced(keys.to_vec()))
    }

    fn now(key: &str, from: &str, to: &str) -> Change {
        Change::Setting(Setting::Live { key: key.into(), from: from.into(), to: to.into() })
    }

    const TWO: &str =
        "[[worker]]\nname = \"a\"\ncommand = [\"a\"]\n[[worker]]\nname = \"b\"\ncommand = [\"b\"]\n";

    #[test]
    fn the_same_configuration_changes_nothing() {
        assert_eq!(changes(TWO, TWO), []);
    }

    #[test]
    fn a_worker_that_has_only_moved_within_the_file_is_no_change() {
        let moved =
            "[[worker]]\nname = \"b\"\ncommand = [\"b\"]\n[[worker]]\nname = \"a\"\ncommand = [\"a\"]\n";
        assert_eq!(changes(TWO, moved), []);
    }

    #[test]
    fn workers_come_and_go_by_their_names() {
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
    fn what_a_process_was_started_with_needs_another_process_of_that_worker_alone() {
        assert_eq!(changes("", "analytics.command = [\"x\"]"), [replaced("analytics", &["command"])]);
        assert_eq!(
            changes("", "[api]\nmax_body = \"1MiB\"\nenv = { A = \"1\" }\nstop_timeout = \"1s\""),
            [replaced("api", &["env", "stop_timeout", "max_body"])]
        );
    }

    #[test]
    fn a_changed_memory_limit_needs_another_process_of_whatever_role() {
        let limited = |of: &str| of.replace("[\"a\"]", "[\"a\"]\nmemory_limit = \"64MiB\"");
        assert_eq!(changes(TWO, &limited(TWO)), [replaced("a", &["memory_limit"])]);
        assert_eq!(changes("", "analytics.memory_limit = \"1GiB\""), [], "the default");
        assert_eq!(
            changes("", "analytics.memory_limit = \"2GiB\""),
            [replaced("analytics", &["memory_limit"])]
        );
    }

    #[test]
    fn faults_concern_the_supervisor_and_both_workers_of_ours() {
        let live = now("faults.enabled", "false", "true");
        let keys = ["faults.enabled"];
        assert_eq!(
            changes(TWO, &format!("faults.enabled = true\n{TWO}")),
            [live, replaced("api", &keys), replaced("analytics", &keys)]
        );
    }

    #[test]
    fn how_long_one_may_hang_needs_no_other_process() {
        assert_eq!(changes("", "api.hang_timeout = \"1s\""), [now("api.hang_timeout", "10s", "1s")]);
    }

    #[test]
    fn the_stop_timeout_of_a_plain_worker_needs_no_other_process() {
        let longer = TWO.replace("[\"a\"]", "[\"a\"]\nstop_timeout = \"1m\"");
        assert_eq!(changes(TWO, &longer), [now("a.stop_timeout", "10s", "1m")]);
    }

    #[test]
    fn what_only_a_start_can_change_stays_and_is_told_again() {
        let file = plan("link.capacity = \"128MiB\"\nrestart.limit = 3");
        let mut config = InForce::new(plan(""));
        let (key, running, file_has) = ("link.capacity", "64MiB".into(), "128MiB".into());
        let later = Change::Setting(Setting::Later { key, running, file: file_has });
        assert_eq!(config.changes(&file)[0], later);
        config.adopt(file.clone());
        assert_eq!((config.plan().capacity, config.plan().policy.limit), (64 << 20, 3));
        assert_eq!(config.changes(&file), [later]);
    }

    #[test]
    fn a_worker_that_goes_by_its_former_plan_differs_from_the_file_again() {
        let file = plan("analytics.command = [\"x\"]\n[[worker]]\nname = \"a\"\ncommand = [\"a\"]");
        let former = InForce::new(plan(""));
        let mut config = former.clone();
        config.adopt(file.clone());
        config.revert("analytics", &former);
        config.revert("a", &former);
        assert_eq!(config.worker("analytics").unwrap().1.command, ["bulkhead-analytics"]);
        assert_eq!(
            config.changes(&file),
            [replaced("analytics", &["command"]), Change::Worker("a".into(), WorkerChange::Added)]
        );
    }
}
