//! Processes whose parents are gone: as PID 1, and as a subreaper, they become ours and must be reaped.

use super::children::Children;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

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

/// Ends what has escaped from the workers' process groups and became ours: at the end of an orderly stop, nothing that the
/// service has started stays behind.
pub(super) fn end() {
    for pid in own_children() {
        let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        tracing::warn!(
            pid = pid.as_raw_nonzero().get(),
            "left behind by a worker, killed: {}",
            command.trim()
        );
        // It is no stranger: its pid is ours to reap, so nobody else can have got it.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// From `/proc/self/task/TID/children` (proc_tid_children(5)); empty on kernels that do not have it.
fn own_children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>()
        })
        .collect()
}
