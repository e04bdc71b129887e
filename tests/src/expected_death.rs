//! The cause and detail with which the log must report a death by each fault.

use bulkhead_proto::wire::fault::FaultKind;

/// The cause and detail of a death by this fault that was not requested. For a panic and a hang, the detail only begins
/// with this text.
#[must_use]
pub const fn expected_cause_and_detail(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::Panic => ("panic", r#""injected fault: panic" at "#),
        FaultKind::Abort => ("signal", "SIGABRT"),
        FaultKind::StackOverflow => ("signal", "SIGABRT after SIGSEGV: stack overflow"),
        FaultKind::Oom => ("oom", "an allocation of 64MiB failed: memory_limit is 1GiB"),
        FaultKind::Segv => ("signal", "SIGSEGV"),
        FaultKind::Exit => ("exit", "exit code 3"),
        FaultKind::Hang | FaultKind::Freeze => ("hang", "no progress for "),
        FaultKind::Kill => ("signal", "SIGKILL"),
    }
}

/// Whether a death by this fault may have this detail. A stack overflow ends by SIGABRT, as an abort does: only the rest
/// of the detail distinguishes them.
#[must_use]
pub fn detail_matches(kind: FaultKind, detail: &str) -> bool {
    let (cause, expected) = expected_cause_and_detail(kind);
    // The place of a panic and the duration of a hang vary.
    let varies = matches!(cause, "panic" | "hang");
    detail == expected || varies && detail.starts_with(expected)
}

/// Whether the log reports a death by this fault, which was not requested, with this cause and detail.
#[must_use]
pub fn death_matches(kind: FaultKind, cause: &str, detail: &str) -> bool {
    cause == expected_cause_and_detail(kind).0 && detail_matches(kind, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_and_a_stack_overflow_are_distinguished() {
        let (abort, overflow) = ("SIGABRT", "SIGABRT after SIGSEGV: stack overflow");
        assert!(death_matches(FaultKind::Abort, "signal", abort));
        assert!(death_matches(FaultKind::StackOverflow, "signal", overflow));
        assert!(!death_matches(FaultKind::Abort, "signal", overflow));
        assert!(!death_matches(FaultKind::StackOverflow, "signal", abort));
        assert!(!death_matches(FaultKind::Abort, "requested", abort));
    }

    #[test]
    fn the_place_of_a_panic_and_the_duration_of_a_hang_may_vary() {
        assert!(death_matches(FaultKind::Hang, "hang", "no progress for 301 ms with work pending"));
        let panic = r#""injected fault: panic" at proto/src/worker/fault.rs:54:29, thread main"#;
        assert!(death_matches(FaultKind::Panic, "panic", panic));
        assert!(!death_matches(
            FaultKind::Panic,
            "panic",
            r#""index out of bounds" at src/x.rs:1:2, thread main"#
        ));
    }
}
