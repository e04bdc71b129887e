//! Limits and delays: what the configuration sets, and fixed values with their reasons.

use bincode::{Decode, Encode};
use std::time::Duration;

/// The maximum number of workers. Bounds the size of the ledger.
pub const MAX_WORKERS: usize = 64;

/// Maximum length of a worker's name, in bytes.
pub const MAX_NAME: usize = 64;

/// Maximum length of a `detail` in the state, in bytes. Log lines may be longer.
pub const MAX_DETAIL: usize = 256;

/// Maximum length of a panic message in the state, in bytes.
pub const MAX_PANIC: usize = 512;

/// Maximum number of clients that wait for commands to one worker. Further commands are refused.
pub const MAX_WAITERS: usize = 8;

/// Maximum of [`Policy::limit`]: the state holds that many death times for each worker.
pub const MAX_LIMIT: u32 = 64;

/// Maximum of [`Policy::max_attempts`]. More attempts give no new information.
pub const MAX_ATTEMPTS: u32 = 100;

/// Time from spawn to `Ready`. Longer than any sane start, short enough for a person to wait.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Tolerance for noticing an expired [`START_TIMEOUT`]. If the supervisor notices it later, the supervisor
/// itself was suspended, and the worker gets this much more time.
pub const START_GRACE: Duration = Duration::from_secs(1);

/// Time from SIGABRT to SIGKILL for a hung process: enough to write a backtrace.
pub const ABORT_GRACE: Duration = Duration::from_millis(500);

/// Time for a commit beyond twice `hang_timeout`. One slow apply may precede the commit, and another may
/// follow the moment at which it became due.
pub const COMMIT_GRACE: Duration = Duration::from_secs(1);

/// Time from SIGTERM to SIGKILL after the worker's own `stop_timeout` has passed.
pub const TERM_GRACE: Duration = Duration::from_secs(1);

/// Time from SIGKILL to giving the process up. Only a process stuck in the kernel takes longer.
pub const KILL_GRACE: Duration = Duration::from_secs(5);

/// A generation that has run for this long counts as healthy, whatever it did.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The death of a generation that had nothing to do counts against the budget if it came earlier than this.
/// Such a process may die of its own activation, and would do so forever.
pub const IDLE_HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// Interval between attempts to start a parked worker: cheap, and short enough to end an outage overnight.
pub const PARKED_RETRY_INTERVAL: Duration = Duration::from_secs(15);

/// Minimum time between two starts of one worker, with or without progress. Bounds the cost of repeated
/// deaths.
pub const START_SPACING: Duration = Duration::from_millis(20);

/// Time from the death of a warm standby to the next one. It is needed only when the active generation dies, and a program
/// that cannot start must not start all the time.
pub const STANDBY_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Delay of the second restart. (The first is [`Policy::initial`].) It doubles from there.
pub const BACKOFF_STEP: Duration = Duration::from_millis(25);

/// A death within this time after a fault was ordered, plus the time that earlier events may take, counts as
/// the effect of the fault if it looks like it.
pub const FAULT_EFFECT: Duration = Duration::from_secs(5);

/// A repeated stop signal forces the stop only after this time, unless it comes from a terminal. timeout(1) and some
/// process managers send two signals at once, and mean one stop.
pub const FORCE_AFTER: Duration = Duration::from_secs(1);

/// Time for saving at an orderly stop. After it, the supervisor exits without saving.
pub const SAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Policy {
    /// Whether faults may be induced.
    pub faults: bool,
    /// Delay of the first restart.
    pub initial: Duration,
    /// The longest delay of a restart.
    pub max: Duration,
    /// Number of deaths without progress within `period` that parks a worker: 1..=[`MAX_LIMIT`], clamped.
    pub limit: u32,
    /// The period that `limit` refers to.
    pub period: Duration,
    /// Number of attempts after which an event is quarantined: 1..=[`MAX_ATTEMPTS`], clamped.
    pub max_attempts: u32,
    /// The percentage of failed events that engages the brake: 1..=100. `None`: there is no brake.
    pub brake: Option<u8>,
    /// Whether the analysis has a warm standby.
    pub standby: bool,
    /// Number of workers that may start at the same time: one for each core; at least 1, clamped.
    pub starts: u32,
}

impl Default for Policy {
    /// The built-in configuration, for two cores.
    fn default() -> Self {
        Self {
            faults: false,
            initial: Duration::ZERO,
            max: Duration::from_secs(10),
            limit: 10,
            period: Duration::from_secs(30),
            max_attempts: 2,
            brake: Some(10),
            standby: false,
            starts: 2,
        }
    }
}
