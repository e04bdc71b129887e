//! The writing side: find, assign, stage, commit.

use super::{
    Body, BodySlot, BodyTooLarge, CommitRecord, Content, Geometry, TableMemory,
    layout::{COMMIT, FREE},
    line::{Newest, Place, Version, hash_of, newest},
    maintenance::Maintenance,
    read::{Arena, Found, search},
    repair,
    space::Space,
    takeover::{Activated, Touched},
};
use crate::{
    shm::sync::{Ordering, Site, at, fence},
    wire::ids::Commit,
};
use std::{cell::Cell, collections::HashMap, io, iter, mem};

/// Staged bodies are written when they have this many bytes: a large write, and small enough for the cache.
const WRITE_BYTES: usize = 256 << 10;

/// A version that is staged for the next commit.
#[derive(Debug)]
struct Staged {
    slot: BodySlot,
    /// The version of the slot that it becomes.
    version: usize,
    content: Version,
    /// What it replaces. `None`: the slot is new, or was given up.
    old: Option<Newest>,
    /// The hash of the series that this removes.
    removes: Option<u64>,
}

/// Encoded bodies that have their place in the arena and are not written yet.
#[derive(Debug, Default)]
struct Unwritten {
    bytes: Vec<u8>,
    /// The byte of the arena at which they begin.
    start: usize,
}

/// The only writer of the table: the active analysis.
#[derive(Debug)]
pub struct TableWriter<M> {
    pub(super) memory: M,
    pub(super) geometry: Geometry,
    pub(super) record: CommitRecord,
    pub(super) space: Space,
    pub(super) maintenance: Maintenance,
    /// The slots without a series that are known.
    pub(super) free: Vec<BodySlot>,
    /// The number of slots in use, including those that no commit covers yet.
    pub(super) assigned: u32,
    /// The slots of new series that no commit covers yet, by the hashes of their names.
    new: HashMap<u64, BodySlot>,
    staged: Vec<Staged>,
    unwritten: Unwritten,
    /// Why a body could not be written. The next commit returns it.
    failed: Option<io::Error>,
    /// The number of lines that were repaired.
    repaired: Cell<u32>,
}

impl<M: TableMemory> TableWriter<M> {
    /// Attaches to a table with `slots` slots, without writing to it. `None` if its commit record does not verify: then the
    /// state is unknown.
    #[must_use]
    pub fn attach(memory: M, slots: u32) -> Option<Self> {
        let geometry = Geometry::of(slots, memory.words())?;
        let record = CommitRecord::read(&memory, geometry)?;
        let end = usize::try_from(record.arena_end).ok()?;
        Some(Self {
            memory,
            geometry,
            record,
            space: Space::new(geometry, end),
            maintenance: Maintenance::new(end),
            free: Vec::new(),
            assigned: record.slots,
            new: HashMap::new(),
            staged: Vec::new(),
            unwritten: Unwritten::default(),
            failed: None,
            repaired: Cell::new(0),
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

    pub(super) const fn arena(&self) -> Arena<'_, M> {
        Arena { memory: &self.memory, geometry: self.geometry }
    }

    /// Takes the table over. Call it once, before the first write, while no other writer is alive. It takes as long as the
    /// last commit was large, however many series there are.
    pub fn activate(&mut self) -> Activated {
        let activated = Touched::clean(&self.arena(), &self.record);
        self.repaired.set(activated.repaired);
        activated
    }

    /// The version of a slot that is in use, if need be after a repair of its line.
    pub(super) fn newest(&self, slot: BodySlot) -> Option<Newest> {
        let n = self.record.commit.0;
        newest(&self.memory, slot, n).or_else(|| {
            let repaired = slot.0 < self.record.slots && repair::repair(&self.arena(), slot, n);
            self.repaired.set(self.repaired.get() + u32::from(repaired));
            repaired.then(|| newest(&self.memory, slot, n)).flatten()
        })
    }

    /// The number of slots whose lines did not verify and were repaired since the last call.
    pub fn take_repaired(&self) -> u32 {
        self.repaired.take()
    }

    /// The slot of a series, if it has one. A slot that was given up counts as that of any series that it may have had.
    pub fn find(&self, key: &str) -> Option<BodySlot> {
        let hash = hash_of(key);
        if let Some(slot) = self.new.get(&hash) {
            return Some(*slot);
        }
        let candidates = self.record.index.candidates(&self.memory, (self.geometry, self.record.slots), hash);
        match search(candidates, hash, |slot| self.newest(slot)) {
            Found::Slot(slot) | Found::Unknown(slot) => Some(slot),
            Found::Nowhere => None,
        }
    }

    /// Gives a series a slot. It takes effect with the first commit for which the series is staged. `None` if the table is
    /// full.
    pub fn assign(&mut self, key: &str) -> Option<BodySlot> {
        if self.free.is_empty() {
            self.count_step();
        }
        let slot = self.free.pop().or_else(|| self.unused_slot())?;
        self.new.insert(hash_of(key), slot);
        Some(slot)
    }

    fn unused_slot(&mut self) -> Option<BodySlot> {
        if self.assigned == self.geometry.slots() {
            self.count_all();
            return self.free.pop();
        }
        self.assigned += 1;
        Some(BodySlot(self.assigned - 1))
    }

    /// The last committed body of a slot. `None` if it does not verify.
    pub fn load(&self, slot: BodySlot) -> Option<Body> {
        self.arena().body_of(slot, &self.newest(slot)?)
    }

    /// When the last event of the series in this slot was accepted, in Unix milliseconds, according to its body, which is not
    /// verified. `None` if the slot has no series.
    pub fn last_arrival_ms(&self, slot: BodySlot) -> Option<i64> {
        let newest =
            newest(&self.memory, slot, self.record.commit.0).filter(|newest| !newest.content.is_free())?;
        self.arena().head(newest.content.place).map(|head| Body::claimed_last_arrival_ms(&head))
    }

    /// The unverified bytes of a slot that does not verify, so that they can be kept for an investigation.
    pub fn raw_slot(&self, slot: BodySlot) -> Vec<u8> {
        self.arena().raw_slot(slot).0
    }

    /// Stages a series for the next commit. Stage each slot at most once per commit.
    ///
    /// # Errors
    /// If the series is too large. Nothing is staged then.
    pub fn stage(&mut self, slot: BodySlot, content: Content<'_>) -> Result<(), BodyTooLarge> {
        self.stage_version(slot, content, None)
    }

    /// Stages the removal of a series for the next commit, after which its slot is free.
    ///
    /// # Errors
    /// If the name is longer than any name.
    pub fn stage_removal(&mut self, slot: BodySlot, key: &str) -> Result<(), BodyTooLarge> {
        // A successor needs the name if this process dies before the index is changed.
        let content = Content { state: key.as_bytes(), ..Content::default() };
        self.stage_version(slot, content, Some(hash_of(key)))
    }

    fn stage_version(
        &mut self,
        slot: BodySlot,
        content: Content<'_>,
        removes: Option<u64>,
    ) -> Result<(), BodyTooLarge> {
        let (tag, start) = (self.record.commit.next().0, self.unwritten.bytes.len());
        Body::encode(&mut self.unwritten.bytes, (slot, tag), content)?;
        let place = self.place_body(start).unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            Place::default()
        });
        let old = self.newest(slot);
        let version = old.map_or(0, |old| 1 - old.version);
        let content = Version::new(slot, hash_of(content.key), place, tag);
        self.staged.push(Staged { slot, version, content, old, removes });
        Ok(())
    }

    /// Gives the body at the end of the unwritten bytes its place, and writes what is before it, or everything, if it is due.
    fn place_body(&mut self, start: usize) -> io::Result<Place> {
        let length = self.unwritten.bytes.len() - start;
        let place = self.space.take(length).or_else(|| {
            self.count_all();
            self.space.take(length)
        });
        let place = place.ok_or_else(|| self.full())?;
        self.space.add(place);
        if start == 0 {
            self.unwritten.start = place.byte();
        } else if self.unwritten.start + start != place.byte() {
            self.write(start)?;
            self.unwritten.start = place.byte();
        }
        if self.unwritten.bytes.len() >= WRITE_BYTES {
            self.write(self.unwritten.bytes.len())?;
        }
        Ok(place)
    }

    fn full(&self) -> io::Error {
        io::Error::other(format!(
            "the arena of the state table is full: {} bytes of states are in use, {} bytes are reserved; remove series, or let \
             the analysis keep less per series",
            self.space.bytes(),
            self.geometry.arena_bytes()
        ))
    }

    /// Writes the first `length` unwritten bytes.
    fn write(&mut self, length: usize) -> io::Result<()> {
        // A process that sees one byte of what follows also sees the last commit, and that the versions which it replaced
        // are cleared.
        fence(Site::CommitOverwrite, Ordering::Release);
        let Unwritten { bytes, start } = &mut self.unwritten;
        let written = self.memory.write_body(self.geometry.arena(*start), &bytes[..length]);
        bytes.drain(..length);
        *start += length;
        written
    }

    /// Commits what was staged: all of it or nothing, at whatever instruction this process dies. Sets `commit`, `slots`,
    /// `series`, `reassigned` and what is about the memory, whatever `next` says.
    ///
    /// # Errors
    /// If the arena is full, or the system has no memory left. Nothing was committed; the writer must not be used any more.
    pub fn commit(&mut self, next: CommitRecord) -> io::Result<CommitRecord> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.write(self.unwritten.bytes.len())?;
        let slots = self.staged.iter().map(|staged| staged.slot);
        Touched::store(&self.memory, self.geometry, self.record.commit.next(), slots);
        for staged in &self.staged {
            staged.content.store(&self.memory, staged.slot, staged.version);
        }
        let mut record = self.complete(next);
        self.index_new_series(&mut record);
        record.store(|word, value| self.memory.store(word, value, Ordering::Relaxed));
        self.memory.store(COMMIT, record.commit.0, at(Site::CommitPublish, Ordering::Release));
        let before = mem::replace(&mut self.record, record);
        self.clear_replaced();
        // A successor has nothing to clean from here on.
        Touched::store(&self.memory, self.geometry, record.commit, iter::empty());
        if before.index.half != record.index.half {
            let words = before.index.words(self.geometry);
            self.memory.release(words.start, words.len());
        }
        Ok(record)
    }

    fn complete(&self, next: CommitRecord) -> CommitRecord {
        let CommitRecord { commit, slots, index, mut series, mut reassigned, .. } = self.record;
        for Staged { slot, content, old, .. } in &self.staged {
            if slot.0 < slots {
                // A slot that was given up counts as a series.
                series = series.saturating_sub(u32::from(old.is_none_or(|old| !old.content.is_free())));
                let hash = old.map_or(FREE, |old| old.content.hash);
                reassigned = reassigned.wrapping_add(u64::from(hash != content.hash));
            }
            series = series.saturating_add(u32::from(!content.is_free()));
        }
        let arena_end = self.space.end() as u64;
        CommitRecord {
            commit: commit.next(),
            slots: self.assigned,
            arena_end,
            index,
            series,
            reassigned,
            ..next
        }
    }

    fn index_new_series(&mut self, record: &mut CommitRecord) {
        for (hash, slot) in mem::take(&mut self.new) {
            if record.index.is_full() {
                record.index = record.index.rebuilt(self.geometry, record.series);
                self.fill_index(record);
            }
            record.index.insert(&self.memory, self.geometry, hash, slot);
        }
    }

    /// Builds the index as of a commit that is about to be published.
    fn fill_index(&self, record: &mut CommitRecord) {
        record.index.clear(&self.memory, self.geometry);
        for slot in (0..record.slots).map(BodySlot) {
            let hashes = newest(&self.memory, slot, record.commit.0).map_or_else(
                // The slot was given up. Whichever series it had is found, and does not verify.
                || [0, 1].map(|version| Version::load(&self.memory, slot, version).hash),
                |newest| [newest.content.hash, FREE],
            );
            for hash in hashes.into_iter().filter(|hash| *hash != FREE) {
                record.index.insert(&self.memory, self.geometry, hash, slot);
            }
        }
    }

    /// Clears the versions that the last commit has replaced, so that their space can be reused.
    fn clear_replaced(&mut self) {
        // A process that sees one of them cleared also sees the commit.
        fence(Site::CommitOverwrite, Ordering::Release);
        let staged = mem::take(&mut self.staged);
        let bytes = staged.iter().map(|staged| staged.content.place.length()).sum();
        self.maintenance.on_commit(u32::try_from(staged.len()).unwrap_or(u32::MAX), bytes);
        for staged in staged {
            let Staged { slot, version, old, removes, .. } = staged;
            Version::clear(&self.memory, slot, 1 - version);
            if let Some(old) = old
                && self.maintenance.is_counted(slot, old.content.place)
            {
                self.space.remove(old.content.place);
            }
            if let Some(hash) = removes {
                self.record.index.remove(&self.memory, self.geometry, hash, slot);
                self.free.push(slot);
            }
        }
    }

    /// Gives up what was staged. `false`: everything that was staged has its place.
    pub(super) fn abandon_if_full(&mut self) -> bool {
        let full = self.failed.take().is_some();
        if full {
            self.unwritten = Unwritten::default();
            for staged in self.staged.drain(..) {
                self.space.remove(staged.content.place);
            }
        }
        full
    }

    pub(super) fn is_staging(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Gives the next commit the number `commit`: for a fresh table into which a snapshot is restored.
    pub fn resume_numbers(&mut self, commit: Commit) {
        self.record.commit = Commit(commit.0.saturating_sub(1));
    }
}
