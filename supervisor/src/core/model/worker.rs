//! One worker and its generations.

use super::{ClientId, HangDetector, Millis, Now, Panic, Pings, PoisonTracker, WorkerSpec, policy::MAX_NAME};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    cause::Cause,
    fault::FaultKind,
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
    /// The generation that replaces the main one during a restart. It moves to the main slot when the old
    /// generation is gone.
    pub successor: Option<GenerationState>,
    /// A pending replacement. Set until a newer generation runs, or died before it did.
    pub replacement: Option<Replacement>,
    /// The last generation; 0 before the first.
    pub generation: Generation,
    /// Time of the last spawn.
    pub started: Millis,
    /// Time of the last spawn, Unix milliseconds.
    pub started_ms: u64,
    /// Number of starts after the first one.
    pub restarts: u64,
    /// Its deaths without progress.
    pub restart_budget: RestartBudget,
    /// The events that it may have died of; used for the analysis only.
    pub poison_tracker: PoisonTracker,
    /// Its last death.
    pub last_crash: Option<CrashRow>,
    /// The clients that wait for a command to finish; at most [`super::policy::MAX_WAITERS`].
    pub waiters: Vec<Waiter>,
}

/// The state of one generation, or of its empty slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum GenerationState {
    /// No process, and none will be started.
    Stopped,
    /// Spawned, or about to be; not ready.
    Starting {
        /// The process.
        process: Process,
        /// It is killed if it is not ready by then.
        deadline: Millis,
    },
    /// Ready; not activated because its predecessor is not gone yet.
    Standby {
        /// The process.
        process: Process,
    },
    /// Activated. (A plain worker: spawned.)
    Running {
        /// The process.
        process: Process,
    },
    /// Asked to stop, or being killed.
    Stopping {
        /// The process.
        process: Process,
        /// The reason.
        why: StopReason,
        /// The current stage of the escalation.
        stage: StopStage,
        /// Time of the next stage; `None` after the last one.
        deadline: Option<Millis>,
        /// Start of the stop.
        since: Millis,
    },
    /// No process; started after a delay, when there is room.
    Backoff {
        /// Not started before then.
        until: Millis,
    },
    /// No process: it died too often without progress, or a retry cannot help.
    Parked {
        /// Time of the next attempt; `None`: only by command.
        retry_at: Option<Millis>,
    },
}

/// The process of one generation: it exists, or the runtime is about to spawn it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// Its generation.
    pub generation: Generation,
    /// Its pid, once spawned.
    pub pid: Option<u32>,
    /// Time of the spawn order.
    pub started: Millis,
    /// Time of the spawn order, Unix milliseconds.
    pub started_ms: u64,
    /// Whether it has sent `Hello`.
    pub greeted: bool,
    /// Time of its activation.
    pub activated: Option<Millis>,
    /// The panic that it reported, cut.
    pub panic: Option<Panic>,
    /// The last fault that was ordered.
    pub fault: Option<PendingFault>,
    /// Whether it is watched for hangs; from its activation on.
    pub hang_detector: HangDetector,
    /// Its pings; used for the API only.
    pub pings: Pings,
}

/// A fault that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PendingFault {
    /// The kind.
    pub kind: FaultKind,
    /// A later death is not its effect. `None`: it lasts until the death.
    pub until: Option<Millis>,
}

/// Why a process is being stopped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopReason {
    /// A command, a reload or the supervisor's shutdown requested it.
    Requested(StopRequest),
    /// It violated a rule.
    Killed {
        /// `Handshake`, `Protocol` or `Hang`.
        cause: Cause,
        /// What it did, cut.
        detail: String,
        /// Whether a retry can help.
        retry: bool,
    },
}

/// What requested a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopRequest {
    /// `stop`.
    Stop,
    /// `restart`.
    Restart,
    /// Its settings changed.
    Reload,
    /// It is no longer configured.
    Remove,
    /// The supervisor stops.
    Shutdown,
}

/// Stages of a stop. A requested stop goes from `Drain` to `Term` to `Kill`; a hung process starts at `Abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopStage {
    /// Sent `Drain` and closed its control pipe.
    Drain,
    /// Sent SIGABRT, so that a hung process writes a backtrace.
    Abort,
    /// Sent SIGTERM.
    Term,
    /// Sent SIGKILL, with its group.
    Kill,
    /// It survived SIGKILL; the supervisor no longer waits for it.
    GivenUp,
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
            successor: None,
            replacement: None,
            generation: Generation(0),
            started: Millis(0),
            started_ms: 0,
            restarts: 0,
            restart_budget: RestartBudget::default(),
            poison_tracker: PoisonTracker::default(),
            last_crash: None,
            waiters: Vec::new(),
        }
    }

    /// The active generation, if there is one. A successor counts once it is activated.
    #[must_use]
    pub fn running(&self) -> Option<&Process> {
        [self.successor.as_ref(), Some(&self.main)].into_iter().flatten().find_map(|slot_state| {
            match slot_state {
                GenerationState::Running { process } => Some(process),
                GenerationState::Stopped
                | GenerationState::Starting { .. }
                | GenerationState::Standby { .. }
                | GenerationState::Stopping { .. }
                | GenerationState::Backoff { .. }
                | GenerationState::Parked { .. } => None,
            }
        })
    }
}

impl Process {
    pub(in crate::core) fn new(generation: Generation, now: Now) -> Self {
        Self {
            generation,
            pid: None,
            started: now.mono,
            started_ms: now.unix_ms,
            greeted: false,
            activated: None,
            panic: None,
            fault: None,
            hang_detector: HangDetector::Idle,
            pings: Pings::default(),
        }
    }
}

impl GenerationState {
    pub(in crate::core) const fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Standby { process }
            | Self::Running { process }
            | Self::Stopping { process, .. } => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }

    /// Whether it is active.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        match self {
            Self::Running { .. } => true,
            Self::Stopped
            | Self::Starting { .. }
            | Self::Standby { .. }
            | Self::Stopping { .. }
            | Self::Backoff { .. }
            | Self::Parked { .. } => false,
        }
    }

    /// The process, in the states that have one.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Standby { process }
            | Self::Running { process }
            | Self::Stopping { process, .. } => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }
}
