//! The closed vocabularies of the contract (DESIGN 7, 9, 10): what a worker is, in which state, why it died.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A word that is not in a vocabulary.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown {what} {found:?}; expected one of: {expected}")]
pub struct UnknownWord {
    /// Which vocabulary.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// All the words that it has.
    pub expected: String,
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident ($what:literal) { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as the contract spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| UnknownWord {
                    what: $what,
                    found: word.chars().take(64).collect(),
                    expected: Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

vocabulary! {
    /// What a worker is for.
    Role("role") {
        /// Accepts events and answers queries.
        Api = "api",
        /// Applies the analysis to events and commits.
        Analytics = "analytics",
        /// Any further program; knows nothing of Bulkhead.
        Plain = "plain",
    }
}

vocabulary! {
    /// The state of a worker, as operators see it.
    WorkerState("worker state") {
        /// Spawned, not ready yet.
        Starting = "starting",
        /// Ready and idle, waiting to be activated.
        Standby = "standby",
        /// At work.
        Running = "running",
        /// Asked to leave.
        Stopping = "stopping",
        /// Dead; will be started again after a delay.
        Backoff = "backoff",
        /// Died too often without progress; probed now and then.
        Parked = "parked",
        /// Not wanted.
        Stopped = "stopped",
    }
}

vocabulary! {
    /// Why a generation died.
    Cause("cause") {
        /// A Rust panic.
        Panic = "panic",
        /// A signal.
        Signal = "signal",
        /// An exit that nobody had asked for.
        Exit = "exit",
        /// Out of memory.
        Oom = "oom",
        /// No progress while work was pending.
        Hang = "hang",
        /// Never became ready.
        Handshake = "handshake",
        /// Sent what the control protocol does not allow.
        Protocol = "protocol",
        /// Says that its configuration is wrong, or cannot be executed: not retried.
        Config = "config",
        /// Asked for by an operator, by command or HTTP.
        Requested = "requested",
        /// None of these could be established.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// What a generation was doing with the event that is charged with its death.
    During("part of the work") {
        /// It applied it.
        Apply = "apply",
        /// It loaded the state of the event's series.
        Load = "load",
        /// It committed that event alone.
        Commit = "commit",
    }
}

vocabulary! {
    /// An induced death (DESIGN 7).
    FaultKind("fault") {
        /// A Rust panic.
        Panic = "panic",
        /// `abort()`.
        Abort = "abort",
        /// A real invalid memory access.
        Segv = "segv",
        /// `exit(3)` without a word.
        Exit = "exit",
        /// Memory that is refused.
        Oom = "oom",
        /// Does nothing any more.
        Hang = "hang",
        /// SIGSTOP.
        Freeze = "freeze",
        /// Recursion without an end.
        StackOverflow = "stack-overflow",
        /// SIGKILL.
        Kill = "kill",
    }
}

impl FaultKind {
    /// Whether it ends nothing by itself: the supervisor finds the process hanging, and ends it.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Hang | Self::Freeze)
    }
}

/// Series whose names begin with this are reserved: refused from outside, faults excepted.
pub const RESERVED_PREFIX: &str = "__";

/// An event of series `__fault.KIND` has the effect of that fault when the analysis applies it.
pub const FAULT_PREFIX: &str = "__fault.";

/// The series that counts the events of all series beyond `max_series`.
pub const OVERFLOW_SERIES: &str = "__overflow__";

/// The exit code by which a worker says that its configuration is wrong (`EX_CONFIG` of sysexits.h): not retried.
pub const EXIT_CONFIG: u8 = 78;

/// The exit code of a Rust process whose main thread panicked.
pub const EXIT_PANIC: u8 = 101;
