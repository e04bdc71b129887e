//! The repair of a line after a wild write of the analysis.
//!
//! Each of the four words of a version follows from the other three together with the body, which no wild write reaches. So a
//! version in which one word is wrong is what the body at its place says.

use super::{
    BodySlot,
    layout::TableMemory,
    line::{Place, Version, hash_of},
    read::Arena,
};

/// The number of words of a version that must be right.
const ENOUGH: usize = 3;

/// What a version of a slot was before one of its words was overwritten. `None` if that is not certain.
pub(super) fn original(
    arena: &Arena<'_, impl TableMemory>,
    slot: BodySlot,
    found: Version,
    n: u64,
) -> Option<Version> {
    if found == Version::default() {
        return None;
    }
    // If the place is wrong, the check shows the right one.
    let from_check = Version::new(slot, found.hash, Place(found.check), found.tag).check;
    [found.place, Place(from_check)].into_iter().find_map(|place| {
        let body = arena.body(slot, place).filter(|body| (1..=n).contains(&body.tag))?;
        let original = Version::new(slot, hash_of(body.key()), place, body.tag);
        let right = [
            original.hash == found.hash,
            original.place == found.place,
            original.check == found.check,
            original.tag == found.tag,
        ];
        (right.into_iter().filter(|right| *right).count() >= ENOUGH).then_some(original)
    })
}

/// The later one of two versions that are certain.
pub(super) fn last(contents: [Option<Version>; 2]) -> Option<(usize, Version)> {
    let [first, second] = [0, 1].map(|version| contents[version].map(|content| (version, content)));
    first.into_iter().chain(second).max_by_key(|(_, content)| content.tag)
}

/// Repairs the line of a slot that does not verify as of commit `n`. `false`: it cannot be repaired, and its series is lost.
pub(super) fn repair(arena: &Arena<'_, impl TableMemory>, slot: BodySlot, n: u64) -> bool {
    let versions = [0, 1].map(|version| original(arena, slot, Version::load(arena.memory, slot, version), n));
    let Some((version, original)) = last(versions) else { return false };
    Version::clear(arena.memory, slot, 1 - version);
    original.store(arena.memory, slot, version);
    true
}
