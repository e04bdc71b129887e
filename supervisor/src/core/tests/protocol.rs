//! Workers that violate the protocol.

use super::fixture::{Fixture, SIGABRT, SIGKILL, SIGSEGV, died};
use crate::core::{Action, Command, Event, LogRecord, Policy, PostMortem, RestartDecision, WorkerSignal};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, RecoveryHints, Request, RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
};

fn killed(fixture: &Fixture, generation: Generation) -> bool {
    fixture.last.contains(&Action::Signal { generation, signal: WorkerSignal::Kill, group: true })
}

#[test]
fn a_frame_that_is_not_allowed_kills_its_sender() {
    let mut fixture = Fixture::running();
    fixture.receive(Generation(2), FromWorker::SeqMark(7));
    assert!(killed(&fixture, Generation(2)));
    fixture.die(Generation(2), SIGKILL);
    assert_eq!(fixture.death().0, Cause::Protocol);
    assert_eq!(fixture.death().1, "sent SeqMark, which is not allowed after activation");
}

#[test]
fn bytes_that_are_not_a_frame_kill_their_sender() {
    let mut fixture = Fixture::running();
    fixture.feed(Event::BadFrame { generation: Generation(1), why: "unknown tag 9".to_owned() });
    assert!(killed(&fixture, Generation(1)));
    fixture.die(Generation(1), SIGSEGV);
    assert_eq!(fixture.death().1, "sent a frame that cannot be read: unknown tag 9; ended by SIGSEGV");
}

#[test]
fn repeated_protocol_violations_after_activation_park_the_worker() {
    for liar in [Generation(1), Generation(2)] {
        let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
        fixture.feed(Event::BadFrame { generation: liar, why: "unknown tag 9".to_owned() });
        // Nothing was ever accepted, so no work is left.
        let post_mortem = PostMortem::default();
        fixture.feed(died(liar, SIGKILL, post_mortem));
        assert!(
            matches!(fixture.death().2, RestartDecision::Parked(Some(_))),
            "the supervisor's own SIGKILL counts"
        );
    }
}

#[test]
fn a_hello_that_crosses_the_stop_is_allowed() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.spawned(Generation(2));
    fixture.command(Command::Stop("analytics".to_owned()));
    fixture.hello(Generation(2));
    assert!(!killed(&fixture, Generation(2)));
    fixture.receive(Generation(2), FromWorker::Ready);
    assert!(!killed(&fixture, Generation(2)));
    assert!(!fixture.sent(Generation(2), &ToWorker::Activate(RecoveryHints::default())));
}

#[test]
fn a_worker_that_does_not_read_its_orders_is_killed_but_a_flooded_api_is_not() {
    let mut fixture = Fixture::running();
    let answer = ToWorker::Answer { id: 1, outcome: RequestOutcome::Done };
    fixture.feed(Event::PipeFull { generation: Generation(1), frame: answer });
    assert!(!killed(&fixture, Generation(1)));
    let frame = ToWorker::Activate(RecoveryHints::default());
    fixture.feed(Event::PipeFull { generation: Generation(2), frame });
    assert!(killed(&fixture, Generation(2)));
}

#[test]
fn a_fault_for_a_worker_that_does_not_read_is_dropped() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault("analytics".to_owned(), FaultKind::Freeze));
    fixture.feed(Event::PipeFull { generation: Generation(2), frame: ToWorker::Fault(FaultKind::Exit) });
    assert!(!killed(&fixture, Generation(2)));
    assert!(matches!(&*fixture.last, [Action::Log(LogRecord::WorkerWarning { .. })]), "{:?}", fixture.last);
}

#[test]
fn the_api_may_request_faults_and_event_numbers() {
    let mut fixture = Fixture::running();
    fixture.receive(Generation(1), FromWorker::SeqMark(99));
    assert_eq!(fixture.last, [Action::ReserveSeqs { next: Seq(99) }]);
    let request = Request::Fault { worker: "analytics".to_owned(), kind: FaultKind::Segv };
    fixture.receive(Generation(1), FromWorker::Request { id: 5, request });
    assert!(fixture.sent(Generation(1), &ToWorker::Answer { id: 5, outcome: RequestOutcome::Done }));
    assert!(fixture.sent(Generation(2), &ToWorker::Fault(FaultKind::Segv)));
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().0, Cause::Requested);
    assert_eq!(fixture.death().1, "fault segv: SIGSEGV");
}

#[test]
fn a_violation_that_ends_in_an_abort_names_the_abort() {
    let mut fixture = Fixture::running();
    fixture.feed(Event::BadFrame { generation: Generation(1), why: "unknown tag 9".to_owned() });
    fixture.die(Generation(1), SIGABRT);
    assert_eq!(fixture.death().1, "sent a frame that cannot be read: unknown tag 9; ended by SIGABRT");
}

#[test]
fn a_violation_is_not_excused_by_a_pending_fault() {
    for kind in [FaultKind::Segv, FaultKind::Freeze] {
        let mut fixture = Fixture::running();
        fixture.command(Command::Fault("analytics".to_owned(), kind));
        fixture.feed(Event::BadFrame { generation: Generation(2), why: "unknown tag 9".to_owned() });
        fixture.die(Generation(2), SIGKILL);
        assert_eq!(fixture.death().0, Cause::Protocol, "{kind}");
    }
}

#[test]
fn only_a_hang_that_was_not_delivered_is_no_longer_expected() {
    let death_after_dropped = |kind, exit| {
        let mut fixture = Fixture::running();
        fixture.command(Command::Fault("analytics".to_owned(), kind));
        fixture.feed(Event::PipeFull { generation: Generation(2), frame: ToWorker::Fault(kind) });
        fixture.die(Generation(2), exit);
        fixture.death().0
    };
    assert_eq!(death_after_dropped(FaultKind::Segv, SIGSEGV), Cause::Requested);
    assert_eq!(death_after_dropped(FaultKind::Hang, SIGABRT), Cause::Signal);
}
