//! One worker.

use super::{
    ClientId, GenerationState, Millis, PoisonTracker, Process, StopRequest, WorkerSlot, WorkerSpec,
    policy::MAX_NAME,
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    ids::{Generation, Seq},
    role::Role,
    status::CrashRow,
    text::cut,
};
use std::time::Duration;

/// What the operator wants of a worker. Only commands and reloads change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DesiredState {
    /// The worker runs.
    Running,
    /// The worker does not run.
    Stopped,
    /// The worker is no longer configured. It is deleted once its last process is gone.
    Removed,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Time that it may take to drain.
    pub stop_timeout: Duration,
    /// Time without progress, while there is work, that counts as a hang. Plain workers are not watched.
    pub hang_timeout: Duration,
    /// What the operator wants.
    pub desired: DesiredState,
    /// The main slot.
    pub main: GenerationState,
    /// The slot of the generation that replaces the main one during a restart. It moves to the main slot when
    /// the old generation is gone.
    pub successor: GenerationState,
    /// The slot of the warm standby: a generation that moves to the main slot instead of a new one being started. Only
    /// the analysis has one, if the policy says so.
    pub standby: GenerationState,
    /// A pending replacement. Set until a newer generation runs, or died before it did.
    pub replacement: Option<Replacement>,
    /// The last generation; 0 before the first.
    pub generation: Generation,
    /// The last generation that was not spawned as a standby, or has taken over: what a row without a process shows.
    pub shown_generation: Generation,
    /// Time of the last spawn or takeover.
    pub started: Millis,
    /// Time of the last spawn, Unix milliseconds.
    pub started_ms: u64,
    /// Number of starts after the first one, without those that follow a stop by command.
    pub restarts: u64,
    /// The next start follows a stop by command.
    pub resumes: bool,
    /// Its deaths without progress.
    pub restart_budget: RestartBudget,
    /// The events that it may have died of; used for the analysis only.
    pub poison_tracker: PoisonTracker,
    /// Its last death that was no orderly stop.
    pub last_crash: Option<CrashRow>,
    /// The clients that wait for a command to finish; at most [`super::policy::MAX_WAITERS`].
    pub waiters: Vec<Waiter>,
}

/// Deaths without progress: the input of back-off and parking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RestartBudget {
    /// Times of deaths within the policy's period; at most `limit`.
    pub recent: Vec<Millis>,
    /// Number of consecutive deaths: the exponent of the back-off.
    pub failures: u32,
    /// The running generation is a retry of a parked worker. If it dies without progress, the worker is
    /// parked again.
    pub on_probation: bool,
    /// The last committed event at its last death.
    pub committed: Seq,
    /// The last accepted event at its last death.
    pub head: Seq,
}

/// A client that waits for a command to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Waiter {
    /// The client.
    pub client: ClientId,
    /// What it waits for.
    pub goal: Goal,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Goal {
    /// No process is left.
    Stopped,
    /// A generation after this one runs. Fails when such a generation dies.
    Running {
        /// The last generation that does not count.
        after: Generation,
    },
    /// As `Running`, and this generation and all earlier ones are gone.
    Replaced {
        /// The last outdated generation.
        after: Generation,
    },
}

/// A replacement in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Replacement {
    /// The last outdated generation.
    pub outdated_through: Generation,
    /// What requested it.
    pub request: StopRequest,
}

impl Worker {
    pub(in crate::core) fn new(spec: &WorkerSpec) -> Self {
        Self {
            name: cut(&spec.name, MAX_NAME).to_owned(),
            role: spec.role,
            stop_timeout: spec.stop_timeout,
            hang_timeout: spec.hang_timeout,
            desired: DesiredState::Running,
            main: GenerationState::Stopped,
            successor: GenerationState::Stopped,
            standby: GenerationState::Stopped,
            replacement: None,
            generation: Generation(0),
            shown_generation: Generation(0),
            started: Millis(0),
            started_ms: 0,
            restarts: 0,
            resumes: false,
            restart_budget: RestartBudget::default(),
            poison_tracker: PoisonTracker::default(),
            last_crash: None,
            waiters: Vec::new(),
        }
    }

    /// The active generation, if there is one. A successor counts once it is activated.
    #[must_use]
    pub fn running(&self) -> Option<&Process> {
        self.successor.running().or_else(|| self.main.running())
    }

    /// Whether it has no process, and none will be started.
    pub(in crate::core) fn is_stopped(&self) -> bool {
        [&self.main, &self.successor, &self.standby].into_iter().all(|slot| *slot == GenerationState::Stopped)
    }

    /// Whether SIGKILL did not end its main process.
    pub(in crate::core) fn is_given_up(&self) -> bool {
        self.main.process().is_some_and(Process::is_given_up)
    }

    /// What this slot holds.
    pub(in crate::core) const fn slot(&self, slot: WorkerSlot) -> &GenerationState {
        match slot {
            WorkerSlot::Main => &self.main,
            WorkerSlot::Successor => &self.successor,
            WorkerSlot::Standby => &self.standby,
        }
    }

    pub(in crate::core) const fn slot_mut(&mut self, slot: WorkerSlot) -> &mut GenerationState {
        match slot {
            WorkerSlot::Main => &mut self.main,
            WorkerSlot::Successor => &mut self.successor,
            WorkerSlot::Standby => &mut self.standby,
        }
    }
}
