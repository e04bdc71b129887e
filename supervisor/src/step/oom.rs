//! Whether a process died for want of memory: its own allocator, or the kernel, must have said so.

use super::{
    Exit, PostMortem, Refusal,
    diagnosis::{SIGABRT, SIGKILL, is_signal},
    mutant::{self, Mutant},
};
use crate::display::format_size;

impl Exit {
    /// Whether SIGKILL ended it.
    #[must_use]
    pub const fn is_kill(self) -> bool {
        is_signal(self, SIGKILL)
    }
}

/// What is to be said of a death for want of memory, if it is one.
pub(super) fn want_of_memory(exit: Exit, seen: &PostMortem) -> Option<String> {
    // Rust's way to die of a refusal; one that was got over has nothing to do with a death of another kind.
    let aborted = is_signal(exit, SIGABRT) || mutant::is(Mutant::HoldOldRefusals);
    if let Some(refusal) = seen.refused.filter(|_| aborted && !mutant::is(Mutant::ForgetRefusals)) {
        return Some(refusal.text());
    }
    let killed = exit.is_kill() && seen.out_of_memory;
    killed.then(|| "killed by the kernel for want of memory".to_owned())
}

impl Refusal {
    fn text(self) -> String {
        let why = match self.limit {
            Some(limit) => format!("memory_limit is {}", format_size(limit)),
            None => "the system has no more, or does not give it".to_owned(),
        };
        format!("{} more were refused: {why}", format_size(self.bytes))
    }
}
