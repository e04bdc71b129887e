//! The checksum over the table's index (hashes and tags), and its repair.
//!
//! Bodies and commit records have CRCs. Hashes and tags are single words, which a wild write of the analysis could change
//! into other valid values; the sum in the commit record detects that. Then the index is rebuilt from the bodies, and the
//! writer reports it.

use super::{
    Body, BodySlot, CommitRecord, Geometry, TableMemory,
    body::HEAD_BYTES,
    layout::{BUSY, newest},
    read::copy_body,
};
use crate::shm::{access::ReadWords, sync::Ordering};

/// A 64-bit hash of the name of a series: FNV-1a with a finisher. If two names of one table collide, the keys in their
/// bodies distinguish them.
pub(super) fn hash_of(key: &str) -> u64 {
    let fnv = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    finish(fnv)
}

/// The finisher of splitmix64: every bit of the result depends on every bit of the input.
const fn finish(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The share of one slot in the sum.
pub(super) fn mix(hash: u64, slot: BodySlot, tag: u64) -> u64 {
    finish(finish(hash ^ u64::from(slot.0)).wrapping_add(tag))
}

/// The sum over all slots that the record covers.
fn sum(memory: &impl ReadWords, geometry: Geometry, record: &CommitRecord) -> u64 {
    Geometry::all(record.slots).fold(0, |sum, slot| {
        let hash = memory.load(Geometry::hash(slot), Ordering::Relaxed);
        let tag = newest(memory, geometry, slot, record.commit.0).map_or(0, |(_, tag)| tag);
        sum.wrapping_add(mix(hash, slot, tag))
    })
}

/// Whether the index is what the last commit left.
pub(super) fn is_intact(memory: &impl ReadWords, geometry: Geometry, record: &CommitRecord) -> bool {
    // A commit never gives its number to both versions of a slot, and the sum cannot tell which of them is meant.
    let twins = |slot| {
        let [first, second] =
            [0, 1].map(|version| memory.load(geometry.tag(slot, version), Ordering::Relaxed));
        first == second && first != 0 && first != BUSY
    };
    sum(memory, geometry, record) == record.sum && !Geometry::all(record.slots).any(twins)
}

/// Which version of a slot is taken as the newest committed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The one that the tags in the front name, whether its body verifies or not.
    AsTagged,
    /// This version, whose body verifies.
    Version(usize),
}

/// The content of a slot.
struct SlotContent {
    slot: BodySlot,
    hash: u64,
    tags: [u64; 2],
    /// Tag and key hash of each body that verifies and can belong to a commit up to the last one.
    bodies: [Option<(u64, u64)>; 2],
    /// Whether a body was never written.
    fresh: [bool; 2],
}

impl SlotContent {
    fn read(memory: &impl TableMemory, geometry: Geometry, slot: BodySlot, commit: u64) -> Self {
        let load = |word| memory.load(word, Ordering::Relaxed);
        Self {
            slot,
            hash: load(Geometry::hash(slot)),
            tags: [0, 1].map(|version| load(geometry.tag(slot, version))),
            bodies: [0, 1].map(|version| verified(memory, geometry, slot, version, commit)),
            fresh: [0, 1].map(|version| head(memory, geometry, slot, version).iter().all(|&byte| byte == 0)),
        }
    }

    /// Whether it is uncertain which version was committed last: front and bodies disagree, or a body does not verify. A
    /// death in a commit leaves such a body, and so do two wild writes on a body and its tag.
    fn uncertain(&self) -> bool {
        let certain = |version: usize| match self.bodies[version] {
            Some((claimed, hash)) => self.tags[version] == claimed && self.hash == hash,
            None => self.tags[version] == 0 && self.fresh[version],
        };
        !(certain(0) && certain(1))
    }

    /// The newest body that verifies, except bodies marked as being written: these were never committed, unless a wild
    /// write has made the mark.
    fn likely(&self) -> Choice {
        let versions = [0, 1].into_iter().filter(|&version| self.tags[version] != BUSY);
        let newest = versions.filter_map(|version| Some((self.bodies[version]?.0, version))).max();
        newest.map_or(Choice::AsTagged, |(_, version)| Choice::Version(version))
    }

    fn share(&self, choice: Choice, commit: u64) -> u64 {
        let tagged = self.tags.into_iter().filter(|&tag| tag != BUSY && tag <= commit).max().unwrap_or(0);
        let (tag, hash) = match choice {
            Choice::AsTagged => (tagged, self.hash),
            Choice::Version(version) => self.bodies[version].unwrap_or((tagged, self.hash)),
        };
        mix(hash, self.slot, tag)
    }

    /// Writes the choice to the slot. A slot whose newest version does not verify is given up: its older version would be a
    /// wrong state.
    fn store(&self, memory: &impl TableMemory, geometry: Geometry, choice: Choice) {
        let newest = match choice {
            Choice::Version(version) => self.bodies[version],
            Choice::AsTagged => None,
        };
        for version in [0, 1] {
            let tag = self.bodies[version]
                .map(|(tag, _)| tag)
                .filter(|tag| newest.is_some_and(|(newest, _)| *tag <= newest));
            memory.store(geometry.tag(self.slot, version), tag.unwrap_or(BUSY), Ordering::Relaxed);
        }
        if let Some((_, hash)) = newest {
            memory.store(Geometry::hash(self.slot), hash, Ordering::Relaxed);
        }
    }
}

/// Rebuilds hashes and tags from the bodies that verify, so that the sum is right again. If the last committed version of a
/// slot cannot be determined, the slot does not verify when it is loaded: an older state is never taken as the last one.
pub(super) fn rebuild(memory: &impl TableMemory, geometry: Geometry, record: &mut CommitRecord) {
    let commit = record.commit.0;
    let slots: Vec<SlotContent> =
        Geometry::all(record.slots).map(|slot| SlotContent::read(memory, geometry, slot, commit)).collect();
    let choices = choose(&slots, record.sum, commit);
    for (found, choice) in slots.iter().zip(choices) {
        found.store(memory, geometry, choice);
    }
    record.sum = sum(memory, geometry, record);
}

fn choose(slots: &[SlotContent], wanted: u64, commit: u64) -> Vec<Choice> {
    let mut choices: Vec<Choice> = slots.iter().map(SlotContent::likely).collect();
    let shares = slots.iter().zip(&choices).map(|(found, choice)| found.share(*choice, commit));
    let sum = shares.fold(0, u64::wrapping_add);
    if sum == wanted {
        return choices;
    }
    let uncertain = || slots.iter().enumerate().filter(|(_, found)| found.uncertain());
    // If exactly one slot was judged wrongly, the sum shows which one.
    for (number, found) in uncertain() {
        let others = sum.wrapping_sub(found.share(choices[number], commit));
        for other in [Choice::Version(0), Choice::Version(1), Choice::AsTagged] {
            if others.wrapping_add(found.share(other, commit)) == wanted {
                choices[number] = other;
                return choices;
            }
        }
    }
    for (number, _) in uncertain() {
        choices[number] = Choice::AsTagged;
    }
    choices
}

fn verified(
    memory: &impl TableMemory,
    geometry: Geometry,
    slot: BodySlot,
    version: usize,
    commit: u64,
) -> Option<(u64, u64)> {
    let tag =
        Body::claimed_tag(&head(memory, geometry, slot, version)).filter(|&tag| tag != 0 && tag <= commit)?;
    let body = copy_body(memory, geometry, slot, version, tag)?;
    Some((tag, hash_of(body.key())))
}

fn head(memory: &impl TableMemory, geometry: Geometry, slot: BodySlot, version: usize) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    memory.read_bytes(geometry.body(slot, version), &mut head);
    head
}
