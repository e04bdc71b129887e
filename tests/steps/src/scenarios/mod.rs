//! All operations that are stepped through, and those with a planted fault.

pub mod append;
mod board;
mod charge;
mod commit;
mod consume;
mod keyed;
mod plants;
pub mod quarantine;
mod repair;
pub mod snapshot;
pub mod take_over;

use crate::scenario::Scenario;

/// Every scenario that must be right at every step.
#[must_use]
pub fn all() -> Vec<&'static dyn Scenario> {
    [append::ALL, keyed::ALL, consume::ALL, commit::ALL, take_over::ALL, repair::ALL, board::ALL, charge::ALL]
        .concat()
}

/// Every scenario with a fault, each of which must be found.
#[must_use]
pub fn planted() -> Vec<&'static dyn Scenario> {
    plants::ALL.to_vec()
}

/// What the child knows by that name; also what is judged by tests of its own.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Scenario> {
    [all(), planted(), snapshot::ALL.to_vec(), quarantine::ALL.to_vec()]
        .concat()
        .into_iter()
        .find(|scenario| scenario.name() == name)
}
