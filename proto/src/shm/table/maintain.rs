//! What the writer does between its commits: it counts what is in use, moves bodies out of sparse segments, and gives memory
//! back.

use super::{BodySlot, Effort, TableMemory, TableWriter, maintenance::Maintenance};
use std::io;

/// The slots that one step looks at, if the last commit changed fewer. A step takes well below a millisecond.
const STEP_SLOTS: u32 = 4096;

/// The bytes that one step moves, if the last commit wrote fewer.
const STEP_BYTES: usize = 1 << 20;

/// A step counts this many slots for each slot that the last commit changed, so that it ends before the arena has grown much.
const COUNTED_PER_CHANGED: u32 = 4;

/// Free memory up to this size, in bytes, is kept for the next commits.
const KEPT: usize = 1 << 20;

impl<M: TableMemory> TableWriter<M> {
    /// Does one step of what is due, with a commit of its own if bodies move. Call it when nothing is staged. `false`: nothing
    /// is due.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub fn maintain(&mut self, effort: Effort) -> io::Result<bool> {
        if self.is_staging() {
            return Ok(false);
        }
        if !self.maintenance.done {
            self.count_step();
            return Ok(true);
        }
        let used = self.space.bytes();
        // What the next commit needs is kept.
        self.release_free(self.maintenance.last_commit.1.max(16 * KEPT));
        let sparse = self.space.used_bytes() > effort.allowed(used) + 2 * KEPT;
        if sparse && self.maintenance.moved <= 2 * used && self.move_step(effort)? {
            return Ok(true);
        }
        if effort == Effort::Idle {
            self.release_free(KEPT);
        }
        Ok(false)
    }

    /// Gives free memory back to the system, if there is much more than `kept` bytes.
    fn release_free(&mut self, kept: usize) {
        if self.space.held_bytes() <= kept / 4 * 5 {
            return;
        }
        for run in self.space.release(kept) {
            self.memory.release(self.geometry.arena(run.start), run.len() / size_of::<u64>());
        }
    }

    /// Counts everything that is not counted yet.
    pub(super) fn count_all(&mut self) {
        while !self.maintenance.done {
            self.count_step();
        }
    }

    /// Counts the bodies of some slots, and verifies their lines and their places in the index.
    pub(super) fn count_step(&mut self) {
        if self.maintenance.done {
            return;
        }
        let (start, (changed, _)) = (self.maintenance.counted, self.maintenance.last_commit);
        let step = changed.saturating_mul(COUNTED_PER_CHANGED).max(STEP_SLOTS);
        let end = start.saturating_add(step).min(self.assigned);
        for slot in (start..end).map(BodySlot) {
            self.count_slot(slot);
        }
        self.maintenance.counted = end;
        if end == self.assigned {
            self.maintenance.done = true;
            self.space.find_free();
        }
    }

    fn count_slot(&mut self, slot: BodySlot) {
        let Some(newest) = self.newest(slot).map(|newest| newest.content) else { return };
        if newest.place.byte() < self.maintenance.taken_over {
            self.space.add(newest.place);
            if newest.is_free() {
                self.free.push(slot);
            }
        }
        if !newest.is_free() {
            self.record.index.insert(&self.memory, self.geometry, newest.hash, slot);
        }
    }

    /// Moves bodies out of sparse segments. `false`: a whole round over the slots has moved none.
    fn move_step(&mut self, effort: Effort) -> io::Result<bool> {
        let ((changed, written), mut moved) = (self.maintenance.last_commit, 0);
        for _ in 0..changed.max(STEP_SLOTS).min(self.record.slots) {
            if moved >= written.max(STEP_BYTES) {
                break;
            }
            let next = self.maintenance.next_slot;
            self.maintenance.next_slot = if next + 1 < self.record.slots { next + 1 } else { 0 };
            let length = self.move_body(BodySlot(next), effort);
            self.maintenance.unmoved =
                if length > 0 { 0 } else { self.maintenance.unmoved.saturating_add(1) };
            moved += length;
        }
        // A full arena is not full because of this.
        if self.abandon_if_full() {
            return Ok(false);
        }
        if moved > 0 {
            let Maintenance { moved: before, last_commit, .. } = self.maintenance;
            self.commit(self.record)?;
            (self.maintenance.moved, self.maintenance.last_commit) = (before + moved, last_commit);
        }
        Ok(self.maintenance.unmoved < self.record.slots)
    }

    /// Stages the body of a slot as it is, if it is in a sparse segment. Returns its length.
    fn move_body(&mut self, slot: BodySlot, effort: Effort) -> usize {
        let Some(newest) = self.newest(slot) else { return 0 };
        let place = newest.content.place;
        let sparse = self.space.is_sparse(place, effort.share());
        let Some(body) = sparse.then(|| self.arena().body_of(slot, &newest)).flatten() else { return 0 };
        if self.stage(slot, body.content()).is_ok() { place.length() } else { 0 }
    }
}
