//! The file of a snapshot: a magic, then items.

use super::SnapshotError;
use crate::{
    shm::table::MAX_CONTENT,
    wire::codec::{self, CodecError},
};
use bincode::{Decode, Encode};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// What a file begins with, before the two digits of its version.
const MAGIC: &[u8; 14] = b"bulkhead snap ";

/// The version of a file. All versions can be loaded; the last one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    First,
    /// Has keyed requests.
    WithKeys,
    /// Has the last arrival of each series, and counts series that were removed.
    WithArrivals,
    /// Has larger series, larger events, and events without a value.
    WithLargeItems,
}

impl Version {
    const ALL: [Self; 4] = [Self::First, Self::WithKeys, Self::WithArrivals, Self::WithLargeItems];
    pub(super) const CURRENT: Self = Self::WithLargeItems;

    const fn digits(self) -> &'static [u8; 2] {
        match self {
            Self::First => b"01",
            Self::WithKeys => b"02",
            Self::WithArrivals => b"03",
            Self::WithLargeItems => b"04",
        }
    }
}

/// The longest item, in bytes: a series, its name, and what the codec adds to it.
const MAX_ITEM: usize = MAX_CONTENT + 1024;

/// A snapshot that is being written.
pub(super) struct Sink {
    path: PathBuf,
    new: PathBuf,
    file: BufWriter<File>,
    buffer: Vec<u8>,
}

impl Sink {
    pub(super) fn create(path: &Path) -> Result<Self, SnapshotError> {
        let new = path.with_extension("new");
        let mut sink = File::create(&new)
            .map(|file| Self {
                path: path.to_owned(),
                new: new.clone(),
                file: BufWriter::new(file),
                buffer: vec![0; MAX_ITEM],
            })
            .map_err(|source| SnapshotError::File { path: new, source })?;
        let magic = sink.file.write_all(MAGIC).and_then(|()| sink.file.write_all(Version::CURRENT.digits()));
        magic.map_err(|source| sink.error(source))?;
        Ok(sink)
    }

    fn error(&self, source: io::Error) -> SnapshotError {
        SnapshotError::File { path: self.new.clone(), source }
    }

    pub(super) fn item(&mut self, item: &impl Encode) -> Result<(), SnapshotError> {
        let length =
            codec::encode(item, &mut self.buffer).map_err(|error| self.error(io::Error::other(error)))?;
        let bytes = &self.buffer[..length];
        let frame =
            [u32::try_from(length).unwrap_or(u32::MAX), crc32c::crc32c(bytes)].map(u32::to_le_bytes).concat();
        let written = self.file.write_all(&frame).and_then(|()| self.file.write_all(bytes));
        written.map_err(|source| self.error(source))
    }

    /// Makes the file durable and renames it over the previous snapshot.
    pub(super) fn finish(mut self) -> Result<(), SnapshotError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        let renamed = flushed.and_then(|()| fs::rename(&self.new, &self.path));
        let directory = self
            .path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let durable = renamed.and_then(|()| File::open(directory)?.sync_all());
        durable.map_err(|source| self.error(source))
    }
}

/// A snapshot that is being read.
pub(super) struct Source {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    pub(super) version: Version,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Option<Self>, SnapshotError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SnapshotError::File { path: path.to_owned(), source }),
        };
        let version = Version::CURRENT;
        let mut source = Self { path: path.to_owned(), file: BufReader::new(file), at: 0, version };
        let (mut magic, mut digits) = ([0; MAGIC.len()], [0; 2]);
        source.read(&mut magic)?;
        source.read(&mut digits)?;
        let version = Version::ALL.into_iter().find(|version| &magic == MAGIC && &digits == version.digits());
        source.version =
            version.ok_or_else(|| source.damaged("not a snapshot of a known version".to_owned()))?;
        Ok(Some(source))
    }

    pub(super) fn error(&self, source: io::Error) -> SnapshotError {
        SnapshotError::File { path: self.path.clone(), source }
    }

    pub(super) fn damaged(&self, what: String) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), at: self.at, what }
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), SnapshotError> {
        if let Err(error) = self.file.read_exact(into) {
            let cut = error.kind() == io::ErrorKind::UnexpectedEof;
            return Err(if cut { self.damaged("the file is truncated".into()) } else { self.error(error) });
        }
        self.at += into.len() as u64;
        Ok(())
    }

    pub(super) fn item<T: Decode<()>>(&mut self) -> Result<T, SnapshotError> {
        let mut frame = [[0; 4]; 2];
        self.read(frame.as_flattened_mut())?;
        let [length, crc] = frame.map(u32::from_le_bytes);
        if length as usize > MAX_ITEM {
            return Err(self.damaged(format!("an item of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        self.read(&mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(self.damaged("an item has a wrong checksum".into()));
        }
        codec::decode(&bytes).map_err(|error: CodecError| self.damaged(error.to_string()))
    }
}
