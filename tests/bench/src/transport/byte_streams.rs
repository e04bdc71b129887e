//! Pipes and sockets: the kernel copies bytes in and out.

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Job, Load, Luggage, Peer, Task},
};
use anyhow::{Context, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

/// What is gathered before one write, by those that gather; and what is asked for in one read.
const BATCH: usize = 64 << 10;

/// The four ends of a connection; two of them may be one.
struct Ends {
    out: OwnedFd,
    back: OwnedFd,
    peers_in: OwnedFd,
    peers_out: OwnedFd,
}

/// A way that carries bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    name: &'static str,
    connect: fn() -> anyhow::Result<Ends>,
    gathers: bool,
}

pub(super) const ALL: [Bytes; 7] = [
    Bytes { name: "pipe", connect: pipes, gathers: false },
    Bytes { name: "pipe, 64 KiB batches", connect: pipes, gathers: true },
    Bytes { name: "Unix stream", connect: stream, gathers: false },
    Bytes { name: "Unix stream, 64 KiB batches", connect: stream, gathers: true },
    Bytes { name: "Unix SEQPACKET", connect: packets, gathers: false },
    Bytes { name: "TCP loopback", connect: tcp, gathers: false },
    Bytes { name: "TCP loopback, 64 KiB batches", connect: tcp, gathers: true },
];

fn pipes() -> anyhow::Result<Ends> {
    let (peers_in, out) = pipe_with(PipeFlags::CLOEXEC)?;
    let (back, peers_out) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(Ends { out, back, peers_in, peers_out })
}

fn two_way(ours: OwnedFd, theirs: OwnedFd) -> anyhow::Result<Ends> {
    Ok(Ends { out: ours.try_clone()?, back: ours, peers_in: theirs.try_clone()?, peers_out: theirs })
}

fn unix(kind: SockType) -> anyhow::Result<Ends> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
    two_way(ours, theirs)
}

fn stream() -> anyhow::Result<Ends> {
    unix(SockType::Stream)
}

fn packets() -> anyhow::Result<Ends> {
    unix(SockType::SeqPacket)
}

fn tcp() -> anyhow::Result<Ends> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    // Or a trip would wait for a timer.
    for stream in [&ours, &theirs] {
        stream.set_nodelay(true)?;
    }
    two_way(ours.into(), theirs.into())
}

/// Writes all of it; a packet goes as a whole anyway.
fn write_all(to: impl AsFd, mut bytes: &[u8]) -> anyhow::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(&to, bytes).context("cannot write to the peer")?;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn read_all(from: impl AsFd, into: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        let read = rustix::io::read(&from, &mut into[filled..]).context("cannot read from the peer")?;
        ensure!(read > 0, "the other side ended after {filled} of {} bytes", into.len());
        filled += read;
    }
    Ok(())
}

impl Bytes {
    fn meet(&self, job: Job, load: Load) -> anyhow::Result<(Peer, OwnedFd, OwnedFd)> {
        let Ends { out, back, peers_in, peers_out } = (self.connect)()?;
        let luggage = Luggage { stdin: Some(peers_in), stdout: Some(peers_out), ..Luggage::default() };
        let peer = Peer::start(&Task { transport: self.name.to_owned(), job, load }, luggage)?;
        peer::hear(&back)?;
        Ok((peer, out, back))
    }
}

impl Transport for Bytes {
    fn name(&self) -> &'static str {
        self.name
    }

    fn flow(&self, load: Load) -> anyhow::Result<Duration> {
        let (peer, out, back) = self.meet(Job::Flow, load)?;
        let a_write = if self.gathers { BATCH / load.size } else { 1 } as u64;
        let batch = vec![7; load.size * usize::try_from(a_write)?];
        let start = Instant::now();
        for _ in 0..load.count / a_write {
            write_all(&out, &batch)?;
        }
        for _ in 0..load.count % a_write {
            write_all(&out, &batch[..load.size])?;
        }
        peer::hear(&back)?;
        let elapsed = start.elapsed();
        peer.end()?;
        Ok(elapsed)
    }

    fn trips(&self, load: Load) -> anyhow::Result<Option<Vec<f64>>> {
        if self.gathers {
            return Ok(None);
        }
        let (peer, out, back) = self.meet(Job::Trips, load)?;
        let mut message = vec![7; load.size];
        let mut trip = || {
            let start = Instant::now();
            write_all(&out, &message)?;
            read_all(&back, &mut message)?;
            Ok(ns(start.elapsed()))
        };
        let trips: anyhow::Result<Vec<f64>> = (0..load.count).map(|_| trip()).collect();
        peer.end()?;
        Ok(Some(trips?))
    }

    fn peer(&self, job: Job, load: Load) -> anyhow::Result<()> {
        let (from, to) = (io::stdin(), io::stdout());
        peer::say()?;
        match job {
            Job::Flow => {
                let mut buffer = vec![0; BATCH];
                let mut left = load.size as u64 * load.count;
                while left > 0 {
                    let read = rustix::io::read(&from, &mut buffer)?;
                    ensure!(read > 0, "the other side ended with {left} bytes to go");
                    left = left.saturating_sub(read as u64);
                }
                peer::say()
            }
            Job::Trips => {
                let mut message = vec![0; load.size];
                for _ in 0..load.count {
                    read_all(&from, &mut message)?;
                    write_all(&to, &message)?;
                }
                Ok(())
            }
        }
    }
}
