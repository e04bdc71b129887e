//! The invariants. The judge sees what the shell sees, events and actions, and keeps a record of its own;
//! of the heart's state it reads only what the ledger publishes for others to rely on.

mod actions;
mod blame;
mod limits;

use crate::record::{Command, Operator, Record};
use bulkhead_proto::wire::{
    control::{FromWorker, PROTOCOL, Phase, allowed},
    ids::{CrashId, Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    self, DesiredState, Event, ExitStatus, Policy, PostMortem, WorkerSpec, policy::IDLE_HEALTHY_AFTER,
};
use std::{collections::BTreeMap, time::Duration};

/// What is broken.
pub(crate) type Broken = String;

/// Milliseconds: on the supervisor's clock, which may jump, and on the simulation's, which does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) mono: u64,
    pub(crate) lived: u64,
}

/// What is known of a worker.
struct Known {
    role: Role,
    stop_timeout: u64,
    wanted: DesiredState,
    /// Its configuration is wrong, and nobody has asked for another try.
    barred: bool,
    /// Likewise, or perhaps so: nobody can expect it to run.
    excused: bool,
    /// Parked, and not spawned since.
    parked: bool,
    /// The last generation that an operator wanted to leave.
    dismissed: Generation,
    last_spawn: Option<u64>,
    /// Spawns for which nothing speaks but persistence.
    unexcused: Vec<u64>,
    committed: Seq,
    head: Seq,
}

/// What this turn is about.
#[derive(Default)]
struct Turn {
    died: Option<Generation>,
    progress: bool,
    offender: Option<Generation>,
    request: Option<(Generation, u64)>,
    command: Option<Operator>,
    refused: bool,
    /// Whether the worker of the command was barred and excused before.
    before: (bool, bool),
    kicked: bool,
    /// Deaths that were told, and have no report yet.
    unreported: Vec<(CrashId, Generation)>,
    deaths: Vec<Generation>,
    spawned: Vec<usize>,
    requested: bool,
}

pub(crate) struct Judge {
    policy: Policy,
    workers: Vec<Known>,
    names: Vec<String>,
    pub(crate) records: BTreeMap<Generation, Record>,
    turn: Turn,
    now: Moment,
    booted: u64,
    api_was_active: bool,
    stopping: Option<u64>,
    signals: u32,
    gone: bool,
    crashes: u64,
    /// Asked, not answered.
    clients: BTreeMap<u64, u64>,
    blame: blame::Blame,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Known {
    fn new(spec: &WorkerSpec, wanted: DesiredState) -> Self {
        Self {
            role: spec.role,
            stop_timeout: ms(spec.stop_timeout),
            wanted,
            barred: false,
            excused: false,
            parked: false,
            dismissed: Generation(0),
            last_spawn: None,
            unexcused: Vec::new(),
            committed: Seq(0),
            head: Seq(0),
        }
    }
}

impl Judge {
    pub(crate) fn new(policy: Policy, specs: &[WorkerSpec]) -> Self {
        Self {
            policy,
            workers: specs.iter().map(|spec| Known::new(spec, DesiredState::Running)).collect(),
            names: specs.iter().map(|spec| spec.name.clone()).collect(),
            records: BTreeMap::new(),
            turn: Turn::default(),
            now: Moment::default(),
            booted: 0,
            api_was_active: false,
            stopping: None,
            signals: 0,
            gone: false,
            crashes: 0,
            clients: BTreeMap::new(),
            blame: blame::Blame::default(),
        }
    }

    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// The workers that nobody can expect to run.
    pub(crate) fn excused(&self) -> Vec<String> {
        let named = self.names.iter().zip(&self.workers);
        named.filter(|(_, worker)| worker.excused).map(|(name, _)| name.clone()).collect()
    }

    fn living(&self) -> impl Iterator<Item = (Generation, &Record)> {
        self.records
            .iter()
            .filter(|(_, record)| !record.died)
            .map(|(generation, record)| (*generation, record))
    }

    fn siblings(&self, worker: usize) -> impl Iterator<Item = (Generation, &Record)> {
        self.living().filter(move |(_, record)| record.worker == worker)
    }

    /// Before the heart sees it.
    pub(crate) fn event(&mut self, event: &Event, now: Moment) {
        self.now = now;
        self.turn = Turn::default();
        self.blame_turn_begins();
        match event {
            Event::Boot => self.booted = now.mono,
            Event::Spawned { generation, .. } => self.spawned(*generation),
            Event::SpawnFailed { generation, config, .. } => {
                self.died(
                    *generation,
                    if *config { ExitStatus::Code(78) } else { ExitStatus::Unknown },
                    &PostMortem::default(),
                );
            }
            Event::Frame { generation, frame } => self.frame(*generation, frame),
            Event::BadFrame { generation, .. } => self.offends(*generation),
            Event::Died { generation, exit, post_mortem } => self.died(*generation, *exit, post_mortem),
            Event::Command { client, command } => self.command(client.0, command),
            Event::ClientGone { client } => drop(self.clients.remove(&client.0)),
            Event::Configured { policy, specs } => self.configured(policy, specs),
            Event::StopSignal { .. } => {
                self.signals += 1;
                self.stopping.get_or_insert(now.lived);
            }
            Event::Quarantined { request: charge, result } => self.store_answered(charge.seq, result.is_ok()),
            Event::PipeFull { .. } | Event::Saved { .. } | Event::Tick => {}
            Event::WorkAvailable(_) | Event::Probed { .. } => {}
        }
    }

    fn spawned(&mut self, generation: Generation) {
        let plain = self.records.get_mut(&generation).filter(|record| record.role == Role::Plain);
        if let Some(record) = plain {
            record.ready = true;
            record.activated = Some(self.now.lived);
        }
    }

    fn offends(&mut self, generation: Generation) {
        // One that is being ended already is ended for that.
        let ends = |record: &Record| record.died || record.killed.is_some() || record.aborted.is_some();
        if self.records.get(&generation).is_some_and(|record| !ends(record)) {
            self.turn.offender = Some(generation);
        }
    }

    fn frame(&mut self, generation: Generation, frame: &FromWorker) {
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        let phase = if record.asked.is_some() && record.phase != Phase::Spawned {
            Phase::Draining
        } else {
            record.phase
        };
        if !allowed(record.role, phase, frame) {
            return self.offends(generation);
        }
        match frame {
            FromWorker::Hello { protocol, .. } if *protocol == PROTOCOL => record.phase = Phase::Greeted,
            FromWorker::Hello { .. } => {
                // One that is being killed for something else is judged by that.
                record.foreign |= record.killed.is_none();
                self.offends(generation);
            }
            FromWorker::Ready => {
                record.ready = true;
                record.phase = if record.phase == Phase::Greeted { Phase::Ready } else { record.phase };
            }
            FromWorker::Pong { number, .. } => {
                let at_work = record.activated.is_some() && record.asked.is_none();
                if at_work && *number > record.pinged {
                    self.offends(generation);
                }
            }
            FromWorker::Busy => {}
            FromWorker::Request { id, .. } => self.turn.request = Some((generation, *id)),
            FromWorker::Panicked { .. }
            | FromWorker::Backtrace { .. }
            | FromWorker::ReplayFailed { .. }
            | FromWorker::SeqMark(_) => {}
        }
    }

    fn died(&mut self, generation: Generation, exit: ExitStatus, seen: &PostMortem) {
        let lived = self.now.lived;
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        record.died = true;
        let record = record.clone();
        self.turn.died = Some(generation);
        if record.role == Role::Analytics && record.activated.is_some() {
            self.blame_death(exit, seen);
        }
        let alone = self.siblings(record.worker).next().is_none();
        let worker = &mut self.workers[record.worker];
        if let Some(activated) = record.activated {
            self.turn.progress = match record.role {
                Role::Analytics => seen.committed > worker.committed,
                Role::Api => seen.head > worker.head,
                Role::Plain => false,
            };
            (worker.committed, worker.head) = (seen.committed, seen.head);
            // One that hung was there, and not well.
            let well = lived.saturating_sub(activated) >= ms(IDLE_HEALTHY_AFTER) && record.aborted.is_none();
            if self.turn.progress || well || matches!(exit, ExitStatus::Signal { number: 9, .. }) {
                worker.unexcused.clear();
            }
        }
        let asked = record.asked.is_some() || record.killed.is_some();
        let hopeless = record.foreign || exit == ExitStatus::Code(78);
        let wanted = self.stopping.is_none() && worker.wanted == DesiredState::Running;
        worker.excused |= hopeless;
        // How one died that was to be replaced says nothing about the next.
        let counts = generation > worker.dismissed;
        worker.barred |= hopeless && wanted && alone && counts && (record.foreign || !asked);
    }

    /// What began under the former configuration may end so.
    fn configured(&mut self, policy: &Policy, specs: &[WorkerSpec]) {
        self.policy = policy.clone();
        for worker in &mut self.workers {
            worker.unexcused.clear();
        }
        for spec in specs {
            self.allow(spec);
        }
    }

    fn allow(&mut self, spec: &WorkerSpec) {
        if let Some(index) = self.names.iter().position(|name| *name == spec.name) {
            let worker = &mut self.workers[index];
            worker.stop_timeout = worker.stop_timeout.max(ms(spec.stop_timeout));
        }
    }

    fn command(&mut self, client: u64, command: &core::Command) {
        self.clients.insert(client, self.now.lived);
        if let core::Command::Add(spec) = command {
            if !self.names.contains(&spec.name) {
                self.names.push(spec.name.clone());
                self.workers.push(Known::new(spec, DesiredState::Removed));
            }
            self.allow(spec);
        }
        let last = self.records.keys().next_back().copied().unwrap_or_default();
        self.turn.command = Operator::new(client, command, &self.names);
        let Some(Operator { worker, command, .. }) = self.turn.command else { return };
        let worker = &mut self.workers[worker];
        // To add one that is there changes nothing, nor does a command to one that is not.
        let meets = (command == Command::Add) == (worker.wanted == DesiredState::Removed);
        if command != Command::Fault && meets {
            self.turn.before = (worker.barred, worker.excused);
            worker.unexcused.clear();
            (worker.barred, worker.excused) = (false, false);
        }
        if command.dismisses() {
            worker.dismissed = last;
        }
    }
}
