//! The store on a real directory.

use super::{test_report::test_report, *};
use crate::core::{RestartDecision, Stack};
use bulkhead_proto::wire::{crash::Panic, ids::CrashId, quarantine::EventView};
use std::fs;

fn death_record(crash: u64) -> DeathRecord {
    let report = test_report(crash);
    let (stack, next) = (Stack::default(), RestartDecision::RestartNow);
    DeathRecord { report, stack, next, stop_duration: None, orderly_stop: false }
}

fn store() -> (tempfile::TempDir, CrashStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::new(dir.path().join("crashes"));
    (dir, store)
}

#[test]
fn a_report_can_be_read_back() {
    let (_dir, store) = store();
    let report = test_report(9);
    store.insert(&report).unwrap();
    assert_eq!(store.records().unwrap().read(CrashId(9)).unwrap(), Some(report));
}

#[test]
fn only_the_newest_reports_are_kept() {
    let (_dir, mut store) = store();
    store.capacity = 3;
    for crash in [9, 10, 11, 100, 101] {
        store.insert(&test_report(crash)).unwrap();
    }
    assert_eq!(store.records().unwrap().numbers().unwrap(), [CrashId(101), CrashId(100), CrashId(11)]);
}

#[test]
fn the_longest_report_can_be_read_back() {
    let (_dir, store) = store();
    let escaped = "\u{1}".repeat(4096);
    let line = bulkhead_proto::wire::crash::OutputLine { stream: "stderr".into(), text: "\"".repeat(1024) };
    let event = EventView {
        series: escaped[..128].to_owned(),
        removal: false,
        value: Some(1.0),
        ts: String::new(),
        arrived: String::new(),
        label: Some(escaped[..128].to_owned()),
        data: Some(escaped.clone()),
        data_bytes: Some(1 << 20),
        request_id: Some(escaped[..64].to_owned()),
    };
    let text = escaped[..1024].to_owned();
    let panic = Panic { message: text.clone(), location: text.clone(), thread: text };
    let report = Report { event: Some(event), output: vec![line; 50], panic: Some(panic), ..test_report(9) };
    store.insert(&report).unwrap();
    assert_eq!(store.records().unwrap().read(CrashId(9)).unwrap(), Some(report));
}

#[tokio::test]
async fn all_queued_reports_are_on_disk_when_the_queue_is_closed() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    let mut queue = ReportQueue::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        queue.submit(death_record(crash));
    }
    queue.close(Duration::MAX).await;
    assert_eq!(store.records().unwrap().numbers().unwrap().len(), 20);
}

#[tokio::test]
async fn a_disk_that_refuses_does_not_block_the_queue() {
    let (dir, store) = store();
    fs::write(dir.path().join("crashes"), "a file at the path of the directory").unwrap();
    let store = Arc::new(store);
    let mut queue = ReportQueue::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        queue.submit(death_record(crash));
    }
    queue.close(Duration::MAX).await;
    assert!(store.records().is_err());
}

/// The receiver is never read, as when the disk hangs.
#[test]
fn reports_beyond_a_full_queue_are_dropped_and_counted() {
    let (sender, _deaths) = sync_channel(2);
    let (_running, finished) = oneshot::channel();
    let mut queue = ReportQueue { sender: Some(sender), finished, dropped: 0 };
    for crash in 1..=5 {
        queue.submit(death_record(crash));
    }
    assert_eq!(queue.dropped, 3);
}
