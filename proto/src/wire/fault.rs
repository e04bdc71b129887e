//! The kinds of fault that can be induced in a worker.

use super::vocabulary::vocabulary;

vocabulary! {
    /// A way to make a worker die or hang.
    FaultKind("fault") {
        /// A Rust panic.
        Panic = "panic",
        /// `abort()`.
        Abort = "abort",
        /// A real invalid memory access.
        Segv = "segv",
        /// `exit(3)`, without a message.
        Exit = "exit",
        /// An allocation that the system refuses.
        Oom = "oom",
        /// Stops working, but stays alive.
        Hang = "hang",
        /// SIGSTOP.
        Freeze = "freeze",
        /// Endless recursion.
        StackOverflow = "stack-overflow",
        /// SIGKILL.
        Kill = "kill",
    }
}

impl FaultKind {
    /// Whether the process stays alive: the supervisor must detect the hang and kill the process.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Hang | Self::Freeze)
    }
}
