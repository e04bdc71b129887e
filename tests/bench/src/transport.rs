//! The ways of moving messages between two processes that are compared.

mod bytes;
#[cfg(feature = "peers")]
mod iceoryx;
mod queue;
mod ring;

use crate::{
    Plan,
    machine::pinned,
    peer::{Job, Load},
};
use anyhow::{Context, ensure};
use std::time::Duration;

/// First trips that are not counted: caches and schedulers have to get used to it.
const WARM_UP: u64 = 200;

/// One way of moving messages.
pub(crate) trait Transport: Sync {
    /// What it is called, in tables and by peers.
    fn name(&self) -> &'static str;

    /// How many trips go by before those that count.
    fn warm_up(&self) -> u64 {
        WARM_UP
    }

    /// Moves messages to a peer. Says how long it took from the first one's begin to the last one's arrival.
    fn flow(&self, load: Load) -> anyhow::Result<Duration>;

    /// Sends one message after the other to a peer and back. Says how long each took, in ns; none when this transport is
    /// not measured so.
    fn trips(&self, load: Load) -> anyhow::Result<Option<Vec<f64>>>;

    /// The peer's side of both.
    fn peer(&self, job: Job, load: Load) -> anyhow::Result<()>;
}

/// Those that are wanted, in the order of the tables.
pub(crate) fn all(plan: &Plan) -> Vec<Box<dyn Transport>> {
    known().into_iter().filter(|transport| plan.includes(transport.name())).collect()
}

fn known() -> Vec<Box<dyn Transport>> {
    let mut all: Vec<Box<dyn Transport>> = Vec::new();
    all.extend(ring::ALL.map(|ring| Box::new(ring) as Box<dyn Transport>));
    #[cfg(feature = "peers")]
    all.push(Box::new(iceoryx::Iceoryx));
    all.extend(bytes::ALL.map(|bytes| Box::new(bytes) as Box<dyn Transport>));
    all.push(Box::new(queue::Queue));
    all
}

/// The one of that name.
pub(crate) fn find(name: &str) -> anyhow::Result<Box<dyn Transport>> {
    let found = known().into_iter().find(|transport| transport.name() == name);
    found.with_context(|| format!("there is no transport {name:?}"))
}

/// The names of all of them.
#[must_use]
pub fn names() -> Vec<&'static str> {
    known().iter().map(|transport| transport.name()).collect()
}

/// Moves a few messages in each way that is measured: what is broken shall be known before somebody wants figures.
///
/// # Errors
/// When they do not arrive.
pub fn rehearse(name: &str) -> anyhow::Result<()> {
    let transport = find(name)?;
    pinned(|| transport.flow(Load { size: 1024, count: 1_000 }))?;
    let load = Load { size: 64, count: 200 };
    if let Some(trips) = pinned(|| transport.trips(load))? {
        ensure!(trips.len() as u64 == load.count, "{} of {} messages came back", trips.len(), load.count);
    }
    Ok(())
}
