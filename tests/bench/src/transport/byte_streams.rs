//! Pipes and sockets: the kernel copies bytes in and out.

use super::Transport;
use crate::{
    machine::ns,
    peer::{self, Direction, Peer, PeerSetup, Task, Workload},
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

/// The bytes of one write of a batched stream, and of one read.
const BATCH_BYTES: usize = 64 << 10;

/// The four ends of a connection. In a two-way connection, the two ends of a process are the same.
struct Ends {
    out: OwnedFd,
    back: OwnedFd,
    peers_in: OwnedFd,
    peers_out: OwnedFd,
}

/// A transport that carries bytes.
#[derive(Clone, Copy)]
pub(super) struct ByteStream {
    name: &'static str,
    connect: fn() -> anyhow::Result<Ends>,
    batched: bool,
}

pub(super) const ALL: [ByteStream; 7] = [
    ByteStream { name: "pipe", connect: pipes, batched: false },
    ByteStream { name: "pipe, 64 KiB batches", connect: pipes, batched: true },
    ByteStream { name: "Unix stream", connect: unix_stream, batched: false },
    ByteStream { name: "Unix stream, 64 KiB batches", connect: unix_stream, batched: true },
    ByteStream { name: "Unix SEQPACKET", connect: unix_packets, batched: false },
    ByteStream { name: "TCP loopback", connect: tcp, batched: false },
    ByteStream { name: "TCP loopback, 64 KiB batches", connect: tcp, batched: true },
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

fn unix_stream() -> anyhow::Result<Ends> {
    unix(SockType::Stream)
}

fn unix_packets() -> anyhow::Result<Ends> {
    unix(SockType::SeqPacket)
}

fn tcp() -> anyhow::Result<Ends> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    // Otherwise a round trip would wait for a timer.
    for socket in [&ours, &theirs] {
        socket.set_nodelay(true)?;
    }
    two_way(ours.into(), theirs.into())
}

/// Writes all bytes. A packet is always written as a whole.
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
        ensure!(read > 0, "the other side closed after {filled} of {} bytes", into.len());
        filled += read;
    }
    Ok(())
}

impl ByteStream {
    fn connect_peer(
        &self,
        direction: Direction,
        workload: Workload,
    ) -> anyhow::Result<(Peer, OwnedFd, OwnedFd)> {
        let Ends { out, back, peers_in, peers_out } = (self.connect)()?;
        let setup = PeerSetup { stdin: Some(peers_in), stdout: Some(peers_out), ..PeerSetup::default() };
        let peer = Peer::start(&Task { transport: self.name.to_owned(), direction, workload }, setup)?;
        peer::wait_for_signal(&back)?;
        Ok((peer, out, back))
    }
}

impl Transport for ByteStream {
    fn name(&self) -> &'static str {
        self.name
    }

    fn stream(&self, workload: Workload) -> anyhow::Result<Duration> {
        let (peer, out, back) = self.connect_peer(Direction::Stream, workload)?;
        let per_write = if self.batched { BATCH_BYTES / workload.size } else { 1 } as u64;
        let batch = vec![7; workload.size * usize::try_from(per_write)?];
        let start = Instant::now();
        for _ in 0..workload.count / per_write {
            write_all(&out, &batch)?;
        }
        for _ in 0..workload.count % per_write {
            write_all(&out, &batch[..workload.size])?;
        }
        peer::wait_for_signal(&back)?;
        let elapsed = start.elapsed();
        peer.finish()?;
        Ok(elapsed)
    }

    fn round_trips(&self, workload: Workload) -> anyhow::Result<Option<Vec<f64>>> {
        if self.batched {
            return Ok(None);
        }
        let (peer, out, back) = self.connect_peer(Direction::RoundTrips, workload)?;
        let mut message = vec![7; workload.size];
        let mut round_trip = || {
            let start = Instant::now();
            write_all(&out, &message)?;
            read_all(&back, &mut message)?;
            Ok(ns(start.elapsed()))
        };
        let round_trips: anyhow::Result<Vec<f64>> = (0..workload.count).map(|_| round_trip()).collect();
        peer.finish()?;
        Ok(Some(round_trips?))
    }

    fn peer(&self, direction: Direction, workload: Workload) -> anyhow::Result<()> {
        let (from, to) = (io::stdin(), io::stdout());
        peer::signal()?;
        match direction {
            Direction::Stream => {
                let mut buffer = vec![0; BATCH_BYTES];
                let mut left = workload.size as u64 * workload.count;
                while left > 0 {
                    let read = rustix::io::read(&from, &mut buffer)?;
                    ensure!(read > 0, "the other side closed with {left} bytes missing");
                    left = left.saturating_sub(read as u64);
                }
                peer::signal()
            }
            Direction::RoundTrips => {
                let mut message = vec![0; workload.size];
                for _ in 0..workload.count {
                    read_all(&from, &mut message)?;
                    write_all(&to, &message)?;
                }
                Ok(())
            }
        }
    }
}
