//! Deaths by lack of memory: recognised from the record of the allocator, or from the kernel's counter; never
//! guessed.

use crate::{
    core::model::{PostMortem, RefusedAllocation, SIGABRT},
    display::format_size,
};

/// Describes the lack of memory, if it caused the death.
pub(in crate::core) fn out_of_memory(post_mortem: &PostMortem) -> Option<String> {
    // A failed allocation aborts. If the process survived one, a later death has another cause.
    if let Some(refusal) = post_mortem.refused.filter(|_| post_mortem.exit.is_signal(SIGABRT)) {
        return Some(describe(refusal));
    }
    let killed = post_mortem.exit.is_kill() && post_mortem.out_of_memory;
    killed.then(|| "killed by the kernel: out of memory".to_owned())
}

fn describe(refusal: RefusedAllocation) -> String {
    let why = match refusal.limit {
        Some(limit) => format!("memory_limit is {}", format_size(limit)),
        None => "the system refused the memory".to_owned(),
    };
    format!("an allocation of {} failed: {why}", format_size(refusal.bytes))
}
