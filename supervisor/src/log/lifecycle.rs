//! The lines that tell the story of the workers, with the fields of the contract (DESIGN 10).

use crate::core::{GenerationRef, LogRecord, QuarantineRequest, RestartDecision, span};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Seq},
};
use std::time::Duration;
use tracing::Level;

/// The fields that lifecycle lines may carry; absent ones are left out.
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

/// Writes one line.
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
    // The level of a tracing call must be known at compile time.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                $level,
                event_name,
                worker,
                generation,
                pid,
                cause,
                detail,
                seq,
                crash,
                next,
                attempts,
                "{message}"
            )
        };
    }
    match level {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        Level::INFO | Level::DEBUG | Level::TRACE => line!(Level::INFO),
    }
}

fn describe(record: &LogRecord) -> (Level, Fields<'_>, String) {
    let about = |subject| Fields { subject: Some(subject), ..Fields::default() };
    match record {
        LogRecord::WorkerStarted(subject) => (Level::INFO, about(subject), "spawned".into()),
        LogRecord::WorkerReady(subject) => (Level::INFO, about(subject), "could be activated".into()),
        LogRecord::WorkerActivated(subject) => (Level::INFO, about(subject), "at work".into()),
        LogRecord::WorkerStopping { subject, why } => {
            (Level::INFO, about(subject), format!("asked to leave: {why}"))
        }
        LogRecord::WorkerSignalled { subject, signal, why } => {
            (Level::WARN, about(subject), format!("sent {signal}: {why}"))
        }
        LogRecord::WorkerThreadsDumped { subject, threads } => {
            (Level::WARN, about(subject), format!("hangs; its threads: {threads}"))
        }
        LogRecord::WorkerGivenUp(subject) => {
            (Level::ERROR, about(subject), "SIGKILL did not end it; nobody waits for it any more".into())
        }
        LogRecord::WorkerDied { subject, cause, detail, seq, crash, next, uptime, leaving } => {
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
            (level, fields, death(*cause, detail, *seq, next, *uptime, *leaving))
        }
        LogRecord::WorkerParked { subject, retry_in: None, .. } => (
            Level::ERROR,
            about(subject),
            "parked: trying again cannot help; mend it, then start it by command".into(),
        ),
        LogRecord::WorkerParked { subject, deaths, retry_in: Some(delay) } => {
            let message =
                format!("parked after {deaths} deaths without progress; tried again in {}", span(*delay));
            (Level::ERROR, about(subject), message)
        }
        LogRecord::WorkerRetried(subject) => (Level::WARN, about(subject), "parked, tried again now".into()),
        LogRecord::WorkerRecovered(subject) => (Level::INFO, about(subject), "no longer parked".into()),
        LogRecord::WorkerWarning { subject, text } => (Level::WARN, about(subject), text.clone()),
        LogRecord::EventQuarantined(charge) => (Level::WARN, charged(charge), quarantined(charge)),
        LogRecord::QuarantineFailed { request: charge, why } => {
            let message = format!(
                "event {} is to be set aside and cannot be stored: {why}; it is not skipped, and tried again",
                charge.seq
            );
            (Level::ERROR, charged(charge), message)
        }
        LogRecord::SupervisorStarted => (Level::INFO, Fields::default(), "starting the workers".into()),
        LogRecord::SupervisorStopping { why } => (Level::INFO, Fields::default(), format!("stopping: {why}")),
        LogRecord::SupervisorStopped { trouble: None } => {
            (Level::INFO, Fields::default(), "all workers are gone, everything is saved".into())
        }
        LogRecord::SupervisorStopped { trouble: Some(trouble) } => {
            (Level::ERROR, Fields::default(), format!("not stopped in order: {trouble}"))
        }
    }
}

fn charged(charge: &QuarantineRequest) -> Fields<'_> {
    Fields {
        subject: Some(&charge.subject),
        cause: Some(charge.cause),
        detail: Some(&charge.detail),
        seq: Some(charge.seq),
        crash: Some(charge.crash),
        attempts: Some(charge.attempts),
        ..Fields::default()
    }
}

fn quarantined(charge: &QuarantineRequest) -> String {
    let QuarantineRequest { seq, attempts, cause, detail, .. } = charge;
    let generations = if *attempts == 1 { "generation" } else { "generations" };
    let colon = if detail.is_empty() { "" } else { ": " };
    format!(
        "event {seq} is set aside and will be skipped: {attempts} {generations} died of it, \
         the last of {cause}{colon}{detail}; see `bulkhead quarantine show {seq}`"
    )
}

fn death(
    cause: Cause,
    detail: &str,
    seq: Option<Seq>,
    next: &RestartDecision,
    uptime: Duration,
    leaving: Option<Duration>,
) -> String {
    let colon = if detail.is_empty() { "" } else { ": " };
    let in_hand = seq.map(|seq| format!(", event {seq} in hand")).unwrap_or_default();
    let when = match leaving {
        Some(leaving) => format!("left in {}", span(leaving)),
        None => format!("lived {}", span(uptime)),
    };
    // Who was asked to leave for good does so: that is no news.
    let next = match (cause, next) {
        (Cause::Requested, RestartDecision::Stopped | RestartDecision::Shutdown) => String::new(),
        _ => format!("; {next}"),
    };
    format!("{cause}{colon}{detail}{in_hand}, {when}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{json, pretty};
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
            leaving: None,
        }
    }

    #[test]
    fn a_death_reads_as_a_story() {
        assert_eq!(
            pretty(|| write(&panic())),
            "ERROR worker_died analytics gen 3 pid 123: panic: \"index out of bounds\" at src/x.rs:1:2, \
             event 4711 in hand, lived 1.2 s; restart now\n"
        );
    }

    #[test]
    fn a_death_carries_the_fields_of_the_contract() {
        let line = json(|| write(&panic()));
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
    fn what_is_not_known_is_left_out() {
        let subject = GenerationRef { worker: "api".into(), generation: Generation(1), pid: None };
        let line = json(|| write(&LogRecord::WorkerStarted(subject)));
        let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["event_name", "generation", "level", "message", "timestamp", "worker"]);
    }
}
