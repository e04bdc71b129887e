//! The reading side: everything as of the last commit, at any time, without waiting for the analysis.

use super::{
    BODY_BYTES, Body, BodySlot, CommitRecord, Geometry,
    body::HEAD_BYTES,
    layout::{Newest, newest},
};
use crate::shm::{
    access::ReadWords,
    sync::{Ordering, Site, fence},
};

/// Copies a body out and verifies the copy. The caller must check its tag.
pub(super) fn copy_body(
    memory: &impl ReadWords,
    geometry: Geometry,
    slot: BodySlot,
    version: usize,
) -> Option<Body> {
    let head = read_head(memory, geometry, slot, version);
    let mut bytes = vec![0; Body::length(&head)?];
    memory.read_bytes(geometry.body(slot, version), &mut bytes);
    Body::parse(bytes, slot)
}

/// The head of a body, unverified.
pub(super) fn read_head(
    memory: &impl ReadWords,
    geometry: Geometry,
    slot: BodySlot,
    version: usize,
) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    memory.read_bytes(geometry.body(slot, version), &mut head);
    head
}

/// The body of a slot as of commit `n`. `None` if it does not verify, or is being overwritten.
pub(super) fn read_body(memory: &impl ReadWords, geometry: Geometry, slot: BodySlot, n: u64) -> Option<Body> {
    let newest = newest(memory, slot, n)?;
    let body = copy_body(memory, geometry, slot, newest.version);
    body.filter(|body| is_unchanged(memory, slot, newest) && body.tag == newest.tag)
}

/// The hash of the key in a slot as of commit `n`, unverified. `None` if the slot is being overwritten.
fn read_hash(memory: &impl ReadWords, slot: BodySlot, n: u64) -> Option<u64> {
    newest(memory, slot, n).filter(|newest| is_unchanged(memory, slot, *newest)).map(|newest| newest.hash)
}

/// Whether what was read of a version is not of a later commit.
fn is_unchanged(memory: &impl ReadWords, slot: BodySlot, Newest { version, tag, .. }: Newest) -> bool {
    fence(Site::BodyRecheck, Ordering::Acquire);
    memory.load(Geometry::tag(slot, version), Ordering::Relaxed) == tag
}

/// The bytes of both versions of a slot, unverified.
pub(super) fn raw_slot(memory: &impl ReadWords, geometry: Geometry, slot: BodySlot) -> Vec<u8> {
    let mut bytes = vec![0; 2 * BODY_BYTES];
    memory.read_bytes(geometry.body(slot, 0), &mut bytes);
    bytes
}

/// A reader of a table that another process writes. Stateless: what cannot be read completely is `None`.
#[derive(Debug)]
pub struct TableReader<M> {
    memory: M,
    geometry: Geometry,
}

impl<M: ReadWords> TableReader<M> {
    /// Attaches to a table.
    pub fn new(memory: M) -> Self {
        let geometry = Geometry::of(memory.words());
        Self { memory, geometry }
    }

    /// The last commit. `None` if its record does not verify.
    pub fn record(&self) -> Option<CommitRecord> {
        CommitRecord::read(&self.memory).filter(|record| record.slots <= self.geometry.slots())
    }

    /// The body of a slot as of that commit. It can be [free](Body::is_free).
    pub fn body(&self, slot: BodySlot, record: &CommitRecord) -> Option<Body> {
        if slot.0 < record.slots {
            read_body(&self.memory, self.geometry, slot, record.commit.0)
        } else {
            None
        }
    }

    /// The hash of the key in a slot as of that commit, unverified. `None` if the slot is being overwritten.
    pub(super) fn hash(&self, slot: BodySlot, record: &CommitRecord) -> Option<u64> {
        read_hash(&self.memory, slot, record.commit.0)
    }

    /// The bytes of a slot that does not verify, and the name in them, which can be wrong.
    pub fn raw_slot(&self, slot: BodySlot) -> (Vec<u8>, String) {
        let bytes = raw_slot(&self.memory, self.geometry, slot);
        let name = bytes.chunks(BODY_BYTES).map(Body::claimed_key).find(|name| !name.is_empty());
        (bytes, name.unwrap_or_default())
    }
}
