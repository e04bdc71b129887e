//! POSIX message queues (mq_overview(7)).

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Job, Load, Luggage, Peer, Task},
};
use nix::{
    mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink},
    sys::stat::Mode,
};
use std::{
    process,
    time::{Duration, Instant},
};

/// How many messages a queue holds: what a user may have without asking the administrator.
const DEPTH: i64 = 10;

/// Tells the peer which queues to open.
const NAME_VARIABLE: &str = "BULKHEAD_BENCH_QUEUE";

pub(super) struct Queue;

/// Two queues: to the peer, and back. Their maker removes their names.
struct Pair {
    to: MqdT,
    back: MqdT,
}

/// Removes the queues' names again: the queues themselves live as long as they are open.
struct Names(String);

impl Drop for Names {
    fn drop(&mut self) {
        for way in ["to", "back"] {
            // It is not there when it could not be made.
            let _ = mq_unlink(&*format!("{}-{way}", self.0));
        }
    }
}

fn open(name: &str, size: usize) -> anyhow::Result<Pair> {
    let attributes = MqAttr::new(0, DEPTH, i64::try_from(size)?, 0);
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
    let one =
        |way| mq_open(&*format!("{name}-{way}"), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes));
    Ok(Pair { to: one("to")?, back: one("back")? })
}

fn close(pair: Pair) -> anyhow::Result<()> {
    mq_close(pair.to)?;
    mq_close(pair.back)?;
    Ok(())
}

fn meet(job: Job, load: Load) -> anyhow::Result<(Peer, Pair, Names)> {
    let names = Names(format!("/bulkhead-bench-{}", process::id()));
    let pair = open(&names.0, load.size)?;
    let luggage = Luggage { env: vec![(NAME_VARIABLE, names.0.clone())], ..Luggage::default() };
    let peer = Peer::start(&Task { transport: Queue.name().to_owned(), job, load }, luggage)?;
    peer.hear()?;
    Ok((peer, pair, names))
}

impl Transport for Queue {
    fn name(&self) -> &'static str {
        "POSIX message queue"
    }

    fn flow(&self, load: Load) -> anyhow::Result<Duration> {
        let (peer, pair, _names) = meet(Job::Flow, load)?;
        let message = vec![7; load.size];
        let start = Instant::now();
        for _ in 0..load.count {
            mq_send(&pair.to, &message, 0)?;
        }
        peer.hear()?;
        let elapsed = start.elapsed();
        peer.end()?;
        close(pair)?;
        Ok(elapsed)
    }

    fn trips(&self, load: Load) -> anyhow::Result<Option<Vec<f64>>> {
        let (peer, pair, _names) = meet(Job::Trips, load)?;
        let mut message = vec![7; load.size];
        let mut trip = || {
            let start = Instant::now();
            mq_send(&pair.to, &message, 0)?;
            mq_receive(&pair.back, &mut message, &mut 0)?;
            Ok(ns(start.elapsed()))
        };
        let trips: anyhow::Result<Vec<f64>> = (0..load.count).map(|_| trip()).collect();
        peer.end()?;
        close(pair)?;
        Ok(Some(trips?))
    }

    fn peer(&self, job: Job, load: Load) -> anyhow::Result<()> {
        let pair = open(&std::env::var(NAME_VARIABLE)?, load.size)?;
        let mut message = vec![0; load.size];
        peer::say()?;
        for _ in 0..load.count {
            mq_receive(&pair.to, &mut message, &mut 0)?;
            if job == Job::Trips {
                mq_send(&pair.back, &message, 0)?;
            }
        }
        if job == Job::Flow {
            peer::say()?;
        }
        close(pair)
    }
}
