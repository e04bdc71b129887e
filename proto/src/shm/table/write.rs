//! The writing side: take over, scrub, stage, commit.

use super::{
    Body, BodySlot, BodyTooLarge, CommitRecord, Geometry, TableMemory,
    layout::{BUSY, COMMIT, newest},
    read::{raw_slot, read_body},
    repair::{self, hash_of, mix},
};
use crate::{
    shm::sync::{Ordering, Site, at, fence},
    wire::ids::{Commit, Generation, Position, Seq},
};
use std::{collections::HashMap, io};

/// What a commit says besides the series that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitHeader {
    /// Who commits.
    pub generation: Generation,
    /// The last event that is in the state now.
    pub seq: Seq,
    /// The ring's position behind it.
    pub position: Position,
    /// The `VERSION` of the analysis.
    pub version: u32,
    /// How many events were applied, in all.
    pub analysed: u64,
    /// How many events were set aside, in all.
    pub skipped: u64,
    /// How many times a series was reset because its slot did not verify.
    pub resets: u64,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// What was found when the table was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activated {
    /// Versions of an unfinished commit that were given up.
    pub scrubbed: u32,
    /// Whether the index did not verify and was rebuilt from the bodies; slots that are lost by it do not verify
    /// when they are loaded.
    pub repaired: bool,
}

/// A body that is staged for the next commit.
#[derive(Debug)]
struct Staged {
    slot: BodySlot,
    /// Which of its two versions is to be overwritten.
    version: usize,
    /// Where it ends in the arena; it begins where the one before it ends.
    end: usize,
}

/// The one writer of the table: the active analysis.
#[derive(Debug)]
pub struct TableWriter<M> {
    memory: M,
    geometry: Geometry,
    record: CommitRecord,
    index: HashMap<u64, BodySlot>,
    /// Slots in use, those that no commit covers yet included.
    assigned: u32,
    arena: Vec<u8>,
    staged: Vec<Staged>,
}

impl<M: TableMemory> TableWriter<M> {
    /// Looks at a table without writing to it. None when its commit record does not verify: then nothing is known.
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

    /// How many series there is room for.
    pub const fn slots(&self) -> u32 {
        self.geometry.slots()
    }

    /// How many series have a slot.
    pub const fn assigned(&self) -> u32 {
        self.assigned
    }

    /// Takes the table over: to be called once, before the first write, when no other writer is alive.
    ///
    /// A dead generation's unfinished batch has tags beyond the last commit. It is scrubbed, or it would become valid
    /// when that number comes round with another batch.
    pub fn activate(&mut self) -> Activated {
        // First of all: a tag that a wild write put beyond the last commit is not one of an unfinished batch.
        let repaired = !repair::holds(&self.memory, self.geometry, &self.record);
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

    /// Gives a series a slot, from the next commit that it is staged for. None when the table is full.
    ///
    /// # Panics
    /// Never: a slot within the geometry is within the memory.
    pub fn assign(&mut self, key: &str) -> Option<BodySlot> {
        let slot = BodySlot(self.assigned);
        if slot.0 >= self.geometry.slots() {
            return None;
        }
        let hash = hash_of(key);
        // No commit covers this slot yet: a successor ignores what stands there.
        self.memory.store(Geometry::hash(slot), hash, Ordering::Relaxed);
        self.index.insert(hash, slot);
        self.assigned += 1;
        Some(slot)
    }

    /// The last committed body of a slot. None when it does not verify.
    pub fn load(&self, slot: BodySlot) -> Option<Body> {
        read_body(&self.memory, self.geometry, slot, self.record.commit.0)
    }

    /// The bytes of a slot that does not verify, as they are, to be kept for whoever wants to understand.
    pub fn raw_slot(&self, slot: BodySlot) -> Vec<u8> {
        raw_slot(&self.memory, self.geometry, slot)
    }

    /// Stages a series for the next commit; each slot at most once.
    ///
    /// # Errors
    /// When it does not fit its slot. Nothing is staged then.
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

    /// Commits what was staged: all of it or nothing, at whatever instruction this process dies.
    ///
    /// # Errors
    /// When the system has no memory left for a body. Nothing was committed; the writer must not be used any more.
    pub fn commit(&mut self, checkpoint: CommitHeader) -> io::Result<CommitRecord> {
        let record = self.next_record(checkpoint);
        let tag_of = |staged: &Staged| self.geometry.tag(staged.slot, staged.version);
        for staged in &self.staged {
            self.memory.store(tag_of(staged), BUSY, Ordering::Relaxed);
        }
        // Whoever sees a byte of what follows sees BUSY, and the commit before this one, as well.
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

    fn next_record(&self, checkpoint: CommitHeader) -> CommitRecord {
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
        let CommitHeader { generation, seq, position, version, analysed, skipped, resets, at_ms } =
            checkpoint;
        let slots = self.assigned;
        CommitRecord {
            commit,
            generation,
            seq,
            position,
            slots,
            version,
            analysed,
            skipped,
            resets,
            at_ms,
            sum,
        }
    }

    /// Begins a fresh table with the next commit taking the number `commit`: when a snapshot is restored.
    pub fn resume_numbers(&mut self, commit: Commit) {
        self.record.commit = Commit(commit.0.saturating_sub(1));
    }
}
