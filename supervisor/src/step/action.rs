//! Everything that the supervisor can do. Idempotent by generation: a successor of the supervisor may repeat them.

use super::{
    event::ClientId,
    facts::Facts,
    log::{LogRecord, Who},
    suspects::Charge,
};
use bulkhead_proto::wire::{
    control::{RequestOutcome, ToWorker},
    ids::{Generation, Seq},
};

/// One thing to do. Actions of one turn are carried out in order, after the new state was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process. Answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// Which worker, by name.
        worker: String,
        /// Its new generation.
        generation: Generation,
    },
    /// Send a frame; what does not fit comes back as `PipeFull`. A pipe closed by the other end is no event: a death follows.
    Send {
        /// To whom.
        generation: Generation,
        /// What.
        frame: ToWorker,
    },
    /// Close the pipe towards a worker: it reads the end of file. Frames from it are still read.
    CloseControl {
        /// Whose.
        generation: Generation,
    },
    /// Send a signal.
    Signal {
        /// To whom, through its pidfd: never to a process that was reaped.
        generation: Generation,
        /// Which.
        signal: Signal,
        /// To its whole process group.
        group: bool,
    },
    /// Look at a process at work. Answered by `Looked`.
    Look {
        /// Which one.
        generation: Generation,
    },
    /// Note what its threads are doing, while it still lives: it is about to be ended for a hang.
    Examine(Who),
    /// Answer a command.
    Answer {
        /// To whom; it may be gone.
        client: ClientId,
        /// Done or not; a refusal carries its reason.
        outcome: RequestOutcome,
        /// One line for people, said on success too. Never empty.
        text: String,
    },
    /// Give out numbers for events beyond this one only after further ones have been reserved on disk.
    ReserveSeqs {
        /// The next number that the API gives out.
        next: Seq,
    },
    /// Store an event of the ring and what it is charged with. Answered by `SetAside`; until then no analysis is activated.
    SetAside(Charge),
    /// Remove an event that was set aside, and answer the worker that asks for it.
    Drop {
        /// Who asks.
        asker: Generation,
        /// Its request.
        id: u64,
        /// Which event.
        seq: Seq,
        /// The number under which it was appended once more, if it was.
        replayed_as: Option<Seq>,
    },
    /// Tell those who wait for the replay of that event that it was not.
    NotReplayed {
        /// Which event.
        seq: Seq,
        /// Why, for people.
        why: String,
    },
    /// Wake whoever may be parked on a shared bell: its owner's partner is gone.
    KickBells,
    /// Write one line to the log.
    Log(LogRecord),
    /// Store a crash report. Nobody waits for it.
    Report(Box<Facts>),
    /// Save state, unreleased events and marks. Answered by `Saved`.
    Save {
        /// Every worker is gone. If not, one that cannot be killed may still write to shared memory.
        settled: bool,
    },
    /// Leave, now.
    Exit {
        /// The exit code: 0 after an orderly stop, else 1.
        code: u8,
    },
}

/// The signals that the supervisor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGSTOP: a fault, never a step of a stop.
    Stop,
    /// SIGABRT, and SIGCONT behind it, so that one that is stopped gets it.
    Abort,
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}
