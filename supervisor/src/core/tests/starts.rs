//! From boot to running.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN};
use crate::core::{
    Command, Event, ExitStatus, GenerationState, Policy, next_deadline,
    policy::{START_GRACE, START_SPACING, START_TIMEOUT},
    status,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, RecoveryHints, ToWorker},
    ids::Generation,
    role::Role,
    status::WorkerState,
};
use std::time::Duration;

#[test]
fn api_and_analysis_start_together_and_plain_workers_wait_for_the_api() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    assert_eq!(fixture.spawns(), [Generation(1), Generation(2)]);
    fixture.become_ready(Generation(1));
    assert!(fixture.sent(Generation(1), &ToWorker::Activate(RecoveryHints::default())));
    assert_eq!(fixture.spawns(), [Generation(3)]);
}

#[test]
fn one_core_starts_one_worker_at_a_time() {
    let mut fixture = Fixture::with(Policy { starts: 1, ..Policy::default() });
    fixture.feed(Event::Boot);
    assert_eq!(fixture.spawns(), [Generation(1)]);
    fixture.become_ready(Generation(1));
    assert_eq!(fixture.spawns(), [Generation(2)]);
    fixture.become_ready(Generation(2));
    assert_eq!(fixture.spawns(), [Generation(3)]);
}

#[test]
fn plain_workers_do_not_wait_for_an_api_that_cannot_start() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.spawned(Generation(1));
    fixture.become_ready(Generation(2));
    assert_eq!(fixture.spawns(), []);
    fixture.advance(START_TIMEOUT);
    assert_eq!(fixture.spawns(), [Generation(3)]);
    assert!(fixture.slot_state(API).process().unwrap().stop().is_some());
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.spawned(Generation(2));
    fixture.hello(Generation(2));
    fixture.advance(START_TIMEOUT);
    fixture.die(Generation(2), super::fixture::SIGKILL);
    let (cause, detail, _) = fixture.death();
    assert_eq!(cause, Cause::Handshake);
    assert_eq!(detail, "not ready 10 s after its start: it sent Hello but not Ready");
}

#[test]
fn a_ready_worker_is_not_killed_after_the_supervisor_was_suspended() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.spawned(Generation(2));
    fixture.advance(2 * START_TIMEOUT);
    fixture.hello(Generation(2));
    fixture.receive(Generation(2), FromWorker::Ready);
    assert!(fixture.slot_state(ANALYTICS).running().is_some());
}

#[test]
fn a_worker_of_another_protocol_is_not_retried() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.spawned(Generation(2));
    fixture.receive(Generation(2), FromWorker::Hello { protocol: 99, build: "analytics 9.9".to_owned() });
    fixture.die(Generation(2), super::fixture::SIGKILL);
    let (cause, detail, _) = fixture.death();
    assert_eq!(cause, Cause::Handshake);
    assert!(detail.starts_with("analytics 9.9 speaks control protocol 99"), "{detail}");
    assert_eq!(*fixture.slot_state(ANALYTICS), GenerationState::Parked { retry_at: None });
}

#[test]
fn a_program_that_cannot_be_executed_is_a_configuration_error_and_is_not_retried() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.feed(Event::SpawnFailed {
        generation: Generation(2),
        error: "no such file".to_owned(),
        config: true,
    });
    assert_eq!(fixture.death().0, Cause::Config);
    assert_eq!(*fixture.slot_state(ANALYTICS), GenerationState::Parked { retry_at: None });
}

#[test]
fn a_failed_fork_is_retried() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.feed(Event::SpawnFailed {
        generation: Generation(2),
        error: "no memory".to_owned(),
        config: false,
    });
    assert!(matches!(fixture.slot_state(ANALYTICS), GenerationState::Backoff { .. }));
}

#[test]
fn an_idle_service_has_no_deadline() {
    assert_eq!(next_deadline(&Fixture::idle().state), None);
}

#[test]
fn the_status_shows_every_worker_with_its_state() {
    let fixture = Fixture::running();
    let page = status(&fixture.state);
    let rows: Vec<_> = page.workers.iter().map(|row| (row.name.as_str(), row.state, row.pid)).collect();
    assert_eq!(
        rows,
        [
            (API, WorkerState::Running, Some(101)),
            (ANALYTICS, WorkerState::Running, Some(102)),
            (PLAIN, WorkerState::Running, Some(103)),
        ]
    );
}

#[test]
fn a_program_that_exits_with_code_0_and_without_hello_is_the_wrong_program() {
    for (generation, key) in [(Generation(1), "api.command"), (Generation(2), "analytics.command")] {
        let mut fixture = Fixture::new();
        fixture.feed(Event::Boot);
        fixture.spawned(generation);
        fixture.die(generation, ExitStatus::Code(0));
        let detail = fixture.death().1;
        assert!(detail.starts_with("exit code 0: it never sent Hello: ") && detail.contains(key), "{detail}");

        let mut fixture = Fixture::new();
        fixture.feed(Event::Boot);
        fixture.spawned(generation);
        fixture.hello(generation);
        fixture.die(generation, ExitStatus::Code(0));
        assert_eq!(fixture.death().1, "exit code 0, before activation");
    }
}

#[test]
fn a_worker_that_waits_for_its_first_start_is_shown_as_starting_and_not_as_backing_off() {
    let mut fixture = Fixture::with(Policy { starts: 1, ..Policy::default() });
    fixture.feed(Event::Boot);
    let state_of = |fixture: &Fixture, name| {
        status(&fixture.state).workers.into_iter().find(|row| row.name == name).map(|row| row.state)
    };
    assert_eq!(state_of(&fixture, ANALYTICS), Some(WorkerState::Starting));

    let mut fixture = Fixture::running();
    fixture.die(Generation(2), super::fixture::SIGKILL);
    assert_eq!(state_of(&fixture, ANALYTICS), Some(WorkerState::Backoff));
}

#[test]
fn a_start_timeout_that_is_noticed_at_the_end_of_the_tolerance_counts() {
    for (late, killed) in [(START_GRACE, true), (START_GRACE + Duration::from_millis(1), false)] {
        let mut fixture = Fixture::new();
        fixture.feed(Event::Boot);
        fixture.spawned(Generation(2));
        fixture.advance(START_TIMEOUT + late);
        assert_eq!(fixture.slot_state(ANALYTICS).process().unwrap().stop().is_some(), killed, "{late:?}");
    }
}

#[test]
fn the_status_counts_the_starts_after_the_first_one() {
    let mut fixture = Fixture::running();
    let restarts = |fixture: &Fixture| {
        status(&fixture.state).workers.into_iter().map(|row| row.restarts).collect::<Vec<_>>()
    };
    assert_eq!(restarts(&fixture), [0, 0, 0]);
    fixture.die(Generation(2), super::fixture::SIGKILL);
    fixture.end_backoff();
    assert_eq!(restarts(&fixture), [0, 1, 0]);
}

#[test]
fn a_generation_is_activated_once_it_is_active_in_its_role() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.advance(START_SPACING);
    let is_activated = |fixture: &Fixture, role| {
        [1, 2, 4].map(|generation| fixture.state.is_activated(role, Generation(generation)))
    };
    fixture.become_ready(Generation(4));
    assert_eq!(is_activated(&fixture, Role::Analytics), [false, true, false], "generation 4 is on standby");
    assert_eq!(is_activated(&fixture, Role::Api), [true, false, false]);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(is_activated(&fixture, Role::Analytics), [false, false, true]);
}
