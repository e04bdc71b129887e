//! Facts about processes, read from /proc, and signals to processes that the tests started.

use crate::log::{Log, eventually};
use nix::{sys::signal::kill, unistd::Pid};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

pub use nix::sys::signal::Signal;
pub use procfs::process::FDTarget;

/// Sends a signal. A process that has ended is not an error: it may end at any time.
///
/// # Panics
/// If the signal is not permitted.
pub fn signal(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("{signal} to {pid}: {error}"),
    }
}

/// The parent of a process; `None` if there is no such process.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    Some(Process::new(pid).ok()?.stat().ok()?.ppid)
}

/// Whether no thread of a process runs: each is stopped, or there is no such process.
#[must_use]
pub fn is_stopped(pid: i32) -> bool {
    let tasks = Process::new(pid).and_then(|process| process.tasks()).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.stat().ok()).all(|stat| stat.state == 'T')
}

/// The CPU time of a process, in clock ticks.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = Process::new(pid).unwrap().stat().unwrap();
    stat.utime + stat.stime
}

/// A process and all its descendants. The handles stay valid if a pid is reused.
#[must_use]
pub fn tree(pid: i32) -> Vec<Process> {
    let Ok(root) = Process::new(pid) else { return Vec::new() };
    let children: Vec<u32> = root
        .tasks()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| task.children().ok())
        .flatten()
        .collect();
    let descendants = children.into_iter().filter_map(|child| i32::try_from(child).ok()).flat_map(tree);
    std::iter::once(root).chain(descendants).collect()
}

/// The processes that still run, as text for the message of a failure.
#[must_use]
pub fn alive(processes: &[Process]) -> Vec<String> {
    processes
        .iter()
        .filter(|process| process.is_alive())
        .map(|process| format!("{} {:?}", process.pid(), process.cmdline().unwrap_or_default()))
        .collect()
}

/// Waits until none of these processes runs.
///
/// # Panics
/// If one still runs at the deadline.
pub fn wait_until_gone(processes: &[Process], log: &Log) {
    eventually(log, "the processes to end", || alive(processes).is_empty());
}

/// The open file descriptors of a process and their targets, by number.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn fds(pid: i32) -> Vec<(i32, FDTarget)> {
    let mut fds: Vec<_> =
        Process::new(pid).unwrap().fd().unwrap().flatten().map(|fd| (fd.fd, fd.target)).collect();
    fds.sort_by_key(|(number, _)| *number);
    fds
}

/// The permissions of each mapping of a memfd whose name contains `name`.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn memfd_mappings(pid: i32, name: &str) -> Vec<MMPermissions> {
    let named = |map: &MemoryMap| {
        let MMapPath::Path(path) = &map.pathname else { return false };
        path.to_string_lossy().starts_with("/memfd:") && path.to_string_lossy().contains(name)
    };
    let maps = Process::new(pid).unwrap().maps().unwrap();
    maps.iter().filter(|map| named(map)).map(|map| map.perms).collect()
}
