//! Composes a crash report from the death record of the core and the exit artifacts of the runtime.

use super::symbolizer::Symbolizer;
use crate::{
    core::{DeathRecord, ExitStatus, Panic, signal_name},
    sys::wait::Usage,
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        crash::{self, FatalSignal, OutputLine, Report, Resources},
        quarantine::EventView,
        text::cut,
        time::rfc3339,
    },
};
use signal_hook::consts::{SIGBUS, SIGFPE, SIGILL, SIGSEGV};
use std::{fs::File, time::Duration};

/// Longest text of a panic, in bytes: the limit for workers.
const MAX_PANIC: usize = 1 << 10;

/// What the runtime gathers when a process has exited. `Default`: the process was never spawned.
#[derive(Debug, Default)]
pub struct ExitArtifacts {
    /// Bytes of the event in flight.
    pub event: Option<Vec<u8>>,
    /// Resource usage of the process.
    pub usage: Option<Usage>,
    /// Last lines of its output.
    pub output: Vec<OutputLine>,
    /// Number of output lines that were dropped by the rate limit.
    pub output_dropped: u64,
    /// State of its threads, read before it was killed for a hang.
    pub thread_dump: Vec<String>,
    /// Its executable, opened while it was running.
    pub program: Option<File>,
    /// Stack of the panic or hang: return addresses as offsets in the executable.
    pub backtrace: Vec<u64>,
}

pub(super) fn report(
    death_record: DeathRecord,
    artifacts: ExitArtifacts,
    symbolizer: &mut Symbolizer,
) -> Report {
    let event = artifacts.event.as_deref().and_then(EventView::decode);
    let (attempts, max_attempts) = death_record.attempts.unzip();
    let (exit_code, signal) = match death_record.exit {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal { number, core }) => {
            (None, Some(signal(number, core, death_record.signalled)))
        }
        Some(ExitStatus::Unknown) | None => (None, None),
    };
    Report {
        id: death_record.crash,
        at: rfc3339(death_record.at_ms),
        worker: death_record.subject.worker,
        role: death_record.role,
        generation: death_record.subject.generation,
        pid: death_record.subject.pid,
        uptime_ms: ms(death_record.uptime),
        cause: death_record.cause,
        detail: death_record.detail,
        panic: death_record.panic.as_ref().map(panic),
        exit_code,
        signal,
        seq: death_record.seq,
        during: death_record.during,
        request_id: event.as_ref().and_then(|event| event.request_id.clone()),
        event,
        attempts,
        max_attempts,
        decision: death_record.next.to_string(),
        why: death_record.why,
        resources: artifacts.usage.map(resources),
        output: artifacts.output,
        output_dropped: artifacts.output_dropped,
        thread_dump: artifacts.thread_dump,
        backtrace: symbolizer.resolve(artifacts.program.as_ref(), &artifacts.backtrace),
    }
}

/// The handler's record is used only if it describes the fatal signal. The address is valid only for signals from the
/// kernel, which have a positive code.
fn signal(number: i32, core: bool, recorded: Option<SignalInfo>) -> FatalSignal {
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

fn panic(panic: &Panic) -> crash::Panic {
    let bounded = |text: &str| cut(text, MAX_PANIC).to_owned();
    crash::Panic {
        message: bounded(&panic.message),
        location: bounded(&panic.location),
        thread: bounded(&panic.thread),
    }
}

fn resources(usage: Usage) -> Resources {
    let Usage { peak_rss, user, system } = usage;
    Resources { peak_rss_bytes: peak_rss, user_ms: ms(user), system_ms: ms(system) }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
