//! The order in which whatever surrounds the heart shows what the heart decides, and does it.

use crate::core::{
    model::{Action, Event, Now, State},
    transition::transition,
};
use std::collections::VecDeque;

/// What surrounds the heart.
pub trait Effects {
    /// The heart's state.
    fn state(&mut self) -> &mut State;

    /// The time.
    fn now(&self) -> Now;

    /// Shows the state to whoever takes over after a death of this process, and to whoever looks.
    fn publish(&mut self);

    /// Carries one action out. What comes of it at once is taken in when all actions are carried out.
    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event>;
}

/// Takes one event in, and all that carrying out its actions brings about. Each new state is shown before anything is done
/// about it.
pub fn drive(surroundings: &mut impl Effects, event: Event) {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let now = surroundings.now();
        let actions = transition(surroundings.state(), event, now);
        surroundings.publish();
        for action in actions {
            events.extend(surroundings.carry_out(action));
        }
    }
}
