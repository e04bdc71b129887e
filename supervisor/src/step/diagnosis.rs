//! Why a process died: from its exit, what it said, and what it was told.

use super::{
    Exit, Induced, Now, Panic, PostMortem, Process, Stage, Why,
    oom::want_of_memory,
    policy::{MAX_DETAIL, MAX_PANIC},
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

/// From signal(7), for every architecture that Linux runs on and this was written for.
pub(super) const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
pub(super) const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGTERM: i32 = 15;

/// How a generation that is gone left, as far as that is known.
pub(super) struct Leaving<'a> {
    pub(super) why: &'a Why,
    pub(super) stage: Stage,
}

/// What is to be said of a death.
pub(super) struct Verdict {
    pub(super) cause: Cause,
    pub(super) detail: String,
    pub(super) seq: Option<Seq>,
    /// Whether the next generation might do better.
    pub(super) retry: bool,
}

impl Verdict {
    fn new(cause: Cause, detail: impl AsRef<str>, seq: Option<Seq>) -> Self {
        let detail = cut(detail.as_ref(), MAX_DETAIL).to_owned();
        Self { cause, detail, seq, retry: cause != Cause::Config }
    }

    /// It could not even be spawned.
    pub(super) fn unborn(error: &str, config: bool) -> Self {
        let cause = if config { Cause::Config } else { Cause::Handshake };
        Self::new(cause, format!("cannot be started: {error}"), None)
    }
}

/// The verdict on a process that is gone.
pub(super) fn verdict(
    role: Role,
    process: &Process,
    leaving: Option<&Leaving<'_>>,
    exit: Exit,
    post_mortem: &PostMortem,
    now: Now,
) -> Verdict {
    let seq = post_mortem.in_hand;
    let panic = post_mortem
        .panic
        .as_ref()
        .map(|panic| panic.clone().cut(MAX_PANIC))
        .or_else(|| process.panic.clone());
    match leaving {
        Some(Leaving { why: Why::Condemned { cause, detail, retry }, .. }) => {
            let ours = is_signal(exit, SIGKILL) || *cause == Cause::Hang && is_signal(exit, SIGABRT);
            let met = if ours { String::new() } else { format!("; ended by {}", exit.text()) };
            let verdict = match process.fault {
                Some(Induced { kind, .. }) if *cause == Cause::Hang && kind.is_lasting() => {
                    Verdict::new(Cause::Requested, format!("fault {kind}: {detail}{met}"), seq)
                }
                Some(_) | None => Verdict::new(*cause, format!("{detail}{met}"), seq),
            };
            return Verdict { retry: *retry, ..verdict };
        }
        Some(Leaving { why: Why::Asked(asked), stage }) if leaves_so(role, *stage, exit) => {
            return Verdict::new(Cause::Requested, format!("{}; {}", asked.text(), exit.text()), seq);
        }
        Some(_) | None => {}
    }
    let (cause, mut detail) = by_itself(process, exit, panic.as_ref(), post_mortem);
    if leaving.is_some() {
        detail.push_str(", while it was leaving");
    }
    let fault = process.fault.filter(|fault| fault.until.is_none_or(|until| now.mono <= until));
    match fault {
        Some(fault) if looks_like(fault.kind, exit, panic.is_some()) => {
            Verdict::new(Cause::Requested, format!("fault {}: {detail}", fault.kind), seq)
        }
        Some(_) | None => Verdict::new(cause, detail, seq),
    }
}

/// Nobody had asked for it.
fn by_itself(process: &Process, exit: Exit, panic: Option<&Panic>, seen: &PostMortem) -> (Cause, String) {
    let early = match process.activated {
        Some(_) => "",
        None => ", before it was activated",
    };
    match (exit, panic) {
        (exit, Some(panic)) if may_be_a_panic(exit) => (Cause::Panic, panic.text()),
        (Exit::Code(code), None) if code == i32::from(EXIT_PANIC) => {
            (Cause::Panic, format!("without a message: {}{early}", exit.text()))
        }
        (Exit::Code(code), _) if code == i32::from(EXIT_CONFIG) => (
            Cause::Config,
            format!("says that its configuration is wrong ({}): see its last lines", exit.text()),
        ),
        (Exit::Code(_), _) => (Cause::Exit, format!("{}{early}", exit.text())),
        (Exit::Signal { .. }, _) => match want_of_memory(exit, seen) {
            Some(text) => (Cause::Oom, format!("{text}{early}")),
            None => (Cause::Signal, format!("{}{}{early}", exit.text(), overflow(exit, seen))),
        },
        (Exit::Unknown, _) => (Cause::Unknown, format!("{}{early}", exit.text())),
    }
}

/// std answers a fault beyond the end of a stack by an abort. A signal that was merely sent, by a process (its code is not
/// above 0), it swallows once: an abort that comes later has nothing to do with that.
fn overflow(exit: Exit, seen: &PostMortem) -> &'static str {
    let by_kernel = |signal: &SignalInfo| signal.code > 0;
    let faulted = seen.signalled.filter(by_kernel).is_some_and(|it| matches!(it.number, SIGSEGV | SIGBUS));
    if faulted && is_signal(exit, SIGABRT) { " behind a fault: a stack overflow" } else { "" }
}

/// A process that has told of a panic may still leave in another way: orderly, or killed by someone else.
const fn may_be_a_panic(exit: Exit) -> bool {
    match exit {
        Exit::Code(code) => code != 0 && code != EXIT_CONFIG as i32,
        Exit::Signal { number, .. } => number != SIGKILL && number != SIGTERM,
        Exit::Unknown => true,
    }
}

/// Whether one that was asked to leave, and was helped so far, would leave so.
/// A plain worker may have any exit code for it: many use 128 + 15.
fn leaves_so(role: Role, stage: Stage, exit: Exit) -> bool {
    match exit {
        Exit::Code(code) => code == 0 || role == Role::Plain,
        Exit::Signal { number, .. } => match stage {
            Stage::Drain | Stage::Abort => false,
            Stage::Term => number == SIGTERM,
            Stage::Kill | Stage::GivenUp => number == SIGTERM || number == SIGKILL,
        },
        Exit::Unknown => true,
    }
}

/// Whether a death looks like the effect of that fault. One that does not has its own reason, and the two have crossed.
fn looks_like(kind: FaultKind, exit: Exit, panicked: bool) -> bool {
    match kind {
        FaultKind::Panic => panicked || exit == Exit::Code(i32::from(EXIT_PANIC)) || is_signal(exit, SIGABRT),
        FaultKind::Abort | FaultKind::Oom | FaultKind::StackOverflow => is_signal(exit, SIGABRT),
        FaultKind::Segv => is_signal(exit, SIGSEGV) || is_signal(exit, SIGBUS),
        FaultKind::Exit => matches!(exit, Exit::Code(_)) && !panicked,
        // Found out by the vigil, and by nothing else.
        FaultKind::Hang | FaultKind::Freeze => false,
        FaultKind::Kill => is_signal(exit, SIGKILL),
    }
}

pub(super) const fn is_signal(exit: Exit, wanted: i32) -> bool {
    match exit {
        Exit::Signal { number, .. } => number == wanted,
        Exit::Code(_) | Exit::Unknown => false,
    }
}

/// The name of a signal in signal(7).
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    signal_hook::low_level::signal_name(number)
}

impl Exit {
    /// For people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal { number, core } => {
                let dumped = if core { " (core dumped)" } else { "" };
                match signal_name(number) {
                    Some(name) => format!("{name}{dumped}"),
                    None => format!("signal {number}{dumped}"),
                }
            }
            Self::Unknown => "nobody knows how".to_owned(),
        }
    }
}

impl Panic {
    /// For people. It is the message that makes room in [`MAX_DETAIL`], not where it was.
    #[must_use]
    pub fn text(&self) -> String {
        let place = format!(" at {}, thread {}", self.location, self.thread);
        let quoted = format!("{:?}", self.message);
        if quoted.len() + place.len() <= MAX_DETAIL {
            return quoted + &place;
        }
        let room = MAX_DETAIL.saturating_sub(place.len() + "\"…\"".len());
        let mut shown = "\"".to_owned();
        for character in self.message.chars() {
            let escaped = format!("{:?}", character.encode_utf8(&mut [0; 4]));
            // Without its own quotes.
            let escaped = &escaped[1..escaped.len() - 1];
            if shown.len() + escaped.len() > room {
                break;
            }
            shown.push_str(escaped);
        }
        shown + "…\"" + &place
    }

    /// Bounds it for the ledger: the message to `max` bytes, the rest shorter.
    pub(super) fn cut(self, max: usize) -> Self {
        Self {
            message: cut(&self.message, max).to_owned(),
            location: cut(&self.location, max / 4).to_owned(),
            thread: cut(&self.thread, max / 16).to_owned(),
        }
    }
}
