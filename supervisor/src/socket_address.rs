//! Paths of Unix sockets that are longer than the kernel takes.

use crate::config::model::MAX_SOCKET_PATH;
use rustix::fs::{Mode, OFlags, open};
use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

/// A path for bind(2) and connect(2), which take at most [`MAX_SOCKET_PATH`] bytes. A longer path is replaced by one
/// that leads through an fd of its directory.
#[derive(Debug)]
pub(crate) struct SocketAddress {
    path: PathBuf,
    /// Must be open while the path is used.
    _directory: Option<OwnedFd>,
}

impl SocketAddress {
    /// # Errors
    /// The path is long, and its directory cannot be opened.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self { path: path.to_owned(), _directory: None });
        };
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path: short, _directory: Some(directory) })
    }
}

impl AsRef<Path> for SocketAddress {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socket_with_a_long_path_is_created_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(MAX_SOCKET_PATH));
        std::fs::create_dir(&long).unwrap();
        let path = long.join("s");
        let _listener = UnixListener::bind(SocketAddress::new(&path).unwrap()).unwrap();
        assert!(path.exists());
        UnixStream::connect(SocketAddress::new(&path).unwrap()).unwrap();
    }
}
