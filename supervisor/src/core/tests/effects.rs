//! The order of deciding, publishing and acting.

use super::fixture::{ANALYTICS, Fixture};
use crate::core::{Action, Effects, Event, Now, State, drive};
use bulkhead_proto::wire::ids::Generation;

#[derive(Debug)]
enum Step {
    Published(State),
    CarriedOut(Action),
}

struct Recorder {
    state: State,
    now: Now,
    steps: Vec<Step>,
}

impl Effects for Recorder {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn now(&self) -> Now {
        self.now
    }

    fn publish(&mut self) {
        self.steps.push(Step::Published(self.state.clone()));
    }

    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event> {
        let spawned = match action {
            Action::Spawn { generation, .. } => Some(Event::Spawned { generation, pid: 7 }),
            _ => None,
        };
        self.steps.push(Step::CarriedOut(action));
        spawned
    }
}

#[test]
fn a_state_is_published_before_its_actions_are_carried_out_and_their_events_are_handled() {
    let Fixture { state, now, .. } = Fixture::new();
    let mut recorder = Recorder { state, now, steps: Vec::new() };
    drive(&mut recorder, Event::Boot);
    let is_spawn = |step: &Step| matches!(step, Step::CarriedOut(Action::Spawn { generation, .. }) if *generation == Generation(2));
    let spawn = recorder.steps.iter().position(is_spawn).unwrap();
    let knows_generation =
        |state: &State| state.worker(ANALYTICS).is_some_and(|worker| worker.generation == Generation(2));
    assert!(
        recorder.steps[..spawn]
            .iter()
            .any(|step| matches!(step, Step::Published(state) if knows_generation(state))),
        "{:?}",
        recorder.steps
    );
    let pid = recorder.state.worker(ANALYTICS).and_then(|worker| worker.main.process()?.pid);
    assert_eq!(pid, Some(7), "the event that the spawn returned was handled");
}
