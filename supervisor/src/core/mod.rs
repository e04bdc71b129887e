//! The supervisor's pure core: `transition(state, event, now) -> actions`.
//!
//! It does no I/O and reads no clock; the state of its random generator is part of its state. The runtime turns file
//! descriptors, signals and deadlines into events, publishes the new state, and carries the actions out. Nothing
//! that a worker writes can make the core panic or loop.

mod commands;
mod death;
mod effects;
mod frames;
mod lifecycle;
mod liveness;
mod model;
mod status;
mod transition;

pub use effects::{Effects, drive};
pub use lifecycle::deadline::next_deadline;
pub use model::*;
pub use status::status;
pub use transition::transition;

#[cfg(test)]
mod tests;
