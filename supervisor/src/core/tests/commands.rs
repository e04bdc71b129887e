//! start, stop and fault.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGKILL, SIGSEGV};
use crate::core::{
    Action, Command, DesiredState, Event, ExitStatus, GenerationState, Policy, RestartDecision, WorkerSignal,
    policy::{FAULT_EFFECT, MAX_WAITERS, START_SPACING},
};
use bulkhead_proto::{
    control::{Outcome, ToWorker},
    ids::Generation,
    words::{Cause, FaultKind},
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
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    assert_eq!(fixture.answer(stopper), None);
    fixture.dies(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.answer(stopper), Some(Outcome::Done));
    assert_eq!(
        fixture.death(),
        (Cause::Requested, "stop by command; exit code 0".to_owned(), RestartDecision::Stopped)
    );
    fixture.advance(100 * START_SPACING);
    assert_eq!((fixture.slot_state(ANALYTICS), fixture.spawns().len()), (&GenerationState::Stopped, 0));

    let starter = fixture.command(start(ANALYTICS));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.comes_up(Generation(4));
    assert_eq!(fixture.answer(starter), Some(Outcome::Done));
}

#[test]
fn stop_escalates_and_ends_even_if_the_process_does_not() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    let signal = |signal, group| Action::Signal { generation: Generation(2), signal, group };
    assert!(fixture.advance(std::time::Duration::from_secs(5)).contains(&signal(WorkerSignal::Term, false)));
    assert!(fixture.advance(crate::core::policy::TERM_GRACE).contains(&signal(WorkerSignal::Kill, true)));
    fixture.advance(crate::core::policy::KILL_GRACE);
    assert!(matches!(fixture.answer(stopper), Some(Outcome::Conflict(_))));
    fixture.dies(Generation(2), SIGKILL);
    assert_eq!(*fixture.slot_state(ANALYTICS), GenerationState::Stopped);
}

#[test]
fn a_plain_worker_gets_sigterm_with_its_group_first() {
    let mut fixture = Fixture::running();
    fixture.command(stop(PLAIN));
    let term = Action::Signal { generation: Generation(3), signal: WorkerSignal::Term, group: true };
    assert!(fixture.last.contains(&term));
    fixture.dies(Generation(3), ExitStatus::Code(143));
    assert_eq!(fixture.death().0, Cause::Requested);
}

#[test]
fn a_crash_that_crosses_a_stop_keeps_its_reason_and_the_worker_stays_stopped() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    fixture.dies(Generation(2), SIGSEGV);
    assert_eq!(fixture.answer(stopper), Some(Outcome::Done));
    assert_eq!(
        fixture.death(),
        (Cause::Signal, "SIGSEGV, while it was leaving".to_owned(), RestartDecision::Stopped)
    );
}

#[test]
fn start_overtakes_a_stop_that_is_under_way() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    let starter = fixture.command(start(ANALYTICS));
    assert!(matches!(fixture.answer(stopper), Some(Outcome::Conflict(_))));
    fixture.advance(START_SPACING);
    fixture.dies(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.comes_up(Generation(4));
    assert_eq!(fixture.answer(starter), Some(Outcome::Done));
}

#[test]
fn start_ends_parking_and_a_start_that_fails_is_told() {
    let mut fixture = Fixture::running();
    fixture.dies(Generation(3), ExitStatus::Code(78));
    let starter = fixture.command(start(PLAIN));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.dies(Generation(4), ExitStatus::Code(78));
    assert!(matches!(fixture.answer(starter), Some(Outcome::Conflict(why)) if why.contains("generation 4")));
}

#[test]
fn start_and_stop_of_what_is_so_already_are_done_at_once() {
    let mut fixture = Fixture::running();
    let client = fixture.command(start(API));
    assert_eq!(fixture.answer(client), Some(Outcome::Done));
    fixture.command(stop(PLAIN));
    fixture.dies(Generation(3), ExitStatus::Code(0));
    let client = fixture.command(stop(PLAIN));
    assert_eq!(fixture.answer(client), Some(Outcome::Done));
}

#[test]
fn an_unknown_worker_is_not_found_and_the_known_ones_are_named() {
    let mut fixture = Fixture::running();
    let client = fixture.command(stop("anlytics"));
    let why =
        "there is no worker \"anlytics\": did you mean \"analytics\"? There are: api, analytics, collector";
    assert_eq!(fixture.answer(client), Some(Outcome::NotFound(why.to_owned())));
}

#[test]
fn more_waiting_clients_than_there_is_room_for_are_refused() {
    let mut fixture = Fixture::running();
    for _ in 0..MAX_WAITERS {
        let client = fixture.command(stop(API));
        assert_eq!(fixture.answer(client), None);
    }
    let client = fixture.command(stop(API));
    assert!(matches!(fixture.answer(client), Some(Outcome::Conflict(_))));
    assert_eq!(fixture.worker(API).desired, DesiredState::Stopped);
}

#[test]
fn a_client_that_has_left_makes_room_and_its_command_is_carried_out() {
    let mut fixture = Fixture::running();
    let clients: Vec<_> = (0..MAX_WAITERS).map(|_| fixture.command(stop(API))).collect();
    fixture.feed(Event::ClientGone { client: clients[0] });
    let late = fixture.command(stop(API));
    assert_eq!(fixture.answer(late), None, "it may wait");
    fixture.dies(Generation(1), ExitStatus::Code(0));
    assert_eq!((fixture.answer(clients[0]), fixture.answer(late)), (None, Some(Outcome::Done)));
}

#[test]
fn ordered_deaths_are_charged_to_nobody() {
    let mut fixture = Fixture::running();
    for _ in 0..50 {
        fixture.advance(START_SPACING);
        let client = fixture.command(fault(ANALYTICS, FaultKind::Kill));
        assert_eq!(fixture.answer(client), Some(Outcome::Done));
        fixture.dies(fixture.worker(ANALYTICS).generation, SIGKILL);
        assert_eq!(
            fixture.death(),
            (Cause::Requested, "fault kill: SIGKILL".to_owned(), RestartDecision::RestartNow)
        );
        fixture.comes_up(fixture.worker(ANALYTICS).generation);
    }
}

#[test]
fn a_death_that_does_not_look_like_the_fault_has_its_own_reason() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Kill));
    fixture.dies(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Signal);

    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Segv));
    let events_before_it = 2 * fixture.worker(ANALYTICS).hang_timeout;
    fixture.advance(FAULT_EFFECT + events_before_it + START_SPACING);
    fixture.dies(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Signal);
}

#[test]
fn a_fault_behind_slow_events_is_still_what_was_asked_for() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Segv));
    fixture.advance(FAULT_EFFECT + fixture.worker(ANALYTICS).hang_timeout);
    fixture.dies(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Requested);
}

#[test]
fn no_other_fault_takes_the_place_of_a_kill() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Kill));
    fixture.command(fault(ANALYTICS, FaultKind::Panic));
    fixture.dies(Generation(2), SIGKILL);
    assert_eq!((fixture.death().0, fixture.death().1.as_str()), (Cause::Requested, "fault kill: SIGKILL"));
}

#[test]
fn faults_are_refused_unless_enabled_and_to_plain_workers_all_but_kill() {
    let mut fixture = Fixture::with(Policy::default()).up();
    let client = fixture.command(fault(ANALYTICS, FaultKind::Kill));
    assert!(matches!(fixture.answer(client), Some(Outcome::NotFound(why)) if why.contains("not enabled")));
    let mut fixture = Fixture::running();
    let client = fixture.command(fault(PLAIN, FaultKind::Panic));
    assert!(matches!(fixture.answer(client), Some(Outcome::Conflict(_))));
    let client = fixture.command(fault(PLAIN, FaultKind::Kill));
    assert_eq!(fixture.answer(client), Some(Outcome::Done));
}
