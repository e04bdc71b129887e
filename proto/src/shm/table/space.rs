//! Which space of the arena is free. The writer counts it; it is never stored.
//!
//! The arena consists of segments of equal size. Bodies are written one after the other into a run of free segments. A segment
//! is free again when no body in use overlaps it. Space that no commit refers to any more is reused at once: the versions
//! that referred to it are cleared before the next body is written.

use super::{layout::Geometry, line::Place};
use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
};

/// The accounts of the arena. Bytes count from the start of the arena.
#[derive(Debug)]
pub(super) struct Space {
    segment: usize,
    /// The number of segments.
    segments: usize,
    /// The bytes in use in each segment that was ever used.
    in_use: Vec<u32>,
    /// The segments that can be used again: none is in use, and none is part of `head`. `true`: it holds memory.
    free: BTreeMap<usize, bool>,
    /// The number of free segments that hold memory.
    held: usize,
    /// Where the next bodies go.
    head: Range<usize>,
    /// The sum of `in_use`.
    bytes: usize,
    /// The number of segments that are in use.
    used: usize,
    /// Whether all bodies in use are counted. Before that, no segment is known to be free.
    counted: bool,
}

impl Space {
    /// The accounts of an arena that has been used up to `end`. Nothing of that is free, until [`Self::find_free`] is called.
    pub(super) fn new(geometry: Geometry, end: usize) -> Self {
        let segment = geometry.segment_bytes();
        let segments = geometry.arena_bytes() / segment;
        let end = end.div_ceil(segment).min(segments);
        Self {
            segment,
            segments,
            in_use: vec![0; end],
            free: BTreeMap::new(),
            held: 0,
            head: 0..0,
            bytes: 0,
            used: 0,
            counted: end == 0,
        }
    }

    /// The end of the part that can be in use.
    pub(super) fn end(&self) -> usize {
        self.in_use.len() * self.segment
    }

    /// The bytes of all bodies in use.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes of the segments in use.
    pub(super) const fn used_bytes(&self) -> usize {
        self.used * self.segment
    }

    /// The bytes of the free segments that hold memory.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held * self.segment
    }

    fn set_free(&mut self, segment: usize) {
        if self.free.insert(segment, true) != Some(true) {
            self.held += 1;
        }
    }

    /// All bodies in use are counted: the segments without any are free.
    pub(super) fn find_free(&mut self) {
        self.counted = true;
        let head = self.head_segments();
        for segment in (0..self.in_use.len()).filter(|segment| !head.contains(segment)) {
            if self.in_use[segment] == 0 {
                self.set_free(segment);
            }
        }
    }

    fn head_segments(&self) -> Range<usize> {
        self.head.start / self.segment..self.head.end / self.segment
    }

    fn of(&self, place: Place) -> Option<RangeInclusive<usize>> {
        let last = (place.byte() + place.length()).checked_sub(1)?;
        let segments = place.byte() / self.segment..=last / self.segment;
        (place.length() > 0 && *segments.end() < self.in_use.len()).then_some(segments)
    }

    /// Takes room for a body of `length` bytes, which is not in use yet. `None`: the arena is full.
    pub(super) fn take(&mut self, length: usize) -> Option<Place> {
        if !self.extend_head(length) {
            self.leave_head();
            self.head = self.find_run(length.div_ceil(self.segment))?;
        }
        let place = Place::new(self.head.start, length);
        self.head.start += length;
        Some(place)
    }

    /// Adds the free segments that follow the head, until it has room for `length` bytes.
    fn extend_head(&mut self, length: usize) -> bool {
        while self.head.len() < length {
            let next = self.head.end / self.segment;
            if self.head.is_empty() || !self.take_segment(next) {
                return false;
            }
            self.head.end += self.segment;
        }
        true
    }

    fn take_segment(&mut self, segment: usize) -> bool {
        if segment == self.in_use.len() && segment < self.segments {
            self.in_use.push(0);
            return true;
        }
        let free = self.free.remove(&segment);
        self.held -= usize::from(free == Some(true));
        free.is_some()
    }

    /// The head goes elsewhere: what is unused of it is free.
    fn leave_head(&mut self) {
        let left = self.head_segments();
        self.head = 0..0;
        for segment in left {
            if self.counted && self.in_use[segment] == 0 {
                self.set_free(segment);
            }
        }
    }

    /// A run of free segments, the first one that is long enough; at the end if there is none.
    fn find_run(&mut self, wanted: usize) -> Option<Range<usize>> {
        let mut run = 0..0;
        for &segment in self.free.keys() {
            run = if segment == run.end { run.start..segment + 1 } else { segment..segment + 1 };
            if run.len() == wanted {
                break;
            }
        }
        // A shorter run can continue behind the end.
        if run.len() < wanted {
            let end = self.in_use.len();
            let start = if run.end == end { run.start } else { end };
            run = start..start + wanted;
        }
        if run.end > self.segments {
            return None;
        }
        for segment in run.clone() {
            self.take_segment(segment);
        }
        Some(run.start * self.segment..run.end * self.segment)
    }

    /// Counts a body that is in use from now on.
    pub(super) fn add(&mut self, place: Place) {
        self.count(place, |in_use, bytes| in_use + bytes);
    }

    /// Counts a body that no version refers to any more.
    pub(super) fn remove(&mut self, place: Place) {
        self.count(place, |in_use, bytes| in_use.saturating_sub(bytes));
    }

    fn count(&mut self, place: Place, change: impl Fn(u32, u32) -> u32) {
        let Some(segments) = self.of(place) else { return };
        let (start, end) = (place.byte(), place.byte() + place.length());
        for segment in segments {
            let from = start.max(segment * self.segment);
            let bytes = end.min((segment + 1) * self.segment) - from;
            let before = self.in_use[segment];
            let after = change(before, u32::try_from(bytes).unwrap_or(u32::MAX));
            self.in_use[segment] = after;
            self.bytes = self.bytes + after as usize - before as usize;
            match (before, after) {
                (0, 1..) => self.used += 1,
                (1.., 0) => {
                    self.used -= 1;
                    if self.counted && !self.head_segments().contains(&segment) {
                        self.set_free(segment);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a body is in a segment of which less than `share` percent is in use, so that it should move.
    pub(super) fn is_sparse(&self, place: Place, share: usize) -> bool {
        let head = self.head_segments();
        self.of(place).is_some_and(|mut segments| {
            segments.any(|segment| {
                !head.contains(&segment) && (self.in_use[segment] as usize) * 100 < self.segment * share
            })
        })
    }

    /// The runs of free segments that hold memory, in bytes, without the first `keep` bytes of them. They hold none from
    /// now on, and the arena ends before the last ones.
    pub(super) fn release(&mut self, keep: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let held = self.free.iter_mut().filter(|(_, held)| **held).skip(keep / self.segment);
        for (&segment, held) in held {
            *held = false;
            self.held -= 1;
            let (start, end) = (segment * self.segment, (segment + 1) * self.segment);
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => runs.push(start..end),
            }
        }
        while self.free.last_key_value().is_some_and(|(last, held)| !held && last + 1 == self.in_use.len()) {
            self.free.pop_last();
            self.in_use.pop();
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn space() -> Space {
        Space::new(Geometry::with_arena(4, 64 * 256), 0)
    }

    /// Takes room for a body and counts it.
    fn put(space: &mut Space, length: usize) -> Option<Place> {
        let place = space.take(length)?;
        space.add(place);
        Some(place)
    }

    #[test]
    fn bodies_follow_each_other_and_cross_the_border_of_a_segment() {
        let mut space = space();
        let places = [200, 200, 600].map(|length| put(&mut space, length).unwrap());
        assert_eq!(places.map(Place::byte), [0, 200, 400]);
        assert_eq!((space.end(), space.bytes(), space.used_bytes()), (1024, 1000, 1024));
    }

    #[test]
    fn a_segment_is_reused_when_its_last_body_is_gone() {
        let mut space = space();
        let places: Vec<Place> = (0..6).map(|_| put(&mut space, 128).unwrap()).collect();
        space.remove(places[0]);
        assert_eq!(space.held_bytes(), 0);
        space.remove(places[1]);
        assert_eq!(space.held_bytes(), 256);
        assert_eq!(put(&mut space, 256).unwrap().byte(), 0);
        let further: Vec<Option<Place>> = (0..62).map(|_| put(&mut space, 256)).collect();
        assert_eq!(further[0].unwrap().byte(), 768);
        assert!(further[60].is_some() && further[61].is_none(), "the arena is full");
        space.remove(places[2]);
        space.remove(places[3]);
        assert_eq!(put(&mut space, 8).unwrap().byte(), 256);
    }

    #[test]
    fn an_arena_that_was_used_before_goes_on_behind_its_end_until_everything_is_counted() {
        let geometry = Geometry::with_arena(4, 64 * 256);
        let mut space = Space::new(geometry, 1000);
        assert_eq!(put(&mut space, 64).unwrap().byte(), 1024);
        space.add(Place::new(256, 256));
        space.find_free();
        assert_eq!(space.held_bytes(), 768);
        assert_eq!((space.release(256).first(), space.held_bytes()), (Some(&(512..1024)), 256));
        assert_eq!(put(&mut space, 64).unwrap().byte(), 1088, "the head goes on");
    }

    #[test]
    fn a_sparse_segment_is_one_with_little_in_use_that_is_not_the_head() {
        let mut space = space();
        let places: Vec<Place> = (0..5).map(|_| put(&mut space, 128).unwrap()).collect();
        space.remove(places[0]);
        assert!(space.is_sparse(places[1], 75) && !space.is_sparse(places[1], 50));
        assert!(!space.is_sparse(places[2], 75), "it is full");
        assert!(!space.is_sparse(places[4], 75), "it is the head");
    }

    proptest! {
        #[test]
        fn bodies_in_use_never_overlap_and_the_sums_are_right(
            steps in proptest::collection::vec((1..90_usize, any::<prop::sample::Index>(), any::<bool>()), 1..200),
        ) {
            let (mut space, mut live) = (space(), Vec::<Place>::new());
            for (words, which, removes) in steps {
                if removes && !live.is_empty() {
                    space.remove(live.swap_remove(which.index(live.len())));
                } else if let Some(place) = put(&mut space, words * 8) {
                    prop_assert!(place.byte() + place.length() <= 64 * 256);
                    let overlaps = |other: &Place| {
                        place.byte() < other.byte() + other.length() && other.byte() < place.byte() + place.length()
                    };
                    prop_assert!(!live.iter().any(overlaps));
                    live.push(place);
                }
                prop_assert_eq!(space.bytes(), live.iter().map(|place| place.length()).sum::<usize>());
                let mut segments: Vec<usize> = live.iter().flat_map(|place| space.of(*place).unwrap()).collect();
                segments.sort_unstable();
                segments.dedup();
                prop_assert_eq!(space.used_bytes(), segments.len() * 256);
                prop_assert!(space.free.keys().all(|segment| space.in_use[*segment] == 0));
            }
        }
    }
}
