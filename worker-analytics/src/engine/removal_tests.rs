//! Series that are removed on request, and series that expire.

use super::{
    tests::{Fixture, NoSupervisor, trial},
    *,
};
use crate::Statistics;
use bulkhead_proto::{
    shm::{ring::Batch, sync::Ordering},
    wire::{
        control::Isolation,
        event::{Event, Removal},
        series::OVERFLOW_SERIES,
    },
};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;

impl Fixture {
    fn append_at(&self, series: &str, value: f64, arrived_ms: i64) {
        let mut batch = Batch::default();
        batch.push(&Event { arrived_ms, ..Event::new(series, value) }).unwrap();
        self.api.append(&mut batch).unwrap();
    }

    fn remove(&self, series: &str) {
        let mut batch = Batch::default();
        batch.push_removal(&Removal { series, arrived_ms: 0, request_id: None }).unwrap();
        self.api.append(&mut batch).unwrap();
    }

    fn expiring(after_ms: u64) -> Self {
        let mut fixture = Self::new();
        fixture.settings.expire_ms = Some(after_ms);
        fixture
    }
}

#[test]
fn a_removed_series_is_gone_and_begins_anew_with_its_next_event() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0), ("b", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    fixture.remove("a");
    // By a generation that has not opened the series.
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.series_names(), ["b"]);
    fixture.append(&[("a", 5.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("a")["sum"], json!(5));
    let record = fixture.api.stats().record;
    assert_eq!((record.analysed, record.removed, record.series, record.slots), (4, 1, 2, 2));
}

#[test]
fn events_before_and_after_a_removal_in_one_commit_are_told_apart() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    fixture.remove("a");
    fixture.append(&[("a", 2.0)]);
    fixture.remove("b");
    fixture.remove("b");
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.series_names(), ["a", "c"]);
    assert_eq!(fixture.rendered("a")["sum"], json!(2));
    assert_eq!(fixture.api.stats().record.removed, 2, "the last removal found nothing");
}

#[test]
fn a_removal_that_finds_nothing_is_counted_and_committed() {
    let fixture = Fixture::new();
    fixture.remove("a");
    let mut engine = fixture.engine(Statistics).unwrap();
    engine.apply_batch().unwrap();
    assert!(engine.commit_due_in().is_some());
    engine.flush().unwrap();
    let stats = fixture.api.stats();
    assert_eq!((stats.record.analysed, stats.record.removed, stats.pending), (1, 0, 0));
}

#[test]
fn the_entries_of_other_series_survive_many_removals() {
    let fixture = Fixture::new();
    let mut engine = fixture.engine(Statistics).unwrap();
    let all = ["a", "b", "c", "d", "e"];
    for removed in [&["a", "c"][..], &["e"], &["b", "d"], &["a", "b", "c", "d", "e"]] {
        fixture.append(&all.map(|series| (series, 1.0)));
        while engine.advance().unwrap() {}
        removed.iter().for_each(|series| fixture.remove(series));
        engine.process_all().unwrap();
        let left: Vec<_> = all.into_iter().filter(|series| !removed.contains(series)).collect();
        assert_eq!(fixture.series_names(), left);
    }
    assert_eq!(fixture.api.stats().record.removed, 10);
}

#[test]
fn a_removal_makes_room_for_another_series() {
    let fixture = Fixture::new();
    let names = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "late"];
    fixture.append(&names.map(|name| (name, 1.0)));
    let mut engine = fixture.engine(Statistics).unwrap();
    engine.process_all().unwrap();
    assert_eq!(fixture.rendered(OVERFLOW_SERIES)["count"], json!(1));
    fixture.remove("s3");
    engine.process_all().unwrap();
    fixture.append(&[("late", 7.0)]);
    engine.process_all().unwrap();
    assert_eq!(fixture.rendered("late")["sum"], json!(7));
    fixture.remove(OVERFLOW_SERIES);
    engine.process_all().unwrap();
    assert!(!fixture.series_names().contains(&OVERFLOW_SERIES.to_owned()));
    fixture.append(&[("later", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered(OVERFLOW_SERIES)["count"], json!(1), "eight series have a slot again");
}

#[test]
fn a_removal_is_carried_out_for_an_isolated_series() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    fixture.remove("a");
    fixture.append(&[("a", 2.0)]);
    let isolated = vec![Isolation { series: "a".into(), until: Seq(9) }];
    let mut engine = fixture
        .engine_with_hints(Statistics, RecoveryHints { isolated, ..RecoveryHints::default() })
        .unwrap();
    engine.process_all().unwrap();
    let record = fixture.api.stats().record;
    assert_eq!((record.analysed, record.skipped, record.series), (2, 1, 0));
}

#[test]
fn a_removal_proves_nothing_about_the_program() {
    // Event 1 is skipped; the removal after it runs no code of the analysis.
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0)]);
    fixture.remove("b");
    let hints = RecoveryHints { skip: vec![Seq(1)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(Statistics, hints).unwrap();
    engine.process_all().unwrap();
    assert_eq!(fixture.api.stats().record.seq, Seq(0), "the skip is held");
    fixture.append(&[("c", 1.0)]);
    engine.process_all().unwrap();
    assert_eq!(fixture.api.stats().record.seq, Seq(3));
}

#[test]
fn a_trial_passes_over_removals() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0)]);
    fixture.remove("b");
    let (hints, trial) = trial(1, 2);
    let mut engine = fixture.engine_with_hints(Statistics, hints).unwrap();
    assert!(!engine.try_event(trial).unwrap(), "there is no event after the first one");
    fixture.append(&[("c", 1.0)]);
    assert!(engine.try_event(trial).unwrap());
}

#[test]
fn a_series_expires_while_the_service_is_idle() {
    let fixture = Fixture::expiring(160_000);
    let now = arrival_ms();
    fixture.append_at("old", 1.0, now - 159_000);
    fixture.append_at("young", 1.0, now);
    let mut engine = fixture.engine(Statistics).unwrap();
    engine.process_all().unwrap();
    let due_in = engine.sweep().unwrap();
    assert_eq!(engine.commit_due_in(), None, "no series has ended");
    let due_in = i64::try_from(due_in.as_millis()).unwrap();
    assert!((1..=11_000).contains(&due_in), "the old one is removed in 1 to 11 seconds: {due_in}");

    engine.series.sweep(&engine.table, now + 11_000);
    assert!(engine.commit_due_in().is_some(), "the removal is to be committed");
    engine.flush().unwrap();
    assert_eq!(fixture.series_names(), ["young"]);
    assert_eq!(fixture.api.stats().record.expired, 1);
    let due_in = engine.series.expiry.due_in(now + 11_000).unwrap();
    assert_eq!(due_in, Duration::from_secs(159), "160 s for the young one, 10 s more, less 11 s");
}

#[test]
fn a_series_that_no_generation_has_opened_since_expires_too() {
    let fixture = Fixture::expiring(60_000);
    let now = arrival_ms();
    fixture.append_at("old", 1.0, now - 600_000);
    fixture.append_at("young", 1.0, now);
    let mut engine = fixture.engine(Statistics).unwrap();
    engine.advance().unwrap();
    engine.process_all().unwrap();
    let mut successor = fixture.engine(Statistics).unwrap();
    successor.sweep().unwrap();
    successor.flush().unwrap();
    assert_eq!(fixture.series_names(), ["young"]);
}

#[test]
fn a_late_analysis_removes_no_series_whose_events_are_in_the_ring() {
    let fixture = Fixture::expiring(60_000);
    let start = arrival_ms() - 3_600_000;
    // An event a minute less a second, for an hour; the analysis was away all the time.
    for number in 0..60 {
        fixture.append_at("s", 1.0, start + number * 59_000);
        fixture.append_at("other", 1.0, start + number * 59_000);
    }
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("s")["count"], json!(60));
    assert_eq!(fixture.api.stats().record.expired, 0);
}

#[test]
fn an_event_after_the_end_of_its_series_begins_it_anew_whenever_the_sweep_comes() {
    let fixture = Fixture::expiring(60_000);
    let start = arrival_ms();
    for (value, after) in [(1.0, 0), (2.0, 59_999), (4.0, 119_999), (8.0, 120_000)] {
        fixture.append_at("s", value, start + after);
    }
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("s")["sum"], json!(12));
    assert_eq!(fixture.api.stats().record.expired, 1);
}

/// Damages these slots so that a repair gives them up: nothing of them verifies.
fn damage(fixture: &Fixture, slots: &[usize]) {
    let memory = fixture.engine_memory().state;
    for &slot in slots {
        fixture.damage_body(slot);
        memory.store(fixture.version_in_use(slot) + 3, 0, Ordering::Relaxed);
    }
}

#[test]
fn a_series_whose_slot_was_given_up_can_be_removed() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0), ("b", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    damage(&fixture, &[0, 1]);
    fixture.remove("a");
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.api.stats().record.series, 1, "the other one is lost, and has its slot");
    fixture.append(&[("a", 2.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("a")["sum"], json!(2));
}

#[test]
fn slots_that_were_given_up_count_towards_the_limit() {
    let fixture = Fixture::new();
    let names = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
    fixture.append(&names.map(|name| (name, 1.0)));
    fixture.process_all(Statistics).unwrap();
    damage(&fixture, &[0, 1]);
    fixture.append(&[("late", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    fixture.append(&[("s0", 1.0), ("s1", 1.0), ("later", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered(OVERFLOW_SERIES)["count"], json!(2));
    assert_eq!(fixture.api.stats().record.series, 9);
}

#[test]
fn a_clock_that_jumped_ahead_and_back_does_not_stop_the_sweep() {
    let fixture = Fixture::expiring(60_000);
    let now = arrival_ms();
    fixture.append_at("s", 1.0, now);
    let mut engine = fixture.engine(Statistics).unwrap();
    while engine.advance().unwrap() {}
    engine.series.sweep(&engine.table, now + 10 * 365 * 86_400_000);
    let due_in = engine.series.expiry.due_in(now).unwrap();
    assert!(due_in <= Duration::from_secs(70), "{due_in:?}");
}

/// What can happen to the service in the property test.
#[derive(Clone, Copy, Debug)]
enum Step {
    Event(u8),
    Removal(u8),
    /// Time passes, in milliseconds.
    Pass(u16),
    Advance,
    Commit,
    Sweep,
    /// The analysis dies; its successor goes on.
    Death,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5_u8).prop_map(Step::Event),
        2 => (0..5_u8).prop_map(Step::Removal),
        3 => (1..3_000_u16).prop_map(Step::Pass),
        4 => Just(Step::Advance),
        2 => Just(Step::Commit),
        2 => Just(Step::Sweep),
        1 => Just(Step::Death),
    ]
}

const EXPIRE_MS: i64 = 2_000;
/// The interval between two rounds of the sweep.
const INTERVAL_MS: i64 = 1_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn each_event_is_in_its_series_once_although_series_end_and_processes_die(
        steps in proptest::collection::vec(any_step(), 1..200)
    ) {
        let fixture = Fixture::expiring(EXPIRE_MS as u64);
        let name = |series: u8| ["a", "b", "c", "d", "e"][usize::from(series)];
        // The sum of each series and its last arrival.
        let mut model: BTreeMap<&str, (f64, i64)> = BTreeMap::new();
        let (mut now, mut value) = (arrival_ms(), 1.0);
        let mut engine: Option<Engine<Statistics, NoSupervisor>> = None;
        for step in steps.into_iter().chain([Step::Death]) {
            let mut running = match engine.take() {
                Some(engine) => engine,
                None => fixture.engine(Statistics).unwrap(),
            };
            match step {
                Step::Event(series) => {
                    let known = model.get(name(series)).filter(|(_, last)| now - last < EXPIRE_MS);
                    let sum = known.map_or(0.0, |(sum, _)| *sum) + value;
                    model.insert(name(series), (sum, now));
                    fixture.append_at(name(series), value, now);
                    value += 1.0;
                }
                Step::Removal(series) => {
                    model.remove(name(series));
                    let mut batch = Batch::default();
                    let removal = Removal { series: name(series), arrived_ms: now, request_id: None };
                    batch.push_removal(&removal).unwrap();
                    fixture.api.append(&mut batch).unwrap();
                }
                Step::Pass(ms) => now += i64::from(ms),
                Step::Advance => drop(running.advance().unwrap()),
                Step::Commit => running.flush().unwrap(),
                Step::Sweep => {
                    // As an idle analysis does.
                    if !running.advance().unwrap() {
                        running.series.sweep(&running.table, now);
                    }
                }
                Step::Death => continue,
            }
            engine = Some(running);
        }
        fixture.process_all(Statistics).unwrap();
        let found: BTreeMap<String, f64> = fixture.series_names().into_iter().map(|series| {
            let sum = fixture.rendered(&series)["sum"].as_f64().unwrap();
            (series, sum)
        }).collect();
        for (series, (sum, last)) in &model {
            match found.get(*series) {
                Some(found) => prop_assert_eq!(found, sum, "{}", series),
                None => prop_assert!(now - last >= EXPIRE_MS + INTERVAL_MS, "{} is missing", series),
            }
        }
        prop_assert!(found.keys().all(|series| model.contains_key(&**series)), "{:?}", found);
        let record = fixture.api.stats().record;
        prop_assert_eq!(record.series as usize, found.len());
        prop_assert_eq!(fixture.api.stats().pending, 0);
    }
}
