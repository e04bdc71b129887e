//! Processes whose parents are gone: as PID 1, and as a subreaper, they become ours and must be reaped.

use super::table::Children;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open},
};
use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

/// So many a turn; more come with the next SIGCHLD or death.
const REAP_BATCH: usize = 256;

/// Children that this process had before it started any: those of a program that became this one by exec.
#[derive(Debug)]
pub(in crate::runtime) struct PreexistingChildren(Vec<Pid>);

/// Makes this process the new parent of its descendants' orphans, so that none outlives the service unnoticed. To be called
/// before the first worker is started.
pub(in crate::runtime) fn adopt() -> PreexistingChildren {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!("orphans of workers cannot be reaped here: {error}");
    }
    PreexistingChildren(own_children())
}

/// Reaps all orphans that are gone. Workers are left to their pidfds: reaped here, their exit would be lost, and their pids
/// could be reused under us.
pub(in crate::runtime) fn reap(children: &Children) {
    for _ in 0..REAP_BATCH {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let Ok(status) = waitid(Id::All, look) else { return };
        let Some(pid) = status.pid() else { return };
        if children.contains_pid(pid.as_raw()) {
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
/// service has started stays behind. Whoever dies here may leave orphans of its own: these are ours then, too.
pub(in crate::runtime) fn end(preexisting: &PreexistingChildren, timeout: Duration) {
    let until = Instant::now() + timeout;
    while Instant::now() < until {
        let mut left = own_children();
        left.retain(|pid| !preexisting.0.contains(pid));
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, until);
        }
    }
}

/// Kills an orphan, and reaps it once it is gone.
fn kill(pid: Pid, until: Instant) {
    let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    tracing::warn!(pid = pid.as_raw_nonzero().get(), "left behind by a worker, killed: {}", command.trim());
    // It is no stranger: its pid is ours to reap, so nobody else can have got it.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
    // Readable once it is gone; one that is stuck in the kernel is given up.
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()).is_ok_and(|ready| ready > 0) {
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
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
