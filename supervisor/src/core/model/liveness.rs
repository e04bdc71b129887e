//! What is known of the progress of a running process.

use super::Millis;
use bincode::{Decode, Encode};
use bulkhead_proto::wire::ids::Seq;
use std::time::Duration;

/// Whether a running process is watched for hangs.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HangDetector {
    /// No work is pending: [`super::Event::WorkAvailable`] ends this state.
    Idle,
    /// Work is, or may be, pending.
    Watched(ProgressTracker),
}

/// The progress of a watched process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ProgressTracker {
    /// Time of the next probe.
    pub next: Millis,
    /// The furthest progress so far; `None` before the first probe.
    pub(in crate::core) best: Option<Progress>,
    /// Processor time that was available since the last progress.
    pub(in crate::core) stalled_for: Duration,
    /// Processor time that was available since the last commit.
    pub(in crate::core) uncommitted_for: Duration,
}

/// The pings of one API process, numbered from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Pings {
    /// The last ping sent.
    pub(in crate::core) sent: u64,
    /// The last ping answered.
    pub(in crate::core) answered: u64,
    /// The last ping that was answered while no connection waited in the backlog, or after the accept loop
    /// had run again.
    pub(in crate::core) served: u64,
    /// How often the accept loop has run, as last reported: see `FromWorker::Pong`.
    pub(in crate::core) accept_polls: u64,
    /// Whether connections waited in the backlog at the last probe.
    pub(in crate::core) backlog_pending: bool,
}

/// How far a process is. For the API, an answered ping counts as an event, and as a commit if the backlog did
/// not stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The event in flight, or the last one; 0 if the recorded value is impossible.
    pub seq: Seq,
    /// Steps that the process counts within one event or commit: series loaded, migrated or encoded.
    pub steps: u64,
    /// The last committed event.
    pub committed: Seq,
}

/// One observation of a running process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Processor time available since the last probe: the time passed, less the time spent waiting for a
    /// processor.
    pub cpu_available: Duration,
    /// Whether events are pending. Meaningless for the API, which reports its connections in pongs.
    pub pending: bool,
    /// Whether this generation has taken over the cursor page, so that `progress` is its own.
    pub took_over: bool,
    /// How far the process is.
    pub progress: Progress,
    /// Whether connections wait in the backlog. Meaningless for the analysis.
    pub backlog_pending: bool,
}
