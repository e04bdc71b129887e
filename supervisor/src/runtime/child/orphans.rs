//! Orphans: processes that lost their parent. As PID 1 or subreaper, the supervisor inherits them and must
//! reap them.

use crate::runtime::probes::threads::command_name;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use procfs::process::Process;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open},
};
use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

/// Maximum number of orphans reaped at once. More follow with the next SIGCHLD or death.
const REAP_BATCH: usize = 256;

/// Reaps what has exited, and does not wait.
const EXITED_NOW: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG);

/// Children that this process had before it started any: those of a program that became the supervisor by
/// exec.
#[derive(Debug)]
pub(in crate::runtime) struct PreexistingChildren(Vec<Pid>);

impl PreexistingChildren {
    pub(super) fn contains(&self, pid: Pid) -> bool {
        self.0.contains(&pid)
    }
}

/// Makes this process the parent of its descendants' orphans, so that none outlives the service unnoticed.
/// Must be called before the first worker starts.
pub(in crate::runtime) fn become_subreaper() -> PreexistingChildren {
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!("cannot become a subreaper, orphans of workers are not reaped: {error}");
    }
    PreexistingChildren(own_children())
}

/// Reaps all orphans that have exited. Workers are left to their pidfds: if they were reaped here, their exit
/// status would be lost, and their pids could be reused.
pub(in crate::runtime) fn reap(is_worker: impl Fn(i32) -> bool) {
    for _ in 0..REAP_BATCH {
        let Ok(status) = waitid(Id::All, EXITED_NOW | WaitPidFlag::WNOWAIT) else { return };
        let Some(pid) = status.pid() else { return };
        if is_worker(pid.as_raw()) {
            // waitid(2) may return this worker first until it is reaped.
            for pid in own_children().into_iter().filter(|pid| !is_worker(pid.as_raw_pid())) {
                let _ = waitid(Id::Pid(nix::unistd::Pid::from_raw(pid.as_raw_pid())), EXITED_NOW);
            }
            return;
        }
        if waitid(Id::Pid(pid), EXITED_NOW).is_err() {
            return;
        }
        tracing::debug!(pid = pid.as_raw(), "orphan reaped");
    }
}

/// Ends the processes that escaped from the process groups of workers: after an orderly stop, nothing that
/// the service started remains. The orphans of a killed process are handled as well.
pub(in crate::runtime) fn kill_remaining(preexisting: &PreexistingChildren, timeout: Duration) {
    let until = Instant::now() + timeout;
    while Instant::now() < until {
        let mut left = own_children();
        left.retain(|pid| !preexisting.contains(*pid));
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, until);
        }
    }
}

/// Kills an orphan, and reaps it once it has exited.
fn kill(pid: Pid, until: Instant) {
    let (pid_number, command) = (pid.as_raw_pid(), command_name(pid.as_raw_pid()));
    tracing::warn!(pid = pid_number, "killed a process that a worker left behind: {command}");
    // The orphan is our child and is not reaped yet, so its pid cannot belong to another process.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
    // The pidfd is readable once the process has exited. A process stuck in the kernel is given up.
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()).is_ok_and(|ready| ready > 0) {
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The children of all our threads (proc_tid_children(5)); empty on kernels that do not list them.
pub(super) fn own_children() -> Vec<Pid> {
    let tasks = Process::myself().and_then(|own| own.tasks()).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| task.children().ok()).flatten();
    children.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).collect()
}
