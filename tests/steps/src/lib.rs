//! Kill at every step: a child is single-stepped through one operation on shared memory; at each distinct image of that
//! memory, all that a successor would do is done on a copy, and compared with a model.
//!
//! Where to start: [`scenario::Scenario`] is one operation that is stepped through, [`rig::run`] steps through it,
//! [`recovery`] says what must be found. `README.md` tells how to add a scenario.
//!
//! A death leaves what stands in memory between two instructions: stepping through all of them finds every such image,
//! where random kills find one in thousands. What two cores see of each other's stores is another question, answered by
//! the loom models of `bulkhead-proto`.

#![forbid(unsafe_code)]

pub mod child;
pub mod datum;
pub mod deferred;
pub mod image;
pub mod recovery;
pub mod rig;
pub mod scenario;
pub mod scenarios;
pub mod service;
pub mod tracee;
pub mod world;
