//! Mutants: faults planted in the store, one at a time, to show that its tests detect them.

bulkhead_proto::mutants! {
    ExceedCapacity,
    SkipRemoval,
    SkipWrite,
}
