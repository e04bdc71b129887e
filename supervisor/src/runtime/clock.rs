//! The clocks, read once for each transition.

use crate::core::{Millis, Now};
use bulkhead_proto::wire::time::now_ms;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::time::Instant;

/// Reads both clocks.
pub(super) fn now() -> Now {
    let since_boot = clock_gettime(ClockId::Monotonic);
    let millis = since_boot.tv_sec.saturating_mul(1_000).saturating_add(since_boot.tv_nsec / 1_000_000);
    Now { mono: Millis(u64::try_from(millis).unwrap_or(0)), unix_ms: now_ms() }
}

/// Waits until the deadline; forever if there is none.
pub(super) async fn wait_until(deadline: Option<Millis>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(Instant::now() + remaining(deadline)).await,
        None => std::future::pending().await,
    }
}

fn remaining(deadline: Millis) -> Duration {
    deadline.since(now().mono)
}
