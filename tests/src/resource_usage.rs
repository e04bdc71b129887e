//! The resources that a process holds and its context switches, read from /proc.

use procfs::process::Process;
use std::collections::BTreeMap;

/// The resources that a process holds. Sizes are in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceUsage {
    /// Open file descriptors.
    pub fds: usize,
    /// Memory mappings.
    pub mappings: usize,
    /// Children that are dead and not reaped.
    pub zombies: usize,
    /// Children that run.
    pub children: usize,
    /// Resident memory: the sum of the three fields below.
    pub resident: u64,
    /// Private memory: heap and stacks.
    pub anonymous: u64,
    /// Resident pages of files, mostly of the program.
    pub file_backed: u64,
    /// Resident pages of shared memory.
    pub shared: u64,
}

impl ResourceUsage {
    /// The resources that the process holds now.
    ///
    /// # Panics
    /// If there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let process = Process::new(pid).unwrap();
        let status = process.status().unwrap();
        let dead: Vec<bool> = crate::process::tree(pid)
            .iter()
            .filter_map(|descendant| descendant.stat().ok())
            .filter(|stat| stat.ppid == pid)
            .map(|stat| stat.state == 'Z')
            .collect();
        let zombies = dead.iter().filter(|dead| **dead).count();
        Self {
            fds: process.fd_count().unwrap(),
            mappings: process.maps().unwrap().len(),
            zombies,
            children: dead.len() - zombies,
            resident: status.vmrss.unwrap(),
            anonymous: status.rssanon.unwrap(),
            file_backed: status.rssfile.unwrap(),
            shared: status.rssshmem.unwrap(),
        }
    }

    /// Whether all counts are equal. Memory sizes may differ by some pages and are not compared.
    #[must_use]
    pub fn same_counts_as(&self, other: &Self) -> bool {
        let counts = |usage: &Self| (usage.fds, usage.mappings, usage.zombies, usage.children);
        counts(self) == counts(other)
    }
}

/// The peak of the resident memory of a process since it was started, in KiB.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn peak_resident_kib(pid: i32) -> u64 {
    Process::new(pid).unwrap().status().unwrap().vmhwm.unwrap()
}

/// The voluntary and involuntary context switches of each thread of a process. They are unchanged if the thread has not
/// run since the last call.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn context_switches(pid: i32) -> BTreeMap<i32, (u64, u64)> {
    let tasks = Process::new(pid).unwrap().tasks().unwrap().map(Result::unwrap);
    tasks
        .map(|task| {
            let status = task.status().unwrap();
            let voluntary = status.voluntary_ctxt_switches.unwrap();
            (task.tid, (voluntary, status.nonvoluntary_ctxt_switches.unwrap()))
        })
        .collect()
}
