//! The listening socket of the API. All API generations inherit it, so that it outlives each of them.

use crate::{config::ListenAddr, socket_address::SocketAddress, socket_file::SocketFile};
use anyhow::Context as _;
use rustix::net::listen;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::FileTypeExt as _,
            net::{UnixListener, UnixStream},
        },
    },
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
    /// The file of a Unix socket, unless systemd owns it. It is removed on drop: without a listener it has no use.
    pub(crate) file: Option<SocketFile>,
    /// The file of a Unix socket that systemd owns, if this process can see it. It is not created again.
    pub(crate) file_of_systemd: Option<PathBuf>,
    inherited: bool,
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

    const fn own(fd: OwnedFd, address: ListenAddr, file: Option<SocketFile>) -> Self {
        Self { fd, address, file, file_of_systemd: None, inherited: false }
    }

    /// A socket inherited from systemd, which owns the file of a Unix socket.
    pub(crate) fn inherited(fd: OwnedFd, address: ListenAddr) -> Self {
        let file_of_systemd = match &address {
            // Another mount namespace hides it.
            ListenAddr::Unix(path) => path.exists().then(|| path.clone()),
            ListenAddr::Tcp(_) => None,
        };
        Self { fd, address, file: None, file_of_systemd, inherited: true }
    }

    /// Whether the socket was inherited from systemd: `api.listen` is not used then.
    pub(crate) const fn is_inherited(&self) -> bool {
        self.inherited
    }
}

/// std sets `SO_REUSEADDR`, which allows bind(2) while connections of an earlier run are in TIME_WAIT: socket(7).
fn tcp(address: SocketAddr) -> anyhow::Result<Listener> {
    let listener = TcpListener::bind(address).map_err(in_use)?;
    let bound = listener.local_addr()?;
    deep_backlog(&listener)?;
    Ok(Listener::own(listener.into(), ListenAddr::Tcp(bound), None))
}

fn unix(path: &Path) -> anyhow::Result<Listener> {
    remove_stale_socket(path)?;
    let listener = UnixListener::bind(SocketAddress::new(path)?).map_err(in_use)?;
    let file = Some(SocketFile::created(path)?);
    deep_backlog(&listener)?;
    Ok(Listener::own(listener.into(), ListenAddr::Unix(path.to_owned()), file))
}

/// std listens with a backlog of 128. A second listen(2) changes it.
fn deep_backlog(listener: impl AsFd) -> io::Result<()> {
    Ok(listen(listener, BACKLOG)?)
}

fn in_use(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        anyhow::anyhow!("address in use by another program")
    } else {
        error.into()
    }
}

/// Removes the socket file of an earlier run, if no process listens on it.
///
/// # Errors
/// A process listens on it, the file is not a socket, or it cannot be removed.
pub fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    anyhow::ensure!(found.file_type().is_socket(), "{} exists and is not a socket", path.display());
    match SocketAddress::new(path).and_then(UnixStream::connect) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .with_context(|| format!("cannot remove the stale socket {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error)
            .with_context(|| format!("cannot determine whether a program listens on {}", path.display())),
        Ok(_) => anyhow::bail!("address in use by another program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
