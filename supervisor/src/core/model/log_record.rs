//! Lifecycle log lines, and the decision that each death line carries.

use super::{GenerationRef, QuarantineRequest};
use crate::display::format_duration;
use bulkhead_proto::wire::ids::Generation;
use std::{fmt, time::Duration};

/// One lifecycle log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecord {
    /// A process was spawned.
    WorkerStarted(GenerationRef),
    /// A process is ready to be activated.
    WorkerReady(GenerationRef),
    /// A process is the active generation of its worker.
    WorkerActivated(GenerationRef),
    /// A process was asked to stop.
    WorkerStopping {
        /// The generation.
        subject: GenerationRef,
        /// The reason, for people.
        why: String,
    },
    /// A process did not stop in time, or must not continue: it is sent a signal.
    WorkerSignalled {
        /// The generation.
        subject: GenerationRef,
        /// Name of the signal.
        signal: &'static str,
        /// The reason, for people.
        why: String,
    },
    /// A process hangs; these are its threads.
    WorkerThreadsDumped {
        /// The generation.
        subject: GenerationRef,
        /// Description of its threads.
        threads: String,
    },
    /// SIGKILL did not end the process: the supervisor no longer waits for it.
    WorkerGivenUp(GenerationRef),
    /// A worker is parked: too many deaths without progress, or a configuration that cannot work.
    WorkerParked {
        /// Its last generation.
        subject: GenerationRef,
        /// The number of deaths without progress.
        deaths: u32,
        /// Time to the next attempt; `None` if the configuration is wrong.
        retry_in: Option<Duration>,
    },
    /// The brake is engaged: a wrong program, not single events, is at fault. The worker is parked.
    WorkerBraked {
        /// Its last generation.
        subject: GenerationRef,
        /// The reason, for people.
        why: String,
    },
    /// A series is isolated: its events are stored in quarantine and not applied.
    SeriesIsolated {
        /// The generation that died of it.
        subject: GenerationRef,
        /// The name of the series.
        series: String,
        /// The cause of the death, for people.
        why: String,
    },
    /// Failed events returned from the quarantine to the ring, because the brake engaged.
    EventsReleased {
        /// How many.
        released: usize,
        /// Why others did not, for people.
        error: Option<String>,
    },
    /// A parked worker is started again, as this generation.
    WorkerRetried(GenerationRef),
    /// A parked worker made progress or stayed healthy: it is no longer parked.
    WorkerRecovered(GenerationRef),
    /// A condition that changes nothing, but that an operator should know.
    WorkerWarning {
        /// The generation.
        subject: GenerationRef,
        /// The condition.
        text: String,
    },
    /// An event was stored in quarantine and will be skipped.
    EventQuarantined(QuarantineRequest),
    /// An event could not be stored in quarantine: it will not be skipped.
    QuarantineFailed {
        /// The event and the death that it is charged with.
        request: QuarantineRequest,
        /// The error, for people.
        why: String,
    },
    /// The supervisor has started.
    SupervisorStarted,
    /// The supervisor begins an orderly stop.
    SupervisorStopping {
        /// The reason, for people.
        why: String,
    },
    /// The supervisor is already stopping, and a stop signal changes nothing.
    StopSignalIgnored {
        /// The signal and its sender, for people.
        origin: String,
    },
    /// The supervisor has stopped.
    SupervisorStopped {
        /// What went wrong; `None` after an orderly stop.
        problem: Option<String>,
    },
}

impl LogRecord {
    /// The value of the field `event_name`.
    #[must_use]
    pub const fn event_name(&self) -> &'static str {
        match self {
            Self::WorkerStarted(_) => "worker_started",
            Self::WorkerReady(_) => "worker_ready",
            Self::WorkerActivated(_) => "worker_activated",
            Self::WorkerStopping { .. } => "worker_stopping",
            Self::WorkerSignalled { .. } => "worker_signalled",
            Self::WorkerThreadsDumped { .. } => "worker_examined",
            Self::WorkerGivenUp(_) => "worker_given_up",
            Self::WorkerParked { .. } => "worker_parked",
            Self::WorkerBraked { .. } => "worker_braked",
            Self::SeriesIsolated { .. } => "series_isolated",
            Self::EventsReleased { .. } => "events_released",
            Self::WorkerRetried(_) => "worker_probed",
            Self::WorkerRecovered(_) => "worker_recovered",
            Self::WorkerWarning { .. } => "worker_warning",
            Self::EventQuarantined(_) => "event_quarantined",
            Self::QuarantineFailed { .. } => "quarantine_failed",
            Self::SupervisorStarted => "supervisor_started",
            Self::SupervisorStopping { .. } | Self::StopSignalIgnored { .. } => "supervisor_stopping",
            Self::SupervisorStopped { .. } => "supervisor_stopped",
        }
    }
}

/// What happens to a worker after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// A new generation starts at once.
    RestartNow,
    /// A new generation starts after this delay.
    RestartIn(Duration),
    /// This generation, already started, takes over.
    Successor(Generation),
    /// It was the standby; the next one starts after this delay.
    NextStandby(Duration),
    /// This generation, which was to be replaced, continues.
    Predecessor(Generation),
    /// Parked; tried again after this time, or only by command.
    Parked(Option<Duration>),
    /// Stopped until it is started by command.
    Stopped,
    /// The supervisor is stopping.
    Shutdown,
}

impl RestartDecision {
    /// A restart after this delay; without delay, at once.
    pub(in crate::core) const fn restart_in(delay: Duration) -> Self {
        if delay.is_zero() { Self::RestartNow } else { Self::RestartIn(delay) }
    }
}

impl fmt::Display for RestartDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestartNow => f.write_str("restart now"),
            Self::RestartIn(delay) => write!(f, "restart in {}", format_duration(*delay)),
            Self::Successor(generation) => write!(f, "generation {generation} takes over"),
            Self::NextStandby(delay) => write!(f, "next standby in {}", format_duration(*delay)),
            Self::Predecessor(generation) => write!(f, "generation {generation} continues"),
            Self::Parked(Some(delay)) => write!(f, "parked, next attempt in {}", format_duration(*delay)),
            Self::Parked(None) => f.write_str("parked until it is started by command"),
            Self::Stopped => f.write_str("stopped"),
            Self::Shutdown => f.write_str("the supervisor is stopping"),
        }
    }
}
