//! Our ring, between a producer and a consumer process, freed by commits as in the service.

mod ends;

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Job, Load, Luggage, Peer, Task},
};
use anyhow::Context;
use bulkhead_proto::{
    shm::{memory::SharedMemory, ring::MIN_CAPACITY},
    worker::{
        fds::{FDS_VARIABLE, FdHandoff, InheritedFds},
        link::{AnalyticsLink, ApiLink},
    },
};
use ends::{Desk, Sink, Source, SourceEnd};
use std::time::{Duration, Instant};

/// One ring carries no state here: a table of one series is the smallest.
const SERIES: u32 = 1;

/// Tells the peer which fds make the ring that leads back.
const BACK_VARIABLE: &str = "BULKHEAD_BENCH_BACK";

/// What a consumer does when the ring is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Looks again and again; when messages stream, not too soon.
    Spin,
    /// Sleeps at once until the bell rings.
    Park,
}

/// How messages are put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// By the appender alone: no lock, no bell, no batch. What the ring itself can do.
    Bare,
    /// As the API does, so many an append.
    Api(u64),
}

/// A way of using the ring.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    name: &'static str,
    put: Put,
    wait: Wait,
}

pub(super) const ALL: [Ring; 5] = [
    Ring { name: "ring, spinning", put: Put::Bare, wait: Wait::Spin },
    Ring { name: "ring by the API, spinning", put: Put::Api(1), wait: Wait::Spin },
    Ring { name: "ring by the API, 100 a batch, spinning", put: Put::Api(100), wait: Wait::Spin },
    Ring { name: "ring by the API, parking", put: Put::Api(1), wait: Wait::Park },
    Ring { name: "ring by the API, 100 a batch, parking", put: Put::Api(100), wait: Wait::Park },
];

impl Ring {
    fn start(&self, job: Job, load: Load, memory: &SharedMemory, luggage: Luggage) -> anyhow::Result<Peer> {
        let mut bequest = FdHandoff::default();
        memory.pass_to_analytics(&mut bequest)?;
        let mut luggage = luggage;
        luggage.env.push((FDS_VARIABLE, bequest.variable()));
        luggage.fds.extend(bequest.into_fds());
        let peer = Peer::start(&Task { transport: self.name.to_owned(), job, load }, luggage)?;
        peer.hear()?;
        Ok(peer)
    }

    fn source(&self, memory: &SharedMemory) -> anyhow::Result<Source> {
        let end = match self.put {
            Put::Bare => SourceEnd::bare(memory)?,
            Put::Api(_) => SourceEnd::Api(Box::new(ApiLink::open_in_process(memory)?)),
        };
        Ok(Source::new(end))
    }
}

/// An instance number tells segments of different services apart; all of these are of one.
fn memory() -> anyhow::Result<SharedMemory> {
    Ok(SharedMemory::create(MIN_CAPACITY, SERIES, 1)?)
}

impl Transport for Ring {
    fn name(&self) -> &'static str {
        self.name
    }

    fn warm_up(&self) -> u64 {
        // Once around the ring: what touches its pages first waits for the system to map them.
        match self.wait {
            Wait::Spin => MIN_CAPACITY / 64,
            Wait::Park => super::WARM_UP,
        }
    }

    fn flow(&self, load: Load) -> anyhow::Result<Duration> {
        let memory = memory()?;
        let mut source = self.source(&memory)?;
        let mut peer = self.start(Job::Flow, load, &memory, Luggage::default())?;
        let message = vec![7; load.size];
        let most = if let Put::Api(most) = self.put { most } else { 1 };
        let start = Instant::now();
        let mut left = load.count;
        while left > 0 {
            let now = most.min(left);
            source.append(&message, now, || peer.check())?;
            left -= now;
        }
        peer.hear()?;
        let elapsed = start.elapsed();
        peer.end()?;
        Ok(elapsed)
    }

    fn trips(&self, load: Load) -> anyhow::Result<Option<Vec<f64>>> {
        if matches!(self.put, Put::Api(2..)) {
            return Ok(None);
        }
        let (there, back) = (memory()?, memory()?);
        let (mut source, mut sink) =
            (self.source(&there)?, Sink::new(AnalyticsLink::open_in_process(&back)?)?);
        let mut desk = Desk::default();
        let luggage = ends::desk_luggage(&back, BACK_VARIABLE)?;
        let mut peer = self.start(Job::Trips, load, &there, luggage)?;
        let message = vec![7; load.size];
        let mut trip = || {
            let start = Instant::now();
            source.append(&message, 1, || peer.check())?;
            sink.take(self.wait, &mut desk, || peer.check())?;
            Ok(ns(start.elapsed()))
        };
        let trips: anyhow::Result<Vec<f64>> = (0..load.count).map(|_| trip()).collect();
        peer.end()?;
        Ok(Some(trips?))
    }

    fn peer(&self, job: Job, load: Load) -> anyhow::Result<()> {
        let mut sink = Sink::new(AnalyticsLink::open(&mut InheritedFds::from_env()?)?)?;
        match job {
            Job::Flow => {
                peer::say()?;
                sink.drain(self.wait, load.count)?;
                peer::say()
            }
            Job::Trips => {
                let variable = std::env::var(BACK_VARIABLE).context("no way back was handed down")?;
                let mut source = Source::new(ends::inherited_source(&variable, self.put == Put::Bare)?);
                let mut desk = Desk::default();
                peer::say()?;
                for _ in 0..load.count {
                    sink.take(self.wait, &mut desk, || Ok(()))?;
                    source.append(&desk.payload, 1, || Ok(()))?;
                }
                Ok(())
            }
        }
    }
}
