//! The reading side: everything as of the last commit, at any time, without waiting for the analysis.

use super::{
    Body, BodySlot, CommitRecord, Geometry,
    body::{BodyFront, HEAD_BYTES, Lengths, MAX_BODY},
    layout::COMMIT,
    line::{Newest, Place, Version, hash_of, is_unchanged, newest},
};
use crate::shm::{
    access::ReadWords,
    sync::{Ordering, Site, fence},
};

/// The bytes of an arena: what its readers, and its writer, read from it.
pub(super) struct Arena<'a, M> {
    pub(super) memory: &'a M,
    pub(super) geometry: Geometry,
}

impl<M: ReadWords> Arena<'_, M> {
    /// The head of the body at a place, unverified.
    pub(super) fn head(&self, place: Place) -> Option<[u8; HEAD_BYTES]> {
        if place.length() < HEAD_BYTES || !place.is_in(self.geometry) {
            return None;
        }
        let mut head = [0; HEAD_BYTES];
        self.memory.read_bytes(self.geometry.arena(place.byte()), &mut head);
        Some(head)
    }

    /// The first `length` bytes at a place, which is inside the arena.
    fn bytes(&self, place: Place, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_bytes(self.geometry.arena(place.byte()), &mut bytes);
        bytes
    }

    /// Copies the front of a body out and verifies the copy. The caller must check its tag.
    fn front(&self, slot: BodySlot, place: Place) -> Option<BodyFront> {
        let lengths = Lengths::read(&self.head(place)?)?;
        (lengths.front + lengths.state <= place.length()).then_some(())?;
        BodyFront::parse(self.bytes(place, lengths.front), slot)
    }

    /// Copies a body out and verifies the copy. The caller must check its tag.
    pub(super) fn body(&self, slot: BodySlot, place: Place) -> Option<Body> {
        if place.length() > MAX_BODY || !place.is_in(self.geometry) {
            return None;
        }
        let mut bytes = self.bytes(place, place.length());
        let Lengths { front, state } = Lengths::read(&bytes)?;
        (front + state <= bytes.len()).then_some(())?;
        bytes.truncate(front + state);
        let state = bytes.split_off(front);
        Body::parse(BodyFront::parse(bytes, slot)?, state)
    }

    /// The body of the version of a slot that is in use. `None` if it does not verify, or is being replaced.
    pub(super) fn body_of(&self, slot: BodySlot, newest: &Newest) -> Option<Body> {
        let body = self.body(slot, newest.content.place);
        body.filter(|body| self.is_of(newest, body, slot))
    }

    /// Like [`Self::body_of`], without the state.
    fn front_of(&self, slot: BodySlot, newest: &Newest) -> Option<BodyFront> {
        let front = self.front(slot, newest.content.place);
        front.filter(|front| self.is_of(newest, front, slot))
    }

    fn is_of(&self, newest: &Newest, front: &BodyFront, slot: BodySlot) -> bool {
        is_unchanged(self.memory, slot, newest)
            && front.tag == newest.content.tag
            && hash_of(front.key()) == newest.content.hash
    }

    /// The line of a slot, and the bytes of the bodies to which it refers, unverified; and the name in them, which can be
    /// wrong, or empty.
    pub(super) fn raw_slot(&self, slot: BodySlot) -> (Vec<u8>, String) {
        let mut bytes = vec![0; 2 * size_of::<Version>()];
        self.memory.read_bytes(Geometry::version(slot.0, 0), &mut bytes);
        let mut name = String::new();
        let places = [0, 1].map(|version| Version::load(self.memory, slot, version).place);
        for place in places.into_iter().filter(|place| place.is_in(self.geometry)) {
            let body = self.bytes(place, place.length());
            if name.is_empty() {
                name = Body::claimed_key(&body);
            }
            bytes.extend(body);
        }
        (bytes, name)
    }
}

/// Where a series is, as of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In this slot.
    Slot(BodySlot),
    /// There is no such series.
    Nowhere,
    /// This slot may be its slot, and does not verify, or is being replaced.
    Unknown(BodySlot),
}

/// Searches the slots that the index proposes for a hash. `newest` finds the version of a slot that is in use.
pub(super) fn search(
    candidates: impl Iterator<Item = BodySlot>,
    hash: u64,
    newest: impl Fn(BodySlot) -> Option<Newest>,
) -> Found {
    let mut found = Found::Nowhere;
    for slot in candidates {
        match newest(slot) {
            Some(newest) if newest.content.hash == hash => return Found::Slot(slot),
            None if found == Found::Nowhere => found = Found::Unknown(slot),
            Some(_) | None => {}
        }
    }
    found
}

/// A reader of a table that another process writes. Stateless: what cannot be read completely is `None`.
#[derive(Debug)]
pub struct TableReader<M> {
    memory: M,
    geometry: Geometry,
}

impl<M: ReadWords> TableReader<M> {
    /// Attaches to a table with `slots` slots. A memory that is too small for them has no slot.
    pub fn new(memory: M, slots: u32) -> Self {
        let geometry = Geometry::of(slots, memory.words()).unwrap_or(Geometry::with_arena(0, 0));
        Self { memory, geometry }
    }

    const fn arena(&self) -> Arena<'_, M> {
        Arena { memory: &self.memory, geometry: self.geometry }
    }

    /// The last commit. `None` if its record does not verify.
    pub fn record(&self) -> Option<CommitRecord> {
        CommitRecord::read(&self.memory, self.geometry)
    }

    /// The slot of a series as of that commit.
    pub(super) fn find(&self, key: &str, record: &CommitRecord) -> Found {
        let hash = hash_of(key);
        let candidates = record.index.candidates(&self.memory, (self.geometry, record.slots), hash);
        search(candidates, hash, |slot| newest(&self.memory, slot, record.commit.0))
    }

    /// The body of a slot as of that commit. It can be [free](BodyFront::is_free).
    pub fn body(&self, slot: BodySlot, record: &CommitRecord) -> Option<Body> {
        self.arena().body_of(slot, &self.newest(slot, record)?)
    }

    /// The body of a slot as of that commit, without the state.
    pub fn front(&self, slot: BodySlot, record: &CommitRecord) -> Option<BodyFront> {
        self.arena().front_of(slot, &self.newest(slot, record)?)
    }

    /// The version of a slot that is in use as of that commit.
    fn newest(&self, slot: BodySlot, record: &CommitRecord) -> Option<Newest> {
        (slot.0 < record.slots).then(|| newest(&self.memory, slot, record.commit.0)).flatten()
    }

    /// The hash of the key in a slot as of that commit. `None` if the slot does not verify, or is being replaced.
    pub(super) fn hash(&self, slot: BodySlot, record: &CommitRecord) -> Option<u64> {
        let newest = newest(&self.memory, slot, record.commit.0)?;
        is_unchanged(&self.memory, slot, &newest).then_some(newest.content.hash)
    }

    /// Whether a commit was made after that one, or is being made.
    pub(super) fn is_overtaken(&self, record: &CommitRecord) -> bool {
        fence(Site::CommitRecheck, Ordering::Acquire);
        self.memory.load(COMMIT, Ordering::Relaxed) != record.commit.0
    }

    /// The bytes of a slot that does not verify, and the name in them, which can be wrong.
    pub fn raw_slot(&self, slot: BodySlot) -> (Vec<u8>, String) {
        self.arena().raw_slot(slot)
    }
}
