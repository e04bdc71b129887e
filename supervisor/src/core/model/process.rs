//! One generation of a worker: its process, and how far the process is.

use super::{HangDetector, Millis, Now, Pings, policy::START_TIMEOUT};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{cause::Cause, crash::Panic, fault::FaultKind, ids::Generation, role::Role};

/// What a slot holds: a generation, or what will become of the empty slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum GenerationState {
    /// No process, and none will be started.
    #[default]
    Stopped,
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
    /// A process, in one of its phases.
    Live(Box<Process>),
}

/// How far the life of a process is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ProcessPhase {
    /// Spawned, or about to be; not ready.
    Starting {
        /// It is killed if it is not ready by then.
        deadline: Millis,
    },
    /// Ready; not activated because its predecessor is not gone yet.
    Standby,
    /// Activated. (A plain worker: spawned.)
    Running,
    /// Asked to stop, or being killed.
    Stopping(Stop),
}

/// A stop in progress.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Stop {
    /// The reason.
    pub why: StopReason,
    /// The current stage of the escalation.
    pub stage: StopStage,
    /// Time of the next stage; `None` after the last one.
    pub deadline: Option<Millis>,
    /// Start of the stop.
    pub since: Millis,
}

/// The process of one generation: it exists, or the runtime is about to spawn it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// Its generation.
    pub generation: Generation,
    /// How far it is.
    pub phase: ProcessPhase,
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
    /// Whether it is a trial of one event: see [`super::Brake`].
    pub trial: bool,
    /// Whether its request to store events of isolated series is not answered yet.
    pub storing_isolated: bool,
    /// The panic that it reported, cut.
    pub panic: Option<Panic>,
    /// The error that it reported before it exited, cut.
    pub error: Option<String>,
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
    /// It was a trial, which has passed.
    TrialPassed,
    /// The brake engaged.
    Brake,
    /// It is a standby, and its worker needs none now.
    Unneeded,
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

impl Process {
    /// A process that is about to be spawned.
    pub(in crate::core) fn new(generation: Generation, now: Now) -> Self {
        Self {
            generation,
            phase: ProcessPhase::Starting { deadline: now.mono.after(START_TIMEOUT) },
            pid: None,
            started: now.mono,
            started_ms: now.unix_ms,
            greeted: false,
            activated: None,
            trial: false,
            storing_isolated: false,
            panic: None,
            error: None,
            fault: None,
            hang_detector: HangDetector::Idle,
            pings: Pings::default(),
        }
    }

    /// Whether it is to become active.
    pub(in crate::core) const fn is_starting(&self) -> bool {
        match self.phase {
            ProcessPhase::Starting { .. } | ProcessPhase::Standby => true,
            ProcessPhase::Running | ProcessPhase::Stopping(_) => false,
        }
    }

    /// Whether it is active.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        match self.phase {
            ProcessPhase::Running => true,
            ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Stopping(_) => false,
        }
    }

    /// Its stop, if it is stopping.
    pub(in crate::core) const fn stop(&self) -> Option<&Stop> {
        match &self.phase {
            ProcessPhase::Stopping(stop) => Some(stop),
            ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Running => None,
        }
    }

    /// Whether SIGKILL did not end it.
    pub(in crate::core) fn is_given_up(&self) -> bool {
        self.stop().is_some_and(|stop| stop.stage == StopStage::GivenUp)
    }
}

impl GenerationState {
    /// The process, if the slot holds one.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Live(process) => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }

    pub(in crate::core) const fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Self::Live(process) => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }

    /// The process, if it is active.
    #[must_use]
    pub fn running(&self) -> Option<&Process> {
        self.process().filter(|process| process.is_running())
    }

    /// The process, if it is on standby.
    pub(in crate::core) fn standby(&self) -> Option<&Process> {
        self.process().filter(|process| process.phase == ProcessPhase::Standby)
    }

    /// The time at which the next generation may be spawned in this slot.
    pub(in crate::core) const fn due(&self) -> Option<Millis> {
        match self {
            Self::Backoff { until } => Some(*until),
            Self::Parked { retry_at } => *retry_at,
            Self::Stopped | Self::Live(_) => None,
        }
    }
}

/// What is known of a process that never sent `Hello`, and what is to be done about it.
pub(in crate::core) const fn never_greeted(role: Role) -> &'static str {
    match role {
        Role::Api => "it never sent Hello: api.command must name a program of the crate bulkhead-worker-api",
        Role::Analytics => {
            "it never sent Hello: analytics.command must name a program of the crate bulkhead-worker-analytics"
        }
        Role::Plain => "it never sent Hello",
    }
}
