//! How patient the supervisor is: what the configuration sets, and what is fixed, with the reasons.

use bincode::{Decode, Encode};
use std::time::Duration;

/// The most workers of one supervisor. Bounds the ledger.
pub const MAX_WORKERS: usize = 64;

/// The longest name of a worker, in bytes.
pub const MAX_NAME: usize = 64;

/// The longest `detail` that is kept in the state, in bytes. Log lines may be longer.
pub const MAX_DETAIL: usize = 256;

/// The longest panic message that is kept in the state, in bytes.
pub const MAX_PANIC: usize = 512;

/// The most clients that may wait for the end of commands to one worker; further ones are refused.
pub const MAX_WAITERS: usize = 8;

/// The largest `limit` of [`Policy`]: so many instants of deaths are kept a worker.
pub const MAX_LIMIT: u32 = 64;

/// The largest `max_attempts` of [`Policy`]: beyond it, nothing is learnt any more.
pub const MAX_ATTEMPTS: u32 = 100;

/// How long a worker may take from its spawn to its `Ready`. Slower than any sane start, faster than a person's patience.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The end of that time is noticed later than this only if the supervisor itself was stopped; then there is as much more.
pub const START_GRACE: Duration = Duration::from_secs(1);

/// From SIGABRT to SIGKILL, for one that hangs: enough for a backtrace.
pub const ABORT_GRACE: Duration = Duration::from_millis(500);

/// What a commit may take beyond twice `hang_timeout`: an apply that is nearly too slow may stand before it, and another one
/// behind the moment in which it became due.
pub const COMMIT_GRACE: Duration = Duration::from_secs(1);

/// From SIGTERM to SIGKILL, once the worker's own `stop_timeout` is over: it had its time to be orderly.
pub const TERM_GRACE: Duration = Duration::from_secs(1);

/// From SIGKILL to giving the process up: only a process stuck in the kernel takes so long.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// How long a generation must have been running to count as healthy, whatever it did meanwhile.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// How long a generation with nothing to do must have been running for its death not to count.
/// Shorter than that, it dies of its own activation, and would do so for ever.
pub const IDLE_HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// How often a parked worker is tried again: seldom enough to cost nothing, often enough to end a night's outage.
pub const PARKED_RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Two starts of one worker are at least this far apart, progress or not: bounds what a storm of deaths can cost.
pub const START_SPACING: Duration = Duration::from_millis(20);

/// The second restart's delay (the first one's is `initial`); doubles from there.
pub const BACKOFF_STEP: Duration = Duration::from_millis(25);

/// How long after a fault was ordered a death that looks like it is taken to be its effect, beyond the time that the events
/// before it may take.
pub const FAULT_EFFECT: Duration = Duration::from_secs(5);

/// How long the shell may take to save at an orderly stop, before the supervisor leaves without.
pub const SAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the configuration sets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    /// Whether faults may be induced.
    pub faults: bool,
    /// Delay of the first restart.
    pub initial: Duration,
    /// The longest delay of a restart.
    pub max: Duration,
    /// So many deaths without progress within `period` park a worker: 1..=[`MAX_LIMIT`], clamped.
    pub limit: u32,
    /// See `limit`.
    pub period: Duration,
    /// An event that so many generations of the analysis died of is set aside: 1..=[`MAX_ATTEMPTS`]; at least 1, clamped.
    pub max_attempts: u32,
    /// How many workers may be starting at once: one a core; at least 1, clamped.
    pub starts: u32,
}

impl Default for Policy {
    /// The built-in configuration, on two cores.
    fn default() -> Self {
        Self {
            faults: false,
            initial: Duration::ZERO,
            max: Duration::from_secs(10),
            limit: 10,
            period: Duration::from_secs(30),
            max_attempts: 2,
            starts: 2,
        }
    }
}
