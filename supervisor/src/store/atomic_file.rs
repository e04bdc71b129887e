//! Atomic replacement of a file.

use anyhow::Context as _;
use rustix::fs::OFlags;
use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Replaces a file atomically and durably: after a power failure it has either its old or its new content.
///
/// # Errors
/// The disk refuses a step. If the write or the rename is refused, the old file stays. If only the sync of the directory is
/// refused, the new content is there, but may not survive a power failure.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    replace_unsynced(path, |file| {
        write(file)?;
        Ok(file.sync_all()?)
    })?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Replaces a file atomically. The caller makes it durable.
///
/// # Errors
/// The disk refuses a step: the old file stays.
pub(super) fn replace_unsynced(
    path: &Path,
    write: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let replaced = write_temporary(&temporary, write)
        .with_context(|| format!("cannot write {}", temporary.display()))
        .and_then(|()| {
            fs::rename(&temporary, path).with_context(|| format!("cannot replace {}", path.display()))
        });
    if replaced.is_err() {
        // A partial file would occupy disk space.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// The path may already be a link, or a pipe without a reader. The flags make the open fail instead of following the
/// link or waiting for a reader of the pipe.
fn write_temporary(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = File::options().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    write(&mut file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_failed_replacement_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, |file| Ok(file.write_all(b"old")?)).unwrap();
        assert!(replace(&path, |_| anyhow::bail!("disk full")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(!path.with_extension("new").exists(), "the partial new file is removed");
    }

    #[test]
    fn a_link_or_a_pipe_at_the_temporary_path_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("file"), dir.path().join("other"));
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, path.with_extension("new")).unwrap();
        assert!(replace(&path, |file| Ok(file.write_all(b"new")?)).is_err());
        nix::unistd::mkfifo(&path.with_extension("new"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(replace(&path, |file| Ok(file.write_all(b"new")?)).is_err());
        replace(&path, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".into(), b"other".into()));
    }
}
