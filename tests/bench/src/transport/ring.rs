//! Bulkhead's ring, between a producer and a consumer process, freed by commits as in the service.

mod ends;

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Direction, Peer, PeerSetup, Task, Workload},
};
use anyhow::Context;
use bulkhead_proto::{
    shm::{memory::SharedMemory, ring::MIN_CAPACITY},
    worker::{
        fds::{FDS_VARIABLE, FdHandoff, InheritedFds},
        link::{AnalyticsLink, ApiLink},
    },
};
use ends::{Received, Sink, Source, SourceEnd};
use std::time::{Duration, Instant};

/// The ring carries no state here, so the table has the smallest size: one series.
const SERIES: u32 = 1;

/// The slots of the state table: one series, and the overflow series.
const SLOTS: u32 = SERIES + 1;

/// The variable that gives the peer the fds of the ring back.
const BACK_VARIABLE: &str = "BULKHEAD_BENCH_BACK";

/// What a consumer does when the ring is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Polls in a loop; in a stream, with some pauses between.
    Spin,
    /// Parks at once until it is woken.
    Park,
}

/// How messages are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppendMode {
    /// With the appender alone: no lock, no wake-up. This is what the ring itself can do.
    AppenderOnly,
    /// As the API does, with this number of messages per append.
    Api(u64),
}

/// A way to use the ring.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    name: &'static str,
    mode: AppendMode,
    wait: Wait,
}

pub(super) const ALL: [Ring; 5] = [
    Ring { name: "ring, spinning", mode: AppendMode::AppenderOnly, wait: Wait::Spin },
    Ring { name: "ring by the API, spinning", mode: AppendMode::Api(1), wait: Wait::Spin },
    Ring { name: "ring by the API, 100 a batch, spinning", mode: AppendMode::Api(100), wait: Wait::Spin },
    Ring { name: "ring by the API, parking", mode: AppendMode::Api(1), wait: Wait::Park },
    Ring { name: "ring by the API, 100 a batch, parking", mode: AppendMode::Api(100), wait: Wait::Park },
];

impl Ring {
    fn start(
        &self,
        direction: Direction,
        workload: Workload,
        memory: &SharedMemory,
        setup: PeerSetup,
    ) -> anyhow::Result<Peer> {
        let mut fds = FdHandoff::default();
        memory.pass_to_analytics(&mut fds)?;
        let mut setup = setup;
        setup.env.push((FDS_VARIABLE, fds.variable()));
        setup.fds.extend(fds.into_fds());
        let peer = Peer::start(&Task { transport: self.name.to_owned(), direction, workload }, setup)?;
        peer.wait_for_signal()?;
        Ok(peer)
    }

    fn source(&self, memory: &SharedMemory) -> anyhow::Result<Source> {
        let end = match self.mode {
            AppendMode::AppenderOnly => SourceEnd::appender_only(memory)?,
            AppendMode::Api(_) => SourceEnd::Api(Box::new(ApiLink::open_in_process(memory)?)),
        };
        Ok(Source::new(end))
    }
}

/// An instance number distinguishes segments of different services; these segments belong to one.
fn memory() -> anyhow::Result<SharedMemory> {
    Ok(SharedMemory::create(MIN_CAPACITY, SERIES, 1)?)
}

impl Transport for Ring {
    fn name(&self) -> &'static str {
        self.name
    }

    fn warm_up(&self) -> u64 {
        // Once around the ring: the first access to a page waits until the kernel has mapped it.
        match self.wait {
            Wait::Spin => MIN_CAPACITY / 64,
            Wait::Park => super::WARM_UP,
        }
    }

    fn stream(&self, workload: Workload) -> anyhow::Result<Duration> {
        let memory = memory()?;
        let mut source = self.source(&memory)?;
        let mut peer = self.start(Direction::Stream, workload, &memory, PeerSetup::default())?;
        let message = vec![7; workload.size];
        let batch = if let AppendMode::Api(batch) = self.mode { batch } else { 1 };
        let start = Instant::now();
        let mut left = workload.count;
        while left > 0 {
            let count = batch.min(left);
            source.append(&message, count, || peer.check())?;
            left -= count;
        }
        peer.wait_for_signal()?;
        let elapsed = start.elapsed();
        peer.finish()?;
        Ok(elapsed)
    }

    fn round_trips(&self, workload: Workload) -> anyhow::Result<Option<Vec<f64>>> {
        if matches!(self.mode, AppendMode::Api(2..)) {
            return Ok(None);
        }
        let (to_peer, back) = (memory()?, memory()?);
        let (mut source, mut sink) =
            (self.source(&to_peer)?, Sink::new(AnalyticsLink::open_in_process(&back)?)?);
        let mut received = Received::default();
        let setup = ends::setup_for_source(&back, BACK_VARIABLE)?;
        let mut peer = self.start(Direction::RoundTrips, workload, &to_peer, setup)?;
        let message = vec![7; workload.size];
        let mut round_trip = || {
            let start = Instant::now();
            source.append(&message, 1, || peer.check())?;
            sink.take(self.wait, &mut received, || peer.check())?;
            Ok(ns(start.elapsed()))
        };
        let round_trips: anyhow::Result<Vec<f64>> = (0..workload.count).map(|_| round_trip()).collect();
        peer.finish()?;
        Ok(Some(round_trips?))
    }

    fn peer(&self, direction: Direction, workload: Workload) -> anyhow::Result<()> {
        let mut sink = Sink::new(AnalyticsLink::open(&mut InheritedFds::from_env()?, SLOTS)?)?;
        match direction {
            Direction::Stream => {
                peer::signal()?;
                sink.drain(self.wait, workload.count)?;
                peer::signal()
            }
            Direction::RoundTrips => {
                let variable =
                    std::env::var(BACK_VARIABLE).context("the fds of the ring back were not inherited")?;
                let mut source =
                    Source::new(ends::inherited_source(&variable, self.mode == AppendMode::AppenderOnly)?);
                let mut received = Received::default();
                peer::signal()?;
                for _ in 0..workload.count {
                    sink.take(self.wait, &mut received, || Ok(()))?;
                    source.append(&received.payload, 1, || Ok(()))?;
                }
                Ok(())
            }
        }
    }
}
