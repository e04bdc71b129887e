//! The pure heart of the supervisor: `step(state, event, now) -> actions`.
//!
//! It never does I/O, never reads a clock, never draws a random number that is not in its state: the shell around it
//! turns fds, signals and deadlines into events, publishes the new state, and carries the actions out.
//! Nothing that a worker writes can make it panic or loop.

mod action;
mod event;
mod log;
pub mod policy;
mod state;
mod time;

pub use action::{Action, Signal};
pub use event::{ClientId, Command, Event, Exit, Panic, PostMortem, Spec};
pub use log::{LogRecord, Next, Who};
pub use policy::Policy;
pub use state::{
    Asked, Course, Goal, Identity, Induced, Is, Process, Stage, State, Tally, Waiter, Wanted, Why, Worker,
    WorkerId,
};
pub use time::{Millis, Now};

use bulkhead_proto::status::Status;

/// Takes one event in and says what to do. The shell publishes `state` before it does any of it.
pub fn step(_state: &mut State, _event: Event, _now: Now) -> Vec<Action> {
    Vec::new()
}

/// When the shell must send [`Event::Tick`], at the latest. Always later than the last `now`.
#[must_use]
pub fn next_deadline(_state: &State) -> Option<Millis> {
    None
}

/// The public part of the state.
#[must_use]
pub fn status(_state: &State) -> Status {
    Status::default()
}
