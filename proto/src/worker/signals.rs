//! Notes the signal that a fault of this process raises, before it takes its course: its parent learns neither why the
//! kernel sent it nor which address was meant. And tells where the process is when somebody else aborts it, for it hangs.

use crate::{
    shm::cursor::{self, SignalInfo},
    worker::this_process,
};
use libc::{
    SA_ONSTACK, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, c_int, c_void,
    siginfo_t,
};
use rustix::{
    process::{Pid, getpid},
    thread::gettid,
};
use std::{
    io,
    mem::{MaybeUninit, transmute},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The signals that are handled, and who handled each before: std tells stack overflows so.
static PREVIOUS: [(c_int, OnceLock<libc::sigaction>); 5] = [
    (SIGABRT, OnceLock::new()),
    (SIGSEGV, OnceLock::new()),
    (SIGBUS, OnceLock::new()),
    (SIGILL, OnceLock::new()),
    (SIGFPE, OnceLock::new()),
];

/// What is done when somebody else aborts this process. A child that it has forked has nothing to tell.
static TELL: OnceLock<(Pid, Box<dyn Fn() + Send + Sync>)> = OnceLock::new();

/// Somebody else's SIGABRT met another thread than the main thread.
static PASSED_ON: AtomicBool = AtomicBool::new(false);

/// The signals of a fault.
const FAULTS: [c_int; 4] = [SIGSEGV, SIGBUS, SIGILL, SIGFPE];

/// From now on, a fault of this process is noted on its [`this_process`], and then goes its way as before. Holds for good: a later
/// call changes nothing.
///
/// # Errors
/// When the system refuses a handler.
pub fn record_fault_signals() -> io::Result<()> {
    FAULTS.into_iter().try_for_each(|number| install(number, SA_ONSTACK))
}

/// From now on, a SIGABRT that another process sends has this told on the main thread, in the midst of whatever that was
/// doing; then it ends this process as before. So `tell` should neither allocate nor wait for a lock, which what it has
/// interrupted may hold; and the sender must go on to SIGKILL: the supervisor does, half a second later. Holds for good.
///
/// # Errors
/// When the system refuses a handler.
pub fn on_abort_from_outside(tell: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let _ = TELL.set((getpid(), Box::new(tell)));
    install(SIGABRT, 0)
}

fn previous(number: c_int) -> Option<&'static OnceLock<libc::sigaction>> {
    PREVIOUS.iter().find(|(of, _)| *of == number).map(|(_, previous)| previous)
}

/// `stack` is `SA_ONSTACK` for what may have exhausted its own stack; the other one is small, too small for a backtrace.
fn install(number: c_int, stack: c_int) -> io::Result<()> {
    let mut former = MaybeUninit::zeroed();
    // SAFETY: with no new action, sigaction(2) only writes the present one to where there is room for it.
    if unsafe { libc::sigaction(number, ptr::null(), former.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: written by sigaction(2), which said so.
    let former: libc::sigaction = unsafe { former.assume_init() };
    // Before the handler that reads it is there.
    if previous(number).is_some_and(|previous| previous.set(former).is_err()) {
        return Ok(());
    }
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = handle;
    let ours = libc::sigaction { sa_sigaction: handler as usize, sa_flags: SA_SIGINFO | stack, ..former };
    // SAFETY: the handler has the form that SA_SIGINFO asks for, and does only what signal-safety(7) allows, but for one
    // SIGABRT behind which the process does nothing else any more.
    match unsafe { libc::sigaction(number, &raw const ours, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs in the midst of whatever the process was doing: stores to memory that is mapped, and nothing that locks or allocates;
/// unless the process is told to end for a hang.
extern "C" fn handle(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler with SA_SIGINFO.
    let info_now = unsafe { &*info };
    if number == SIGABRT {
        aborted(info_now);
    } else if let Some((page, generation)) = this_process::cursor_page() {
        // SAFETY: for a fault's signals it holds an address, or, sent by somebody, other plain bytes.
        let address = unsafe { info_now.si_addr() };
        let signal = SignalInfo { number, code: info_now.si_code, address: address as u64 };
        cursor::record_signal(page, generation, signal);
    }
    if number != SIGABRT && info_now.si_code > 0 {
        abort_at_once();
    }
    match previous(number).and_then(OnceLock::get) {
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

/// A process that aborts itself (for it ran out of memory, say) has told why, and ends at once. Else it is the main thread that
/// is asked where it is: of a process that was stopped, any thread may be the first to meet the signal.
fn aborted(info: &siginfo_t) {
    // SAFETY: who sent it, for a code that says that a process did; other plain bytes else.
    let sender = unsafe { info.si_pid() };
    let (own, here) = (getpid(), gettid());
    let by_another = info.si_code == libc::SI_USER && sender != own.as_raw_pid();
    if by_another && here != own {
        PASSED_ON.store(true, Ordering::Relaxed);
        // SAFETY: a signal to a thread of our own, whose handler ends this process.
        unsafe { libc::syscall(libc::SYS_tgkill, own.as_raw_pid(), own.as_raw_pid(), SIGABRT) };
        loop {
            // SAFETY: it asks for nothing; the main thread ends this one.
            unsafe { libc::pause() };
        }
    }
    if (by_another || PASSED_ON.load(Ordering::Relaxed))
        && let Some((_, tell)) = TELL.get().filter(|(pid, _)| *pid == own)
    {
        tell();
    }
}

/// Behind a fault of the kernel's, the next handler may abort: std's does, for a stack overflow, on an alternate stack of a few
/// KiB, where a second signal has no room.
fn abort_at_once() {
    // SAFETY: signal(2) is signal-safe, and the default needs no handler.
    unsafe { libc::signal(SIGABRT, SIG_DFL) };
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
        shm::{memory::SharedMemory, ring::MIN_CAPACITY},
        wire::{fault::FaultKind, ids::Generation},
        worker::{fault, link::AnalyticsLink},
    };
    use rustix::process::{Pid, Signal, kill_process};
    use std::{
        env,
        io::{BufRead as _, BufReader},
        os::unix::process::ExitStatusExt as _,
        process::{self, Command, ExitStatus, Stdio},
    };

    const FAULT: &str = "BULKHEAD_TEST_SIGNALS";

    fn note() {
        let memory = SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap();
        this_process::register(AnalyticsLink::open_in_process(&memory).unwrap().cursor, Generation(7));
        record_fault_signals().unwrap();
    }

    /// Runs this very test again as a child, which dies of this.
    fn death(test: &str, fault: &str) -> ExitStatus {
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("worker::signals::tests::{test}"), "--nocapture"])
            .env(FAULT, fault)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap()
    }

    /// Runs this very test again as a child, which is aborted when it is ready to tell, or aborts itself.
    fn told_when_aborted(by: &str) -> (String, Option<i32>) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "worker::signals::tests::who_is_aborted_by_another_tells_first", "--nocapture"])
            .env(FAULT, by)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find(|line| line.contains("ready")).unwrap();
        if by == "another" {
            kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
        }
        (lines.collect(), child.wait().unwrap().signal())
    }

    #[test]
    fn who_is_aborted_by_another_tells_first() {
        if let Ok(by) = env::var(FAULT) {
            // Around the lock of std's: whoever is interrupted may hold it.
            let say = |line: &[u8]| assert!(rustix::io::write(rustix::stdio::stdout(), line).is_ok());
            on_abort_from_outside(move || say(b"told\n")).unwrap();
            say(b"ready\n");
            match by.as_str() {
                "itself" => process::abort(),
                _ => loop {
                    std::thread::park();
                },
            }
        }
        assert_eq!(told_when_aborted("another"), ("told".to_owned(), Some(SIGABRT)));
        assert_eq!(told_when_aborted("itself"), (String::new(), Some(SIGABRT)));
    }

    /// Leaves in a way of its own.
    extern "C" fn leave(_: c_int) {
        // SAFETY: _exit(2) is signal-safe.
        unsafe { libc::_exit(9) };
    }

    #[test]
    fn behind_a_fault_an_abort_takes_no_second_frame_of_the_small_stack() {
        if let Ok(fault) = env::var(FAULT) {
            let handler: extern "C" fn(c_int) = leave;
            // SAFETY: the handler has the form that signal(2) asks for, and is signal-safe.
            unsafe { libc::signal(SIGABRT, handler as libc::sighandler_t) };
            note();
            on_abort_from_outside(|| {}).unwrap();
            fault::execute(fault.parse().unwrap());
        }
        let name = "behind_a_fault_an_abort_takes_no_second_frame_of_the_small_stack";
        let overflow = death(name, FaultKind::StackOverflow.as_str());
        assert_eq!((overflow.signal(), overflow.code()), (Some(SIGABRT), None));
        let abort = death(name, FaultKind::Abort.as_str());
        assert_eq!(abort.code(), Some(9), "without a fault, who handled it before goes on");
    }

    #[test]
    fn each_fault_takes_its_course_as_before() {
        if let Ok(fault) = env::var(FAULT) {
            note();
            match fault.as_str() {
                // SAFETY: raise(3) asks for nothing.
                "raised" => drop(unsafe { libc::raise(SIGFPE) }),
                kind => fault::execute(kind.parse().unwrap()),
            }
        }
        let death = |fault| death("each_fault_takes_its_course_as_before", fault).signal();
        assert_eq!(death(FaultKind::Segv.as_str()), Some(SIGSEGV));
        assert_eq!(death(FaultKind::StackOverflow.as_str()), Some(SIGABRT), "std has told it");
        assert_eq!(death("raised"), Some(SIGFPE));
    }
}
