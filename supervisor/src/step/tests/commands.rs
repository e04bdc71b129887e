//! start, stop and fault.

use super::bench::{ANALYTICS, API, Bench, PLAIN, SIGKILL, SIGSEGV};
use crate::step::{
    Action, Command, Event, Exit, Is, Next, Policy, Signal, Wanted,
    policy::{FAULT_EFFECT, MAX_WAITING, START_SPACING},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::Generation,
};

fn stop(name: &str) -> Command {
    Command::Stop(name.to_owned())
}

fn start(name: &str) -> Command {
    Command::Start(name.to_owned())
}

fn fault(name: &str, kind: FaultKind) -> Command {
    Command::Fault(name.to_owned(), kind)
}

#[test]
fn stop_drains_answers_at_the_end_and_lasts_until_start() {
    let mut bench = Bench::running();
    let stopper = bench.command(stop(ANALYTICS));
    assert!(bench.sent(Generation(2), &ToWorker::Drain));
    assert_eq!(bench.answer(stopper), None);
    bench.dies(Generation(2), Exit::Code(0));
    assert_eq!(bench.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(bench.death(), (Cause::Requested, "stop by command; exit code 0".to_owned(), Next::Stopped));
    bench.wait(100 * START_SPACING);
    assert_eq!((bench.is(ANALYTICS), bench.spawns().len()), (&Is::Stopped, 0));

    let starter = bench.command(start(ANALYTICS));
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.comes_up(Generation(4));
    assert_eq!(bench.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn stop_escalates_and_ends_even_if_the_process_does_not() {
    let mut bench = Bench::running();
    let stopper = bench.command(stop(ANALYTICS));
    let signal = |signal, group| Action::Signal { generation: Generation(2), signal, group };
    assert!(bench.wait(std::time::Duration::from_secs(5)).contains(&signal(Signal::Term, false)));
    assert!(bench.wait(crate::step::policy::TERM_GRACE).contains(&signal(Signal::Kill, true)));
    bench.wait(crate::step::policy::KILL_GRACE);
    assert!(matches!(bench.answer(stopper), Some(RequestOutcome::Conflict(_))));
    bench.dies(Generation(2), SIGKILL);
    assert_eq!(*bench.is(ANALYTICS), Is::Stopped);
}

#[test]
fn a_plain_worker_gets_sigterm_with_its_group_first() {
    let mut bench = Bench::running();
    bench.command(stop(PLAIN));
    let term = Action::Signal { generation: Generation(3), signal: Signal::Term, group: true };
    assert!(bench.last.contains(&term));
    bench.dies(Generation(3), Exit::Code(143));
    assert_eq!(bench.death().0, Cause::Requested);
}

#[test]
fn a_crash_that_crosses_a_stop_keeps_its_reason_and_the_worker_stays_stopped() {
    let mut bench = Bench::running();
    let stopper = bench.command(stop(ANALYTICS));
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(bench.death(), (Cause::Signal, "SIGSEGV, while it was leaving".to_owned(), Next::Stopped));
}

#[test]
fn start_overtakes_a_stop_that_is_under_way() {
    let mut bench = Bench::running();
    let stopper = bench.command(stop(ANALYTICS));
    let starter = bench.command(start(ANALYTICS));
    assert!(matches!(bench.answer(stopper), Some(RequestOutcome::Conflict(_))));
    bench.wait(START_SPACING);
    bench.dies(Generation(2), Exit::Code(0));
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.comes_up(Generation(4));
    assert_eq!(bench.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn start_ends_parking_and_a_start_that_fails_is_told() {
    let mut bench = Bench::running();
    bench.dies(Generation(3), Exit::Code(78));
    let starter = bench.command(start(PLAIN));
    bench.wait(START_SPACING);
    assert_eq!(bench.spawns(), [Generation(4)]);
    bench.dies(Generation(4), Exit::Code(78));
    assert!(
        matches!(bench.answer(starter), Some(RequestOutcome::Conflict(why)) if why.contains("generation 4"))
    );
}

#[test]
fn start_and_stop_of_what_is_so_already_are_done_at_once() {
    let mut bench = Bench::running();
    let client = bench.command(start(API));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
    bench.command(stop(PLAIN));
    bench.dies(Generation(3), Exit::Code(0));
    let client = bench.command(stop(PLAIN));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn an_unknown_worker_is_not_found_and_the_known_ones_are_named() {
    let mut bench = Bench::running();
    let client = bench.command(stop("anlytics"));
    let why =
        "there is no worker \"anlytics\": did you mean \"analytics\"? There are: api, analytics, collector";
    assert_eq!(bench.answer(client), Some(RequestOutcome::NotFound(why.to_owned())));
}

#[test]
fn more_waiting_clients_than_there_is_room_for_are_refused() {
    let mut bench = Bench::running();
    for _ in 0..MAX_WAITING {
        let client = bench.command(stop(API));
        assert_eq!(bench.answer(client), None);
    }
    let client = bench.command(stop(API));
    assert!(matches!(bench.answer(client), Some(RequestOutcome::Conflict(_))));
    assert_eq!(bench.worker(API).wanted, Wanted::Stopped);
}

#[test]
fn a_client_that_has_left_makes_room_and_its_command_is_carried_out() {
    let mut bench = Bench::running();
    let clients: Vec<_> = (0..MAX_WAITING).map(|_| bench.command(stop(API))).collect();
    bench.feed(Event::Left { client: clients[0] });
    let late = bench.command(stop(API));
    assert_eq!(bench.answer(late), None, "it may wait");
    bench.dies(Generation(1), Exit::Code(0));
    assert_eq!((bench.answer(clients[0]), bench.answer(late)), (None, Some(RequestOutcome::Done)));
}

#[test]
fn ordered_deaths_are_charged_to_nobody() {
    let mut bench = Bench::running();
    for _ in 0..50 {
        bench.wait(START_SPACING);
        let client = bench.command(fault(ANALYTICS, FaultKind::Kill));
        assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
        bench.dies(bench.worker(ANALYTICS).generation, SIGKILL);
        assert_eq!(bench.death(), (Cause::Requested, "fault kill: SIGKILL".to_owned(), Next::RestartNow));
        bench.comes_up(bench.worker(ANALYTICS).generation);
    }
}

#[test]
fn a_death_that_does_not_look_like_the_fault_has_its_own_reason() {
    let mut bench = Bench::running();
    bench.command(fault(ANALYTICS, FaultKind::Kill));
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().0, Cause::Signal);

    let mut bench = Bench::running();
    bench.command(fault(ANALYTICS, FaultKind::Segv));
    let events_before_it = 2 * bench.worker(ANALYTICS).hang_timeout;
    bench.wait(FAULT_EFFECT + events_before_it + START_SPACING);
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().0, Cause::Signal);
}

#[test]
fn a_fault_behind_slow_events_is_still_what_was_asked_for() {
    let mut bench = Bench::running();
    bench.command(fault(ANALYTICS, FaultKind::Segv));
    bench.wait(FAULT_EFFECT + bench.worker(ANALYTICS).hang_timeout);
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().0, Cause::Requested);
}

#[test]
fn no_other_fault_takes_the_place_of_a_kill() {
    let mut bench = Bench::running();
    bench.command(fault(ANALYTICS, FaultKind::Kill));
    bench.command(fault(ANALYTICS, FaultKind::Panic));
    bench.dies(Generation(2), SIGKILL);
    assert_eq!((bench.death().0, bench.death().1.as_str()), (Cause::Requested, "fault kill: SIGKILL"));
}

#[test]
fn faults_are_refused_unless_enabled_and_to_plain_workers_all_but_kill() {
    let mut bench = Bench::with(Policy::default()).up();
    let client = bench.command(fault(ANALYTICS, FaultKind::Kill));
    assert!(
        matches!(bench.answer(client), Some(RequestOutcome::NotFound(why)) if why.contains("not enabled"))
    );
    let mut bench = Bench::running();
    let client = bench.command(fault(PLAIN, FaultKind::Panic));
    assert!(matches!(bench.answer(client), Some(RequestOutcome::Conflict(_))));
    let client = bench.command(fault(PLAIN, FaultKind::Kill));
    assert_eq!(bench.answer(client), Some(RequestOutcome::Done));
}
