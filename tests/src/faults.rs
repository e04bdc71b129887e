//! What the faults look like from outside.

use bulkhead_proto::wire::fault::FaultKind;

/// What a death by this fault is reported as, when nobody has asked for it: its cause, and what its detail is or, of a
/// panic and a hang, begins with.
#[must_use]
pub const fn cause_and_word(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::Panic => ("panic", r#""injected fault: panic" at "#),
        FaultKind::Abort => ("signal", "SIGABRT"),
        FaultKind::StackOverflow => ("signal", "SIGABRT behind a fault: a stack overflow"),
        FaultKind::Oom => ("oom", "64MiB more were refused: memory_limit is 1GiB"),
        FaultKind::Segv => ("signal", "SIGSEGV"),
        FaultKind::Exit => ("exit", "exit code 3"),
        FaultKind::Hang | FaultKind::Freeze => ("hang", "no progress for "),
        FaultKind::Kill => ("signal", "SIGKILL"),
    }
}

/// Whether a death by this fault may have this detail. A stack overflow ends by SIGABRT as well, and only what follows that
/// tells it from an abort.
#[must_use]
pub fn fits(kind: FaultKind, detail: &str) -> bool {
    let (cause, word) = cause_and_word(kind);
    // Where it was, or for how long, differs from time to time.
    let varies = matches!(cause, "panic" | "hang");
    detail == word || varies && detail.starts_with(word)
}

/// Whether that is how a death by this fault is told, when nobody has asked for it.
#[must_use]
pub fn is_told(kind: FaultKind, cause: &str, detail: &str) -> bool {
    cause == cause_and_word(kind).0 && fits(kind, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_and_a_stack_overflow_are_told_apart() {
        let (abort, overflow) = ("SIGABRT", "SIGABRT behind a fault: a stack overflow");
        assert!(is_told(FaultKind::Abort, "signal", abort));
        assert!(is_told(FaultKind::StackOverflow, "signal", overflow));
        assert!(!is_told(FaultKind::Abort, "signal", overflow));
        assert!(!is_told(FaultKind::StackOverflow, "signal", abort));
        assert!(!is_told(FaultKind::Abort, "requested", abort));
    }

    #[test]
    fn where_a_panic_was_and_how_long_a_hang_took_may_differ() {
        assert!(is_told(FaultKind::Hang, "hang", "no progress for 301 ms while there was work"));
        let panic = r#""injected fault: panic" at proto/src/worker/fault.rs:54:29, thread main"#;
        assert!(is_told(FaultKind::Panic, "panic", panic));
        assert!(!is_told(FaultKind::Panic, "panic", r#""index out of bounds" at src/x.rs:1:2, thread main"#));
    }
}
