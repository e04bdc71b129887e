//! The supervisor's orderly stop.

use super::fixture::{ANALYTICS, API, Fixture, SIGSEGV};
use crate::core::{
    Action, Command, Event, ExitStatus, WorkerSignal,
    policy::{FORCE_AFTER, KILL_GRACE, SAVE_TIMEOUT, START_SPACING, TERM_GRACE},
};
use bulkhead_proto::wire::{
    control::{RequestOutcome, ToWorker},
    ids::Generation,
};
use std::time::Duration;

fn stop_signal(terminal: bool) -> Event {
    Event::StopSignal { origin: "a signal".to_owned(), terminal }
}

fn stopping() -> Fixture {
    let mut fixture = Fixture::running();
    fixture.feed(stop_signal(false));
    fixture
}

#[test]
fn plain_workers_stop_first_then_the_api_then_the_analysis_then_the_state_is_saved() {
    let mut fixture = stopping();
    assert!(fixture.last.contains(&Action::Signal {
        generation: Generation(3),
        signal: WorkerSignal::Term,
        group: true
    }));
    assert!(!fixture.sent(Generation(1), &ToWorker::Drain));
    fixture.die(Generation(3), ExitStatus::Code(0));
    assert!(fixture.sent(Generation(1), &ToWorker::Drain) && !fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.die(Generation(1), ExitStatus::Code(0));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert!(fixture.last.contains(&Action::Save { settled: true }));
    fixture.feed(Event::Saved { result: Ok(()) });
    assert!(fixture.last.contains(&Action::Exit { code: 0 }));
}

fn assert_forced(fixture: &Fixture) {
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
fn a_second_signal_kills_everything_and_exits() {
    let mut fixture = stopping();
    fixture.advance(FORCE_AFTER);
    fixture.feed(stop_signal(false));
    assert_forced(&fixture);
}

#[test]
fn a_second_key_press_kills_everything_at_any_time() {
    let mut fixture = stopping();
    fixture.feed(stop_signal(true));
    assert_forced(&fixture);
}

#[test]
fn signals_in_quick_succession_are_one_request() {
    let mut fixture = stopping();
    for _ in 0..3 {
        fixture.advance(FORCE_AFTER / 4);
        let actions = fixture.feed(stop_signal(false)).to_vec();
        assert!(
            matches!(&actions[..], [Action::Log(record)] if record.event_name() == "supervisor_stopping"),
            "{actions:?}"
        );
    }
    fixture.advance(FORCE_AFTER / 4);
    fixture.feed(stop_signal(false));
    assert_forced(&fixture);
}

#[test]
fn the_supervisor_exits_even_if_no_worker_stops_and_saving_fails() {
    let mut fixture = stopping();
    for _ in 0..3 {
        fixture.advance(Duration::from_secs(5));
        fixture.advance(TERM_GRACE);
        fixture.advance(KILL_GRACE);
    }
    fixture.advance(SAVE_TIMEOUT);
    assert!(fixture.last.contains(&Action::Exit { code: 1 }), "{:?}", fixture.state.phase);
}

#[test]
fn a_worker_that_dies_during_shutdown_is_not_restarted() {
    let mut fixture = stopping();
    fixture.die(Generation(2), SIGSEGV);
    fixture.advance(Duration::from_secs(60));
    assert_eq!(fixture.spawns(), []);
}

#[test]
fn waiting_and_new_clients_are_refused_during_shutdown() {
    let mut fixture = Fixture::running();
    let waiters = fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.feed(stop_signal(false));
    assert_eq!(
        fixture.answer(waiters),
        Some(RequestOutcome::Conflict("the supervisor is stopping".to_owned()))
    );
    let late = fixture.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(fixture.answer(late), Some(RequestOutcome::Conflict("the supervisor is stopping".to_owned())));
}

#[test]
fn shutdown_does_not_change_the_desired_states() {
    let before = Fixture::running();
    let after = stopping();
    for (before, after) in before.state.workers.iter().zip(&after.state.workers) {
        assert_eq!(before.desired, after.desired);
    }
}

#[test]
fn after_the_end_commands_are_refused_and_nothing_else_is_done() {
    let mut fixture = Fixture::new();
    fixture.feed(stop_signal(false));
    let client = fixture.command(Command::Start(API.to_owned()));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))), "{:?}", fixture.last);
    assert_eq!(fixture.feed(Event::Boot), []);
}

#[test]
fn a_restart_in_progress_is_given_up_at_once() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.spawned(Generation(4));
    fixture.feed(Event::StopSignal { origin: "SIGTERM".to_owned(), terminal: false });
    let drained = [1, 2, 4].map(|generation| fixture.sent(Generation(generation), &ToWorker::Drain));
    assert_eq!(drained, [false, false, true], "the API and the analysis stop later");
}

#[test]
fn a_worker_that_is_starting_stops_in_its_turn() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.feed(Event::StopSignal { origin: "SIGTERM".to_owned(), terminal: false });
    let drained = [1, 2].map(|generation| fixture.sent(Generation(generation), &ToWorker::Drain));
    assert_eq!(drained, [true, false], "the API stops before the analysis");
}

#[test]
fn a_process_that_cannot_be_killed_is_reported_although_the_state_was_saved() {
    let mut fixture = stopping();
    fixture.die(Generation(3), ExitStatus::Code(0));
    fixture.die(Generation(1), ExitStatus::Code(0));
    fixture.advance(Duration::from_secs(5));
    fixture.advance(TERM_GRACE);
    fixture.advance(KILL_GRACE);
    assert!(fixture.last.contains(&Action::Save { settled: false }), "{:?}", fixture.last);
    fixture.feed(Event::Saved { result: Ok(()) });
    assert!(fixture.last.contains(&Action::Exit { code: 1 }), "{:?}", fixture.last);
}
