//! `restart`: the new generation beside the old one.

use super::bench::{ANALYTICS, API, Bench, PLAIN, SIGKILL, SIGSEGV};
use crate::step::{Command, Event, Exit, Is, Next, policy::START_SPACING, status};
use bulkhead_proto::wire::{
    control::{RecoveryHints, RequestOutcome, ToWorker},
    ids::{Generation, Seq},
    status::WorkerState,
};

fn restarting(name: &str) -> (Bench, crate::step::ClientId) {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    let client = bench.command(Command::Restart(name.to_owned()));
    (bench, client)
}

#[test]
fn the_new_analysis_is_ready_before_the_old_one_drains_and_active_only_after_its_death() {
    let (mut bench, client) = restarting(ANALYTICS);
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.comes_up(Generation(4));
    assert!(bench.sent(Generation(2), &ToWorker::Drain));
    assert!(!bench.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default())));
    let states: Vec<_> = status(&bench.state).workers.iter().map(|row| row.state).collect();
    assert!(states.contains(&WorkerState::Standby) && states.contains(&WorkerState::Stopping));
    bench.dies(Generation(2), Exit::Code(0));
    assert!(bench.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default())));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    assert_eq!(bench.death().2, Next::Successor(Generation(4)));
}

#[test]
fn the_new_api_serves_before_the_old_one_drains() {
    let (mut bench, client) = restarting(API);
    bench.comes_up(Generation(4));
    assert!(
        bench.sent(Generation(4), &ToWorker::Activate(RecoveryHints::default()))
            && bench.sent(Generation(1), &ToWorker::Drain)
    );
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    bench.dies(Generation(1), Exit::Code(0));
    assert!(matches!(bench.is(API), Is::Running { .. }));
    assert_eq!(bench.worker(API).successor, None);
}

#[test]
fn a_new_generation_that_cannot_start_leaves_the_old_one_working() {
    let (mut bench, client) = restarting(ANALYTICS);
    bench.spawned(Generation(4));
    bench.dies(Generation(4), Exit::Code(1));
    assert_eq!(bench.death().2, Next::Predecessor(Generation(2)));
    assert!(matches!(bench.answer(client), Some(RequestOutcome::Conflict(_))));
    assert!(matches!(bench.is(ANALYTICS), Is::Running { .. }));
    bench.wait(100 * START_SPACING);
    assert_eq!(bench.spawns(), []);
}

#[test]
fn a_successor_that_is_starting_takes_over_from_a_predecessor_that_dies() {
    let (mut bench, client) = restarting(ANALYTICS);
    bench.spawned(Generation(4));
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!((bench.death().2, bench.spawns()), (Next::Successor(Generation(4)), vec![]));
    bench.comes_up(Generation(4));
    assert!(bench.sent(
        Generation(4),
        &ToWorker::Activate(RecoveryHints { suspects: vec![Seq(1)], ..RecoveryHints::default() })
    ));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_standby_that_dies_while_the_old_one_drains_is_replaced() {
    let (mut bench, _) = restarting(ANALYTICS);
    bench.comes_up(Generation(4));
    bench.wait(START_SPACING);
    bench.dies(Generation(4), SIGKILL);
    assert_eq!(bench.spawns(), [Generation(5)]);
    bench.dies_at(Generation(2), Exit::Code(0), Seq(9));
    bench.comes_up(Generation(5));
    assert!(bench.sent(Generation(5), &ToWorker::Activate(RecoveryHints::default())));
}

#[test]
fn start_revives_a_successor_that_was_parked_while_the_old_one_drains() {
    for command in [Command::Start, Command::Restart] {
        let (mut bench, _) = restarting(API);
        bench.comes_up(Generation(4));
        bench.wait(START_SPACING);
        bench.dies(Generation(4), Exit::Code(78));
        assert_eq!(bench.death().2, Next::Parked(None));
        let client = bench.command(command(API.to_owned()));
        assert_eq!(bench.spawns(), [Generation(5)]);
        bench.comes_up(Generation(5));
        assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
        bench.dies(Generation(1), Exit::Code(0));
        assert!(matches!(bench.is(API), Is::Running { .. }));
    }
}

#[test]
fn a_parked_successor_stays_parked_when_the_old_one_is_gone() {
    let (mut bench, _) = restarting(API);
    bench.comes_up(Generation(4));
    bench.dies(Generation(4), Exit::Code(78));
    bench.dies(Generation(1), Exit::Code(0));
    assert_eq!(bench.death().2, Next::Parked(None));
    assert_eq!((bench.is(API), bench.spawns()), (&Is::Parked { probe: None }, vec![]));
}

#[test]
fn stop_overtakes_a_restart() {
    let (mut bench, client) = restarting(ANALYTICS);
    bench.spawned(Generation(4));
    let stopper = bench.command(Command::Stop(ANALYTICS.to_owned()));
    assert!(matches!(bench.answer(client), Some(RequestOutcome::Conflict(_))));
    bench.dies(Generation(2), Exit::Code(0));
    assert_eq!(bench.answer(stopper), None);
    bench.dies(Generation(4), Exit::Code(0));
    assert_eq!(bench.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(bench.spawns(), []);
}

#[test]
fn a_plain_worker_is_stopped_then_started() {
    let (mut bench, client) = restarting(PLAIN);
    assert_eq!(bench.spawns(), []);
    bench.dies(Generation(3), Exit::Code(0));
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.feed(Event::Spawned { generation: Generation(4), pid: 9 });
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_second_restart_is_refused_while_the_first_is_under_way() {
    let (mut bench, _) = restarting(API);
    let second = bench.command(Command::Restart(API.to_owned()));
    assert!(matches!(bench.answer(second), Some(RequestOutcome::Conflict(_))));
}
