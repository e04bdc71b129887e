//! The listening socket. The supervisor owns it, and it outlives this process; this process only accepts from it.

use rustix::net::{AddressFamily, sockopt::socket_domain};
use std::{io, net::IpAddr, os::fd::OwnedFd};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

/// An inherited listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The socket of an accepted connection.
pub(crate) type Stream = Either<TcpStream, UnixStream>;

impl Listener {
    /// Wraps an inherited socket. Must be called within the tokio runtime.
    ///
    /// # Errors
    /// When tokio cannot serve the socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // All processes that inherited the socket share the non-blocking flag. Each of them sets it.
        rustix::io::ioctl_fionbio(&fd, true)?;
        if socket_domain(&fd)? == AddressFamily::UNIX {
            Ok(Self::Unix(UnixListener::from_std(fd.into())?))
        } else {
            Ok(Self::Tcp(TcpListener::from_std(fd.into())?))
        }
    }

    /// Whether only programs of this machine can connect, over the network protocol that web browsers use.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            Self::Unix(_) => false,
        }
    }

    /// Accepts the next connection. Also returns the client's address; `None` on a Unix socket. Safe to cancel.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses are written whole: waiting for more data would only delay them.
                stream.set_nodelay(true)?;
                Ok((Either::Left(stream), Some(peer.ip())))
            }
            Self::Unix(listener) => {
                let (stream, _path) = listener.accept().await?;
                Ok((Either::Right(stream), None))
            }
        }
    }
}
