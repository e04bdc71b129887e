//! Sealed memory segments with a versioned header, and mappings of them.
//!
//! A segment is a memfd: one page of header, then its data. The header is read through the fd and never mapped, so no
//! wild write reaches it. All unsafe access to shared memory is in this file.

use crate::shared::{ReadWords, WORD, WriteWords, words_for};
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::{
    fs::{
        FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, fstat, ftruncate,
        memfd_create, open,
    },
    io::Errno,
    process::getpid,
};
use std::{
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::atomic::{AtomicU64, Ordering},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The header's length: a page, so that data begins on a page of its own.
pub const HEADER: usize = 4096;

/// `BULKHEAD` in ASCII; stored last, so that a header is there whole or not at all.
const MAGIC: u64 = u64::from_be_bytes(*b"BULKHEAD");

/// The version of all layouts. Raise it with any change of a segment's content.
pub const LAYOUT: u32 = 3;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),+ $(,)?) => {
        /// What a segment holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Kind {
            $($(#[$doc])* $variant = $number),+
        }

        impl Kind {
            /// Its name, for messages and `/proc/PID/maps`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

kinds! {
    /// The events ring.
    Events = 1 "events",
    /// The producer's page.
    Producer = 2 "producer",
    /// The consumer's page.
    Cursor = 3 "cursor",
    /// The state table.
    State = 4 "state",
    /// The supervisor's ledger.
    Ledger = 5 "ledger",
    /// The status board.
    Board = 6 "board",
    /// The log of keyed requests.
    Keys = 7 "keys",
    /// The supervisor's page: whether it sleeps.
    Watch = 8 "watch",
}

/// Why a segment could not be made or mapped.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The system says no.
    #[error("segment {kind}: cannot {action}: {source}")]
    System {
        /// Which segment.
        kind: &'static str,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The header is not what this program writes.
    #[error(
        "segment {kind}: {field} is {found:#x}, wanted {wanted:#x}: it was made by another version of Bulkhead; restart the whole service"
    )]
    Mismatch {
        /// Which segment.
        kind: &'static str,
        /// Which field of the header.
        field: &'static str,
        /// What it should be.
        wanted: u64,
        /// What it is.
        found: u64,
    },
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: u64,
    layout: u32,
    kind: u32,
    data_bytes: u64,
    instance: u64,
}

/// A segment as its maker holds it.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
    kind: Kind,
    data_bytes: usize,
}

fn system(kind: Kind, action: &'static str) -> impl Fn(Errno) -> SegmentError {
    move |errno| SegmentError::System { kind: kind.name(), action, source: errno.into() }
}

impl Segment {
    /// Makes a sealed segment of `data_bytes` zeroes. `instance` tells segments made together from others.
    /// With `prefault`, memory for all of it is taken now: later writes cannot fail for lack of it.
    ///
    /// # Errors
    /// When the system has no fds or no memory left.
    pub fn create(
        kind: Kind,
        data_bytes: usize,
        instance: u64,
        prefault: bool,
    ) -> Result<Self, SegmentError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create(format!("bulkhead-{}", kind.name()), flags).map_err(system(kind, "create"))?;
        let length = (HEADER + data_bytes) as u64;
        ftruncate(&fd, length).map_err(system(kind, "size"))?;
        if prefault {
            fallocate(&fd, FallocateFlags::empty(), 0, length).map_err(system(kind, "take memory for"))?;
        }
        let segment = Self { fd, kind, data_bytes };
        segment.write_header(instance)?;
        fcntl_add_seals(&segment.fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(system(kind, "seal"))?;
        Ok(segment)
    }

    fn write_header(&self, instance: u64) -> Result<(), SegmentError> {
        let header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            kind: self.kind as u32,
            data_bytes: self.data_bytes as u64,
            instance,
        };
        let (magic, rest) = header.as_bytes().split_at(WORD);
        self.write_at(rest, WORD)?;
        self.write_at(magic, 0)
    }

    fn write_at(&self, bytes: &[u8], at: usize) -> Result<(), SegmentError> {
        let written = rustix::io::pwrite(&self.fd, bytes, at as u64).map_err(system(self.kind, "write"))?;
        if written == bytes.len() { Ok(()) } else { Err(system(self.kind, "write")(Errno::NOSPC)) }
    }

    /// Another fd of the same description, for a worker that may write.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn writable(&self) -> Result<OwnedFd, SegmentError> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(system(self.kind, "duplicate"))
    }

    /// A read-only description of the same memory: whoever maps it cannot make the mapping writable.
    ///
    /// # Errors
    /// When there are no fds left, or `/proc` is not mounted.
    pub fn read_only(&self) -> Result<OwnedFd, SegmentError> {
        // Through our pid and not `self`: the same, but it names the process in an error.
        let path = format!("/proc/{}/fd/{}", getpid().as_raw_nonzero(), self.fd.as_raw_fd());
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(system(self.kind, "reopen read-only (is /proc mounted?)"))
    }

    /// Maps the whole data for reading and writing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn map(&self) -> Result<ReadWrite, SegmentError> {
        ReadWrite::map(&self.fd, self.kind)
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads and checks a segment's header. Says how many bytes of data there are.
fn check(fd: impl AsFd, kind: Kind) -> Result<usize, SegmentError> {
    let mut bytes = [0; size_of::<Header>()];
    let read = rustix::io::pread(&fd, &mut bytes, 0).map_err(system(kind, "read"))?;
    let header: Header = zerocopy::transmute!(bytes);
    let size = fstat(&fd).map_err(system(kind, "stat"))?.st_size;
    let wants = [
        ("header length", read as u64, bytes.len() as u64),
        ("magic", header.magic, MAGIC),
        ("layout version", header.layout.into(), LAYOUT.into()),
        ("kind", header.kind.into(), (kind as u32).into()),
        ("size", header.data_bytes.saturating_add(HEADER as u64), size.unsigned_abs()),
    ];
    for (field, found, wanted) in wants {
        if found != wanted {
            return Err(SegmentError::Mismatch { kind: kind.name(), field, wanted, found });
        }
    }
    Ok(crate::shared::index(header.data_bytes))
}

fn options(offset: usize, bytes: usize) -> MmapOptions {
    let mut options = MmapOptions::new();
    options.offset((HEADER + offset) as u64).len(bytes);
    options
}

fn keep_from_forks(map: MmapRaw, kind: Kind) -> Result<MmapRaw, SegmentError> {
    // A child that forks for a program of its own must not carry our memory along.
    map.advise(Advice::DontFork).map_err(|source| SegmentError::System {
        kind: kind.name(),
        action: "advise",
        source,
    })?;
    Ok(map)
}

/// A read-only mapping of a segment's data.
#[derive(Debug)]
pub struct ReadOnly(MmapRaw);

/// A mapping of a segment's data (or the first part of it) for reading and writing.
#[derive(Debug)]
pub struct ReadWrite(MmapRaw);

impl ReadOnly {
    /// Maps a segment after checking its header. The fd is not needed afterwards.
    ///
    /// # Errors
    /// When it is no such segment, or the system refuses.
    pub fn map(fd: impl AsFd, kind: Kind) -> Result<Self, SegmentError> {
        let bytes = check(&fd, kind)?;
        let map = options(0, bytes)
            .map_raw_read_only(fd.as_fd().as_raw_fd())
            .map_err(|source| SegmentError::System { kind: kind.name(), action: "map", source })?;
        Ok(Self(keep_from_forks(map, kind)?))
    }
}

impl ReadWrite {
    /// Maps a segment after checking its header. The fd is not needed afterwards.
    ///
    /// # Errors
    /// When it is no such segment, the fd is read-only, or the system refuses.
    pub fn map(fd: impl AsFd, kind: Kind) -> Result<Self, SegmentError> {
        let bytes = check(&fd, kind)?;
        Self::map_part(fd, kind, bytes)
    }

    /// As [`Self::map`], but only the first `bytes` of the data.
    ///
    /// # Errors
    /// As for [`Self::map`]; also when there are fewer bytes.
    pub fn map_first(fd: impl AsFd, kind: Kind, bytes: usize) -> Result<Self, SegmentError> {
        let found = check(&fd, kind)?;
        if found < bytes {
            let (wanted, found) = (bytes as u64, found as u64);
            return Err(SegmentError::Mismatch { kind: kind.name(), field: "data length", wanted, found });
        }
        Self::map_part(fd, kind, bytes)
    }

    fn map_part(fd: impl AsFd, kind: Kind, bytes: usize) -> Result<Self, SegmentError> {
        let map = options(0, bytes).map_raw(fd.as_fd().as_raw_fd()).map_err(|source| {
            SegmentError::System { kind: kind.name(), action: "map for writing", source }
        })?;
        Ok(Self(keep_from_forks(map, kind)?))
    }

    /// The address of a word, for what must live in shared memory itself (the lock of the producer's page).
    pub(crate) fn address(&self, word: usize) -> *mut u8 {
        assert!(word < self.words(), "word {word} of {}", self.words());
        self.0.as_mut_ptr().wrapping_add(word * WORD)
    }
}

/// `count` words of a mapping, from `word` on, as atomics.
#[inline]
fn atomics(map: &MmapRaw, word: usize, count: usize) -> &[AtomicU64] {
    let words = map.len() / WORD;
    assert!(word <= words && count <= words - word, "{count} words at {word} of {words}");
    let address = map.as_mut_ptr().wrapping_add(word * WORD);
    // SAFETY: inside the mapping (asserted), aligned (a mapping begins on a page), alive as long as `map`; all threads
    // and processes access these words atomically or through the two bulk copies below. A sealed memfd cannot shrink,
    // so the pages stay.
    unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), count) }
}

/// The word at `word` of a mapping, as an atomic.
#[inline]
fn atomic(map: &MmapRaw, word: usize) -> &AtomicU64 {
    &atomics(map, word, 1)[0]
}

/// Up to this many bytes a loop over words is faster than the call of memcpy, and simpler to reason about.
const SMALL_COPY: usize = 64;

#[inline]
fn read_words(words: &[AtomicU64], into: &mut [u8]) {
    let (whole, rest) = into.as_chunks_mut::<WORD>();
    for (chunk, word) in whole.iter_mut().zip(words) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if let Some(last) = words.get(whole.len()) {
        rest.copy_from_slice(&last.load(Ordering::Relaxed).to_ne_bytes()[..rest.len()]);
    }
}

#[inline]
fn read_bytes(map: &MmapRaw, word: usize, into: &mut [u8]) {
    if into.len() <= SMALL_COPY {
        read_words(atomics(map, word, words_for(into.len())), into);
    } else {
        read_bulk(map, word, into);
    }
}

fn read_bulk(map: &MmapRaw, word: usize, into: &mut [u8]) {
    let end = word.checked_mul(WORD).and_then(|start| start.checked_add(into.len()));
    assert!(end.is_some_and(|end| end <= map.len()), "{} bytes at word {word}", into.len());
    let from = map.as_ptr().wrapping_add(word * WORD);
    // SAFETY: both ranges are valid (asserted) and distinct: one is our own. The source may be written by another
    // process meanwhile; the copy is then torn, which every caller expects and checks on its own copy (sequence
    // words, CRC) before it believes a byte. No reference to the shared bytes exists.
    unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
}

impl ReadWords for ReadOnly {
    #[inline]
    fn words(&self) -> usize {
        self.0.len() / WORD
    }

    #[inline]
    fn load(&self, word: usize, order: Ordering) -> u64 {
        atomic(&self.0, word).load(order)
    }

    #[inline]
    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        read_bytes(&self.0, word, into);
    }
}

impl ReadWords for ReadWrite {
    #[inline]
    fn words(&self) -> usize {
        self.0.len() / WORD
    }

    #[inline]
    fn load(&self, word: usize, order: Ordering) -> u64 {
        atomic(&self.0, word).load(order)
    }

    #[inline]
    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        read_bytes(&self.0, word, into);
    }
}

impl WriteWords for ReadWrite {
    #[inline]
    fn store(&self, word: usize, value: u64, order: Ordering) {
        atomic(&self.0, word).store(value, order);
    }

    #[inline]
    fn write_bytes(&self, word: usize, from: &[u8]) {
        let end = word.checked_mul(WORD).and_then(|start| start.checked_add(from.len()));
        assert!(end.is_some_and(|end| end <= self.0.len()), "{} bytes at word {word}", from.len());
        let into = self.0.as_mut_ptr().wrapping_add(word * WORD);
        // SAFETY: both ranges are valid (asserted) and distinct: one is our own. Nobody else writes this range: every
        // segment has one writer. Readers look at it after the release store that publishes it, or check their copy.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
    }
}

/// Writes through an fd into a segment's data, for memory that its writer has mapped read-only.
///
/// # Errors
/// When the system refuses or has no memory left.
pub fn write_through(file: &std::fs::File, at: usize, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all_at(bytes, (HEADER + at) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_through_one_mapping_is_read_through_another() {
        let segment = Segment::create(Kind::Events, 8192, 7, true).unwrap();
        let (writer, reader) =
            (segment.map().unwrap(), ReadOnly::map(segment.read_only().unwrap(), Kind::Events).unwrap());
        assert_eq!((writer.words(), reader.words()), (1024, 1024));
        writer.store(1023, 5, Ordering::Release);
        for length in [1, 8, 63, 64, 65, 999] {
            let text: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            writer.write_bytes(3, &text);
            let mut copy = vec![0; length];
            reader.read_bytes(3, &mut copy);
            assert_eq!(copy, text);
        }
        assert_eq!(reader.load(1023, Ordering::Acquire), 5);
    }

    #[test]
    fn a_read_only_description_cannot_be_mapped_for_writing() {
        let segment = Segment::create(Kind::Events, 4096, 7, false).unwrap();
        let refused = ReadWrite::map(segment.read_only().unwrap(), Kind::Events).unwrap_err();
        assert!(refused.to_string().contains("map for writing: Permission denied"), "{refused}");
    }

    #[test]
    fn a_segment_cannot_change_its_size() {
        let segment = Segment::create(Kind::Events, 4096, 7, false).unwrap();
        assert_eq!(ftruncate(&segment, 4096), Err(Errno::PERM));
        assert_eq!(ftruncate(&segment, 16384), Err(Errno::PERM));
    }

    #[test]
    fn a_segment_of_another_kind_or_layout_is_a_clear_error() {
        let segment = Segment::create(Kind::State, 4096, 7, false).unwrap();
        let error = ReadOnly::map(&segment, Kind::Events).unwrap_err().to_string();
        assert!(error.contains("segment events: kind is 0x4, wanted 0x1"), "{error}");
        rustix::io::pwrite(&segment, &99u32.to_ne_bytes(), 8).unwrap();
        let error = ReadOnly::map(&segment, Kind::State).unwrap_err().to_string();
        let expected = format!("layout version is 0x63, wanted {LAYOUT:#x}");
        assert!(error.contains(&expected), "{error}");
        let empty = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            ReadOnly::map(&empty, Kind::State),
            Err(SegmentError::Mismatch { field: "header length", .. })
        ));
    }
}
