//! Starts a worker: when it may be spawned, the start timeout, readiness, activation, and the takeover at a restart.

use crate::core::{
    model::{
        Action, GenerationState, HangDetector, LogRecord, Millis, Process, State, StopRequest,
        SupervisorPhase, WorkerSlot, WorkerSlotId,
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
                let due = self
                    .state
                    .slot(slot_id)
                    .and_then(GenerationState::due)
                    .is_some_and(|due| due <= self.now.mono);
                if due && self.state.may_start(slot_id) {
                    self.spawn(slot_id);
                }
            }
        }
    }

    fn spawn(&mut self, slot_id: WorkerSlotId) {
        let (generation, now) = (self.state.next_generation, self.now);
        self.state.next_generation = generation.next();
        let is_retry = match self.take_slot(slot_id) {
            GenerationState::Parked { .. } => true,
            GenerationState::Stopped
            | GenerationState::Starting { .. }
            | GenerationState::Standby { .. }
            | GenerationState::Running { .. }
            | GenerationState::Stopping { .. }
            | GenerationState::Backoff { .. } => false,
        };
        let worker = self.worker_mut(slot_id.worker);
        worker.restarts = worker.restarts.saturating_add(u64::from(worker.generation != Generation(0)));
        worker.generation = generation;
        worker.started = now.mono;
        worker.started_ms = now.unix_ms;
        worker.restart_budget.on_probation |= is_retry;
        let process = Process::new(generation, now);
        if is_retry {
            let subject = self.generation_ref(slot_id.worker, &process);
            self.log(LogRecord::WorkerRetried(subject));
        }
        self.set_slot(
            slot_id,
            GenerationState::Starting { process, deadline: now.mono.after(START_TIMEOUT) },
        );
        let worker = self.worker(slot_id.worker).name.clone();
        self.actions.push(Action::Spawn { worker, generation });
    }

    /// The process exists. A plain worker counts as running: it reports nothing more.
    pub(in crate::core) fn spawned(&mut self, generation: Generation, pid: u32) {
        let Some(slot_id) = self.find(generation) else { return };
        if let Some(process) = self.process_mut(slot_id) {
            process.pid = Some(pid);
            let process = process.clone();
            let subject = self.generation_ref(slot_id.worker, &process);
            self.log(LogRecord::WorkerStarted(subject));
        }
        if self.state.role(slot_id.worker) == Role::Plain {
            self.ready(slot_id);
        }
    }

    /// The handshake is complete.
    pub(in crate::core) fn ready(&mut self, slot_id: WorkerSlotId) {
        let slot_state = match self.take_slot(slot_id) {
            GenerationState::Starting { process, .. } => {
                let subject = self.generation_ref(slot_id.worker, &process);
                self.log(LogRecord::WorkerReady(subject));
                GenerationState::Standby { process }
            }
            // The order to stop and `Ready` crossed.
            unchanged @ GenerationState::Stopping { .. } => unchanged,
            unchanged @ (GenerationState::Stopped
            | GenerationState::Standby { .. }
            | GenerationState::Running { .. }
            | GenerationState::Backoff { .. }
            | GenerationState::Parked { .. }) => unchanged,
        };
        self.set_slot(slot_id, slot_state);
        self.advance_takeover(slot_id);
    }

    /// Advances a takeover as far as possible.
    ///
    /// Two generations of the API may overlap: the lock on the producer page serialises them. Two generations
    /// of the analysis must not: the state table has one writer, so the successor waits for the death of its
    /// predecessor.
    pub(in crate::core) fn advance_takeover(&mut self, slot_id: WorkerSlotId) {
        let main = WorkerSlotId { worker: slot_id.worker, slot: WorkerSlot::Main };
        let successor = WorkerSlotId { worker: slot_id.worker, slot: WorkerSlot::Successor };
        if matches!(self.state.slot(main), Some(GenerationState::Standby { .. }))
            && !self.worker(slot_id.worker).poison_tracker.is_storing()
        {
            self.activate(main);
        }
        if !matches!(self.state.slot(successor), Some(GenerationState::Standby { .. })) {
            return;
        }
        if self.state.role(slot_id.worker) == Role::Api {
            self.activate(successor);
        }
        if matches!(self.state.slot(main), Some(GenerationState::Running { .. })) {
            let request = self
                .worker(slot_id.worker)
                .replacement
                .map_or(StopRequest::Restart, |replacement| replacement.request);
            self.begin_stop(main, request);
        }
    }

    fn activate(&mut self, slot_id: WorkerSlotId) {
        let slot_state = match self.take_slot(slot_id) {
            GenerationState::Standby { mut process } => {
                process.activated = Some(self.now.mono);
                if self.state.role(slot_id.worker) != Role::Plain {
                    process.hang_detector =
                        HangDetector::begin(self.now.mono, self.worker(slot_id.worker).hang_timeout);
                    let frame =
                        ToWorker::Activate(self.worker(slot_id.worker).poison_tracker.recovery_hints());
                    self.actions.push(Action::Send { generation: process.generation, frame });
                    let subject = self.generation_ref(slot_id.worker, &process);
                    self.log(LogRecord::WorkerActivated(subject));
                }
                GenerationState::Running { process }
            }
            unchanged @ (GenerationState::Stopped
            | GenerationState::Starting { .. }
            | GenerationState::Running { .. }
            | GenerationState::Stopping { .. }
            | GenerationState::Backoff { .. }
            | GenerationState::Parked { .. }) => unchanged,
        };
        self.set_slot(slot_id, slot_state);
        if self.state.role(slot_id.worker) == Role::Api {
            self.state.plain_wait = None;
        }
    }

    /// The start timeout expired. If we see it late, the machine was probably suspended: allow `START_GRACE`
    /// for queued frames.
    pub(in crate::core) fn start_expired(&mut self, slot_id: WorkerSlotId, deadline: Millis) {
        let now = self.now.mono;
        if now.since(deadline) <= START_GRACE {
            return self.start_timed_out(slot_id);
        }
        let GenerationState::Starting { process, .. } = self.take_slot(slot_id) else { return };
        self.set_slot(slot_id, GenerationState::Starting { process, deadline: now.after(START_GRACE) });
    }

    /// Kills a worker that was not ready in time.
    fn start_timed_out(&mut self, slot_id: WorkerSlotId) {
        let greeted = self
            .state
            .slot(slot_id)
            .and_then(GenerationState::process)
            .is_some_and(|process| process.greeted);
        let progress = if greeted { "it sent Hello but not Ready" } else { "it never sent Hello" };
        let detail = format!("not ready {} s after its start: {progress}", START_TIMEOUT.as_secs());
        self.kill_for(slot_id, Cause::Handshake, &detail, true);
    }
}

impl State {
    /// Whether the worker would be spawned if it were due.
    pub(in crate::core) fn may_start(&self, slot_id: WorkerSlotId) -> bool {
        let waits = self.role(slot_id.worker) == Role::Plain && self.plain_wait.is_some();
        let starting = self
            .slot_ids()
            .filter(|slot_id| matches!(self.slot(*slot_id), Some(GenerationState::Starting { .. })))
            .count();
        let room = u64::try_from(starting).unwrap_or(u64::MAX) < u64::from(self.policy.starts.max(1));
        !waits && room
    }
}
