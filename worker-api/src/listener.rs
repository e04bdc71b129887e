//! The listening socket. It belongs to the supervisor and outlives this process; here it is only accepted from.

use rustix::net::{AddressFamily, sockopt::socket_domain};
use std::{io, net::IpAddr, os::fd::OwnedFd};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// An inherited listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection accepted from it.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    /// Where it comes from; none on a Unix socket.
    pub(crate) address: Option<IpAddr>,
}

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Wraps an inherited socket; to be called within the runtime.
    ///
    /// # Errors
    /// When it is not a socket that tokio can serve.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // The flag is shared by all who inherited the socket; every one of them wants it so.
        rustix::io::ioctl_fionbio(&fd, true)?;
        if socket_domain(&fd)? == AddressFamily::UNIX {
            Ok(Self::Unix(UnixListener::from_std(fd.into())?))
        } else {
            Ok(Self::Tcp(TcpListener::from_std(fd.into())?))
        }
    }

    /// The next connection. Can be abandoned without losing one.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written whole: waiting for more to send would only delay them.
                stream.set_nodelay(true)?;
                Ok(Accepted { stream: Stream::Tcp(stream), address: Some(peer.ip()) })
            }
            Self::Unix(listener) => {
                let (stream, _path) = listener.accept().await?;
                Ok(Accepted { stream: Stream::Unix(stream), address: None })
            }
        }
    }
}
