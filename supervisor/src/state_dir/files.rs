//! A folder of numbered JSON files, as their one writer has it. All of it may wait for the disk.

use super::replace;
use anyhow::Context as _;
use bulkhead_proto::wire::{
    record_store::{Record, RecordStore, file_name},
    text::escape_controls_in_json,
};
use std::{fs, io::Write as _, marker::PhantomData, os::unix::fs::DirBuilderExt as _, path::PathBuf};

/// The folder. It is opened for each thing that is done: whoever deletes it while we run must not have files written to
/// nowhere.
#[derive(Debug)]
pub struct Files<T> {
    path: PathBuf,
    of: PhantomData<fn() -> T>,
}

impl<T: Record> Files<T> {
    /// Files in that folder.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, of: PhantomData }
    }

    /// The folder, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn folder(&self) -> anyhow::Result<RecordStore<T>> {
        let cannot = || format!("cannot make or open {}", self.path.display());
        // Nothing is written where nothing is missing: a frozen file system would make a start of the API wait.
        if let Ok(folder) = RecordStore::open(&self.path) {
            return Ok(folder);
        }
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.path).with_context(cannot)?;
        RecordStore::open(&self.path).with_context(cannot)
    }

    /// Writes one, durably, into a folder that is there.
    ///
    /// # Errors
    /// When the disk says no: then there is no file either, as far as the disk allows.
    pub fn write(&self, item: &T) -> anyhow::Result<()> {
        let path = self.path.join(file_name(item.number()));
        let text = serde_json::to_string_pretty(item)?;
        let was_there = path.try_exists()?;
        let written = replace(&path, |file| Ok(writeln!(file, "{}", escape_controls_in_json(&text))?));
        if written.is_err() && !was_there {
            // It may be there, and not durable: it must not tell of what is not so.
            let _ = fs::remove_file(&path);
        }
        written
    }

    /// Removes one. False when there is none.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn remove(&self, number: T::Number) -> anyhow::Result<bool> {
        let path = self.path.join(file_name(number));
        match fs::remove_file(&path) {
            Ok(()) => fs::File::open(&self.path)?.sync_all()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
        Ok(true)
    }
}
