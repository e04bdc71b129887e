//! The store on a real folder.

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

fn facts(crash: u64) -> DeathRecord {
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

fn remains() -> Remains {
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
    Remains { event: Some(event), usage: Some(usage), ..Remains::default() }
}

fn report(facts: DeathRecord, remains: Remains) -> Report {
    report::report(facts, remains, &mut Symbols::default())
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("crashes"));
    (folder, store)
}

#[test]
fn a_report_holds_what_heart_and_shell_have_seen_and_comes_back() {
    let (_folder, store) = store();
    let report = report(facts(9), remains());
    store.keep(&report).unwrap();
    assert_eq!(store.folder().unwrap().read(CrashId(9)).unwrap(), Some(report.clone()));
    assert_eq!((report.at.as_str(), report.uptime_ms), ("2023-11-14T22:13:20.123Z", 17));
    assert_eq!((report.exit_code, report.signal), (Some(101), None));
    assert_eq!((report.attempts, report.max_attempts), (Some(1), Some(2)));
    assert_eq!(report.request_id.as_deref(), Some("r-1"));
    assert_eq!(report.event.unwrap().series, "s");
    assert_eq!(report.resources.unwrap().peak_rss_bytes, 4096);
    assert_eq!(report.decision, "restart now");
}

#[test]
fn bytes_that_are_no_event_leave_it_out() {
    let remains = Remains { event: Some(vec![0xff; 9]), ..Remains::default() };
    let report = report(facts(9), remains);
    assert_eq!((report.event, report.request_id), (None, None));
}

#[test]
fn a_signal_is_named_if_it_has_a_name() {
    for (number, name) in [(11, Some("SIGSEGV")), (63, None)] {
        let facts = DeathRecord { exit: Some(ExitStatus::Signal { number, core: true }), ..facts(9) };
        let signal = report(facts, Remains::default()).signal.unwrap();
        assert_eq!((signal.number, signal.name.as_deref(), signal.core), (number, name, true));
    }
}

#[test]
fn code_and_address_are_told_of_the_signal_that_ended_it_and_of_the_kernels_alone() {
    let exit = Some(ExitStatus::Signal { number: 11, core: false });
    let told = |number, code| {
        let signalled = Some(SignalInfo { number, code, address: 8 });
        let report = report(DeathRecord { exit, signalled, ..facts(9) }, Remains::default());
        let signal = report.signal.unwrap();
        (signal.code, signal.address)
    };
    assert_eq!(told(11, 1), (Some("SEGV_MAPERR".into()), Some("0x8".into())));
    assert_eq!(told(11, 0), (Some("SI_USER".into()), None));
    assert_eq!(told(11, 77), (Some("si_code 77".into()), Some("0x8".into())));
    assert_eq!(told(7, 1), (None, None), "that one was another's");
}

#[test]
fn the_newest_reports_are_kept() {
    let (_folder, mut store) = store();
    store.most = 3;
    for crash in [9, 10, 11, 100, 101] {
        store.keep(&report(facts(crash), Remains::default())).unwrap();
    }
    assert_eq!(store.folder().unwrap().numbers().unwrap(), [CrashId(101), CrashId(100), CrashId(11)]);
}

#[test]
fn the_longest_report_can_be_read_back() {
    let (_folder, store) = store();
    let wild = "\u{1}".repeat(4096);
    let line = bulkhead_proto::wire::crash::OutputLine { stream: "stderr".into(), text: "\"".repeat(1024) };
    let mut event = Vec::new();
    let sent = Event {
        series: &wild[..128],
        value: 1.0,
        ts_ms: 0,
        arrived_ms: 0,
        label: Some(&wild[..128]),
        data: Some(&wild),
        request_id: Some(&wild[..64]),
    };
    sent.encode(&mut event).unwrap();
    let remains = Remains { event: Some(event), output: vec![line; 50], ..Remains::default() };
    let panic = Some(Panic { message: wild.clone(), location: wild.clone(), thread: wild });
    let report = report(DeathRecord { panic, ..facts(9) }, remains);
    store.keep(&report).unwrap();
    let read = store.folder().unwrap().read(CrashId(9)).unwrap().unwrap();
    assert_eq!(read, report);
    assert_eq!(read.panic.unwrap().message.len(), 1024, "as much as a worker may say");
}

#[tokio::test]
async fn the_last_reports_are_on_disk_when_the_desk_is_closed() {
    let (_folder, store) = store();
    let store = Arc::new(store);
    let mut desk = Desk::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        desk.take(Box::new(facts(crash)), remains());
    }
    desk.close().await;
    assert_eq!(store.folder().unwrap().numbers().unwrap().len(), 20);
}

#[tokio::test]
async fn a_disk_that_refuses_keeps_nobody_waiting_and_is_told_of_once() {
    let (folder, store) = store();
    fs::write(folder.path().join("crashes"), "a file where the folder should be").unwrap();
    let store = Arc::new(store);
    let mut desk = Desk::open(Arc::clone(&store)).unwrap();
    for crash in 1..=20 {
        desk.take(Box::new(facts(crash)), remains());
    }
    desk.close().await;
    assert!(store.folder().is_err());
}

/// A thread that does not come to it, as when the disk hangs.
#[test]
fn what_a_hanging_disk_cannot_take_is_dropped_and_counted() {
    let (queue, _reports) = sync_channel(2);
    let (_alive, end) = oneshot::channel();
    let mut desk = Desk { queue, end, dropped: 0 };
    for crash in 1..=5 {
        desk.take(Box::new(facts(crash)), Remains::default());
    }
    assert_eq!(desk.dropped, 3);
}
