//! The memory limit of a process, and the order in which the kernel kills when memory is short.

use crate::{config::WorkerConfig, display::format_size};
use bulkhead_proto::wire::{ids::Generation, role::Role};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::{fs, io};

/// What the OOM score of a worker is above that of the supervisor, in thousandths of the machine's memory
/// (proc_pid_oom_score_adj(5)). The supervisor goes last: its death is the only one that loses something. The analysis grows
/// with its input and may die without losing a response, so it goes before the API and other services, unless one
/// of those uses more than half of the machine.
const fn oom_score_distance(role: Role) -> i32 {
    match role {
        Role::Analytics => 500,
        Role::Api | Role::Plain => 100,
    }
}

/// The highest value of `oom_score_adj`.
const MAX_OOM_SCORE_ADJ: i32 = 1000;

/// Without privileges a process may raise the score of its children, and not lower it.
fn raise_oom_score(pid: Pid, role: Role) -> io::Result<()> {
    let own = fs::read_to_string("/proc/self/oom_score_adj")?;
    let own: i32 = own.trim().parse().map_err(io::Error::other)?;
    let score = own.saturating_add(oom_score_distance(role)).min(MAX_OOM_SCORE_ADJ);
    fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_pid()), score.to_string())
}

/// Limits a process that was just started; returns the limit in bytes. It is set from outside because a
/// program that knows nothing of Bulkhead does not limit itself. It is not set between fork and exec because
/// that would take unsafe code. No program grows large in the microseconds before, and the limit includes
/// what the process has allocated already.
pub(in crate::runtime) fn apply(pid: Pid, worker: &WorkerConfig, generation: Generation) -> Option<u64> {
    if let Err(error) = raise_oom_score(pid, worker.role) {
        tracing::debug!(generation = generation.0, "cannot raise the OOM score of {}: {error}", worker.name);
    }
    let wanted = worker.memory_limit?;
    // The supervisor itself may run under a hard limit, which its children cannot exceed.
    let limit = getrlimit(Resource::Data).maximum.map_or(wanted, |limit| limit.min(wanted));
    match prlimit(Some(pid), Resource::Data, Rlimit { current: Some(limit), maximum: Some(limit) }) {
        Ok(_) => Some(limit),
        Err(error) => {
            tracing::error!(
                generation = generation.0,
                "{} runs without its memory_limit of {}: cannot set it: {error}",
                worker.name,
                format_size(wanted)
            );
            None
        }
    }
}
