//! Why a generation died, and during which operation.

use super::vocabulary::vocabulary;

vocabulary! {
    /// Why a generation died.
    Cause("cause") {
        /// A Rust panic.
        Panic = "panic",
        /// A signal.
        Signal = "signal",
        /// An exit that was not requested.
        Exit = "exit",
        /// Out of memory.
        Oom = "oom",
        /// No progress while work was pending.
        Hang = "hang",
        /// The worker did not become ready.
        Handshake = "handshake",
        /// The worker sent a frame that the control protocol does not allow.
        Protocol = "protocol",
        /// The worker rejected its configuration, or the program could not be executed. Not retried.
        Config = "config",
        /// Requested by an operator, by command or HTTP.
        Requested = "requested",
        /// None of the causes above could be established.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// What a generation was doing with the event to which its death is attributed.
    Operation("operation") {
        /// It applied the event.
        Apply = "apply",
        /// It loaded the state of the event's series.
        Load = "load",
        /// It committed this one event.
        Commit = "commit",
    }
}
