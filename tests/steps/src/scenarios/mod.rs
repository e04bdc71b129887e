//! All scenarios, and the faulty ones.

pub mod append;
mod attempts;
mod commit;
mod consume;
mod faulty;
mod keyed_append;
mod publish;
pub mod quarantine;
mod repair;
pub mod snapshot;
pub mod takeover;

use crate::scenario::Scenario;

/// Every scenario that must pass at every step.
#[must_use]
pub fn all() -> Vec<&'static dyn Scenario> {
    [
        append::ALL,
        keyed_append::ALL,
        consume::ALL,
        commit::ALL,
        takeover::ALL,
        repair::ALL,
        publish::ALL,
        attempts::ALL,
    ]
    .concat()
}

/// Every faulty scenario; the runner must find an error in each.
#[must_use]
pub fn faulty_scenarios() -> Vec<&'static dyn Scenario> {
    faulty::ALL.to_vec()
}

/// The scenario that the child knows by this name. It may also be one that has its own tests.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Scenario> {
    [all(), faulty_scenarios(), snapshot::ALL.to_vec(), quarantine::ALL.to_vec()]
        .concat()
        .into_iter()
        .find(|scenario| scenario.name() == name)
}
