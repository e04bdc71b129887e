//! The writing side: take over, scrub, stage, commit.

use super::{
    Body, BodySlot, BodyTooLarge, CommitRecord, Content, Geometry, TableMemory,
    layout::{BUSY, COMMIT, FREE, newest},
    read::{raw_slot, read_body, read_head},
    repair::{self, hash_of, mix, share},
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
    /// The hash of the key.
    hash: u64,
    /// Whether the series is removed: its slot becomes free.
    removed: bool,
    /// Where the body ends in the arena. It begins where the previous one ends.
    end: usize,
}

impl Staged {
    /// The hash that the commit stores.
    const fn stored_hash(&self) -> u64 {
        if self.removed { FREE } else { self.hash }
    }
}

/// The only writer of the table: the active analysis.
#[derive(Debug)]
pub struct TableWriter<M> {
    memory: M,
    geometry: Geometry,
    record: CommitRecord,
    index: HashMap<u64, BodySlot>,
    /// The slots without a series among those in use.
    free: Vec<BodySlot>,
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
        Some(Self {
            memory,
            geometry,
            record,
            index: HashMap::new(),
            free: Vec::new(),
            assigned: record.slots,
            arena: Vec::new(),
            staged: Vec::new(),
        })
    }

    /// The last commit.
    pub const fn record(&self) -> &CommitRecord {
        &self.record
    }

    /// The number of series for which there is room.
    pub const fn slots(&self) -> u32 {
        self.geometry.slots()
    }

    /// Takes the table over. Call it once, before the first write, while no other writer is alive.
    ///
    /// An unfinished commit of a dead generation leaves tags beyond the last commit. They are scrubbed; otherwise they
    /// would become valid when the next commit with other content takes that number.
    pub fn activate(&mut self) -> Activated {
        // Check the index before scrubbing: a tag beyond the last commit can come from a wild write instead of an
        // unfinished commit.
        let repaired = !repair::is_intact(&self.memory, &self.record);
        if repaired {
            repair::rebuild(&self.memory, self.geometry, &mut self.record);
        }
        let scrubbed = self.scrub();
        // The last free slot is taken first: in the end, the first ones are.
        for slot in Geometry::all(self.record.slots).rev() {
            self.index_slot(slot);
        }
        Activated { scrubbed, repaired }
    }

    fn index_slot(&mut self, slot: BodySlot) {
        match newest(&self.memory, slot, self.record.commit.0) {
            Some(newest) if newest.hash == FREE => self.free.push(slot),
            Some(newest) => drop(self.index.insert(newest.hash, slot)),
            // The slot was given up. Whichever series it had is found, and does not verify.
            None => {
                for version in [0, 1] {
                    let hash = self.memory.load(Geometry::hash(slot, version), Ordering::Relaxed);
                    if hash != FREE {
                        self.index.entry(hash).or_insert(slot);
                    }
                }
            }
        }
    }

    fn scrub(&self) -> u32 {
        let mut scrubbed = 0;
        for slot in Geometry::all(self.geometry.slots()) {
            for version in [0, 1] {
                let word = Geometry::tag(slot, version);
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
    pub fn assign(&mut self, key: &str) -> Option<BodySlot> {
        let slot = self.free.pop().or_else(|| {
            let slot = BodySlot(self.assigned);
            (slot.0 < self.geometry.slots()).then(|| {
                self.assigned += 1;
                slot
            })
        })?;
        self.index.insert(hash_of(key), slot);
        Some(slot)
    }

    /// The last committed body of a slot. `None` if it does not verify.
    pub fn load(&self, slot: BodySlot) -> Option<Body> {
        read_body(&self.memory, self.geometry, slot, self.record.commit.0)
    }

    /// When the last event of the series in this slot was accepted, in Unix milliseconds, according to its body, which is not
    /// verified. `None` if the slot has no series.
    pub fn last_arrival_ms(&self, slot: BodySlot) -> Option<i64> {
        let newest = newest(&self.memory, slot, self.record.commit.0)?;
        let head = || read_head(&self.memory, self.geometry, slot, newest.version);
        (newest.hash != FREE).then(|| Body::claimed_last_arrival_ms(&head()))
    }

    /// The unverified bytes of a slot that does not verify, so that they can be kept for an investigation.
    pub fn raw_slot(&self, slot: BodySlot) -> Vec<u8> {
        raw_slot(&self.memory, self.geometry, slot)
    }

    /// Stages a series for the next commit. Stage each slot at most once per commit.
    ///
    /// # Errors
    /// If the body does not fit its slot. Nothing is staged then.
    pub fn stage(&mut self, slot: BodySlot, content: Content<'_>) -> Result<(), BodyTooLarge> {
        self.stage_body(slot, content, hash_of(content.key), false)
    }

    /// Stages the removal of a series for the next commit, after which its slot is free.
    ///
    /// # Errors
    /// Never: a body without content fits.
    pub fn stage_removal(&mut self, slot: BodySlot, key: &str) -> Result<(), BodyTooLarge> {
        self.stage_body(slot, Content::default(), hash_of(key), true)
    }

    fn stage_body(
        &mut self,
        slot: BodySlot,
        content: Content<'_>,
        hash: u64,
        removed: bool,
    ) -> Result<(), BodyTooLarge> {
        Body::encode(&mut self.arena, (slot, self.record.commit.next().0), content)?;
        let current = newest(&self.memory, slot, self.record.commit.0);
        let version = current.map_or(0, |newest| 1 - newest.version);
        self.staged.push(Staged { slot, version, hash, removed, end: self.arena.len() });
        Ok(())
    }

    /// Commits what was staged: all of it or nothing, at whatever instruction this process dies. Sets `commit`, `slots`, `series`,
    /// `reassigned` and `sum` of the record, whatever `next` says.
    ///
    /// # Errors
    /// If the system has no memory left for a body. Nothing was committed; the writer must not be used any more.
    pub fn commit(&mut self, next: CommitRecord) -> io::Result<CommitRecord> {
        let record = self.complete(next);
        let tag_of = |staged: &Staged| Geometry::tag(staged.slot, staged.version);
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
            let hash = Geometry::hash(staged.slot, staged.version);
            self.memory.store(hash, staged.stored_hash(), Ordering::Relaxed);
            self.memory.store(tag_of(staged), record.commit.0, Ordering::Relaxed);
        }
        record.store(|word, value| self.memory.store(word, value, Ordering::Relaxed));
        self.memory.store(COMMIT, record.commit.0, at(Site::CommitPublish, Ordering::Release));
        self.record = record;
        self.arena.clear();
        self.release_slots();
        Ok(record)
    }

    fn complete(&self, next: CommitRecord) -> CommitRecord {
        let CommitRecord { commit, slots, mut sum, mut series, mut reassigned, .. } = self.record;
        for staged in &self.staged {
            let hash = staged.stored_hash();
            if staged.slot.0 < slots {
                let old = newest(&self.memory, staged.slot, commit.0);
                sum = sum.wrapping_sub(share(staged.slot, old));
                // A slot that was given up counts as a series.
                series = series.saturating_sub(u32::from(old.is_none_or(|old| old.hash != FREE)));
                reassigned = reassigned.wrapping_add(u64::from(old.map_or(FREE, |old| old.hash) != hash));
            }
            series = series.saturating_add(u32::from(hash != FREE));
            sum = sum.wrapping_add(mix(hash, staged.slot, commit.next().0));
        }
        CommitRecord { commit: commit.next(), slots: self.assigned, sum, series, reassigned, ..next }
    }

    /// The slots of the series that were removed by the last commit can be assigned again.
    fn release_slots(&mut self) {
        for Staged { slot, hash, .. } in self.staged.drain(..).filter(|staged| staged.removed) {
            self.index.remove(&hash);
            self.free.push(slot);
        }
    }

    /// Gives the next commit the number `commit`: for a fresh table into which a snapshot is restored.
    pub fn resume_numbers(&mut self, commit: Commit) {
        self.record.commit = Commit(commit.0.saturating_sub(1));
    }
}
