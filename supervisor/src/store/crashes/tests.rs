//! The store on a real directory.

use super::*;
use crate::core::{ExitStatus, GenerationRef, Panic, RestartDecision};
use crate::sys::wait::Usage;
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::{Cause, Operation},
        event::Event,
        ids::{CrashId, Generation, Seq},
        role::Role,
    },
};
use std::fs;

fn death_record(crash: u64) -> DeathRecord {
    DeathRecord {
        subject: GenerationRef { worker: "analytics".into(), generation: Generation(3), pid: Some(7) },
        role: Role::Analytics,
        crash: CrashId(crash),
        at_ms: 1_700_000_000_123,
        uptime: Duration::from_millis(17),
        cause: Cause::Panic,
        detail: "no".into(),
        panic: Some(Panic { message: "no".into(), location: "x.rs:1:2".into(), thread: "main".into() }),
        signalled: None,
        exit: Some(ExitStatus::Code(101)),
        seq: Some(Seq(5)),
        during: Some(Operation::Apply),
        attempts: Some((1, 2)),
        next: RestartDecision::RestartNow,
        why: "first death without progress".into(),
    }
}

fn artifacts() -> ExitArtifacts {
    let mut event = Vec::new();
    let sent = Event {
        series: "s",
        value: 1.5,
        ts_ms: 0,
        arrived_ms: 0,
        label: None,
        data: None,
        request_id: Some("r-1"),
    };
    sent.encode(&mut event).unwrap();
    let usage = Usage { peak_rss: 4096, user: Duration::from_millis(3), system: Duration::ZERO };
    ExitArtifacts { event: Some(event), usage: Some(usage), ..ExitArtifacts::default() }
}

fn report(death_record: DeathRecord, artifacts: ExitArtifacts) -> Report {
    report::report(death_record, artifacts, &mut Symbolizer::default())
}

fn store() -> (tempfile::TempDir, CrashStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = CrashStore::new(dir.path().join("crashes"));
    (dir, store)
}

#[test]
fn a_report_joins_death_record_and_exit_artifacts_and_can_be_read_back() {
    let (_dir, store) = store();
    let report = report(death_record(9), artifacts());
    store.insert(&report).unwrap();
    assert_eq!(store.records().unwrap().read(CrashId(9)).unwrap(), Some(report.clone()));
    assert_eq!((report.at.as_str(), report.uptime_ms), ("2023-11-14T22:13:20.123Z", 17));
    assert_eq!((report.exit_code, report.signal), (Some(101), None));
    assert_eq!((report.attempts, report.max_attempts), (Some(1), Some(2)));
    assert_eq!(report.request_id.as_deref(), Some("r-1"));
    assert_eq!(report.event.unwrap().series, "s");
    assert_eq!(report.resources.unwrap().peak_rss_bytes, 4096);
    assert_eq!(report.decision, "restart now");
}

#[test]
fn a_report_leaves_out_an_event_that_cannot_be_decoded() {
    let artifacts = ExitArtifacts { event: Some(vec![0xff; 9]), ..ExitArtifacts::default() };
    let report = report(death_record(9), artifacts);
    assert_eq!((report.event, report.request_id), (None, None));
}

#[test]
fn a_signal_has_its_name_if_there_is_one() {
    for (number, name) in [(11, Some("SIGSEGV")), (63, None)] {
        let death_record =
            DeathRecord { exit: Some(ExitStatus::Signal { number, core: true }), ..death_record(9) };
        let signal = report(death_record, ExitArtifacts::default()).signal.unwrap();
        assert_eq!((signal.number, signal.name.as_deref(), signal.core), (number, name, true));
    }
}

#[test]
fn only_the_fatal_signal_has_a_code_and_only_a_kernel_signal_has_an_address() {
    let exit = Some(ExitStatus::Signal { number: 11, core: false });
    let signal_of = |number, code| {
        let signalled = Some(SignalInfo { number, code, address: 8 });
        let report = report(DeathRecord { exit, signalled, ..death_record(9) }, ExitArtifacts::default());
        let signal = report.signal.unwrap();
        (signal.code, signal.address)
    };
    assert_eq!(signal_of(11, 1), (Some("SEGV_MAPERR".into()), Some("0x8".into())));
    assert_eq!(signal_of(11, 0), (Some("SI_USER".into()), None));
    assert_eq!(signal_of(11, 77), (Some("si_code 77".into()), Some("0x8".into())));
    assert_eq!(signal_of(7, 1), (None, None), "the record is of another signal");
}

#[test]
fn only_the_newest_reports_are_kept() {
    let (_dir, mut store) = store();
    store.capacity = 3;
    for crash in [9, 10, 11, 100, 101] {
        store.insert(&report(death_record(crash), ExitArtifacts::default())).unwrap();
    }
    assert_eq!(store.records().unwrap().numbers().unwrap(), [CrashId(101), CrashId(100), CrashId(11)]);
}

#[test]
fn the_longest_report_can_be_read_back() {
    let (_dir, store) = store();
    let escaped = "\u{1}".repeat(4096);
    let line = bulkhead_proto::wire::crash::OutputLine { stream: "stderr".into(), text: "\"".repeat(1024) };
    let mut event = Vec::new();
    let sent = Event {
        series: &escaped[..128],
        value: 1.0,
        ts_ms: 0,
        arrived_ms: 0,
        label: Some(&escaped[..128]),
        data: Some(&escaped),
        request_id: Some(&escaped[..64]),
    };
    sent.encode(&mut event).unwrap();
    let artifacts = ExitArtifacts { event: Some(event), output: vec![line; 50], ..ExitArtifacts::default() };
    let panic = Some(Panic { message: escaped.clone(), location: escaped.clone(), thread: escaped });
    let report = report(DeathRecord { panic, ..death_record(9) }, artifacts);
    store.insert(&report).unwrap();
    let read = store.records().unwrap().read(CrashId(9)).unwrap().unwrap();
    assert_eq!(read, report);
    assert_eq!(read.panic.unwrap().message.len(), 1024, "the limit for workers");
}

#[tokio::test]
async fn all_queued_reports_are_on_disk_when_the_queue_is_closed() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    let mut queue = ReportQueue::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        queue.submit(Box::new(death_record(crash)), artifacts());
    }
    queue.close().await;
    assert_eq!(store.records().unwrap().numbers().unwrap().len(), 20);
}

#[tokio::test]
async fn a_disk_that_refuses_does_not_block_the_queue() {
    let (dir, store) = store();
    fs::write(dir.path().join("crashes"), "a file at the path of the directory").unwrap();
    let store = Arc::new(store);
    let mut queue = ReportQueue::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        queue.submit(Box::new(death_record(crash)), artifacts());
    }
    queue.close().await;
    assert!(store.records().is_err());
}

/// The receiver is never read, as when the disk hangs.
#[test]
fn reports_beyond_a_full_queue_are_dropped_and_counted() {
    let (sender, _deaths) = sync_channel(2);
    let (_running, finished) = oneshot::channel();
    let mut queue = ReportQueue { sender, finished, dropped: 0 };
    for crash in 1..=5 {
        queue.submit(Box::new(death_record(crash)), ExitArtifacts::default());
    }
    assert_eq!(queue.dropped, 3);
}
