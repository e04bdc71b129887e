//! Writes a directory of numbered JSON records. Each directory has one writer. Every call may block on the disk.

use super::atomic_file::{replace, replace_unsynced};
use anyhow::Context as _;
use bulkhead_proto::wire::{
    record_store::{Record, RecordStore, file_name},
    text::escape_controls_in_json,
};
use std::{fs, io::Write as _, marker::PhantomData, os::unix::fs::DirBuilderExt as _, path::PathBuf};

/// Writes and removes the records of a directory. Each call opens the directory anew: if it was deleted meanwhile,
/// no record may go to the deleted directory.
#[derive(Debug)]
pub(super) struct RecordWriter<T> {
    path: PathBuf,
    record: PhantomData<fn() -> T>,
}

impl<T: Record> RecordWriter<T> {
    /// A writer for this directory.
    #[must_use]
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, record: PhantomData }
    }

    /// Opens the directory for reading. Creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be created or opened.
    pub(super) fn records(&self) -> anyhow::Result<RecordStore<T>> {
        let cannot = || format!("cannot create or open {}", self.path.display());
        // An existing directory needs no write: on a frozen file system, a write would delay the start of the API.
        if let Ok(records) = RecordStore::open(&self.path) {
            return Ok(records);
        }
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.path).with_context(cannot)?;
        RecordStore::open(&self.path).with_context(cannot)
    }

    /// Writes a record durably. The directory must exist. Returns the length of its file, in bytes.
    ///
    /// # Errors
    /// The disk refuses. A new file is then removed, as far as the disk allows.
    pub(super) fn write(&self, record: &T) -> anyhow::Result<u64> {
        let (path, text) = self.file_of(record)?;
        let existed = path.try_exists()?;
        let written = replace(&path, |file| Ok(file.write_all(text.as_bytes())?));
        if written.is_err() && !existed {
            // The file may be there without being durable. The caller reports a failure, so no record may be found.
            let _ = fs::remove_file(&path);
        }
        written.map(|()| text.len() as u64)
    }

    /// Writes a record, which [`Self::sync`] makes durable. The directory must exist. Returns the length of its file, in bytes.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn write_unsynced(&self, record: &T) -> anyhow::Result<u64> {
        let (path, text) = self.file_of(record)?;
        replace_unsynced(&path, |file| Ok(file.write_all(text.as_bytes())?))?;
        Ok(text.len() as u64)
    }

    /// Makes all records durable that were written before.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        let directory = fs::File::open(&self.path)?;
        rustix::fs::syncfs(&directory).with_context(|| format!("cannot synchronise {}", self.path.display()))
    }

    /// The path and the content of a record's file.
    fn file_of(&self, record: &T) -> anyhow::Result<(PathBuf, String)> {
        let text = format!("{}\n", escape_controls_in_json(&serde_json::to_string_pretty(record)?));
        Ok((self.path.join(file_name(record.number())), text))
    }

    /// Removes a record durably. Returns `false` if there is none.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn remove(&self, number: T::Number) -> anyhow::Result<bool> {
        let path = self.path.join(file_name(number));
        match fs::remove_file(&path) {
            Ok(()) => fs::File::open(&self.path)?.sync_all()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
        Ok(true)
    }
}
