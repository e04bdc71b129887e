//! iceoryx2: publish-subscribe, zero-copy, both sides spinning.

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Job, Load, Luggage, Peer, Task},
};
use anyhow::{anyhow, bail};
use iceoryx2::{
    node::{Node, NodeBuilder},
    port::{publisher::Publisher, subscriber::Subscriber},
    prelude::{BackpressureStrategy, ipc},
    service::port_factory::publish_subscribe::PortFactory,
};
use std::{
    env,
    fmt::Debug,
    hint::{black_box, spin_loop},
    process,
    time::{Duration, Instant},
};

/// How many messages wait at most. More makes it no faster: its cost is a message's, not the waiting's.
const DEPTH: usize = 1024;

/// The lengths that are measured: a message's length is part of its type.
const SMALL: usize = 64;
const LARGE: usize = 1024;

/// Tells the peer under which name to meet.
const NAME_VARIABLE: &str = "BULKHEAD_BENCH_SERVICE";

type Service<const SIZE: usize> = PortFactory<ipc::Service, [u8; SIZE], ()>;
type Out<const SIZE: usize> = Publisher<ipc::Service, [u8; SIZE], ()>;
type In<const SIZE: usize> = Subscriber<ipc::Service, [u8; SIZE], ()>;

pub(super) struct Iceoryx;

fn broken(error: impl Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {error:?}")
}

/// Both ways under one name. The services live as long as their ports.
struct Line<const SIZE: usize> {
    there: Service<SIZE>,
    back: Service<SIZE>,
    _node: Node<ipc::Service>,
}

impl<const SIZE: usize> Line<SIZE> {
    fn open(name: &str) -> anyhow::Result<Self> {
        let node = NodeBuilder::new().create::<ipc::Service>().map_err(broken)?;
        let service = |way: &str| {
            let name = format!("{name}/{way}").as_str().try_into().map_err(broken)?;
            node.service_builder(&name)
                .publish_subscribe::<[u8; SIZE]>()
                .subscriber_max_buffer_size(DEPTH)
                .enable_safe_overflow(false)
                .history_size(0)
                .open_or_create()
                .map_err(broken)
        };
        Ok(Self { there: service("there")?, back: service("back")?, _node: node })
    }
}

fn publisher<const SIZE: usize>(service: &Service<SIZE>) -> anyhow::Result<Out<SIZE>> {
    let builder =
        service.publisher_builder().backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
    builder.create().map_err(broken)
}

fn subscriber<const SIZE: usize>(service: &Service<SIZE>) -> anyhow::Result<In<SIZE>> {
    service.subscriber_builder().buffer_size(DEPTH).create().map_err(broken)
}

fn send<const SIZE: usize>(out: &Out<SIZE>, message: &[u8; SIZE]) -> anyhow::Result<()> {
    out.send_copy(*black_box(message)).map_err(broken)?;
    Ok(())
}

/// Takes one message, as soon as there is one.
fn take<const SIZE: usize>(from: &In<SIZE>) -> anyhow::Result<[u8; SIZE]> {
    for _ in 0..u32::MAX {
        if let Some(sample) = from.receive().map_err(broken)? {
            return Ok(*black_box(sample.payload()));
        }
        spin_loop();
    }
    bail!("iceoryx2: nothing arrives any more")
}

fn meet<const SIZE: usize>(job: Job, load: Load) -> anyhow::Result<(Peer, Out<SIZE>, In<SIZE>)> {
    let name = format!("bulkhead-bench/{}", process::id());
    let line = Line::open(&name)?;
    let (out, back) = (publisher(&line.there)?, subscriber(&line.back)?);
    let luggage = Luggage { env: vec![(NAME_VARIABLE, name)], ..Luggage::default() };
    let peer = Peer::start(&Task { transport: Iceoryx.name().to_owned(), job, load }, luggage)?;
    peer.hear()?;
    Ok((peer, out, back))
}

fn flow<const SIZE: usize>(load: Load) -> anyhow::Result<Duration> {
    let (peer, out, _back) = meet::<SIZE>(Job::Flow, load)?;
    let message = [7; SIZE];
    let start = Instant::now();
    for _ in 0..load.count {
        send(&out, &message)?;
    }
    peer.hear()?;
    let elapsed = start.elapsed();
    peer.end()?;
    Ok(elapsed)
}

fn trips<const SIZE: usize>(load: Load) -> anyhow::Result<Vec<f64>> {
    let (peer, out, back) = meet::<SIZE>(Job::Trips, load)?;
    let mut message = [7; SIZE];
    let mut trip = || {
        let start = Instant::now();
        send(&out, &message)?;
        message = take(&back)?;
        Ok(ns(start.elapsed()))
    };
    let trips: anyhow::Result<Vec<f64>> = (0..load.count).map(|_| trip()).collect();
    peer.end()?;
    trips
}

fn play<const SIZE: usize>(job: Job, load: Load) -> anyhow::Result<()> {
    let line = Line::<SIZE>::open(&env::var(NAME_VARIABLE)?)?;
    let (from, back) = (subscriber(&line.there)?, publisher(&line.back)?);
    peer::say()?;
    for _ in 0..load.count {
        let message = take(&from)?;
        if job == Job::Trips {
            send(&back, &message)?;
        }
    }
    if job == Job::Flow { peer::say() } else { Ok(()) }
}

impl Transport for Iceoryx {
    fn name(&self) -> &'static str {
        "iceoryx2, spinning"
    }

    fn flow(&self, load: Load) -> anyhow::Result<Duration> {
        match load.size {
            SMALL => flow::<SMALL>(load),
            LARGE => flow::<LARGE>(load),
            other => bail!("iceoryx2 is measured with messages of {SMALL} or {LARGE} bytes, not {other}"),
        }
    }

    fn trips(&self, load: Load) -> anyhow::Result<Option<Vec<f64>>> {
        match load.size {
            SMALL => trips::<SMALL>(load).map(Some),
            other => bail!("iceoryx2's round trip is measured with messages of {SMALL} bytes, not {other}"),
        }
    }

    fn peer(&self, job: Job, load: Load) -> anyhow::Result<()> {
        match load.size {
            SMALL => play::<SMALL>(job, load),
            _ => play::<LARGE>(job, load),
        }
    }
}
