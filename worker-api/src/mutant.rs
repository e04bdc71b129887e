//! Faults planted in the replay, one at a time, to show that its tests find them.

bulkhead_proto::mutants! {
    ReplayNameless,
    ReplayUnskipped,
    ReplayWithoutKey,
}
