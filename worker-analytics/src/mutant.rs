//! Faults planted in the engine, one at a time, to prove that the engine's tests detect them.

bulkhead_proto::mutants! {
    ApplySkipped,
    CommitBeforeApply,
    CommitMigrationWithEvent,
    KeepAppliedInFlight,
    KeepRefusedCommitInFlight,
    NoCommitAfterIsolated,
    NoCommitBeforeIsolated,
    SkipNotCounted,
}
