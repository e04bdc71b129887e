//! The reading side: everything as of the last commit, at any time, without waiting for the analysis.

use super::{BODY_BYTES, Body, BodySlot, CommitRecord, Geometry, TRIES, body::HEAD_BYTES, layout::newest};
use crate::{
    shm::{
        access::ReadWords,
        sync::{Ordering, Site, fence},
    },
    wire::ids::Commit,
};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

/// Copies a body out and verifies the copy. The caller must check its tag.
pub(super) fn copy_body(
    memory: &impl ReadWords,
    geometry: Geometry,
    slot: BodySlot,
    version: usize,
) -> Option<Body> {
    let at = geometry.body(slot, version);
    let mut head = [0; HEAD_BYTES];
    memory.read_bytes(at, &mut head);
    let mut bytes = vec![0; Body::length(&head)?];
    memory.read_bytes(at, &mut bytes);
    Body::parse(bytes, slot)
}

/// The body of a slot as of commit `n`. `None` if it does not verify, or is being overwritten.
pub(super) fn read_body(memory: &impl ReadWords, geometry: Geometry, slot: BodySlot, n: u64) -> Option<Body> {
    let (version, tag) = newest(memory, geometry, slot, n)?;
    let body = copy_body(memory, geometry, slot, version);
    fence(Site::BodyRecheck, Ordering::Acquire);
    let unchanged = memory.load(geometry.tag(slot, version), Ordering::Relaxed) == tag;
    body.filter(|body| unchanged && body.tag == tag)
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

    /// The body of a slot as of that commit.
    pub fn body(&self, slot: BodySlot, record: &CommitRecord) -> Option<Body> {
        if slot.0 < record.slots {
            read_body(&self.memory, self.geometry, slot, record.commit.0)
        } else {
            None
        }
    }

    /// The bytes of a slot that does not verify, and the name in them, which can be wrong.
    pub fn raw_slot(&self, slot: BodySlot) -> (Vec<u8>, String) {
        let bytes = raw_slot(&self.memory, self.geometry, slot);
        let name = bytes.chunks(BODY_BYTES).map(Body::claimed_key).find(|name| !name.is_empty());
        (bytes, name.unwrap_or_default())
    }
}

/// What a [`SeriesView`] remembers.
#[derive(Debug, Default)]
struct Known {
    record: CommitRecord,
    names: BTreeMap<Arc<str>, BodySlot>,
    /// The number of slots whose names were read.
    seen: u32,
    /// The slots among these whose names could not be read.
    unreadable: Vec<BodySlot>,
    /// The last good copy of each public part that was read.
    good: HashMap<BodySlot, Arc<[u8]>>,
}

/// A reader of a table that another process writes: by the names of the series, with the last good copies as a fallback.
#[derive(Debug)]
pub struct SeriesView<M> {
    table: TableReader<M>,
    known: RwLock<Known>,
}

impl<M: ReadWords> SeriesView<M> {
    /// Attaches to a table.
    pub fn new(memory: M) -> Self {
        Self { table: TableReader::new(memory), known: RwLock::default() }
    }

    /// The last commit; if it cannot be read, the last one that could. Never goes back.
    pub fn record(&self) -> CommitRecord {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).record;
        let Some(record) = self.table.record().filter(|record| record.commit >= known.commit) else {
            return known;
        };
        if record.commit > known.commit {
            self.learn(record);
        }
        record
    }

    fn learn(&self, record: CommitRecord) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if record.commit <= known.record.commit {
            return;
        }
        known.record = record;
        let retry = std::mem::take(&mut known.unreadable);
        let fresh = (known.seen..record.slots).map(BodySlot);
        for slot in retry.into_iter().chain(fresh) {
            match self.table.body(slot, &record) {
                Some(body) => drop(known.names.insert(body.key().into(), slot)),
                None => known.unreadable.push(slot),
            }
        }
        known.seen = known.seen.max(record.slots);
    }

    /// The public part of a series, as rendered at or before the commit that is returned with it. `None` if there is no
    /// such series. If its slot cannot be read, the last good copy; if there is none, empty.
    pub fn public(&self, name: &str) -> Option<(Arc<[u8]>, CommitRecord)> {
        let mut record = self.record();
        let slot = *self.known.read().unwrap_or_else(PoisonError::into_inner).names.get(name)?;
        for _ in 0..TRIES {
            if let Some(body) = self.table.body(slot, &record).filter(|body| body.key() == name) {
                let public: Arc<[u8]> = body.public().into();
                self.remember(slot, &public);
                return Some((public, record));
            }
            record = self.record();
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Some((known.good.get(&slot).cloned().unwrap_or_default(), record))
    }

    /// Whether the state of a series, or its existence, is unknown: the memory does not verify, and there is no good
    /// copy. Call it if [`SeriesView::public`] returned `None` or an empty public part.
    pub fn is_unreadable(&self, name: &str) -> bool {
        let nothing_verifies = self.table.record().is_none();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let may_be_it =
            |slot: &BodySlot| self.table.body(*slot, &known.record).is_none_or(|body| body.key() == name);
        known.names.contains_key(name)
            || known.unreadable.iter().any(may_be_it)
            || (nothing_verifies && known.record.commit == Commit(0))
    }

    fn remember(&self, slot: BodySlot, public: &Arc<[u8]>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.good.insert(slot, Arc::clone(public));
    }

    /// The names of at most `limit` series that begin with `prefix` and follow `after`, in the order of their bytes.
    pub fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        self.record();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = known.names.range::<str, _>((start, Bound::Unbounded)).map(|(name, _)| name);
        names.take_while(|name| name.starts_with(prefix)).take(limit).cloned().collect()
    }
}
