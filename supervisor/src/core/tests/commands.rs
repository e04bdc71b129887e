//! The commands start, stop and fault.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGKILL, SIGSEGV};
use crate::core::{
    Action, Command, DesiredState, Event, ExitStatus, GenerationState, LogRecord, Policy, RestartDecision,
    WorkerSignal,
    policy::{FAULT_EFFECT, MAX_WAITERS, START_SPACING, TERM_GRACE},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::Generation,
};
use std::time::Duration;

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
fn stop_drains_the_worker_and_answers_when_it_is_gone() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    assert!(fixture.sent(Generation(2), &ToWorker::Drain));
    assert_eq!(fixture.answer(stopper), None);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(
        fixture.death(),
        (Cause::Requested, "stop by command; exit code 0".to_owned(), RestartDecision::Stopped)
    );
    fixture.advance(100 * START_SPACING);
    assert_eq!((fixture.slot_state(ANALYTICS), fixture.spawns().len()), (&GenerationState::Stopped, 0));

    let starter = fixture.command(start(ANALYTICS));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.become_ready(Generation(4));
    assert_eq!(fixture.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn stop_escalates_and_is_answered_even_if_the_process_survives() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    let signal = |signal, group| Action::Signal { generation: Generation(2), signal, group };
    assert!(fixture.advance(Duration::from_secs(5)).contains(&signal(WorkerSignal::Term, false)));
    assert!(fixture.advance(TERM_GRACE).contains(&signal(WorkerSignal::Kill, true)));
    fixture.advance(crate::core::policy::KILL_GRACE);
    assert!(matches!(fixture.answer(stopper), Some(RequestOutcome::Conflict(_))));
    for command in [start(ANALYTICS), stop(ANALYTICS)] {
        let client = fixture.command(command);
        let answer = fixture.answer(client);
        assert!(
            matches!(&answer, Some(RequestOutcome::Conflict(why)) if why.contains("cannot be killed")),
            "{answer:?}"
        );
    }
    fixture.die(Generation(2), SIGKILL);
    assert_eq!(*fixture.slot_state(ANALYTICS), GenerationState::Stopped);
}

#[test]
fn stop_sends_sigterm_to_the_group_of_a_plain_worker() {
    let mut fixture = Fixture::running();
    fixture.command(stop(PLAIN));
    let term = Action::Signal { generation: Generation(3), signal: WorkerSignal::Term, group: true };
    assert!(fixture.last.contains(&term));
    fixture.die(Generation(3), ExitStatus::Code(143));
    assert_eq!(fixture.death().0, Cause::Requested);
}

#[test]
fn a_crash_during_a_stop_keeps_its_cause_and_the_worker_stays_stopped() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.answer(stopper), Some(RequestOutcome::Done));
    assert_eq!(
        fixture.death(),
        (Cause::Signal, "SIGSEGV, while stopping".to_owned(), RestartDecision::Stopped)
    );
}

#[test]
fn start_supersedes_a_stop_in_progress() {
    let mut fixture = Fixture::running();
    let stopper = fixture.command(stop(ANALYTICS));
    let starter = fixture.command(start(ANALYTICS));
    assert!(matches!(fixture.answer(stopper), Some(RequestOutcome::Conflict(_))));
    fixture.advance(START_SPACING);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.become_ready(Generation(4));
    assert_eq!(fixture.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn start_ends_parking_and_reports_a_failed_start() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(3), ExitStatus::Code(78));
    let starter = fixture.command(start(PLAIN));
    fixture.advance(START_SPACING);
    assert_eq!(fixture.spawns(), [Generation(4)]);
    fixture.die(Generation(4), ExitStatus::Code(78));
    assert!(
        matches!(fixture.answer(starter), Some(RequestOutcome::Conflict(why)) if why.contains("generation 4"))
    );
}

#[test]
fn start_and_stop_succeed_at_once_if_nothing_is_to_be_done() {
    let mut fixture = Fixture::running();
    let client = fixture.command(start(API));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
    fixture.command(stop(PLAIN));
    fixture.die(Generation(3), ExitStatus::Code(0));
    let client = fixture.command(stop(PLAIN));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn an_unknown_worker_is_refused_with_the_known_names() {
    let mut fixture = Fixture::running();
    let client = fixture.command(stop("anlytics"));
    let why = "unknown worker \"anlytics\": did you mean \"analytics\"? Workers: api, analytics, collector";
    assert_eq!(fixture.answer(client), Some(RequestOutcome::NotFound(why.to_owned())));
}

#[test]
fn clients_beyond_the_limit_of_waiters_are_refused() {
    let mut fixture = Fixture::running();
    for _ in 0..MAX_WAITERS {
        let client = fixture.command(stop(API));
        assert_eq!(fixture.answer(client), None);
    }
    let client = fixture.command(stop(API));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))));
    assert_eq!(fixture.worker(API).desired, DesiredState::Stopped);
}

#[test]
fn a_disconnected_client_frees_its_place_and_its_command_continues() {
    let mut fixture = Fixture::running();
    let clients: Vec<_> = (0..MAX_WAITERS).map(|_| fixture.command(stop(API))).collect();
    fixture.feed(Event::ClientGone { client: clients[0] });
    let late = fixture.command(stop(API));
    assert_eq!(fixture.answer(late), None, "the client may wait");
    fixture.die(Generation(1), ExitStatus::Code(0));
    assert_eq!((fixture.answer(clients[0]), fixture.answer(late)), (None, Some(RequestOutcome::Done)));
}

#[test]
fn a_death_by_an_ordered_fault_does_not_count() {
    let mut fixture = Fixture::running();
    for _ in 0..50 {
        fixture.advance(START_SPACING);
        let client = fixture.command(fault(ANALYTICS, FaultKind::Kill));
        assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
        fixture.die(fixture.worker(ANALYTICS).generation, SIGKILL);
        assert_eq!(
            fixture.death(),
            (Cause::Requested, "fault kill: SIGKILL".to_owned(), RestartDecision::RestartNow)
        );
        fixture.become_ready(fixture.worker(ANALYTICS).generation);
    }
}

#[test]
fn a_death_that_does_not_match_the_fault_keeps_its_cause() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Kill));
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Signal);

    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Segv));
    let events_before_it = 2 * fixture.worker(ANALYTICS).hang_timeout;
    fixture.advance(FAULT_EFFECT + events_before_it + START_SPACING);
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Signal);
}

#[test]
fn a_fault_that_waits_for_slow_events_still_counts_as_requested() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Segv));
    fixture.advance(FAULT_EFFECT + fixture.worker(ANALYTICS).hang_timeout);
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Requested);
}

#[test]
fn a_pending_kill_is_not_replaced_by_another_fault() {
    let mut fixture = Fixture::running();
    fixture.command(fault(ANALYTICS, FaultKind::Kill));
    fixture.command(fault(ANALYTICS, FaultKind::Panic));
    fixture.die(Generation(2), SIGKILL);
    assert_eq!((fixture.death().0, fixture.death().1.as_str()), (Cause::Requested, "fault kill: SIGKILL"));
}

#[test]
fn faults_are_refused_unless_enabled_and_a_plain_worker_accepts_only_kill() {
    let mut fixture = Fixture::with(Policy::default()).up();
    let client = fixture.command(fault(ANALYTICS, FaultKind::Kill));
    assert!(
        matches!(fixture.answer(client), Some(RequestOutcome::NotFound(why)) if why.contains("not enabled"))
    );
    let mut fixture = Fixture::running();
    let client = fixture.command(fault(PLAIN, FaultKind::Panic));
    assert!(matches!(fixture.answer(client), Some(RequestOutcome::Conflict(_))));
    let client = fixture.command(fault(PLAIN, FaultKind::Kill));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn start_waits_for_a_start_in_progress() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    let starter = fixture.command(start(ANALYTICS));
    assert_eq!(fixture.answer(starter), None);
    fixture.become_ready(Generation(2));
    assert_eq!(fixture.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn start_during_a_takeover_is_not_failed_by_the_end_of_the_predecessor() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.advance(START_SPACING);
    fixture.become_ready(Generation(4));
    let starter = fixture.command(start(ANALYTICS));
    assert_eq!(fixture.answer(starter), None);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.answer(starter), Some(RequestOutcome::Done));
}

#[test]
fn a_second_restart_is_refused_while_the_successor_waits_to_start() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    assert_eq!(fixture.spawns(), []);
    let client = fixture.command(Command::Restart(ANALYTICS.to_owned()));
    let answer = fixture.answer(client);
    assert!(
        matches!(&answer, Some(RequestOutcome::Conflict(why)) if why.contains("already being replaced")),
        "{answer:?}"
    );
}

#[test]
fn a_worker_that_is_starting_accepts_only_the_fault_kill() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    let client = fixture.command(fault(ANALYTICS, FaultKind::Segv));
    let why = "analytics is starting: a fault needs a running worker".to_owned();
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Conflict(why.clone())));
    let shown =
        fixture.last.iter().any(|action| matches!(action, Action::Answer { text, .. } if *text == why));
    assert!(shown, "{:?}", fixture.last);
    let client = fixture.command(fault(ANALYTICS, FaultKind::Kill));
    assert_eq!(fixture.answer(client), Some(RequestOutcome::Done));
}

#[test]
fn a_worker_is_found_by_its_name() {
    let fixture = Fixture::running();
    assert_eq!(fixture.state.worker(ANALYTICS).map(|worker| worker.generation), Some(Generation(2)));
    assert_eq!(fixture.state.worker("anlytics"), None);
}

#[test]
fn a_start_after_a_stop_is_no_restart() {
    let mut fixture = Fixture::running();
    let restarts = |fixture: &Fixture| fixture.state.worker(ANALYTICS).unwrap().restarts;
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.die(Generation(2), ExitStatus::Code(0));
    fixture.command(Command::Start(ANALYTICS.to_owned()));
    fixture.advance(START_SPACING);
    assert_eq!((fixture.state.worker(ANALYTICS).unwrap().generation, restarts(&fixture)), (Generation(4), 0));
    fixture.die(Generation(4), SIGSEGV);
    fixture.end_backoff();
    assert_eq!(restarts(&fixture), 1);
}

#[test]
fn a_signal_is_logged_with_its_name_and_reason() {
    let signalled = |fixture: &Fixture| {
        fixture.last.iter().find_map(|action| match action {
            Action::Log(LogRecord::WorkerSignalled { signal, why, .. }) => Some((*signal, why.clone())),
            _ => None,
        })
    };
    let mut fixture = Fixture::running();
    fixture.command(stop(ANALYTICS));
    assert_eq!(signalled(&fixture), None, "it is asked first");
    let overdue = "it did not exit in time (stop by command)".to_owned();
    fixture.advance(Duration::from_secs(5));
    assert_eq!(signalled(&fixture), Some(("SIGTERM", overdue.clone())));
    fixture.advance(TERM_GRACE);
    assert_eq!(signalled(&fixture), Some(("SIGKILL", overdue)));

    let mut fixture = Fixture::running();
    fixture.feed(Event::BadFrame { generation: Generation(1), why: "unknown tag 9".to_owned() });
    let (signal, why) = signalled(&fixture).unwrap();
    assert_eq!((signal, why.starts_with("protocol: ")), ("SIGKILL", true), "{why}");
}

#[test]
fn start_during_a_restart_does_not_make_the_death_of_the_old_generation_count() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    fixture.command(Command::Restart(ANALYTICS.to_owned()));
    fixture.become_ready(Generation(4));
    fixture.command(start(ANALYTICS));
    fixture.feed(Event::BadFrame { generation: Generation(2), why: "unknown tag 9".to_owned() });
    fixture.die(Generation(2), SIGKILL);
    assert_eq!(fixture.death().2, RestartDecision::Successor(Generation(4)));
    assert_eq!(fixture.worker(ANALYTICS).restart_budget.failures, 0);
}
