//! Signal handlers of a worker. One ignores signals without a meaning for a worker. One records a fault signal before the
//! process dies of it, because the parent learns neither why the kernel sent the signal nor which address failed. One runs
//! a callback when another process aborts this process because it hangs.

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

/// The handled signals, and the action that was installed before ours: std reports stack overflows in such a handler.
static PREVIOUS: [(c_int, OnceLock<libc::sigaction>); 5] = [
    (SIGABRT, OnceLock::new()),
    (SIGSEGV, OnceLock::new()),
    (SIGBUS, OnceLock::new()),
    (SIGILL, OnceLock::new()),
    (SIGFPE, OnceLock::new()),
];

/// The callback for an abort by another process, and the process that registered it: a forked child must not run it.
static ON_ABORT: OnceLock<(Pid, Box<dyn Fn() + Send + Sync>)> = OnceLock::new();

/// A SIGABRT of another process arrived on a thread other than the main thread.
static FORWARDED: AtomicBool = AtomicBool::new(false);

/// The fault signals: the kernel sends them for an invalid memory access, an illegal instruction or an arithmetic
/// error.
const FAULT_SIGNALS: [c_int; 4] = [SIGSEGV, SIGBUS, SIGILL, SIGFPE];

/// Signals that would end this process and have no meaning for a worker, such as one that was sent to a whole group of
/// processes. The real-time signals belong to them. SIGXFSZ: the write then fails instead.
const UNEXPECTED_SIGNALS: [c_int; 11] = [
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXFSZ,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// From now on, an unexpected signal has no effect on this process. Its children get the usual effects again, which exec(2)
/// would not restore for signals that are ignored: so these signals are handled. A program may install its own handlers
/// afterwards.
///
/// # Errors
/// If the system refuses a handler.
pub fn ignore_unexpected_signals() -> io::Result<()> {
    let handler: extern "C" fn(c_int) = do_nothing;
    for number in UNEXPECTED_SIGNALS.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        // SAFETY: the handler has the signature that signal(2) requires, and does nothing. With glibc and musl, interrupted
        // system calls are restarted.
        if unsafe { libc::signal(number, handler as libc::sighandler_t) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn do_nothing(_: c_int) {}

/// From now on, a fault signal of this process is recorded on its cursor page ([`this_process`]) and then has its usual
/// effect. Permanent: a later call changes nothing.
///
/// # Errors
/// If the system refuses a handler.
pub fn record_fault_signals() -> io::Result<()> {
    FAULT_SIGNALS.into_iter().try_for_each(|number| install(number, SA_ONSTACK))
}

/// From now on, a SIGABRT from another process runs `callback` on the main thread, in the middle of whatever that thread
/// does; then the signal has its usual effect. `callback` should neither allocate nor wait for a lock, because the
/// interrupted code may hold it. The sender must follow up with SIGKILL: the supervisor does so half a second later.
/// Permanent: a later call changes nothing.
///
/// # Errors
/// If the system refuses a handler.
pub fn on_abort_from_outside(callback: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let _ = ON_ABORT.set((getpid(), Box::new(callback)));
    install(SIGABRT, 0)
}

fn previous(number: c_int) -> Option<&'static OnceLock<libc::sigaction>> {
    PREVIOUS.iter().find(|(of, _)| *of == number).map(|(_, previous)| previous)
}

/// `stack` is `SA_ONSTACK` for signals of a thread that may have exhausted its stack. The alternate stack is too small for
/// a backtrace.
fn install(number: c_int, stack: c_int) -> io::Result<()> {
    let mut previous_action = MaybeUninit::zeroed();
    // SAFETY: without a new action, sigaction(2) only writes the present action, for which there is room.
    if unsafe { libc::sigaction(number, ptr::null(), previous_action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: sigaction(2) has succeeded, so it has written the value.
    let previous_action: libc::sigaction = unsafe { previous_action.assume_init() };
    // Store it before our handler, which reads it, is installed.
    if previous(number).is_some_and(|previous| previous.set(previous_action).is_err()) {
        return Ok(());
    }
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = handle;
    let ours =
        libc::sigaction { sa_sigaction: handler as usize, sa_flags: SA_SIGINFO | stack, ..previous_action };
    // SAFETY: the handler has the signature that SA_SIGINFO requires, and does only what signal-safety(7) allows. The
    // exception is the SIGABRT after which the process does nothing else.
    match unsafe { libc::sigaction(number, &raw const ours, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs in the middle of whatever the process does. Stores to mapped memory, and neither locks nor allocates, except in the
/// callback of a process that is aborted because it hangs.
extern "C" fn handle(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to a handler with SA_SIGINFO.
    let siginfo = unsafe { &*info };
    if number == SIGABRT {
        aborted(siginfo);
    } else if let Some((page, generation)) = this_process::cursor_page() {
        // SAFETY: for a fault signal the field holds an address; if a process sent the signal, it holds other plain
        // bytes.
        let address = unsafe { siginfo.si_addr() };
        let signal = SignalInfo { number, code: siginfo.si_code, address: address as u64 };
        cursor::record_signal(page, generation, signal);
    }
    if number != SIGABRT && siginfo.si_code > 0 {
        reset_abort_handler();
    }
    match previous(number).and_then(OnceLock::get) {
        Some(previous_action)
            if previous_action.sa_sigaction != SIG_DFL && previous_action.sa_sigaction != SIG_IGN =>
        {
            if previous_action.sa_flags & SA_SIGINFO == 0 {
                // SAFETY: without SA_SIGINFO, the registered function has this signature.
                let handler =
                    unsafe { transmute::<usize, extern "C" fn(c_int)>(previous_action.sa_sigaction) };
                handler(number);
            } else {
                type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                // SAFETY: with SA_SIGINFO, the registered function has this signature.
                let handler = unsafe { transmute::<usize, Handler>(previous_action.sa_sigaction) };
                handler(number, info, context);
            }
        }
        Some(_) | None => by_default(number, siginfo.si_code),
    }
}

/// A process that aborts itself (out of memory, for example) has already reported why, and ends at once. An abort by
/// another process is handled on the main thread; if the process was stopped, any thread may receive the signal first.
fn aborted(info: &siginfo_t) {
    // SAFETY: the pid of the sender, if the code says that a process sent the signal; otherwise other plain bytes.
    let sender = unsafe { info.si_pid() };
    let (this_process, this_thread) = (getpid(), gettid());
    let by_another = info.si_code == libc::SI_USER && sender != this_process.as_raw_pid();
    if by_another && this_thread != this_process {
        FORWARDED.store(true, Ordering::Relaxed);
        // SAFETY: sends a signal to a thread of this process, whose handler ends the process.
        unsafe {
            libc::syscall(libc::SYS_tgkill, this_process.as_raw_pid(), this_process.as_raw_pid(), SIGABRT)
        };
        loop {
            // SAFETY: pause(2) has no preconditions; the main thread ends this thread.
            unsafe { libc::pause() };
        }
    }
    if (by_another || FORWARDED.load(Ordering::Relaxed))
        && let Some((_, callback)) = ON_ABORT.get().filter(|(pid, _)| *pid == this_process)
    {
        callback();
    }
}

/// After a fault signal from the kernel, the next handler may abort. std's handler does so for a stack overflow, on an
/// alternate stack of a few KiB, which has no room for a second signal frame.
fn reset_abort_handler() {
    // SAFETY: signal(2) is signal-safe, and the default action needs no handler.
    unsafe { libc::signal(SIGABRT, SIG_DFL) };
}

/// Makes the process die of the signal, which is the default action. After a fault, the faulting instruction runs and
/// faults again; a signal that a process sent is raised again.
fn by_default(number: c_int, code: c_int) {
    // SAFETY: signal(2) and raise(3) are signal-safe, and the default action needs no handler.
    unsafe { libc::signal(number, SIG_DFL) };
    if code <= 0 {
        // SAFETY: as above. The signal is blocked while it is handled, and takes effect afterwards.
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

    fn register() {
        let memory = SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap();
        this_process::register(AnalyticsLink::open_in_process(&memory).unwrap().cursor, Generation(7));
        record_fault_signals().unwrap();
    }

    /// Runs a test again as a child process, which dies of this fault.
    fn death(test: &str, fault: &str) -> ExitStatus {
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("worker::signals::tests::{test}"), "--nocapture"])
            .env(FAULT, fault)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap()
    }

    /// Runs the test again as a child process, which is aborted by this process when it is ready, or aborts itself.
    fn output_when_aborted(by: &str) -> (String, Option<i32>) {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "worker::signals::tests::an_abort_by_another_process_runs_the_callback_first",
                "--nocapture",
            ])
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
    fn an_abort_by_another_process_runs_the_callback_first() {
        if let Ok(by) = env::var(FAULT) {
            // Without std's lock of stdout, which the interrupted code may hold.
            let say = |line: &[u8]| assert!(rustix::io::write(rustix::stdio::stdout(), line).is_ok());
            on_abort_from_outside(move || say(b"called\n")).unwrap();
            say(b"ready\n");
            match by.as_str() {
                "itself" => process::abort(),
                _ => loop {
                    std::thread::park();
                },
            }
        }
        assert_eq!(output_when_aborted("another"), ("called".to_owned(), Some(SIGABRT)));
        assert_eq!(output_when_aborted("itself"), (String::new(), Some(SIGABRT)));
    }

    #[test]
    fn unexpected_signals_end_no_worker_and_its_children_get_the_usual_effects() {
        ignore_unexpected_signals().unwrap();
        for number in UNEXPECTED_SIGNALS.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            // SAFETY: raise(3) has no preconditions.
            assert_eq!(unsafe { libc::raise(number) }, 0, "{number}");
        }
        let child = Command::new("sh").args(["-c", "kill -USR1 $$"]).status().unwrap();
        assert_eq!(child.signal(), Some(libc::SIGUSR1));
    }

    /// Exits with code 9.
    extern "C" fn exit_9(_: c_int) {
        // SAFETY: _exit(2) is signal-safe.
        unsafe { libc::_exit(9) };
    }

    #[test]
    fn after_a_fault_an_abort_needs_no_second_frame_of_the_alternate_stack() {
        if let Ok(fault) = env::var(FAULT) {
            let handler: extern "C" fn(c_int) = exit_9;
            // SAFETY: the handler has the signature that signal(2) requires, and is signal-safe.
            unsafe { libc::signal(SIGABRT, handler as libc::sighandler_t) };
            register();
            on_abort_from_outside(|| {}).unwrap();
            fault::execute(fault.parse().unwrap());
        }
        let name = "after_a_fault_an_abort_needs_no_second_frame_of_the_alternate_stack";
        let overflow = death(name, FaultKind::StackOverflow.as_str());
        assert_eq!((overflow.signal(), overflow.code()), (Some(SIGABRT), None));
        let abort = death(name, FaultKind::Abort.as_str());
        assert_eq!(abort.code(), Some(9), "without a fault, the previous handler runs");
    }

    #[test]
    fn each_fault_ends_the_process_as_without_handlers() {
        if let Ok(fault) = env::var(FAULT) {
            register();
            match fault.as_str() {
                // SAFETY: raise(3) has no preconditions.
                "raised" => drop(unsafe { libc::raise(SIGFPE) }),
                kind => fault::execute(kind.parse().unwrap()),
            }
        }
        let death = |fault| death("each_fault_ends_the_process_as_without_handlers", fault).signal();
        assert_eq!(death(FaultKind::Segv.as_str()), Some(SIGSEGV));
        assert_eq!(death(FaultKind::StackOverflow.as_str()), Some(SIGABRT), "std has reported it");
        assert_eq!(death("raised"), Some(SIGFPE));
    }
}
