//! The compared ways to move messages between two processes.

mod byte_streams;
#[cfg(feature = "peers")]
mod iceoryx;
mod queue;
mod ring;

use crate::{
    Plan,
    machine::pinned,
    peer::{Direction, Workload},
};
use anyhow::{Context, ensure};
use std::time::Duration;

/// The first round trips, which are not counted: caches and schedulers must warm up.
const WARM_UP: u64 = 200;

/// One way to move messages.
pub(crate) trait Transport: Sync {
    /// The name, in tables and in the task of a peer.
    fn name(&self) -> &'static str;

    /// The number of round trips before those that count.
    fn warm_up(&self) -> u64 {
        WARM_UP
    }

    /// Moves messages to a peer. Returns the time from the start of the first message to the arrival of the
    /// last one.
    fn stream(&self, workload: Workload) -> anyhow::Result<Duration>;

    /// Sends one message after the other to a peer and back. Returns the time of each, in nanoseconds; `None`
    /// if this transport is not measured in this way.
    fn round_trips(&self, workload: Workload) -> anyhow::Result<Option<Vec<f64>>>;

    /// The peer's side of both.
    fn peer(&self, direction: Direction, workload: Workload) -> anyhow::Result<()>;
}

/// The transports that the plan includes, in the order of the tables.
pub(crate) fn all(plan: &Plan) -> Vec<Box<dyn Transport>> {
    known().into_iter().filter(|transport| plan.includes_candidate(transport.name())).collect()
}

fn known() -> Vec<Box<dyn Transport>> {
    let mut all: Vec<Box<dyn Transport>> = Vec::new();
    all.extend(ring::ALL.map(|ring| Box::new(ring) as Box<dyn Transport>));
    #[cfg(feature = "peers")]
    all.push(Box::new(iceoryx::Iceoryx));
    all.extend(byte_streams::ALL.map(|bytes| Box::new(bytes) as Box<dyn Transport>));
    all.push(Box::new(queue::Queue));
    all
}

/// The transport with this name.
pub(crate) fn find(name: &str) -> anyhow::Result<Box<dyn Transport>> {
    let found = known().into_iter().find(|transport| transport.name() == name);
    found.with_context(|| format!("unknown transport {name:?}"))
}

/// The names of all transports.
#[must_use]
pub fn names() -> Vec<&'static str> {
    known().iter().map(|transport| transport.name()).collect()
}

/// Moves a few messages in each direction, so that a broken transport is found by a test.
///
/// # Errors
/// When the messages do not arrive.
pub fn check_transport(name: &str) -> anyhow::Result<()> {
    let transport = find(name)?;
    pinned(|| transport.stream(Workload { size: 1024, count: 1_000 }))?;
    let workload = Workload { size: 64, count: 200 };
    if let Some(round_trips) = pinned(|| transport.round_trips(workload))? {
        ensure!(
            round_trips.len() as u64 == workload.count,
            "{} of {} messages came back",
            round_trips.len(),
            workload.count
        );
    }
    Ok(())
}
