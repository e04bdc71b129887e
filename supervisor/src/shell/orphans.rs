//! Processes whose parents are gone: as PID 1, and as a subreaper, they become ours and must be reaped.

use super::children::Children;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

/// So many a turn; more come with the next SIGCHLD or death.
const AT_ONCE: usize = 256;

/// Makes this process the new parent of its descendants' orphans, so that none outlives the service unnoticed.
pub(super) fn adopt() {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!("orphans of workers cannot be reaped here: {error}");
    }
}

/// Reaps all orphans that are gone. Workers are left to their pidfds: reaped here, their exit would be lost, and their pids
/// could be reused under us.
pub(super) fn reap(children: &Children) {
    for _ in 0..AT_ONCE {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let Ok(status) = waitid(Id::All, look) else { return };
        let Some(pid) = status.pid() else { return };
        if children.knows(pid.as_raw()) {
            // It stands before the others until it is buried; they are looked for again then.
            return;
        }
        if waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG).is_err() {
            return;
        }
        tracing::debug!(pid = pid.as_raw(), "an orphan is gone, reaped");
    }
}
