//! `restart`: a new generation starts while the old one still runs.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGKILL, SIGSEGV, died};
use crate::core::{
    Command, Event, ExitStatus, GenerationState, Policy, PostMortem, RestartDecision, policy::START_SPACING,
    status,
};
use bulkhead_proto::wire::{
    control::{RecoveryHints, RequestOutcome, ToWorker},
    ids::{Generation, Seq},
    status::WorkerState,
};
use std::time::Duration;

fn restarting(name: &str) -> (Fixture, crate::core::ClientId) {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    let client = fixture.command(Command::Restart(name.to_owned()));
    (fixture, client)
}

#[test]
fn the_new_analysis_is_ready_before_the_old_one_drains_and_active_only_after_its_death() {
    let (mut fixture, client) = restarting(ANALYTICS);
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.become_ready(Generation(4));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    assert!(!fixture.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default())));
    let states: Vec<_> = status(&fixture.state).workers.iter().map(|row| row.state).collect();
    assert!(states.contains(&WorkerState::Standby) && states.contains(&WorkerState::Stopping));
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert!(fixture.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default())));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    assert_eq!(fixture.death().2, RestartDecision::Successor(Generation(4)));
}

#[test]
fn the_new_api_serves_before_the_old_one_drains() {
    let (mut fixture, client) = restarting(API);
    fixture.become_ready(Generation(4));
    assert!(
        fixture.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default()))
            && fixture.sent(Generation(1), &ToWorker::Drain)
    );
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    fixture.die(Generation(1), ExitStatus::Code(0));
    assert!(fixture.slot_state(API).running().is_some());
    assert_eq!(fixture.worker(API).successor, GenerationState::Stopped);
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_generation_running() {
    let (mut fixture, client) = restarting(ANALYTICS);
    fixture.spawned(Generation(4));
    fixture.die(Generation(4), ExitStatus::Code(1));
    assert_eq!(fixture.death().2, RestartDecision::Predecessor(Generation(2)));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))));
    assert!(fixture.slot_state(ANALYTICS).running().is_some());
    fixture.advance(100 * START_SPACING);
    assert_eq!(fixture.spawns(), []);
}

#[test]
fn a_starting_successor_takes_over_when_its_predecessor_dies() {
    let (mut fixture, client) = restarting(ANALYTICS);
    fixture.spawned(Generation(4));
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!((fixture.death().2, fixture.spawns()), (RestartDecision::Successor(Generation(4)), vec![]));
    fixture.become_ready(Generation(4));
    assert!(fixture.sent(
        Generation(4),
        &ToWorker::Activate(RecoveryHints { suspects: vec![Seq(1)], ..RecoveryHints::default() })
    ));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_standby_that_dies_while_its_predecessor_drains_is_replaced() {
    let (mut fixture, _) = restarting(ANALYTICS);
    fixture.become_ready(Generation(4));
    fixture.advance(START_SPACING);
    fixture.die(Generation(4), SIGKILL);
    assert_eq!(fixture.spawns(), [Generation(5)]);
    fixture.die_at(Generation(2), ExitStatus::Code(0), Seq(9));
    fixture.become_ready(Generation(5));
    assert!(fixture.sent(Generation(5), &ToWorker::Activate(RecoveryHints::default())));
}

#[test]
fn start_revives_a_parked_successor_while_its_predecessor_drains() {
    for command in [Command::Start, Command::Restart] {
        let (mut fixture, _) = restarting(API);
        fixture.become_ready(Generation(4));
        fixture.advance(START_SPACING);
        fixture.die(Generation(4), ExitStatus::Code(78));
        assert_eq!(fixture.death().2, RestartDecision::Parked(None));
        let client = fixture.command(command(API.to_owned()));
        assert_eq!(fixture.spawns(), [Generation(5)]);
        fixture.become_ready(Generation(5));
        assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
        fixture.die(Generation(1), ExitStatus::Code(0));
        assert!(fixture.slot_state(API).running().is_some());
    }
}

#[test]
fn a_parked_successor_stays_parked_when_its_predecessor_is_gone() {
    let (mut fixture, _) = restarting(API);
    fixture.become_ready(Generation(4));
    fixture.die(Generation(4), ExitStatus::Code(78));
    fixture.die(Generation(1), ExitStatus::Code(0));
    assert_eq!(fixture.death().2, RestartDecision::Parked(None));
    assert_eq!(
        (fixture.slot_state(API), fixture.spawns()),
        (&GenerationState::Parked { retry_at: None }, vec![])
    );
}

#[test]
fn stop_supersedes_a_restart() {
    let (mut fixture, client) = restarting(ANALYTICS);
    fixture.spawned(Generation(4));
    let stopper = fixture.command(Command::Stop(ANALYTICS.to_owned()));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))));
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.answer(stopper), None);
    fixture.die(Generation(4), ExitStatus::Code(0));
    assert_eq!(fixture.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(fixture.spawns(), []);
}

#[test]
fn a_plain_worker_is_stopped_then_started() {
    let (mut fixture, client) = restarting(PLAIN);
    assert_eq!(fixture.spawns(), []);
    fixture.die(Generation(3), ExitStatus::Code(0));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.feed(Event::Spawned { generation: Generation(4), pid: 9 });
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_second_restart_is_refused_while_the_first_is_in_progress() {
    let (mut fixture, _) = restarting(API);
    let second = fixture.command(Command::Restart(API.to_owned()));
    assert!(matches!(fixture.answer(second), Some(RequestOutcome::Conflict(_))));
}

/// The analysis is restarted, and its successor is parked while the predecessor drains.
fn parked_successor() -> Fixture {
    let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.become_ready(Generation(4));
    fixture.die(Generation(4), SIGKILL);
    assert!(matches!(fixture.death().2, RestartDecision::Parked(Some(_))));
    fixture.advance(START_SPACING);
    fixture
}

#[test]
fn only_progress_of_the_predecessor_ends_the_parking_of_its_successor() {
    let mut fixture = parked_successor();
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert!(matches!(fixture.death().2, RestartDecision::Parked(Some(_))));

    let mut fixture = parked_successor();
    fixture.die_at(Generation(2), ExitStatus::Code(0), Seq(9));
    assert_eq!((fixture.death().2, fixture.spawns()), (RestartDecision::RestartNow, vec![Generation(5)]));
}

#[test]
fn a_predecessor_that_is_killed_while_it_drains_is_restarted_although_its_successor_is_parked() {
    let mut fixture = parked_successor();
    fixture.feed(Event::BadFrame { generation: Generation(2), why: "unknown tag 9".to_owned() });
    fixture.die_at(Generation(2), SIGKILL, Seq(9));
    assert_eq!((fixture.death().2, fixture.spawns()), (RestartDecision::RestartNow, vec![Generation(5)]));
}

#[test]
fn a_successor_that_died_while_its_predecessor_drained_keeps_its_delay() {
    let hour = Duration::from_secs(3600);
    let mut fixture = Fixture::with(Policy { initial: hour, max: hour, ..Policy::default() }).up();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.become_ready(Generation(4));
    fixture.die(Generation(4), SIGKILL);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.death().2, RestartDecision::RestartIn(hour));
    assert_eq!(fixture.death_record().report.why, "the successor died and is tried again");
}

#[test]
fn a_death_before_the_successor_is_spawned_is_not_taken_for_a_death_of_the_successor() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.die(Generation(2), SIGSEGV);
    let why = fixture.death_record().report.why;
    assert!(why.ends_with("; the generation was being replaced"), "{why}");
}

#[test]
fn a_successor_of_a_worker_that_would_be_parked_is_its_retry() {
    let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(API.to_owned()));
    fixture.become_ready(Generation(4));
    fixture.feed(Event::BadFrame { generation: Generation(1), why: "unknown tag 9".to_owned() });
    fixture.feed(died(Generation(1), SIGKILL, PostMortem::default()));
    assert_eq!(fixture.death().2, RestartDecision::Successor(Generation(4)));
    fixture.feed(died(Generation(4), SIGSEGV, PostMortem::default()));
    assert_eq!(fixture.death_record().report.why, "the retry of a parked worker died without progress");
}
