//! How a process ended, and what it left in shared memory.

use super::policy::MAX_DETAIL;
use bulkhead_proto::{control::cut, cursor::Signalled, ids::Seq};

/// How a process ended, from `waitid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It left with this exit code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It is gone, but nobody could tell how.
    Unknown,
}

/// What shared memory told about a dead process. Written by it, so only as true as it was;
/// the shell has checked the ranges: `committed <= head`, `committed < in_hand <= head`, likewise `committing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostMortem {
    /// The event that was being applied, or whose series was being loaded.
    pub in_hand: Option<Seq>,
    /// Whether its series was being loaded.
    pub loading: bool,
    /// The last event of a commit that was under way.
    pub committing: Option<Seq>,
    /// The signal of a fault, as its handler noted it.
    pub signalled: Option<Signalled>,
    /// The last event that is part of the state.
    pub committed: Seq,
    /// The last event that was accepted.
    pub head: Seq,
    /// Its last words.
    pub panic: Option<Panic>,
    /// The memory that it was refused and, as far as can be told, did not get over.
    pub refused: Option<RefusedAllocation>,
    /// Whether the kernel has killed for want of memory meanwhile.
    pub out_of_memory: bool,
}

/// Memory that a process was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAllocation {
    /// So much more was wanted, in bytes: the process's own word.
    pub bytes: u64,
    /// Its `memory_limit`, in bytes.
    pub limit: Option<u64>,
}

/// A panic, as the worker told it. Texts of any length; cut where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The thread's name.
    pub thread: String,
}

/// From signal(7), for every architecture that Linux runs on and this was written for.
pub(in crate::core) const SIGABRT: i32 = 6;

pub(in crate::core) const SIGBUS: i32 = 7;

pub(in crate::core) const SIGKILL: i32 = 9;

pub(in crate::core) const SIGSEGV: i32 = 11;

pub(in crate::core) const SIGTERM: i32 = 15;

/// The name of a signal in signal(7).
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    signal_hook::low_level::signal_name(number)
}

impl ExitStatus {
    /// For people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal { number, core } => {
                let dumped = if core { " (core dumped)" } else { "" };
                match signal_name(number) {
                    Some(name) => format!("{name}{dumped}"),
                    None => format!("signal {number}{dumped}"),
                }
            }
            Self::Unknown => "nobody knows how".to_owned(),
        }
    }
}

pub(in crate::core) const fn is_signal(exit: ExitStatus, desired: i32) -> bool {
    match exit {
        ExitStatus::Signal { number, .. } => number == desired,
        ExitStatus::Code(_) | ExitStatus::Unknown => false,
    }
}

impl ExitStatus {
    /// Whether SIGKILL ended it.
    #[must_use]
    pub const fn is_kill(self) -> bool {
        is_signal(self, SIGKILL)
    }
}

impl Panic {
    /// For people. It is the message that makes room in [`MAX_DETAIL`], not where it was.
    #[must_use]
    pub fn text(&self) -> String {
        let place = format!(" at {}, thread {}", self.location, self.thread);
        let quoted = format!("{:?}", self.message);
        if quoted.len() + place.len() <= MAX_DETAIL {
            return quoted + &place;
        }
        let room = MAX_DETAIL.saturating_sub(place.len() + "\"…\"".len());
        let mut shown = "\"".to_owned();
        for character in self.message.chars() {
            let escaped = format!("{:?}", character.encode_utf8(&mut [0; 4]));
            // Without its own quotes.
            let escaped = &escaped[1..escaped.len() - 1];
            if shown.len() + escaped.len() > room {
                break;
            }
            shown.push_str(escaped);
        }
        shown + "…\"" + &place
    }

    /// Bounds it for the ledger: the message to `max` bytes, the rest shorter.
    pub(in crate::core) fn cut(self, max: usize) -> Self {
        Self {
            message: cut(&self.message, max).to_owned(),
            location: cut(&self.location, max / 4).to_owned(),
            thread: cut(&self.thread, max / 16).to_owned(),
        }
    }
}
