//! How a process ended, and what it left in shared memory.

use super::policy::MAX_DETAIL;
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{ids::Seq, text::cut},
};

/// How a process ended, from waitid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Number of the signal.
        number: i32,
        /// Whether it dumped core.
        core: bool,
    },
    /// The kernel reported no status.
    Unknown,
}

/// What shared memory shows of a dead process. The process itself wrote these values, so they may be wrong;
/// the runtime has checked the ranges only: `committed <= head`, `committed < in_flight <= head`, and the same
/// for `committing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostMortem {
    /// The event that was being applied, or whose series was being loaded.
    pub in_flight: Option<Seq>,
    /// Whether the series of that event was being loaded.
    pub loading: bool,
    /// The last event of the commit in progress.
    pub committing: Option<Seq>,
    /// The fatal signal, as recorded by the signal handler.
    pub signalled: Option<SignalInfo>,
    /// The last committed event.
    pub committed: Seq,
    /// The last accepted event.
    pub head: Seq,
    /// The panic, as recorded by the panic hook.
    pub panic: Option<Panic>,
    /// The allocation that was refused, unless the process is known to have survived it.
    pub refused: Option<RefusedAllocation>,
    /// Whether SIGKILL ended the process and the kernel's OOM-kill counter rose since the death before.
    pub out_of_memory: bool,
}

/// A refused memory allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAllocation {
    /// Size of the request in bytes, as recorded by the process.
    pub bytes: u64,
    /// The `memory_limit` of the worker, in bytes.
    pub limit: Option<u64>,
}

/// A panic as the worker reported it. The texts have any length; they are cut where they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The thread's name.
    pub thread: String,
}

// Signal numbers of signal(7), the same on every architecture that Bulkhead supports.
pub(in crate::core) const SIGABRT: i32 = 6;
pub(in crate::core) const SIGBUS: i32 = 7;
pub(in crate::core) const SIGKILL: i32 = 9;
pub(in crate::core) const SIGSEGV: i32 = 11;
pub(in crate::core) const SIGTERM: i32 = 15;

/// The name of a signal, from signal(7).
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    signal_hook::low_level::signal_name(number)
}

impl ExitStatus {
    /// Describes the status for people.
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
            Self::Unknown => "unknown exit status".to_owned(),
        }
    }
}

pub(in crate::core) const fn is_signal(exit: ExitStatus, expected: i32) -> bool {
    match exit {
        ExitStatus::Signal { number, .. } => number == expected,
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
    /// Describes the panic for people. If the text exceeds [`MAX_DETAIL`], the message is cut, not the
    /// location.
    #[must_use]
    pub fn text(&self) -> String {
        let suffix = format!(" at {}, thread {}", self.location, self.thread);
        let quoted = format!("{:?}", self.message);
        if quoted.len() + suffix.len() <= MAX_DETAIL {
            return quoted + &suffix;
        }
        let room = MAX_DETAIL.saturating_sub(suffix.len() + "\"…\"".len());
        let mut shown = "\"".to_owned();
        for character in self.message.chars() {
            let escaped = format!("{:?}", character.encode_utf8(&mut [0; 4]));
            // Without the quotes that `{:?}` adds.
            let escaped = &escaped[1..escaped.len() - 1];
            if shown.len() + escaped.len() > room {
                break;
            }
            shown.push_str(escaped);
        }
        shown + "…\"" + &suffix
    }

    /// Bounds the texts for the ledger: `max` bytes for the message, less for the others.
    pub(in crate::core) fn cut(self, max: usize) -> Self {
        Self {
            message: cut(&self.message, max).to_owned(),
            location: cut(&self.location, max / 4).to_owned(),
            thread: cut(&self.thread, max / 16).to_owned(),
        }
    }
}
