//! The engine in one process, on real shared memory. A dropped engine stands for a process that died.

use super::*;
use crate::{Statistics, decode, encode};
use bulkhead_proto::{
    shm::{
        cursor::InFlight,
        memory::{SharedMemory, Sizes},
        ring::{Batch, MIN_CAPACITY},
        table::{BodySlot, Content, Geometry, TableReader},
    },
    wire::{
        control::{Isolation, SKIP_DELAY, Trial},
        event::Event,
        role::Role,
        series::{OVERFLOW_SERIES, render_failure},
    },
    worker::link::{AnalyticsLink, ApiLink},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    error::Error,
    io::Seek,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

/// Records what the engine asks of the supervisor.
#[derive(Default)]
pub(super) struct NoSupervisor {
    stored: RefCell<Vec<Seq>>,
    applied: RefCell<Vec<String>>,
    stopping: bool,
}

impl SupervisorLink for NoSupervisor {
    fn store_isolated(&self, through: Seq) -> Result<bool, PipeError> {
        self.stored.borrow_mut().push(through);
        Ok(!self.stopping)
    }

    fn series_applied(&self, series: String) -> Result<(), PipeError> {
        self.applied.borrow_mut().push(series);
        Ok(())
    }
}

impl<A: Analysis> Engine<A, NoSupervisor> {
    /// Applies and commits everything that is in the ring.
    pub(super) fn process_all(&mut self) -> Result<(), EngineError> {
        while self.advance()? {}
        self.flush()
    }
}

/// The shared memory of a service, and the API's end of it, in one process.
pub(super) struct Fixture {
    memory: SharedMemory,
    pub(super) api: ApiLink,
    pub(super) settings: Settings,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with_table(Geometry::new(9))
    }

    fn with_table(table: Geometry) -> Self {
        let sizes = Sizes { key_window: 8, table };
        let memory = SharedMemory::with_sizes(MIN_CAPACITY, 1, sizes).unwrap();
        let settings = Settings {
            worker: "analytics".into(),
            role: Role::Analytics,
            generation: Generation(3),
            faults: false,
            max_series: 8,
            expire_ms: None,
            max_body: 0,
            limits: bulkhead_proto::worker::settings::Limits::default(),
            access: bulkhead_proto::worker::settings::Access::default(),
            stop_timeout_ms: 0,
            log: "info".into(),
        };
        Self { api: ApiLink::open_in_process(&memory).unwrap(), memory, settings }
    }

    pub(super) fn engine<A: Analysis>(&self, analysis: A) -> Result<Engine<A, NoSupervisor>, EngineError> {
        self.engine_with_hints(analysis, RecoveryHints::default())
    }

    pub(super) fn engine_with_hints<A: Analysis>(
        &self,
        analysis: A,
        hints: RecoveryHints,
    ) -> Result<Engine<A, NoSupervisor>, EngineError> {
        Engine::activate(analysis, &self.settings, self.engine_memory(), hints, NoSupervisor::default())
    }

    pub(super) fn engine_memory(&self) -> EngineMemory {
        let AnalyticsLink { events, producer, cursor, state, .. } =
            AnalyticsLink::open_in_process(&self.memory).unwrap();
        EngineMemory { events, producer, cursor, state }
    }

    /// A reader of the state table.
    fn table(&self) -> TableReader<StateMemory> {
        TableReader::new(self.engine_memory().state, self.settings.slots())
    }

    /// The word of the line of a slot at which the version in use begins: hash, place, check, tag.
    pub(super) fn version_in_use(&self, slot: usize) -> usize {
        let state = self.engine_memory().state;
        let versions = [0, 1].map(|version| 64 + 8 * slot + 4 * version);
        versions.into_iter().max_by_key(|word| state.load(word + 3, Ordering::Relaxed)).unwrap()
    }

    /// Overwrites the first bytes of the key and the public part of a series.
    pub(super) fn damage_body(&self, slot: usize) {
        let state = self.engine_memory().state;
        let place = state.load(self.version_in_use(slot) + 1, Ordering::Relaxed);
        let front = Geometry::with_arena(self.settings.slots(), 0).front_bytes() / WORD;
        let after_head = front + usize::try_from(place >> 24).unwrap() + 6;
        state.write_body(after_head, &[0xff; 16]).unwrap();
    }

    pub(super) fn append(&self, events: &[(&str, f64)]) {
        let mut batch = Batch::default();
        for &(series, value) in events {
            batch.push(&Event::new(series, value)).unwrap();
        }
        self.api.append(&mut batch).unwrap();
    }

    /// Applies and commits everything that is in the ring.
    pub(super) fn process_all<A: Analysis>(&self, analysis: A) -> Result<(), EngineError> {
        self.engine(analysis)?.process_all()
    }

    pub(super) fn rendered(&self, series: &str) -> Value {
        let public = self.api.view().public(series).public().unwrap();
        serde_json::from_slice(&public).unwrap()
    }

    pub(super) fn series_names(&self) -> Vec<String> {
        self.api.view().names("", None, 100).iter().map(ToString::to_string).collect()
    }
}

#[test]
fn accepted_events_are_counted_and_rendered() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0), ("b", 2.0), ("a", 3.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("a")["sum"], json!(4));
    assert_eq!(fixture.rendered("b")["count"], json!(1));
    let stats = fixture.api.stats();
    assert_eq!((stats.record.analysed, stats.pending, stats.used_bytes), (3, 0, 0));
    assert_eq!(stats.record.generation, Generation(3));
}

#[test]
fn the_successor_applies_again_what_was_applied_and_not_committed() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    for round in 0..20 {
        fixture.append(&[("a", 1.0), ("b", 1.0)]);
        let mut engine = fixture.engine(Statistics).unwrap();
        // The engine is dropped after some batches, sometimes after a commit and sometimes before one.
        for _ in 0..round % 3 {
            engine.advance().unwrap();
        }
    }
    fixture.process_all(Statistics).unwrap();
    assert_eq!(
        (fixture.rendered("a")["sum"].clone(), fixture.rendered("b")["sum"].clone()),
        (json!(21), json!(20))
    );
    assert_eq!(fixture.api.stats().record.analysed, 41);
}

#[test]
fn series_beyond_the_limit_count_under_overflow() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..20).map(|i| format!("s{i:02}")).collect();
    for round in 1..=2 {
        fixture.append(&names.iter().map(|name| (&**name, 1.0)).collect::<Vec<_>>());
        fixture.process_all(Statistics).unwrap();
        assert_eq!(fixture.series_names().len(), 9);
        assert_eq!(fixture.rendered(OVERFLOW_SERIES)["count"], json!(12 * round));
        assert_eq!(fixture.rendered("s07")["count"], json!(round));
    }
}

#[test]
fn a_slot_that_does_not_verify_resets_only_its_series() {
    let fixture = Fixture::new();
    fixture.append(&[("first", 1.0), ("second", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    fixture.damage_body(0);
    fixture.append(&[("first", 5.0), ("second", 5.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(
        (&fixture.rendered("first")["count"], &fixture.rendered("second")["count"]),
        (&json!(1), &json!(2))
    );
    let record = fixture.api.stats().record;
    assert_eq!((record.resets, record.analysed), (1, 4));
}

/// An analysis whose state has as many bytes as the last value says. With 13 bytes, it renders an array.
struct Resizable;

#[derive(Default, Serialize, Deserialize)]
struct Bytes(String);

impl Analysis for Resizable {
    type State = Bytes;
    const NAME: &'static str = "resizable";
    const VERSION: u32 = 2;
    const MIGRATES_FROM: &'static [u32] = &[1];

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small integers of a test")]
    fn apply(&self, state: &mut Bytes, event: &Event<'_>) {
        state.0 = "x".repeat(event.value.unwrap() as usize);
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a Bytes) -> impl Serialize + 'a {
        if state.0.len() == 13 { json!(["not an object"]) } else { json!({ "bytes": state.0.len() }) }
    }

    fn migrate(&self, version: u32, bytes: &[u8]) -> Result<Bytes, Box<dyn Error>> {
        assert_eq!(version, 1);
        Ok(Bytes("x".repeat(decode(bytes)?)))
    }
}

/// The previous version of [`Resizable`].
struct ResizableV1;

impl Analysis for ResizableV1 {
    type State = u64;
    const NAME: &'static str = "resizable";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut u64, _: &Event<'_>) {
        *state += 1;
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl Serialize + 'a {
        json!({ "old": state })
    }
}

#[test]
fn a_series_that_is_too_large_is_an_error_and_loses_no_data() {
    let fixture = Fixture::new();
    fixture.append(&[("small", 2.0)]);
    fixture.process_all(Resizable).unwrap();
    fixture.append(&[("small", 3.0), ("big", 16_777_201.0)]);
    let error = fixture.process_all(Resizable).unwrap_err().to_string();
    let expected =
        "series \"big\" is too large: key 3 bytes (at most 128), state 16777206 and public part 18 bytes";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(fixture.series_names(), ["small"]);
    assert!(fixture.api.stats().pending > 0);
}

#[test]
fn a_state_of_many_megabytes_is_committed_and_read_back() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture.append(&[("big", 10e6), ("small", 1.0)]);
        fixture.process_all(Resizable).unwrap();
    }
    let slot = BodySlot(0);
    let body = fixture.table().body(slot, &fixture.api.stats().record).unwrap();
    assert_eq!((body.key(), body.state().len()), ("big", 10_000_005));
    assert_eq!(fixture.api.stats().pending, 0);
}

#[test]
fn a_full_arena_stops_the_analysis_and_nothing_is_lost_or_charged() {
    let fixture = Fixture::with_table(Geometry::with_arena(9, 1 << 20));
    fixture.append(&[("small", 2.0)]);
    fixture.process_all(Resizable).unwrap();
    fixture.append(&[("small", 3.0), ("big", 2e6)]);
    let error = fixture.process_all(Resizable).unwrap_err().to_string();
    assert!(
        error.contains("the arena of the state table is full: ")
            && error.contains("1048576 bytes are reserved"),
        "{error}"
    );
    assert_eq!(
        (fixture.series_names(), fixture.rendered("small")),
        (vec!["small".to_owned()], json!({ "bytes": 3 }))
    );
    let found = fixture.memory.claims();
    assert_eq!((found.committed, found.in_flight, found.committing), (Seq(2), None, None));
    assert_eq!(fixture.api.stats().pending, 1);
    // A program that keeps less continues.
    fixture.process_all(AtMost100Bytes).unwrap();
    assert_eq!((fixture.api.stats().pending, fixture.series_names().len()), (0, 2));
}

/// As [`Resizable`], but a state has at most 100 bytes.
struct AtMost100Bytes;

impl Analysis for AtMost100Bytes {
    type State = Bytes;
    const NAME: &'static str = Resizable::NAME;
    const VERSION: u32 = Resizable::VERSION;

    fn apply(&self, state: &mut Bytes, _: &Event<'_>) {
        state.0 = "x".repeat(100);
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a Bytes) -> impl Serialize + 'a {
        json!({ "bytes": state.0.len() })
    }
}

#[test]
fn a_series_that_cannot_be_rendered_is_committed_with_the_reason() {
    let fixture = Fixture::new();
    fixture.append(&[("s", 13.0), ("fine", 1.0)]);
    fixture.process_all(Resizable).unwrap();
    let public = |series| fixture.api.view().public(series).public().unwrap();
    let reason = "render must give a JSON object; it gave [\"not an object\"]";
    assert_eq!(render_failure(&public("s")).as_deref(), Some(reason));
    assert_eq!(render_failure(&public("fine")), None);
    assert_eq!((fixture.api.stats().record.analysed, fixture.api.stats().pending), (2, 0));
    // The next state can be rendered.
    fixture.append(&[("s", 12.0)]);
    fixture.process_all(Resizable).unwrap();
    assert_eq!(fixture.rendered("s"), json!({ "bytes": 12 }));
}

/// Panics while it renders the series `bad`.
struct RenderPanics;

impl Analysis for RenderPanics {
    type State = u64;
    const NAME: &'static str = "render-panics";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut u64, _: &Event<'_>) {
        *state += 1;
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a u64) -> impl Serialize + 'a {
        assert_ne!(series, "bad");
        json!({ "count": state })
    }
}

#[test]
fn a_panic_in_render_ends_no_commit() {
    let fixture = Fixture::new();
    fixture.append(&[("bad", 1.0), ("good", 1.0)]);
    fixture.process_all(RenderPanics).unwrap();
    assert_eq!(fixture.rendered("good"), json!({ "count": 1 }));
    let reason = render_failure(&fixture.api.view().public("bad").public().unwrap()).unwrap();
    assert!(reason.starts_with("render panicked"), "{reason}");
    assert_eq!(fixture.api.stats().pending, 0);
}

#[test]
fn a_state_of_a_readable_version_is_migrated_completely() {
    let fixture = Fixture::new();
    fixture.append(&[("touched", 1.0), ("untouched", 1.0)]);
    fixture.process_all(ResizableV1).unwrap();
    fixture.append(&[("touched", 7.0)]);
    fixture.process_all(Resizable).unwrap();
    assert_eq!(fixture.rendered("touched"), json!({ "bytes": 7 }));
    assert_eq!(fixture.rendered("untouched"), json!({ "bytes": 1 }));
}

/// The next version of [`Resizable`]. Its states do not fit their slots.
struct TooLargeV3;

impl Analysis for TooLargeV3 {
    type State = Bytes;
    const NAME: &'static str = "resizable";
    const VERSION: u32 = 3;
    const MIGRATES_FROM: &'static [u32] = &[2];

    fn apply(&self, _: &mut Bytes, _: &Event<'_>) {}

    fn render<'a>(&'a self, _: &'a str, _: &'a Bytes) -> impl Serialize + 'a {
        json!({})
    }

    fn migrate(&self, _: u32, _: &[u8]) -> Result<Bytes, Box<dyn Error>> {
        Ok(Bytes("x".repeat(17_000_000)))
    }
}

#[test]
fn a_migration_that_cannot_be_committed_is_attributed_to_no_event() {
    let fixture = Fixture::new();
    fixture.append(&[("s", 1.0)]);
    fixture.process_all(Resizable).unwrap();
    fixture.append(&[("unrelated", 1.0)]);
    let error = fixture.process_all(TooLargeV3).unwrap_err().to_string();
    assert!(error.starts_with("series \"s\" is too large"), "{error}");
    let found = fixture.memory.claims();
    assert_eq!((found.committed, found.in_flight, found.committing), (Seq(1), None, None));
}

/// A state of [`ResizableV1`] is a number; this analysis has the same name and version, and another state.
struct ChangedWithoutVersion;

impl Analysis for ChangedWithoutVersion {
    type State = Vec<String>;
    const NAME: &'static str = "resizable";
    const VERSION: u32 = 1;

    fn apply(&self, _: &mut Vec<String>, _: &Event<'_>) {}

    fn render<'a>(&'a self, _: &'a str, _: &'a Vec<String>) -> impl Serialize + 'a {
        json!({})
    }
}

#[test]
fn a_state_that_was_changed_without_a_new_version_is_refused_before_the_activation() {
    let fixture = Fixture::new();
    let check = || check_stored_states(&ChangedWithoutVersion, &fixture.table());
    assert!(check().is_ok(), "an empty table fits every analysis");
    fixture.append(&[("s", 1.0)]);
    fixture.process_all(ResizableV1).unwrap();
    let refused = check().unwrap_err().to_string();
    assert!(
        refused.starts_with(
            "the stored states do not fit this program; series \"s\": the state cannot be decoded"
        ),
        "{refused}"
    );
    let other = check_stored_states(&Statistics, &fixture.table());
    assert!(matches!(other, Err(StateRefused::Incompatible(_))), "{other:?}");
    let same = check_stored_states(&ResizableV1, &fixture.table());
    assert!(same.is_ok(), "{same:?}");
}

#[test]
fn a_state_of_an_unreadable_version_or_another_analysis_is_refused() {
    let fixture = Fixture::new();
    fixture.append(&[("s", 3.0)]);
    fixture.process_all(Resizable).unwrap();
    let refused = fixture.engine(ResizableV1).err().unwrap().to_string();
    assert!(
        refused.starts_with("the state was written by version 2 of resizable; this is resizable version 1"),
        "{refused}"
    );
    let refused = fixture.engine(Statistics).err().unwrap().to_string();
    assert!(
        refused.starts_with("the state was written by another analysis; this is statistics"),
        "{refused}"
    );
    assert_eq!(fixture.rendered("s"), json!({ "bytes": 3 }));
}

#[test]
fn the_event_in_flight_is_known_after_a_death() {
    let mut fixture = Fixture::new();
    fixture.settings.faults = true;
    fixture.append(&[("a", 1.0), ("__fault.panic", 1.0)]);
    let death = catch_unwind(AssertUnwindSafe(|| fixture.process_all(Statistics)));
    assert!(death.is_err());
    let found = fixture.memory.claims();
    assert_eq!(found.claimed, InFlight { activity: Activity::Apply, seq: Seq(2) });
    assert_eq!(found.in_flight, Some(Seq(2)));
}

#[test]
fn an_applied_event_is_not_in_flight_before_its_commit() {
    let fixture = Fixture::new();
    fixture.append(&[("a", 1.0), ("a", 1.0)]);
    let mut engine = fixture.engine(Statistics).unwrap();
    while engine.advance().unwrap() {}
    let found = fixture.memory.claims();
    assert_eq!((found.claimed, found.in_flight), (InFlight { activity: Activity::Idle, seq: Seq(2) }, None));
    assert!(found.committed < Seq(2));
}

/// The cursor page. After each store, it records what a post-mortem would find if the process died there: the
/// event in flight, and whether its payload is found.
struct RecordingCursor<'a> {
    page: Arc<ReadWrite>,
    memory: &'a SharedMemory,
    seen: RefCell<Vec<Option<(Seq, bool)>>>,
}

impl ReadWords for RecordingCursor<'_> {
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

impl WriteWords for RecordingCursor<'_> {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.page.store(word, value, order);
        let found = self.memory.claims();
        self.seen.borrow_mut().push(found.in_flight.map(|seq| (seq, found.payload.is_some())));
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        self.page.write_bytes(word, from);
    }
}

#[test]
fn at_each_store_an_event_is_in_flight_only_while_it_is_applied_and_its_payload_is_found() {
    let fixture = ten_events();
    let EngineMemory { events, producer, cursor, state } = fixture.engine_memory();
    let recording = RecordingCursor { page: cursor, memory: &fixture.memory, seen: RefCell::default() };
    let memory = EngineMemory { events, producer, cursor: &recording, state };
    let mut engine = Engine::activate(
        Statistics,
        &fixture.settings,
        memory,
        RecoveryHints::default(),
        NoSupervisor::default(),
    )
    .unwrap();
    while engine.advance().unwrap() {}
    let mut seen = recording.seen.take();
    seen.dedup();
    let expected: Vec<_> = (1..=10).flat_map(|seq| [None, Some((Seq(seq), true))]).chain([None]).collect();
    assert_eq!(seen, expected);
}

/// A fixture with ten events of one series in the ring; each event has its seq as its value.
fn ten_events() -> Fixture {
    let fixture = Fixture::new();
    fixture.append(&(1..=10).map(|value| ("s", f64::from(value))).collect::<Vec<_>>());
    fixture
}

/// Counts events, and panics on every event with this value.
struct PanicsOn(f64);

impl Analysis for PanicsOn {
    type State = u64;
    const NAME: &'static str = "panics";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut u64, event: &Event<'_>) {
        assert!(event.value != Some(self.0), "the poison event");
        *state += 1;
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl Serialize + 'a {
        json!({ "count": state })
    }
}

#[test]
fn a_suspect_event_that_kills_is_the_only_uncommitted_one() {
    let fixture = ten_events();
    let hints = RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(7.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let found = fixture.memory.claims();
    assert_eq!((found.committed, found.in_flight, found.owner), (Seq(6), Some(Seq(7)), Generation(3)));
}

#[test]
fn a_suspect_event_that_is_survived_is_committed_at_once() {
    let fixture = ten_events();
    let hints = RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(8.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let found = fixture.memory.claims();
    assert_eq!((found.committed, found.in_flight), (Seq(7), Some(Seq(8))));
}

#[test]
fn a_quarantined_event_is_counted_as_skipped_and_not_applied() {
    let fixture = ten_events();
    let hints =
        RecoveryHints { skip: vec![Seq(3), Seq(10)], proven_until: Seq(10), ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(3.0), hints).unwrap();
    while engine.advance().unwrap() {}
    let stats = fixture.api.stats();
    assert_eq!((stats.record.analysed, stats.record.skipped, stats.pending), (8, 2, 0));
    assert_eq!(stats.record.seq, Seq(10));
    assert_eq!(fixture.rendered("s")["count"], json!(8));
}

#[test]
fn a_proven_skip_is_committed_before_the_next_event_is_applied() {
    let fixture = ten_events();
    let hints = RecoveryHints { skip: vec![Seq(3)], proven_until: Seq(3), ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(4.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let record = fixture.api.stats().record;
    assert_eq!((record.seq, record.analysed, record.skipped), (Seq(3), 2, 1));
}

#[test]
fn a_skip_is_not_committed_before_a_later_event_is_applied() {
    let fixture = ten_events();
    let hints = RecoveryHints { skip: vec![Seq(3), Seq(4)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(5.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let (record, found) = (fixture.api.stats().record, fixture.memory.claims());
    assert_eq!((record.seq, record.analysed, record.skipped), (Seq(2), 2, 0));
    assert_eq!((found.in_flight, found.payload.is_some()), (Some(Seq(5)), true));
}

#[test]
fn a_skip_is_committed_together_with_the_event_that_is_applied_after_it() {
    let fixture = ten_events();
    let hints = RecoveryHints { skip: vec![Seq(3), Seq(4)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(6.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let record = fixture.api.stats().record;
    assert_eq!((record.seq, record.analysed, record.skipped), (Seq(5), 3, 2));
}

#[test]
fn a_skip_at_the_end_of_the_ring_is_held_and_a_drain_leaves_it() {
    let fixture = ten_events();
    let hints = RecoveryHints { skip: vec![Seq(10)], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(10.0), hints).unwrap();
    while engine.advance().unwrap() {}
    let due = engine.commit_due_in().unwrap();
    assert!(due > SKIP_DELAY / 2 && due <= SKIP_DELAY, "{due:?}");
    engine.flush().unwrap();
    assert_eq!(fixture.api.stats().record.seq, Seq(9));
    // What the run loop does when the delay has passed.
    engine.commit().unwrap();
    assert_eq!(fixture.api.stats().record.seq, Seq(10));
    assert_eq!(engine.commit_due_in(), None);
}

pub(super) fn trial(after: u64, target: u64) -> (RecoveryHints, Trial) {
    let trial = Trial { after: Seq(after), target: Seq(target) };
    (RecoveryHints { trial: Some(trial), ..RecoveryHints::default() }, trial)
}

#[test]
fn a_trial_applies_the_event_at_its_target_and_commits_nothing() {
    for (after, target, tried) in [(2, 5, 5_u32), (2, 3, 3), (2, 100, 10), (0, 1, 1)] {
        let fixture = ten_events();
        let (hints, trial) = trial(after, target);
        let mut engine = fixture.engine_with_hints(PanicsOn(f64::from(tried)), hints.clone()).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| engine.try_event(trial))).is_err());
        let found = fixture.memory.claims();
        assert_eq!(found.in_flight.map(|seq| seq.0), Some(u64::from(tried)));
        assert!(found.payload.is_some(), "the supervisor finds the event in the ring");
        let mut engine = fixture.engine_with_hints(PanicsOn(0.0), hints).unwrap();
        assert!(engine.try_event(trial).unwrap());
        assert_eq!(fixture.api.stats().record.seq, Seq(0), "nothing is committed");
    }
}

#[test]
fn a_trial_without_a_later_event_waits() {
    let fixture = ten_events();
    let (hints, trial) = trial(10, 13);
    let mut engine = fixture.engine_with_hints(PanicsOn(0.0), hints).unwrap();
    assert!(!engine.try_event(trial).unwrap());
    fixture.append(&[("s", 11.0)]);
    assert!(engine.try_event(trial).unwrap());
    assert_eq!(fixture.memory.claims().claimed.seq, Seq(11));
}

#[test]
fn a_trial_encodes_the_state_as_a_commit_does() {
    let fixture = Fixture::new();
    fixture.append(&[("fine", 1.0), ("big", 17e6)]);
    let (hints, trial) = trial(1, 2);
    let mut engine = fixture.engine_with_hints(Resizable, hints).unwrap();
    assert!(engine.try_event(trial).unwrap_err().to_string().contains("is too large"));
    assert_eq!(fixture.memory.claims().in_flight, Some(Seq(2)));
}

#[test]
fn events_of_an_isolated_series_are_stored_before_the_commit_that_skips_them() {
    let fixture = Fixture::new();
    fixture.append(&[("good", 1.0), ("bad", 2.0), ("good", 3.0), ("bad", 4.0)]);
    let isolated = vec![Isolation { series: "bad".into(), until: Seq(5) }];
    let hints = RecoveryHints { isolated, ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(2.0), hints.clone()).unwrap();
    engine.process_all().unwrap();
    let record = fixture.api.stats().record;
    assert_eq!((record.seq, record.analysed, record.skipped), (Seq(4), 2, 2));
    assert_eq!(engine.link.stored.borrow().last(), Some(&Seq(4)));
    assert_eq!(fixture.series_names(), ["good"]);
    // Asked to stop while it waits: nothing is committed.
    fixture.append(&[("bad", 5.0)]);
    let mut engine = fixture.engine_with_hints(PanicsOn(5.0), hints.clone()).unwrap();
    engine.link.stopping = true;
    let interrupted = engine.advance().and_then(|_| engine.flush());
    assert!(matches!(interrupted, Err(EngineError::Interrupted)), "{interrupted:?}");
    assert_eq!(fixture.api.stats().record.seq, Seq(4));
    // Beyond the end of the isolation, events are applied.
    fixture.append(&[("bad", 6.0)]);
    let mut engine = fixture.engine_with_hints(PanicsOn(5.0), hints).unwrap();
    engine.process_all().unwrap();
    assert_eq!((fixture.rendered("bad")["count"].clone(), fixture.api.stats().record.skipped), (json!(1), 3));
}

#[test]
fn an_event_of_an_isolated_series_proves_no_skip() {
    let fixture = Fixture::new();
    fixture.append(&[("good", 1.0), ("good", 2.0), ("bad", 3.0), ("good", 4.0)]);
    let isolated = vec![Isolation { series: "bad".into(), until: Seq(u64::MAX) }];
    let hints = RecoveryHints { skip: vec![Seq(2)], isolated, ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(PanicsOn(4.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    assert_eq!(fixture.api.stats().record.seq, Seq(1));
}

#[test]
fn an_event_of_an_isolated_series_proves_no_skip_although_a_commit_follows_each_event() {
    let fixture = Fixture::new();
    fixture.append(&[("good", 1.0), ("good", 2.0), ("bad", 3.0), ("good", 4.0)]);
    let isolated = vec![Isolation { series: "bad".into(), until: Seq(u64::MAX) }];
    let hints = RecoveryHints {
        skip: vec![Seq(2)],
        single_commit_until: Seq(3),
        isolated,
        ..RecoveryHints::default()
    };
    let mut engine = fixture.engine_with_hints(PanicsOn(4.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    assert_eq!(fixture.api.stats().record.seq, Seq(1));
}

#[test]
fn a_watched_series_is_reported_once_after_the_commit_of_its_event() {
    let fixture = Fixture::new();
    fixture.append(&[("other", 1.0), ("watched", 2.0), ("watched", 3.0)]);
    let hints = RecoveryHints { watched: vec!["watched".into()], ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(Statistics, hints).unwrap();
    engine.process_all().unwrap();
    assert_eq!(*engine.link.applied.borrow(), ["watched"]);
}

#[test]
fn in_single_commit_mode_each_event_has_a_commit() {
    let fixture = ten_events();
    let hints = RecoveryHints { single_commit_until: Seq(5), ..RecoveryHints::default() };
    let before = fixture.api.stats().record.commit.0;
    let mut engine = fixture.engine_with_hints(PanicsOn(6.0), hints).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    let record = fixture.api.stats().record;
    assert_eq!((record.seq, record.commit.0 - before), (Seq(5), 5));
}

/// The error of the first batches that has one.
fn first_error<A: Analysis>(engine: &mut Engine<A, NoSupervisor>) -> Option<EngineError> {
    std::iter::repeat_with(|| engine.advance()).take(100).find_map(Result::err)
}

#[test]
fn a_failed_commit_is_reported_with_its_last_event() {
    let fixture = Fixture::new();
    fixture.append(&[("fine", 1.0), ("big", 17e6), ("late", 1.0)]);
    let hints = RecoveryHints { single_commit_until: Seq(2), ..RecoveryHints::default() };
    let mut engine = fixture.engine_with_hints(Resizable, hints).unwrap();
    let error = first_error(&mut engine).unwrap();
    assert!(error.to_string().contains("is too large"), "{error}");
    let found = fixture.memory.claims();
    assert_eq!((found.committed, found.in_flight, found.committing), (Seq(1), None, Some(Seq(2))));
}

/// The memory of a state table. The system refuses every write to its slots.
struct FullTable(StateMemory);

impl ReadWords for FullTable {
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

impl TableMemory for FullTable {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        TableMemory::store(&self.0, word, value, order);
    }

    fn write_body(&self, _: usize, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn release(&self, word: usize, words: usize) {
        self.0.release(word, words);
    }
}

#[test]
fn a_commit_that_the_system_refuses_is_attributed_to_no_event() {
    let fixture = ten_events();
    // In single-commit mode: each commit covers one event, to which the exit could be attributed.
    let hints = RecoveryHints { single_commit_until: Seq(10), ..RecoveryHints::default() };
    let EngineMemory { events, producer, cursor, state } = fixture.engine_memory();
    let memory = EngineMemory { events, producer, cursor, state: FullTable(state) };
    let mut engine =
        Engine::activate(Statistics, &fixture.settings, memory, hints, NoSupervisor::default()).unwrap();
    let refused = engine.advance().unwrap_err().to_string();
    assert_eq!(refused, "cannot write the state table: no storage space");
    let found = fixture.memory.claims();
    assert_eq!((found.in_flight, found.committing, found.committed), (None, None, Seq(0)));
    assert_eq!(found.claimed, InFlight { activity: Activity::Idle, seq: Seq(0) });
}

#[test]
fn a_generation_that_dies_before_takeover_has_no_event_in_flight() {
    let mut fixture = Fixture::new();
    fixture.append(&[("s", 1.0)]);
    let mut engine = fixture.engine(PanicsOn(1.0)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| while engine.advance().unwrap() {})).is_err());
    fixture.settings.generation = Generation(4);
    assert_eq!(fixture.memory.claims().owner, Generation(3), "generation 4 has not taken over yet");
    drop(fixture.engine(PanicsOn(2.0)).unwrap());
    let found = fixture.memory.claims();
    assert_eq!((found.owner, found.in_flight), (Generation(4), None));
}

#[test]
fn an_event_of_a_fault_series_is_ordinary_when_faults_are_disabled() {
    let fixture = Fixture::new();
    fixture.append(&[("__fault.panic", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("__fault.panic")["count"], json!(1));
}

#[test]
fn a_state_that_cannot_be_decoded_is_reset_although_its_crc_is_right() {
    let fixture = Fixture::new();
    fixture.append(&[("s", 1.0)]);
    fixture.process_all(OtherFormat).unwrap();
    fixture.append(&[("s", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    assert_eq!(fixture.rendered("s")["count"], json!(1));
    assert_eq!(fixture.api.stats().record.resets, 1);
}

/// Has the name and version of [`Statistics`], but another state format.
struct OtherFormat;

impl Analysis for OtherFormat {
    type State = u8;
    const NAME: &'static str = Statistics::NAME;
    const VERSION: u32 = Statistics::VERSION;

    fn apply(&self, state: &mut u8, _: &Event<'_>) {
        *state = 7;
    }

    fn render<'a>(&'a self, _: &'a str, _: &'a u8) -> impl Serialize + 'a {
        json!({})
    }
}

/// An analysis whose states have any format, always under the same name and version.
struct Formatted<S>(fn(&mut S, &Event<'_>));

impl<S: Default + Serialize + DeserializeOwned + 'static> Analysis for Formatted<S> {
    type State = S;
    const NAME: &'static str = "formatted";
    const VERSION: u32 = 4;

    fn apply(&self, state: &mut S, event: &Event<'_>) {
        self.0(state, event);
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a S) -> impl Serialize + 'a {
        json!({ "state": state })
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Count {
    events: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct CountAndSum {
    events: u64,
    #[serde(default)]
    sum: f64,
}

#[test]
fn a_field_with_a_default_is_added_and_removed_without_a_migration() {
    let fixture = Fixture::new();
    let count = || Formatted::<Count>(|state, _| state.events += 1);
    let count_and_sum = || {
        Formatted::<CountAndSum>(|state, event| {
            state.events += 1;
            state.sum += event.value.unwrap();
        })
    };
    let event = ("s", 2.0);
    fixture.append(&[event]);
    fixture.process_all(count()).unwrap();
    fixture.append(&[event, event]);
    fixture.process_all(count_and_sum()).unwrap();
    assert_eq!(fixture.rendered("s")["state"], json!({ "events": 3, "sum": 4.0 }));
    fixture.append(&[event]);
    fixture.process_all(count()).unwrap();
    assert_eq!(fixture.rendered("s")["state"], json!({ "events": 4 }));
    assert_eq!(fixture.api.stats().record.resets, 0);
}

/// A state that can hold what MessagePack cannot.
#[derive(Default, Serialize, Deserialize)]
struct Nested {
    last: Last,
}

#[derive(Default, Serialize, Deserialize)]
struct Last {
    value: Option<Option<f64>>,
    #[serde(skip_serializing_if = "is_zero")]
    events: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[test]
fn a_state_that_cannot_be_stored_is_refused_with_its_series_and_field() {
    let some_of_none = |state: &mut Nested, event: &Event<'_>| {
        state.last = Last { events: 1, value: Some(event.value.filter(|value| *value != 0.0)) };
    };
    let not_written = |state: &mut Nested, event: &Event<'_>| {
        state.last = Last { events: u64::from(event.value != Some(0.0)), value: None };
    };
    for (analysis, expected) in [
        (
            Formatted(some_of_none as fn(&mut _, &Event<'_>)),
            "field `last.value`: `Some` of a value without content",
        ),
        (Formatted(not_written), "field `last`: missing field `events`"),
    ] {
        let fixture = Fixture::new();
        fixture.append(&[("good", 1.0), ("bad", 0.0)]);
        let hints = RecoveryHints { single_commit_until: Seq(2), ..RecoveryHints::default() };
        let mut engine = fixture.engine_with_hints(analysis, hints).unwrap();
        let error = first_error(&mut engine).unwrap().to_string();
        assert!(
            error.starts_with(&format!("series \"bad\": the state cannot be stored: {expected}")),
            "{error}"
        );
        assert_eq!(fixture.series_names(), ["good"]);
        assert_eq!(fixture.memory.claims().committing, Some(Seq(2)));
    }
}

#[test]
fn a_later_state_that_would_lose_a_field_is_refused_too() {
    let fixture = Fixture::new();
    let analysis = Formatted::<Nested>(|state, event| {
        state.last = Last { events: 1, value: Some(event.value.filter(|value| *value != 0.0)) };
    });
    let mut engine = fixture.engine(analysis).unwrap();
    for value in [1.0, 2.0] {
        fixture.append(&[("s", value)]);
        engine.advance().unwrap();
        engine.commit().unwrap();
    }
    fixture.append(&[("s", 0.0)]);
    let error = engine.advance().and_then(|_| engine.commit()).unwrap_err().to_string();
    assert!(error.starts_with("series \"s\": the state cannot be stored: field `last.value`: "), "{error}");
}

/// Commits these bytes as the state of a series, with any schema id.
fn commit_raw(fixture: &Fixture, series: &str, schema: u32, state: &[u8]) {
    let memory = AnalyticsLink::open_in_process(&fixture.memory).unwrap().state;
    let mut table = TableWriter::attach(memory, fixture.settings.slots()).unwrap();
    table.activate();
    let slot = table.find(series).or_else(|| table.assign(series)).unwrap();
    let content = Content { key: series, version: schema, last_arrival_ms: 0, state, public: b"{}" };
    table.stage(slot, content).unwrap();
    let next = CommitRecord { version: schema, ..*table.record() };
    table.commit(next).unwrap();
}

#[test]
fn a_state_in_the_former_encoding_is_refused_and_kept() {
    let fixture = Fixture::new();
    // As it was computed: from name and version only.
    let former = crc32c::crc32c(b"statistics\x01\0\0\0");
    commit_raw(&fixture, "s", former, &[0; 90]);
    fixture.append(&[("s", 1.0)]);
    let refused = fixture.engine(Statistics).err().unwrap().to_string();
    assert!(
        refused.starts_with(
            "the state was written by version 1 of statistics, in the encoding of an earlier version of Bulkhead; \
             this is statistics version 1, which reads version 1. Start the analysis"
        ),
        "{refused}"
    );
    assert_eq!(fixture.rendered("s"), json!({}));
}

/// What `run` logs.
fn logged(run: impl FnOnce()) -> String {
    let file = Arc::new(tempfile::tempfile().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(Arc::clone(&file)).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, run);
    (&*file).rewind().unwrap();
    io::read_to_string(&*file).unwrap()
}

#[test]
fn a_state_that_cannot_be_read_is_logged_with_its_series_and_field() {
    let fixture = Fixture::new();
    let mut bytes = Vec::new();
    encode(&json!({ "last": { "value": null, "events": "many" } }), &mut bytes).unwrap();
    commit_raw(&fixture, "first", SchemaId::current::<Formatted<Nested>>().0, &bytes);
    fixture.append(&[("first", 1.0)]);
    let log = logged(|| fixture.process_all(Formatted::<Nested>(|state, _| state.last.events += 1)).unwrap());
    assert!(
        log.contains(
            "cannot read the state of series \"first\": the state cannot be decoded: \
             field `last.events`: wrong msgpack marker FixStr(4)"
        ),
        "{log}"
    );
    assert_eq!(fixture.rendered("first")["state"]["last"]["events"], json!(1));
}

/// Appends and applies events of one series until this many bytes of the ring are used.
fn apply_bytes(fixture: &Fixture, engine: &mut Engine<Statistics, NoSupervisor>, bytes: u64) {
    let end = fixture.api.tail().head.0 + bytes;
    while fixture.api.tail().head.0 < end {
        fixture.append(&[("a", 1.0); 64]);
        while engine.advance().unwrap() {}
    }
}

#[test]
fn half_of_the_ring_is_committed_although_no_commit_is_due() {
    let fixture = Fixture::new();
    let mut engine = fixture.engine(Statistics).unwrap();
    // The first round begins at the beginning of the ring, the second one after a commit.
    for round in 0..2 {
        engine.commit().unwrap();
        let later = Instant::now() + Duration::from_secs(3600);
        engine.scheduler.on_commit(later, later);
        let commit = engine.table.record().commit;
        apply_bytes(&fixture, &mut engine, MIN_CAPACITY / 4);
        assert_eq!(engine.table.record().commit, commit, "a quarter, round {round}");
        apply_bytes(&fixture, &mut engine, MIN_CAPACITY / 4);
        assert!(engine.table.record().commit > commit, "half, round {round}");
    }
}

#[test]
fn a_batch_of_large_events_ends_at_half_of_the_ring() {
    let fixture = Fixture::new();
    let mut engine = fixture.engine(Statistics).unwrap();
    let begin = engine.table.record().position.0;
    let event = MIN_CAPACITY / 10;
    let data = "1".repeat(usize::try_from(event).unwrap());
    let mut batch = Batch::default();
    for _ in 0..8 {
        batch.push(&Event::without_value("a", &data)).unwrap();
    }
    fixture.api.append(&mut batch).unwrap();
    // As if events had been fast: the scheduler lets the next batch be long.
    for _ in 0..5 {
        engine.scheduler.on_batch_end(Instant::now(), coarse_clock());
    }
    engine.advance().unwrap();
    let applied = engine.processed.1.0 - begin;
    assert!(applied <= MIN_CAPACITY / 2 + event + 64, "{applied} bytes");
    while engine.advance().unwrap() {}
    engine.commit().unwrap();
    assert_eq!(fixture.rendered("a")["count"], json!(8));
}

#[test]
fn an_engine_may_wait_only_while_the_ring_is_empty() {
    let fixture = Fixture::new();
    let mut engine = fixture.engine(Statistics).unwrap();
    assert!(engine.prepare_wait());
    engine.cancel_wait();
    fixture.append(&[("a", 1.0)]);
    assert!(!engine.prepare_wait());
}

#[test]
fn a_commit_records_its_time() {
    let fixture = Fixture::new();
    let before = now_ms();
    fixture.append(&[("a", 1.0)]);
    fixture.process_all(Statistics).unwrap();
    assert!((before..=now_ms()).contains(&fixture.api.stats().record.at_ms));
}

#[test]
fn the_coarse_clock_advances() {
    let start = coarse_clock();
    let deadline = Instant::now() + Duration::from_secs(10);
    while coarse_clock() <= start {
        assert!(Instant::now() < deadline, "the coarse clock stands still");
    }
}

#[test]
fn only_the_events_that_the_hints_name_are_isolated() {
    let hints = RecoveryHints {
        suspects: vec![Seq(5)],
        skip: vec![Seq(7)],
        single_commit_until: Seq(2),
        ..RecoveryHints::default()
    };
    let plan = ReplayPlan::new(hints);
    let isolated: Vec<u64> = (1..10).filter(|seq| plan.isolates(Seq(*seq))).collect();
    assert_eq!(isolated, [1, 2, 5, 7]);
}

#[test]
fn a_table_without_room_for_the_overflow_series_is_an_error() {
    let fixture = Fixture::new();
    for number in 0..fixture.settings.slots() {
        commit_raw(&fixture, &format!("s{number:02}"), SchemaId::current::<Statistics>().0, &[]);
    }
    fixture.append(&[("one more", 1.0)]);
    let error = fixture.process_all(Statistics).unwrap_err();
    assert!(matches!(error, EngineError::Series(SeriesError::NoSlot)), "{error}");
}

#[test]
fn a_series_whose_name_has_the_hash_of_another_one_counts_under_overflow() {
    // A known collision of FNV-1a.
    let (first, second) = ("8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ");
    let fixture = Fixture::new();
    let sums = || [first, OVERFLOW_SERIES].map(|series| fixture.rendered(series)["sum"].clone());
    for events in [&[(first, 1.0), (second, 10.0)][..], &[(second, 10.0)]] {
        fixture.append(events);
        fixture.process_all(Statistics).unwrap();
    }
    assert_eq!(sums(), [json!(1), json!(20)]);
}

#[test]
fn an_engine_is_notified_of_events_only_while_it_waits() {
    let fixture = Fixture::new();
    let wake = AnalyticsLink::open_in_process(&fixture.memory).unwrap().wake;
    let mut engine = fixture.engine(Statistics).unwrap();
    assert!(engine.prepare_wait());
    engine.cancel_wait();
    fixture.append(&[("a", 1.0)]);
    assert!(!wake.clear(), "it is awake");
    engine.prepare_wait();
    fixture.append(&[("a", 1.0)]);
    assert!(wake.clear(), "it waits");
}
