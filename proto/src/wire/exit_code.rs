//! Exit codes with a meaning for the supervisor.

/// A worker exits with this code to reject its configuration (`EX_CONFIG` of sysexits.h). The supervisor does not retry.
pub const EXIT_CONFIG: u8 = 78;

/// A Rust process exits with this code when its main thread panics.
pub const EXIT_PANIC: u8 = 101;
