//! From nothing to running: who may be spawned when, readiness, activation, and the hand-over of a restart.

use super::{
    Action, Asked, Course, Is, LogRecord, Process, State,
    mutant::{self, Mutant},
    policy::START_TIMEOUT,
    turn::{At, Lane, START_ORDER, Turn},
    vigil::Vigil,
};
use bulkhead_proto::wire::{control::ToWorker, ids::Generation, role::Role};

impl Turn<'_> {
    /// Begins: every worker is due, plain ones after the API.
    pub(super) fn boot(&mut self) {
        if self.state.course != Course::New {
            return;
        }
        self.state.course = Course::Up;
        self.state.plain_wait = Some(self.now.mono.after(START_TIMEOUT));
        self.log(LogRecord::SupervisorStarted);
        for id in self.state.ids() {
            self.worker_mut(id).main = Is::Backoff { until: self.now.mono };
        }
    }

    /// Spawns whatever is due, as far as there is room.
    pub(super) fn launch(&mut self) {
        if self.state.course != Course::Up && !mutant::is(Mutant::LaunchInShutdown) {
            return;
        }
        for role in START_ORDER {
            for at in self.state.places_of(role) {
                let due = self.state.is(at).and_then(Is::due).is_some_and(|due| due <= self.now.mono);
                if due && self.state.may_start(at) {
                    self.spawn(at);
                }
            }
        }
    }

    fn spawn(&mut self, at: At) {
        let (generation, now) = (self.state.next_generation, self.now);
        if !mutant::is(Mutant::ReuseGeneration) {
            self.state.next_generation = generation.next();
        }
        let probe = match self.take(at) {
            Is::Parked { .. } => true,
            Is::Stopped
            | Is::Starting { .. }
            | Is::Standby { .. }
            | Is::Running { .. }
            | Is::Stopping { .. }
            | Is::Backoff { .. } => false,
        };
        let worker = self.worker_mut(at.id);
        worker.restarts = worker.restarts.saturating_add(u64::from(worker.generation != Generation(0)));
        worker.generation = generation;
        worker.started = now.mono;
        worker.started_ms = now.unix_ms;
        worker.tally.probing |= probe;
        let process = Process::new(generation, now);
        if probe {
            let who = self.who(at.id, &process);
            self.log(LogRecord::WorkerProbed(who));
        }
        self.put(at, Is::Starting { process, deadline: now.mono.after(START_TIMEOUT) });
        let worker = self.worker(at.id).name.clone();
        self.actions.push(Action::Spawn { worker, generation });
    }

    /// There is a process. A plain worker is at work from here on: nothing else will be heard of it.
    pub(super) fn spawned(&mut self, generation: Generation, pid: u32) {
        let Some(at) = self.find(generation) else { return };
        if let Some(process) = self.process_mut(at) {
            process.pid = Some(pid);
            let process = process.clone();
            let who = self.who(at.id, &process);
            self.log(LogRecord::WorkerStarted(who));
        }
        if self.state.role(at.id) == Role::Plain {
            self.ready(at);
        }
    }

    /// The handshake is over.
    pub(super) fn ready(&mut self, at: At) {
        let is = match self.take(at) {
            Is::Starting { process, .. } => {
                let who = self.who(at.id, &process);
                self.log(LogRecord::WorkerReady(who));
                Is::Standby { process }
            }
            // Its order to leave and its `Ready` have crossed.
            is @ Is::Stopping { .. } => is,
            is @ (Is::Stopped
            | Is::Standby { .. }
            | Is::Running { .. }
            | Is::Backoff { .. }
            | Is::Parked { .. }) => is,
        };
        self.put(at, is);
        self.hand_over(at);
    }

    /// Moves a restart on, as far as it can go.
    ///
    /// Two generations of the API may overlap: its producer page lets them take turns. Two of the analysis must not:
    /// the state table has one writer, so the new one waits for the death of the old.
    pub(super) fn hand_over(&mut self, at: At) {
        let main = At { id: at.id, lane: Lane::Main };
        let successor = At { id: at.id, lane: Lane::Successor };
        if matches!(self.state.is(main), Some(Is::Standby { .. }))
            && !self.worker(at.id).suspicion.is_storing()
        {
            self.activate(main);
        }
        if !matches!(self.state.is(successor), Some(Is::Standby { .. })) {
            return;
        }
        let overlaps = match self.state.role(at.id) {
            Role::Api => true,
            Role::Analytics => mutant::is(Mutant::TwoActive),
            Role::Plain => false,
        };
        if overlaps {
            self.activate(successor);
        }
        if matches!(self.state.is(main), Some(Is::Running { .. })) {
            let asked = self.worker(at.id).renewal.map_or(Asked::Restart, |renewal| renewal.asked);
            self.begin_stop(main, asked);
        }
    }

    fn activate(&mut self, at: At) {
        let is = match self.take(at) {
            Is::Standby { mut process } => {
                process.activated = Some(self.now.mono);
                if self.state.role(at.id) != Role::Plain {
                    process.vigil = Vigil::begin(self.now.mono, self.worker(at.id).hang_timeout);
                    let frame = ToWorker::Activate(self.worker(at.id).suspicion.care());
                    self.actions.push(Action::Send { generation: process.generation, frame });
                    let who = self.who(at.id, &process);
                    self.log(LogRecord::WorkerActivated(who));
                }
                Is::Running { process }
            }
            is @ (Is::Stopped
            | Is::Starting { .. }
            | Is::Running { .. }
            | Is::Stopping { .. }
            | Is::Backoff { .. }
            | Is::Parked { .. }) => is,
        };
        self.put(at, is);
        if self.state.role(at.id) == Role::Api {
            self.state.plain_wait = None;
        }
    }
}

impl State {
    /// Whether the worker at that place would be spawned if it were due.
    pub(super) fn may_start(&self, at: At) -> bool {
        let waits =
            self.role(at.id) == Role::Plain && self.plain_wait.is_some() && !mutant::is(Mutant::PlainFirst);
        let starting = self.places().filter(|at| matches!(self.is(*at), Some(Is::Starting { .. }))).count();
        let room = u64::try_from(starting).unwrap_or(u64::MAX) < u64::from(self.policy.starts.max(1));
        !waits && (room || mutant::is(Mutant::StartAllAtOnce))
    }
}
