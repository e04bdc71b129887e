//! The check sum over the table's index, and what to do when it does not hold.
//!
//! Bodies carry a CRC of their own, records too. Hashes and tags are single words that a wild write of the analysis could
//! change into others that look as good; the sum in the record tells. It is rebuilt from the bodies then, and loudly.

use super::{
    Body, Geometry, Record, Slot, TableMemory,
    body::HEAD_BYTES,
    layout::{BUSY, newest},
    read::copy_body,
};
use crate::{shared::ReadWords, sync::Ordering};

/// A 64-bit hash of a series' name: FNV-1a with a finisher. Two names of one table that collide are told apart by the
/// keys in their bodies.
pub(super) fn hash_of(key: &str) -> u64 {
    let fnv = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    finish(fnv)
}

/// The finisher of splitmix64: every bit depends on every bit.
const fn finish(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One slot's share of the sum.
pub(super) fn mix(hash: u64, slot: Slot, tag: u64) -> u64 {
    finish(finish(hash ^ u64::from(slot.0)).wrapping_add(tag))
}

/// The sum over all slots that the record covers.
pub(super) fn sum(memory: &impl ReadWords, geometry: Geometry, record: &Record) -> u64 {
    Geometry::all(record.slots).fold(0, |sum, slot| {
        let hash = memory.load(Geometry::hash(slot), Ordering::Relaxed);
        let tag = newest(memory, geometry, slot, record.commit.0).map_or(0, |(_, tag)| tag);
        sum.wrapping_add(mix(hash, slot, tag))
    })
}

/// Rebuilds hashes and tags from the bodies that verify. What cannot be saved does not verify when it is loaded.
pub(super) fn rebuild(memory: &impl TableMemory, geometry: Geometry, record: &mut Record) {
    for slot in Geometry::all(record.slots) {
        let bodies = [0, 1].map(|version| verified(memory, geometry, slot, version, record.commit.0));
        for (version, found) in bodies.iter().enumerate() {
            let tag = found.as_ref().map_or(BUSY, |(tag, _)| *tag);
            memory.store(geometry.tag(slot, version), tag, Ordering::Relaxed);
        }
        if let Some((_, body)) = bodies.into_iter().flatten().max_by_key(|(tag, _)| *tag) {
            memory.store(Geometry::hash(slot), hash_of(body.key()), Ordering::Relaxed);
        }
    }
    record.sum = sum(memory, geometry, record);
}

fn verified(
    memory: &impl TableMemory,
    geometry: Geometry,
    slot: Slot,
    version: usize,
    commit: u64,
) -> Option<(u64, Body)> {
    // A body that was being written, or was scrubbed, is no candidate even if it verifies: its commit never was.
    if memory.load(geometry.tag(slot, version), Ordering::Relaxed) == BUSY {
        return None;
    }
    let mut head = [0; HEAD_BYTES];
    memory.read_bytes(geometry.body(slot, version), &mut head);
    let tag = Body::claimed_tag(&head).filter(|&tag| tag != 0 && tag <= commit)?;
    Some((tag, copy_body(memory, geometry, slot, version, tag)?))
}
