//! The invariants of the core. The checker sees the events and actions that the runtime sees, and keeps its
//! own record. From the core's state it reads only what the ledger publishes.

mod actions;
mod attribution;
mod brake;
mod invariants;

use crate::record::{CommandKind, GenerationRecord, IssuedCommand};
use bulkhead_proto::wire::{
    control::{FromWorker, PROTOCOL, Phase, allowed},
    ids::{Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    self, DesiredState, Event, ExitStatus, Policy, PostMortem, WorkerSpec, policy::IDLE_HEALTHY_AFTER,
};
use std::{collections::BTreeMap, time::Duration};

/// The text of a violated invariant.
pub(crate) type Violation = String;

/// The time in milliseconds, on the supervisor's clock, which may jump, and on the simulation's clock, which
/// does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    pub(crate) mono: u64,
    pub(crate) sim: u64,
}

/// What the checker expects of a worker.
struct WorkerModel {
    role: Role,
    stop_timeout: u64,
    desired: DesiredState,
    /// The worker reported a configuration error, and no command has asked for another attempt.
    config_rejected: bool,
    /// As `config_rejected`, or possibly so: the checker cannot expect the worker to run.
    may_be_down: bool,
    /// Parked, and not spawned since.
    parked: bool,
    /// The last generation that a command asked to stop.
    outdated_through: Generation,
    last_spawn: Option<u64>,
    /// The times of spawns since the last sign of progress.
    unproductive_spawns: Vec<u64>,
    committed: Seq,
    head: Seq,
}

/// What happened in the current transition.
#[derive(Default)]
struct TransitionRecord {
    died: Option<Generation>,
    made_progress: bool,
    offender: Option<Generation>,
    request: Option<(Generation, u64)>,
    command: Option<IssuedCommand>,
    command_refused: bool,
    /// Whether `config_rejected` and `may_be_down` were set before the command.
    before_command: (bool, bool),
    woke_all: bool,
    recorded_deaths: Vec<Generation>,
    spawned: Vec<usize>,
    fault_sent: bool,
}

pub(crate) struct Checker {
    policy: Policy,
    /// Whether any policy so far has a standby.
    had_standby: bool,
    workers: Vec<WorkerModel>,
    names: Vec<String>,
    pub(crate) records: BTreeMap<Generation, GenerationRecord>,
    transition: TransitionRecord,
    now: Clocks,
    booted_at: u64,
    api_was_active: bool,
    stopping_since: Option<u64>,
    stop_signals: u32,
    exited: bool,
    crashes: u64,
    /// Clients that wait for an answer, with the time of their command.
    waiting_clients: BTreeMap<u64, u64>,
    attribution: attribution::Attribution,
    brake: brake::BrakeModel,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl WorkerModel {
    fn new(spec: &WorkerSpec, desired: DesiredState) -> Self {
        Self {
            role: spec.role,
            stop_timeout: ms(spec.stop_timeout),
            desired,
            config_rejected: false,
            may_be_down: false,
            parked: false,
            outdated_through: Generation(0),
            last_spawn: None,
            unproductive_spawns: Vec::new(),
            committed: Seq(0),
            head: Seq(0),
        }
    }
}

impl Checker {
    pub(crate) fn new(policy: Policy, specs: &[WorkerSpec]) -> Self {
        Self {
            had_standby: policy.standby,
            policy,
            workers: specs.iter().map(|spec| WorkerModel::new(spec, DesiredState::Running)).collect(),
            names: specs.iter().map(|spec| spec.name.clone()).collect(),
            records: BTreeMap::new(),
            transition: TransitionRecord::default(),
            now: Clocks::default(),
            booted_at: 0,
            api_was_active: false,
            stopping_since: None,
            stop_signals: 0,
            exited: false,
            crashes: 0,
            waiting_clients: BTreeMap::new(),
            attribution: attribution::Attribution::default(),
            brake: brake::BrakeModel::default(),
        }
    }

    pub(crate) const fn has_exited(&self) -> bool {
        self.exited
    }

    /// The workers that the checker cannot expect to run.
    pub(crate) fn may_be_down(&self) -> Vec<String> {
        let named = self.names.iter().zip(&self.workers);
        named.filter(|(_, worker)| worker.may_be_down).map(|(name, _)| name.clone()).collect()
    }

    fn alive(&self) -> impl Iterator<Item = (Generation, &GenerationRecord)> {
        self.records
            .iter()
            .filter(|(_, record)| !record.died)
            .map(|(generation, record)| (*generation, record))
    }

    fn alive_of(&self, worker: usize) -> impl Iterator<Item = (Generation, &GenerationRecord)> {
        self.alive().filter(move |(_, record)| record.worker == worker)
    }

    /// Records an event before the core handles it.
    pub(crate) fn on_event(&mut self, event: &Event, now: Clocks) {
        self.now = now;
        self.transition = TransitionRecord::default();
        self.reset_attribution();
        match event {
            Event::Boot => self.booted_at = now.mono,
            Event::Spawned { generation, .. } => self.on_spawned(*generation),
            Event::SpawnFailed { generation, config, .. } => {
                self.on_death(
                    *generation,
                    if *config { ExitStatus::Code(78) } else { ExitStatus::Unknown },
                    &PostMortem::default(),
                );
            }
            Event::Frame { generation, frame } => self.on_frame(*generation, frame),
            Event::BadFrame { generation, .. } => self.record_violation(*generation),
            Event::Died { generation, post_mortem } => {
                self.on_death(*generation, post_mortem.exit, post_mortem);
            }
            Event::Command { client, command } => self.on_command(client.0, command),
            Event::ClientGone { client } => drop(self.waiting_clients.remove(&client.0)),
            Event::Configured { policy, specs } => self.on_configured(policy, specs),
            Event::StopSignal { .. } => {
                self.stop_signals += 1;
                self.stopping_since.get_or_insert(now.sim);
            }
            Event::Quarantined { request, result } => self.on_store_result(request.seq, result.is_ok()),
            Event::Released { kept, .. } => self.on_released(kept),
            Event::IsolatedStored { generation, result } => {
                self.brake.storing_failed |= result.is_err();
                if let Some(record) = self.records.get_mut(generation) {
                    record.storing_isolated = false;
                }
            }
            Event::PipeFull { .. } | Event::Saved { .. } | Event::Tick => {}
            Event::WorkAvailable(_) | Event::Probed { .. } => {}
        }
    }

    fn on_spawned(&mut self, generation: Generation) {
        let plain = self.records.get_mut(&generation).filter(|record| record.role == Role::Plain);
        if let Some(record) = plain {
            record.ready = true;
            record.activated_at = Some(self.now.sim);
        }
    }

    fn record_violation(&mut self, generation: Generation) {
        // A process that is already being killed is killed for the earlier reason.
        let is_ending = |record: &GenerationRecord| {
            record.died || record.killed_at.is_some() || record.aborted_at.is_some()
        };
        if self.records.get(&generation).is_some_and(|record| !is_ending(record)) {
            self.transition.offender = Some(generation);
        }
    }

    fn on_frame(&mut self, generation: Generation, frame: &FromWorker) {
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        let phase = if record.stop_requested_at.is_some() && record.phase != Phase::Spawned {
            Phase::Draining
        } else {
            record.phase
        };
        if !allowed(record.role, phase, frame) {
            return self.record_violation(generation);
        }
        match frame {
            FromWorker::Hello { protocol, .. } if *protocol == PROTOCOL => record.phase = Phase::Greeted,
            FromWorker::Hello { .. } => {
                // A process that is killed for another reason is judged by that reason.
                record.wrong_protocol |= record.killed_at.is_none();
                self.record_violation(generation);
            }
            FromWorker::Ready => {
                record.ready = true;
                record.phase = if record.phase == Phase::Greeted { Phase::Ready } else { record.phase };
            }
            FromWorker::Pong { number, .. } => {
                let is_active = record.activated_at.is_some() && record.stop_requested_at.is_none();
                if is_active && *number > record.last_ping {
                    self.record_violation(generation);
                }
            }
            FromWorker::Busy => {}
            FromWorker::Request { id, .. } => self.transition.request = Some((generation, *id)),
            FromWorker::TrialPassed => self.on_trial_passed(generation),
            FromWorker::StoreIsolated { .. } => self.on_store_isolated(generation),
            FromWorker::Panicked { .. }
            | FromWorker::Failed { .. }
            | FromWorker::SeriesApplied(_)
            | FromWorker::Backtrace { .. }
            | FromWorker::ReplayFailed { .. }
            | FromWorker::SeqMark(_) => {}
        }
    }

    fn on_death(&mut self, generation: Generation, exit: ExitStatus, post_mortem: &PostMortem) {
        let sim = self.now.sim;
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        record.died = true;
        let record = record.clone();
        self.transition.died = Some(generation);
        if record.role == Role::Analytics && record.activated_at.is_some() {
            self.begin_attribution(exit, post_mortem);
        }
        let last = self.alive_of(record.worker).next().is_none();
        let worker = &mut self.workers[record.worker];
        if let Some(activated) = record.activated_at {
            self.transition.made_progress = match record.role {
                Role::Analytics => post_mortem.committed > worker.committed,
                Role::Api => post_mortem.head > worker.head,
                Role::Plain => false,
            };
            (worker.committed, worker.head) = (post_mortem.committed, post_mortem.head);
            // A process that hung was up, but not healthy.
            let healthy =
                sim.saturating_sub(activated) >= ms(IDLE_HEALTHY_AFTER) && record.aborted_at.is_none();
            if self.transition.made_progress
                || healthy
                || matches!(exit, ExitStatus::Signal { number: 9, .. })
            {
                worker.unproductive_spawns.clear();
            }
        }
        let asked = record.stop_requested_at.is_some() || record.killed_at.is_some();
        let config_error = record.wrong_protocol || exit == ExitStatus::Code(78);
        let desired = self.stopping_since.is_none() && worker.desired == DesiredState::Running;
        worker.may_be_down |= config_error;
        // The death of a process that was to be replaced says nothing about its successor, nor that of a standby.
        let is_current = generation > worker.outdated_through && !record.is_standby;
        worker.config_rejected |=
            config_error && desired && last && is_current && (record.wrong_protocol || !asked);
    }

    /// What began under the old configuration may end under it.
    fn on_configured(&mut self, policy: &Policy, specs: &[WorkerSpec]) {
        self.policy = policy.clone();
        self.had_standby |= policy.standby;
        self.on_reload();
        for worker in &mut self.workers {
            worker.unproductive_spawns.clear();
        }
        for spec in specs {
            self.allow_stop_timeout(spec);
        }
    }

    fn allow_stop_timeout(&mut self, spec: &WorkerSpec) {
        if let Some(index) = self.names.iter().position(|name| *name == spec.name) {
            let worker = &mut self.workers[index];
            worker.stop_timeout = worker.stop_timeout.max(ms(spec.stop_timeout));
        }
    }

    fn on_command(&mut self, client: u64, command: &core::Command) {
        self.waiting_clients.insert(client, self.now.sim);
        if let core::Command::Add(spec) = command {
            if !self.names.contains(&spec.name) {
                self.names.push(spec.name.clone());
                self.workers.push(WorkerModel::new(spec, DesiredState::Removed));
            }
            self.allow_stop_timeout(spec);
        }
        let last = self.records.keys().next_back().copied().unwrap_or_default();
        self.transition.command = IssuedCommand::new(client, command, &self.names);
        let Some(IssuedCommand { worker, command, .. }) = self.transition.command else { return };
        let worker = &mut self.workers[worker];
        // `Add` for an existing worker has no effect, nor has any other command for a removed worker.
        let applies = (command == CommandKind::Add) == (worker.desired == DesiredState::Removed);
        if command != CommandKind::Fault && applies {
            self.transition.before_command = (worker.config_rejected, worker.may_be_down);
            worker.unproductive_spawns.clear();
            (worker.config_rejected, worker.may_be_down) = (false, false);
        }
        if command.outdates() {
            worker.outdated_through = last;
        }
    }
}
