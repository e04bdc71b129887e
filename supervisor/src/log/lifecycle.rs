//! Lifecycle lines: messages and fields about workers. The names of events and fields are a stable interface.

use super::event_at;
use crate::{
    core::{GenerationRef, LogRecord, QuarantineRequest, RestartDecision},
    display::{format_count, format_duration, in_flight},
};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Seq},
};
use std::time::Duration;
use tracing::Level;

/// Fields of a lifecycle line. `None` leaves a field out.
#[derive(Default)]
struct Fields<'a> {
    subject: Option<&'a GenerationRef>,
    cause: Option<Cause>,
    detail: Option<&'a str>,
    seq: Option<Seq>,
    crash: Option<CrashId>,
    next: Option<RestartDecision>,
    attempts: Option<u32>,
}

/// Logs one lifecycle line.
pub fn write(record: &LogRecord) {
    let (level, fields, message) = describe(record);
    let event_name = record.event_name();
    let worker = fields.subject.map(|subject| subject.worker.as_str());
    let generation = fields.subject.map(|subject| subject.generation.0);
    let pid = fields.subject.and_then(|subject| subject.pid);
    let cause = fields.cause.map(Cause::as_str);
    let (detail, seq, crash) =
        (fields.detail, fields.seq.map(|seq| seq.0), fields.crash.map(|crash| crash.0));
    let next = fields.next.map(|next| next.to_string());
    let attempts = fields.attempts;
    event_at! {
        level, event_name, worker, generation, pid, cause, detail, seq, crash, next, attempts, "{message}"
    }
}

/// The level, fields and message of a line. The message names the worker and generation.
fn describe(record: &LogRecord) -> (Level, Fields<'_>, String) {
    let about = |subject| Fields { subject: Some(subject), ..Fields::default() };
    match record {
        LogRecord::WorkerStarted(subject) => (Level::INFO, about(subject), format!("{subject} started")),
        LogRecord::WorkerReady(subject) => {
            (Level::INFO, about(subject), format!("{subject} is ready to be activated"))
        }
        LogRecord::WorkerActivated(subject) => (Level::INFO, about(subject), format!("{subject} is active")),
        LogRecord::WorkerStopping { subject, why } => {
            (Level::INFO, about(subject), format!("{subject} was asked to stop: {why}"))
        }
        LogRecord::WorkerSignalled { subject, signal, why } => {
            (Level::WARN, about(subject), format!("sent {signal} to {subject}: {why}"))
        }
        LogRecord::WorkerThreadsDumped { subject, threads } => {
            (Level::WARN, about(subject), format!("{subject} hangs; its threads: {threads}"))
        }
        LogRecord::WorkerGivenUp(subject) => {
            let message =
                format!("SIGKILL did not end {subject}; the supervisor no longer waits for its exit");
            (Level::ERROR, about(subject), message)
        }
        LogRecord::WorkerDied { subject, cause, detail, seq, crash, next, uptime, stop_duration } => {
            let level = if *cause == Cause::Requested { Level::INFO } else { Level::ERROR };
            let fields = Fields {
                subject: Some(subject),
                cause: Some(*cause),
                detail: Some(detail),
                seq: *seq,
                crash: Some(*crash),
                next: Some(*next),
                ..Fields::default()
            };
            let death = death(*cause, detail, *seq, *crash, next, *uptime, *stop_duration);
            (level, fields, format!("{subject} {death}"))
        }
        LogRecord::WorkerParked { subject, retry_in: None, .. } => {
            let worker = &subject.worker;
            let message = format!(
                "{worker} is parked: a restart cannot succeed; correct the cause, then run `bulkhead start {worker}`"
            );
            (Level::ERROR, about(subject), message)
        }
        LogRecord::WorkerParked { subject, deaths, retry_in: Some(delay) } => {
            let message = format!(
                "{} is parked after {deaths} deaths without progress; next attempt in {}",
                subject.worker,
                format_duration(*delay)
            );
            (Level::ERROR, about(subject), message)
        }
        LogRecord::WorkerRetried(subject) => {
            (Level::WARN, about(subject), format!("trying the parked worker again: {subject}"))
        }
        LogRecord::WorkerRecovered(subject) => {
            (Level::INFO, about(subject), format!("{subject} recovered; the worker is no longer parked"))
        }
        LogRecord::WorkerWarning { subject, text } => {
            (Level::WARN, about(subject), format!("{subject}: {text}"))
        }
        LogRecord::EventQuarantined(request) => {
            (Level::WARN, quarantine_fields(request), quarantined(request))
        }
        LogRecord::QuarantineFailed { request, why } => {
            let message = format!(
                "cannot store event {} in quarantine: {why}; the event is not skipped, and storing is tried again",
                request.seq
            );
            (Level::ERROR, quarantine_fields(request), message)
        }
        LogRecord::SupervisorStarted => (Level::INFO, Fields::default(), "starting the workers".into()),
        LogRecord::SupervisorStopping { why } => {
            (Level::INFO, Fields::default(), format!("stopping the workers: {why}"))
        }
        LogRecord::SupervisorStopped { problem: None } => {
            (Level::INFO, Fields::default(), "all workers have exited and the state is saved".into())
        }
        LogRecord::SupervisorStopped { problem: Some(problem) } => {
            (Level::ERROR, Fields::default(), format!("the supervisor did not stop in order: {problem}"))
        }
    }
}

fn quarantine_fields(request: &QuarantineRequest) -> Fields<'_> {
    Fields {
        subject: Some(&request.subject),
        cause: Some(request.cause),
        detail: Some(&request.detail),
        seq: Some(request.seq),
        crash: Some(request.crash),
        attempts: Some(request.attempts),
        ..Fields::default()
    }
}

fn quarantined(request: &QuarantineRequest) -> String {
    let QuarantineRequest { seq, attempts, cause, detail, .. } = request;
    let generations = format_count(*attempts, "generation");
    let colon = if detail.is_empty() { "" } else { ": " };
    format!(
        "event {seq} is quarantined and will be skipped: it killed {generations}; \
         last cause: {cause}{colon}{detail}; see `bulkhead quarantine show {seq}`"
    )
}

fn death(
    cause: Cause,
    detail: &str,
    seq: Option<Seq>,
    crash: CrashId,
    next: &RestartDecision,
    uptime: Duration,
    stop_duration: Option<Duration>,
) -> String {
    let colon = if detail.is_empty() { "" } else { ": " };
    // The detail of an exit or a signal already names the cause.
    let how = if cause == Cause::Requested {
        format!("ended as requested{colon}{detail}")
    } else if matches!(cause, Cause::Exit | Cause::Signal) && !detail.is_empty() {
        format!("died: {detail}")
    } else {
        format!("died: {cause}{colon}{detail}")
    };
    let when = match stop_duration {
        Some(stop_duration) => format!("stopped in {}", format_duration(stop_duration)),
        None => format!("uptime {}", format_duration(uptime)),
    };
    // A requested stop is expected to be final.
    let next = match (cause, next) {
        (Cause::Requested, RestartDecision::Stopped | RestartDecision::Shutdown) => String::new(),
        _ => format!("; {next}"),
    };
    format!("{how}{}, {when}; crash report {crash}{next}", in_flight(seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_capture::{capture_json, capture_pretty};
    use bulkhead_proto::wire::ids::Generation;

    fn panic() -> LogRecord {
        LogRecord::WorkerDied {
            subject: GenerationRef { worker: "analytics".into(), generation: Generation(3), pid: Some(123) },
            cause: Cause::Panic,
            detail: "\"index out of bounds\" at src/x.rs:1:2".into(),
            seq: Some(Seq(4711)),
            crash: CrashId(9),
            next: RestartDecision::RestartNow,
            uptime: Duration::from_millis(1234),
            stop_duration: None,
        }
    }

    #[test]
    fn a_death_reads_as_a_sentence() {
        assert_eq!(
            capture_pretty(|| write(&panic())),
            "ERROR worker_died: analytics generation 3 (pid 123) died: panic: \"index out of bounds\" at src/x.rs:1:2, \
             event 4711 in flight, uptime 1.2 s; crash report 9; restart now\n"
        );
    }

    #[test]
    fn a_death_has_its_fields() {
        let line = capture_json(|| write(&panic()));
        assert_eq!(line["event_name"], "worker_died");
        assert_eq!(
            (&line["worker"], &line["generation"], &line["pid"]),
            (&"analytics".into(), &3.into(), &123.into())
        );
        assert_eq!(
            (&line["cause"], &line["seq"], &line["crash"]),
            (&"panic".into(), &4711.into(), &9.into())
        );
        assert_eq!(line["detail"], "\"index out of bounds\" at src/x.rs:1:2");
        assert_eq!(line["next"], "restart now");
    }

    #[test]
    fn unknown_fields_are_left_out() {
        let subject = GenerationRef { worker: "api".into(), generation: Generation(1), pid: None };
        let line = capture_json(|| write(&LogRecord::WorkerStarted(subject)));
        let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["event_name", "generation", "level", "message", "timestamp", "worker"]);
    }
}
