//! Reads series by their names. It follows the commits of the analysis, and keeps the last good copy of each series as a
//! fallback.

use super::{Body, BodySlot, CommitRecord, TRIES, TableReader, layout::FREE, repair::hash_of};
use crate::{shm::access::ReadWords, wire::ids::Commit};
use std::{
    collections::BTreeMap,
    mem,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// What is known of a series.
#[derive(Debug)]
struct Series {
    slot: BodySlot,
    /// The last good copy of its public part, if one was read.
    good: Option<Arc<[u8]>>,
}

/// What is known of a slot.
#[derive(Clone, Debug)]
struct Slot {
    /// The name of its series; `None` if it is free.
    name: Option<Arc<str>>,
    /// The hash of that name.
    hash: u64,
}

/// What is known as of one commit.
#[derive(Debug, Default)]
struct Known {
    record: CommitRecord,
    series: BTreeMap<Arc<str>, Series>,
    /// The slots in use.
    slots: Vec<Slot>,
    /// The slots whose names could not be read.
    unreadable: Vec<BodySlot>,
}

impl Known {
    fn slot(&self, slot: BodySlot) -> Option<&Slot> {
        self.slots.get(slot.0 as usize)
    }

    /// This slot, which is in use, has the series of this body, or none.
    fn assign(&mut self, slot: BodySlot, body: &Body) {
        let Some(known) = self.slots.get_mut(slot.0 as usize) else { return };
        if known.name.as_deref() == Some(body.key()) {
            return;
        }
        let name: Option<Arc<str>> = (!body.is_free()).then(|| body.key().into());
        let former = mem::replace(known, Slot { hash: hash_of(body.key()), name: name.clone() });
        // A series that was removed and created again can have its new slot already.
        if let Some(former) =
            former.name.filter(|name| self.series.get(name).is_some_and(|known| known.slot == slot))
        {
            self.series.remove(&former);
        }
        if let Some(name) = name {
            self.series.insert(name, Series { slot, good: None });
        }
    }
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

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last commit; if it cannot be read, the last one that could. Never goes back.
    pub fn record(&self) -> CommitRecord {
        let known = self.known().record;
        let Some(record) = self.table.record().filter(|record| record.commit >= known.commit) else {
            return known;
        };
        if record.commit > known.commit {
            self.learn(record);
        }
        record
    }

    fn learn(&self, record: CommitRecord) {
        let mut known = self.known_mut();
        if record.commit <= known.record.commit {
            return;
        }
        let reassigned = known.record.reassigned != record.reassigned;
        known.record = record;
        let seen = u32::try_from(known.slots.len()).unwrap_or(u32::MAX);
        let mut slots = mem::take(&mut known.unreadable);
        if reassigned {
            let changed =
                |slot: &BodySlot| self.table.hash(*slot, &record) != known.slot(*slot).map(|slot| slot.hash);
            slots.extend((0..seen).map(BodySlot).filter(changed));
            slots.sort_unstable();
            slots.dedup();
        }
        slots.extend((seen..record.slots).map(BodySlot));
        known.slots.resize(record.slots.max(seen) as usize, Slot { name: None, hash: FREE });
        for slot in slots {
            match self.table.body(slot, &record) {
                Some(body) => known.assign(slot, &body),
                None => known.unreadable.push(slot),
            }
        }
    }

    /// The public part of a series, as rendered at or before the commit that is returned with it. `None` if there is no
    /// such series. If its slot cannot be read, the last good copy; if there is none, empty.
    pub fn public(&self, name: &str) -> Option<(Arc<[u8]>, CommitRecord)> {
        let mut record = self.record();
        for _ in 0..TRIES {
            let slot = self.known().series.get(name)?.slot;
            match self.table.body(slot, &record) {
                Some(body) if body.key() == name => {
                    let public: Arc<[u8]> = body.public().into();
                    self.remember(name, slot, &public);
                    return Some((public, record));
                }
                // The slot got another series, and it could not be read when this view learnt of it; or this commit is older
                // than what another thread has learnt.
                Some(body) => {
                    let mut known = self.known_mut();
                    if known.record.commit <= record.commit {
                        known.assign(slot, &body);
                    }
                    drop(known);
                    record = self.record();
                }
                None => record = self.record(),
            }
        }
        let good = self.known().series.get(name)?.good.clone();
        Some((good.unwrap_or_default(), record))
    }

    /// Whether the state of a series, or its existence, is unknown: the memory does not verify, and there is no good
    /// copy. Call it if [`SeriesView::public`] returned `None` or an empty public part.
    pub fn is_unreadable(&self, name: &str) -> bool {
        let nothing_verifies = self.table.record().is_none();
        let known = self.known();
        let may_be_it =
            |slot: &BodySlot| self.table.body(*slot, &known.record).is_none_or(|body| body.key() == name);
        known.series.contains_key(name)
            || known.unreadable.iter().any(may_be_it)
            || (nothing_verifies && known.record.commit == Commit(0))
    }

    /// Whether the last commit that this view has seen has such a series.
    pub fn contains(&self, name: &str) -> bool {
        self.known().series.contains_key(name)
    }

    fn remember(&self, name: &str, slot: BodySlot, public: &Arc<[u8]>) {
        if let Some(series) = self.known_mut().series.get_mut(name).filter(|series| series.slot == slot) {
            series.good = Some(Arc::clone(public));
        }
    }

    /// The names of at most `limit` series that begin with `prefix` and follow `after`, in the order of their bytes.
    pub fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        self.record();
        let known = self.known();
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = known.series.range::<str, _>((start, Bound::Unbounded)).map(|(name, _)| name);
        names.take_while(|name| name.starts_with(prefix)).take(limit).cloned().collect()
    }
}
