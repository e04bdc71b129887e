//! A report, from what the heart and the shell know of a death.

use super::symbols::Symbols;
use crate::sys::wait::Usage;
use crate::{
    core::{DeathRecord, ExitStatus, Panic, signal_name},
    shown,
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        crash::{self, FatalSignal, OutputLine, Report, Resources},
        text::cut,
    },
};
use signal_hook::consts::{SIGBUS, SIGFPE, SIGILL, SIGSEGV};
use std::{fs::File, time::Duration};

/// The longest text of a panic, in bytes: what a worker may say of it.
const MAX_PANIC: usize = 1 << 10;

/// What the shell alone has seen of a process that is gone.
#[derive(Debug, Default)]
pub struct Remains {
    /// The bytes of the event in hand.
    pub event: Option<Vec<u8>>,
    /// What it had used.
    pub usage: Option<Usage>,
    /// Its last lines.
    pub output: Vec<OutputLine>,
    /// So many more came too fast.
    pub output_dropped: u64,
    /// What its threads did while it lived, of one that hung.
    pub thread_dump: Vec<String>,
    /// Its program, as it was when it was started.
    pub program: Option<File>,
    /// Where it panicked or hung: return addresses as offsets in the program.
    pub backtrace: Vec<u64>,
}

pub(super) fn report(facts: DeathRecord, remains: Remains, symbols: &mut Symbols) -> Report {
    let event = remains.event.as_deref().and_then(shown::event);
    let (attempts, max_attempts) = facts.attempts.unzip();
    let (exit_code, signal) = match facts.exit {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal { number, core }) => (None, Some(signal(number, core, facts.signalled))),
        Some(ExitStatus::Unknown) | None => (None, None),
    };
    Report {
        id: facts.crash,
        at: shown::time(i64::try_from(facts.at_ms).unwrap_or(i64::MAX)),
        worker: facts.subject.worker,
        role: facts.role,
        generation: facts.subject.generation,
        pid: facts.subject.pid,
        uptime_ms: ms(facts.uptime),
        cause: facts.cause,
        detail: facts.detail,
        panic: facts.panic.as_ref().map(panic),
        exit_code,
        signal,
        seq: facts.seq,
        during: facts.during,
        request_id: event.as_ref().and_then(|event| event.request_id.clone()),
        event,
        attempts,
        max_attempts,
        decision: facts.next.to_string(),
        why: facts.why,
        resources: remains.usage.map(resources),
        output: remains.output,
        output_dropped: remains.output_dropped,
        thread_dump: remains.thread_dump,
        backtrace: symbols.name(remains.program.as_ref(), &remains.backtrace),
    }
}

/// What its handler noted is told of that signal alone; only the kernel's have an address.
fn signal(number: i32, core: bool, noted: Option<SignalInfo>) -> FatalSignal {
    let noted = noted.filter(|noted| noted.number == number);
    let kernels = noted.filter(|noted| noted.code > 0);
    FatalSignal {
        number,
        name: signal_name(number).map(str::to_owned),
        code: noted.map(|noted| code(number, noted.code)),
        address: kernels.map(|noted| format!("{:#x}", noted.address)),
        core,
    }
}

/// From sigaction(2).
fn code(number: i32, code: i32) -> String {
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
