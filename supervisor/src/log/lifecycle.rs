//! The lines that tell the story of the workers, with the fields of the contract (DESIGN 10).

use crate::step::{Charge, LogRecord, Next, Who, span};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Seq},
};
use std::time::Duration;
use tracing::Level;

/// The fields that lifecycle lines may carry; absent ones are left out.
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

/// Writes one line.
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

fn describe(record: &LogRecord) -> (Level, Fields<'_>, String) {
    let about = |who| Fields { who: Some(who), ..Fields::default() };
    match record {
        LogRecord::WorkerStarted(who) => (Level::INFO, about(who), "spawned".into()),
        LogRecord::WorkerReady(who) => (Level::INFO, about(who), "could be activated".into()),
        LogRecord::WorkerActivated(who) => (Level::INFO, about(who), "at work".into()),
        LogRecord::WorkerStopping { who, why } => (Level::INFO, about(who), format!("asked to leave: {why}")),
        LogRecord::WorkerSignalled { who, signal, why } => {
            (Level::WARN, about(who), format!("sent {signal}: {why}"))
        }
        LogRecord::WorkerExamined { who, threads } => {
            (Level::WARN, about(who), format!("hangs; its threads: {threads}"))
        }
        LogRecord::WorkerGivenUp(who) => {
            (Level::ERROR, about(who), "SIGKILL did not end it; nobody waits for it any more".into())
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
            (level, fields, death(*cause, detail, *seq, next, *lived, *leaving))
        }
        LogRecord::WorkerParked { who, probe_in: None, .. } => (
            Level::ERROR,
            about(who),
            "parked: trying again cannot help; mend it, then start it by command".into(),
        ),
        LogRecord::WorkerParked { who, deaths, probe_in: Some(delay) } => {
            let message =
                format!("parked after {deaths} deaths without progress; tried again in {}", span(*delay));
            (Level::ERROR, about(who), message)
        }
        LogRecord::WorkerProbed(who) => (Level::WARN, about(who), "parked, tried again now".into()),
        LogRecord::WorkerRecovered(who) => (Level::INFO, about(who), "no longer parked".into()),
        LogRecord::WorkerWarning { who, text } => (Level::WARN, about(who), text.clone()),
        LogRecord::EventQuarantined(charge) => (Level::WARN, charged(charge), quarantined(charge)),
        LogRecord::QuarantineFailed { charge, why } => {
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

fn charged(charge: &Charge) -> Fields<'_> {
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
        "event {seq} is set aside and will be skipped: {attempts} {generations} died of it, \
         the last of {cause}{colon}{detail}; see `bulkhead quarantine show {seq}`"
    )
}

fn death(
    cause: Cause,
    detail: &str,
    seq: Option<Seq>,
    next: &Next,
    lived: Duration,
    leaving: Option<Duration>,
) -> String {
    let colon = if detail.is_empty() { "" } else { ": " };
    let in_hand = seq.map(|seq| format!(", event {seq} in hand")).unwrap_or_default();
    let when = match leaving {
        Some(leaving) => format!("left in {}", span(leaving)),
        None => format!("lived {}", span(lived)),
    };
    // Who was asked to leave for good does so: that is no news.
    let next = match (cause, next) {
        (Cause::Requested, Next::Stopped | Next::Shutdown) => String::new(),
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
        let who = Who { worker: "api".into(), generation: Generation(1), pid: None };
        let line = json(|| write(&LogRecord::WorkerStarted(who)));
        let fields: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["event_name", "generation", "level", "message", "timestamp", "worker"]);
    }
}
