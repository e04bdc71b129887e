//! Classification: the cause of a death, from the exit status, the reports of the process, and what was
//! ordered.

use crate::core::{
    death::{exited::ExitedProcess, oom::out_of_memory},
    model::{
        ExitStatus, Now, PendingFault, PostMortem, SIGABRT, SIGBUS, SIGKILL, SIGSEGV, SIGTERM, Stop,
        StopReason, StopStage, describe_panic, never_greeted, policy::MAX_DETAIL, signal_name,
    },
};
use bulkhead_proto::wire::{
    cause::Cause,
    crash::Panic,
    exit_code::{EXIT_CONFIG, EXIT_PANIC},
    fault::FaultKind,
    role::Role,
    text::cut,
};

/// The cause of a death.
pub(in crate::core) struct Classification {
    pub(in crate::core) cause: Cause,
    /// Details for people, at most [`MAX_DETAIL`] bytes.
    pub(in crate::core) detail: String,
    /// Whether a retry can help.
    pub(in crate::core) retry: bool,
    /// A requested stop that was completed without SIGKILL.
    pub(in crate::core) orderly_stop: bool,
}

impl Classification {
    fn new(cause: Cause, detail: impl AsRef<str>) -> Self {
        let detail = cut(detail.as_ref(), MAX_DETAIL).to_owned();
        Self { cause, detail, retry: cause != Cause::Config, orderly_stop: false }
    }

    pub(in crate::core) fn spawn_failed(error: &str, config: bool) -> Self {
        let cause = if config { Cause::Config } else { Cause::Handshake };
        Self::new(cause, format!("cannot be started: {error}"))
    }
}

/// Classifies the death of a process.
pub(in crate::core) fn classify(
    role: Role,
    exited: &ExitedProcess,
    post_mortem: &PostMortem,
    now: Now,
) -> Classification {
    let exit = post_mortem.exit;
    let pending_fault = exited.process.fault;
    match exited.process.stop() {
        Some(Stop { why: StopReason::Killed { cause, detail, retry }, .. }) => {
            let by_supervisor = exit.is_kill() || *cause == Cause::Hang && exit.is_signal(SIGABRT);
            let ended = if by_supervisor { String::new() } else { format!("; ended by {}", exit.text()) };
            let classification = match pending_fault {
                Some(PendingFault { kind, .. }) if *cause == Cause::Hang && kind.is_lasting() => {
                    Classification::new(Cause::Requested, format!("fault {kind}: {detail}{ended}"))
                }
                Some(_) | None => Classification::new(*cause, format!("{detail}{ended}")),
            };
            return Classification { retry: *retry, ..classification };
        }
        Some(Stop { why: StopReason::Requested(request), stage, .. })
            if is_expected_exit(role, *stage, exit) =>
        {
            let detail = format!("{}; {}", request.text(), exit.text());
            return Classification {
                orderly_stop: !exit.is_kill(),
                ..Classification::new(Cause::Requested, detail)
            };
        }
        Some(_) | None => {}
    }
    let panic = exited.panic(post_mortem);
    let (cause, mut detail) = classify_exit(role, exited, panic, post_mortem);
    if exited.process.stop().is_some() {
        detail.push_str(", while stopping");
    }
    let fault = pending_fault.filter(|fault| fault.until.is_none_or(|until| now.mono <= until));
    match fault {
        Some(fault) if matches_fault(fault.kind, exit, panic.is_some()) => {
            Classification::new(Cause::Requested, format!("fault {}: {detail}", fault.kind))
        }
        Some(_) | None => Classification::new(cause, detail),
    }
}

/// The cause, by the exit status alone.
fn classify_exit(
    role: Role,
    exited: &ExitedProcess,
    panic: Option<&Panic>,
    post_mortem: &PostMortem,
) -> (Cause, String) {
    let exit = post_mortem.exit;
    let early = if exited.process.activated.is_some() { "" } else { ", before activation" };
    let text = exit.text();
    match (exit, panic) {
        (exit, Some(panic)) if may_be_panic(exit) => (Cause::Panic, describe_panic(panic)),
        (ExitStatus::Code(code), None) if code == i32::from(EXIT_PANIC) => {
            (Cause::Panic, format!("no message: {text}{early}"))
        }
        (ExitStatus::Code(code), _) if code == i32::from(EXIT_CONFIG) => match &exited.process.error {
            Some(error) => (Cause::Config, error.clone()),
            None => {
                (Cause::Config, format!("reported a configuration error ({text}): see its last output lines"))
            }
        },
        // No program of ours does this.
        (ExitStatus::Code(0), _) if role != Role::Plain && !exited.process.greeted => {
            (Cause::Exit, format!("{text}: {}", never_greeted(role)))
        }
        (ExitStatus::Code(0), _) => (Cause::Exit, format!("{text}{early}")),
        (ExitStatus::Code(_), _) => {
            let error = exited.process.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            (Cause::Exit, format!("{text}{early}{error}"))
        }
        (ExitStatus::Signal { .. }, _) => match out_of_memory(post_mortem) {
            Some(reason) => (Cause::Oom, format!("{reason}{early}")),
            None => (Cause::Signal, format!("{text}{}{early}", stack_overflow_note(post_mortem))),
        },
        (ExitStatus::Unknown, _) => (Cause::Unknown, format!("{text}{early}")),
    }
}

/// Marks a stack overflow: std aborts the process after one. The handler of std ignores the first SIGSEGV that a
/// process sent (code 0 or below), so a later abort has another cause.
fn stack_overflow_note(post_mortem: &PostMortem) -> String {
    let fault = post_mortem
        .signalled
        .filter(|signal| signal.code > 0 && matches!(signal.number, SIGSEGV | SIGBUS))
        .filter(|_| post_mortem.exit.is_signal(SIGABRT));
    let name = fault.and_then(|signal| signal_name(signal.number));
    name.map(|name| format!(" after {name}: stack overflow")).unwrap_or_default()
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
            panicked || exit == ExitStatus::Code(i32::from(EXIT_PANIC)) || exit.is_signal(SIGABRT)
        }
        FaultKind::Abort | FaultKind::Oom | FaultKind::StackOverflow => exit.is_signal(SIGABRT),
        FaultKind::Segv => exit.is_signal(SIGSEGV) || exit.is_signal(SIGBUS),
        // A configuration error is the process' own: a retry cannot help.
        FaultKind::Exit => {
            matches!(exit, ExitStatus::Code(code) if code != i32::from(EXIT_CONFIG)) && !panicked
        }
        // Only the hang detector finds these.
        FaultKind::Hang | FaultKind::Freeze => false,
        FaultKind::Kill => exit.is_signal(SIGKILL),
    }
}
