//! The control protocol between the supervisor and a worker.
//!
//! A frame can be lost together with the process that read it. Everything that must survive a death is in shared memory too.

use std::time::Duration;

mod frames;
mod phase;

pub use frames::{FromWorker, Isolation, RecoveryHints, Request, RequestOutcome, ToWorker, Trial};
pub use phase::{Phase, allowed};

/// The version of this protocol. The supervisor refuses a worker with another version.
pub const PROTOCOL: u16 = 4;

/// How long the ring must stay empty until a skip is committed without a later event that was applied.
pub const SKIP_DELAY: Duration = Duration::from_secs(1);

/// The longest frame, in bytes: one packet of a packet-mode pipe (`PIPE_BUF`, pipe(7)).
pub const MAX_FRAME: usize = 4096;

/// The longest free text in a frame, in bytes. Leaves room for the rest of the frame.
pub const MAX_TEXT: usize = 1024;

/// The most events in a list of [`RecoveryHints`]. Bounds the frame, and the supervisor's ledger, which holds the lists too.
pub const MAX_HINTS: usize = 16;

/// The most series in a list of [`RecoveryHints`]. With the longest names both lists fit a frame.
pub const MAX_SERIES_HINTS: usize = 8;

/// The most return addresses in [`FromWorker::Backtrace`].
pub const MAX_BACKTRACE: usize = 64;
