//! Signals to the supervisor, with their origin.
//!
//! No signal that can be handled ends the supervisor without a stop in order. The exceptions are SIGABRT, by which a watchdog ends it,
//! and the signals of a fault in its own code. Workers inherit none of this: exec(2) resets handled signals.

use super::probes::threads::command_name;
use futures_core::Stream as _;
use nix::sys::signal::SigSet;
use procfs::process::Process;
use signal_hook::{
    consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2,
        SIGVTALRM, SIGXCPU, SIGXFSZ,
    },
    iterator::exfiltrator::origin::WithOrigin,
    low_level::{
        siginfo::{Cause, Origin},
        signal_name,
    },
};
use signal_hook_tokio::SignalsInfo;
use std::{collections::BTreeSet, future::poll_fn, io, pin::Pin};

/// Signals that stop the supervisor in order. LXC stops a container by SIGPWR. The kernel sends SIGXCPU before it
/// enforces a limit of processor time by SIGKILL.
const STOP: [i32; 5] = [SIGTERM, SIGINT, SIGQUIT, libc::SIGPWR, SIGXCPU];

/// Signals that would end a process without a handler, and have no meaning here. The real-time signals belong to them.
/// SIGXFSZ: without a handler a write beyond the limit of file sizes would be fatal; with one it fails.
const IGNORED: [i32; 9] =
    [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXFSZ, SIGIO, SIGTRAP, libc::SIGSTKFLT];

/// What a signal requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SupervisorSignal {
    /// Stop.
    Stop {
        /// The signal and its sender.
        origin: String,
        /// Whether a key of the terminal sent it.
        terminal: bool,
    },
    /// Reload the configuration; the origin.
    Reload(String),
    /// Reap orphans.
    Child,
    /// Nothing, for the first time; the origin.
    Ignored(String),
}

/// The registered signals.
pub(super) struct Signals {
    received: SignalsInfo<WithOrigin>,
    /// A SIGHUP that was ignored at the start (nohup(1)) stays ignored.
    ignores_hangup: bool,
    /// The ignored signals that were received.
    ignored: BTreeSet<i32>,
}

impl Signals {
    /// Registers all signals. A signal that the parent of this process left blocked would never arrive.
    pub(super) fn register() -> io::Result<Self> {
        SigSet::all().thread_unblock()?;
        let ignores_hangup = is_ignored(SIGHUP);
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let all = STOP.into_iter().chain(IGNORED).chain([SIGHUP, SIGCHLD]).chain(real_time);
        Ok(Self { received: SignalsInfo::new(all)?, ignores_hangup, ignored: BTreeSet::new() })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SupervisorSignal {
        loop {
            let origin = poll_fn(|cx| Pin::new(&mut self.received).poll_next(cx)).await;
            // The stream ends only when its handle closes it, which never happens.
            let Some(origin) = origin else { return std::future::pending().await };
            if let Some(request) = self.request(&origin) {
                return request;
            }
        }
    }

    /// `None`: nothing, and this was said before.
    fn request(&mut self, origin: &Origin) -> Option<SupervisorSignal> {
        let from_kernel = origin.process.is_none();
        match origin.signal {
            SIGCHLD => Some(SupervisorSignal::Child),
            SIGHUP if !self.ignores_hangup && !from_kernel => {
                Some(SupervisorSignal::Reload(describe(origin)))
            }
            // The controlling terminal is gone.
            SIGHUP if !self.ignores_hangup => {
                Some(SupervisorSignal::Stop { origin: describe(origin), terminal: false })
            }
            signal if STOP.contains(&signal) => {
                let terminal = is_from_key(signal, origin.cause);
                Some(SupervisorSignal::Stop { origin: describe(origin), terminal })
            }
            signal => self.ignored.insert(signal).then(|| SupervisorSignal::Ignored(describe(origin))),
        }
    }
}

/// Whether a key of the terminal sent this signal (Ctrl-C, Ctrl-\\).
fn is_from_key(signal: i32, cause: Cause) -> bool {
    cause == Cause::Kernel && [SIGINT, SIGQUIT].contains(&signal)
}

fn describe(origin: &Origin) -> String {
    let name = signal_name(origin.signal).map_or_else(|| format!("signal {}", origin.signal), str::to_owned);
    match origin.process {
        Some(process) if process.pid > 0 => {
            let command = command_name(process.pid);
            let command = if command.is_empty() { String::new() } else { format!(" ({command})") };
            format!("{name} from pid {}{command}, uid {}", process.pid, process.uid)
        }
        // Sent from another pid namespace.
        Some(_) => format!("{name} from another pid namespace"),
        None if is_from_key(origin.signal, origin.cause) || origin.signal == SIGHUP => {
            format!("{name} from the terminal")
        }
        None => format!("{name} from the kernel"),
    }
}

/// Whether a signal is ignored, from `sigignore` in proc_pid_stat(5). Real-time signals are not in it.
fn is_ignored(signal: i32) -> bool {
    let own = Process::myself().and_then(|own| own.stat());
    own.is_ok_and(|own| own.sigignore & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal_hook::low_level::siginfo::Sent;

    #[test]
    fn rust_programs_ignore_sigpipe_and_not_sigterm() {
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(SIGTERM));
    }

    #[test]
    fn keys_repeat_a_stop_on_purpose_and_programs_may_not() {
        assert!(is_from_key(SIGINT, Cause::Kernel));
        assert!(is_from_key(SIGQUIT, Cause::Kernel));
        assert!(!is_from_key(SIGXCPU, Cause::Kernel));
        assert!(!is_from_key(SIGINT, Cause::Sent(Sent::User)));
    }
}
