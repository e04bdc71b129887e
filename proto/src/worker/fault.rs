//! The execution of induced faults, in the process that must die.

use crate::wire::{exit_code::EXIT_PANIC, fault::FaultKind};
use rustix::process::{Signal, getpid, kill_process};
use std::{hint::black_box, process, thread};

/// The exit code of [`FaultKind::Exit`].
pub const FAULT_EXIT: i32 = 3;

/// The panic message of [`FaultKind::Panic`].
pub const FAULT_PANIC: &str = "injected fault: panic";

/// An address that is never mapped: `vm.mmap_min_addr` keeps the lowest pages free.
const UNMAPPED: usize = 8;

/// The size of one allocation of [`FaultKind::Oom`], in bytes. The memory is never touched, so it takes no physical
/// memory.
const OOM_ALLOCATION: usize = 64 << 20;

/// The number of these allocations before one that no machine can satisfy. Together they exceed any sensible limit.
const OOM_ALLOCATIONS: usize = 1 << 10;

/// The stack that [`FaultKind::StackOverflow`] uses up, in bytes. It belongs to a new thread, because the stack of the
/// main thread may be unlimited.
const STACK: usize = 256 << 10;

/// How a process that executes a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By this exit code.
    Code(i32),
    /// By the signal of this number.
    Signal(i32),
    /// It does not end: the supervisor detects a hang.
    Never,
}

/// How a worker that executes this fault ends.
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

/// Executes a fault: the process dies at once, or does nothing any more until it is killed.
#[expect(clippy::panic, reason = "the fault is a panic")]
pub fn execute(kind: FaultKind) -> ! {
    match kind {
        FaultKind::Panic => panic!("{FAULT_PANIC}"),
        FaultKind::Abort => process::abort(),
        FaultKind::Segv => write_to_unmapped_page(),
        FaultKind::Exit => process::exit(FAULT_EXIT),
        FaultKind::Oom => exhaust_memory(),
        FaultKind::Hang => hang(),
        FaultKind::Freeze => {
            // Cannot fail, like SIGKILL below. If the process is continued (SIGCONT), it hangs.
            let _ = kill_process(getpid(), Signal::STOP);
            hang()
        }
        FaultKind::StackOverflow => overflow_a_stack(),
        FaultKind::Kill => {
            // Cannot fail: a process may signal itself, and SIGKILL cannot be blocked.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
    // Not reached by any kind. A process that was to die must not continue.
    process::abort()
}

fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// Makes a real invalid write, because std's handler of stack overflows ignores the first SIGSEGV that is only raised.
fn write_to_unmapped_page() {
    let unmapped = std::ptr::without_provenance_mut::<u64>(UNMAPPED);
    // SAFETY: this is unsound on purpose. The write is volatile, so the compiler emits it; the page is never mapped, so the
    // kernel ends the process here. No code runs afterwards.
    unsafe { unmapped.write_volatile(0) };
}

/// Allocates until an allocation is refused, as a leak does. `handle_alloc_error` makes the refusal fatal.
fn exhaust_memory() {
    for _ in 0..OOM_ALLOCATIONS {
        black_box(Vec::<u8>::with_capacity(OOM_ALLOCATION)).leak();
    }
    // No limit stopped the loop: this size is more than any address space.
    black_box(Vec::<u8>::with_capacity(isize::MAX.unsigned_abs()));
}

/// Recurses until the guard page is hit; std reports that and aborts.
fn overflow_a_stack() {
    let name = thread::current().name().unwrap_or("fault").to_owned();
    let thread = thread::Builder::new().name(name).stack_size(STACK).spawn(|| descend(0));
    // If no thread can be started, the caller aborts.
    let _ = thread.map(thread::JoinHandle::join);
}

/// Recurses without end, in a way that the compiler cannot detect.
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

    /// Runs this test again as a child process, which dies.
    fn death(kind: FaultKind) -> ExitStatus {
        Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "worker::fault::tests::each_kind_ends_the_process_as_documented",
                "--nocapture",
            ])
            .env(KIND, kind.as_str())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    }

    #[test]
    fn each_kind_ends_the_process_as_documented() {
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
