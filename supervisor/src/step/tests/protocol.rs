//! Workers that say or do what they may not.

use super::bench::{Bench, SIGKILL, SIGSEGV};
use crate::step::{Action, Command, Event, LogRecord, Next, Policy, PostMortem, Signal};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, RecoveryHints, Request, RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
};

fn killed(bench: &Bench, generation: Generation) -> bool {
    bench.last.contains(&Action::Signal { generation, signal: Signal::Kill, group: true })
}

#[test]
fn a_frame_that_is_not_allowed_kills_its_sender() {
    let mut bench = Bench::running();
    bench.says(Generation(2), FromWorker::SeqMark(7));
    assert!(killed(&bench, Generation(2)));
    bench.dies(Generation(2), SIGKILL);
    assert_eq!(bench.death().0, Cause::Protocol);
    assert_eq!(bench.death().1, "sent SeqMark, which is not allowed while it is active");
}

#[test]
fn bytes_that_are_no_frame_kill_their_sender() {
    let mut bench = Bench::running();
    bench.feed(Event::BadFrame { generation: Generation(1), why: "unknown tag 9".to_owned() });
    assert!(killed(&bench, Generation(1)));
    bench.dies(Generation(1), SIGSEGV);
    assert_eq!(bench.death().1, "sent a frame that cannot be read: unknown tag 9; ended by SIGSEGV");
}

#[test]
fn who_is_killed_for_what_it_says_as_soon_as_it_is_at_work_is_parked_in_the_end() {
    for liar in [Generation(1), Generation(2)] {
        let mut bench = Bench::with(Policy { limit: 1, ..Policy::default() }).up();
        bench.feed(Event::BadFrame { generation: liar, why: "unknown tag 9".to_owned() });
        // Nothing was ever accepted, so nothing is left undone.
        let post_mortem = PostMortem::default();
        bench.feed(Event::Died { generation: liar, exit: SIGKILL, post_mortem });
        assert!(matches!(bench.death().2, Next::Parked(Some(_))), "our own SIGKILL is no operator's");
    }
}

#[test]
fn a_hello_that_crosses_the_order_to_leave_is_no_crime() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.spawned(Generation(2));
    bench.command(Command::Stop("analytics".to_owned()));
    bench.hello(Generation(2));
    bench.says(Generation(2), FromWorker::Ready);
    assert!(!killed(&bench, Generation(2)));
    assert!(!bench.sent(Generation(2), &ToWorker::Activate(RecoveryHints::default())));
}

#[test]
fn a_worker_that_does_not_read_its_orders_is_killed_but_a_flooded_api_is_not() {
    let mut bench = Bench::running();
    let answer = ToWorker::Answer { id: 1, outcome: RequestOutcome::Done };
    bench.feed(Event::PipeFull { generation: Generation(1), frame: answer });
    assert!(!killed(&bench, Generation(1)));
    let frame = ToWorker::Activate(RecoveryHints::default());
    bench.feed(Event::PipeFull { generation: Generation(2), frame });
    assert!(killed(&bench, Generation(2)));
}

#[test]
fn a_fault_for_one_that_reads_no_more_is_dropped_and_held_against_nobody() {
    let mut bench = Bench::running();
    bench.command(Command::Fault("analytics".to_owned(), FaultKind::Freeze));
    bench.feed(Event::PipeFull { generation: Generation(2), frame: ToWorker::Fault(FaultKind::Exit) });
    assert!(!killed(&bench, Generation(2)));
    assert!(matches!(&*bench.last, [Action::Log(LogRecord::WorkerWarning { .. })]), "{:?}", bench.last);
}

#[test]
fn the_api_may_ask_for_faults_and_for_numbers() {
    let mut bench = Bench::running();
    bench.says(Generation(1), FromWorker::SeqMark(99));
    assert_eq!(bench.last, [Action::ReserveSeqs { next: Seq(99) }]);
    let request = Request::Fault { worker: "analytics".to_owned(), kind: FaultKind::Segv };
    bench.says(Generation(1), FromWorker::Request { id: 5, request });
    assert!(bench.sent(Generation(1), &ToWorker::Answer { id: 5, outcome: RequestOutcome::Done }));
    assert!(bench.sent(Generation(2), &ToWorker::Fault(FaultKind::Segv)));
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().0, Cause::Requested);
    assert_eq!(bench.death().1, "fault segv: SIGSEGV");
}
