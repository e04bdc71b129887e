//! Events that may have killed the analysis: charged, quarantined, skipped.

use super::fixture::{ANALYTICS, Fixture, SIGKILL, SIGSEGV, died};
use crate::core::{
    Action, Command, Event, ExitStatus, GenerationState, LogRecord, MAX_KILLS, Policy, PostMortem,
    QuarantineRequest, SuspectState, policy::START_SPACING,
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::{MAX_HINTS, RecoveryHints, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
};

/// A service whose analysis is generation 2, with a limit of two attempts.
fn service() -> Fixture {
    Fixture::with(Policy { faults: true, ..Policy::default() }).up()
}

fn applying(seq: u64, committed: u64) -> PostMortem {
    let (committed, in_flight) = (Seq(committed), Some(Seq(seq)));
    PostMortem { in_flight, committed, head: Seq(100), ..PostMortem::default() }
}

fn committing(seq: u64, committed: u64) -> PostMortem {
    let (committed, committing) = (Seq(committed), Some(Seq(seq)));
    PostMortem { committing, committed, head: Seq(100), ..PostMortem::default() }
}

impl Fixture {
    /// Lets the active analysis die. Returns the quarantine request, if there is one.
    fn die_active(&mut self, exit: ExitStatus, post_mortem: PostMortem) -> Option<QuarantineRequest> {
        self.advance(START_SPACING);
        let generation = self.worker(ANALYTICS).generation;
        let actions = self.feed(died(generation, exit, post_mortem));
        actions.iter().find_map(|action| match action {
            Action::Quarantine(request) => Some(request.clone()),
            _ => None,
        })
    }

    /// Starts the next analysis. Returns its recovery hints, once the generation is active.
    fn next(&mut self) -> Option<RecoveryHints> {
        self.end_backoff();
        let generation = self.worker(ANALYTICS).generation;
        self.become_ready(generation);
        self.activation_hints()
    }

    fn activation_hints(&self) -> Option<RecoveryHints> {
        self.last.iter().find_map(|action| match action {
            Action::Send { frame: ToWorker::Activate(recovery_hints), .. } => Some(recovery_hints.clone()),
            _ => None,
        })
    }

    fn finish_quarantine(&mut self, request: QuarantineRequest, result: Result<(), String>) {
        self.feed(Event::Quarantined { request, result });
    }
}

#[test]
fn a_successor_receives_the_suspect_events() {
    let mut fixture = service();
    assert_eq!(fixture.die_active(SIGSEGV, applying(7, 4)), None);
    assert_eq!(fixture.next(), Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() }));
}

#[test]
fn an_event_that_kills_twice_is_stored_before_the_next_activation_and_then_skipped() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(7, 6)).expect("a quarantine request");
    assert_eq!((request.seq, request.attempts, request.during), (Seq(7), 2, Operation::Apply));
    assert_eq!((request.cause, request.detail.as_str(), request.crash.0), (Cause::Signal, "SIGSEGV", 2));
    assert_eq!(fixture.next(), None, "the generation is on standby");
    assert!(fixture.slot_state(ANALYTICS).standby().is_some());
    fixture.finish_quarantine(request, Ok(()));
    assert_eq!(
        fixture.activation_hints(),
        Some(RecoveryHints { skip: vec![Seq(7)], ..RecoveryHints::default() })
    );
    assert!(fixture.last.iter().any(|action| matches!(action, Action::Log(LogRecord::EventQuarantined(_)))));
}

#[test]
fn an_event_is_quarantined_after_eight_kills_from_outside() {
    let mut fixture = service();
    for _ in 1..MAX_KILLS {
        assert_eq!(fixture.die_active(SIGKILL, applying(7, 6)), None);
        assert_eq!(
            fixture.next(),
            Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() })
        );
    }
    let request = fixture.die_active(SIGKILL, applying(7, 6)).expect("a quarantine request");
    assert_eq!((request.seq, request.attempts), (Seq(7), MAX_KILLS));
}

#[test]
fn an_event_that_cannot_be_stored_is_not_skipped_and_storing_is_retried() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(7, 6)).expect("a quarantine request");
    fixture.finish_quarantine(request, Err("disk full".to_owned()));
    let failed = |action: &Action| matches!(action, Action::Log(LogRecord::QuarantineFailed { why, .. }) if why == "disk full");
    assert!(fixture.last.iter().any(failed), "{:?}", fixture.last);
    assert_eq!(fixture.next(), Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() }));
    assert_eq!(fixture.die_active(SIGSEGV, applying(7, 6)).expect("again").attempts, 3);
}

#[test]
fn an_unexpected_quarantine_result_is_ignored() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(7, 6)).expect("a quarantine request");
    fixture.finish_quarantine(request.clone(), Ok(()));
    let before = fixture.state.clone();
    fixture.finish_quarantine(request, Err("late".to_owned()));
    assert_eq!((fixture.last.len(), &fixture.state), (0, &before));
}

#[test]
fn a_committed_event_is_no_longer_suspect() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.next();
    assert_eq!(fixture.die_active(SIGSEGV, applying(8, 7)), None);
    assert_eq!(fixture.next(), Some(RecoveryHints { suspects: vec![Seq(8)], ..RecoveryHints::default() }));
}

#[test]
fn a_requested_death_and_one_with_no_event_in_flight_charge_no_event() {
    let mut fixture = service();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Kill));
    fixture.die_active(SIGKILL, applying(7, 4));
    assert_eq!(fixture.next(), Some(RecoveryHints::default()));
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    fixture.die_active(ExitStatus::Code(0), applying(7, 4));
    fixture.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(fixture.next(), Some(RecoveryHints::default()));
    fixture.die_active(SIGSEGV, PostMortem { in_flight: None, ..applying(7, 4) });
    assert_eq!(fixture.next(), Some(RecoveryHints::default()));
}

#[test]
fn a_generation_that_was_not_activated_charges_no_event() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.advance(START_SPACING);
    fixture.die_active(SIGSEGV, applying(7, 4));
    assert_eq!(fixture.worker(ANALYTICS).poison_tracker.suspects[0].attempts, 1);
}

#[test]
fn a_death_in_a_commit_of_several_events_charges_none_and_starts_single_commits() {
    let mut fixture = service();
    assert_eq!(fixture.die_active(SIGSEGV, committing(9, 4)), None);
    assert_eq!(
        fixture.next(),
        Some(RecoveryHints { single_commit_until: Seq(9), ..RecoveryHints::default() })
    );
}

#[test]
fn a_death_in_the_commit_of_one_event_charges_it() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, committing(9, 4));
    fixture.next();
    assert_eq!(fixture.die_active(SIGSEGV, committing(6, 5)), None);
    fixture.next();
    let request = fixture.die_active(SIGSEGV, committing(6, 5)).expect("a quarantine request");
    assert_eq!((request.seq, request.attempts, request.during), (Seq(6), 2, Operation::Commit));
}

#[test]
fn a_death_while_loading_a_series_is_recorded_as_load() {
    let mut fixture = service();
    let loading = PostMortem { loading: true, ..applying(7, 6) };
    fixture.die_active(SIGSEGV, loading.clone());
    fixture.next();
    assert_eq!(fixture.die_active(SIGSEGV, loading).expect("a quarantine request").during, Operation::Load);
}

#[test]
fn a_parked_analysis_recovers_when_its_poison_event_is_quarantined() {
    let mut fixture = Fixture::with(Policy { limit: 2, max_attempts: 2, ..Policy::default() }).up();
    fixture.die_active(SIGSEGV, applying(1, 0));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(1, 0)).expect("a quarantine request");
    assert!(
        matches!(fixture.slot_state(ANALYTICS), GenerationState::Parked { .. }),
        "{:?}",
        fixture.slot_state(ANALYTICS)
    );
    fixture.finish_quarantine(request, Ok(()));
    assert_eq!(fixture.next(), Some(RecoveryHints { skip: vec![Seq(1)], ..RecoveryHints::default() }));
}

#[test]
fn suspects_beyond_the_limit_are_committed_one_at_a_time() {
    let mut fixture = Fixture::with(Policy { limit: 64, ..Policy::default() }).up();
    for seq in (10..).take(MAX_HINTS + 3) {
        fixture.die_active(SIGSEGV, applying(seq, 1));
        fixture.next();
    }
    fixture.die_active(SIGSEGV, PostMortem { in_flight: None, ..applying(1, 1) });
    let recovery_hints = fixture.next().expect("the generation is active");
    assert_eq!(
        (recovery_hints.suspects.len(), recovery_hints.single_commit_until),
        (MAX_HINTS, Seq(12 + MAX_HINTS as u64))
    );
}

#[test]
fn an_event_stored_by_an_earlier_run_is_skipped() {
    let mut fixture = Fixture::new();
    fixture.state.restore(Seq(4), [Seq(7)]);
    fixture.feed(Event::Boot);
    fixture.become_ready(Generation(1));
    fixture.become_ready(Generation(2));
    let expected = RecoveryHints { skip: vec![Seq(7)], proven_until: Seq(7), ..RecoveryHints::default() };
    assert_eq!(fixture.activation_hints(), Some(expected));
    assert_eq!(fixture.worker(ANALYTICS).poison_tracker.suspects[0].state, SuspectState::Stored);
}

#[test]
fn a_skipped_event_is_not_charged_again() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, applying(7, 4));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(7, 6)).expect("a quarantine request");
    fixture.finish_quarantine(request, Ok(()));
    fixture.next();
    assert_eq!(fixture.die_active(SIGSEGV, committing(7, 6)), None);
    let attempts = |action: &Action| match action {
        Action::RecordDeath(record) => Some(record.report.attempts),
        _ => None,
    };
    assert_eq!(fixture.last.iter().find_map(attempts), Some(None), "{:?}", fixture.last);
    assert_eq!(fixture.next(), Some(RecoveryHints { skip: vec![Seq(7)], ..RecoveryHints::default() }));
}

#[test]
fn record_and_status_name_the_same_event() {
    let mut fixture = service();
    fixture.die_active(SIGSEGV, committing(7, 6));
    assert_eq!(fixture.death_record().report.seq, Some(Seq(7)));
    assert_eq!(fixture.worker(ANALYTICS).last_crash.as_ref().unwrap().seq, Some(Seq(7)));
}

#[test]
fn an_event_with_too_many_attempts_is_known_as_being_quarantined() {
    let mut fixture = service();
    assert_eq!(fixture.die_active(SIGSEGV, applying(5, 4)), None);
    assert!(!fixture.state.is_quarantining(Seq(5)));
    fixture.next();
    let request = fixture.die_active(SIGSEGV, applying(5, 4));
    assert!(request.is_some() && fixture.state.is_quarantining(Seq(5)));
    assert!(!fixture.state.is_quarantining(Seq(6)));
}
