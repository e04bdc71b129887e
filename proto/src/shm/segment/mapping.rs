//! Mappings of segments. All unsafe access to the data of a segment is in this file.

use super::header::{HEADER, Kind, SegmentError, data_bytes, system};
use crate::shm::access::{ReadWords, WORD, WriteWords, words_for};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::{
    ops::Deref,
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicU64, Ordering},
};

fn options(bytes: usize) -> MmapOptions {
    let mut options = MmapOptions::new();
    options.offset(HEADER as u64).len(bytes);
    options
}

fn keep_from_forks(map: MmapRaw, kind: Kind) -> Result<MmapRaw, SegmentError> {
    // A child that this process forks must not inherit the mapping.
    map.advise(Advice::DontFork).map_err(system(kind, "advise"))?;
    // A core dump would walk gigabytes of reserved space.
    if kind == Kind::State {
        map.advise(Advice::DontDump).map_err(system(kind, "advise"))?;
    }
    Ok(map)
}

/// A read-only mapping of the data of a segment.
#[derive(Debug)]
pub struct ReadOnly(MmapRaw);

/// A mapping of the data of a segment, or of its first part, for reading and writing.
#[derive(Debug)]
pub struct ReadWrite(ReadOnly);

impl ReadOnly {
    /// Checks the header of a segment and maps its data. The fd can be closed afterwards.
    ///
    /// # Errors
    /// If the fd is not a segment of this kind, or the system refuses.
    pub fn map(fd: impl AsFd, kind: Kind) -> Result<Self, SegmentError> {
        let bytes = data_bytes(&fd, kind)?;
        let map = options(bytes).map_raw_read_only(fd.as_fd().as_raw_fd()).map_err(system(kind, "map"))?;
        Ok(Self(keep_from_forks(map, kind)?))
    }
}

impl ReadWrite {
    /// Checks the header of a segment and maps its data. The fd can be closed afterwards.
    ///
    /// # Errors
    /// If the fd is not a segment of this kind or is read-only, or the system refuses.
    pub fn map(fd: impl AsFd, kind: Kind) -> Result<Self, SegmentError> {
        let bytes = data_bytes(&fd, kind)?;
        Self::map_part(fd, kind, bytes)
    }

    /// Like [`Self::map`], but maps only the first `bytes` of the data.
    ///
    /// # Errors
    /// As for [`Self::map`]; also if the segment is shorter.
    pub fn map_first(fd: impl AsFd, kind: Kind, bytes: usize) -> Result<Self, SegmentError> {
        let found = data_bytes(&fd, kind)?;
        if found < bytes {
            let (wanted, found) = (bytes as u64, found as u64);
            return Err(SegmentError::Mismatch { kind: kind.name(), field: "data length", wanted, found });
        }
        Self::map_part(fd, kind, bytes)
    }

    fn map_part(fd: impl AsFd, kind: Kind, bytes: usize) -> Result<Self, SegmentError> {
        let map = options(bytes).map_raw(fd.as_fd().as_raw_fd()).map_err(system(kind, "map for writing"))?;
        Ok(Self(ReadOnly(keep_from_forks(map, kind)?)))
    }

    /// The address of a word, for an object that must be in shared memory itself (the lock of the producer's page).
    pub(crate) fn address(&self, word: usize) -> *mut u8 {
        assert!(word < self.words(), "word {word} of {}", self.words());
        self.0.0.as_mut_ptr().wrapping_add(word * WORD)
    }
}

/// What can be written can be read.
impl Deref for ReadWrite {
    type Target = ReadOnly;

    #[inline]
    fn deref(&self) -> &ReadOnly {
        &self.0
    }
}

/// `count` words of a mapping as atomics, beginning at `word`.
#[inline]
fn atomics(map: &MmapRaw, word: usize, count: usize) -> &[AtomicU64] {
    let words = map.len() / WORD;
    assert!(word <= words && count <= words - word, "{count} words at {word} of {words}");
    let address = map.as_mut_ptr().wrapping_add(word * WORD);
    // SAFETY: the range is inside the mapping (asserted), aligned (a mapping begins on a page), and valid as long as `map`.
    // All threads and processes access these words atomically or through the two bulk copies below. A sealed memfd cannot
    // shrink, so the pages stay.
    unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), count) }
}

/// One word of a mapping as an atomic.
#[inline]
fn atomic(map: &MmapRaw, word: usize) -> &AtomicU64 {
    &atomics(map, word, 1)[0]
}

/// Up to this many bytes, a loop over words is faster than a call of memcpy, and it is simpler to reason about.
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
    // SAFETY: both ranges are valid (asserted) and distinct: `into` is private memory. Another process may write the source
    // at the same time. The copy is then torn; every caller checks its own copy (sequence words, CRC) before it uses a byte.
    // No reference to the shared bytes exists.
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

impl WriteWords for ReadWrite {
    #[inline]
    fn store(&self, word: usize, value: u64, order: Ordering) {
        atomic(&self.0.0, word).store(value, order);
    }

    #[inline]
    fn write_bytes(&self, word: usize, from: &[u8]) {
        let end = word.checked_mul(WORD).and_then(|start| start.checked_add(from.len()));
        let map = &self.0.0;
        assert!(end.is_some_and(|end| end <= map.len()), "{} bytes at word {word}", from.len());
        let into = map.as_mut_ptr().wrapping_add(word * WORD);
        // SAFETY: both ranges are valid (asserted) and distinct: `from` is private memory. Every segment has one writer, so no
        // other process writes this range. Readers read it after the release store that publishes it, or check their copy.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
    }
}
