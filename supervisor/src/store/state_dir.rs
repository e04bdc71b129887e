//! The state directory: its lock, and the paths of what it holds.

use crate::file_identity::FileIdentity;
use anyhow::Context as _;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    process::geteuid,
};
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// Bytes read at most from the lock file of another supervisor, which holds a pid and a newline.
const PID_BYTES: u64 = 32;

/// The state directory, locked for this supervisor until it is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: File,
}

impl StateDir {
    /// Opens and locks the directory. Creates it if it is missing. The path should be absolute: the current directory may
    /// be deleted while the supervisor runs.
    ///
    /// # Errors
    /// The directory cannot be created or written, belongs to another user, or is locked by another supervisor.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let lock = create_and_lock(path)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Checks, before the last files are written, that this supervisor still holds the directory. If the directory was
    /// deleted meanwhile, it is created and locked again, unless another supervisor has started in its place.
    ///
    /// # Errors
    /// Another supervisor holds the lock, or the directory cannot be created again.
    pub fn ensure_owned(&mut self) -> anyhow::Result<()> {
        let path = self.path.join("lock");
        let ours = FileIdentity::from(self.lock.metadata()?);
        let present = match fs::metadata(&path).map(FileIdentity::from) {
            Ok(present) => Some(present),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot reach {}", path.display())),
        };
        if present != Some(ours) {
            tracing::warn!(
                "the state directory {} was deleted while the supervisor was running; created it again",
                self.path.display()
            );
            self.lock = create_and_lock(&self.path)?;
        }
        Ok(())
    }

    /// Path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// File of the high-water marks.
    #[must_use]
    pub fn high_water_marks(&self) -> PathBuf {
        self.path.join("marks")
    }

    /// Directory of the quarantined events.
    #[must_use]
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// Directory of the crash reports.
    #[must_use]
    pub fn crashes(&self) -> PathBuf {
        self.path.join("crashes")
    }

    /// File of the snapshot, which an orderly stop writes.
    #[must_use]
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }

    /// Size of the snapshot in bytes; 0 if there is none.
    #[must_use]
    pub fn snapshot_bytes(&self) -> u64 {
        fs::metadata(self.snapshot()).map_or(0, |file| file.len())
    }
}

fn create_and_lock(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let created = fs::DirBuilder::new().recursive(true).mode(0o750).create(path);
    let found = created.and_then(|()| fs::metadata(path)).with_context(|| {
        format!("cannot create the state directory {shown}; set state_dir to another directory")
    })?;
    // The owner of a directory can replace the files in it by links. Root is allowed: container volumes belong to root.
    let (owner, own) = (found.uid(), geteuid().as_raw());
    anyhow::ensure!(
        owner == own || owner == 0,
        "the state directory {shown} belongs to uid {owner}, but this supervisor runs as uid {own}: \
         run it as uid {owner}, change the owner (chown {own} {shown}), or set state_dir to another directory"
    );
    lock(&path.join("lock"))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let cannot = || {
        let own = geteuid();
        let shown = path.display();
        format!(
            "cannot write {shown}; the state directory must be writable for uid {own}, and its disk must have free space"
        )
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file =
        File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o640)).with_context(cannot)?);
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        (&file).take(PID_BYTES).read_to_string(&mut owner).unwrap_or_default();
        anyhow::bail!(
            "{} is locked by another supervisor (pid {}): stop that supervisor, or set another state_dir for this one",
            path.display(),
            owner.trim()
        );
    }
    let write = file.set_len(0).and_then(|()| file.rewind());
    write.and_then(|()| writeln!(file, "{}", std::process::id())).with_context(cannot)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_supervisor_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = StateDir::open(&path).unwrap();
        let refusal = StateDir::open(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(first);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_deleted_directory_is_created_and_locked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut state_dir = StateDir::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        state_dir.ensure_owned().unwrap();
        StateDir::open(&path).unwrap_err();
        state_dir.ensure_owned().unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_entered_is_not_taken_for_a_deleted_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut state_dir = StateDir::open(&path).unwrap();
        // The permissions of a directory do not bind root; a file in its place binds everyone.
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = format!("{:#}", state_dir.ensure_owned().unwrap_err());
        assert!(error.contains("cannot reach") && error.contains("state/lock"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_directory_that_another_supervisor_has_locked_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut first = StateDir::open(&path).unwrap();
        fs::remove_dir_all(&path).unwrap();
        let second = StateDir::open(&path).unwrap();
        assert!(first.ensure_owned().unwrap_err().to_string().contains("another supervisor"));
        drop(second);
        first.ensure_owned().unwrap();
    }
}
