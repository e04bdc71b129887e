//! A crash report for tests.

use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    crash::{Panic, Report},
    ids::{CrashId, Generation, Seq},
    role::Role,
};

/// The report of a panic of the analysis.
pub(crate) fn test_report(id: u64) -> Report {
    Report {
        id: CrashId(id),
        at: "2023-11-14T22:13:20.123Z".into(),
        worker: "analytics".into(),
        role: Role::Analytics,
        generation: Generation(3),
        pid: Some(7),
        uptime_ms: 17,
        cause: Cause::Panic,
        detail: "no".into(),
        panic: Some(Panic { message: "no".into(), location: "x.rs:1:2".into(), thread: "main".into() }),
        exit_code: Some(101),
        signal: None,
        seq: Some(Seq(5)),
        during: Some(Operation::Apply),
        event: None,
        request_id: None,
        attempts: Some(1),
        max_attempts: Some(2),
        decision: "restart now".into(),
        why: "first death without progress".into(),
        resources: None,
        output: Vec::new(),
        output_dropped: 0,
        thread_dump: Vec::new(),
        backtrace: Vec::new(),
    }
}
