//! Kill at every step: the parent single-steps a child through one operation on shared memory. At each
//! distinct image of that memory it performs a successor's recovery on a copy, and compares the result with a
//! model.
//!
//! Where to start: [`scenario::Scenario`] is one operation, [`runner::run`] steps through it, [`recovery`]
//! checks what a successor must find. `README.md` explains how to add a scenario.
//!
//! A death leaves the memory as it is between two instructions. Stepping through all instructions finds every
//! such image; random kills find one in thousands. What two cores see of each other's stores is another
//! question: the loom models of `bulkhead-proto` answer it.

#![forbid(unsafe_code)]

pub mod child;
pub mod deferred;
pub mod fixture;
pub mod image;
pub mod recovery;
pub mod runner;
pub mod scenario;
pub mod scenarios;
pub mod service;
pub mod test_event;
pub mod tracee;
