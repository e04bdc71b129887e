//! What a reload changes among the workers.

use super::bench::{ANALYTICS, API, Bench, PLAIN, SIGSEGV};
use crate::step::{
    Action, Command, Event, Exit, Is, Next, Policy, Signal, Spec, Wanted, policy::START_SPACING,
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

fn spec(name: &str) -> Spec {
    let patience = Duration::from_secs(5);
    Spec { name: name.to_owned(), role: Role::Plain, stop_timeout: patience, hang_timeout: patience }
}

fn add(name: &str) -> Command {
    Command::Add(spec(name))
}

fn names(bench: &Bench) -> Vec<&str> {
    bench.state.workers.iter().map(|worker| worker.name.as_str()).collect()
}

#[test]
fn a_worker_that_is_added_is_started_at_once() {
    let mut bench = Bench::running();
    let client = bench.command(add(OTHER));
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.spawned(Generation(4));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_worker_that_is_removed_leaves_and_is_forgotten_once_it_is_gone() {
    let mut bench = Bench::running();
    let client = bench.command(remove(PLAIN));
    let term = Action::Signal { generation: Generation(3), signal: Signal::Term, group: true };
    assert!(bench.last.contains(&term));
    assert_eq!((bench.answer(client), names(&bench)), (None, vec![API, ANALYTICS, PLAIN]));
    bench.dies(Generation(3), Exit::Code(0));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    assert_eq!((bench.death().0, bench.death().2), (Cause::Requested, Next::Stopped));
    assert_eq!((names(&bench), bench.spawns()), (vec![API, ANALYTICS], vec![]));
}

#[test]
fn a_removed_worker_is_unknown_even_while_it_is_leaving() {
    let mut bench = Bench::running();
    bench.command(remove(PLAIN));
    let client = bench.command(Command::Start(PLAIN.to_owned()));
    assert!(
        matches!(bench.answer(client), Some(RequestOutcome::NotFound(why)) if why.ends_with("are: api, analytics"))
    );
    assert_eq!(bench.worker(PLAIN).wanted, Wanted::Removed);
}

#[test]
fn a_removed_worker_that_is_added_again_while_it_is_leaving_comes_back() {
    let mut bench = Bench::running();
    let remover = bench.command(remove(PLAIN));
    let adder = bench.command(add(PLAIN));
    assert!(matches!(bench.answer(remover), Some(RequestOutcome::Conflict(_))));
    bench.wait(START_SPACING);
    bench.dies(Generation(3), Exit::Code(0));
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.spawned(Generation(4));
    assert_eq!(bench.answer(adder), Some(RequestOutcome::Done));
}

#[test]
fn a_parked_worker_that_is_removed_is_forgotten_at_once() {
    let mut bench = Bench::running();
    bench.dies(Generation(3), Exit::Code(78));
    let client = bench.command(remove(PLAIN));
    assert_eq!((bench.answer(client), names(&bench)), (Some(RequestOutcome::Done), vec![API, ANALYTICS]));
}

#[test]
fn workers_beyond_the_bound_are_refused() {
    let mut bench = Bench::running();
    for number in 0.. {
        let client = bench.command(add(&format!("w{number}")));
        if let Some(RequestOutcome::Conflict(why)) = bench.answer(client) {
            assert!(why.contains("64 workers"), "{why}");
            break;
        }
    }
    assert_eq!(bench.state.workers.len(), 64);
}

#[test]
fn one_that_was_stopped_is_not_started_by_a_change_of_its_command() {
    let mut bench = Bench::running();
    bench.command(Command::Stop(ANALYTICS.to_owned()));
    bench.dies(Generation(2), Exit::Code(0));
    let client = bench.command(replace(ANALYTICS));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    bench.wait(100 * START_SPACING);
    assert_eq!((bench.is(ANALYTICS), bench.spawns()), (&Is::Stopped, vec![]));
}

#[test]
fn an_analysis_is_replaced_by_a_hand_over() {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    let client = bench.command(replace(ANALYTICS));
    assert!(!bench.sent(Generation(2), &ToWorker::Drain));
    bench.comes_up(Generation(4));
    assert!(bench.sent(Generation(2), &ToWorker::Drain));
    bench.dies(Generation(2), Exit::Code(0));
    let why = "what it was started with has changed; exit code 0";
    assert_eq!(bench.death(), (Cause::Requested, why.to_owned(), Next::Successor(Generation(4))));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    assert_eq!(bench.worker(ANALYTICS).renewal, None);
}

#[test]
fn one_that_cannot_start_leaves_the_old_one_working_and_is_not_tried_for_ever() {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    let client = bench.command(replace(ANALYTICS));
    bench.spawned(Generation(4));
    bench.dies(Generation(4), Exit::Code(1));
    assert!(matches!(bench.answer(client), Some(RequestOutcome::Conflict(_))));
    bench.wait(100 * START_SPACING);
    assert_eq!(bench.spawns(), []);
    assert!(matches!(bench.is(ANALYTICS), Is::Running { .. }));
}

#[test]
fn a_change_during_a_restart_is_followed_by_one_more_generation() {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    let restarter = bench.command(Command::Restart(API.to_owned()));
    let client = bench.command(replace(API));
    assert!(matches!(bench.answer(restarter), Some(RequestOutcome::Conflict(_))));
    bench.comes_up(Generation(4));
    assert_eq!(bench.answer(client), None, "it was started with the old command");
    bench.wait(START_SPACING);
    bench.dies(Generation(1), Exit::Code(0));
    assert_eq!(bench.spawns(), [Generation(5)]);
    bench.comes_up(Generation(5));
    assert!(bench.sent(Generation(4), &ToWorker::Drain));
    assert_eq!(bench.answer(client), None, "the one with the old command may still answer somebody");
    bench.dies(Generation(4), Exit::Code(0));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_death_before_the_replacement_is_spawned_does_not_keep_it_from_being_tried() {
    let mut bench = Bench::with(Policy { limit: 1, ..Policy::default() }).up();
    let client = bench.command(replace(ANALYTICS));
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().2, Next::RestartIn(START_SPACING), "it would have been parked");
    bench.wait(START_SPACING);
    bench.comes_up(Generation(4));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_parked_worker_is_tried_again_when_its_command_has_changed() {
    let mut bench = Bench::running();
    bench.dies(Generation(3), Exit::Code(78));
    assert_eq!(*bench.is(PLAIN), Is::Parked { probe: None });
    let client = bench.command(replace(PLAIN));
    bench.wait(START_SPACING);
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.spawned(Generation(4));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_new_policy_holds_at_once_even_for_a_delay_that_has_begun() {
    let hour = Duration::from_secs(3600);
    let mut bench = Bench::with(Policy { initial: hour, max: hour, ..Policy::default() }).up();
    bench.dies(Generation(3), SIGSEGV);
    let specs = [API, ANALYTICS, PLAIN].map(spec).to_vec();
    bench.feed(Event::Configured { policy: Policy::default(), specs });
    bench.wait(Policy::default().max);
    assert_eq!(bench.spawns(), [Generation(4)]);
}

#[test]
fn a_new_stop_timeout_holds_for_the_next_stop() {
    let mut bench = Bench::running();
    let short = Spec { stop_timeout: Duration::from_millis(10), ..spec(ANALYTICS) };
    bench.feed(Event::Configured { policy: Policy::default(), specs: vec![short] });
    bench.command(Command::Stop(ANALYTICS.to_owned()));
    let term = Action::Signal { generation: Generation(2), signal: Signal::Term, group: false };
    assert!(bench.wait(Duration::from_millis(10)).contains(&term));
}
