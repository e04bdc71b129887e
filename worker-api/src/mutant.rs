//! Mutants of the quarantine replay, enabled one at a time, to show that the tests detect them.

bulkhead_proto::mutants! {
    ReplayNameless,
    ReplayUnskipped,
    ReplayWithoutKey,
}
