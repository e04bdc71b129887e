//! Mutants of the core: the simulator must find each of them.

use crate::first_violation;
use bulkhead_supervisor::core::mutant::{Mutant, plant};

/// The number of seeds within which a mutant must be found.
const MAX_SEEDS: u64 = 3_000;

#[test]
fn every_planted_fault_breaks_an_invariant() {
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        plant(Some(*mutant));
        match first_violation(1..=MAX_SEEDS) {
            Err((seed, violation)) => println!("{mutant:?}: seed {seed}: {violation}"),
            Ok(_) => survivors.push(*mutant),
        }
        plant(None);
    }
    assert!(survivors.is_empty(), "not found within {MAX_SEEDS} seeds: {survivors:?}");
}
