//! The brake: a wrong program is parked, and its events return to the ring; poison events are quarantined.

use super::fixture::{ANALYTICS, Fixture, SIGKILL, SIGSEGV, died};
use crate::core::{
    Action, Command, Event, ExitStatus, GenerationState, LogRecord, MAX_ROW, MAX_SERIES_ROW, MAX_TRIALS,
    MIN_FAILED, Policy, PostMortem, RestartDecision, WorkerSignal, policy::START_SPACING, status,
};
use bulkhead_proto::wire::{
    control::{FromWorker, Isolation, MAX_SERIES_HINTS, RecoveryHints, ToWorker, Trial},
    ids::{Generation, Seq},
};

/// A service whose analysis has committed `committed` events. One death is enough to quarantine an event.
struct Service {
    fixture: Fixture,
    committed: u64,
    hints: RecoveryHints,
    /// The series of every event.
    series: Option<&'static str>,
}

impl Service {
    fn new(brake: Option<u8>, committed: u64) -> Self {
        let policy = Policy { max_attempts: 1, brake, ..Policy::default() };
        let mut fixture = Fixture::with(policy);
        fixture.state.restore(Seq(committed), []);
        Self { fixture: fixture.up(), committed, hints: RecoveryHints::default(), series: None }
    }

    /// The analysis dies of this event. The event is stored, unless the brake engages. The next generation starts.
    fn fail(&mut self, seq: u64) {
        self.die(seq, SIGSEGV);
        if let Some(request) = self.fixture.last.iter().find_map(quarantine) {
            self.fixture.feed(Event::Quarantined { request, result: Ok(()) });
        }
        self.next();
    }

    fn die(&mut self, seq: u64, exit: ExitStatus) {
        self.fixture.advance(START_SPACING);
        let post_mortem = PostMortem {
            in_flight: Some(Seq(seq)),
            committed: Seq(self.committed),
            head: Seq(1_000_000),
            series: self.series.map(str::to_owned),
            ..PostMortem::default()
        };
        let generation = self.fixture.worker(ANALYTICS).generation;
        self.fixture.feed(died(generation, exit, post_mortem));
    }

    /// The next generation becomes active, if one is started.
    fn next(&mut self) {
        if self.is_parked() {
            return;
        }
        self.fixture.end_backoff();
        self.fixture.become_ready(self.fixture.worker(ANALYTICS).generation);
        self.take_hints();
    }

    /// The hints of the generation that the last event activated.
    fn take_hints(&mut self) {
        let hints = self.fixture.last.iter().find_map(|action| match action {
            Action::Send { frame: ToWorker::Activate(hints), .. } => Some(hints.clone()),
            _ => None,
        });
        self.hints = hints.expect("the generation is active");
    }

    /// The analysis applies and commits everything up to this event.
    fn commit(&mut self, seq: u64) {
        self.committed = seq;
    }

    /// The analysis asks that the pending events of isolated series are stored. Returns its generation.
    fn ask_to_store(&mut self, through: u64) -> Generation {
        let generation = self.fixture.worker(ANALYTICS).generation;
        self.fixture.receive(generation, FromWorker::StoreIsolated { through: Seq(through) });
        generation
    }

    /// A restart: the successor becomes ready, this generation exits, and the successor is activated.
    fn take_over_from(&mut self, generation: Generation) {
        self.fixture.advance(START_SPACING);
        let successor = self.fixture.worker(ANALYTICS).generation;
        self.fixture.become_ready(successor);
        self.fixture.advance(START_SPACING);
        let post_mortem =
            PostMortem { committed: Seq(self.committed), head: Seq(1_000), ..PostMortem::default() };
        self.fixture.feed(died(generation, ExitStatus::Code(0), post_mortem));
        self.take_hints();
    }

    fn pass_trial(&mut self) {
        let generation = self.fixture.worker(ANALYTICS).generation;
        self.fixture.receive(generation, FromWorker::TrialPassed);
        assert!(self.fixture.sent(generation, &ToWorker::Drain), "the trial is stopped");
        self.fixture.advance(START_SPACING);
        self.fixture.feed(died(
            generation,
            ExitStatus::Code(0),
            PostMortem { committed: Seq(self.committed), head: Seq(1_000_000), ..PostMortem::default() },
        ));
        self.next();
    }

    fn is_parked(&self) -> bool {
        matches!(self.fixture.slot_state(ANALYTICS), GenerationState::Parked { retry_at: None })
    }

    fn released(&self) -> Option<Vec<Seq>> {
        self.fixture.last.iter().find_map(|action| match action {
            Action::Release(seqs) => Some(seqs.clone()),
            _ => None,
        })
    }
}

fn quarantine(action: &Action) -> Option<crate::core::QuarantineRequest> {
    match action {
        Action::Quarantine(request) => Some(request.clone()),
        _ => None,
    }
}

fn row() -> u64 {
    MAX_ROW as u64
}

#[test]
fn a_skip_is_not_proven_before_a_later_event_is_applied() {
    let mut service = Service::new(Some(10), 0);
    service.fail(1);
    assert_eq!((&*service.hints.skip, service.hints.proven_until), (&[Seq(1)][..], Seq(0)));
}

#[test]
fn without_a_brake_every_skip_is_proven() {
    let mut service = Service::new(None, 0);
    for seq in 1..=2 * row() {
        service.fail(seq);
        assert_eq!((service.hints.proven_until, service.hints.trial), (Seq(u64::MAX), None));
    }
}

#[test]
fn after_a_row_of_failed_events_later_events_are_tried_at_growing_distances() {
    let mut service = Service::new(Some(10), 0);
    for seq in 1..=row() {
        assert_eq!(service.hints.trial, None);
        service.fail(seq);
    }
    let mut distances = Vec::new();
    while let Some(Trial { after, target }) = service.hints.trial {
        assert_eq!(after, Seq(row()));
        distances.push(target.0 - after.0);
        service.fail(target.0);
        if service.is_parked() {
            break;
        }
    }
    assert_eq!(distances, [1, 3, 9, 27, 81, 243, 729, 2_187]);
}

#[test]
fn a_program_that_can_apply_nothing_is_parked_and_nothing_is_quarantined() {
    let mut service = Service::new(Some(10), 5_000);
    for seq in 5_001..=5_000 + row() {
        service.fail(seq);
    }
    for _ in 1..MAX_TRIALS {
        service.fail(service.hints.trial.unwrap().target.0);
        assert!(!service.is_parked());
    }
    service.die(9_000, SIGSEGV);
    assert!(service.is_parked());
    let all: Vec<_> = (5_001..=5_000 + row()).map(Seq).collect();
    assert_eq!(service.released(), Some(all));
    let braked = |action: &Action| matches!(action, Action::Log(LogRecord::WorkerBraked { .. }));
    assert!(service.fixture.last.iter().any(braked), "{:?}", service.fixture.last);
    let record = service.fixture.death_record();
    assert_eq!(record.next, RestartDecision::Parked(None));
    assert!(record.report.why.contains("8 events in a row failed, and so did 8 later ones"), "{record:?}");
    service.fixture.feed(Event::Released { kept: vec![], error: None });
    assert_eq!(service.fixture.worker(ANALYTICS).poison_tracker.suspects, []);
}

#[test]
fn a_trial_that_passes_proves_the_row_and_the_analysis_goes_on() {
    let mut service = Service::new(Some(10), 0);
    for seq in 1..=row() {
        service.fail(seq);
    }
    service.pass_trial();
    assert_eq!((service.hints.proven_until, service.hints.trial), (Seq(row()), None));
    assert_eq!(service.hints.skip.len(), MAX_ROW);
    // The next row begins anew.
    service.commit(row());
    for seq in row() + 1..2 * row() {
        service.fail(seq);
        assert_eq!(service.hints.trial, None, "{seq}");
    }
    service.fail(2 * row());
    assert!(service.hints.trial.is_some());
}

#[test]
fn a_trial_that_is_killed_from_outside_is_repeated() {
    let mut service = Service::new(Some(10), 0);
    for seq in 1..=row() {
        service.fail(seq);
    }
    let trial = service.hints.trial;
    for _ in 0..5 {
        service.die(trial.unwrap().target.0, SIGKILL);
        service.next();
        assert_eq!(service.hints.trial, trial);
    }
}

#[test]
fn half_of_the_events_fail_and_the_brake_engages_at_the_twentieth() {
    let mut service = Service::new(Some(10), 1_000_000);
    let mut failed = 0;
    for seq in (1_000_002..).step_by(2) {
        service.fail(seq);
        failed += 1;
        if service.is_parked() {
            break;
        }
        service.commit(seq + 1);
    }
    assert_eq!(failed, MIN_FAILED);
}

#[test]
fn one_percent_of_failing_events_never_engages_the_brake() {
    let mut service = Service::new(Some(10), 0);
    for seq in (100..100_000).step_by(100) {
        service.fail(seq);
        assert!(!service.is_parked());
        service.commit(seq + 1);
    }
}

#[test]
fn a_burst_of_poison_events_after_many_good_ones_engages_the_brake_at_its_share() {
    let mut service = Service::new(Some(10), 0);
    service.commit(5_000);
    let mut failed = 0;
    for seq in 5_001.. {
        service.fail(seq);
        failed += 1;
        if service.hints.trial.is_some() {
            service.pass_trial();
            service.commit(seq);
        }
        if service.is_parked() {
            break;
        }
    }
    assert_eq!(failed, 100);
}

#[test]
fn a_braked_analysis_is_started_by_command_only_and_then_judged_anew() {
    let commands: [fn(String) -> Command; 3] = [Command::Start, Command::Restart, Command::Replace];
    for command in commands {
        let mut service = braked();
        let before = service.fixture.worker(ANALYTICS).generation;
        service.fixture.advance(std::time::Duration::from_secs(3_600));
        assert_eq!(service.fixture.worker(ANALYTICS).generation, before, "the brake is not tried");
        service.fixture.command(command(ANALYTICS.to_owned()));
        service.next();
        assert_eq!(
            service.hints,
            RecoveryHints { proven_until: service.hints.proven_until, ..RecoveryHints::default() }
        );
        assert_eq!(service.fixture.worker(ANALYTICS).poison_tracker.brake.failed, []);
    }
}

#[test]
fn a_reload_starts_a_braked_analysis() {
    let mut service = braked();
    let policy = service.fixture.state.policy.clone();
    service.fixture.feed(Event::Configured { policy, specs: Vec::new() });
    service.next();
    assert!(service.fixture.worker(ANALYTICS).running().is_some());
}

#[test]
fn an_event_that_cannot_be_released_is_skipped_after_all() {
    let mut service = Service::new(Some(10), 0);
    for seq in (2..).step_by(2) {
        service.fail(seq);
        if service.is_parked() {
            break;
        }
        // Every second event is applied and not committed: the skips are tentative until the eighth.
        if seq % 8 == 0 {
            service.commit(seq + 1);
        }
    }
    let released = service.released().unwrap_or_default();
    assert!(!released.is_empty());
    service.fixture.feed(Event::Released { kept: released[..1].to_vec(), error: Some("read-only".into()) });
    service.fixture.command(Command::Start(ANALYTICS.to_owned()));
    service.next();
    assert_eq!(service.hints.skip, released[..1]);
}

#[test]
fn no_generation_is_activated_while_events_are_released() {
    let mut service = Service::new(Some(10), 0);
    for seq in 1..=row() {
        service.fail(seq);
    }
    for _ in 1..=MAX_TRIALS {
        service.fail(service.hints.trial.unwrap().target.0);
    }
    service.fixture.command(Command::Start(ANALYTICS.to_owned()));
    service.fixture.end_backoff();
    service.fixture.become_ready(service.fixture.worker(ANALYTICS).generation);
    assert!(service.fixture.slot_state(ANALYTICS).standby().is_some());
    service.fixture.feed(Event::Released { kept: vec![], error: None });
    assert!(service.fixture.worker(ANALYTICS).running().is_some());
}

#[test]
fn a_generation_that_is_being_replaced_does_not_engage_the_brake() {
    let mut service = Service::new(Some(1), 0);
    for seq in 1..20 {
        service.fail(seq);
        service.commit(seq);
        if service.hints.trial.is_some() {
            service.pass_trial();
        }
    }
    service.fixture.command(Command::Replace(ANALYTICS.to_owned()));
    service.die(20, SIGSEGV);
    assert!(!service.is_parked());
}

/// The brake is engaged, and the events are released.
fn braked() -> Service {
    let mut service = Service::new(Some(10), 0);
    for seq in 1..=row() {
        service.fail(seq);
    }
    for _ in 1..=MAX_TRIALS {
        service.fail(service.hints.trial.unwrap().target.0);
    }
    assert!(service.is_parked());
    service.fixture.feed(Event::Released { kept: vec![], error: None });
    service
}

/// A service in which the last events of the series `bad` failed, and others were applied: one failure less than isolates it.
fn failing_series() -> (Service, u64) {
    let mut service = Service { series: Some("bad"), ..Service::new(Some(10), 0) };
    let mut seq = 0;
    for _ in 1..MAX_SERIES_ROW {
        seq += 100;
        service.fail(seq);
        assert_eq!((&*service.hints.watched, &*service.hints.isolated), (&["bad".to_owned()][..], &[][..]));
        service.commit(seq + 1);
    }
    (service, seq + 100)
}

/// The next failure isolates the series.
fn isolated_series() -> Service {
    let (mut service, seq) = failing_series();
    service.fail(seq);
    service
}

#[test]
fn a_series_whose_events_fail_while_others_are_applied_is_isolated() {
    let service = isolated_series();
    let isolation = Isolation { series: "bad".into(), until: Seq(u64::MAX) };
    assert_eq!(service.hints.isolated, [isolation]);
    assert_eq!(service.hints.watched, [""; 0]);
    assert_eq!(status(&service.fixture.state).workers[1].isolated, ["bad"]);
}

#[test]
fn a_series_is_not_isolated_if_an_event_of_it_was_applied_meanwhile() {
    let (mut service, seq) = failing_series();
    let generation = service.fixture.worker(ANALYTICS).generation;
    service.fixture.receive(generation, FromWorker::SeriesApplied("bad".into()));
    service.fail(seq);
    assert_eq!(service.hints.isolated, []);
}

#[test]
fn a_series_is_not_isolated_if_no_other_event_is_applied() {
    let mut service = Service { series: Some("bad"), ..Service::new(Some(10), 0) };
    for seq in 1..=row() {
        service.fail(seq);
    }
    assert_eq!(service.hints.isolated, []);
    assert!(service.hints.trial.is_some(), "the program is tried first");
}

#[test]
fn an_event_that_fails_again_because_it_could_not_be_stored_counts_once() {
    let mut service = Service { series: Some("bad"), ..Service::new(Some(10), 0) };
    for _ in 0..2 * MAX_SERIES_ROW {
        service.die(1, SIGSEGV);
        let request = service.fixture.last.iter().find_map(quarantine).unwrap();
        service.fixture.feed(Event::Quarantined { request, result: Err("disk full".into()) });
        // Out of back-off and parking.
        service.fixture.command(Command::Start(ANALYTICS.to_owned()));
        service.next();
        assert_eq!(service.hints.isolated, []);
    }
}

#[test]
fn events_of_an_isolated_series_are_stored_before_the_analysis_may_commit() {
    let mut service = isolated_series();
    let generation = service.ask_to_store(900);
    let stores = |action: &Action| matches!(action, Action::StoreIsolated { through: Seq(900), isolated, .. } if isolated[0].name == "bad");
    assert!(service.fixture.last.iter().any(stores), "{:?}", service.fixture.last);
    assert!(!service.fixture.sent(generation, &ToWorker::IsolatedStored));
    service.fixture.feed(Event::IsolatedStored { generation, result: Ok(()) });
    assert!(service.fixture.sent(generation, &ToWorker::IsolatedStored));
}

#[test]
fn a_new_program_applies_the_series_again_except_what_may_be_stored() {
    let mut service = isolated_series();
    let generation = service.ask_to_store(900);
    service.fixture.command(Command::Restart(ANALYTICS.to_owned()));
    service.take_over_from(generation);
    assert_eq!(service.hints.isolated, [Isolation { series: "bad".into(), until: Seq(900) }]);
    assert_eq!(status(&service.fixture.state).workers[1].isolated, [""; 0]);
    service.commit(900);
    service.die(901, SIGKILL);
    service.next();
    assert_eq!(service.hints.isolated, []);
}

#[test]
fn events_of_an_isolated_series_that_cannot_be_stored_engage_the_brake() {
    let mut service = isolated_series();
    let generation = service.ask_to_store(900);
    service.fixture.feed(Event::IsolatedStored { generation, result: Err("the quarantine is full".into()) });
    assert!(service.fixture.sent(generation, &ToWorker::Drain));
    service.die(901, ExitStatus::Code(0));
    assert!(service.is_parked());
    let brake = status(&service.fixture.state).workers[1].brake.clone().unwrap();
    assert!(brake.contains("the quarantine is full"), "{brake}");
}

#[test]
fn what_a_generation_stores_while_it_is_replaced_is_skipped_by_its_successor() {
    let mut service = isolated_series();
    service.fixture.command(Command::Restart(ANALYTICS.to_owned()));
    let generation = service.ask_to_store(950);
    let covers = |action: &Action| matches!(action, Action::StoreIsolated { isolated, .. } if isolated[0].isolation().concerns("bad", Seq(950)));
    assert!(service.fixture.last.iter().any(covers), "{:?}", service.fixture.last);
    // The disk refuses: this says nothing about the next program.
    service.fixture.feed(Event::IsolatedStored { generation, result: Err("disk full".into()) });
    assert_eq!(status(&service.fixture.state).workers[1].brake, None);
    service.take_over_from(generation);
    assert_eq!(service.hints.isolated, [Isolation { series: "bad".into(), until: Seq(950) }]);
}

#[test]
fn a_reload_waits_for_the_process_that_stops_for_the_brake() {
    let mut service = isolated_series();
    let generation = service.ask_to_store(900);
    service.fixture.feed(Event::IsolatedStored { generation, result: Err("the quarantine is full".into()) });
    service.fixture.advance(START_SPACING);
    let policy = service.fixture.state.policy.clone();
    service.fixture.feed(Event::Configured { policy, specs: Vec::new() });
    assert_eq!(service.fixture.spawns(), [], "there are never two writers");
    service.fixture.feed(Event::Released { kept: vec![], error: None });
    service.die(901, ExitStatus::Code(0));
    service.next();
    assert!(service.fixture.worker(ANALYTICS).running().is_some());
}

#[test]
fn a_worker_that_asks_to_store_events_without_an_isolated_series_is_killed() {
    let mut service = Service::new(Some(10), 0);
    let generation = service.fixture.worker(ANALYTICS).generation;
    service.fixture.receive(generation, FromWorker::StoreIsolated { through: Seq(1) });
    let killed = |action: &Action| matches!(action, Action::Signal { signal: WorkerSignal::Kill, .. });
    assert!(service.fixture.last.iter().any(killed), "{:?}", service.fixture.last);
    let mut service = isolated_series();
    let generation = service.fixture.worker(ANALYTICS).generation;
    for _ in 0..2 {
        service.fixture.receive(generation, FromWorker::StoreIsolated { through: Seq(900) });
    }
    assert!(service.fixture.last.iter().any(killed), "a second request before the answer");
}

#[test]
fn more_failing_series_than_can_be_isolated_engage_the_brake() {
    const NAMES: [&str; MAX_SERIES_HINTS + 1] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut service = Service::new(Some(100), 0);
    let mut seq = 0;
    for name in NAMES {
        service.series = Some(name);
        for _ in 0..MAX_SERIES_ROW {
            assert!(!service.is_parked());
            seq += 100;
            service.fail(seq);
            service.commit(seq + 1);
        }
    }
    assert!(service.is_parked());
}
