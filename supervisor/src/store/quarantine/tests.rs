//! The store on a real directory and a real ring.

use super::*;
use crate::{core::GenerationRef, log::test_capture::capture_lines};
use bulkhead_proto::{
    shm::ring::{Batch, MIN_CAPACITY, capacity_for},
    wire::{
        cause::{Cause, Operation},
        event::{Event, MAX_DATA, MAX_EVENT},
        ids::{CrashId, Generation},
        quarantine::MAX_EXCERPT,
    },
    worker::link::ApiLink,
};

fn request(seq: u64) -> QuarantineRequest {
    QuarantineRequest {
        subject: GenerationRef { worker: "analytics".into(), generation: Generation(3), pid: Some(1) },
        seq: Seq(seq),
        attempts: 2,
        during: Operation::Apply,
        crash: CrashId(9),
        cause: Cause::Signal,
        detail: "SIGSEGV".into(),
    }
}

/// A ring with three pending events.
fn memory() -> SharedMemory {
    let memory = SharedMemory::create(MIN_CAPACITY, 8, 1).unwrap();
    let mut batch = Batch::default();
    for (value, data) in [(1.0, None), (0.1, Some("{\"a\":[1]}")), (3.0, None)] {
        let (ts_ms, request_id) = (1_700_000_000_123, Some("r-1"));
        let event = Event { ts_ms, data, request_id, ..Event::new("s", value) };
        batch.push(&event).unwrap();
    }
    ApiLink::open_in_process(&memory).unwrap().append(&mut batch).unwrap();
    memory
}

fn store() -> (tempfile::TempDir, QuarantineStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = QuarantineStore::new(dir.path().join("quarantine"));
    (dir, store)
}

#[test]
fn an_event_is_stored_with_its_death_and_its_exact_bytes() {
    let (memory, (_dir, store)) = (memory(), store());
    store.insert(&memory, &request(2)).unwrap();
    assert_eq!(store.records().unwrap().numbers().unwrap(), [Seq(2)]);
    let entry = store.records().unwrap().read(Seq(2)).unwrap().unwrap();
    assert_eq!((entry.attempts, entry.cause, entry.detail.as_str()), (2, Cause::Signal, "SIGSEGV"));
    let shown = entry.event.as_ref().unwrap();
    assert_eq!((shown.series.as_str(), shown.ts.as_str()), ("s", "2023-11-14T22:13:20.123Z"));
    let payload = entry.payload().unwrap();
    let event = Event::decode(&payload).unwrap();
    assert_eq!((event.value, event.data), (Some(0.1), Some("{\"a\":[1]}")));
}

#[test]
fn the_largest_event_can_be_read_back() {
    let memory = SharedMemory::create(capacity_for(MAX_EVENT), 8, 1).unwrap();
    let (escaped, data) = ("\u{1}".repeat(128), format!("\"{}\"", "\u{7f}".repeat(MAX_DATA - 2)));
    let mut batch = Batch::default();
    let (label, request_id) = (Some(&*escaped), Some(&escaped[..64]));
    let event = Event { label, request_id, ..Event::without_value(&escaped, &data) };
    batch.push(&event).unwrap();
    ApiLink::open_in_process(&memory).unwrap().append(&mut batch).unwrap();
    let (_dir, store) = store();
    let long = QuarantineRequest { detail: "\u{1}".repeat(256), ..request(1) };
    store.insert(&memory, &long).unwrap();
    let entry = store.records().unwrap().read(Seq(1)).unwrap().unwrap();
    let shown = entry.event.clone().unwrap();
    assert_eq!(shown.data.unwrap(), data[..MAX_EXCERPT]);
    assert_eq!(shown.data_bytes, Some(MAX_DATA as u64));
    assert_eq!(Event::decode(&entry.payload().unwrap()), Ok(event));
    assert_eq!(entry.complete().event.unwrap().data.unwrap(), data);
}

#[test]
fn an_event_that_is_not_in_the_ring_is_not_stored() {
    let (memory, (_dir, store)) = (memory(), store());
    let error = store.insert(&memory, &request(4)).unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
    assert_eq!(store.records().unwrap().numbers().unwrap(), []);
}

#[test]
fn a_full_quarantine_refuses_a_new_event_and_accepts_a_stored_one_again() {
    let (memory, (_dir, mut store)) = (memory(), store());
    store.insert(&memory, &request(1)).unwrap();
    let bytes = store.records().unwrap().bytes_of(&[Seq(1)]).unwrap();
    for limits in [Limits { events: 1, ..Limits::default() }, Limits { bytes, ..Limits::default() }] {
        store.limits = limits;
        let error = store.insert(&memory, &request(2)).unwrap_err().to_string();
        assert!(error.contains("is full (1 event, ") && error.contains("replay or drop"), "{error}");
        store.insert(&memory, &request(1)).unwrap();
    }
}

#[test]
fn a_warning_comes_once_when_events_or_bytes_reach_80_percent() {
    let (memory, (_dir, mut store)) = (memory(), store());
    let warnings = |store: &QuarantineStore, seq| {
        let lines = capture_lines(|| store.insert(&memory, &request(seq)).unwrap());
        lines.iter().filter(|line| line.to_json().contains("quarantine_filling")).count()
    };
    assert_eq!(warnings(&store, 1), 0);
    let one = store.records().unwrap().bytes_of(&[Seq(1)]).unwrap();
    store.limits = Limits { bytes: 2 * one, ..Limits::default() };
    assert_eq!([2, 2].map(|seq| warnings(&store, seq)), [1, 0]);
    store.limits = Limits { events: 4, ..Limits::default() };
    assert_eq!([3, 3].map(|seq| warnings(&store, seq)), [1, 0]);
}

#[test]
fn the_events_of_an_isolated_series_are_stored_all_or_none() {
    let (memory, (_dir, mut store)) = (memory(), store());
    let (crash, cause, detail) = (CrashId(9), Cause::Panic, "no".to_owned());
    let isolated = [IsolatedSeries { name: "s".into(), until: None, crash, cause, detail }];
    let subject = request(1).subject;
    for limits in [Limits { events: 2, ..Limits::default() }, Limits { bytes: 200, ..Limits::default() }] {
        store.limits = limits;
        let error = store.insert_series(&memory, &subject, Seq(3), &isolated).unwrap_err().to_string();
        assert!(error.contains("replay or drop"), "{error}");
        assert_eq!(store.records().unwrap().numbers().unwrap(), []);
    }
    store.limits = Limits::default();
    store.insert_series(&memory, &subject, Seq(2), &isolated).unwrap();
    assert_eq!(store.records().unwrap().numbers().unwrap(), [Seq(1), Seq(2)], "up to event 2");
    store.insert_series(&memory, &subject, Seq(3), &isolated).unwrap();
    assert_eq!(store.records().unwrap().numbers().unwrap(), [Seq(1), Seq(2), Seq(3)]);
    store.limits = Limits { events: 3, bytes: 1 };
    store.insert_series(&memory, &subject, Seq(3), &isolated).unwrap();
}

#[test]
fn a_failed_write_leaves_no_file() {
    let (memory, (dir, store)) = (memory(), store());
    // A directory blocks the path of the temporary file.
    std::fs::create_dir_all(dir.path().join("quarantine/2.new")).unwrap();
    assert!(store.insert(&memory, &request(2)).is_err());
    assert_eq!(store.records().unwrap().numbers().unwrap(), []);
}

#[test]
fn removing_an_event_deletes_its_file_and_removing_it_again_returns_false() {
    let (memory, (_dir, store)) = (memory(), store());
    store.insert(&memory, &request(1)).unwrap();
    assert!(store.remove(Seq(1)).unwrap());
    assert!(!store.remove(Seq(1)).unwrap());
    assert_eq!(store.records().unwrap().read(Seq(1)).unwrap(), None);
}
