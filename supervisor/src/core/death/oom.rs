//! Deaths by lack of memory: recognised from the record of the allocator, or from the kernel's counter; never
//! guessed.

use crate::{
    core::model::{ExitStatus, PostMortem, RefusedAllocation, SIGABRT, is_signal},
    display::format_size,
};

/// Describes the lack of memory, if it caused the death.
pub(in crate::core) fn out_of_memory(exit: ExitStatus, post_mortem: &PostMortem) -> Option<String> {
    // A failed allocation aborts. If the process survived one, a later death has another cause.
    if let Some(refusal) = post_mortem.refused.filter(|_| is_signal(exit, SIGABRT)) {
        return Some(refusal.text());
    }
    let killed = exit.is_kill() && post_mortem.out_of_memory;
    killed.then(|| "killed by the kernel: out of memory".to_owned())
}

impl RefusedAllocation {
    fn text(self) -> String {
        let why = match self.limit {
            Some(limit) => format!("memory_limit is {}", format_size(limit)),
            None => "the system refused the memory".to_owned(),
        };
        format!("an allocation of {} failed: {why}", format_size(self.bytes))
    }
}
