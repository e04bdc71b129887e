//! The listening socket: made here or handed over by systemd, inherited by every API generation, so that it outlives them
//! all.

mod handed;

pub use handed::choose;

use crate::config::ListenAddr;
use anyhow::Context as _;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, listen, socket_with,
        sockopt,
    },
};
use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Connections that may wait while no API generation accepts: a burst during a restart must not be refused. The system
/// cuts it to `net.core.somaxconn`, which is 4,096 by default.
const BACKLOG: i32 = 4096;

/// The socket, and where it listens.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// The address, with the port that the system chose when 0 was asked for.
    pub address: ListenAddr,
    /// Whether a Unix socket's file stays when this is dropped: it is not ours.
    keep: bool,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address is in use, or may not or cannot be used.
    pub fn open(address: &ListenAddr) -> anyhow::Result<Self> {
        match address {
            ListenAddr::Tcp(address) => tcp(*address),
            ListenAddr::Unix(path) => unix(path),
        }
        .with_context(|| {
            format!("cannot listen on {address}; set api.listen or BULKHEAD_API_LISTEN to another address")
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddr::Unix(path) = &self.address
            && !self.keep
        {
            // Nobody accepts any more; left behind, the file would only puzzle.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tcp(address: SocketAddr) -> anyhow::Result<Listener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of a former run in TIME_WAIT must not hinder a new one (socket(7)).
    sockopt::set_socket_reuseaddr(&fd, true)?;
    bind(&fd, &address).map_err(in_use)?;
    listen(&fd, BACKLOG).map_err(in_use)?;
    let bound = SocketAddr::try_from(getsockname(&fd)?)?;
    Ok(Listener { fd, address: ListenAddr::Tcp(bound), keep: false })
}

fn unix(path: &Path) -> anyhow::Result<Listener> {
    remove_stale(path)?;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?).map_err(in_use)?;
    listen(&fd, BACKLOG)?;
    Ok(Listener { fd, address: ListenAddr::Unix(PathBuf::from(path)), keep: false })
}

fn in_use(error: Errno) -> anyhow::Error {
    match error {
        Errno::ADDRINUSE => anyhow::anyhow!("another program listens there already"),
        other => other.into(),
    }
}

/// Removes the socket file that a former run left behind, once it is sure that nobody listens there.
///
/// # Errors
/// When somebody does, or the file is something else than a socket.
pub fn remove_stale(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::{fs::FileTypeExt as _, net::UnixStream};
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    anyhow::ensure!(found.file_type().is_socket(), "{} is there and is no socket", path.display());
    match UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).with_context(|| format!("cannot remove the stale {}", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell whether anybody listens at {}", path.display()))
        }
        Ok(_) => anyhow::bail!("another program listens there already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn port_zero_becomes_the_port_that_the_system_chose() {
        let listener = Listener::open(&ListenAddr::parse("127.0.0.1:0").unwrap()).unwrap();
        assert!(matches!(listener.address, ListenAddr::Tcp(address) if address.port() != 0));
    }

    #[test]
    fn an_address_in_use_is_a_clear_error() {
        let first = Listener::open(&ListenAddr::parse("127.0.0.1:0").unwrap()).unwrap();
        let error = format!("{:#}", Listener::open(&first.address).unwrap_err());
        assert!(
            error.contains(&first.address.to_string()) && error.contains("listens there already"),
            "{error}"
        );
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = Listener::open(&ListenAddr::Unix(path.clone())).unwrap();
        assert!(Listener::open(&ListenAddr::Unix(path.clone())).is_err());
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::open(&ListenAddr::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
