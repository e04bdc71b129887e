//! The control protocol: one enum per direction, and the table of what is allowed when.
//!
//! A frame may be lost with the process that read it; whatever matters is also in shared memory.

use crate::{
    ids::Seq,
    words::{FaultKind, Role},
};
use bincode::{Decode, Encode};

/// The version of this protocol. A worker that speaks another is refused.
pub const PROTOCOL: u16 = 2;

/// The longest frame, in bytes: one packet of a packet-mode pipe (`PIPE_BUF`, pipe(7)).
pub const MAX_FRAME: usize = 4096;

/// The longest free text in a frame, in bytes: leaves room for the rest of the frame.
pub const MAX_TEXT: usize = 1024;

/// The most events in a list of [`Care`]: bounds the frame, and the ledger behind it.
pub const MAX_CARE: usize = 16;

/// What the supervisor says to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ToWorker {
    /// You are the active generation of your role from now on: begin to work, with this care.
    Activate(Care),
    /// Finish what you have in hand, commit, and leave with exit code 0. (So does end of file.)
    Drain,
    /// Die in this way, at once.
    Fault(FaultKind),
    /// Append that event, which was set aside, once more, and ask for [`Request::Drop`]; or say why not.
    Replay(Seq),
    /// Answer with [`FromWorker::Pong`] of the same number, by way of whatever serves requests.
    Ping(u64),
    /// The answer to [`FromWorker::Request`] of the same id.
    Answer {
        /// The id that the worker chose.
        id: u64,
        /// Done, or why not.
        outcome: Outcome,
    },
}

/// How carefully an analysis goes on behind the deaths of its predecessors. Other roles are told of none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Care {
    /// Events that a predecessor died of, perhaps: commit right before and right after each, so that the next death there
    /// is told from others, and costs the others nothing. At most [`MAX_CARE`].
    pub suspects: Vec<Seq>,
    /// Events that were set aside and stored: they are counted as skipped, never applied. At most [`MAX_CARE`].
    pub skip: Vec<Seq>,
    /// A commit of several events ended in a death: up to here, commit after every event.
    pub cautious_to: Seq,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// Carried out.
    Done,
    /// No such thing: an unknown worker, or faults are not enabled.
    NotFound(String),
    /// It exists, but it cannot be done now; the text says why.
    Conflict(String),
}

/// What a worker says to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FromWorker {
    /// The first frame of every worker.
    Hello {
        /// The protocol that it speaks: [`PROTOCOL`].
        protocol: u16,
        /// Name and version of the program, for people.
        build: String,
    },
    /// It could be activated at once.
    Ready,
    /// It panicked; sent before anything slow is done about it.
    Panicked {
        /// The panic's message, cut to [`MAX_TEXT`].
        message: String,
        /// `file:line:column`.
        location: String,
        /// The thread's name.
        thread: String,
    },
    /// Where it is: sent right behind [`FromWorker::Panicked`], or when it is aborted for a hang, as far as it is known.
    Backtrace {
        /// Return addresses as offsets in the worker's program, the innermost first, at most
        /// [`crate::trace::MAX_FRAMES`].
        frames: Vec<u64>,
    },
    /// Please do this, and answer under this id.
    Request {
        /// Chosen by the worker, unique within its generation.
        id: u64,
        /// What to do.
        request: Request,
    },
    /// The answer to [`ToWorker::Replay`] when nothing was appended.
    NotReplayed {
        /// Which event.
        seq: Seq,
        /// Why, cut to [`MAX_TEXT`].
        why: String,
    },
    /// The answer to [`ToWorker::Ping`].
    Pong {
        /// Which one is answered. One that was never asked is a breach of this protocol; an old one is ignored.
        number: u64,
        /// How often it has looked for connections to accept, and found one, or no place for it. Standing still while some
        /// wait is no progress.
        turns: u64,
        /// Whether there are connections. If not, it is not pinged again until [`Self::Busy`], or until one waits.
        busy: bool,
    },
    /// There is a connection again, after a pong that said there was none.
    Busy,
    /// The next seq to be given out passed a mark: reserve further numbers (see `Marks` in the supervisor).
    SeqMark(u64),
}

/// What a worker may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// Induce this fault in that worker.
    Fault {
        /// The worker's name.
        worker: String,
        /// The kind of fault.
        kind: FaultKind,
    },
    /// Remove an event that was set aside.
    Drop {
        /// Which one.
        seq: Seq,
        /// The number under which it was appended once more, if it was.
        replayed_as: Option<Seq>,
    },
}

/// How far a generation has come, as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Phase {
    /// Spawned; its hello is expected.
    Spawned,
    /// Said hello; it becomes ready.
    Greeted,
    /// Ready, not activated.
    Ready,
    /// Activated.
    Active,
    /// Asked to leave.
    Draining,
}

/// Whether a worker of this role may say this in this phase. What is not allowed kills its sender.
#[must_use]
pub fn allowed(role: Role, phase: Phase, frame: &FromWorker) -> bool {
    match frame {
        FromWorker::Hello { .. } => phase == Phase::Spawned,
        FromWorker::Ready => matches!(phase, Phase::Greeted | Phase::Draining),
        FromWorker::Panicked { .. } | FromWorker::Backtrace { .. } => true,
        FromWorker::Request { .. }
        | FromWorker::NotReplayed { .. }
        | FromWorker::SeqMark(_)
        | FromWorker::Pong { .. }
        | FromWorker::Busy => role == Role::Api && matches!(phase, Phase::Active | Phase::Draining),
    }
}

/// Cuts a text to at most `max` bytes, at a character's border.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
