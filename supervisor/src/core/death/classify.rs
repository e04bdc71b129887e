//! Classification: the cause of a death, from the exit status, the reports of the process, and what was
//! ordered.

use crate::core::{
    death::oom::out_of_memory,
    model::{
        ExitStatus, Now, Panic, PendingFault, PostMortem, Process, SIGABRT, SIGBUS, SIGKILL, SIGSEGV,
        SIGTERM, StopReason, StopStage, is_signal,
        policy::{MAX_DETAIL, MAX_PANIC},
    },
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Cause,
        exit_code::{EXIT_CONFIG, EXIT_PANIC},
        fault::FaultKind,
        ids::Seq,
        role::Role,
        text::cut,
    },
};

/// How far the stop of a process had come when it exited.
pub(in crate::core) struct StopProgress<'a> {
    pub(in crate::core) why: &'a StopReason,
    pub(in crate::core) stage: StopStage,
}

/// The cause of a death.
pub(in crate::core) struct Classification {
    pub(in crate::core) cause: Cause,
    pub(in crate::core) detail: String,
    /// The event in flight.
    pub(in crate::core) seq: Option<Seq>,
    /// Whether a retry can help.
    pub(in crate::core) retry: bool,
}

impl Classification {
    fn new(cause: Cause, detail: impl AsRef<str>, seq: Option<Seq>) -> Self {
        let detail = cut(detail.as_ref(), MAX_DETAIL).to_owned();
        Self { cause, detail, seq, retry: cause != Cause::Config }
    }

    /// The process could not be spawned.
    pub(in crate::core) fn spawn_failed(error: &str, config: bool) -> Self {
        let cause = if config { Cause::Config } else { Cause::Handshake };
        Self::new(cause, format!("cannot be started: {error}"), None)
    }
}

/// Classifies the death of a process.
pub(in crate::core) fn classify(
    role: Role,
    process: &Process,
    stop: Option<&StopProgress<'_>>,
    exit: ExitStatus,
    post_mortem: &PostMortem,
    now: Now,
) -> Classification {
    let seq = post_mortem.in_flight;
    let panic = post_mortem
        .panic
        .as_ref()
        .map(|panic| panic.clone().cut(MAX_PANIC))
        .or_else(|| process.panic.clone());
    match stop {
        Some(StopProgress { why: StopReason::Killed { cause, detail, retry }, .. }) => {
            let by_supervisor = is_signal(exit, SIGKILL) || *cause == Cause::Hang && is_signal(exit, SIGABRT);
            let ended = if by_supervisor { String::new() } else { format!("; ended by {}", exit.text()) };
            let classification = match process.fault {
                Some(PendingFault { kind, .. }) if *cause == Cause::Hang && kind.is_lasting() => {
                    Classification::new(Cause::Requested, format!("fault {kind}: {detail}{ended}"), seq)
                }
                Some(_) | None => Classification::new(*cause, format!("{detail}{ended}"), seq),
            };
            return Classification { retry: *retry, ..classification };
        }
        Some(StopProgress { why: StopReason::Requested(request), stage })
            if is_expected_exit(role, *stage, exit) =>
        {
            return Classification::new(
                Cause::Requested,
                format!("{}; {}", request.text(), exit.text()),
                seq,
            );
        }
        Some(_) | None => {}
    }
    let (cause, mut detail) = classify_exit(process, exit, panic.as_ref(), post_mortem);
    if stop.is_some() {
        detail.push_str(", while stopping");
    }
    let fault = process.fault.filter(|fault| fault.until.is_none_or(|until| now.mono <= until));
    match fault {
        Some(fault) if matches_fault(fault.kind, exit, panic.is_some()) => {
            Classification::new(Cause::Requested, format!("fault {}: {detail}", fault.kind), seq)
        }
        Some(_) | None => Classification::new(cause, detail, seq),
    }
}

/// Classifies an exit that was not requested.
fn classify_exit(
    process: &Process,
    exit: ExitStatus,
    panic: Option<&Panic>,
    post_mortem: &PostMortem,
) -> (Cause, String) {
    let early = match process.activated {
        Some(_) => "",
        None => ", before activation",
    };
    match (exit, panic) {
        (exit, Some(panic)) if may_be_panic(exit) => (Cause::Panic, panic.text()),
        (ExitStatus::Code(code), None) if code == i32::from(EXIT_PANIC) => {
            (Cause::Panic, format!("no message: {}{early}", exit.text()))
        }
        (ExitStatus::Code(code), _) if code == i32::from(EXIT_CONFIG) => (
            Cause::Config,
            format!("reported a configuration error ({}): see its last output lines", exit.text()),
        ),
        (ExitStatus::Code(_), _) => (Cause::Exit, format!("{}{early}", exit.text())),
        (ExitStatus::Signal { .. }, _) => match out_of_memory(exit, post_mortem) {
            Some(text) => (Cause::Oom, format!("{text}{early}")),
            None => {
                (Cause::Signal, format!("{}{}{early}", exit.text(), stack_overflow_note(exit, post_mortem)))
            }
        },
        (ExitStatus::Unknown, _) => (Cause::Unknown, format!("{}{early}", exit.text())),
    }
}

/// Marks a stack overflow: std aborts the process after one. The handler of std ignores the first SIGSEGV that a
/// process sent (code 0 or below), so a later abort has another cause.
fn stack_overflow_note(exit: ExitStatus, post_mortem: &PostMortem) -> &'static str {
    let by_kernel = |signal: &SignalInfo| signal.code > 0;
    let faulted = post_mortem
        .signalled
        .filter(by_kernel)
        .is_some_and(|record| matches!(record.number, SIGSEGV | SIGBUS));
    if faulted && is_signal(exit, SIGABRT) { " after a fault: stack overflow" } else { "" }
}

/// Whether the exit can follow from the panic. A process may report a panic in one thread and then exit in
/// order, or be killed.
const fn may_be_panic(exit: ExitStatus) -> bool {
    match exit {
        ExitStatus::Code(code) => code != 0 && code != EXIT_CONFIG as i32,
        ExitStatus::Signal { number, .. } => number != SIGKILL && number != SIGTERM,
        ExitStatus::Unknown => true,
    }
}

/// Whether this exit is normal for a process whose stop reached this stage. A plain worker may use any exit
/// code; many use 128 + 15 (SIGTERM).
fn is_expected_exit(role: Role, stage: StopStage, exit: ExitStatus) -> bool {
    match exit {
        ExitStatus::Code(code) => code == 0 || role == Role::Plain,
        ExitStatus::Signal { number, .. } => match stage {
            StopStage::Drain | StopStage::Abort => false,
            StopStage::Term => number == SIGTERM,
            StopStage::Kill | StopStage::GivenUp => number == SIGTERM || number == SIGKILL,
        },
        ExitStatus::Unknown => true,
    }
}

/// Whether a death looks like the effect of the fault. If not, the process died of another cause first.
fn matches_fault(kind: FaultKind, exit: ExitStatus, panicked: bool) -> bool {
    match kind {
        FaultKind::Panic => {
            panicked || exit == ExitStatus::Code(i32::from(EXIT_PANIC)) || is_signal(exit, SIGABRT)
        }
        FaultKind::Abort | FaultKind::Oom | FaultKind::StackOverflow => is_signal(exit, SIGABRT),
        FaultKind::Segv => is_signal(exit, SIGSEGV) || is_signal(exit, SIGBUS),
        FaultKind::Exit => matches!(exit, ExitStatus::Code(_)) && !panicked,
        // Only the hang detector finds these.
        FaultKind::Hang | FaultKind::Freeze => false,
        FaultKind::Kill => is_signal(exit, SIGKILL),
    }
}
