//! What shared memory looks like at one moment, as far as the operations can touch it.

use anyhow::{Result, ensure};
use bulkhead_proto::shm::{
    access::{ReadWords as _, WORD, WriteWords as _},
    segment::ReadWrite,
};
use std::{ops::Range, sync::atomic::Ordering};

/// A part of a segment that is looked at after every step.
#[derive(Debug)]
pub struct Window {
    /// The segment's name, for messages.
    pub name: &'static str,
    /// Index of its segment among those of the world.
    pub segment: usize,
    /// The first word.
    pub first: usize,
    /// How many words.
    pub words: usize,
}

/// The bytes in all windows, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Vec<u8>);

impl Image {
    /// The bytes of all windows, one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// One word.
    #[must_use]
    pub fn word(&self, place: usize) -> u64 {
        let bytes = self.0.get(place * WORD..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// The windows of a memory, with what was found in them last.
#[derive(Debug)]
pub struct Windows {
    segments: Vec<ReadWrite>,
    windows: Vec<Window>,
    scratch: Vec<u8>,
}

impl Windows {
    /// Looks at these parts of these segments.
    ///
    /// # Errors
    /// When a window is not within its segment.
    pub fn new(segments: Vec<ReadWrite>, windows: Vec<Window>) -> Result<Self> {
        for Window { name, segment, first, words } in &windows {
            let room = segments.get(*segment).map_or(0, |segment| segment.words());
            ensure!(
                first + words <= room,
                "the window of {name} at {first} + {words} is not within {room} words"
            );
        }
        let bytes = windows.iter().map(|window| window.words * WORD).sum();
        Ok(Self { segments, windows, scratch: vec![0; bytes] })
    }

    /// Which words of an image are of the windows of that name: the first, and the one behind the last.
    #[must_use]
    pub fn places(&self, name: &str) -> Range<usize> {
        let before = self.windows.iter().take_while(|window| window.name != name);
        let start: usize = before.map(|window| window.words).sum();
        let words: usize =
            self.windows.iter().filter(|window| window.name == name).map(|window| window.words).sum();
        start..start + words
    }

    /// Stores one word; its place is that in an image.
    pub fn store(&self, place: usize, value: u64) {
        let mut left = place;
        for window in &self.windows {
            if left < window.words {
                return self.segments[window.segment].store(window.first + left, value, Ordering::Relaxed);
            }
            left -= window.words;
        }
    }

    /// Words of a segment, one by one.
    pub fn words(&self, segment: usize, words: Range<usize>) -> Vec<u64> {
        words.map(|word| self.segments[segment].load(word, Ordering::Relaxed)).collect()
    }

    fn read(&self, mut into: &mut [u8]) {
        for window in &self.windows {
            let (bytes, behind) = into.split_at_mut(window.words * WORD);
            self.segments[window.segment].read_bytes(window.first, bytes);
            into = behind;
        }
    }

    /// What is there now.
    #[must_use]
    pub fn image(&self) -> Image {
        let mut bytes = vec![0; self.scratch.len()];
        self.read(&mut bytes);
        Image(bytes)
    }

    /// Brings an image up to date. The former one, if it differs.
    pub fn refresh(&mut self, image: &mut Image) -> Option<Image> {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.read(&mut scratch);
        let former = (scratch != image.0).then(|| Image(std::mem::replace(&mut image.0, scratch.clone())));
        self.scratch = scratch;
        former
    }

    /// Makes the memory look like an image of the same windows.
    pub fn restore(&self, image: &Image) {
        let mut rest = image.0.as_slice();
        for window in &self.windows {
            let (bytes, behind) = rest.split_at(window.words * WORD);
            self.segments[window.segment].write_bytes(window.first, bytes);
            rest = behind;
        }
    }

    /// A check sum over all that is in none of the windows, for each segment: nothing may be written there.
    pub fn beyond(&self) -> Vec<u32> {
        let each = self.segments.iter().enumerate().map(|(number, segment)| {
            let mut bytes = vec![0; segment.words() * WORD];
            segment.read_bytes(0, &mut bytes);
            for window in self.windows.iter().filter(|window| window.segment == number) {
                bytes[window.first * WORD..][..window.words * WORD].fill(0);
            }
            crc32c::crc32c(&bytes)
        });
        each.collect()
    }
}

/// How many torn forms of one step are looked at, at most.
const MOST_CUTS: usize = 48;

/// The images between two: what a death may leave of a step that changes several words, as a `pwrite` does, which the
/// kernel may give up between two pages. In ascending order of addresses, as it copies.
#[must_use]
pub fn torn(before: &Image, after: &Image) -> Vec<Image> {
    let words = |image: &Image| image.0.chunks_exact(WORD).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (from, to) = (words(before), words(after));
    let changed: Vec<usize> = (0..to.len()).filter(|&word| from[word] != to[word]).collect();
    let every = changed.len().div_ceil(MOST_CUTS).max(1);
    let cut = |words: usize| {
        let mut image = before.clone();
        for &word in &changed[..words] {
            image.0[word * WORD..][..WORD].copy_from_slice(&to[word]);
        }
        image
    };
    (1..changed.len()).step_by(every).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_over_several_words_is_torn_between_each_two() {
        let (before, after) = (Image(vec![0; 32]), Image([vec![1; 24], vec![0; 8]].concat()));
        let torn = torn(&before, &after);
        assert_eq!(
            torn,
            [[vec![1; 8], vec![0; 24]].concat(), [vec![1; 16], vec![0; 16]].concat()].map(Image)
        );
    }
}
