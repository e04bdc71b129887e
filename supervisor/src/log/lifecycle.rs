//! Lifecycle lines: the messages and fields of what happens to workers. The names of events and fields are a stable interface.

use crate::step::{Charge, LogRecord, Next, Who, span};
use bulkhead_proto::{
    ids::{CrashId, Seq},
    words::Cause,
};
use std::time::Duration;
use tracing::Level;

/// Fields of a lifecycle line. `None` leaves a field out.
#[derive(Default)]
struct Fields<'a> {
    who: Option<&'a Who>,
    cause: Option<Cause>,
    detail: Option<&'a str>,
    seq: Option<Seq>,
    crash: Option<CrashId>,
    next: Option<Next>,
    attempts: Option<u32>,
}

/// Logs one lifecycle line.
pub fn write(record: &LogRecord) {
    let (level, fields, message) = describe(record);
    let event_name = record.event_name();
    let worker = fields.who.map(|who| who.worker.as_str());
    let generation = fields.who.map(|who| who.generation.0);
    let pid = fields.who.and_then(|who| who.pid);
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

/// The level, fields and message of a line. The message names the worker and generation.
fn describe(record: &LogRecord) -> (Level, Fields<'_>, String) {
    let about = |who| Fields { who: Some(who), ..Fields::default() };
    match record {
        LogRecord::WorkerStarted(who) => (Level::INFO, about(who), format!("{} started", name(who))),
        LogRecord::WorkerReady(who) => {
            (Level::INFO, about(who), format!("{} is ready to be activated", name(who)))
        }
        LogRecord::WorkerActivated(who) => (Level::INFO, about(who), format!("{} is active", name(who))),
        LogRecord::WorkerStopping { who, why } => {
            (Level::INFO, about(who), format!("{} was asked to stop: {why}", name(who)))
        }
        LogRecord::WorkerSignalled { who, signal, why } => {
            (Level::WARN, about(who), format!("sent {signal} to {}: {why}", name(who)))
        }
        LogRecord::WorkerExamined { who, threads } => {
            (Level::WARN, about(who), format!("{} hangs; its threads: {threads}", name(who)))
        }
        LogRecord::WorkerGivenUp(who) => {
            let message =
                format!("SIGKILL did not end {}; the supervisor no longer waits for its exit", name(who));
            (Level::ERROR, about(who), message)
        }
        LogRecord::WorkerDied { who, cause, detail, seq, crash, next, lived, leaving } => {
            let level = if *cause == Cause::Requested { Level::INFO } else { Level::ERROR };
            let fields = Fields {
                who: Some(who),
                cause: Some(*cause),
                detail: Some(detail),
                seq: *seq,
                crash: Some(*crash),
                next: Some(*next),
                ..Fields::default()
            };
            let death = death(*cause, detail, *seq, *crash, next, *lived, *leaving);
            (level, fields, format!("{} {death}", name(who)))
        }
        LogRecord::WorkerParked { who, probe_in: None, .. } => {
            let worker = &who.worker;
            let message = format!(
                "{worker} is parked: a restart cannot succeed; correct the cause, then run `bulkhead start {worker}`"
            );
            (Level::ERROR, about(who), message)
        }
        LogRecord::WorkerParked { who, deaths, probe_in: Some(delay) } => {
            let message = format!(
                "{} is parked after {deaths} deaths without progress; next attempt in {}",
                who.worker,
                span(*delay)
            );
            (Level::ERROR, about(who), message)
        }
        LogRecord::WorkerProbed(who) => {
            (Level::WARN, about(who), format!("trying the parked worker again: {}", name(who)))
        }
        LogRecord::WorkerRecovered(who) => {
            (Level::INFO, about(who), format!("{} recovered; the worker is no longer parked", name(who)))
        }
        LogRecord::WorkerWarning { who, text } => (Level::WARN, about(who), format!("{}: {text}", name(who))),
        LogRecord::EventQuarantined(charge) => (Level::WARN, charge_fields(charge), quarantined(charge)),
        LogRecord::QuarantineFailed { charge, why } => {
            let message = format!(
                "cannot store event {} in quarantine: {why}; the event is not skipped, and storing is tried again",
                charge.seq
            );
            (Level::ERROR, charge_fields(charge), message)
        }
        LogRecord::SupervisorStarted => (Level::INFO, Fields::default(), "starting the workers".into()),
        LogRecord::SupervisorStopping { why } => {
            (Level::INFO, Fields::default(), format!("stopping the workers: {why}"))
        }
        LogRecord::SupervisorStopped { trouble: None } => {
            (Level::INFO, Fields::default(), "all workers have exited and the state is saved".into())
        }
        LogRecord::SupervisorStopped { trouble: Some(trouble) } => {
            (Level::ERROR, Fields::default(), format!("the supervisor did not stop in order: {trouble}"))
        }
    }
}

/// `analytics generation 7 (pid 4121)`
fn name(who: &Who) -> String {
    let pid = who.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    format!("{} generation {}{pid}", who.worker, who.generation)
}

fn charge_fields(charge: &Charge) -> Fields<'_> {
    Fields {
        who: Some(&charge.who),
        cause: Some(charge.cause),
        detail: Some(&charge.detail),
        seq: Some(charge.seq),
        crash: Some(charge.crash),
        attempts: Some(charge.attempts),
        ..Fields::default()
    }
}

fn quarantined(charge: &Charge) -> String {
    let Charge { seq, attempts, cause, detail, .. } = charge;
    let generations = if *attempts == 1 { "generation" } else { "generations" };
    let colon = if detail.is_empty() { "" } else { ": " };
    format!(
        "event {seq} is quarantined and will be skipped: it killed {attempts} {generations}; \
         last cause: {cause}{colon}{detail}; see `bulkhead quarantine show {seq}`"
    )
}

fn death(
    cause: Cause,
    detail: &str,
    seq: Option<Seq>,
    crash: CrashId,
    next: &Next,
    lived: Duration,
    leaving: Option<Duration>,
) -> String {
    let colon = if detail.is_empty() { "" } else { ": " };
    // The detail of an exit or a signal contains the cause.
    let how = if cause == Cause::Requested {
        format!("ended as requested{colon}{detail}")
    } else if matches!(cause, Cause::Exit | Cause::Signal) && !detail.is_empty() {
        format!("died: {detail}")
    } else {
        format!("died: {cause}{colon}{detail}")
    };
    let in_flight = seq.map(|seq| format!(", event {seq} in flight")).unwrap_or_default();
    let when = match leaving {
        Some(leaving) => format!("stopped in {}", span(leaving)),
        None => format!("uptime {}", span(lived)),
    };
    // A requested stop is expected to be final.
    let next = match (cause, next) {
        (Cause::Requested, Next::Stopped | Next::Shutdown) => String::new(),
        _ => format!("; {next}"),
    };
    format!("{how}{in_flight}, {when}; crash report {crash}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::capture::{capture_json, capture_pretty};
    use bulkhead_proto::ids::Generation;

    fn panic() -> LogRecord {
        LogRecord::WorkerDied {
            who: Who { worker: "analytics".into(), generation: Generation(3), pid: Some(123) },
            cause: Cause::Panic,
            detail: "\"index out of bounds\" at src/x.rs:1:2".into(),
            seq: Some(Seq(4711)),
            crash: CrashId(9),
            next: Next::RestartNow,
            lived: Duration::from_millis(1234),
            leaving: None,
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
        let who = Who { worker: "api".into(), generation: Generation(1), pid: None };
        let line = capture_json(|| write(&LogRecord::WorkerStarted(who)));
        let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["event_name", "generation", "level", "message", "timestamp", "worker"]);
    }
}
