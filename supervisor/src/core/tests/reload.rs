//! What a reload changes among the workers.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGSEGV};
use crate::core::{
    Action, Command, DesiredState, Event, ExitStatus, GenerationState, Policy, RestartDecision, WorkerSignal,
    WorkerSpec, policy::START_SPACING,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{RequestOutcome, ToWorker},
    ids::Generation,
    role::Role,
};
use std::time::Duration;

const OTHER: &str = "other";

fn replace(name: &str) -> Command {
    Command::Replace(name.to_owned())
}

fn remove(name: &str) -> Command {
    Command::Remove(name.to_owned())
}

fn spec(name: &str) -> WorkerSpec {
    let patience = Duration::from_secs(5);
    WorkerSpec { name: name.to_owned(), role: Role::Plain, stop_timeout: patience, hang_timeout: patience }
}

fn add(name: &str) -> Command {
    Command::Add(spec(name))
}

fn names(fixture: &Fixture) -> Vec<&str> {
    fixture.state.workers.iter().map(|worker| worker.name.as_str()).collect()
}

#[test]
fn a_worker_that_is_added_is_started_at_once() {
    let mut fixture = Fixture::running();
    let client = fixture.command(add(OTHER));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.spawned(Generation(4));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_removed_worker_is_stopped_and_deleted_when_it_is_gone() {
    let mut fixture = Fixture::running();
    let client = fixture.command(remove(PLAIN));
    let term = Action::Signal { generation: Generation(3), signal: WorkerSignal::Term, group: true };
    assert!(fixture.last.contains(&term));
    assert_eq!((fixture.answer(client), names(&fixture)), (None, vec![API, ANALYTICS, PLAIN]));
    fixture.die(Generation(3), ExitStatus::Code(0));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    assert_eq!((fixture.death().0, fixture.death().2), (Cause::Requested, RestartDecision::Stopped));
    assert_eq!((names(&fixture), fixture.spawns()), (vec![API, ANALYTICS], vec![]));
}

#[test]
fn a_removed_worker_is_unknown_even_while_it_is_stopping() {
    let mut fixture = Fixture::running();
    fixture.command(remove(PLAIN));
    let client = fixture.command(Command::Start(PLAIN.to_owned()));
    assert!(
        matches!(fixture.answer(client), Some(RequestOutcome::NotFound(why)) if why.ends_with("workers: api, analytics"))
    );
    assert_eq!(fixture.worker(PLAIN).desired, DesiredState::Removed);
}

#[test]
fn a_removed_worker_that_is_added_while_it_is_stopping_comes_back() {
    let mut fixture = Fixture::running();
    let remover = fixture.command(remove(PLAIN));
    let adder = fixture.command(add(PLAIN));
    assert!(matches!(fixture.answer(remover), Some(RequestOutcome::Conflict(_))));
    fixture.advance(START_SPACING);
    fixture.die(Generation(3), ExitStatus::Code(0));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.spawned(Generation(4));
    assert_eq!(fixture.answer(adder), Some(RequestOutcome::Done));
}

#[test]
fn a_removed_parked_worker_is_deleted_at_once() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(3), ExitStatus::Code(78));
    let client = fixture.command(remove(PLAIN));
    assert_eq!((fixture.answer(client), names(&fixture)), (Some(RequestOutcome::Done), vec![API, ANALYTICS]));
}

#[test]
fn workers_beyond_the_maximum_are_refused() {
    let mut fixture = Fixture::running();
    for number in 0..100 {
        let client = fixture.command(add(&format!("w{number}")));
        if let Some(RequestOutcome::Conflict(why)) = fixture.answer(client) {
            assert!(why.contains("64 workers"), "{why}");
            break;
        }
    }
    assert_eq!(fixture.state.workers.len(), 64);
}

#[test]
fn a_stopped_worker_is_not_started_by_a_change_of_its_command() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.die(Generation(2), ExitStatus::Code(0));
    let client = fixture.command(replace(ANALYTICS));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    fixture.advance(100 * START_SPACING);
    assert_eq!((fixture.slot_state(ANALYTICS), fixture.spawns()), (&GenerationState::Stopped, vec![]));
}

#[test]
fn a_changed_analysis_is_replaced_by_a_takeover() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    let client = fixture.command(replace(ANALYTICS));
    assert!(!fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.become_ready(Generation(4));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    fixture.die(Generation(2), ExitStatus::Code(0));
    let why = "its settings changed; exit code 0";
    assert_eq!(
        fixture.death(),
        (Cause::Requested, why.to_owned(), RestartDecision::Successor(Generation(4)))
    );
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    assert_eq!(fixture.worker(ANALYTICS).replacement, None);
}

#[test]
fn a_replacement_that_cannot_start_leaves_the_old_generation_running() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    let client = fixture.command(replace(ANALYTICS));
    fixture.spawned(Generation(4));
    fixture.die(Generation(4), ExitStatus::Code(1));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))));
    fixture.advance(100 * START_SPACING);
    assert_eq!(fixture.spawns(), []);
    assert!(fixture.slot_state(ANALYTICS).running().is_some());
}

#[test]
fn a_change_during_a_restart_is_followed_by_one_more_generation() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    let restarter = fixture.command(Command::Restart(API.to_owned()));
    let client = fixture.command(replace(API));
    assert!(matches!(fixture.answer(restarter), Some(RequestOutcome::Conflict(_))));
    fixture.become_ready(Generation(4));
    assert_eq!(fixture.answer(client), None, "it was started with the old command");
    fixture.advance(START_SPACING);
    fixture.die(Generation(1), ExitStatus::Code(0));
    assert_eq!(fixture.spawns(), [Generation(5)]);
    fixture.become_ready(Generation(5));
    assert!(fixture.sent(Generation(4), &ToWorker::Drain));
    assert_eq!(fixture.answer(client), None, "the generation with the old command may still serve a request");
    fixture.die(Generation(4), ExitStatus::Code(0));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_death_before_the_replacement_is_spawned_does_not_cancel_it() {
    let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
    let client = fixture.command(replace(ANALYTICS));
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(
        fixture.death().2,
        RestartDecision::RestartIn(START_SPACING),
        "the worker would have been parked"
    );
    fixture.advance(START_SPACING);
    fixture.become_ready(Generation(4));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_parked_worker_is_retried_when_its_command_changes() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(3), ExitStatus::Code(78));
    assert_eq!(*fixture.slot_state(PLAIN), GenerationState::Parked { retry_at: None });
    let client = fixture.command(replace(PLAIN));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.spawned(Generation(4));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_new_policy_applies_to_a_delay_in_progress() {
    let hour = Duration::from_secs(3600);
    let mut fixture = Fixture::with(Policy { initial: hour, max: hour, ..Policy::default() }).up();
    fixture.die(Generation(3), SIGSEGV);
    let specs = [API, ANALYTICS, PLAIN].map(spec).to_vec();
    fixture.feed(Event::Configured { policy: Policy::default(), specs });
    fixture.advance(Policy::default().max);
    assert_eq!(fixture.spawns(), [Generation(4)]);
}

#[test]
fn a_new_stop_timeout_applies_to_the_next_stop() {
    let mut fixture = Fixture::running();
    let short = WorkerSpec { stop_timeout: Duration::from_millis(10), ..spec(ANALYTICS) };
    fixture.feed(Event::Configured { policy: Policy::default(), specs: vec![short] });
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    let term = Action::Signal { generation: Generation(2), signal: WorkerSignal::Term, group: false };
    assert!(fixture.advance(Duration::from_millis(10)).contains(&term));
}

#[test]
fn a_worker_is_not_added_twice() {
    let mut fixture = Fixture::running();
    let client = fixture.command(add(PLAIN));
    assert_eq!(
        fixture.answer(client),
        Some(RequestOutcome::Conflict("worker collector already exists".to_owned()))
    );
}

#[test]
fn a_reload_while_a_restart_waits_does_not_forget_the_deaths() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(2), SIGSEGV);
    fixture.end_backoff();
    fixture.become_ready(Generation(4));
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    assert_eq!(fixture.spawns(), [], "it waits for the spacing of starts");
    fixture.command(replace(ANALYTICS));
    assert_eq!(fixture.worker(ANALYTICS).restart_budget.failures, 1);
}
