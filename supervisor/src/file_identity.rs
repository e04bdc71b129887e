//! Tells whether a path still leads to the file that this process has created there.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// Device and inode number. They are not used again while the file is open, or, of a socket, while it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileIdentity {
    fn from(found: Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}
