//! Starts a worker: when it may be spawned, the start timeout, readiness, activation, and the takeover at a restart.

use crate::core::{
    model::{
        Action, GenerationState, HangDetector, LogRecord, Millis, Process, ProcessPhase, State, StopRequest,
        SupervisorPhase, WorkerId, WorkerSlot, WorkerSlotId, never_greeted,
        policy::{START_GRACE, START_TIMEOUT},
    },
    transition::{START_ORDER, Transition},
};
use bulkhead_proto::wire::{cause::Cause, control::ToWorker, ids::Generation, role::Role};

impl Transition<'_> {
    /// All workers are due; plain ones wait for the API.
    pub(in crate::core) fn boot(&mut self) {
        if self.state.phase != SupervisorPhase::New {
            return;
        }
        self.state.phase = SupervisorPhase::Up;
        self.state.plain_wait = Some(self.now.mono.after(START_TIMEOUT));
        self.log(LogRecord::SupervisorStarted);
        for id in self.state.worker_ids() {
            self.worker_mut(id).main = GenerationState::Backoff { until: self.now.mono };
        }
    }

    /// Spawns every worker that is due, as far as there is room.
    pub(in crate::core) fn start_due(&mut self) {
        if self.state.phase != SupervisorPhase::Up {
            return;
        }
        for role in START_ORDER {
            for slot_id in self.state.slot_ids_of(role) {
                let due = self.state.slot(slot_id).due().is_some_and(|due| due <= self.now.mono);
                if due && self.state.may_start(slot_id) {
                    self.spawn(slot_id);
                }
            }
        }
    }

    fn spawn(&mut self, slot_id: WorkerSlotId) {
        if self.take_standby(slot_id) {
            return;
        }
        // The start was due at once because there was a standby, which has gone since; or it is that of a standby, and its
        // worker was started meanwhile.
        let earliest = self.earliest_start(slot_id.worker);
        if earliest > self.now.mono {
            *self.state.slot_mut(slot_id) = GenerationState::Backoff { until: earliest };
            return;
        }
        let is_retry = matches!(self.state.slot(slot_id), GenerationState::Parked { .. });
        let (generation, now) = (self.state.next_generation, self.now);
        self.state.next_generation = generation.next();
        if slot_id.slot != WorkerSlot::Standby {
            self.count_start(slot_id.worker, generation, is_retry);
        }
        let worker = self.worker_mut(slot_id.worker);
        worker.started = now.mono;
        worker.generation = generation;
        *worker.slot_mut(slot_id.slot) = GenerationState::Live(Box::new(Process::new(generation, now)));
        let worker = worker.name.clone();
        if is_retry {
            self.log_about(slot_id, LogRecord::WorkerRetried);
        }
        self.actions.push(Action::Spawn { worker, generation });
    }

    /// Counts the start of a generation that is spawned, or was a standby.
    pub(in crate::core) fn count_start(&mut self, id: WorkerId, generation: Generation, is_retry: bool) {
        let now = self.now;
        let worker = self.worker_mut(id);
        let resumes = std::mem::take(&mut worker.resumes);
        let is_restart = worker.generation != Generation(0) && !resumes;
        worker.restarts = worker.restarts.saturating_add(u64::from(is_restart));
        worker.started = now.mono;
        worker.started_ms = now.unix_ms;
        worker.shown_generation = generation;
        worker.restart_budget.on_probation |= is_retry;
    }

    /// The process exists. A plain worker counts as running: it reports nothing more.
    pub(in crate::core) fn spawned(&mut self, generation: Generation, pid: u32) {
        let Some(slot_id) = self.find(generation) else { return };
        if let Some(process) = self.process_mut(slot_id) {
            process.pid = Some(pid);
        }
        self.log_about(slot_id, LogRecord::WorkerStarted);
        if self.state.role(slot_id.worker) == Role::Plain {
            self.ready(slot_id);
        }
    }

    /// The handshake is complete.
    pub(in crate::core) fn ready(&mut self, slot_id: WorkerSlotId) {
        // If not starting, the order to stop and `Ready` crossed.
        if let Some(process) = self.process_mut(slot_id)
            && matches!(process.phase, ProcessPhase::Starting { .. })
        {
            process.phase = ProcessPhase::Standby;
            self.log_about(slot_id, LogRecord::WorkerReady);
        }
        self.advance_takeover(slot_id.worker);
    }

    /// Advances a takeover as far as possible.
    ///
    /// Two generations of the API may overlap: the lock on the producer page serialises them. Two generations
    /// of the analysis must not: the state table has one writer, so the successor waits for the death of its
    /// predecessor.
    pub(in crate::core) fn advance_takeover(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        if worker.main.standby().is_some() && !worker.poison_tracker.is_storing() {
            self.activate(id.main());
        }
        if self.worker(id).successor.standby().is_none() {
            return;
        }
        if self.state.role(id) == Role::Api {
            self.activate(id.successor());
        }
        let worker = self.worker(id);
        if worker.main.running().is_some() {
            let replacement = worker.replacement;
            let request = replacement.map_or(StopRequest::Restart, |replacement| replacement.request);
            self.begin_stop(id.main(), request);
        }
    }

    /// Activates a process that is on standby.
    fn activate(&mut self, slot_id: WorkerSlotId) {
        let (now, brake) = (self.now.mono, self.state.policy.brake.is_some());
        let worker = self.worker_mut(slot_id.worker);
        worker.poison_tracker.brake.since.get_or_insert(worker.restart_budget.committed);
        let (role, hints) = (worker.role, worker.poison_tracker.recovery_hints(brake));
        let hang_detector = HangDetector::begin(now, worker.hang_timeout);
        let Some(process) = self.process_mut(slot_id) else { return };
        let generation = process.generation;
        process.phase = ProcessPhase::Running;
        process.activated = Some(now);
        process.trial = hints.trial.is_some();
        if role != Role::Plain {
            process.hang_detector = hang_detector;
            self.actions.push(Action::Send { generation, frame: ToWorker::Activate(hints) });
            self.log_about(slot_id, LogRecord::WorkerActivated);
        }
        if role == Role::Api {
            self.state.plain_wait = None;
        }
    }

    /// The start timeout expired. If we see it late, the machine was probably suspended: allow `START_GRACE`
    /// for queued frames.
    pub(in crate::core) fn start_expired(&mut self, slot_id: WorkerSlotId, deadline: Millis) {
        let now = self.now.mono;
        let Some(process) = self.process_mut(slot_id) else { return };
        if now.since(deadline) > START_GRACE {
            process.phase = ProcessPhase::Starting { deadline: now.after(START_GRACE) };
            return;
        }
        let greeted = process.greeted;
        let role = self.state.role(slot_id.worker);
        let progress = if greeted { "it sent Hello but not Ready" } else { never_greeted(role) };
        let detail = format!("not ready {} s after its start: {progress}", START_TIMEOUT.as_secs());
        self.kill_for(slot_id, Cause::Handshake, &detail, true);
    }
}

impl State {
    /// Whether the worker would be spawned if it were due.
    pub(in crate::core) fn may_start(&self, slot_id: WorkerSlotId) -> bool {
        let worker = &self.workers[usize::from(slot_id.worker.0)];
        let waits = match slot_id.slot {
            // A process that is started already needs no room.
            WorkerSlot::Main if worker.usable_standby().is_some() => return true,
            WorkerSlot::Main | WorkerSlot::Successor => {
                worker.role == Role::Plain && self.plain_wait.is_some()
            }
            WorkerSlot::Standby => !worker.may_begin_standby(),
        };
        // The start of a standby delays no other start.
        let counts =
            |other: &WorkerSlotId| other.slot != WorkerSlot::Standby || slot_id.slot == WorkerSlot::Standby;
        let is_starting = |process: &Process| matches!(process.phase, ProcessPhase::Starting { .. });
        let starting =
            self.slot_ids().filter(counts).filter(|slot_id| self.process(*slot_id).is_some_and(is_starting));
        let room = u64::try_from(starting.count()).unwrap_or(u64::MAX) < u64::from(self.policy.starts.max(1));
        !waits && room
    }
}
