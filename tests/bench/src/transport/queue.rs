//! POSIX message queues (mq_overview(7)).

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Direction, Peer, PeerSetup, Task, Workload},
};
use nix::{
    mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink},
    sys::stat::Mode,
};
use std::{
    process,
    time::{Duration, Instant},
};

/// The number of messages in a queue: the default limit for an unprivileged user.
const DEPTH: i64 = 10;

/// The variable that gives the peer the names of the queues.
const NAME_VARIABLE: &str = "BULKHEAD_BENCH_QUEUE";

pub(super) struct Queue;

/// Two queues: to the peer, and back. The process that creates them removes their names.
struct Pair {
    to: MqdT,
    back: MqdT,
}

/// Removes the names of the queues when dropped. A queue lives as long as it is open.
struct Names(String);

impl Drop for Names {
    fn drop(&mut self) {
        for way in ["to", "back"] {
            // The name does not exist if the queue could not be created.
            let _ = mq_unlink(&*format!("{}-{way}", self.0));
        }
    }
}

fn open(name: &str, size: usize) -> anyhow::Result<Pair> {
    let attributes = MqAttr::new(0, DEPTH, i64::try_from(size)?, 0);
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
    let open_queue =
        |way| mq_open(&*format!("{name}-{way}"), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes));
    Ok(Pair { to: open_queue("to")?, back: open_queue("back")? })
}

fn close(pair: Pair) -> anyhow::Result<()> {
    mq_close(pair.to)?;
    mq_close(pair.back)?;
    Ok(())
}

fn connect_peer(direction: Direction, workload: Workload) -> anyhow::Result<(Peer, Pair, Names)> {
    let names = Names(format!("/bulkhead-bench-{}", process::id()));
    let pair = open(&names.0, workload.size)?;
    let setup = PeerSetup { env: vec![(NAME_VARIABLE, names.0.clone())], ..PeerSetup::default() };
    let peer = Peer::start(&Task { transport: Queue.name().to_owned(), direction, workload }, setup)?;
    peer.wait_for_signal()?;
    Ok((peer, pair, names))
}

impl Transport for Queue {
    fn name(&self) -> &'static str {
        "POSIX message queue"
    }

    fn stream(&self, workload: Workload) -> anyhow::Result<Duration> {
        let (peer, pair, _names) = connect_peer(Direction::Stream, workload)?;
        let message = vec![7; workload.size];
        let start = Instant::now();
        for _ in 0..workload.count {
            mq_send(&pair.to, &message, 0)?;
        }
        peer.wait_for_signal()?;
        let elapsed = start.elapsed();
        peer.finish()?;
        close(pair)?;
        Ok(elapsed)
    }

    fn round_trips(&self, workload: Workload) -> anyhow::Result<Option<Vec<f64>>> {
        let (peer, pair, _names) = connect_peer(Direction::RoundTrips, workload)?;
        let mut message = vec![7; workload.size];
        let mut round_trip = || {
            let start = Instant::now();
            mq_send(&pair.to, &message, 0)?;
            mq_receive(&pair.back, &mut message, &mut 0)?;
            Ok(ns(start.elapsed()))
        };
        let round_trips: anyhow::Result<Vec<f64>> = (0..workload.count).map(|_| round_trip()).collect();
        peer.finish()?;
        close(pair)?;
        Ok(Some(round_trips?))
    }

    fn peer(&self, direction: Direction, workload: Workload) -> anyhow::Result<()> {
        let pair = open(&std::env::var(NAME_VARIABLE)?, workload.size)?;
        let mut message = vec![0; workload.size];
        peer::signal()?;
        for _ in 0..workload.count {
            mq_receive(&pair.to, &mut message, &mut 0)?;
            if direction == Direction::RoundTrips {
                mq_send(&pair.back, &message, 0)?;
            }
        }
        if direction == Direction::Stream {
            peer::signal()?;
        }
        close(pair)
    }
}
