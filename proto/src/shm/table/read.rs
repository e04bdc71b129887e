//! The reading side: everything as of the last commit, at any time, without waiting for the analysis.

use super::{
    Body, BodySlot, CommitRecord, Geometry,
    body::{BodyFront, HEAD_BYTES, Lengths},
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
    /// The lengths of the body at a place, according to its head. `None` if there cannot be a body.
    fn lengths(&self, place: Place) -> Option<Lengths> {
        let lengths = Lengths::read(&self.head(place)?)?;
        (lengths.front + lengths.state <= place.length()).then_some(lengths)
    }

    /// The head of the body at a place, unverified.
    pub(super) fn head(&self, place: Place) -> Option<[u8; HEAD_BYTES]> {
        if place.length() < HEAD_BYTES || !place.is_in(self.geometry) {
            return None;
        }
        let mut head = [0; HEAD_BYTES];
        self.memory.read_bytes(self.geometry.arena(place.byte()), &mut head);
        Some(head)
    }

    /// Copies the front of a body out and verifies the copy. The caller must check its tag.
    fn front(&self, slot: BodySlot, place: Place) -> Option<BodyFront> {
        let mut bytes = vec![0; self.lengths(place)?.front];
        self.memory.read_bytes(self.geometry.arena(place.byte()), &mut bytes);
        BodyFront::parse(bytes, slot)
    }

    /// Copies a body out and verifies the copy. The caller must check its tag.
    pub(super) fn body(&self, slot: BodySlot, place: Place) -> Option<Body> {
        let Lengths { front, state } = self.lengths(place)?;
        let mut bytes = vec![0; front + state];
        self.memory.read_bytes(self.geometry.arena(place.byte()), &mut bytes);
        let state = bytes.split_off(front);
        Body::parse(BodyFront::parse(bytes, slot)?, state)
    }

    /// The body of a slot as of commit `n`. `None` if it does not verify, or is being replaced.
    pub(super) fn body_as_of(&self, slot: BodySlot, n: u64) -> Option<Body> {
        let newest = newest(self.memory, slot, n)?;
        let body = self.body(slot, newest.content.place);
        body.filter(|body| self.is_of(&newest, body, slot))
    }

    /// Like [`Self::body_as_of`], without the state.
    fn front_as_of(&self, slot: BodySlot, n: u64) -> Option<BodyFront> {
        let newest = newest(self.memory, slot, n)?;
        let front = self.front(slot, newest.content.place);
        front.filter(|front| self.is_of(&newest, front, slot))
    }

    fn is_of(&self, newest: &Newest, front: &BodyFront, slot: BodySlot) -> bool {
        is_unchanged(self.memory, slot, newest)
            && front.tag == newest.content.tag
            && hash_of(front.key()) == newest.content.hash
    }

    /// The line of a slot, and the bytes of the bodies to which it refers, unverified.
    pub(super) fn raw_slot(&self, slot: BodySlot) -> Vec<u8> {
        let mut bytes = vec![0; 2 * size_of::<Version>()];
        self.memory.read_bytes(Geometry::version(slot.0, 0), &mut bytes);
        for version in [0, 1] {
            let place = Version::load(self.memory, slot, version).place;
            if place.is_in(self.geometry) {
                let start = bytes.len();
                bytes.resize(start + place.length(), 0);
                self.memory.read_bytes(self.geometry.arena(place.byte()), &mut bytes[start..]);
            }
        }
        bytes
    }

    /// The name in the bytes of a slot, which can be wrong; empty if there is none.
    fn raw_name(&self, slot: BodySlot) -> String {
        let places = [0, 1].map(|version| Version::load(self.memory, slot, version).place);
        let bytes = places.into_iter().filter(|place| place.is_in(self.geometry)).map(|place| {
            let mut bytes = vec![0; place.length().min(HEAD_BYTES + super::MAX_KEY)];
            self.memory.read_bytes(self.geometry.arena(place.byte()), &mut bytes);
            bytes
        });
        bytes.map(|bytes| Body::claimed_key(&bytes)).find(|name| !name.is_empty()).unwrap_or_default()
    }
}

/// Where a series is, as of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In this slot.
    Slot(BodySlot),
    /// There is no such series.
    Nowhere,
    /// A slot that may be its slot does not verify, or is being replaced.
    Unknown,
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
        let mut found = Found::Nowhere;
        for slot in record.index.candidates(&self.memory, (self.geometry, record.slots), hash) {
            match newest(&self.memory, slot, record.commit.0) {
                Some(newest) if newest.content.hash == hash => return Found::Slot(slot),
                Some(_) => {}
                None => found = Found::Unknown,
            }
        }
        found
    }

    /// The body of a slot as of that commit. It can be [free](BodyFront::is_free).
    pub fn body(&self, slot: BodySlot, record: &CommitRecord) -> Option<Body> {
        (slot.0 < record.slots).then(|| self.arena().body_as_of(slot, record.commit.0)).flatten()
    }

    /// The body of a slot as of that commit, without the state.
    pub fn front(&self, slot: BodySlot, record: &CommitRecord) -> Option<BodyFront> {
        (slot.0 < record.slots).then(|| self.arena().front_as_of(slot, record.commit.0)).flatten()
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
        (self.arena().raw_slot(slot), self.arena().raw_name(slot))
    }
}
