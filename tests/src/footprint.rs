//! What a process holds and how often it wakes up, as /proc says.

use procfs::process::Process;
use std::collections::BTreeMap;

/// What a process holds. Sizes are KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Its open fds.
    pub fds: usize,
    /// Its memory mappings.
    pub mappings: usize,
    /// Its children that are dead and were not reaped.
    pub zombies: usize,
    /// Its children that live.
    pub children: usize,
    /// What is in memory of it: the three below together.
    pub resident: u64,
    /// … of its own: heap and stacks.
    pub anonymous: u64,
    /// … of files, its program first of all.
    pub files: u64,
    /// … of shared memory.
    pub shared: u64,
}

impl Footprint {
    /// What it holds now.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let process = Process::new(pid).unwrap();
        let status = process.status().unwrap();
        let dead: Vec<bool> = crate::process::tree(pid)
            .iter()
            .filter_map(|below| below.stat().ok())
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
            files: status.rssfile.unwrap(),
            shared: status.rssshmem.unwrap(),
        }
    }

    /// The same but for memory, which need not be the same to the page.
    #[must_use]
    pub fn holds_as_much_as(&self, other: &Self) -> bool {
        let count = |of: &Self| (of.fds, of.mappings, of.zombies, of.children);
        count(self) == count(other)
    }
}

/// How often each thread of a process was switched away from so far: by waiting, and by others' turn. One that has not
/// run since shows the same numbers.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn switches(pid: i32) -> BTreeMap<i32, (u64, u64)> {
    let tasks = Process::new(pid).unwrap().tasks().unwrap().map(Result::unwrap);
    tasks
        .map(|task| {
            let status = task.status().unwrap();
            let waited = status.voluntary_ctxt_switches.unwrap();
            (task.tid, (waited, status.nonvoluntary_ctxt_switches.unwrap()))
        })
        .collect()
}
