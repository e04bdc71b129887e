//! The directory that outlives the supervisor: a lock, the marks below which no number is ever given out again, and the
//! memory that was saved at the last orderly stop.

mod files;
mod marks;

pub use files::Files;
pub use marks::{MAX_GIVEN, Marks, Numbers};

use anyhow::Context as _;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    process::geteuid,
};
use std::{
    fs::{self, File, Metadata},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// So much is read of the lock of another supervisor: a pid, and a line's end.
const PID_BYTES: u64 = 32;

/// The state directory, locked for this supervisor until it is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: File,
}

impl StateDir {
    /// Opens the directory, making it when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or written, belongs to somebody else, or another supervisor holds it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let lock = make(&path)?;
        Ok(Self { path, lock })
    }

    /// Makes sure, before the last things are written, that the directory is there and still ours: whoever has deleted it
    /// while we ran may have let another supervisor begin in its place.
    ///
    /// # Errors
    /// When another supervisor holds it now, or it cannot be made again.
    pub fn reclaim(&mut self) -> anyhow::Result<()> {
        let file = |found: Metadata| (found.dev(), found.ino());
        let ours = self.lock.metadata().map(file).ok();
        if ours.is_none() || fs::metadata(self.path.join("lock")).map(file).ok() != ours {
            tracing::warn!("{} was deleted while this supervisor ran: made again", self.path.display());
            self.lock = make(&self.path)?;
        }
        Ok(())
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

    /// Where events are kept that were set aside.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// Where crash reports are kept.
    #[must_use]
    pub fn crashes(&self) -> PathBuf {
        self.path.join("crashes")
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

/// Makes the directory if it is missing, and locks it.
fn make(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(path);
    let found = made
        .and_then(|()| fs::metadata(path))
        .with_context(|| format!("cannot make the state directory {shown}; set state_dir to another one"))?;
    // Whoever owns it could put links in the way of our files. Root may own it: container volumes come so.
    let (owner, own) = (found.uid(), geteuid().as_raw());
    anyhow::ensure!(
        owner == own || owner == 0,
        "the state directory {shown} belongs to uid {owner}, this supervisor runs as uid {own}: \
         run it as its owner, give it away (chown {own} {shown}), or set state_dir to another one"
    );
    lock(&path.join("lock"))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let cannot = || {
        let own = geteuid();
        let shown = path.display();
        format!(
            "cannot write {shown}; the state directory must be writable for uid {own}, with room on its disk"
        )
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file =
        File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)).with_context(cannot)?);
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        (&file).take(PID_BYTES).read_to_string(&mut owner).unwrap_or_default();
        anyhow::bail!(
            "{} is locked by another supervisor (pid {}): stop it, or give this one another state_dir",
            path.display(),
            owner.trim()
        );
    }
    let write = file.set_len(0).and_then(|()| file.rewind());
    write.and_then(|()| writeln!(file, "{}", std::process::id())).with_context(cannot)?;
    Ok(file)
}

/// Replaces a file as a whole: after a power cut there is the old one or the new one.
///
/// # Errors
/// When the disk says no; the old file is still there then.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let replaced =
        write_fresh(&fresh, write).with_context(|| format!("cannot write {}", fresh.display())).and_then(
            |()| fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display())),
        );
    if replaced.is_err() {
        // What there is of it takes room.
        let _ = fs::remove_file(&fresh);
    }
    replaced?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// What lies at its place may be a link, or a pipe that nobody reads: neither is followed or waited for.
fn write_fresh(path: &Path, write: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = File::options().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    write(&mut file)?;
    Ok(file.sync_all()?)
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
    fn a_directory_that_was_deleted_is_made_and_locked_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut state_dir = StateDir::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        state_dir.reclaim().unwrap();
        StateDir::open(&path).unwrap_err();
        state_dir.reclaim().unwrap();
    }

    #[test]
    fn a_directory_that_another_supervisor_has_begun_anew_is_not_taken_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let mut first = StateDir::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        let second = StateDir::open(&path).unwrap();
        assert!(first.reclaim().unwrap_err().to_string().contains("another supervisor"));
        drop(second);
        first.reclaim().unwrap();
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, |file| Ok(file.write_all(b"old")?)).unwrap();
        assert!(replace(&path, |_| anyhow::bail!("disk full")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert!(!path.with_extension("new").exists(), "what there was of the new one is gone");
    }

    #[test]
    fn what_lies_in_the_place_of_the_new_file_is_neither_followed_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, path.with_extension("new")).unwrap();
        assert!(replace(&path, |file| Ok(file.write_all(b"new")?)).is_err());
        nix::unistd::mkfifo(&path.with_extension("new"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(replace(&path, |file| Ok(file.write_all(b"new")?)).is_err());
        replace(&path, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".into(), b"other".into()));
    }
}
