//! From boot to running.

use super::bench::{ANALYTICS, API, Bench, PLAIN};
use crate::step::{Event, Is, Policy, next_deadline, policy::START_TIMEOUT, status};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, RecoveryHints, ToWorker},
    ids::Generation,
    status::WorkerState,
};

#[test]
fn api_and_analysis_start_together_and_plain_workers_wait_for_the_api() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    assert_eq!(bench.spawns(), [Generation(1), Generation(2)]);
    bench.comes_up(Generation(1));
    assert!(bench.sent(Generation(1), &ToWorker::Activate(RecoveryHints::default())));
    assert_eq!(bench.spawns(), [Generation(3)]);
}

#[test]
fn one_core_starts_one_worker_at_a_time() {
    let mut bench = Bench::with(Policy { starts: 1, ..Policy::default() });
    bench.feed(Event::Boot);
    assert_eq!(bench.spawns(), [Generation(1)]);
    bench.comes_up(Generation(1));
    assert_eq!(bench.spawns(), [Generation(2)]);
    bench.comes_up(Generation(2));
    assert_eq!(bench.spawns(), [Generation(3)]);
}

#[test]
fn plain_workers_do_not_wait_for_an_api_that_cannot_start() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.spawned(Generation(1));
    bench.comes_up(Generation(2));
    assert_eq!(bench.spawns(), []);
    bench.wait(START_TIMEOUT);
    assert_eq!(bench.spawns(), [Generation(3)]);
    assert!(matches!(bench.is(API), Is::Stopping { .. }));
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_for_its_handshake() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.spawned(Generation(2));
    bench.hello(Generation(2));
    bench.wait(START_TIMEOUT);
    bench.dies(Generation(2), super::bench::SIGKILL);
    let (cause, detail, _) = bench.death();
    assert_eq!(cause, Cause::Handshake);
    assert_eq!(detail, "not ready 10 s after its start: it said hello, but never that it is ready");
}

#[test]
fn a_worker_that_is_ready_is_heard_though_the_supervisor_was_stopped_meanwhile() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.spawned(Generation(2));
    bench.wait(2 * START_TIMEOUT);
    bench.hello(Generation(2));
    bench.says(Generation(2), FromWorker::Ready);
    assert!(matches!(bench.is(ANALYTICS), Is::Running { .. }));
}

#[test]
fn another_protocol_is_refused_and_not_tried_again() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.spawned(Generation(2));
    bench.says(Generation(2), FromWorker::Hello { protocol: 99, build: "analytics 9.9".to_owned() });
    bench.dies(Generation(2), super::bench::SIGKILL);
    let (cause, detail, _) = bench.death();
    assert_eq!(cause, Cause::Handshake);
    assert!(detail.starts_with("analytics 9.9 speaks control protocol 99"), "{detail}");
    assert_eq!(*bench.is(ANALYTICS), Is::Parked { probe: None });
}

#[test]
fn what_cannot_be_executed_is_a_configuration_error_and_not_tried_again() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.feed(Event::SpawnFailed {
        generation: Generation(2),
        error: "no such file".to_owned(),
        config: true,
    });
    assert_eq!(bench.death().0, Cause::Config);
    assert_eq!(*bench.is(ANALYTICS), Is::Parked { probe: None });
}

#[test]
fn a_fork_that_fails_is_tried_again() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.feed(Event::SpawnFailed {
        generation: Generation(2),
        error: "no memory".to_owned(),
        config: false,
    });
    assert!(matches!(bench.is(ANALYTICS), Is::Backoff { .. }));
}

#[test]
fn at_rest_there_is_no_deadline() {
    assert_eq!(next_deadline(&Bench::at_rest().state), None);
}

#[test]
fn the_board_shows_every_worker_with_its_state() {
    let bench = Bench::running();
    let board = status(&bench.state);
    let rows: Vec<_> = board.workers.iter().map(|row| (row.name.as_str(), row.state, row.pid)).collect();
    assert_eq!(
        rows,
        [
            (API, WorkerState::Running, Some(101)),
            (ANALYTICS, WorkerState::Running, Some(102)),
            (PLAIN, WorkerState::Running, Some(103)),
        ]
    );
}
