//! The checksum over the table's index (hashes and tags), and its repair.
//!
//! Bodies and commit records have CRCs. Hashes and tags are single words, which a wild write of the analysis could change
//! into other valid values; the sum in the commit record detects that. Then the index is rebuilt from the bodies, and the
//! writer reports it.

use super::{
    BodySlot, CommitRecord, Geometry, TableMemory,
    body::HEAD_BYTES,
    layout::{BUSY, FREE, Newest, newest},
    read::{copy_body, read_head},
};
use crate::{
    shm::{access::ReadWords, sync::Ordering},
    splitmix64::finish,
};

/// A 64-bit hash of the name of a series: FNV-1a with a finisher. If two names of one table collide, the keys in their
/// bodies distinguish them. The empty key of a free slot has the hash [`FREE`], and no other key has it.
pub(super) fn hash_of(key: &str) -> u64 {
    if key.is_empty() {
        return FREE;
    }
    let fnv = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    finish(fnv).max(FREE + 1)
}

/// The share of one slot in the sum.
pub(super) fn mix(hash: u64, slot: BodySlot, tag: u64) -> u64 {
    finish(finish(hash ^ u64::from(slot.0)).wrapping_add(tag))
}

/// The share of one slot with this newest version. `None`: the slot was given up.
pub(super) fn share(slot: BodySlot, newest: Option<Newest>) -> u64 {
    newest.map_or_else(|| mix(FREE, slot, 0), |newest| mix(newest.hash, slot, newest.tag))
}

/// The newest versions of all slots that the record covers.
fn all_newest(
    memory: &impl ReadWords,
    record: &CommitRecord,
) -> impl Iterator<Item = (BodySlot, Option<Newest>)> {
    Geometry::all(record.slots).map(|slot| (slot, newest(memory, slot, record.commit.0)))
}

/// The sum over all slots that the record covers.
fn sum(memory: &impl ReadWords, record: &CommitRecord) -> u64 {
    let shares = all_newest(memory, record).map(|(slot, newest)| share(slot, newest));
    shares.fold(0, u64::wrapping_add)
}

/// Whether the index is what the last commit left.
pub(super) fn is_intact(memory: &impl ReadWords, record: &CommitRecord) -> bool {
    // A commit never gives its number to both versions of a slot, and the sum cannot tell which of them is meant.
    let twins = |slot| {
        let [first, second] =
            [0, 1].map(|version| memory.load(Geometry::tag(slot, version), Ordering::Relaxed));
        first == second && first != 0 && first != BUSY
    };
    sum(memory, record) == record.sum && !Geometry::all(record.slots).any(twins)
}

/// One version of a slot: its tag, and the hash of its key.
type Version = (u64, u64);

/// The content of a slot.
struct SlotContent {
    slot: BodySlot,
    tags: [u64; 2],
    /// The newest version according to the front.
    tagged: Version,
    /// The bodies that verify and can belong to a commit up to the last one.
    bodies: [Option<Version>; 2],
    /// Whether it is certain which version was committed last. Uncertain: front and bodies disagree, or a body does not
    /// verify. A death in a commit leaves such a body, and so do two wild writes on a body and its tag.
    certain: bool,
}

impl SlotContent {
    fn read(memory: &impl TableMemory, geometry: Geometry, slot: BodySlot, commit: u64) -> Self {
        let load = |word| memory.load(word, Ordering::Relaxed);
        let hashes = [0, 1].map(|version| load(Geometry::hash(slot, version)));
        let tags = [0, 1].map(|version| load(Geometry::tag(slot, version)));
        let bodies = [0, 1].map(|version| {
            let body = copy_body(memory, geometry, slot, version)?;
            (1..=commit).contains(&body.tag).then(|| (body.tag, hash_of(body.key())))
        });
        let certain = [0, 1].into_iter().all(|version| match bodies[version] {
            Some(body) => body == (tags[version], hashes[version]),
            None => tags[version] == 0 && is_fresh(memory, geometry, slot, version),
        });
        let tagged = newest(memory, slot, commit).map_or((0, FREE), |newest| (newest.tag, newest.hash));
        Self { slot, tags, tagged, bodies, certain }
    }

    /// The newest body that verifies, except bodies marked as being written: these were never committed, unless a wild
    /// write has made the mark.
    fn likely(&self) -> Option<Version> {
        let versions = [0, 1].into_iter().filter(|&version| self.tags[version] != BUSY);
        versions.filter_map(|version| self.bodies[version]).max()
    }

    /// The share of the slot in the sum, if `last` was committed last. `None`: the version that the front names.
    fn share(&self, last: Option<Version>) -> u64 {
        let (tag, hash) = last.unwrap_or(self.tagged);
        mix(hash, self.slot, tag)
    }

    /// Makes `last` the newest version. `None` gives the slot up: an older version would be a wrong state.
    fn store(&self, memory: &impl TableMemory, last: Option<Version>) {
        for version in [0, 1] {
            let kept = self.bodies[version].filter(|&body| Some(body) <= last);
            let tag = kept.map_or(BUSY, |(tag, _)| tag);
            if let Some((_, hash)) = self.bodies[version] {
                memory.store(Geometry::hash(self.slot, version), hash, Ordering::Relaxed);
            }
            memory.store(Geometry::tag(self.slot, version), tag, Ordering::Relaxed);
        }
    }
}

/// Whether a body was never written.
fn is_fresh(memory: &impl TableMemory, geometry: Geometry, slot: BodySlot, version: usize) -> bool {
    read_head(memory, geometry, slot, version) == [0; HEAD_BYTES]
}

/// Rebuilds hashes and tags from the bodies that verify, so that the sum and the number of series are right again. If the last committed version of a
/// slot cannot be determined, the slot does not verify when it is loaded: an older state is never taken as the last one.
pub(super) fn rebuild(memory: &impl TableMemory, geometry: Geometry, record: &mut CommitRecord) {
    let commit = record.commit.0;
    let slots: Vec<SlotContent> =
        Geometry::all(record.slots).map(|slot| SlotContent::read(memory, geometry, slot, commit)).collect();
    for (content, last) in slots.iter().zip(last_versions(&slots, record.sum)) {
        content.store(memory, last);
    }
    record.sum = sum(memory, record);
    // A slot that was given up has a series, which is lost.
    let live = |(_, newest): &(_, Option<Newest>)| newest.is_none_or(|newest| newest.hash != FREE);
    record.series = u32::try_from(all_newest(memory, record).filter(live).count()).unwrap_or(u32::MAX);
}

/// The version of each slot that was committed last; `None` if it cannot be determined. `wanted` is the sum of the commit.
fn last_versions(slots: &[SlotContent], wanted: u64) -> Vec<Option<Version>> {
    let mut last: Vec<Option<Version>> = slots.iter().map(SlotContent::likely).collect();
    let shares = slots.iter().zip(&last).map(|(content, last)| content.share(*last));
    let sum = shares.fold(0, u64::wrapping_add);
    if sum == wanted {
        return last;
    }
    // If exactly one slot was judged wrongly, the sum shows which one, and what is right.
    for (content, last_of_slot) in slots.iter().zip(&mut last) {
        let others = sum.wrapping_sub(content.share(*last_of_slot));
        let fits = |other: &Option<Version>| others.wrapping_add(content.share(*other)) == wanted;
        if let Some(other) = [content.bodies[0], content.bodies[1], None].into_iter().find(fits) {
            *last_of_slot = other;
            return last;
        }
    }
    slots.iter().zip(last).map(|(content, last)| last.filter(|_| content.certain)).collect()
}
