//! The listening socket of the API. All API generations inherit it, so that it outlives each of them.

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

/// Maximum number of connections that wait while no API generation accepts: a burst during a restart must not be
/// refused. The kernel lowers it to `net.core.somaxconn`, which is 4,096 by default.
const BACKLOG: i32 = 4096;

/// A listening socket and its address.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub fd: OwnedFd,
    /// Its address. Port 0 is replaced by the port that the kernel chose.
    pub address: ListenAddr,
    /// Whether the file of a Unix socket stays when the listener is dropped.
    keep_file: bool,
}

impl Listener {
    /// Starts to listen.
    ///
    /// # Errors
    /// The address is in use, not permitted, or invalid.
    pub fn open(address: &ListenAddr) -> anyhow::Result<Self> {
        match address {
            ListenAddr::Tcp(address) => tcp(*address),
            ListenAddr::Unix(path) => unix(path),
        }
        .with_context(|| {
            format!("cannot listen on {address}; set api.listen or BULKHEAD_API_LISTEN to another address")
        })
    }

    /// A socket inherited from systemd, which owns the file of a Unix socket.
    pub(crate) const fn inherited(fd: OwnedFd, address: ListenAddr) -> Self {
        Self { fd, address, keep_file: true }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddr::Unix(path) = &self.address
            && !self.keep_file
        {
            // Without a listener the file has no use.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tcp(address: SocketAddr) -> anyhow::Result<Listener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Allows bind(2) while connections of an earlier run are in TIME_WAIT: socket(7).
    sockopt::set_socket_reuseaddr(&fd, true)?;
    bind(&fd, &address).map_err(in_use)?;
    listen(&fd, BACKLOG).map_err(in_use)?;
    let bound = SocketAddr::try_from(getsockname(&fd)?)?;
    Ok(Listener { fd, address: ListenAddr::Tcp(bound), keep_file: false })
}

fn unix(path: &Path) -> anyhow::Result<Listener> {
    remove_stale_socket(path)?;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrUnix::new(path)?).map_err(in_use)?;
    listen(&fd, BACKLOG)?;
    Ok(Listener { fd, address: ListenAddr::Unix(PathBuf::from(path)), keep_file: false })
}

fn in_use(error: Errno) -> anyhow::Error {
    match error {
        Errno::ADDRINUSE => anyhow::anyhow!("address in use by another program"),
        other => other.into(),
    }
}

/// Removes the socket file of an earlier run, if no process listens on it.
///
/// # Errors
/// A process listens on it, the file is not a socket, or it cannot be removed.
pub fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::{fs::FileTypeExt as _, net::UnixStream};
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    anyhow::ensure!(found.file_type().is_socket(), "{} exists and is not a socket", path.display());
    match UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the stale socket {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("cannot determine whether a program listens on {}", path.display())),
        Ok(_) => anyhow::bail!("address in use by another program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn port_zero_becomes_the_port_that_the_kernel_chose() {
        let listener = Listener::open(&ListenAddr::parse("127.0.0.1:0").unwrap()).unwrap();
        assert!(matches!(listener.address, ListenAddr::Tcp(address) if address.port() != 0));
    }

    #[test]
    fn an_address_in_use_is_an_error_that_names_it() {
        let first = Listener::open(&ListenAddr::parse("127.0.0.1:0").unwrap()).unwrap();
        let error = format!("{:#}", Listener::open(&first.address).unwrap_err());
        assert!(error.contains(&first.address.to_string()) && error.contains("address in use"), "{error}");
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_one_with_a_listener_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std does not remove the file");
        let listener = Listener::open(&ListenAddr::Unix(path.clone())).unwrap();
        assert!(Listener::open(&ListenAddr::Unix(path.clone())).is_err());
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::open(&ListenAddr::Unix(path.clone())).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
