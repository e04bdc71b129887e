//! What the faults look like from outside.

use bulkhead_proto::words::FaultKind;

/// What a death by this fault is reported as, when nobody has asked for it.
#[must_use]
pub const fn cause_and_word(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::Panic => ("panic", "src/"),
        FaultKind::Abort | FaultKind::StackOverflow => ("signal", "SIGABRT"),
        FaultKind::Oom => ("oom", "64MiB more were refused: memory_limit is 1GiB"),
        FaultKind::Segv => ("signal", "SIGSEGV"),
        FaultKind::Exit => ("exit", "3"),
        FaultKind::Hang | FaultKind::Freeze => ("hang", "no progress"),
        FaultKind::Kill => ("signal", "SIGKILL"),
    }
}
