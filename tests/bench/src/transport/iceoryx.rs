//! iceoryx2: publish-subscribe, zero-copy, both sides spinning.

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Direction, Peer, PeerSetup, Task, Workload},
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

/// The largest number of waiting messages. A larger one is not faster: the cost is per message.
const DEPTH: usize = 1024;

/// The measured lengths. The length of a message is part of its type.
const SMALL: usize = 64;
const LARGE: usize = 1024;

/// The variable that gives the peer the name of the service.
const NAME_VARIABLE: &str = "BULKHEAD_BENCH_SERVICE";

type Service<const SIZE: usize> = PortFactory<ipc::Service, [u8; SIZE], ()>;
type Out<const SIZE: usize> = Publisher<ipc::Service, [u8; SIZE], ()>;
type In<const SIZE: usize> = Subscriber<ipc::Service, [u8; SIZE], ()>;

pub(super) struct Iceoryx;

fn to_error(error: impl Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {error:?}")
}

/// Both directions under one name. The services live as long as their ports.
struct Channel<const SIZE: usize> {
    there: Service<SIZE>,
    back: Service<SIZE>,
    _node: Node<ipc::Service>,
}

impl<const SIZE: usize> Channel<SIZE> {
    fn open(name: &str) -> anyhow::Result<Self> {
        let node = NodeBuilder::new().create::<ipc::Service>().map_err(to_error)?;
        let service = |way: &str| {
            let name = format!("{name}/{way}").as_str().try_into().map_err(to_error)?;
            node.service_builder(&name)
                .publish_subscribe::<[u8; SIZE]>()
                .subscriber_max_buffer_size(DEPTH)
                .enable_safe_overflow(false)
                .history_size(0)
                .open_or_create()
                .map_err(to_error)
        };
        Ok(Self { there: service("there")?, back: service("back")?, _node: node })
    }
}

fn publisher<const SIZE: usize>(service: &Service<SIZE>) -> anyhow::Result<Out<SIZE>> {
    let builder =
        service.publisher_builder().backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
    builder.create().map_err(to_error)
}

fn subscriber<const SIZE: usize>(service: &Service<SIZE>) -> anyhow::Result<In<SIZE>> {
    service.subscriber_builder().buffer_size(DEPTH).create().map_err(to_error)
}

fn send<const SIZE: usize>(out: &Out<SIZE>, message: &[u8; SIZE]) -> anyhow::Result<()> {
    out.send_copy(*black_box(message)).map_err(to_error)?;
    Ok(())
}

/// Takes one message as soon as there is one.
fn take<const SIZE: usize>(from: &In<SIZE>) -> anyhow::Result<[u8; SIZE]> {
    for _ in 0..u32::MAX {
        if let Some(sample) = from.receive().map_err(to_error)? {
            return Ok(*black_box(sample.payload()));
        }
        spin_loop();
    }
    bail!("iceoryx2: no message arrives")
}

fn connect_peer<const SIZE: usize>(
    direction: Direction,
    workload: Workload,
) -> anyhow::Result<(Peer, Out<SIZE>, In<SIZE>)> {
    let name = format!("bulkhead-bench/{}", process::id());
    let channel = Channel::open(&name)?;
    let (out, back) = (publisher(&channel.there)?, subscriber(&channel.back)?);
    let setup = PeerSetup { env: vec![(NAME_VARIABLE, name)], ..PeerSetup::default() };
    let peer = Peer::start(&Task { transport: Iceoryx.name().to_owned(), direction, workload }, setup)?;
    peer.wait_for_signal()?;
    Ok((peer, out, back))
}

fn stream<const SIZE: usize>(workload: Workload) -> anyhow::Result<Duration> {
    let (peer, out, _back) = connect_peer::<SIZE>(Direction::Stream, workload)?;
    let message = [7; SIZE];
    let start = Instant::now();
    for _ in 0..workload.count {
        send(&out, &message)?;
    }
    peer.wait_for_signal()?;
    let elapsed = start.elapsed();
    peer.finish()?;
    Ok(elapsed)
}

fn round_trips<const SIZE: usize>(workload: Workload) -> anyhow::Result<Vec<f64>> {
    let (peer, out, back) = connect_peer::<SIZE>(Direction::RoundTrips, workload)?;
    let mut message = [7; SIZE];
    let mut round_trip = || {
        let start = Instant::now();
        send(&out, &message)?;
        message = take(&back)?;
        Ok(ns(start.elapsed()))
    };
    let round_trips: anyhow::Result<Vec<f64>> = (0..workload.count).map(|_| round_trip()).collect();
    peer.finish()?;
    round_trips
}

fn run_peer<const SIZE: usize>(direction: Direction, workload: Workload) -> anyhow::Result<()> {
    let channel = Channel::<SIZE>::open(&env::var(NAME_VARIABLE)?)?;
    let (from, back) = (subscriber(&channel.there)?, publisher(&channel.back)?);
    peer::signal()?;
    for _ in 0..workload.count {
        let message = take(&from)?;
        if direction == Direction::RoundTrips {
            send(&back, &message)?;
        }
    }
    if direction == Direction::Stream { peer::signal() } else { Ok(()) }
}

impl Transport for Iceoryx {
    fn name(&self) -> &'static str {
        "iceoryx2, spinning"
    }

    fn stream(&self, workload: Workload) -> anyhow::Result<Duration> {
        match workload.size {
            SMALL => stream::<SMALL>(workload),
            LARGE => stream::<LARGE>(workload),
            other => bail!("iceoryx2 is measured with messages of {SMALL} or {LARGE} bytes, not {other}"),
        }
    }

    fn round_trips(&self, workload: Workload) -> anyhow::Result<Option<Vec<f64>>> {
        match workload.size {
            SMALL => round_trips::<SMALL>(workload).map(Some),
            other => bail!("iceoryx2's round trip is measured with messages of {SMALL} bytes, not {other}"),
        }
    }

    fn peer(&self, direction: Direction, workload: Workload) -> anyhow::Result<()> {
        match workload.size {
            SMALL => run_peer::<SMALL>(direction, workload),
            _ => run_peer::<LARGE>(direction, workload),
        }
    }
}
