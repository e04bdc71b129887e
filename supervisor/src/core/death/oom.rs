//! Whether a process died for want of memory: its own allocator, or the kernel, must have said so.

use crate::config::units::show_size;
use crate::core::{
    model::{ExitStatus, PostMortem, RefusedAllocation, SIGABRT, is_signal},
    mutant::{self, Mutant},
};

/// What is to be said of a death for want of memory, if it is one.
pub(in crate::core) fn out_of_memory(exit: ExitStatus, seen: &PostMortem) -> Option<String> {
    // Rust's way to die of a refusal; one that was got over has nothing to do with a death of another kind.
    let aborted = is_signal(exit, SIGABRT) || mutant::is(Mutant::HoldOldRefusals);
    if let Some(refusal) = seen.refused.filter(|_| aborted && !mutant::is(Mutant::ForgetRefusals)) {
        return Some(refusal.text());
    }
    let killed = exit.is_kill() && seen.out_of_memory;
    killed.then(|| "killed by the kernel for want of memory".to_owned())
}

impl RefusedAllocation {
    fn text(self) -> String {
        let why = match self.limit {
            Some(limit) => format!("memory_limit is {}", show_size(limit)),
            None => "the system has no more, or does not give it".to_owned(),
        };
        format!("{} more were refused: {why}", show_size(self.bytes))
    }
}
