//! The frames of the control protocol: one enum per direction.

use crate::wire::{fault::FaultKind, ids::Seq};
use bincode::{Decode, Encode};

/// A frame from the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// The worker is now the active generation of its role and must begin to work, with these hints.
    Activate(RecoveryHints),
    /// The worker must finish the work in flight, commit, and exit with code 0. The end of the pipe means the same.
    Drain,
    /// The worker must execute this fault at once.
    Fault(FaultKind),
    /// The worker must append this quarantined event again and send [`Request::RemoveQuarantined`], or send
    /// [`FromWorker::ReplayFailed`].
    Replay(Seq),
    /// The answer to [`FromWorker::StoreIsolated`]: the events are stored.
    IsolatedStored,
    /// The worker must answer with [`FromWorker::Pong`] of the same number, from the loop that serves requests.
    Ping(u64),
    /// The answer to [`FromWorker::Request`] of the same id.
    Answer {
        /// The id that the worker chose.
        id: u64,
        /// How the request ended.
        outcome: RequestOutcome,
    },
}

/// What an analysis must know about the deaths of its predecessors. Empty for other roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RecoveryHints {
    /// Suspect events: each of them was in flight when a predecessor died. Commit before and after each one: then the
    /// next death is attributed to one event, and no other event has to be applied again. At most
    /// [`MAX_HINTS`](super::MAX_HINTS).
    pub suspects: Vec<Seq>,
    /// Quarantined events: count them as skipped, do not apply them. At most [`MAX_HINTS`](super::MAX_HINTS). A skip beyond
    /// `proven_until` is committed only together with a later event that was applied, or when no later event came for
    /// [`SKIP_DELAY`](super::SKIP_DELAY).
    pub skip: Vec<Seq>,
    /// Skips up to this event may be committed at once.
    pub proven_until: Seq,
    /// A predecessor died in a commit of several events: commit after every event up to this one.
    pub single_commit_until: Seq,
    /// Isolated series: do not apply their events. Ask the supervisor to store them ([`FromWorker::StoreIsolated`]), then count them
    /// as skipped. At most [`MAX_SERIES_HINTS`](super::MAX_SERIES_HINTS).
    pub isolated: Vec<Isolation>,
    /// Series whose last events failed: report the first commit that applied an event of each
    /// ([`FromWorker::SeriesApplied`]). At most [`MAX_SERIES_HINTS`](super::MAX_SERIES_HINTS).
    pub watched: Vec<String>,
    /// This generation is a trial: it applies one pending event, commits nothing, sends [`FromWorker::TrialPassed`], and waits
    /// for [`ToWorker::Drain`].
    pub trial: Option<Trial>,
}

/// The isolation of a series.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Isolation {
    /// The name of the series.
    pub series: String,
    /// The last event that the isolation concerns.
    pub until: Seq,
}

impl Isolation {
    /// Whether this event of this series is stored and not applied.
    #[must_use]
    pub fn concerns(&self, series: &str, seq: Seq) -> bool {
        self.series == series && seq <= self.until
    }
}

/// A trial of one pending event, which shows whether the analysis can apply any event at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trial {
    /// Only events after this one are tried.
    pub after: Seq,
    /// The first event from this one on is tried; if there is none, the last event after `after`. If there is none either
    /// within [`SKIP_DELAY`](super::SKIP_DELAY), the trial has passed.
    pub target: Seq,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RequestOutcome {
    /// Carried out.
    Done,
    /// The worker is unknown, or faults are not enabled.
    NotFound(String),
    /// The request cannot be carried out in the present state. The text says why.
    Conflict(String),
}

/// A frame from a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FromWorker {
    /// The first frame of every worker.
    Hello {
        /// The protocol version of the worker: [`PROTOCOL`](super::PROTOCOL).
        protocol: u16,
        /// Name and version of the program, for people.
        build: String,
    },
    /// The worker can be activated.
    Ready,
    /// The worker panicked. Sent before the panic hook does anything slow.
    Panicked {
        /// The panic message, cut to [`MAX_TEXT`](super::MAX_TEXT).
        message: String,
        /// `file:line:column`.
        location: String,
        /// The name of the thread.
        thread: String,
    },
    /// The call stack of the worker. Sent right after [`FromWorker::Panicked`], or when the supervisor aborts a hung
    /// worker. Omits frames in libraries.
    Backtrace {
        /// Return addresses as offsets in the worker's program, the innermost first, at most
        /// [`MAX_BACKTRACE`](super::MAX_BACKTRACE).
        frames: Vec<u64>,
    },
    /// A request to the supervisor, which answers with [`ToWorker::Answer`] of the same id.
    Request {
        /// Chosen by the worker, unique within its generation.
        id: u64,
        /// What the supervisor must do.
        request: Request,
    },
    /// The answer to [`ToWorker::Replay`] when nothing was appended.
    ReplayFailed {
        /// The quarantined event.
        seq: Seq,
        /// The reason, cut to [`MAX_TEXT`](super::MAX_TEXT).
        why: String,
    },
    /// The answer to [`ToWorker::Ping`].
    Pong {
        /// The number of the ping. A number that was never sent violates the protocol; an old number is ignored.
        number: u64,
        /// How often the accept loop has run, with or without a connection to accept. A constant number while connections
        /// wait means no progress.
        accept_polls: u64,
        /// Whether there are connections. If not, the supervisor sends no ping until [`Self::Busy`] or until a connection
        /// waits at the listener.
        busy: bool,
    },
    /// There is a connection again, after a pong with `busy: false`.
    Busy,
    /// The trial has passed: see [`RecoveryHints::trial`].
    TrialPassed,
    /// The supervisor must store the pending events of the isolated series up to this one, and answer with
    /// [`ToWorker::IsolatedStored`]. The worker commits them as skipped after that.
    StoreIsolated {
        /// The last event.
        through: Seq,
    },
    /// An event of this watched series was applied and committed.
    SeriesApplied(String),
    /// The worker exits because of this error. Sent before the exit.
    Failed {
        /// The error, cut to [`MAX_TEXT`](super::MAX_TEXT).
        error: String,
    },
    /// The seqs up to this one are in use: the supervisor must reserve further ones (its high-water marks).
    SeqMark(u64),
}

/// A request of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Induce this fault in that worker.
    Fault {
        /// The name of the worker.
        worker: String,
        /// The kind of fault.
        kind: FaultKind,
    },
    /// Remove an event from quarantine.
    RemoveQuarantined {
        /// The event.
        seq: Seq,
        /// The seq under which it was appended again, if it was.
        replayed_as: Option<Seq>,
    },
}
