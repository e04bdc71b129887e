//! Lifecycle lines: messages and fields about workers. The names of events and fields are a stable interface.

use super::event_at;
use crate::{
    core::{DeathRecord, GenerationRef, LogRecord, QuarantineRequest, RestartDecision, policy::FORCE_AFTER},
    display::{format_count, format_duration, in_flight},
};
use bulkhead_proto::wire::{
    cause::Cause,
    crash::Report,
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
    next: Option<&'a str>,
    attempts: Option<u32>,
}

/// Logs one lifecycle line.
pub fn write(record: &LogRecord) {
    let (level, fields, message) = describe(record);
    write_line(level, record.event_name(), &fields, &message);
}

/// Logs a death.
pub fn write_death(record: &DeathRecord) {
    let Report { ref worker, generation, pid, cause, ref detail, seq, id, ref decision, .. } = record.report;
    let subject = GenerationRef { worker: worker.clone(), generation, pid };
    let level = if cause == Cause::Requested { Level::INFO } else { Level::ERROR };
    let fields = Fields {
        subject: Some(&subject),
        cause: Some(cause),
        detail: Some(detail),
        seq,
        crash: Some(id),
        next: Some(decision),
        attempts: None,
    };
    write_line(level, "worker_died", &fields, &format!("{subject} {}", describe_death(record)));
}

fn write_line(level: Level, event_name: &str, fields: &Fields<'_>, message: &str) {
    let &Fields { subject, detail, next, attempts, .. } = fields;
    let worker = subject.map(|subject| subject.worker.as_str());
    let generation = subject.map(|subject| subject.generation.0);
    let pid = subject.and_then(|subject| subject.pid);
    let cause = fields.cause.map(Cause::as_str);
    let (seq, crash) = (fields.seq.map(|seq| seq.0), fields.crash.map(|crash| crash.0));
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
        LogRecord::WorkerBraked { subject, why } => {
            let worker = &subject.worker;
            let message = format!(
                "{worker} is parked, because its program is at fault and not single events: {why}; the events stay \
                 pending; correct the program, then run `bulkhead start {worker}`"
            );
            (Level::ERROR, about(subject), message)
        }
        LogRecord::SeriesIsolated { subject, series, why } => {
            let message = format!(
                "series {series:?} is isolated: its last events failed while others were applied; its events go to \
                 quarantine until the analysis is restarted by command; last death: {why}"
            );
            (Level::ERROR, about(subject), message)
        }
        LogRecord::EventsReleased { released, error } => {
            let released = format_count(u32::try_from(*released).unwrap_or(u32::MAX), "event");
            let message = format!("{released} returned from quarantine: no generation skipped them");
            match error {
                None => (Level::INFO, Fields::default(), message),
                Some(why) => (
                    Level::ERROR,
                    Fields::default(),
                    format!("{message}; others stay in quarantine and will be skipped: {why}"),
                ),
            }
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
        LogRecord::StopSignalIgnored { origin } => {
            let delay = format_duration(FORCE_AFTER);
            let message = format!(
                "{origin}: already stopping; {delay} after the first signal, another one kills all workers without saving"
            );
            (Level::INFO, Fields::default(), message)
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

fn describe_death(record: &DeathRecord) -> String {
    let DeathRecord { report, next, stop_duration, orderly_stop, .. } = record;
    let Report { cause, ref detail, seq, id, ref decision, .. } = *report;
    let colon = if detail.is_empty() { "" } else { ": " };
    let how = if cause == Cause::Requested {
        format!("ended as requested{colon}{detail}")
    } else if matches!(cause, Cause::Exit | Cause::Signal) && !detail.is_empty() {
        // The detail of an exit or a signal already names the cause.
        format!("died: {detail}")
    } else {
        format!("died: {cause}{colon}{detail}")
    };
    let when = match stop_duration {
        Some(stop_duration) => format!("stopped in {}", format_duration(*stop_duration)),
        None => format!("uptime {}", format_duration(Duration::from_millis(report.uptime_ms))),
    };
    // A requested stop is expected to be final.
    let next = match (cause, next) {
        (Cause::Requested, RestartDecision::Stopped | RestartDecision::Shutdown) => String::new(),
        _ => format!("; {decision}"),
    };
    let number = if *orderly_stop { String::new() } else { format!("; crash report {id}") };
    format!("{how}{}, {when}{number}{next}", in_flight(seq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::Stack,
        log::test_capture::{capture_json, capture_pretty},
        store::crashes::test_report::test_report,
    };

    fn panic() -> DeathRecord {
        let report = Report {
            pid: Some(123),
            detail: "\"index out of bounds\" at src/x.rs:1:2".into(),
            seq: Some(Seq(4711)),
            uptime_ms: 1234,
            ..test_report(9)
        };
        DeathRecord {
            report,
            stack: Stack::default(),
            next: RestartDecision::RestartNow,
            stop_duration: None,
            orderly_stop: false,
        }
    }

    #[test]
    fn a_death_reads_as_a_sentence() {
        assert_eq!(
            capture_pretty(|| write_death(&panic())),
            "ERROR worker_died: analytics generation 3 (pid 123) died: panic: \"index out of bounds\" at src/x.rs:1:2, \
             event 4711 in flight, uptime 1.2 s; crash report 9; restart now\n"
        );
    }

    #[test]
    fn an_orderly_stop_names_no_report_but_keeps_its_number() {
        let report = Report {
            cause: Cause::Requested,
            detail: "stop by command; exit code 0".into(),
            seq: None,
            ..panic().report
        };
        let next = RestartDecision::Stopped;
        let stop_duration = Some(Duration::from_millis(2));
        let stop = DeathRecord { report, next, stop_duration, orderly_stop: true, ..panic() };
        let line = capture_json(|| write_death(&stop));
        let message = "analytics generation 3 (pid 123) ended as requested: stop by command; exit code 0, stopped in 2 ms";
        assert_eq!((&line["message"], &line["crash"]), (&message.into(), &9.into()));
    }

    #[test]
    fn a_death_has_its_fields() {
        let line = capture_json(|| write_death(&panic()));
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
        let subject = GenerationRef {
            worker: "api".into(),
            generation: bulkhead_proto::wire::ids::Generation(1),
            pid: None,
        };
        let line = capture_json(|| write(&LogRecord::WorkerStarted(subject)));
        let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["event_name", "generation", "level", "message", "timestamp", "worker"]);
    }
}
