//! The directory that outlives the supervisor: a lock, the marks below which no number is ever given out again, and the
//! memory that was saved at the last orderly stop.

mod marks;

pub use marks::{Marks, Numbers};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// The state directory, locked for this supervisor until it is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Opens the directory, making it when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or written, or another supervisor holds it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&path)
            .with_context(|| format!("cannot make the state directory {}; set state_dir", path.display()))?;
        let lock = Self::lock(&path.join("lock"))?;
        Ok(Self { path, _lock: lock })
    }

    fn lock(path: &Path) -> anyhow::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::from_raw_mode(0o640));
        let mut file =
            File::from(opened.with_context(|| format!("cannot open {}; set state_dir", path.display()))?);
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            file.read_to_string(&mut owner).unwrap_or_default();
            anyhow::bail!(
                "{} is locked by another supervisor (pid {}): stop it, or give this one another state_dir",
                path.display(),
                owner.trim()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(file)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the marks are kept.
    #[must_use]
    pub fn marks(&self) -> PathBuf {
        self.path.join("marks")
    }

    /// Where memory is saved at an orderly stop.
    #[must_use]
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    /// The size of what was saved, in bytes; 0 if there is nothing.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        fs::metadata(self.snapshot()).map_or(0, |file| file.len())
    }
}

/// Replaces a file as a whole: after a power cut there is the old one or the new one.
///
/// # Errors
/// When the disk says no; the old file is still there then.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    write(&mut file).with_context(|| format!("cannot write {}", fresh.display()))?;
    file.sync_all().with_context(|| format!("cannot write {} to the disk", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_refused_and_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = StateDir::open(&path).unwrap();
        let refusal = StateDir::open(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(first);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, |file| Ok(file.write_all(b"old")?)).unwrap();
        assert!(replace(&path, |_| anyhow::bail!("disk full")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
