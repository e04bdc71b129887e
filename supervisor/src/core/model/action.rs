//! Actions: everything that the core can order. Each names the generation that it concerns, so a successor of
//! the supervisor may repeat it.

use super::{ClientId, DeathRecord, GenerationRef, IsolatedSeries, LogRecord, QuarantineRequest};
use bulkhead_proto::wire::{
    control::{RequestOutcome, ToWorker},
    ids::{Generation, Seq},
};

/// One thing to do. The actions of one transition are carried out in order, activations first, after the new state was
/// published.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a process. Answered by [`super::Event::Spawned`] or [`super::Event::SpawnFailed`].
    Spawn {
        /// The worker's name.
        worker: String,
        /// Its new generation.
        generation: Generation,
    },
    /// Send a frame to a worker. A frame that does not fit into the pipe comes back as
    /// [`super::Event::PipeFull`]. A pipe closed by the other end is no event: a death follows.
    Send {
        /// The receiver.
        generation: Generation,
        /// The frame.
        frame: ToWorker,
    },
    /// Close the control pipe towards a worker: the worker reads end of file. Frames from it are still read.
    CloseControl {
        /// The receiver.
        generation: Generation,
    },
    /// Send a signal.
    Signal {
        /// The receiver, addressed by pidfd: a reaped process is never signalled.
        generation: Generation,
        /// The signal.
        signal: WorkerSignal,
        /// Send it to the whole process group as well.
        group: bool,
    },
    /// Probe a running process. Answered by [`super::Event::Probed`].
    Probe {
        /// The process.
        generation: Generation,
    },
    /// Record what the threads of a hung process are doing, before it is killed.
    DumpThreads(GenerationRef),
    /// Answer a command.
    Answer {
        /// The client; it may have disconnected.
        client: ClientId,
        /// The result. A refusal carries its reason.
        outcome: RequestOutcome,
        /// One line for people, also on success. Never empty.
        text: String,
    },
    /// Reserve event numbers on disk before the API may use them.
    ReserveSeqs {
        /// The next number that the API will use.
        next: Seq,
    },
    /// Store an event of the ring in quarantine. Answered by [`super::Event::Quarantined`]. No analysis is
    /// activated until then.
    Quarantine(QuarantineRequest),
    /// Store the pending events of isolated series up to this one in quarantine. Answered by [`super::Event::IsolatedStored`].
    StoreIsolated {
        /// The generation that does not apply them.
        subject: GenerationRef,
        /// The last event.
        through: Seq,
        /// The isolated series.
        isolated: Vec<IsolatedSeries>,
    },
    /// Remove events from quarantine that no generation has skipped. Answered by [`super::Event::Released`]. No analysis is
    /// activated until then.
    Release(Vec<Seq>),
    /// Remove an event from quarantine, and answer the worker that requested it.
    RemoveQuarantined {
        /// The worker that requested it.
        requester: Generation,
        /// The number of its request.
        id: u64,
        /// The event.
        seq: Seq,
        /// The seq under which the event was appended again, if it was replayed.
        replayed_as: Option<Seq>,
    },
    /// Tell the clients that wait for the replay of this event that it failed.
    ReplayFailed {
        /// The event.
        seq: Seq,
        /// The reason, for people.
        why: String,
    },
    /// Wake the analysis: the API may have died between appending an event and waking it.
    WakeAnalytics,
    /// Write one line to the log.
    Log(LogRecord),
    /// Log a death and store its report. The core does not wait for the report.
    RecordDeath(Box<DeathRecord>),
    /// Save state, pending events and high-water marks. Answered by [`super::Event::Saved`].
    Save {
        /// Whether every worker is gone. If not, a process that cannot be killed may still write to shared
        /// memory.
        settled: bool,
    },
    /// Exit now.
    Exit {
        /// Exit code: 0 after an orderly stop, else 1.
        code: u8,
    },
}

impl Action {
    /// Whether this lets a worker begin its work.
    #[must_use]
    pub const fn is_activation(&self) -> bool {
        matches!(self, Self::Send { frame: ToWorker::Activate(_), .. })
    }
}

/// The signals that the supervisor sends to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerSignal {
    /// SIGSTOP: only as a fault (`freeze`).
    Stop,
    /// SIGABRT, followed by SIGCONT so that a stopped process receives it.
    Abort,
    /// SIGTERM, followed by SIGCONT so that a stopped process handles it.
    Term,
    /// SIGKILL.
    Kill,
}
