//! What came in: everything that is known of a process that has exited. The runtime gathers it once.

use super::ExitStatus;
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Operation,
        crash::{OutputLine, Panic, Resources},
        ids::Seq,
        quarantine::EventView,
    },
};
use std::{fs::File, sync::Arc};

/// A process that has exited. `Default`: it was never spawned.
///
/// The process itself wrote the values in shared memory, so they may be wrong; the runtime has checked the ranges
/// only: `committed <= head`, `committed < in_flight <= head`, and the same for `committing`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostMortem {
    /// Exit status.
    pub exit: ExitStatus,
    /// The event that was being applied, or whose series was being loaded.
    pub in_flight: Option<Seq>,
    /// Whether the series of that event was being loaded.
    pub loading: bool,
    /// The last event of the commit in progress.
    pub committing: Option<Seq>,
    /// The series of the event in flight, or of the last event of the commit in progress, if it could be read.
    pub series: Option<String>,
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
    /// What only the report shows.
    pub evidence: Evidence,
}

/// What only the report shows. The core copies it and decides nothing by it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The event in flight, or the last event of the commit in progress, if it could be read and decoded.
    pub event: Option<EventView>,
    /// What the process had used.
    pub resources: Option<Resources>,
    /// The last lines of its output.
    pub output: Vec<OutputLine>,
    /// The number of lines that were dropped by the rate limit.
    pub output_dropped: u64,
    /// State of its threads, read before it was killed for a hang.
    pub thread_dump: Vec<String>,
    /// Where it panicked or hung.
    pub stack: Stack,
}

/// A stack that is not named yet: naming its frames takes time and reads a file.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// The executable, opened while the process was running.
    pub program: Option<Arc<File>>,
    /// Return addresses as offsets in the executable.
    pub frames: Vec<u64>,
}

impl PartialEq for Stack {
    fn eq(&self, other: &Self) -> bool {
        self.frames == other.frames
    }
}

/// A refused memory allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAllocation {
    /// Size of the request in bytes, as recorded by the process.
    pub bytes: u64,
    /// The `memory_limit` of the worker, in bytes.
    pub limit: Option<u64>,
}

impl PostMortem {
    /// What the process was doing when it died, as far as known.
    pub(in crate::core) fn during(&self) -> Option<Operation> {
        match (self.in_flight, self.committing) {
            (Some(_), _) if self.loading => Some(Operation::Load),
            (Some(_), _) => Some(Operation::Apply),
            (None, Some(_)) => Some(Operation::Commit),
            (None, None) => None,
        }
    }
}
