//! The supervisor's own end.

use super::bench::{ANALYTICS, Bench, SIGSEGV};
use crate::step::{
    Action, Command, Event, Exit, Signal,
    policy::{KILL_GRACE, SAVE_TIMEOUT, TERM_GRACE},
};
use bulkhead_proto::wire::{
    control::{RequestOutcome, ToWorker},
    ids::Generation,
};
use std::time::Duration;

fn told_to_stop() -> Bench {
    let mut bench = Bench::running();
    bench.feed(Event::StopSignal { origin: "SIGTERM from pid 1".to_owned() });
    bench
}

#[test]
fn plain_workers_go_first_then_the_api_then_the_analysis_then_all_is_saved() {
    let mut bench = told_to_stop();
    assert!(bench.last.contains(&Action::Signal {
        generation: Generation(3),
        signal: Signal::Term,
        group: true
    }));
    assert!(!bench.sent(Generation(1), &ToWorker::Drain));
    bench.dies(Generation(3), Exit::Code(0));
    assert!(bench.sent(Generation(1), &ToWorker::Drain) && !bench.sent(Generation(2), &ToWorker::Drain));
    bench.dies(Generation(1), Exit::Code(0));
    assert!(bench.sent(Generation(2), &ToWorker::Drain));
    bench.dies(Generation(2), Exit::Code(0));
    assert!(bench.last.contains(&Action::Save { settled: true }));
    bench.feed(Event::Saved { result: Ok(()) });
    assert!(bench.last.contains(&Action::Exit { code: 0 }));
}

#[test]
fn a_second_signal_kills_everything_and_leaves_at_once() {
    let mut bench = told_to_stop();
    bench.feed(Event::StopSignal { origin: "SIGINT".to_owned() });
    for generation in [1, 2, 3].map(Generation) {
        assert!(bench.last.contains(&Action::Signal { generation, signal: Signal::Kill, group: true }));
    }
    assert!(bench.last.contains(&Action::Exit { code: 1 }));
}

#[test]
fn the_end_comes_even_if_nothing_obeys_and_nothing_is_saved() {
    let mut bench = told_to_stop();
    for _ in 0..3 {
        bench.wait(Duration::from_secs(5));
        bench.wait(TERM_GRACE);
        bench.wait(KILL_GRACE);
    }
    bench.wait(SAVE_TIMEOUT);
    assert!(bench.last.contains(&Action::Exit { code: 1 }), "{:?}", bench.state.course);
}

#[test]
fn what_dies_meanwhile_is_not_started_again() {
    let mut bench = told_to_stop();
    bench.dies(Generation(2), SIGSEGV);
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.spawns(), []);
}

#[test]
fn waiting_clients_and_new_ones_are_told() {
    let mut bench = Bench::running();
    let waiting = bench.command(Command::Stop(ANALYTICS.to_owned()));
    bench.feed(Event::StopSignal { origin: "SIGTERM".to_owned() });
    assert_eq!(
        bench.answer(waiting),
        Some(RequestOutcome::Conflict("the supervisor is stopping".to_owned()))
    );
    let late = bench.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(bench.answer(late), Some(RequestOutcome::Conflict("the supervisor is stopping".to_owned())));
}

#[test]
fn stopping_changes_nothing_in_what_is_wanted() {
    let before = Bench::running();
    let after = told_to_stop();
    for (before, after) in before.state.workers.iter().zip(&after.state.workers) {
        assert_eq!(before.wanted, after.wanted);
    }
}
