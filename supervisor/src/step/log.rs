//! The lines of the log that tell the story of the workers (DESIGN 10).

use super::{span, suspects::Charge};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Generation, Seq},
};
use std::{fmt, time::Duration};

/// One lifecycle line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecord {
    /// A process was spawned.
    WorkerStarted(Who),
    /// It could be activated at once.
    WorkerReady(Who),
    /// It is the active generation of its worker.
    WorkerActivated(Who),
    /// It was asked to leave.
    WorkerStopping {
        /// Which one.
        who: Who,
        /// Why, for people.
        why: String,
    },
    /// It did not leave, or may not stay: it gets a signal.
    WorkerSignalled {
        /// Which one.
        who: Who,
        /// The signal's name.
        signal: &'static str,
        /// Why, for people.
        why: String,
    },
    /// It hangs, and this is what it was doing.
    WorkerExamined {
        /// Which one.
        who: Who,
        /// Its threads.
        threads: String,
    },
    /// SIGKILL did not end it: nobody waits for it any more.
    WorkerGivenUp(Who),
    /// It is gone, or could not be spawned. Every generation that was begun gets exactly one such line.
    WorkerDied {
        /// Which one; the pid is missing if there never was a process.
        who: Who,
        /// Why.
        cause: Cause,
        /// More of why.
        detail: String,
        /// The event in hand.
        seq: Option<Seq>,
        /// The number of its crash report.
        crash: CrashId,
        /// What was decided.
        next: Next,
        /// Since its spawn.
        lived: Duration,
        /// Since it was asked to leave, if it was.
        leaving: Option<Duration>,
    },
    /// Too many deaths without progress, or a configuration that cannot work: degraded until it recovers.
    WorkerParked {
        /// Which one; the last generation.
        who: Who,
        /// Deaths without progress that led to it.
        deaths: u32,
        /// When it will be tried again; never, if its configuration is wrong.
        probe_in: Option<Duration>,
    },
    /// A parked worker is tried again, as this generation.
    WorkerProbed(Who),
    /// A parked worker made progress, or was healthy for a time: no longer parked.
    WorkerRecovered(Who),
    /// Something about a worker that an operator should know, but that changes nothing.
    WorkerWarning {
        /// Which one.
        who: Who,
        /// What.
        text: String,
    },
    /// An event is stored, and will be skipped.
    EventQuarantined(Charge),
    /// An event ought to be set aside and cannot be stored: it is not skipped.
    QuarantineFailed {
        /// Which one, and why.
        charge: Charge,
        /// Why it cannot be stored, for people.
        why: String,
    },
    /// The supervisor begins its work.
    SupervisorStarted,
    /// It begins an orderly stop.
    SupervisorStopping {
        /// Why, for people.
        why: String,
    },
    /// All is stopped and saved, or what went wrong.
    SupervisorStopped {
        /// What went wrong; nothing, after an orderly stop.
        trouble: Option<String>,
    },
}

impl LogRecord {
    /// The value of the line's field `event_name`.
    #[must_use]
    pub const fn event_name(&self) -> &'static str {
        match self {
            Self::WorkerStarted(_) => "worker_started",
            Self::WorkerReady(_) => "worker_ready",
            Self::WorkerActivated(_) => "worker_activated",
            Self::WorkerStopping { .. } => "worker_stopping",
            Self::WorkerSignalled { .. } => "worker_signalled",
            Self::WorkerExamined { .. } => "worker_examined",
            Self::WorkerGivenUp(_) => "worker_given_up",
            Self::WorkerDied { .. } => "worker_died",
            Self::WorkerParked { .. } => "worker_parked",
            Self::WorkerProbed(_) => "worker_probed",
            Self::WorkerRecovered(_) => "worker_recovered",
            Self::WorkerWarning { .. } => "worker_warning",
            Self::EventQuarantined(_) => "event_quarantined",
            Self::QuarantineFailed { .. } => "quarantine_failed",
            Self::SupervisorStarted => "supervisor_started",
            Self::SupervisorStopping { .. } => "supervisor_stopping",
            Self::SupervisorStopped { .. } => "supervisor_stopped",
        }
    }
}

/// Which process a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The worker's name.
    pub worker: String,
    /// Its generation.
    pub generation: Generation,
    /// Its process, once it has one.
    pub pid: Option<u32>,
}

/// What was decided at a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A new generation, at once.
    RestartNow,
    /// A new generation, after this delay.
    RestartIn(Duration),
    /// This one, which is already there, takes over.
    Successor(Generation),
    /// Its predecessor, which was to be replaced, works on.
    Predecessor(Generation),
    /// Parked; tried again after this time, or never by itself.
    Parked(Option<Duration>),
    /// It stays stopped until it is started by command.
    Stopped,
    /// The supervisor is stopping.
    Shutdown,
}

impl Next {
    /// A restart after this delay, or now.
    pub(super) const fn restart_in(delay: Duration) -> Self {
        if delay.is_zero() { Self::RestartNow } else { Self::RestartIn(delay) }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestartNow => f.write_str("restart now"),
            Self::RestartIn(delay) => write!(f, "restart in {}", span(*delay)),
            Self::Successor(generation) => write!(f, "generation {generation} takes over"),
            Self::Predecessor(generation) => write!(f, "generation {generation} works on"),
            Self::Parked(Some(delay)) => write!(f, "parked, tried again in {}", span(*delay)),
            Self::Parked(None) => f.write_str("parked until it is started by command"),
            Self::Stopped => f.write_str("stopped"),
            Self::Shutdown => f.write_str("the supervisor is stopping"),
        }
    }
}
