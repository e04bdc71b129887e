//! Faults planted in the heart: the simulator finds each of them.

use crate::first_broken;
use bulkhead_supervisor::core::mutant::{Mutant, plant};

/// A mutant that survives so many seeds is not found.
const ENOUGH: u64 = 3_000;

#[test]
fn every_planted_fault_breaks_an_invariant() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        plant(Some(*mutant));
        match first_broken(1..=ENOUGH) {
            Err((seed, broken)) => println!("{mutant:?}: seed {seed}: {broken}"),
            Ok(_) => survivors.push(*mutant),
        }
        plant(None);
    }
    assert!(survivors.is_empty(), "not found within {ENOUGH} seeds: {survivors:?}");
}
