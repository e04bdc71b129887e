//! The names of all series in their order, for lists. A read of one series does not need it. It is built when it is first asked
//! for, and follows the commits.

use super::{BodySlot, CommitRecord, TableReader, layout::FREE, line::hash_of};
use crate::shm::access::ReadWords;
use std::{
    collections::BTreeMap,
    mem,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
    series: BTreeMap<Arc<str>, BodySlot>,
    /// The slots in use.
    slots: Vec<Slot>,
    /// The slots whose names could not be read.
    unreadable: Vec<BodySlot>,
}

/// The names of all series.
#[derive(Debug, Default)]
pub(super) struct SeriesNames(Mutex<Known>);

impl SeriesNames {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of at most `limit` series that begin with `prefix` and follow `after`, in the order of their bytes, as of
    /// that commit or a later one; and whether all names could be read.
    pub(super) fn list(
        &self,
        table: &TableReader<impl ReadWords>,
        record: &CommitRecord,
        (prefix, after, limit): (&str, Option<&str>, usize),
    ) -> (Vec<Arc<str>>, bool) {
        let mut known = self.known();
        known.learn(table, record);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let names = known.series.range::<str, _>((start, Bound::Unbounded)).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix)).take(limit).cloned().collect();
        (names, known.unreadable.is_empty())
    }
}

impl Known {
    fn slot(&self, slot: BodySlot) -> Option<&Slot> {
        self.slots.get(slot.0 as usize)
    }

    fn learn(&mut self, table: &TableReader<impl ReadWords>, record: &CommitRecord) {
        if record.commit <= self.record.commit {
            return;
        }
        let reassigned = self.record.reassigned != record.reassigned;
        self.record = *record;
        let seen = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let mut slots = mem::take(&mut self.unreadable);
        if reassigned {
            let changed =
                |slot: &BodySlot| table.hash(*slot, record) != self.slot(*slot).map(|slot| slot.hash);
            slots.extend((0..seen).map(BodySlot).filter(changed));
            slots.sort_unstable();
            slots.dedup();
        }
        slots.extend((seen..record.slots).map(BodySlot));
        self.slots.resize(record.slots.max(seen) as usize, Slot { name: None, hash: FREE });
        for slot in slots {
            match table.front(slot, record) {
                Some(front) => self.assign(slot, front.key()),
                None => self.unreadable.push(slot),
            }
        }
    }

    /// This slot, which is in use, has the series of this name, or none.
    fn assign(&mut self, slot: BodySlot, key: &str) {
        let Some(known) = self.slots.get_mut(slot.0 as usize) else { return };
        if known.name.as_deref() == Some(key) {
            return;
        }
        let name: Option<Arc<str>> = (!key.is_empty()).then(|| key.into());
        let former = mem::replace(known, Slot { hash: hash_of(key), name: name.clone() });
        // A series that was removed and created again can have its new slot already.
        if let Some(former) = former.name.filter(|name| self.series.get(name) == Some(&slot)) {
            self.series.remove(&former);
        }
        if let Some(name) = name {
            self.series.insert(name, slot);
        }
    }
}
