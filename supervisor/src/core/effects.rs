//! The order of deciding, publishing and acting, shared by the runtime and the tests.

use crate::core::{
    model::{Action, Event, Now, State},
    transition::transition,
};
use std::collections::VecDeque;

/// What the core needs from the runtime; tests implement it as well.
pub trait Effects {
    /// The state of the core.
    fn state(&mut self) -> &mut State;

    /// The time.
    fn now(&self) -> Now;

    /// Publishes the state, for a successor of this process and for readers.
    fn publish(&mut self);

    /// Carries one action out. Returned events are handled after all actions of the transition.
    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event>;
}

/// Handles one event and all events that its actions return. Each new state is published before any action
/// that follows from it. An activation is carried out before the other actions of its transition: events wait for it, and
/// nothing waits for the log and the reports.
pub fn drive(effects: &mut impl Effects, event: Event) {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let now = effects.now();
        let (activations, others): (Vec<_>, Vec<_>) =
            transition(effects.state(), event, now).into_iter().partition(Action::is_activation);
        effects.publish();
        for action in activations.into_iter().chain(others) {
            events.extend(effects.carry_out(action));
        }
    }
}
