//! Notes the signal that a fault of this process raises, before it takes its course: its parent learns neither why the
//! kernel sent it nor which address was meant.

use crate::{
    cursor::{self, Signalled},
    ids::Generation,
    segment::ReadWrite,
};
use libc::{
    SA_ONSTACK, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGBUS, SIGFPE, SIGILL, SIGSEGV, c_int, c_void, siginfo_t,
};
use std::{
    io,
    mem::{MaybeUninit, transmute},
    ptr,
    sync::{Arc, OnceLock},
};

/// The signals of a fault, and who handled each before: std tells stack overflows so.
static PREVIOUS: [(c_int, OnceLock<libc::sigaction>); 4] = [
    (SIGSEGV, OnceLock::new()),
    (SIGBUS, OnceLock::new()),
    (SIGILL, OnceLock::new()),
    (SIGFPE, OnceLock::new()),
];

/// Where they are noted, and by whom.
static PAGE: OnceLock<(Arc<ReadWrite>, Generation)> = OnceLock::new();

/// From now on, a fault of this process is noted on this page, for this generation, and then goes its way as before. It must
/// be the analysis at work, to which the page belongs. Holds for good: a later call changes nothing.
///
/// # Errors
/// When the system refuses a handler.
pub fn note_faults(page: Arc<ReadWrite>, generation: Generation) -> io::Result<()> {
    if PAGE.set((page, generation)).is_ok() {
        PREVIOUS.iter().try_for_each(|(number, previous)| install(*number, previous))?;
    }
    Ok(())
}

fn install(number: c_int, previous: &OnceLock<libc::sigaction>) -> io::Result<()> {
    let mut former = MaybeUninit::zeroed();
    // SAFETY: with no new action, sigaction(2) only writes the present one to where there is room for it.
    if unsafe { libc::sigaction(number, ptr::null(), former.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by sigaction(2), which said so.
    let former: libc::sigaction = unsafe { former.assume_init() };
    // Before the handler that reads it is there.
    let _ = previous.set(former);
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = handle;
    let ours =
        libc::sigaction { sa_sigaction: handler as usize, sa_flags: SA_SIGINFO | SA_ONSTACK, ..former };
    // SAFETY: the handler has the form that SA_SIGINFO asks for, and does only what signal-safety(7) allows.
    match unsafe { libc::sigaction(number, &raw const ours, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs in the midst of whatever the process was doing: stores to memory that is mapped, and nothing that locks or allocates.
extern "C" fn handle(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO.
    let info_now = unsafe { &*info };
    // SAFETY: for these four signals it holds an address, or, sent by somebody, other plain bytes.
    let address = unsafe { info_now.si_addr() };
    if let Some((page, generation)) = PAGE.get() {
        let signal = Signalled { number, code: info_now.si_code, address: address as u64 };
        cursor::note_signal(page, *generation, signal);
    }
    let previous = PREVIOUS.iter().find(|(of, _)| *of == number).and_then(|(_, previous)| previous.get());
    match previous {
        Some(former) if former.sa_sigaction != SIG_DFL && former.sa_sigaction != SIG_IGN => {
            if former.sa_flags & SA_SIGINFO == 0 {
                // SAFETY: without SA_SIGINFO, that is what was registered.
                let former = unsafe { transmute::<usize, extern "C" fn(c_int)>(former.sa_sigaction) };
                former(number);
            } else {
                type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                // SAFETY: with SA_SIGINFO, that is what was registered.
                let former = unsafe { transmute::<usize, Handler>(former.sa_sigaction) };
                former(number, info, context);
            }
        }
        Some(_) | None => by_default(number, info_now.si_code),
    }
}

/// The default for these signals is death: by the instruction that faults once more, or, if somebody else has sent the
/// signal, by sending it again.
fn by_default(number: c_int, code: c_int) {
    // SAFETY: signal(2) and raise(3) are signal-safe, and the default needs no handler.
    unsafe { libc::signal(number, SIG_DFL) };
    if code <= 0 {
        // SAFETY: as above; it is blocked while it is handled, and takes effect behind this.
        unsafe { libc::raise(number) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fault,
        link::{AnalyticsLink, Memory},
        ring::MIN_CAPACITY,
        words::FaultKind,
    };
    use std::{
        env,
        os::unix::process::ExitStatusExt as _,
        process::{Command, Stdio},
    };

    const FAULT: &str = "BULKHEAD_TEST_SIGNALS";

    fn page() -> Arc<ReadWrite> {
        AnalyticsLink::open_within(&Memory::create(MIN_CAPACITY, 1, 1).unwrap()).unwrap().cursor
    }

    /// Runs this very test again as a child, which dies of this.
    fn death(fault: &str) -> Option<i32> {
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "signals::tests::each_fault_takes_its_course_as_before", "--nocapture"])
            .env(FAULT, fault)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().signal()
    }

    #[test]
    fn each_fault_takes_its_course_as_before() {
        if let Ok(fault) = env::var(FAULT) {
            note_faults(page(), Generation(7)).unwrap();
            match fault.as_str() {
                // SAFETY: raise(3) asks for nothing.
                "raised" => drop(unsafe { libc::raise(SIGFPE) }),
                kind => fault::carry_out(kind.parse().unwrap()),
            }
        }
        assert_eq!(death(FaultKind::Segv.as_str()), Some(SIGSEGV));
        assert_eq!(death(FaultKind::StackOverflow.as_str()), Some(libc::SIGABRT), "std has told it");
        assert_eq!(death("raised"), Some(SIGFPE));
    }
}
