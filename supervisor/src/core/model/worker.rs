//! One worker, and its generations.

use super::{ClientId, HangDetector, Millis, Now, Panic, Pings, PoisonTracker, WorkerSpec, policy::MAX_NAME};
use bincode::{Decode, Encode};
use bulkhead_proto::{
    control::cut,
    ids::{Generation, Seq},
    status::CrashRow,
    words::{Cause, FaultKind, Role},
};
use std::time::Duration;
/// What the operator wants of a worker. Changed by commands and reloads alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum DesiredState {
    /// It shall run.
    Running,
    /// It shall not.
    Stopped,
    /// It is no longer in the configuration: forgotten once its last process is gone.
    Removed,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// How long it may take to drain.
    pub stop_timeout: Duration,
    /// So long without progress while there is work is a hang; plain workers are not watched.
    pub hang_timeout: Duration,
    /// What it shall be.
    pub desired: DesiredState,
    /// What it is.
    pub main: GenerationState,
    /// The generation that shall replace it, during a restart; takes the main place when the old one is gone.
    pub successor: Option<GenerationState>,
    /// It shall be replaced: set until a newer generation runs, or has died in the attempt.
    pub replacement: Option<Replacement>,
    /// Its last generation; 0 before the first.
    pub generation: Generation,
    /// When that one was spawned.
    pub started: Millis,
    /// Likewise, Unix milliseconds.
    pub started_ms: u64,
    /// How often it was started again after the first time.
    pub restarts: u64,
    /// Its deaths without progress.
    pub restart_budget: RestartBudget,
    /// What it may have died of; of the analysis alone.
    pub poison_tracker: PoisonTracker,
    /// Its last death.
    pub last_crash: Option<CrashRow>,
    /// Who waits for the end of a command; at most [`super::policy::MAX_WAITERS`].
    pub waiters: Vec<Waiter>,
}

/// What one generation's place is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum GenerationState {
    /// No process, and none is to come.
    Stopped,
    /// Spawned (or about to be), not ready.
    Starting {
        /// The process.
        process: Process,
        /// It must be ready by then.
        deadline: Millis,
    },
    /// Ready; not activated, because its predecessor is not gone yet.
    Standby {
        /// The process.
        process: Process,
    },
    /// Activated (plain workers: spawned).
    Running {
        /// The process.
        process: Process,
    },
    /// On its way out.
    Stopping {
        /// The process.
        process: Process,
        /// Why.
        why: StopReason,
        /// How far the escalation is.
        stage: StopStage,
        /// When it goes on; `None` once it cannot.
        deadline: Option<Millis>,
        /// When it began.
        since: Millis,
    },
    /// No process; started when the time has come, and its turn.
    Backoff {
        /// Not before then.
        until: Millis,
    },
    /// No process; died too often without progress.
    Parked {
        /// Tried again then; `None`: only by command.
        probe: Option<Millis>,
    },
}

/// One generation's process: there is one, or the shell is about to spawn it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// Its generation.
    pub generation: Generation,
    /// Its pid, once spawned.
    pub pid: Option<u32>,
    /// When its spawn was ordered.
    pub started: Millis,
    /// Likewise, Unix milliseconds.
    pub started_ms: u64,
    /// Whether it has said hello.
    pub greeted: bool,
    /// When it was activated.
    pub activated: Option<Millis>,
    /// The panic that it told of, cut.
    pub panic: Option<Panic>,
    /// The last fault that it was ordered to die of.
    pub fault: Option<PendingFault>,
    /// Whether it is watched; once it was activated.
    pub hang_detector: HangDetector,
    /// What it was asked, and answered; an API alone.
    pub pings: Pings,
}

/// A fault on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PendingFault {
    /// Which.
    pub kind: FaultKind,
    /// A death later than this is not its effect; none, if it lasts until the death.
    pub until: Option<Millis>,
}

/// Why a process is on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopReason {
    /// An operator, or the supervisor's own end, asked it to leave.
    Requested(StopRequest),
    /// It did what it must not do.
    Killed {
        /// `Handshake`, `Protocol` or `Hang`.
        cause: Cause,
        /// What it did, cut.
        detail: String,
        /// Whether the next generation might do better.
        retry: bool,
    },
}

/// On whose behalf a process was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopRequest {
    /// `stop`.
    Stop,
    /// `restart`.
    Restart,
    /// What it was started with has changed.
    Reload,
    /// It is no longer in the configuration.
    Remove,
    /// The supervisor is stopping.
    Shutdown,
}

/// How far the escalation of a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum StopStage {
    /// Asked by `Drain` and end of file.
    Drain,
    /// Got SIGABRT, to leave a trace of its hang.
    Abort,
    /// Got SIGTERM.
    Term,
    /// Got SIGKILL, with its group.
    Kill,
    /// Not gone even so: nobody waits for it any more.
    GivenUp,
}

/// Deaths without progress: what back-off and parking go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RestartBudget {
    /// When; only those within the policy's period, at most its limit.
    pub recent: Vec<Millis>,
    /// How many in a row: the exponent of the back-off.
    pub failures: u32,
    /// The generation that runs is a parked worker's probe: if it dies without progress too, it is parked again.
    pub on_probation: bool,
    /// The last event that was committed at its last death.
    pub committed: Seq,
    /// The last event that was accepted at its last death.
    pub head: Seq,
}

/// A client that waits for the end of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Waiter {
    /// Who.
    pub client: ClientId,
    /// For what.
    pub goal: Goal,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Goal {
    /// No process is left.
    Stopped,
    /// A generation later than this one runs. Failed as soon as such a one has died.
    Running {
        /// The last generation that does not count.
        after: Generation,
    },
    /// Likewise, and this one and all before it are gone: nobody goes by what they were started with any more.
    Replaced {
        /// The last generation that is out of date.
        after: Generation,
    },
}

/// A replacement that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Replacement {
    /// The last generation that is out of date.
    pub outdated_through: Generation,
    /// On whose behalf.
    pub asked: StopRequest,
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
}

impl Worker {
    /// The generation at work, if there is one: the successor, once it is activated, for its predecessor is leaving.
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
    pub(in crate::core) const fn new(generation: Generation, now: Now) -> Self {
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
            pings: Pings::NONE,
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

    /// Whether it is at work.
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
