//! Why a process died: from its exit, what it said, and what it was told.

use crate::core::{
    death::oom::out_of_memory,
    model::{
        ExitStatus, Now, Panic, PendingFault, PostMortem, Process, SIGABRT, SIGBUS, SIGKILL, SIGSEGV,
        SIGTERM, StopReason, StopStage, is_signal,
        policy::{MAX_DETAIL, MAX_PANIC},
    },
};
use bulkhead_proto::{
    control::cut,
    cursor::Signalled,
    ids::Seq,
    words::{Cause, EXIT_CONFIG, EXIT_PANIC, FaultKind, Role},
};

/// How a generation that is gone left, as far as that is known.
pub(in crate::core) struct StopProgress<'a> {
    pub(in crate::core) why: &'a StopReason,
    pub(in crate::core) stage: StopStage,
}

/// What is to be said of a death.
pub(in crate::core) struct Classification {
    pub(in crate::core) cause: Cause,
    pub(in crate::core) detail: String,
    pub(in crate::core) seq: Option<Seq>,
    /// Whether the next generation might do better.
    pub(in crate::core) retry: bool,
}

impl Classification {
    fn new(cause: Cause, detail: impl AsRef<str>, seq: Option<Seq>) -> Self {
        let detail = cut(detail.as_ref(), MAX_DETAIL).to_owned();
        Self { cause, detail, seq, retry: cause != Cause::Config }
    }

    /// It could not even be spawned.
    pub(in crate::core) fn spawn_failed(error: &str, config: bool) -> Self {
        let cause = if config { Cause::Config } else { Cause::Handshake };
        Self::new(cause, format!("cannot be started: {error}"), None)
    }
}

/// The verdict on a process that is gone.
pub(in crate::core) fn classify(
    role: Role,
    process: &Process,
    leaving: Option<&StopProgress<'_>>,
    exit: ExitStatus,
    post_mortem: &PostMortem,
    now: Now,
) -> Classification {
    let seq = post_mortem.in_hand;
    let panic = post_mortem
        .panic
        .as_ref()
        .map(|panic| panic.clone().cut(MAX_PANIC))
        .or_else(|| process.panic.clone());
    match leaving {
        Some(StopProgress { why: StopReason::Killed { cause, detail, retry }, .. }) => {
            let ours = is_signal(exit, SIGKILL) || *cause == Cause::Hang && is_signal(exit, SIGABRT);
            let met = if ours { String::new() } else { format!("; ended by {}", exit.text()) };
            let classification = match process.fault {
                Some(PendingFault { kind, .. }) if *cause == Cause::Hang && kind.is_lasting() => {
                    Classification::new(Cause::Requested, format!("fault {kind}: {detail}{met}"), seq)
                }
                Some(_) | None => Classification::new(*cause, format!("{detail}{met}"), seq),
            };
            return Classification { retry: *retry, ..classification };
        }
        Some(StopProgress { why: StopReason::Requested(asked), stage })
            if is_expected_exit(role, *stage, exit) =>
        {
            return Classification::new(Cause::Requested, format!("{}; {}", asked.text(), exit.text()), seq);
        }
        Some(_) | None => {}
    }
    let (cause, mut detail) = classify_exit(process, exit, panic.as_ref(), post_mortem);
    if leaving.is_some() {
        detail.push_str(", while it was leaving");
    }
    let fault = process.fault.filter(|fault| fault.until.is_none_or(|until| now.mono <= until));
    match fault {
        Some(fault) if matches_fault(fault.kind, exit, panic.is_some()) => {
            Classification::new(Cause::Requested, format!("fault {}: {detail}", fault.kind), seq)
        }
        Some(_) | None => Classification::new(cause, detail, seq),
    }
}

/// Nobody had asked for it.
fn classify_exit(
    process: &Process,
    exit: ExitStatus,
    panic: Option<&Panic>,
    seen: &PostMortem,
) -> (Cause, String) {
    let early = match process.activated {
        Some(_) => "",
        None => ", before it was activated",
    };
    match (exit, panic) {
        (exit, Some(panic)) if may_be_panic(exit) => (Cause::Panic, panic.text()),
        (ExitStatus::Code(code), None) if code == i32::from(EXIT_PANIC) => {
            (Cause::Panic, format!("without a message: {}{early}", exit.text()))
        }
        (ExitStatus::Code(code), _) if code == i32::from(EXIT_CONFIG) => (
            Cause::Config,
            format!("says that its configuration is wrong ({}): see its last lines", exit.text()),
        ),
        (ExitStatus::Code(_), _) => (Cause::Exit, format!("{}{early}", exit.text())),
        (ExitStatus::Signal { .. }, _) => match out_of_memory(exit, seen) {
            Some(text) => (Cause::Oom, format!("{text}{early}")),
            None => (Cause::Signal, format!("{}{}{early}", exit.text(), overflow(exit, seen))),
        },
        (ExitStatus::Unknown, _) => (Cause::Unknown, format!("{}{early}", exit.text())),
    }
}

/// std answers a fault beyond the end of a stack by an abort. A signal that was merely sent, by a process (its code is not
/// above 0), it swallows once: an abort that comes later has nothing to do with that.
fn overflow(exit: ExitStatus, seen: &PostMortem) -> &'static str {
    let by_kernel = |signal: &Signalled| signal.code > 0;
    let faulted = seen.signalled.filter(by_kernel).is_some_and(|it| matches!(it.number, SIGSEGV | SIGBUS));
    if faulted && is_signal(exit, SIGABRT) { " behind a fault: a stack overflow" } else { "" }
}

/// A process that has told of a panic may still leave in another way: orderly, or killed by someone else.
const fn may_be_panic(exit: ExitStatus) -> bool {
    match exit {
        ExitStatus::Code(code) => code != 0 && code != EXIT_CONFIG as i32,
        ExitStatus::Signal { number, .. } => number != SIGKILL && number != SIGTERM,
        ExitStatus::Unknown => true,
    }
}

/// Whether one that was asked to leave, and was helped so far, would leave so.
/// A plain worker may have any exit code for it: many use 128 + 15.
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

/// Whether a death looks like the effect of that fault. One that does not has its own reason, and the two have crossed.
fn matches_fault(kind: FaultKind, exit: ExitStatus, panicked: bool) -> bool {
    match kind {
        FaultKind::Panic => {
            panicked || exit == ExitStatus::Code(i32::from(EXIT_PANIC)) || is_signal(exit, SIGABRT)
        }
        FaultKind::Abort | FaultKind::Oom | FaultKind::StackOverflow => is_signal(exit, SIGABRT),
        FaultKind::Segv => is_signal(exit, SIGSEGV) || is_signal(exit, SIGBUS),
        FaultKind::Exit => matches!(exit, ExitStatus::Code(_)) && !panicked,
        // Found out by the vigil, and by nothing else.
        FaultKind::Hang | FaultKind::Freeze => false,
        FaultKind::Kill => is_signal(exit, SIGKILL),
    }
}
