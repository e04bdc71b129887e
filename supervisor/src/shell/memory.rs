//! How much memory a process may take, and whom the kernel shall kill first when it has none left.

use crate::{config::WorkerPlan, display::format_size};
use bulkhead_proto::{ids::Generation, words::Role};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::fs;

/// Half of the machine's memory is added to what the analysis is rated by (proc_pid_oom_score_adj(5)): it is the part that
/// grows by what strangers send and that may die without costing anybody an answer, so it goes before the API, the
/// supervisor and the neighbours; unless one of those takes more than half of the machine.
const FIRST_CHOICE: &str = "500";

/// Bounds a process that was just started; the limit that holds for it, in bytes. Set from outside, for a program that
/// knows nothing of Bulkhead does not limit itself, and not between fork and exec, where that would take unsafe code: in
/// the microseconds until now no program grows large, and the limit counts what it has taken already.
pub(super) fn bound(pid: Pid, worker: &WorkerPlan, generation: Generation) -> Option<u64> {
    if worker.role == Role::Analytics
        && let Err(error) = fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_pid()), FIRST_CHOICE)
    {
        tracing::debug!(
            generation = generation.0,
            "{} cannot be made the kernel's first choice for want of memory: {error}",
            worker.name
        );
    }
    let wanted = worker.memory_limit?;
    // Somebody may have limited this process and all that it starts, which it cannot undo.
    let most = getrlimit(Resource::Data).maximum.map_or(wanted, |most| most.min(wanted));
    match prlimit(Some(pid), Resource::Data, Rlimit { current: Some(most), maximum: Some(most) }) {
        Ok(_) => Some(most),
        Err(error) => {
            tracing::error!(
                generation = generation.0,
                "{} runs without its memory_limit of {}, which cannot be set: {error}",
                worker.name,
                format_size(wanted)
            );
            None
        }
    }
}
