use super::*;
use crate::{
    shm::{
        access::WriteWords as _,
        cursor,
        memory::Sizes,
        ring::{
            AppendError, AppendOutcome, Appended, Batch, IdempotencyKey, KeyedRequest, MIN_CAPACITY,
            capacity_for,
        },
        state_memory::StateMemory,
        sync::Ordering,
        table::{Geometry, MAX_CONTENT},
    },
    wire::{
        event::{Event, MAX_DATA, MAX_EVENT, MAX_SERIES},
        ids::Seq,
    },
    worker::link::{AnalyticsLink, ApiLink},
};

fn event(series: &'static str) -> Event<'static> {
    Event { ts_ms: 5, arrived_ms: 6, ..Event::new(series, 1.0) }
}

/// The slots of the table: four series, and the overflow series.
const SLOTS: u32 = 5;

fn memory() -> SharedMemory {
    SharedMemory::create(MIN_CAPACITY, SLOTS - 1, 1).unwrap()
}

/// A successor that has taken over.
fn take_over(state: StateMemory) -> TableWriter<StateMemory> {
    let mut writer = TableWriter::attach(state, SLOTS).unwrap();
    writer.activate();
    writer
}

fn request(key: &str) -> KeyedRequest {
    KeyedRequest { key: IdempotencyKey::new(key.as_bytes()).unwrap(), digest: 77 }
}

/// Memory with three events of one keyed request; one event is committed.
fn used() -> SharedMemory {
    used_by(Generation(9))
}

/// Like [`used`], with commits under this generation.
fn used_by(generation: Generation) -> SharedMemory {
    let memory = memory();
    let api = ApiLink::open_in_process(&memory).unwrap();
    let mut batch = Batch::new();
    for series in ["a", "b", "c"] {
        batch.push(&event(series)).unwrap();
    }
    api.append_keyed(&mut batch, request("once")).unwrap();
    let AnalyticsLink { events, producer, state, .. } = AnalyticsLink::open_in_process(&memory).unwrap();
    let mut writer = take_over(state);
    let mut consumer = Consumer::attach(events, producer, Position(0), Seq(0)).unwrap();
    let seq = consumer.next(&mut Vec::new()).unwrap().unwrap();
    let slot = writer.assign("a").unwrap();
    let content = Content { key: "a", version: 3, last_arrival_ms: 6, state: b"state", public: b"{}" };
    writer.stage(slot, content).unwrap();
    let position = consumer.position();
    writer
        .commit(CommitRecord {
            generation,
            seq,
            position,
            version: 3,
            analysed: 1,
            ..CommitRecord::default()
        })
        .unwrap();
    memory
}

#[test]
fn events_are_pending_by_the_position_of_the_ring_and_not_by_counts() {
    let memory = SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap();
    let (_, page, _) = memory.writable().unwrap();
    set_tail(&page, Tail { next_seq: Seq(8), accepted: 7, ..Tail::EMPTY });
    assert!(!memory.progress().pending);
    set_tail(&page, Tail { head: Position(64), ..Tail::EMPTY });
    assert!(memory.progress().pending);
}

#[test]
fn nothing_depends_on_the_generation_in_a_commit_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    // No generation, a predecessor's, its own, and one that never existed.
    let [first, others @ ..] = [0, 6, 7, u64::MAX].map(|generation| {
        let memory = used_by(Generation(generation));
        cursor::take_over(&*AnalyticsLink::open_in_process(&memory).unwrap().cursor, Generation(7), Seq(1));
        let stats = ApiLink::open_in_process(&memory).unwrap().stats();
        assert_eq!(stats.record.generation, Generation(generation));
        let successor = TableWriter::attach(AnalyticsLink::open_in_process(&memory).unwrap().state, SLOTS)
            .unwrap()
            .activate();
        let found = format!("{:?} {:?}", memory.progress(), memory.claims());
        let saved = save(&memory, &path).unwrap();
        assert_eq!(load(&self::memory(), &path).unwrap(), Some(saved));
        (found, stats.pending, stats.used_bytes, successor)
    });
    assert!(others.iter().all(|other| *other == first), "{first:?} {others:?}");
}

#[test]
fn a_loaded_snapshot_restores_state_pending_events_and_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let saved = save(&used(), &path).unwrap();
    assert_eq!((saved.series, saved.pending, saved.keys, saved.next_seq), (1, 2, 1, Seq(4)));
    assert_eq!((saved.damage, saved.unreadable_keys), (None, 0));

    let memory = memory();
    assert_eq!(load(&memory, &path).unwrap(), Some(saved));
    let stats = ApiLink::open_in_process(&memory).unwrap().stats();
    assert_eq!((stats.tail.accepted, stats.record.analysed, stats.pending), (3, 1, 2));
    assert_eq!((stats.record.seq, stats.record.version, stats.oldest_arrival_ms), (Seq(1), 3, Some(6)));
    let AnalyticsLink { events, producer, state, .. } = AnalyticsLink::open_in_process(&memory).unwrap();
    let writer = take_over(state);
    assert_eq!(writer.load(writer.find("a").unwrap()).unwrap().state(), b"state");
    let mut consumer = Consumer::attach(events, producer, stats.record.position, stats.record.seq).unwrap();
    let mut payload = Vec::new();
    for (seq, series) in [(2, "b"), (3, "c")] {
        assert_eq!(consumer.next(&mut payload), Ok(Some(Seq(seq))));
        assert_eq!(Event::decode(&payload).unwrap(), event(series));
    }
    assert_eq!(consumer.next(&mut payload), Ok(None));
}

#[test]
fn a_pending_event_of_the_largest_size_is_saved_and_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let large = || SharedMemory::create(capacity_for(MAX_EVENT), 4, 1).unwrap();
    let data = "x".repeat(MAX_DATA);
    let series = "s".repeat(MAX_SERIES);
    let event = Event::without_value(&series, &data);
    let (memory, mut batch) = (large(), Batch::new());
    batch.push(&event).unwrap();
    ApiLink::open_in_process(&memory).unwrap().append(&mut batch).unwrap();
    assert_eq!(save(&memory, &path).unwrap().pending, 1);
    let memory = large();
    assert_eq!(load(&memory, &path).unwrap().unwrap().pending, 1);
    assert_eq!(Event::decode(&memory.pending(Seq(1)).unwrap()), Ok(event));
    assert!(matches!(
        load(&self::memory(), &path),
        Err(SnapshotError::NoRoom { key: "link.capacity (bytes)", .. })
    ));
}

#[test]
fn a_snapshot_of_a_loaded_snapshot_is_identical() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    save(&used(), &first).unwrap();
    let memory = memory();
    load(&memory, &first).unwrap();
    save(&memory, &second).unwrap();
    assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
}

#[test]
fn seqs_continue_after_a_gap_and_pending_events_keep_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let memory = memory();
    load(&memory, &path).unwrap();
    memory.continue_from(Seq(1000)).unwrap();
    let api = ApiLink::open_in_process(&memory).unwrap();
    let mut batch = Batch::new();
    batch.push(&event("d")).unwrap();
    assert_eq!(api.append(&mut batch).unwrap().first, Seq(1000));
    assert_eq!((api.stats().tail.accepted, api.stats().pending), (4, 3));
    // The gap also survives a snapshot.
    save(&memory, &path).unwrap();
    let memory = self::memory();
    assert_eq!(load(&memory, &path).unwrap().unwrap().pending, 3);
    assert_eq!(memory.tail().next_seq, Seq(1001));
}

#[test]
fn a_keyed_request_is_recognised_after_a_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let memory = memory();
    load(&memory, &path).unwrap();
    let api = ApiLink::open_in_process(&memory).unwrap();
    let mut batch = Batch::new();
    batch.push(&event("again")).unwrap();
    let first = Appended { first: Seq(1), last: Seq(3) };
    assert_eq!(api.append_keyed(&mut batch, request("once")), Ok(AppendOutcome::Replayed(first)));
    let other = KeyedRequest { digest: 78, ..request("once") };
    assert_eq!(api.append_keyed(&mut batch, other), Err(AppendError::KeyReused));
    let next = Appended { first: Seq(4), last: Seq(4) };
    assert_eq!(api.append_keyed(&mut batch, request("twice")), Ok(AppendOutcome::Appended(next)));
}

#[test]
fn only_the_last_keyed_requests_are_restored_into_a_smaller_window() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let api = ApiLink::open_in_process(&memory).unwrap();
    for key in ["two", "three", "four"] {
        let mut batch = Batch::new();
        batch.push(&event(key)).unwrap();
        api.append_keyed(&mut batch, request(key)).unwrap();
    }
    assert_eq!(save(&memory, &path).unwrap().keys, 4);
    let small =
        SharedMemory::with_sizes(MIN_CAPACITY, 1, Sizes { key_window: 2, table: Geometry::new(SLOTS) })
            .unwrap();
    assert_eq!(load(&small, &path).unwrap().unwrap().keys, 2);
    let api = ApiLink::open_in_process(&small).unwrap();
    let known = ["once", "two", "three", "four"].map(|key| api.find(&request(key)).unwrap().is_some());
    assert_eq!(known, [false, false, true, true]);
}

/// The head of a snapshot with one series.
fn head(events: u64) -> Head {
    Head {
        commit: Commit(5),
        generation: Generation(9),
        seq: Seq(1),
        version: 3,
        analysed: 1,
        skipped: 0,
        resets: 0,
        at_ms: 70,
        next_seq: Seq(2 + events),
        accepted: 1 + events,
        series: 1,
        events,
    }
}

/// Writes a snapshot as an earlier version wrote it, with one series and one pending event.
fn save_earlier(path: &Path, digits: &[u8; 2]) {
    let series = SeriesWithoutArrival {
        key: "a".to_owned(),
        version: 3,
        state: b"state".to_vec(),
        public: b"{}".to_vec(),
    };
    let mut payload = Vec::new();
    event("b").encode(&mut payload).unwrap();
    let mut file = Sink::create(path).unwrap();
    file.item(&head(1)).unwrap();
    file.item(&series).unwrap();
    file.item(&Pending { seq: Seq(2), payload }).unwrap();
    if digits == b"02" {
        file.item(&0_u64).unwrap();
    }
    file.finish().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[14..16].copy_from_slice(digits);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_snapshot_of_an_earlier_version_can_be_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    for digits in [b"01", b"02"] {
        save_earlier(&path, digits);
        let memory = memory();
        let loaded = load(&memory, &path).unwrap().unwrap();
        assert_eq!((loaded.series, loaded.pending, loaded.keys), (1, 1, 0));
        let AnalyticsLink { state, .. } = AnalyticsLink::open_in_process(&memory).unwrap();
        let writer = take_over(state);
        let body = writer.load(writer.find("a").unwrap()).unwrap();
        assert_eq!((body.state(), body.last_arrival_ms), (&b"state"[..], 70), "as old as the last commit");
    }
}

#[test]
fn removed_series_are_not_saved_and_their_counts_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let AnalyticsLink { state, .. } = AnalyticsLink::open_in_process(&memory).unwrap();
    let mut writer = take_over(state);
    let (slot, record) = (writer.assign("b").unwrap(), *writer.record());
    writer.stage(slot, Content { key: "b", version: 3, last_arrival_ms: 8, ..Content::default() }).unwrap();
    writer.commit(record).unwrap();
    writer.stage_removal(writer.find("a").unwrap(), "a").unwrap();
    writer.commit(CommitRecord { removed: 1, expired: 2, ..record }).unwrap();
    let saved = save(&memory, &path).unwrap();
    assert_eq!((saved.series, &*saved.damaged_series), (1, &[][..]));

    let memory = self::memory();
    load(&memory, &path).unwrap();
    let writer = take_over(AnalyticsLink::open_in_process(&memory).unwrap().state);
    let record = writer.record();
    assert_eq!((record.series, record.slots, record.removed, record.expired), (1, 1, 1, 2));
    let body = writer.find("b").and_then(|slot| writer.load(slot)).unwrap();
    assert_eq!((writer.find("a"), body.last_arrival_ms), (None, 8));
}

#[test]
fn a_series_without_a_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let mut file = Sink::create(&path).unwrap();
    let (_, _, table) = memory.views();
    let record = table.record().unwrap();
    let mut series = series_of(&table.body(BodySlot(0), &record).unwrap());
    series.key.clear();
    file.item(&head(0)).unwrap();
    file.item(&Removals::default()).unwrap();
    file.item(&series).unwrap();
    file.finish().unwrap();
    let error = load(&self::memory(), &path).unwrap_err().to_string();
    assert!(error.contains("a series without a name"), "{error}");
}

#[test]
fn an_unreadable_keyed_request_is_counted_and_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let memory = used();
    memory.keys().unwrap().store(0, 0, Ordering::Relaxed);
    let saved = save(&memory, &directory.path().join("snapshot")).unwrap();
    assert_eq!((saved.keys, saved.unreadable_keys, saved.pending), (0, 1, 2));
}

#[test]
fn a_missing_snapshot_is_not_an_error() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(load(&memory(), &directory.path().join("none")).unwrap(), None);
}

#[test]
fn a_snapshot_truncated_or_damaged_at_any_byte_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        fs::write(&path, &good[..at]).unwrap();
        assert!(matches!(load(&memory(), &path), Err(SnapshotError::Damaged { .. })), "truncated at {at}");
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, bad).unwrap();
        assert!(matches!(load(&memory(), &path), Err(SnapshotError::Damaged { .. })), "damaged at {at}");
    }
}

#[test]
fn a_snapshot_that_does_not_fit_names_the_key_to_raise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let small = SharedMemory::create(1 << 7, 4, 1).unwrap();
    let error = load(&small, &path).unwrap_err().to_string();
    assert!(error.contains("raise link.capacity"), "{error}");
}

#[test]
fn contradicting_counters_do_not_overwrite_the_previous_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let previous = fs::read(&path).unwrap();
    let memory = used();
    let AnalyticsLink { state, .. } = AnalyticsLink::open_in_process(&memory).unwrap();
    let mut writer = take_over(state);
    let record = *writer.record();
    let impossible = CommitRecord {
        seq: record.seq,
        position: record.position,
        analysed: u64::MAX,
        ..CommitRecord::default()
    };
    writer.commit(impossible).unwrap();
    assert!(matches!(save(&memory, &path), Err(SnapshotError::Contradiction(_))));
    assert_eq!(fs::read(&path).unwrap(), previous);
}

#[test]
fn events_lost_in_a_damaged_ring_are_not_counted_after_a_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let (events, _, _) = memory.writable().unwrap();
    // The three records have the same length, and the first one is committed.
    let third = 2 * usize::try_from(memory.record().unwrap().position.0).unwrap() / WORD;
    events.store(third, 0, Ordering::Relaxed);
    let saved = save(&memory, &path).unwrap();
    assert_eq!((saved.pending, saved.damage.map(|corruption| corruption.what)), (1, Some("tag")));
    let memory = self::memory();
    load(&memory, &path).unwrap();
    let stats = ApiLink::open_in_process(&memory).unwrap().stats();
    assert_eq!((stats.tail.accepted, stats.pending, stats.tail.next_seq), (2, 1, Seq(4)));
}

#[test]
fn a_damaged_series_is_named_and_its_bytes_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let (.., state) = memory.writable().unwrap();
    // A word after the head of the body and the name, which stays readable.
    let body = Geometry::new(SLOTS).front_bytes() / WORD;
    crate::shm::table::TableMemory::write_body(&state, body + 6, b"a\xff").unwrap();
    let saved = save(&memory, &path).unwrap();
    assert_eq!(
        (saved.series, saved.damaged_series.len(), saved.damaged_series[0].name.as_str()),
        (0, 1, "a")
    );
    assert_eq!(fs::read(saved.damaged_series[0].kept.as_ref().unwrap()).unwrap().len(), 64 + 56);
}

#[test]
fn a_restored_table_keeps_room_for_the_overflow_series() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    save(&used(), &path).unwrap();
    let error = load(&SharedMemory::create(MIN_CAPACITY, 0, 1).unwrap(), &path).unwrap_err().to_string();
    assert!(error.contains("1 saved, room for 0; raise analytics.max_series"), "{error}");
    assert!(load(&SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap(), &path).is_ok());
}

#[test]
fn a_series_of_the_greatest_size_is_saved_and_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshot");
    let memory = used();
    let mut writer = take_over(AnalyticsLink::open_in_process(&memory).unwrap().state);
    let (state, record) = (vec![7; MAX_CONTENT - 2], *writer.record());
    let slot = writer.find("a").unwrap();
    writer.stage(slot, Content { key: "a", state: &state, public: b"{}", ..Content::default() }).unwrap();
    writer.commit(record).unwrap();
    save(&memory, &path).unwrap();
    let memory = self::memory();
    load(&memory, &path).unwrap();
    let writer = take_over(AnalyticsLink::open_in_process(&memory).unwrap().state);
    assert!(writer.load(slot).unwrap().state() == state);
}
