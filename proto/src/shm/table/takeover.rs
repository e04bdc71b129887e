//! The takeover by a successor: what the last commit of its predecessor left behind.
//!
//! A commit lists the slots that it touches before it touches them. So a successor looks at these only. If the list does not
//! verify, because the predecessor died while it wrote the list or a wild write hit it, the successor looks at all slots.

use super::{
    BodySlot, CommitRecord, Geometry, TableMemory,
    layout::TOUCHED,
    line::{Version, hash_of},
    read::Arena,
    repair::{last, original},
};
use crate::{
    shm::{access::index, sync::Ordering},
    splitmix64::finish,
    wire::ids::Commit,
};

/// What a takeover of the table found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activated {
    /// The number of versions of an unfinished commit that were cleared.
    pub scrubbed: u32,
    /// The number of slots whose lines did not verify and were repaired.
    pub repaired: u32,
    /// Whether all slots had to be looked at.
    pub searched: bool,
}

/// A search of all slots ends behind this many lines that were never used: slots are used in the order of their numbers.
const UNUSED_LINES: u32 = 64;

/// The list of the slots that a commit touches: the number of that commit, the number of slots, and a sum over both and the
/// list.
pub(super) struct Touched;

impl Touched {
    /// Stores the list for a commit.
    pub(super) fn store(
        memory: &impl TableMemory,
        geometry: Geometry,
        commit: Commit,
        slots: impl ExactSizeIterator<Item = BodySlot>,
    ) {
        let count = slots.len() as u64;
        let mut sum = Self::seed(commit.0, count);
        for (item, slot) in slots.enumerate() {
            sum = sum.wrapping_add(Self::share(item, slot.0.into()));
            memory.store(geometry.touched(item), slot.0.into(), Ordering::Relaxed);
        }
        for (offset, value) in [commit.0, count, sum].into_iter().enumerate() {
            memory.store(TOUCHED + offset, value, Ordering::Relaxed);
        }
    }

    /// Of a table without any commit, everything is zero, and so is the sum.
    const fn seed(commit: u64, count: u64) -> u64 {
        finish(commit.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ count)
    }

    const fn share(item: usize, slot: u64) -> u64 {
        finish((item as u64) << 32 | slot)
    }

    /// The slots that the last commit touched, and whether it is finished. `None` if the list does not verify.
    fn read(
        memory: &impl TableMemory,
        geometry: Geometry,
        last: Commit,
    ) -> Option<(LastCommit, Vec<BodySlot>)> {
        let [commit, count, sum] = [0, 1, 2].map(|offset| memory.load(TOUCHED + offset, Ordering::Relaxed));
        let state = match commit {
            commit if commit == last.0 => LastCommit::Finished,
            commit if commit == last.next().0 => LastCommit::Unfinished,
            _ => return None,
        };
        if count > geometry.slots().into() {
            return None;
        }
        let slots = (0..index(count)).map(|item| memory.load(geometry.touched(item), Ordering::Relaxed));
        let slots: Vec<u64> = slots.collect();
        let shares = slots.iter().enumerate().map(|(item, slot)| Self::share(item, *slot));
        if shares.fold(Self::seed(commit, count), u64::wrapping_add) != sum {
            return None;
        }
        let slot = |slot| u32::try_from(slot).ok().filter(|slot| *slot < geometry.slots()).map(BodySlot);
        Some((state, slots.into_iter().map(slot).collect::<Option<_>>()?))
    }

    /// Clears what the last commit left behind, finished or not. Any number of processes may die in it.
    pub(super) fn clean(arena: &Arena<'_, impl TableMemory>, record: &CommitRecord) -> Activated {
        let mut cleaner =
            Cleaner { arena, record, last_commit: LastCommit::Unknown, scrubbed: 0, repaired: 0 };
        let listed = Self::read(arena.memory, arena.geometry, record.commit);
        let searched = listed.is_none();
        match listed {
            Some((last_commit, slots)) => {
                cleaner.last_commit = last_commit;
                slots.into_iter().for_each(|slot| cleaner.clean(slot));
            }
            None => cleaner.search(),
        }
        Activated { scrubbed: cleaner.scrubbed, repaired: cleaner.repaired, searched }
    }
}

/// What is known of the commit that touched a slot last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastCommit {
    /// It is finished: the slot has a version of it.
    Finished,
    /// It is not: the slot has the version that it had before.
    Unfinished,
    /// Nothing.
    Unknown,
}

struct Cleaner<'a, M> {
    arena: &'a Arena<'a, M>,
    record: &'a CommitRecord,
    last_commit: LastCommit,
    scrubbed: u32,
    repaired: u32,
}

impl<M: TableMemory> Cleaner<'_, M> {
    fn versions(&self, slot: BodySlot) -> [Version; 2] {
        [0, 1].map(|version| Version::load(self.arena.memory, slot, version))
    }

    fn search(&mut self) {
        let mut unused = 0;
        for slot in (0..self.arena.geometry.slots()).map(BodySlot) {
            let fresh = self.versions(slot) == [Version::default(); 2];
            unused = if fresh && slot.0 >= self.record.slots { unused + 1 } else { 0 };
            if unused > UNUSED_LINES {
                return;
            }
            self.clean(slot);
        }
    }

    /// Leaves one version of a slot: the one in use. If that is damaged and an earlier one is not, the slot is given up: an
    /// earlier state must not be taken for the last one.
    fn clean(&mut self, slot: BodySlot) {
        self.scrub(slot);
        let versions = self.versions(slot);
        let contents = versions.map(|found| self.content(slot, found));
        let Some((in_use, content)) = self.in_use(versions, contents) else {
            (0..2)
                .filter(|version| contents[*version].is_some())
                .for_each(|version| self.clear(slot, version));
            return;
        };
        if versions[in_use] != content {
            content.store(self.arena.memory, slot, in_use);
            self.repaired += 1;
        }
        self.forget_removed(slot, &content);
        if versions[1 - in_use] != Version::default() {
            self.clear(slot, 1 - in_use);
        }
    }

    /// Clears the versions of an unfinished commit. A wild write can have such a tag, too; then the words of the version do
    /// not belong together.
    fn scrub(&mut self, slot: BodySlot) {
        let versions = self.versions(slot);
        for version in 0..2 {
            let Version { tag, hash, .. } = versions[version];
            if tag > self.record.commit.0 && versions[version].is_intact(slot) {
                if hash != versions[1 - version].hash {
                    self.record.index.remove(self.arena.memory, self.arena.geometry, hash, slot);
                }
                self.clear(slot, version);
                self.scrubbed += 1;
            }
        }
    }

    /// What a version was when it was committed, if that is certain.
    fn content(&self, slot: BodySlot, found: Version) -> Option<Version> {
        let commit = self.record.commit.0;
        let intact = (1..=commit).contains(&found.tag) && found.is_intact(slot);
        if intact { Some(found) } else { original(self.arena, slot, found, commit) }
    }

    /// The version of a slot that is in use, and what it was when it was committed. `None` if that is not certain.
    fn in_use(&self, versions: [Version; 2], contents: [Option<Version>; 2]) -> Option<(usize, Version)> {
        let (last, content) = last(contents)?;
        let certain = match self.last_commit {
            LastCommit::Finished => content.tag == self.record.commit.0,
            LastCommit::Unfinished => true,
            LastCommit::Unknown => contents[1 - last].is_some() || versions[1 - last] == Version::default(),
        };
        certain.then_some((last, content))
    }

    /// The predecessor may have died before it removed the series of a slot from the index.
    fn forget_removed(&self, slot: BodySlot, version: &Version) {
        if version.is_free()
            && let Some(removal) = self.arena.body(slot, version.place)
            && let Ok(name) = str::from_utf8(removal.state())
        {
            self.record.index.remove(self.arena.memory, self.arena.geometry, hash_of(name), slot);
        }
    }

    fn clear(&self, slot: BodySlot, version: usize) {
        Version::clear(self.arena.memory, slot, version);
    }
}
