//! Faults planted in the store, one at a time, to show that its tests find them.

bulkhead_proto::mutants! {
    ForgetRemoval,
    KeepNothing,
    KeepTooMany,
}
