//! The file of a listening Unix socket. Clients cannot reach a socket whose file was removed.

use crate::file_identity::FileIdentity;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file of a socket that this process listens on. It is removed on drop.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl SocketFile {
    /// The file that was just created at this path.
    pub(crate) fn created(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the socket.
    pub(crate) fn exists(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another program may have put its own file there.
        if self.exists() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    fs::symlink_metadata(path).map(FileIdentity::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_removed_and_a_replaced_file_do_not_lead_to_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let file = SocketFile::created(&path).unwrap();
        assert!(file.exists());
        fs::remove_file(&path).unwrap();
        assert!(!file.exists());
        let _other = UnixListener::bind(&path).unwrap();
        assert!(!file.exists());
        drop(file);
        assert!(path.exists(), "the file of another socket stays");
        drop(SocketFile::created(&path).unwrap());
        assert!(!path.exists());
    }
}
