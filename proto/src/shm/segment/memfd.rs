//! A segment as its creator holds it: a sealed memfd.

use super::{
    header::{HEADER, Header, Kind, LAYOUT, MAGIC, SegmentError, system},
    mapping::ReadWrite,
};
use rustix::{
    fs::{
        FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate,
        memfd_create, open,
    },
    io::Errno,
    process::getpid,
};
use std::os::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    unix::fs::FileExt,
};
use zerocopy::IntoBytes;

/// A segment as its creator holds it.
#[derive(Debug)]
pub struct Segment {
    fd: OwnedFd,
    kind: Kind,
}

impl Segment {
    /// Creates a sealed segment of `data_bytes` zeroes. `instance` distinguishes the segments of one service from those of
    /// others. With `prefault`, all memory is allocated now, so that later writes cannot fail for lack of memory.
    ///
    /// # Errors
    /// If the system has no fds or no memory left.
    pub fn create(
        kind: Kind,
        data_bytes: usize,
        instance: u64,
        prefault: bool,
    ) -> Result<Self, SegmentError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = memfd_create(format!("bulkhead-{}", kind.name()), flags).map_err(system(kind, "create"))?;
        let length = (HEADER + data_bytes) as u64;
        ftruncate(&fd, length).map_err(system(kind, "resize"))?;
        if prefault {
            fallocate(&fd, FallocateFlags::empty(), 0, length).map_err(system(kind, "allocate memory"))?;
        }
        let header = Header {
            magic: MAGIC,
            layout: LAYOUT,
            kind: kind as u32,
            data_bytes: data_bytes as u64,
            instance,
        };
        let written = rustix::io::pwrite(&fd, header.as_bytes(), 0).map_err(system(kind, "write"))?;
        if written < size_of::<Header>() {
            return Err(system(kind, "write")(Errno::NOSPC));
        }
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(system(kind, "seal"))?;
        Ok(Self { fd, kind })
    }

    /// Another fd of the same description, for a worker that may write.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn writable(&self) -> Result<OwnedFd, SegmentError> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(system(self.kind, "duplicate"))
    }

    /// A read-only description of the same memory. A process that maps it cannot make the mapping writable.
    ///
    /// # Errors
    /// If there are no fds left, or `/proc` is not mounted.
    pub fn read_only(&self) -> Result<OwnedFd, SegmentError> {
        // A duplicate of the fd would share its writable description. Only a second `open` gives a read-only one.
        let path = format!("/proc/{}/fd/{}", getpid().as_raw_nonzero(), self.fd.as_raw_fd());
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(system(self.kind, "reopen read-only (is /proc mounted?)"))
    }

    /// Maps all data for reading and writing.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn map(&self) -> Result<ReadWrite, SegmentError> {
        ReadWrite::map(&self.fd, self.kind)
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes to the data of a segment through an fd, `at` bytes after its start. For memory that its writer has mapped read-only.
///
/// # Errors
/// If the system refuses or has no memory left.
pub fn write_through(file: &std::fs::File, at: usize, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all_at(bytes, (HEADER + at) as u64)
}

/// Reads the data of a segment through an fd, `at` bytes after its start. For memory that its reader has not mapped.
///
/// # Errors
/// If the system refuses, or the segment ends before.
pub fn read_through(file: &std::fs::File, at: usize, into: &mut [u8]) -> std::io::Result<()> {
    file.read_exact_at(into, (HEADER + at) as u64)
}

/// Gives the memory of a part of the data back to the system, if it can take it; the part is zero then.
pub fn release(file: &std::fs::File, at: usize, bytes: usize) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(error) = fallocate(file, flags, (HEADER + at) as u64, bytes as u64) {
        tracing::debug!("cannot give back {bytes} bytes of shared memory: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::{
        access::{ReadWords, WriteWords},
        segment::ReadOnly,
        sync::Ordering,
    };

    #[test]
    fn bytes_written_through_one_mapping_are_read_through_another() {
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
    fn the_size_of_a_segment_cannot_be_changed() {
        let segment = Segment::create(Kind::Events, 4096, 7, false).unwrap();
        assert_eq!(ftruncate(&segment, 4096), Err(Errno::PERM));
        assert_eq!(ftruncate(&segment, 16384), Err(Errno::PERM));
    }

    #[test]
    fn a_segment_of_another_kind_or_layout_is_refused_with_the_differing_field() {
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
