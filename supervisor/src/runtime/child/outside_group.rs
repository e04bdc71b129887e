//! What `bulkhead status` shows of the processes that workers started: those outside of the process group of their worker.

use super::{Children, descendants::named_worker, orphans::own_children};
use procfs::process::{Process, Stat};
use rustix::process::Pid;
use std::collections::BTreeMap;

/// Most processes that are looked at, so that the supervisor is not kept from its work: each takes some 20 µs. With more
/// processes, the numbers are too low.
const MAX_INSPECTED: usize = 1_000;

/// Numbers of running processes outside of the process groups of their workers.
#[derive(Debug, Default)]
pub(in crate::runtime) struct OutsideGroup {
    /// By worker. Workers without such processes are left out.
    pub(in crate::runtime) of_worker: BTreeMap<String, u32>,
    /// Processes that lost their parent, and whose environment names no plain worker that has a process.
    pub(in crate::runtime) of_unknown: u32,
}

impl Children {
    /// Counts the processes below each plain worker, and those that lost their parent and are children of the supervisor.
    pub(in crate::runtime) fn outside_group(&self) -> OutsideGroup {
        // The first process of each worker, with the name if the worker is plain.
        let leaders: BTreeMap<i32, Option<&str>> = self
            .live
            .values()
            .map(|child| (child.pid().as_raw_pid(), child.plain_worker.as_deref()))
            .collect();
        let mut found = OutsideGroup::default();
        let mut inspected = 0;
        let roots = own_children().into_iter().filter(|pid| !self.preexisting.contains(*pid));
        for (process, stat) in roots.map(Pid::as_raw_pid).filter_map(running) {
            let group = leaders.get(&stat.pid).or_else(|| leaders.get(&stat.pgrp));
            let worker = match group {
                Some(None) => continue,
                Some(Some(worker)) => Some((*worker).to_owned()),
                None => {
                    named_worker(&process).filter(|name| leaders.values().any(|plain| *plain == Some(name)))
                }
            };
            let Some(worker) = worker else {
                found.of_unknown += 1;
                continue;
            };
            let in_group = |stat: &Stat| leaders.get(&stat.pgrp).copied().flatten() == Some(&*worker);
            let count = count_below(process, stat, in_group, &mut inspected);
            if count > 0 {
                *found.of_worker.entry(worker).or_default() += count;
            }
        }
        found
    }
}

/// Counts a process and all below it that are not in the group.
fn count_below(process: Process, stat: Stat, in_group: impl Fn(&Stat) -> bool, inspected: &mut usize) -> u32 {
    let (mut count, mut pending) = (0, vec![(process, stat)]);
    while let Some((process, stat)) = pending.pop() {
        *inspected += 1;
        if *inspected > MAX_INSPECTED {
            break;
        }
        count += u32::from(!in_group(&stat));
        let children =
            process.tasks().into_iter().flatten().flatten().filter_map(|task| task.children().ok());
        pending.extend(children.flatten().filter_map(|pid| running(i32::try_from(pid).ok()?)));
    }
    count
}

/// A process that has not exited.
fn running(pid: i32) -> Option<(Process, Stat)> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X')).then_some((process, stat))
}
