//! The record of a death, and the reason of each decision.

use super::fixture::{ANALYTICS, API, Fixture, SIGKILL, SIGSEGV};
use crate::core::{
    Action, Command, DeathRecord, Event, ExitStatus, GenerationState, MAX_KILLS, Panic, Policy, PostMortem,
    QuarantineRequest, RestartDecision,
    policy::{HEALTHY_AFTER, START_SPACING},
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::FromWorker,
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    role::Role,
};

impl Fixture {
    /// The only record among the actions of the last event.
    fn death_record(&self) -> DeathRecord {
        let records = self.last.iter().filter_map(|action| match action {
            Action::StoreReport(record) => Some((**record).clone()),
            _ => None,
        });
        let records: Vec<_> = records.collect();
        assert_eq!(records.len(), 1, "{:?}", self.last);
        records[0].clone()
    }

    /// Lets the active analysis die, and starts the next one. Returns the record of the death.
    fn die_and_record(&mut self, exit: ExitStatus, post_mortem: PostMortem) -> DeathRecord {
        self.advance(START_SPACING);
        let generation = self.worker(ANALYTICS).generation;
        self.feed(Event::Died { generation, exit, post_mortem });
        let record = self.death_record();
        while matches!(self.slot_state(ANALYTICS), GenerationState::Backoff { .. }) {
            self.advance(START_SPACING);
        }
        self.become_ready(self.worker(ANALYTICS).generation);
        record
    }
}

fn service() -> Fixture {
    Fixture::with(Policy { faults: true, ..Policy::default() }).up()
}

fn applying(seq: u64) -> PostMortem {
    let (committed, in_flight) = (Seq(seq - 1), Some(Seq(seq)));
    PostMortem { in_flight, committed, head: Seq(100), ..PostMortem::default() }
}

#[test]
fn a_record_has_the_crash_number_and_the_event_in_flight() {
    let mut fixture = service();
    let record = fixture.die_and_record(SIGSEGV, applying(7));
    assert_eq!(
        (record.crash, record.role, record.subject.generation),
        (CrashId(1), Role::Analytics, Generation(2))
    );
    assert_eq!((record.cause, record.exit), (Cause::Signal, Some(SIGSEGV)));
    assert_eq!(
        (record.seq, record.during, record.attempts),
        (Some(Seq(7)), Some(Operation::Apply), Some((1, 2)))
    );
    assert_eq!(record.next, RestartDecision::RestartNow);
    let loading = PostMortem { loading: true, ..applying(8) };
    let record = fixture.die_and_record(SIGSEGV, loading);
    assert_eq!((record.crash, record.during), (CrashId(2), Some(Operation::Load)));
}

#[test]
fn a_record_has_the_attempts_and_what_happens_to_the_event() {
    let mut fixture = service();
    let first = fixture.die_and_record(SIGSEGV, PostMortem { committed: Seq(0), ..applying(7) });
    assert_eq!(first.why, "event 7: attempt 1 of 2; tried again; first death without progress");
    let killed = fixture.die_and_record(SIGKILL, applying(7));
    assert_eq!(killed.attempts, Some((1, MAX_KILLS)), "{killed:?}");
    let last = fixture.die_and_record(SIGSEGV, applying(7));
    assert_eq!(last.attempts, Some((2, 2)));
    assert!(last.why.starts_with("event 7: attempt 2 of 2; quarantined next; "), "{}", last.why);
    let DeathRecord { subject, crash, cause, detail, .. } = last;
    let charge = QuarantineRequest {
        subject,
        seq: Seq(7),
        attempts: 3,
        during: Operation::Apply,
        crash,
        cause,
        detail,
    };
    fixture.feed(Event::Quarantined { request: charge, result: Err("the disk is full".into()) });
    let more = fixture.die_and_record(SIGSEGV, applying(7));
    assert!(more.why.starts_with("event 7: attempt 3 (limit 2); quarantined next"), "{}", more.why);
}

#[test]
fn a_death_in_a_commit_of_several_events_names_none() {
    let mut fixture = service();
    let committing =
        PostMortem { committing: Some(Seq(9)), committed: Seq(4), head: Seq(100), ..PostMortem::default() };
    let several = fixture.die_and_record(SIGSEGV, committing.clone());
    assert_eq!((several.seq, several.during, several.attempts), (None, Some(Operation::Commit), None));
    let record = fixture.die_and_record(SIGSEGV, PostMortem { committed: Seq(8), ..committing });
    assert_eq!((record.seq, record.during), (Some(Seq(9)), Some(Operation::Commit)));
}

#[test]
fn a_record_has_the_whole_panic_although_the_state_cuts_it() {
    let mut fixture = service();
    let message = "x".repeat(1000);
    let panic = Panic { message: message.clone(), location: "x.rs:1:2".into(), thread: "main".into() };
    let record =
        fixture.die_and_record(ExitStatus::Code(101), PostMortem { panic: Some(panic), ..applying(7) });
    assert_eq!(record.panic.unwrap().message, message);
    let frame =
        FromWorker::Panicked { message: "no".into(), location: "y.rs:1:2".into(), thread: "t".into() };
    fixture.receive(fixture.worker(ANALYTICS).generation, frame);
    let record = fixture.die_and_record(ExitStatus::Code(101), applying(7));
    assert_eq!(record.panic.unwrap().message, "no", "reported by frame only");
}

#[test]
fn a_requested_death_does_not_count() {
    let mut fixture = service();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Segv));
    let record = fixture.die_and_record(SIGSEGV, applying(7));
    assert_eq!((record.cause, record.attempts), (Cause::Requested, None));
    assert_eq!(record.seq, Some(Seq(7)), "the event was in flight, although the death was requested");
    assert_eq!(record.why, "the death was requested and does not count");
}

#[test]
fn each_decision_has_its_reason() {
    let mut fixture = service();
    fixture.advance(HEALTHY_AFTER);
    assert_eq!(fixture.die_and_record(SIGSEGV, PostMortem::default()).why, "progress since the last death");

    fixture.command(Command::Stop(API.to_owned()));
    fixture.feed(Event::Died {
        generation: Generation(1),
        exit: ExitStatus::Code(0),
        post_mortem: PostMortem::default(),
    });
    assert_eq!(fixture.death_record().why, "stopped by command");

    let generation = fixture.worker(ANALYTICS).generation;
    fixture.feed(Event::Died { generation, exit: ExitStatus::Code(78), post_mortem: PostMortem::default() });
    assert_eq!(
        (fixture.death_record().next, fixture.death_record().why.as_str()),
        (RestartDecision::Parked(None), "a retry cannot help")
    );
}

#[test]
fn a_failed_spawn_has_a_record_without_exit_status() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.feed(Event::SpawnFailed {
        generation: Generation(1),
        error: "no such file".into(),
        config: true,
    });
    let record = fixture.death_record();
    assert_eq!((record.exit, record.subject.pid, record.cause), (None, None, Cause::Config));
}

#[test]
fn parking_has_its_reason() {
    let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
    let post_mortem = PostMortem { committed: Seq(0), ..applying(7) };
    fixture.feed(Event::Died { generation: Generation(2), exit: SIGSEGV, post_mortem });
    let why = fixture.death_record().why;
    assert!(why.ends_with("; 1 death without progress within 30.0 s"), "{why}");
}
