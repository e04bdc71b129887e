//! Signals to the supervisor, with their origin.

use super::probes::threads::command_name;
use futures_core::Stream as _;
use procfs::process::Process;
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    iterator::exfiltrator::origin::WithOrigin,
    low_level::{siginfo::Origin, signal_name},
};
use signal_hook_tokio::SignalsInfo;
use std::{future::poll_fn, io, pin::Pin};

/// What a signal requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SupervisorSignal {
    /// Stop; the origin.
    Stop(String),
    /// Reload the configuration; the origin.
    Reload(String),
    /// Reap orphans.
    Child,
}

/// The registered signals.
pub(super) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Registers for SIGTERM, SIGINT, SIGHUP and SIGCHLD. A SIGHUP that was ignored at the start (nohup(1))
    /// stays ignored.
    pub(super) fn register() -> io::Result<Self> {
        let mut signals = vec![SIGTERM, SIGINT, SIGCHLD];
        if !is_ignored(SIGHUP) {
            signals.push(SIGHUP);
        }
        Ok(Self(SignalsInfo::new(signals)?))
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SupervisorSignal {
        match poll_fn(|cx| Pin::new(&mut self.0).poll_next(cx)).await {
            Some(origin) if origin.signal == SIGCHLD => SupervisorSignal::Child,
            // A SIGHUP from the kernel means that the controlling terminal is gone.
            Some(origin) if origin.signal == SIGHUP && origin.process.is_some() => {
                SupervisorSignal::Reload(describe(&origin))
            }
            Some(origin) => SupervisorSignal::Stop(describe(&origin)),
            // The stream ends only when its handle closes it, which never happens.
            None => std::future::pending().await,
        }
    }
}

fn describe(origin: &Origin) -> String {
    let name = signal_name(origin.signal).unwrap_or("a signal");
    match origin.process {
        Some(process) if process.pid > 0 => {
            let command = command_name(process.pid);
            let command = if command.is_empty() { String::new() } else { format!(" ({command})") };
            format!("{name} from pid {}{command}, uid {}", process.pid, process.uid)
        }
        // Sent from another pid namespace.
        Some(_) => format!("{name} from another pid namespace"),
        None => format!("{name} from the terminal"),
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

    #[test]
    fn rust_programs_ignore_sigpipe_and_not_sigterm() {
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(SIGTERM));
    }
}
