//! The warm standby of the analysis.

use super::fixture::{ANALYTICS, Fixture, SIGKILL, SIGSEGV, died, specs};
use crate::core::{
    Action, Command, Event, ExitStatus, GenerationState, Policy, PostMortem, RestartDecision, next_deadline,
    policy::{STANDBY_RETRY_INTERVAL, START_SPACING},
    status,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{RecoveryHints, RequestOutcome, ToWorker},
    ids::{Generation, Seq},
    status::WorkerState,
};
use std::time::Duration;

const ACTIVE: Generation = Generation(2);
const STANDBY: Generation = Generation(4);
const NEXT: Generation = Generation(5);

fn policy() -> Policy {
    Policy { faults: true, standby: true, ..Policy::default() }
}

/// All workers run, and the standby is about to be spawned.
fn without_standby() -> Fixture {
    Fixture::with(policy()).up()
}

/// All workers run, and the standby is ready.
fn with_standby() -> Fixture {
    with_standby_under(policy())
}

fn with_standby_under(policy: Policy) -> Fixture {
    let mut fixture = Fixture::with(policy).up();
    fixture.advance(START_SPACING);
    fixture.become_ready(STANDBY);
    fixture
}

fn activated(fixture: &Fixture, generation: Generation) -> bool {
    let is_activation = |action: &Action| matches!(action, Action::Send { generation: to, frame: ToWorker::Activate(_) } if *to == generation);
    fixture.last.iter().any(is_activation)
}

/// The generation dies of a SIGKILL with progress.
fn kill(fixture: &mut Fixture, generation: Generation, committed: u64) {
    fixture.die_at(generation, SIGKILL, Seq(committed));
}

#[test]
fn a_standby_is_started_once_the_analysis_is_active_and_is_not_activated() {
    let mut fixture = without_standby();
    assert!(fixture.spawns().is_empty(), "off the critical path");
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [STANDBY]);
    fixture.become_ready(STANDBY);
    assert!(!activated(&fixture, STANDBY));
    fixture.advance(Duration::from_secs(60));
    assert!(fixture.spawns().is_empty(), "one standby is enough");
    let rows = status(&fixture.state).workers;
    let of_analysis: Vec<_> = rows.iter().filter(|row| row.name == ANALYTICS).collect();
    let shown: Vec<_> = of_analysis.iter().map(|row| (row.generation, row.state, row.restarts)).collect();
    assert_eq!(shown, [(ACTIVE, WorkerState::Running, 0), (STANDBY, WorkerState::Standby, 0)]);
}

#[test]
fn only_the_analysis_has_a_standby_and_only_if_the_policy_says_so() {
    let mut fixture = Fixture::running();
    fixture.advance(Duration::from_secs(60));
    assert!(fixture.spawns().is_empty());
    fixture.feed(Event::Configured { policy: policy(), specs: specs(Duration::from_secs(5)) });
    assert_eq!(fixture.spawns(), [STANDBY]);
    fixture.become_ready(STANDBY);
    let off = Policy { standby: false, ..policy() };
    fixture.feed(Event::Configured { policy: off, specs: specs(Duration::from_secs(5)) });
    assert!(fixture.sent(STANDBY, &ToWorker::Drain));
    fixture.feed(died(STANDBY, ExitStatus::Code(0), PostMortem::default()));
    fixture.advance(Duration::from_secs(60));
    assert!(fixture.spawns().is_empty());
}

#[test]
fn the_standby_is_activated_in_the_transition_of_the_death() {
    // Although the standby was spawned just now.
    let mut fixture = with_standby();
    kill(&mut fixture, ACTIVE, 7);
    assert_eq!(fixture.death().2, RestartDecision::Successor(STANDBY));
    assert!(activated(&fixture, STANDBY));
    assert!(fixture.spawns().is_empty(), "nothing is started on the critical path");
    assert_eq!(fixture.worker(ANALYTICS).restarts, 1);
    assert_eq!(next_deadline(&fixture.state), Some(fixture.now.mono.after(START_SPACING)));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [NEXT]);
}

#[test]
fn a_standby_that_is_not_ready_yet_takes_over_when_it_is() {
    let mut fixture = without_standby();
    fixture.advance(START_SPACING);
    fixture.spawned(STANDBY);
    fixture.advance(START_SPACING);
    kill(&mut fixture, ACTIVE, 7);
    assert!(fixture.spawns().is_empty() && !activated(&fixture, STANDBY));
    fixture.become_ready(STANDBY);
    assert!(activated(&fixture, STANDBY));
}

#[test]
fn the_death_of_a_standby_does_not_affect_the_worker() {
    let mut fixture = with_standby();
    fixture.die(STANDBY, SIGSEGV);
    assert_eq!(fixture.death().2, RestartDecision::NextStandby(STANDBY_RETRY_INTERVAL));
    let worker = fixture.worker(ANALYTICS);
    assert!(worker.running().is_some() && worker.restart_budget.failures == 0);
    assert!(worker.poison_tracker.suspects.is_empty(), "no event is charged");
    fixture.advance(STANDBY_RETRY_INTERVAL / 2);
    assert!(fixture.spawns().is_empty());
    // The analysis is restarted at once without it.
    kill(&mut fixture, ACTIVE, 7);
    assert_eq!(fixture.spawns(), [NEXT]);
    fixture.become_ready(NEXT);
    assert!(activated(&fixture, NEXT));
    fixture.advance(STANDBY_RETRY_INTERVAL / 2);
    assert_eq!(fixture.spawns(), [Generation(6)]);
}

#[test]
fn a_standby_that_can_never_start_is_tried_again_after_a_reload() {
    let mut fixture = without_standby();
    fixture.advance(START_SPACING);
    fixture.feed(Event::SpawnFailed { generation: STANDBY, error: "missing".to_owned(), config: true });
    assert_eq!(fixture.death().0, Cause::Config);
    assert!(fixture.worker(ANALYTICS).running().is_some());
    fixture.advance(Duration::from_secs(3600));
    assert!(fixture.spawns().is_empty());
    fixture.feed(Event::Configured { policy: policy(), specs: specs(Duration::from_secs(5)) });
    assert_eq!(fixture.spawns(), [NEXT]);
}

#[test]
fn a_restart_starts_a_new_process_and_does_not_use_the_standby() {
    let mut fixture = with_standby();
    fixture.advance(START_SPACING);
    let client = fixture.command(Command::Restart(ANALYTICS.to_owned()));
    assert!(fixture.sent(STANDBY, &ToWorker::Drain), "its program may be an old one");
    assert_eq!(fixture.spawns(), [NEXT]);
    fixture.feed(died(STANDBY, ExitStatus::Code(0), PostMortem::default()));
    fixture.become_ready(NEXT);
    assert!(fixture.sent(ACTIVE, &ToWorker::Drain));
    fixture.feed(died(ACTIVE, ExitStatus::Code(0), PostMortem::default()));
    assert!(activated(&fixture, NEXT));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [Generation(6)], "the next standby");
}

#[test]
fn a_death_during_a_restart_does_not_activate_the_old_standby() {
    let mut fixture = with_standby();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    kill(&mut fixture, ACTIVE, 7);
    assert!(!activated(&fixture, STANDBY));
    fixture.become_ready(NEXT);
    assert!(activated(&fixture, NEXT));
}

#[test]
fn a_stop_ends_the_standby_as_well() {
    let mut fixture = with_standby();
    let client = fixture.command(Command::Stop(ANALYTICS.to_owned()));
    assert!(fixture.sent(ACTIVE, &ToWorker::Drain) && fixture.sent(STANDBY, &ToWorker::Drain));
    fixture.feed(died(ACTIVE, ExitStatus::Code(0), PostMortem::default()));
    assert_eq!(fixture.answer(client), None, "the standby is not gone yet");
    fixture.feed(died(STANDBY, ExitStatus::Code(0), PostMortem::default()));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    let client = fixture.command(Command::Start(ANALYTICS.to_owned()));
    fixture.advance(START_SPACING);
    fixture.become_ready(NEXT);
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_start_during_a_delay_uses_the_standby() {
    let policy = Policy { initial: Duration::from_secs(5), ..policy() };
    let mut fixture = with_standby_under(policy);
    fixture.advance(START_SPACING);
    kill(&mut fixture, ACTIVE, 7);
    assert!(!activated(&fixture, STANDBY), "restart.initial is a delay that the operator wants");
    assert!(matches!(fixture.slot_state(ANALYTICS), GenerationState::Backoff { .. }));
    let client = fixture.command(Command::Start(ANALYTICS.to_owned()));
    assert!(activated(&fixture, STANDBY));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn the_standby_waits_until_a_poison_event_is_stored() {
    let mut fixture = with_standby_under(Policy { max_attempts: 1, ..policy() });
    fixture.advance(START_SPACING);
    fixture.die_at(ACTIVE, SIGSEGV, Seq(7));
    assert!(!activated(&fixture, STANDBY));
    let request = fixture.last.iter().find_map(|action| match action {
        Action::Quarantine(request) => Some(request.clone()),
        _ => None,
    });
    fixture.feed(Event::Quarantined { request: request.unwrap(), result: Ok(()) });
    let hints = RecoveryHints { skip: vec![Seq(8)], ..RecoveryHints::default() };
    let skips = |action: &Action| matches!(action, Action::Send { generation: STANDBY, frame: ToWorker::Activate(found) } if found.skip == hints.skip);
    assert!(fixture.last.iter().any(skips), "{:?}", fixture.last);
}

#[test]
fn a_worker_that_is_parked_has_no_standby() {
    let mut fixture = with_standby_under(Policy { limit: 1, ..policy() });
    fixture.advance(START_SPACING);
    fixture.die(ACTIVE, SIGSEGV);
    assert!(matches!(fixture.slot_state(ANALYTICS), GenerationState::Parked { .. }));
    assert!(fixture.sent(STANDBY, &ToWorker::Drain) && !activated(&fixture, STANDBY));
}

#[test]
fn the_orderly_stop_of_the_supervisor_ends_the_standby() {
    let mut fixture = with_standby();
    fixture.feed(Event::StopSignal { origin: "test".to_owned(), terminal: false });
    assert!(fixture.sent(STANDBY, &ToWorker::Drain));
    fixture.feed(died(STANDBY, ExitStatus::Code(0), PostMortem::default()));
    assert!(fixture.spawns().is_empty());
}

#[test]
fn a_start_is_answered_when_the_standby_takes_over_from_a_process_that_is_stopping() {
    let mut fixture = with_standby();
    fixture.feed(Event::BadFrame { generation: ACTIVE, why: "noise".to_owned() });
    let client = fixture.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(fixture.answer(client), None);
    kill(&mut fixture, ACTIVE, 7);
    assert!(activated(&fixture, STANDBY));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_ready_standby_needs_no_room_to_start_and_a_starting_one_takes_none() {
    let mut fixture = Fixture::with(Policy { starts: 1, ..policy() });
    fixture.feed(Event::Boot);
    fixture.become_ready(Generation(1));
    fixture.become_ready(ACTIVE);
    fixture.spawned(Generation(3));
    fixture.advance(START_SPACING);
    fixture.spawned(STANDBY);
    // The standby is starting. The API is restarted beside it.
    kill(&mut fixture, Generation(1), 7);
    assert_eq!(fixture.spawns(), [NEXT]);
    fixture.become_ready(STANDBY);
    // The API is starting. The standby is activated.
    kill(&mut fixture, ACTIVE, 7);
    assert!(activated(&fixture, STANDBY), "{:?}", fixture.slot_state(ANALYTICS));
}

#[test]
fn a_second_stop_waits_for_the_standby_too() {
    let mut fixture = with_standby();
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.feed(died(ACTIVE, ExitStatus::Code(0), PostMortem::default()));
    let client = fixture.command(Command::Stop(ANALYTICS.to_owned()));
    assert_eq!(fixture.answer(client), None);
    fixture.feed(died(STANDBY, ExitStatus::Code(0), PostMortem::default()));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_standby_that_dies_during_a_delay_fails_no_start() {
    let policy = Policy { initial: Duration::from_secs(5), ..policy() };
    let mut fixture = Fixture::with(policy).up();
    fixture.advance(START_SPACING);
    fixture.spawned(STANDBY);
    kill(&mut fixture, ACTIVE, 7);
    let shown = &status(&fixture.state).workers[1];
    assert_eq!(shown.generation, ACTIVE, "a row without a process shows its own last generation");
    fixture.die(STANDBY, SIGSEGV);
    let client = fixture.command(Command::Start(ANALYTICS.to_owned()));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [NEXT]);
    fixture.become_ready(NEXT);
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}
