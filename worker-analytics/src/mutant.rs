//! Faults planted in the engine, one at a time, to show that its tests find them.

bulkhead_proto::mutants! {
    ApplySkipped,
    ChargeTheRefused,
    CommitBeforeApply,
    LeaveInHand,
    MigrateWithAnEvent,
    NoCommitBefore,
    NoCommitBehind,
    SkipUncounted,
}
