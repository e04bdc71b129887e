//! The pure heart of the supervisor: `step(state, event, now) -> actions`.
//!
//! It never does I/O, never reads a clock, never draws a random number that is not in its state: the shell around it
//! turns fds, signals and deadlines into events, publishes the new state, and carries the actions out.
//! Nothing that a worker writes can make it panic or loop.

mod action;
mod board;
mod commands;
mod deadline;
mod death;
mod decision;
mod diagnosis;
mod event;
mod facts;
mod fault;
mod frames;
mod log;
pub mod mutant;
mod names;
mod oom;
pub mod policy;
mod reload;
mod renewal;
mod shutdown;
mod start;
mod state;
mod stop;
mod surroundings;
mod suspects;
mod tally;
mod time;
mod turn;
mod vigil;
mod waiting;

pub use action::{Action, Signal};
pub use board::status;
pub use deadline::next_deadline;
pub use diagnosis::signal_name;
pub use event::{ClientId, Command, Event, Exit, Panic, PostMortem, Refusal, Spec};
pub use facts::Facts;
pub use log::{LogRecord, Next, Who};
pub use policy::Policy;
pub use renewal::Renewal;
pub use state::{
    Asked, Course, Goal, Identity, Induced, Is, Process, Stage, State, Tally, Waiter, Wanted, Why, Worker,
};
pub use surroundings::{Surroundings, take};
pub use suspects::{Charge, Fate, MAX_KILLS, Suspect, Suspicion};
pub use time::{Millis, Now, span};
pub use vigil::{Look, Mark, Pings, Vigil, Watch};

use state::WorkerId;
use turn::Turn;

/// Takes one event in and says what to do, in order. The shell publishes `state` before it does any of it: see
/// [`take`].
#[must_use]
pub fn step(state: &mut State, event: Event, now: Now) -> Vec<Action> {
    let mut turn = Turn { state, now, actions: Vec::new() };
    turn.run(event);
    turn.actions
}

#[cfg(test)]
mod tests;
