//! The supervisor's own end.

use super::fixture::{ANALYTICS, Fixture, SIGSEGV};
use crate::core::{
    Action, Command, Event, ExitStatus, WorkerSignal,
    policy::{KILL_GRACE, SAVE_TIMEOUT, TERM_GRACE},
};
use bulkhead_proto::{
    control::{Outcome, ToWorker},
    ids::Generation,
};
use std::time::Duration;

fn told_to_stop() -> Fixture {
    let mut fixture = Fixture::running();
    fixture.feed(Event::StopSignal { origin: "SIGTERM from pid 1".to_owned() });
    fixture
}

#[test]
fn plain_workers_go_first_then_the_api_then_the_analysis_then_all_is_saved() {
    let mut fixture = told_to_stop();
    assert!(fixture.last.contains(&Action::Signal {
        generation: Generation(3),
        signal: WorkerSignal::Term,
        group: true
    }));
    assert!(!fixture.sent(Generation(1), &ToWorker::Drain));
    fixture.dies(Generation(3), ExitStatus::Code(0));
    assert!(fixture.sent(Generation(1), &ToWorker::Drain) && !fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.dies(Generation(1), ExitStatus::Code(0));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.dies(Generation(2), ExitStatus::Code(0));
    assert!(fixture.last.contains(&Action::Save { settled: true }));
    fixture.feed(Event::Saved { result: Ok(()) });
    assert!(fixture.last.contains(&Action::Exit { code: 0 }));
}

#[test]
fn a_second_signal_kills_everything_and_leaves_at_once() {
    let mut fixture = told_to_stop();
    fixture.feed(Event::StopSignal { origin: "SIGINT".to_owned() });
    for generation in [1, 2, 3].map(Generation) {
        assert!(fixture.last.contains(&Action::Signal {
            generation,
            signal: WorkerSignal::Kill,
            group: true
        }));
    }
    assert!(fixture.last.contains(&Action::Exit { code: 1 }));
}

#[test]
fn the_end_comes_even_if_nothing_obeys_and_nothing_is_saved() {
    let mut fixture = told_to_stop();
    for _ in 0..3 {
        fixture.advance(Duration::from_secs(5));
        fixture.advance(TERM_GRACE);
        fixture.advance(KILL_GRACE);
    }
    fixture.advance(SAVE_TIMEOUT);
    assert!(fixture.last.contains(&Action::Exit { code: 1 }), "{:?}", fixture.state.phase);
}

#[test]
fn what_dies_meanwhile_is_not_started_again() {
    let mut fixture = told_to_stop();
    fixture.dies(Generation(2), SIGSEGV);
    fixture.advance(Duration::from_secs(60));
    assert_eq!(fixture.spawns(), []);
}

#[test]
fn waiting_clients_and_new_ones_are_told() {
    let mut fixture = Fixture::running();
    let waiters = fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.feed(Event::StopSignal { origin: "SIGTERM".to_owned() });
    assert_eq!(fixture.answer(waiters), Some(Outcome::Conflict("the supervisor is stopping".to_owned())));
    let late = fixture.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(fixture.answer(late), Some(Outcome::Conflict("the supervisor is stopping".to_owned())));
}

#[test]
fn stopping_changes_nothing_in_what_is_wanted() {
    let before = Fixture::running();
    let after = told_to_stop();
    for (before, after) in before.state.workers.iter().zip(&after.state.workers) {
        assert_eq!(before.desired, after.desired);
    }
}
