//! The writing side: take over, scrub, stage, commit.

use super::{
    Body, BodySlot, BodyTooLarge, CommitRecord, Geometry, TableMemory,
    layout::{BUSY, COMMIT, newest},
    read::{raw_slot, read_body},
    repair::{self, hash_of, mix},
};
use crate::{
    shm::sync::{Ordering, Site, at, fence},
    wire::ids::Commit,
};
use std::{collections::HashMap, io};

/// What a takeover of the table found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activated {
    /// The number of versions of an unfinished commit that were given up.
    pub scrubbed: u32,
    /// Whether the index did not verify and was rebuilt from the bodies. Slots that could not be rebuilt do not verify when
    /// they are loaded.
    pub repaired: bool,
}

/// A body that is staged for the next commit.
#[derive(Debug)]
struct Staged {
    slot: BodySlot,
    /// The version of the slot to overwrite.
    version: usize,
    /// Where the body ends in the arena. It begins where the previous one ends.
    end: usize,
}

/// The only writer of the table: the active analysis.
#[derive(Debug)]
pub struct TableWriter<M> {
    memory: M,
    geometry: Geometry,
    record: CommitRecord,
    index: HashMap<u64, BodySlot>,
    /// The number of slots in use, including those that no commit covers yet.
    assigned: u32,
    arena: Vec<u8>,
    staged: Vec<Staged>,
}

impl<M: TableMemory> TableWriter<M> {
    /// Attaches to a table without writing to it. `None` if its commit record does not verify: then the state is unknown.
    #[must_use]
    pub fn attach(memory: M) -> Option<Self> {
        let geometry = Geometry::of(memory.words());
        let record = CommitRecord::read(&memory).filter(|record| record.slots <= geometry.slots())?;
        let (index, assigned) = (HashMap::new(), record.slots);
        Some(Self { memory, geometry, record, index, assigned, arena: Vec::new(), staged: Vec::new() })
    }

    /// The last commit.
    pub const fn record(&self) -> &CommitRecord {
        &self.record
    }

    /// The number of series for which there is room.
    pub const fn slots(&self) -> u32 {
        self.geometry.slots()
    }

    /// The number of series that have a slot.
    pub const fn assigned(&self) -> u32 {
        self.assigned
    }

    /// Takes the table over. Call it once, before the first write, while no other writer is alive.
    ///
    /// An unfinished commit of a dead generation leaves tags beyond the last commit. They are scrubbed; otherwise they
    /// would become valid when the next commit with other content takes that number.
    pub fn activate(&mut self) -> Activated {
        // Check the index before scrubbing: a tag beyond the last commit can come from a wild write instead of an
        // unfinished commit.
        let repaired = !repair::is_intact(&self.memory, self.geometry, &self.record);
        if repaired {
            repair::rebuild(&self.memory, self.geometry, &mut self.record);
        }
        let scrubbed = self.scrub();
        for slot in Geometry::all(self.record.slots) {
            self.index.insert(self.memory.load(Geometry::hash(slot), Ordering::Relaxed), slot);
        }
        Activated { scrubbed, repaired }
    }

    fn scrub(&self) -> u32 {
        let mut scrubbed = 0;
        for slot in Geometry::all(self.geometry.slots()) {
            for version in [0, 1] {
                let word = self.geometry.tag(slot, version);
                let tag = self.memory.load(word, Ordering::Relaxed);
                if tag > self.record.commit.0 && tag != BUSY {
                    self.memory.store(word, BUSY, Ordering::Relaxed);
                    scrubbed += 1;
                }
            }
        }
        scrubbed
    }

    /// The slot of a series, if it has one.
    pub fn find(&self, key: &str) -> Option<BodySlot> {
        self.index.get(&hash_of(key)).copied()
    }

    /// Gives a series a slot. It takes effect with the first commit for which the series is staged. `None` if the table is
    /// full.
    ///
    /// # Panics
    /// Never: a slot within the geometry is within the memory.
    pub fn assign(&mut self, key: &str) -> Option<BodySlot> {
        let slot = BodySlot(self.assigned);
        if slot.0 >= self.geometry.slots() {
            return None;
        }
        let hash = hash_of(key);
        // No commit covers this slot yet: a successor ignores its content.
        self.memory.store(Geometry::hash(slot), hash, Ordering::Relaxed);
        self.index.insert(hash, slot);
        self.assigned += 1;
        Some(slot)
    }

    /// The last committed body of a slot. `None` if it does not verify.
    pub fn load(&self, slot: BodySlot) -> Option<Body> {
        read_body(&self.memory, self.geometry, slot, self.record.commit.0)
    }

    /// The unverified bytes of a slot that does not verify, so that they can be kept for an investigation.
    pub fn raw_slot(&self, slot: BodySlot) -> Vec<u8> {
        raw_slot(&self.memory, self.geometry, slot)
    }

    /// Stages a series for the next commit. Stage each slot at most once per commit.
    ///
    /// # Errors
    /// If the body does not fit its slot. Nothing is staged then.
    pub fn stage(
        &mut self,
        slot: BodySlot,
        analysis: u32,
        key: &str,
        state: &[u8],
        public: &[u8],
    ) -> Result<(), BodyTooLarge> {
        let tag = self.record.commit.next().0;
        Body::encode(&mut self.arena, (slot, tag, analysis), key, state, public)?;
        let current = newest(&self.memory, self.geometry, slot, self.record.commit.0);
        let version = current.map_or(0, |(version, _)| 1 - version);
        self.staged.push(Staged { slot, version, end: self.arena.len() });
        Ok(())
    }

    /// Commits what was staged: all of it or nothing, at whatever instruction this process dies. Sets `commit`, `slots` and
    /// `sum` of the record, whatever `next` says.
    ///
    /// # Errors
    /// If the system has no memory left for a body. Nothing was committed; the writer must not be used any more.
    pub fn commit(&mut self, next: CommitRecord) -> io::Result<CommitRecord> {
        let record = self.complete(next);
        let tag_of = |staged: &Staged| self.geometry.tag(staged.slot, staged.version);
        for staged in &self.staged {
            self.memory.store(tag_of(staged), BUSY, Ordering::Relaxed);
        }
        // A process that sees one byte of what follows also sees BUSY and the previous commit.
        fence(Site::CommitOverwrite, Ordering::Release);
        let mut start = 0;
        for staged in &self.staged {
            let body = self.geometry.body(staged.slot, staged.version);
            self.memory.write_body(body, &self.arena[start..staged.end])?;
            start = staged.end;
        }
        for staged in &self.staged {
            self.memory.store(tag_of(staged), record.commit.0, Ordering::Relaxed);
        }
        record.store(|word, value| self.memory.store(word, value, Ordering::Relaxed));
        self.memory.store(COMMIT, record.commit.0, at(Site::CommitPublish, Ordering::Release));
        self.record = record;
        self.arena.clear();
        self.staged.clear();
        Ok(record)
    }

    fn complete(&self, next: CommitRecord) -> CommitRecord {
        let commit = self.record.commit.next();
        let mut sum = self.record.sum;
        for staged in &self.staged {
            let hash = self.memory.load(Geometry::hash(staged.slot), Ordering::Relaxed);
            if staged.slot.0 < self.record.slots {
                let old = newest(&self.memory, self.geometry, staged.slot, self.record.commit.0);
                sum = sum.wrapping_sub(mix(hash, staged.slot, old.map_or(0, |(_, tag)| tag)));
            }
            sum = sum.wrapping_add(mix(hash, staged.slot, commit.0));
        }
        CommitRecord { commit, slots: self.assigned, sum, ..next }
    }

    /// Gives the next commit the number `commit`: for a fresh table into which a snapshot is restored.
    pub fn resume_numbers(&mut self, commit: Commit) {
        self.record.commit = Commit(commit.0.saturating_sub(1));
    }
}
