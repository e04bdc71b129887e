//! Induced deaths, carried out by the process that is to die.

use crate::wire::{exit_code::EXIT_PANIC, fault::FaultKind};
use rustix::process::{Signal, getpid, kill_process};
use std::{hint::black_box, process, thread};

/// The exit code of [`FaultKind::Exit`].
pub const FAULT_EXIT: i32 = 3;

/// The text of the panic of [`FaultKind::Panic`].
pub const FAULT_PANIC: &str = "a fault was asked for: panic";

/// An address that is never mapped: `vm.mmap_min_addr` keeps the lowest pages free.
const NOWHERE: usize = 8;

/// [`FaultKind::Oom`] takes so much at once, in bytes, and never touches it: no machine has less memory for it.
const BITE: usize = 64 << 20;

/// It takes so many bites before it asks for what no machine has: more than any sensible limit allows.
const BITES: usize = 1 << 10;

/// The stack that [`FaultKind::StackOverflow`] uses up, in bytes. A stack of its own, for that of the main thread may be
/// without a limit.
const STACK: usize = 256 << 10;

/// How a process that has carried a fault out ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By this exit code.
    Code(i32),
    /// By the signal of this number.
    Signal(i32),
    /// Not by itself: the supervisor finds it hanging.
    Never,
}

/// How a worker of ours that carries this fault out ends.
#[must_use]
pub const fn ending(kind: FaultKind) -> Ending {
    match kind {
        FaultKind::Panic => Ending::Code(EXIT_PANIC as i32),
        FaultKind::Exit => Ending::Code(FAULT_EXIT),
        FaultKind::Abort | FaultKind::Oom | FaultKind::StackOverflow => Ending::Signal(libc::SIGABRT),
        FaultKind::Segv => Ending::Signal(libc::SIGSEGV),
        FaultKind::Hang | FaultKind::Freeze => Ending::Never,
        FaultKind::Kill => Ending::Signal(libc::SIGKILL),
    }
}

/// Dies in this way, at once; or does nothing any more, until somebody ends it.
#[expect(clippy::panic, reason = "it is what was asked for")]
pub fn execute(kind: FaultKind) -> ! {
    match kind {
        FaultKind::Panic => panic!("{FAULT_PANIC}"),
        FaultKind::Abort => process::abort(),
        FaultKind::Segv => write_nowhere(),
        FaultKind::Exit => process::exit(FAULT_EXIT),
        FaultKind::Oom => exhaust_memory(),
        FaultKind::Hang => hang(),
        FaultKind::Freeze => {
            // As for SIGKILL below. Whoever lets it go on finds it hanging.
            let _ = kill_process(getpid(), Signal::STOP);
            hang()
        }
        FaultKind::StackOverflow => overflow_a_stack(),
        FaultKind::Kill => {
            // Cannot fail: a process may signal itself, and this signal cannot be blocked.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
    // Reached by none of them; a process that was to die must not go on.
    process::abort()
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// A real invalid write: a SIGSEGV that is merely raised is swallowed once by std's handler of stack overflows.
fn write_nowhere() {
    let nowhere = std::ptr::without_provenance_mut::<u64>(NOWHERE);
    // SAFETY: it is sound in no way, and meant so: the write is volatile, so the compiler emits it, and the page is
    // never mapped, so the kernel ends the process here. Nothing runs afterwards that could see a broken promise.
    unsafe { nowhere.write_volatile(0) };
}

/// Asks for more and more until it is refused, as a leak does; the refusal is fatal by way of `handle_alloc_error`.
fn exhaust_memory() {
    for _ in 0..BITES {
        black_box(Vec::<u8>::with_capacity(BITE)).leak();
    }
    // Nobody has set a limit: what follows is more than any address space.
    black_box(Vec::<u8>::with_capacity(isize::MAX.unsigned_abs()));
}

/// Recurses until the guard page is met; std says so, and aborts.
fn overflow_a_stack() {
    let name = thread::current().name().unwrap_or("fault").to_owned();
    let deep = thread::Builder::new().name(name).stack_size(STACK).spawn(|| descend(0));
    // Without a thread there is nothing to overflow, and the caller aborts.
    let _ = deep.map(thread::JoinHandle::join);
}

/// Without an end, though the compiler must not know.
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(true) { black_box(descend(depth + 1)) ^ frame[0] } else { depth }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        env,
        os::unix::process::ExitStatusExt,
        process::{Command, ExitStatus, Stdio},
    };

    const KIND: &str = "BULKHEAD_TEST_FAULT";

    /// Runs this very test again as a child, which dies.
    fn death(kind: FaultKind) -> ExitStatus {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "worker::fault::tests::each_kind_ends_the_process_in_its_way", "--nocapture"])
            .env(KIND, kind.as_str())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    }

    #[test]
    fn each_kind_ends_the_process_in_its_way() {
        if let Ok(kind) = env::var(KIND) {
            std::panic::set_hook(Box::new(|_| process::exit(EXIT_PANIC.into())));
            execute(kind.parse().unwrap());
        }
        for &kind in FaultKind::ALL.iter().filter(|kind| !kind.is_lasting()) {
            let death = death(kind);
            let found = death.code().map(Ending::Code).or(death.signal().map(Ending::Signal));
            assert_eq!(found, Some(ending(kind)), "{kind}");
        }
    }
}
