//! The engine in one process, on real memory: a death is an engine that is dropped.

use super::*;
use crate::{Decode, Encode, Statistics};
use bulkhead_proto::{
    shm::{
        cursor::InFlight,
        memory::SharedMemory as Service,
        ring::{Batch, MIN_CAPACITY},
        table::BODY_BYTES,
    },
    wire::{role::Role, series::OVERFLOW_SERIES},
    worker::link::{AnalyticsLink, ApiLink},
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

/// A service in one process: its memory, and the API's end of it.
struct Bench {
    service: Service,
    api: ApiLink,
    settings: Settings,
}

impl Bench {
    fn new() -> Self {
        let service = Service::create(MIN_CAPACITY, 8, 1).unwrap();
        let settings = Settings {
            worker: "analytics".into(),
            role: Role::Analytics,
            generation: Generation(3),
            faults: false,
            max_series: 8,
            max_body: 0,
            limits: bulkhead_proto::worker::settings::Limits::default(),
            stop_timeout_ms: 0,
            log: "info".into(),
        };
        Self { api: ApiLink::open_in_process(&service).unwrap(), service, settings }
    }

    fn engine<A: Analysis>(&self, analysis: A) -> Result<Engine<A>, Fatal> {
        self.careful(analysis, RecoveryHints::default())
    }

    fn careful<A: Analysis>(&self, analysis: A, care: RecoveryHints) -> Result<Engine<A>, Fatal> {
        Engine::activate(analysis, &self.settings, self.memory(), care)
    }

    fn memory(&self) -> Memory {
        let AnalyticsLink { events, producer, cursor, state, .. } =
            AnalyticsLink::open_in_process(&self.service).unwrap();
        Memory { events, producer, cursor, state }
    }

    fn append(&self, events: &[(&str, f64)]) {
        let mut batch = Batch::default();
        for &(series, value) in events {
            let event =
                Event { series, value, ts_ms: 0, arrived_ms: 0, label: None, data: None, request_id: None };
            batch.push(&event).unwrap();
        }
        self.api.append(&mut batch).unwrap();
    }

    /// Lets an analysis work on all that is in the ring, and commit.
    fn run<A: Analysis>(&self, analysis: A) -> Result<(), Fatal> {
        let mut engine = self.engine(analysis)?;
        while engine.advance()? {}
        engine.settle()
    }

    fn shown(&self, series: &str) -> Value {
        let (public, _) = self.api.view().public(series).unwrap();
        serde_json::from_slice(&public).unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.api.view().names("", None, 100).iter().map(ToString::to_string).collect()
    }
}

#[test]
fn what_was_accepted_is_counted_and_shown() {
    let bench = Bench::new();
    bench.append(&[("a", 1.0), ("b", 2.0), ("a", 3.0)]);
    bench.run(Statistics).unwrap();
    assert_eq!(bench.shown("a")["sum"], json!(4));
    assert_eq!(bench.shown("b")["count"], json!(1));
    let figures = bench.api.stats();
    assert_eq!((figures.record.analysed, figures.pending, figures.used_bytes), (3, 0, 0));
    assert_eq!(figures.record.generation, Generation(3));
}

#[test]
fn whatever_was_applied_and_not_committed_is_applied_again_by_the_successor() {
    let bench = Bench::new();
    bench.append(&[("a", 1.0)]);
    bench.run(Statistics).unwrap();
    for turn in 0..20 {
        bench.append(&[("a", 1.0), ("b", 1.0)]);
        let mut engine = bench.engine(Statistics).unwrap();
        // It dies after some events, sometimes behind a commit, sometimes before one.
        for _ in 0..turn % 3 {
            engine.advance().unwrap();
        }
    }
    bench.run(Statistics).unwrap();
    assert_eq!((bench.shown("a")["sum"].clone(), bench.shown("b")["sum"].clone()), (json!(21), json!(20)));
    assert_eq!(bench.api.stats().record.analysed, 41);
}

#[test]
fn series_beyond_the_limit_count_under_overflow() {
    let bench = Bench::new();
    let names: Vec<String> = (0..20).map(|i| format!("s{i:02}")).collect();
    for turn in 1..=2 {
        bench.append(&names.iter().map(|name| (&**name, 1.0)).collect::<Vec<_>>());
        bench.run(Statistics).unwrap();
        assert_eq!(bench.names().len(), 9);
        assert_eq!(bench.shown(OVERFLOW_SERIES)["count"], json!(12 * turn));
        assert_eq!(bench.shown("s07")["count"], json!(turn));
    }
}

#[test]
fn a_slot_that_does_not_verify_is_reset_alone() {
    let bench = Bench::new();
    bench.append(&[("first", 1.0), ("second", 1.0)]);
    bench.run(Statistics).unwrap();
    let state = AnalyticsLink::open_in_process(&bench.service).unwrap().state;
    let bodies = state.words() - 9 * 2 * BODY_BYTES / WORD;
    for version in [0, 1] {
        let behind_the_head = bodies + version * BODY_BYTES / WORD + 8;
        TableMemory::write_body(&state, behind_the_head, &[0xff; 16]).unwrap();
    }
    bench.append(&[("first", 5.0), ("second", 5.0)]);
    bench.run(Statistics).unwrap();
    assert_eq!((&bench.shown("first")["count"], &bench.shown("second")["count"]), (&json!(1), &json!(2)));
    let record = bench.api.stats().record;
    assert_eq!((record.resets, record.analysed), (1, 4));
}

/// An analysis whose state and answer are as large as the last value says.
struct Hoard;

#[derive(Default, Encode, Decode)]
#[bincode(crate = "bincode")]
struct Hoarded(Vec<u8>);

impl Analysis for Hoard {
    type State = Hoarded;
    const NAME: &'static str = "hoard";
    const VERSION: u32 = 2;
    const MIGRATES_FROM: &'static [u32] = &[1];

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a test's small whole numbers"
    )]
    fn apply(&self, state: &mut Hoarded, event: &Event<'_>) {
        state.0 = vec![0; event.value as usize];
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a Hoarded) -> impl serde::Serialize + 'a {
        if state.0.len() == 13 { json!(["no object"]) } else { json!({ "bytes": state.0.len() }) }
    }

    fn migrate(&self, version: u32, bytes: &[u8]) -> Option<Hoarded> {
        assert_eq!(version, 1);
        Some(Hoarded(bytes.to_vec()))
    }
}

/// The version before.
struct OldHoard;

impl Analysis for OldHoard {
    type State = u64;
    const NAME: &'static str = "hoard";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut u64, _: &Event<'_>) {
        *state += 1;
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl serde::Serialize + 'a {
        json!({ "old": state })
    }
}

#[test]
fn a_series_that_outgrows_its_slot_is_a_clear_error_and_loses_nothing() {
    for (size, state) in [(65_500.0, 65_503), (70_000.0, 70_005)] {
        let bench = Bench::new();
        bench.append(&[("small", 2.0)]);
        bench.run(Hoard).unwrap();
        bench.append(&[("small", 3.0), ("big", size)]);
        let error = bench.run(Hoard).unwrap_err().to_string();
        let wanted =
            format!("series \"big\" does not fit its slot: key 3, state {state} and public part 15 bytes");
        assert!(error.starts_with(&wanted), "{error}");
        assert_eq!(bench.names(), ["small"]);
        assert!(bench.api.stats().pending > 0);
    }
}

#[test]
fn a_rendering_that_is_no_object_is_a_clear_error() {
    let bench = Bench::new();
    bench.append(&[("s", 13.0)]);
    let error = bench.run(Hoard).unwrap_err().to_string();
    assert_eq!(error, "series \"s\": render must give a JSON object; it gave [\"no object\"]");
}

#[test]
fn a_state_of_an_understood_version_is_migrated_whole() {
    let bench = Bench::new();
    bench.append(&[("touched", 1.0), ("untouched", 1.0)]);
    bench.run(OldHoard).unwrap();
    bench.append(&[("touched", 7.0)]);
    bench.run(Hoard).unwrap();
    assert_eq!(bench.shown("touched"), json!({ "bytes": 7 }));
    assert_eq!(bench.shown("untouched"), json!({ "bytes": 1 }));
}

/// The version behind, which shows nothing.
struct Hidden;

impl Analysis for Hidden {
    type State = Hoarded;
    const NAME: &'static str = "hoard";
    const VERSION: u32 = 3;
    const MIGRATES_FROM: &'static [u32] = &[2];

    fn apply(&self, _: &mut Hoarded, _: &Event<'_>) {}

    fn render<'a>(&'a self, _: &'a str, _: &'a Hoarded) -> impl serde::Serialize + 'a {
        json!(["no object"])
    }

    fn migrate(&self, _: u32, _: &[u8]) -> Option<Hoarded> {
        Some(Hoarded::default())
    }
}

#[test]
fn a_migration_that_cannot_be_committed_is_held_against_no_event() {
    let bench = Bench::new();
    bench.append(&[("s", 1.0)]);
    bench.run(Hoard).unwrap();
    bench.append(&[("innocent", 1.0)]);
    let error = bench.run(Hidden).unwrap_err().to_string();
    assert!(error.starts_with("series \"s\": render must give a JSON object"), "{error}");
    let found = bench.service.post_mortem();
    assert_eq!((found.committed, found.in_flight, found.committing), (Seq(1), None, None));
}

#[test]
fn a_state_of_a_version_or_analysis_that_is_not_understood_is_refused() {
    let bench = Bench::new();
    bench.append(&[("s", 3.0)]);
    bench.run(Hoard).unwrap();
    let refused = bench.engine(OldHoard).err().unwrap().to_string();
    assert!(
        refused.starts_with("the state was written by version 2 of hoard; this is hoard version 1"),
        "{refused}"
    );
    let refused = bench.engine(Statistics).err().unwrap().to_string();
    assert!(
        refused.starts_with("the state was written by another analysis; this is statistics"),
        "{refused}"
    );
    assert_eq!(bench.shown("s"), json!({ "bytes": 3 }));
}

#[test]
fn the_event_in_hand_is_known_to_whoever_looks_after_a_death() {
    let mut bench = Bench::new();
    bench.settings.faults = true;
    bench.append(&[("a", 1.0), ("__fault.panic", 1.0)]);
    let death = catch_unwind(AssertUnwindSafe(|| bench.run(Statistics)));
    assert!(death.is_err());
    let found = bench.service.post_mortem();
    assert_eq!(found.claimed, InFlight { activity: Activity::Apply, seq: Seq(2) });
    assert_eq!(found.in_flight, Some(Seq(2)));
}

#[test]
fn an_event_that_was_applied_and_not_committed_is_in_nobodys_hand() {
    let bench = Bench::new();
    bench.append(&[("a", 1.0), ("a", 1.0)]);
    let mut engine = bench.engine(Statistics).unwrap();
    while engine.advance().unwrap() {}
    let found = bench.service.post_mortem();
    assert_eq!((found.claimed, found.in_flight), (InFlight { activity: Activity::Idle, seq: Seq(2) }, None));
    assert!(found.committed < Seq(2));
}

/// The analysis' page. Behind each store is noted what would be found if it were the last one: the event in hand, and
/// whether its bytes are.
struct Watched<'a> {
    page: Arc<ReadWrite>,
    service: &'a Service,
    seen: RefCell<Vec<Option<(Seq, bool)>>>,
}

impl ReadWords for Watched<'_> {
    fn words(&self) -> usize {
        self.page.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        self.page.load(word, order)
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.page.read_bytes(word, into);
    }
}

impl WriteWords for Watched<'_> {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.page.store(word, value, order);
        let found = self.service.post_mortem();
        self.seen.borrow_mut().push(found.in_flight.map(|seq| (seq, found.payload.is_some())));
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        self.page.write_bytes(word, from);
    }
}

#[test]
fn at_each_store_an_event_is_in_hand_only_while_it_is_worked_on_and_its_bytes_are_found() {
    let bench = ten();
    let Memory { events, producer, cursor, state } = bench.memory();
    let watched = Watched { page: cursor, service: &bench.service, seen: RefCell::default() };
    let memory = Memory { events, producer, cursor: &watched, state };
    let mut engine = Engine::activate(Statistics, &bench.settings, memory, RecoveryHints::default()).unwrap();
    while engine.advance().unwrap() {}
    let mut seen = watched.seen.take();
    seen.dedup();
    let wanted: Vec<_> = (1..=10).flat_map(|seq| [None, Some((Seq(seq), true))]).chain([None]).collect();
    assert_eq!(seen, wanted);
}

/// Appends ten events of one series; the values of those that were applied add up to their numbers.
fn ten() -> Bench {
    let bench = Bench::new();
    bench.append(&(1..=10).map(|value| ("s", f64::from(value))).collect::<Vec<_>>());
    bench
}

/// Counts, and dies of the events of one value, each time.
struct DiesOf(f64);

impl Analysis for DiesOf {
    type State = u64;
    const NAME: &'static str = "mortal";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut u64, event: &Event<'_>) {
        assert!(event.value.to_bits() != self.0.to_bits(), "the poison");
        *state += 1;
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl serde::Serialize + 'a {
        json!({ "count": state })
    }
}

#[test]
fn a_suspect_is_alone_when_it_kills() {
    let bench = ten();
    let care = RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() };
    let mut engine = bench.careful(DiesOf(7.0), care).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let found = bench.service.post_mortem();
    assert_eq!((found.committed, found.in_flight, found.owner), (Seq(6), Some(Seq(7)), Generation(3)));
}

#[test]
fn a_suspect_that_is_survived_is_committed_at_once() {
    let bench = ten();
    let care = RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() };
    let mut engine = bench.careful(DiesOf(8.0), care).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let found = bench.service.post_mortem();
    assert_eq!((found.committed, found.in_flight), (Seq(7), Some(Seq(8))));
}

#[test]
fn what_was_set_aside_is_counted_as_skipped_and_never_applied() {
    let bench = ten();
    let care = RecoveryHints { skip: vec![Seq(3), Seq(10)], ..RecoveryHints::default() };
    let mut engine = bench.careful(DiesOf(3.0), care).unwrap();
    while engine.advance().unwrap() {}
    let figures = bench.api.stats();
    assert_eq!((figures.record.analysed, figures.record.skipped, figures.pending), (8, 2, 0));
    assert_eq!(figures.record.seq, Seq(10));
    assert_eq!(bench.shown("s")["count"], json!(8));
}

#[test]
fn a_skip_is_committed_before_anything_else_is_applied() {
    let bench = ten();
    let care = RecoveryHints { skip: vec![Seq(3)], ..RecoveryHints::default() };
    let mut engine = bench.careful(DiesOf(4.0), care).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let record = bench.api.stats().record;
    assert_eq!((record.seq, record.analysed, record.skipped), (Seq(3), 2, 1));
}

#[test]
fn behind_a_death_in_a_commit_each_event_is_committed_by_itself() {
    let bench = ten();
    let care = RecoveryHints { single_commit_until: Seq(5), ..RecoveryHints::default() };
    let before = bench.api.stats().record.commit.0;
    let mut engine = bench.careful(DiesOf(6.0), care).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let record = bench.api.stats().record;
    assert_eq!((record.seq, record.commit.0 - before), (Seq(5), 5));
}

#[test]
fn a_death_in_a_commit_is_told_with_the_last_event_of_it() {
    let bench = Bench::new();
    bench.append(&[("fine", 1.0), ("big", 70_000.0), ("late", 1.0)]);
    let care = RecoveryHints { single_commit_until: Seq(2), ..RecoveryHints::default() };
    let mut engine = bench.careful(Hoard, care).unwrap();
    let failed = std::iter::repeat_with(|| engine.advance()).find_map(Result::err).unwrap();
    assert!(failed.to_string().contains("does not fit"), "{failed}");
    let found = bench.service.post_mortem();
    assert_eq!((found.committed, found.in_flight, found.committing), (Seq(1), None, Some(Seq(2))));
}

/// Memory of a state table for whose bodies the system has no room.
struct Full(StateMemory);

impl ReadWords for Full {
    fn words(&self) -> usize {
        self.0.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        self.0.load(word, order)
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.0.read_bytes(word, into);
    }
}

impl TableMemory for Full {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        TableMemory::store(&self.0, word, value, order);
    }

    fn write_body(&self, _: usize, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_commit_that_the_system_refuses_is_held_against_no_event() {
    let bench = ten();
    // One by one, as behind a death in a commit: then a single event would be there to blame.
    let care = RecoveryHints { single_commit_until: Seq(10), ..RecoveryHints::default() };
    let Memory { events, producer, cursor, state } = bench.memory();
    let memory = Memory { events, producer, cursor, state: Full(state) };
    let mut engine = Engine::activate(Statistics, &bench.settings, memory, care).unwrap();
    let refused = engine.advance().unwrap_err().to_string();
    assert_eq!(refused, "cannot write the state table: no storage space");
    let found = bench.service.post_mortem();
    assert_eq!((found.in_flight, found.committing, found.committed), (None, None, Seq(0)));
    assert_eq!(found.claimed, InFlight { activity: Activity::Idle, seq: Seq(0) });
}

#[test]
fn a_generation_that_dies_before_it_takes_over_has_nothing_in_hand() {
    let mut bench = Bench::new();
    bench.append(&[("s", 1.0)]);
    let mut engine = bench.engine(DiesOf(1.0)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    bench.settings.generation = Generation(4);
    assert_eq!(bench.service.post_mortem().owner, Generation(3), "and generation 4 is another");
    drop(bench.engine(DiesOf(2.0)).unwrap());
    let found = bench.service.post_mortem();
    assert_eq!((found.owner, found.in_flight), (Generation(4), None));
}

#[test]
fn an_event_of_a_fault_is_an_ordinary_one_when_faults_are_not_enabled() {
    let bench = Bench::new();
    bench.append(&[("__fault.panic", 1.0)]);
    bench.run(Statistics).unwrap();
    assert_eq!(bench.shown("__fault.panic")["count"], json!(1));
}

#[test]
fn state_that_does_not_decode_is_reset_though_its_bytes_are_whole() {
    let bench = Bench::new();
    bench.append(&[("s", 1.0)]);
    bench.run(Liar).unwrap();
    bench.append(&[("s", 1.0)]);
    bench.run(Statistics).unwrap();
    assert_eq!(bench.shown("s")["count"], json!(1));
    assert_eq!(bench.api.stats().record.resets, 1);
}

/// Writes states that the statistics of the same version do not understand.
struct Liar;

impl Analysis for Liar {
    type State = u8;
    const NAME: &'static str = Statistics::NAME;
    const VERSION: u32 = Statistics::VERSION;

    fn apply(&self, state: &mut u8, _: &Event<'_>) {
        *state = 7;
    }

    fn render<'a>(&'a self, _: &'a str, _: &'a u8) -> impl serde::Serialize + 'a {
        json!({})
    }
}

#[cfg(feature = "mutants")]
#[test]
fn every_planted_fault_is_found_by_a_test() {
    let tests: &[fn()] = &[
        a_commit_that_the_system_refuses_is_held_against_no_event,
        a_migration_that_cannot_be_committed_is_held_against_no_event,
        an_event_that_was_applied_and_not_committed_is_in_nobodys_hand,
        at_each_store_an_event_is_in_hand_only_while_it_is_worked_on_and_its_bytes_are_found,
        a_suspect_is_alone_when_it_kills,
        a_suspect_that_is_survived_is_committed_at_once,
        what_was_set_aside_is_counted_as_skipped_and_never_applied,
    ];
    assert_eq!(Mutant::survivors(tests), []);
}
