//! Events that were set aside, as files: one `SEQ.json` each in a folder that the supervisor alone writes. The API holds
//! that folder read-only, by its fd.

use crate::{
    event::MAX_EVENT,
    ids::{CrashId, Generation, Seq},
    words::{Cause, During},
};
use rustix::{
    fs::{Dir, Mode, OFlags, openat},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

/// The most events that are kept. Beyond it nothing more is set aside, and so nothing skipped.
pub const MAX_ENTRIES: usize = 10_000;

/// The longest file, in bytes: an event as bytes and as JSON, where a character may take six, and its report.
const MAX_FILE: usize = 16 * MAX_EVENT;

/// The end of a file's name.
const SUFFIX: &str = ".json";

/// One event that was set aside, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's number.
    pub seq: Seq,
    /// When it was set aside: RFC 3339, UTC.
    pub at: String,
    /// The worker that died of it.
    pub worker: String,
    /// The last generation that did.
    pub generation: Generation,
    /// The number of that death's report.
    pub crash: CrashId,
    /// Why that one died.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// What that one was doing with the event.
    pub during: During,
    /// So many generations died of it.
    pub attempts: u32,
    /// The event as it was sent; none if its bytes are no event.
    pub event: Option<Shown>,
    /// The event's bytes in the ring, in hexadecimal: what a replay appends again. Lists leave them out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bytes: String,
}

/// An event for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its series.
    pub series: String,
    /// Its value.
    pub value: f64,
    /// When it happened: RFC 3339, UTC.
    pub ts: String,
    /// When it was accepted: RFC 3339, UTC.
    pub arrived: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its data, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The request that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Entry {
    /// The entry as lists show it: without the bytes.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { bytes: String::new(), ..self }
    }

    /// The event's bytes, as they were in the ring. None when the file was tampered with.
    #[must_use]
    pub fn payload(&self) -> Option<Vec<u8>> {
        let (pairs, rest) = self.bytes.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        if rest.is_empty() { bytes.collect() } else { None }
    }

    /// Bytes in hexadecimal.
    #[must_use]
    pub fn hex(bytes: &[u8]) -> String {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

/// The name of an event's file.
#[must_use]
pub fn file_name(seq: Seq) -> String {
    format!("{seq}{SUFFIX}")
}

/// The folder, for reading.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl From<OwnedFd> for Folder {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Folder> for OwnedFd {
    fn from(folder: Folder) -> Self {
        folder.0
    }
}

impl Folder {
    /// Opens it.
    ///
    /// # Errors
    /// When it is not there, or no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The events that are set aside, by number. Other files are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn seqs(&self) -> io::Result<Vec<Seq>> {
        let mut seqs = Vec::new();
        for item in Dir::read_from(&self.0)? {
            let item = item?;
            let number = item.file_name().to_str().ok().and_then(|name| name.strip_suffix(SUFFIX));
            seqs.extend(number.and_then(|number| number.parse().ok()).map(Seq));
        }
        seqs.sort_unstable();
        Ok(seqs)
    }

    /// The first ones behind `after`, at most so many, without their bytes, and whether there are more. What was removed
    /// meanwhile or cannot be read is left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn page(&self, after: Seq, most: usize) -> io::Result<(Vec<Entry>, Option<Seq>)> {
        let mut seqs = self.seqs()?;
        seqs.retain(|seq| *seq > after);
        let more = seqs.len() > most;
        seqs.truncate(most);
        let next = seqs.last().copied().filter(|_| more);
        let entries = seqs.into_iter().filter_map(|seq| self.read(seq).ok().flatten()).map(Entry::brief);
        Ok((entries.collect(), next))
    }

    /// One of them; none when it is not (or no longer) there.
    ///
    /// # Errors
    /// When it cannot be read, or is not what the supervisor writes.
    pub fn read(&self, seq: Seq) -> io::Result<Option<Entry>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(self.0.as_fd(), file_name(seq), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut text = String::new();
        file.take(MAX_FILE as u64).read_to_string(&mut text)?;
        let entry: Entry = serde_json::from_str(&text)?;
        if entry.seq == seq {
            Ok(Some(entry))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("it speaks of event {}", entry.seq)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64) -> Entry {
        Entry {
            seq: Seq(seq),
            at: "2026-11-22T20:00:00Z".into(),
            worker: "analytics".into(),
            generation: Generation(7),
            crash: CrashId(3),
            cause: Cause::Signal,
            detail: "SIGSEGV".into(),
            during: During::Apply,
            attempts: 2,
            event: None,
            bytes: Entry::hex(&[0, 0x7f, 0xff]),
        }
    }

    #[test]
    fn a_folder_shows_what_it_holds_by_number_and_passes_over_other_files() {
        let path = tempfile::tempdir().unwrap();
        for seq in [30, 4, 100] {
            let text = serde_json::to_string(&entry(seq)).unwrap();
            std::fs::write(path.path().join(file_name(Seq(seq))), text).unwrap();
        }
        for other in ["7.new", "x.json", "README"] {
            std::fs::write(path.path().join(other), "other").unwrap();
        }
        let folder = Folder::open(path.path()).unwrap();
        assert_eq!(folder.seqs().unwrap(), [Seq(4), Seq(30), Seq(100)]);
        assert_eq!(folder.seqs().unwrap().len(), 3, "and again");
        assert_eq!(folder.read(Seq(30)).unwrap(), Some(entry(30)));
        assert_eq!(folder.read(Seq(5)).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_entry_or_another_events_is_an_error() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        for text in ["", "{}", &serde_json::to_string(&entry(8)).unwrap()] {
            std::fs::write(path.path().join(file_name(Seq(7))), text).unwrap();
            assert!(folder.read(Seq(7)).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_come_back_from_their_hexadecimal_form() {
        assert_eq!(entry(1).bytes, "007fff");
        assert_eq!(entry(1).payload(), Some(vec![0, 0x7f, 0xff]));
        for bytes in ["0", "0g", "é"] {
            assert_eq!(Entry { bytes: bytes.into(), ..entry(1) }.payload(), None, "{bytes}");
        }
    }
}
