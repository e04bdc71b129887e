//! Induced deaths, carried out by the process that is to die.

use crate::words::FaultKind;
use rustix::process::{Signal, getpid, kill_process};
use std::process;

/// The exit code of [`FaultKind::Exit`].
pub const FAULT_EXIT: i32 = 3;

/// The text of the panic of [`FaultKind::Panic`].
pub const FAULT_PANIC: &str = "a fault was asked for: panic";

/// An address that is never mapped: `vm.mmap_min_addr` keeps the lowest pages free.
const NOWHERE: usize = 8;

/// Dies in this way, at once.
#[expect(clippy::panic, reason = "it is what was asked for")]
pub fn carry_out(kind: FaultKind) -> ! {
    match kind {
        FaultKind::Panic => panic!("{FAULT_PANIC}"),
        FaultKind::Abort => process::abort(),
        FaultKind::Segv => write_nowhere(),
        FaultKind::Exit => process::exit(FAULT_EXIT),
        FaultKind::Kill => {
            // Cannot fail: a process may signal itself, and this signal cannot be blocked.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
    // Reached by none of them; a process that was to die must not go on.
    process::abort()
}

/// A real invalid write: a SIGSEGV that is merely raised is swallowed once by std's handler of stack overflows.
fn write_nowhere() {
    let nowhere = std::ptr::without_provenance_mut::<u64>(NOWHERE);
    // SAFETY: it is sound in no way, and meant so: the write is volatile, so the compiler emits it, and the page is
    // never mapped, so the kernel ends the process here. Nothing runs afterwards that could see a broken promise.
    unsafe { nowhere.write_volatile(0) };
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
            .args(["--exact", "fault::tests::each_kind_ends_the_process_in_its_way", "--nocapture"])
            .env(KIND, kind.as_str())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    }

    #[test]
    fn each_kind_ends_the_process_in_its_way() {
        if let Ok(kind) = env::var(KIND) {
            std::panic::set_hook(Box::new(|_| process::exit(101)));
            carry_out(kind.parse().unwrap());
        }
        let signal = |kind| death(kind).signal();
        assert_eq!(signal(FaultKind::Segv), Some(11));
        assert_eq!(signal(FaultKind::Abort), Some(6));
        assert_eq!(signal(FaultKind::Kill), Some(9));
        assert_eq!(death(FaultKind::Exit).code(), Some(FAULT_EXIT));
        assert_eq!(death(FaultKind::Panic).code(), Some(101));
    }
}
