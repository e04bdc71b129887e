//! What is reported of a death: the same as is told, and why it was decided so.

use super::bench::{ANALYTICS, API, Bench, SIGKILL, SIGSEGV};
use crate::step::{
    Action, Charge, Command, Event, Exit, Facts, Is, MAX_KILLS, Next, Panic, Policy, PostMortem,
    policy::{HEALTHY_AFTER, START_SPACING},
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::FromWorker,
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    role::Role,
};

impl Bench {
    /// The one report that the last event's actions order.
    fn facts(&self) -> Facts {
        let ordered = self.last.iter().filter_map(|action| match action {
            Action::Report(facts) => Some((**facts).clone()),
            _ => None,
        });
        let ordered: Vec<_> = ordered.collect();
        assert_eq!(ordered.len(), 1, "{:?}", self.last);
        ordered[0].clone()
    }

    /// The analysis at work dies so, and the next one comes up.
    fn reported(&mut self, exit: Exit, post_mortem: PostMortem) -> Facts {
        self.wait(START_SPACING);
        let generation = self.worker(ANALYTICS).generation;
        self.feed(Event::Died { generation, exit, post_mortem });
        let facts = self.facts();
        while matches!(self.is(ANALYTICS), Is::Backoff { .. }) {
            self.wait(START_SPACING);
        }
        self.comes_up(self.worker(ANALYTICS).generation);
        facts
    }
}

fn service() -> Bench {
    Bench::with(Policy { faults: true, ..Policy::default() }).up()
}

fn applying(seq: u64) -> PostMortem {
    let (committed, in_hand) = (Seq(seq - 1), Some(Seq(seq)));
    PostMortem { in_hand, committed, head: Seq(100), ..PostMortem::default() }
}

#[test]
fn a_report_has_the_number_of_its_death_and_what_was_in_hand() {
    let mut bench = service();
    let facts = bench.reported(SIGSEGV, applying(7));
    assert_eq!((facts.crash, facts.role, facts.who.generation), (CrashId(1), Role::Analytics, Generation(2)));
    assert_eq!((facts.cause, facts.exit), (Cause::Signal, Some(SIGSEGV)));
    assert_eq!(
        (facts.seq, facts.during, facts.attempts),
        (Some(Seq(7)), Some(Operation::Apply), Some((1, 2)))
    );
    assert_eq!(facts.next, Next::RestartNow);
    let loading = PostMortem { loading: true, ..applying(8) };
    let facts = bench.reported(SIGSEGV, loading);
    assert_eq!((facts.crash, facts.during), (CrashId(2), Some(Operation::Load)));
}

#[test]
fn it_says_how_often_the_event_was_tried_and_what_comes_of_it() {
    let mut bench = service();
    let first = bench.reported(SIGSEGV, PostMortem { committed: Seq(0), ..applying(7) });
    assert_eq!(first.why, "event 7 was tried 1 of 2 times: to be tried again; first death without progress");
    let killed = bench.reported(SIGKILL, applying(7));
    assert_eq!(killed.attempts, Some((1, MAX_KILLS)), "{killed:?}");
    let last = bench.reported(SIGSEGV, applying(7));
    assert_eq!(last.attempts, Some((2, 2)));
    assert!(last.why.starts_with("event 7 was tried 2 of 2 times: to be set aside; "), "{}", last.why);
    let Facts { who, crash, cause, detail, .. } = last;
    let charge = Charge { who, seq: Seq(7), attempts: 3, during: Operation::Apply, crash, cause, detail };
    bench.feed(Event::SetAside { charge, result: Err("the disk is full".into()) });
    let more = bench.reported(SIGSEGV, applying(7));
    assert!(more.why.starts_with("event 7 was tried 3 times (2 are enough): to be set"), "{}", more.why);
}

#[test]
fn a_death_in_a_commit_of_several_names_no_event() {
    let mut bench = service();
    let committing =
        PostMortem { committing: Some(Seq(9)), committed: Seq(4), head: Seq(100), ..PostMortem::default() };
    let several = bench.reported(SIGSEGV, committing.clone());
    assert_eq!((several.seq, several.during, several.attempts), (None, Some(Operation::Commit), None));
    let one = bench.reported(SIGSEGV, PostMortem { committed: Seq(8), ..committing });
    assert_eq!((one.seq, one.during), (Some(Seq(9)), Some(Operation::Commit)));
}

#[test]
fn a_panic_is_reported_whole_though_the_state_keeps_less_of_it() {
    let mut bench = service();
    let message = "x".repeat(1000);
    let panic = Panic { message: message.clone(), location: "x.rs:1:2".into(), thread: "main".into() };
    let facts = bench.reported(Exit::Code(101), PostMortem { panic: Some(panic), ..applying(7) });
    assert_eq!(facts.panic.unwrap().message, message);
    let frame =
        FromWorker::Panicked { message: "no".into(), location: "y.rs:1:2".into(), thread: "t".into() };
    bench.says(bench.worker(ANALYTICS).generation, frame);
    let facts = bench.reported(Exit::Code(101), applying(7));
    assert_eq!(facts.panic.unwrap().message, "no", "told by the frame alone");
}

#[test]
fn a_death_that_was_asked_for_is_held_against_nobody() {
    let mut bench = service();
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Segv));
    let facts = bench.reported(SIGSEGV, applying(7));
    assert_eq!((facts.cause, facts.attempts), (Cause::Requested, None));
    assert_eq!(facts.seq, Some(Seq(7)), "it had it in hand all the same");
    assert_eq!(facts.why, "it was asked for, and is held against nobody");
}

#[test]
fn each_decision_has_its_reason() {
    let mut bench = service();
    bench.wait(HEALTHY_AFTER);
    assert_eq!(bench.reported(SIGSEGV, PostMortem::default()).why, "there was progress since the last death");

    bench.command(Command::Stop(API.to_owned()));
    bench.feed(Event::Died {
        generation: Generation(1),
        exit: Exit::Code(0),
        post_mortem: PostMortem::default(),
    });
    assert_eq!(bench.facts().why, "it was stopped by command");

    let generation = bench.worker(ANALYTICS).generation;
    bench.feed(Event::Died { generation, exit: Exit::Code(78), post_mortem: PostMortem::default() });
    assert_eq!(
        (bench.facts().next, bench.facts().why.as_str()),
        (Next::Parked(None), "trying again cannot help")
    );
}

#[test]
fn one_that_could_not_be_spawned_has_a_report_without_an_end() {
    let mut bench = Bench::new();
    bench.feed(Event::Boot);
    bench.feed(Event::SpawnFailed { generation: Generation(1), error: "no such file".into(), config: true });
    let facts = bench.facts();
    assert_eq!((facts.exit, facts.who.pid, facts.cause), (None, None, Cause::Config));
}

#[test]
fn parking_is_explained() {
    let mut bench = Bench::with(Policy { limit: 1, ..Policy::default() }).up();
    let post_mortem = PostMortem { committed: Seq(0), ..applying(7) };
    bench.feed(Event::Died { generation: Generation(2), exit: SIGSEGV, post_mortem });
    let why = bench.facts().why;
    assert!(why.ends_with("; 1 deaths without progress within 30.0 s"), "{why}");
}
