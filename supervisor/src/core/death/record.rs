//! The record of a death: what came in, what it was attributed to, and what was decided.

use crate::core::{
    death::{attribute::Attribution, classify::Classification, exited::ExitedProcess},
    model::{DeathRecord, Evidence, ExitStatus, PostMortem, RestartDecision, signal_name},
    transition::Transition,
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        crash::{FatalSignal, Panic, Report},
        ids::CrashId,
        status::CrashRow,
        text::cut,
        time::rfc3339,
    },
};
use signal_hook::consts::{SIGBUS, SIGFPE, SIGILL, SIGSEGV};
use std::time::Duration;

/// Longest text of a panic in a report, in bytes: the limit for workers.
const MAX_REPORTED_PANIC: usize = 1 << 10;

/// What the core found out and decided about a death.
pub(in crate::core) struct Conclusion {
    pub(in crate::core) classification: Classification,
    pub(in crate::core) attribution: Option<Attribution>,
    pub(in crate::core) next: RestartDecision,
    pub(in crate::core) why: String,
}

impl Transition<'_> {
    /// Makes the record, under the next crash number. The worker keeps a summary of it, unless it was an orderly stop.
    pub(in crate::core) fn record_death(
        &mut self,
        exited: &ExitedProcess,
        post_mortem: PostMortem,
        conclusion: Conclusion,
    ) -> DeathRecord {
        let id = self.state.next_crash;
        self.state.next_crash = CrashId(id.0.saturating_add(1));
        let panic = exited.panic(&post_mortem).map(bounded);
        let during = post_mortem.during();
        let PostMortem { exit, signalled, in_flight, evidence, .. } = post_mortem;
        let Evidence { event, resources, output, output_dropped, thread_dump, stack } = evidence;
        let Conclusion { classification, attribution, next, why } = conclusion;
        let (exit_code, signal) = match exit {
            ExitStatus::Code(code) => (Some(code), None),
            ExitStatus::Signal { number, core } => (None, Some(fatal_signal(number, core, signalled))),
            ExitStatus::Unknown => (None, None),
        };
        let worker = self.worker(exited.slot_id.worker);
        let report = Report {
            id,
            at: rfc3339(self.now.unix_ms),
            worker: worker.name.clone(),
            role: worker.role,
            generation: exited.process.generation,
            pid: exited.process.pid,
            uptime_ms: ms(self.now.mono.since(exited.process.started)),
            cause: classification.cause,
            detail: classification.detail,
            panic,
            exit_code,
            signal,
            seq: attribution.map(|attribution| attribution.seq).or(in_flight),
            during: attribution.map(|attribution| attribution.during).or(during),
            request_id: event.as_ref().and_then(|event| event.request_id.clone()),
            event,
            attempts: attribution.map(|attribution| attribution.attempts),
            max_attempts: attribution.map(|attribution| attribution.limit),
            decision: next.to_string(),
            why: attribution.map(|attribution| format!("{attribution}; ")).unwrap_or_default() + &why,
            resources,
            output,
            output_dropped,
            thread_dump,
            backtrace: Vec::new(),
        };
        let requested_stop = exited.process.stop().filter(|_| exited.stop_request().is_some());
        let stop_duration = requested_stop.map(|stop| self.now.mono.since(stop.since));
        let orderly_stop = classification.orderly_stop;
        if !orderly_stop {
            let (at_ms, detail) = (self.now.unix_ms, report.detail.clone());
            self.worker_mut(exited.slot_id.worker).last_crash =
                Some(CrashRow { id, cause: report.cause, detail, seq: report.seq, at_ms });
        }
        DeathRecord { report, stack, next, stop_duration, orderly_stop }
    }
}

/// The handler's record is used only if it describes the fatal signal. The address is valid only for signals from the
/// kernel, which have a positive code.
fn fatal_signal(number: i32, core: bool, recorded: Option<SignalInfo>) -> FatalSignal {
    let recorded = recorded.filter(|recorded| recorded.number == number);
    let from_kernel = recorded.filter(|recorded| recorded.code > 0);
    FatalSignal {
        number,
        name: signal_name(number).map(str::to_owned),
        code: recorded.map(|recorded| code_name(number, recorded.code)),
        address: from_kernel.map(|recorded| format!("{:#x}", recorded.address)),
        core,
    }
}

/// Name of a signal code, from sigaction(2).
fn code_name(number: i32, code: i32) -> String {
    let name = match (number, code) {
        (SIGSEGV, 1) => "SEGV_MAPERR",
        (SIGSEGV, 2) => "SEGV_ACCERR",
        (SIGBUS, 1) => "BUS_ADRALN",
        (SIGBUS, 2) => "BUS_ADRERR",
        (SIGFPE, 1) => "FPE_INTDIV",
        (SIGILL, 2) => "ILL_ILLOPN",
        (_, 0) => "SI_USER",
        (_, -6) => "SI_TKILL",
        (_, 128) => "SI_KERNEL",
        _ => return format!("si_code {code}"),
    };
    name.to_owned()
}

fn bounded(panic: &Panic) -> Panic {
    let bounded = |text: &str| cut(text, MAX_REPORTED_PANIC).to_owned();
    Panic {
        message: bounded(&panic.message),
        location: bounded(&panic.location),
        thread: bounded(&panic.thread),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
