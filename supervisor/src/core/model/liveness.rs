//! What is known of the progress of a process.

use super::Millis;
use bincode::{Decode, Encode};
use bulkhead_proto::ids::Seq;
use std::time::Duration;

/// Whether a process at work is watched.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HangDetector {
    /// There is no work: [`super::Event::WorkAvailable`] will tell.
    Idle,
    /// There is some, or there may be.
    Watched(ProgressTracker),
}

/// What is known of a process that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ProgressTracker {
    /// When it is looked at next.
    pub next: Millis,
    /// How far it was at most. None before the first look.
    pub(in crate::core) best: Option<Progress>,
    /// It could have worked so long without getting further.
    pub(in crate::core) stalled_for: Duration,
    /// It could have worked so long without a commit.
    pub(in crate::core) uncommitted_for: Duration,
}

/// The pings of one process, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pings {
    /// The last one that it was sent.
    pub(in crate::core) sent: u64,
    /// The last one that it answered.
    pub(in crate::core) answered: u64,
    /// The last one that it answered while no connection waited to be accepted, or one more had been.
    pub(in crate::core) served: u64,
    /// What it said last of its door: see [`bulkhead_proto::control::FromWorker::Pong`].
    pub(in crate::core) turns: u64,
    /// Whether connections waited at the last look.
    pub(in crate::core) backlog_pending: bool,
}

/// How far a process is. For the API, each ping that it answers is an event, and a commit if it leaves nobody at the door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The event in hand, or the last one; 0 if that cannot be true.
    pub seq: Seq,
    /// The steps that it counts itself, where an event takes many: series that were loaded, migrated, or made ready for a commit.
    pub steps: u64,
    /// The last event that is part of the state.
    pub committed: Seq,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// How long it could have worked since the last look: the time that passed, less what it spent waiting for a processor.
    pub cpu_available: Duration,
    /// Whether events wait for it. Of no meaning for the API, which tells by its pongs.
    pub pending: bool,
    /// Whether the mark is its own: it has taken the cursor's page over.
    pub took_over: bool,
    /// How far it is.
    pub progress: Progress,
    /// Whether connections wait to be accepted. Of no meaning for the analysis.
    pub backlog_pending: bool,
}
