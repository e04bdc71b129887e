//! Images: the content of shared memory at one moment, as far as the operations can change it.

use anyhow::{Result, ensure};
use bulkhead_proto::shm::{
    access::{ReadWords as _, WORD, WriteWords as _},
    segment::ReadWrite,
};
use std::{ops::Range, sync::atomic::Ordering};

/// A part of a segment that is read after every step.
#[derive(Debug)]
pub struct Window {
    /// The segment's name, for messages.
    pub name: &'static str,
    /// The index of the segment among those of the fixture.
    pub segment: usize,
    /// The index of the first word.
    pub first: usize,
    /// The number of words.
    pub words: usize,
}

/// The bytes of all windows, concatenated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(Vec<u8>);

impl Image {
    /// The bytes of all windows, concatenated.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The word at this index.
    #[must_use]
    pub fn word(&self, position: usize) -> u64 {
        let bytes = self.0.get(position * WORD..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }
}

/// The windows of a memory, with a scratch buffer for their bytes.
#[derive(Debug)]
pub struct Windows {
    segments: Vec<ReadWrite>,
    windows: Vec<Window>,
    scratch: Vec<u8>,
}

impl Windows {
    /// Reads these windows of these segments.
    ///
    /// # Errors
    /// When a window is not within its segment.
    pub fn new(segments: Vec<ReadWrite>, windows: Vec<Window>) -> Result<Self> {
        for Window { name, segment, first, words } in &windows {
            let size = segments.get(*segment).map_or(0, |segment| segment.words());
            ensure!(
                first + words <= size,
                "the window of {name} at {first} + {words} is not within {size} words"
            );
        }
        let bytes = windows.iter().map(|window| window.words * WORD).sum();
        Ok(Self { segments, windows, scratch: vec![0; bytes] })
    }

    /// The range of words in an image that belong to the windows with this name.
    #[must_use]
    pub fn positions(&self, name: &str) -> Range<usize> {
        let before = self.windows.iter().take_while(|window| window.name != name);
        let start: usize = before.map(|window| window.words).sum();
        let words: usize =
            self.windows.iter().filter(|window| window.name == name).map(|window| window.words).sum();
        start..start + words
    }

    /// Stores one word at its position in an image.
    pub fn store(&self, position: usize, value: u64) {
        let mut left = position;
        for window in &self.windows {
            if left < window.words {
                return self.segments[window.segment].store(window.first + left, value, Ordering::Relaxed);
            }
            left -= window.words;
        }
    }

    /// Loads words of a segment one by one.
    pub fn words(&self, segment: usize, words: Range<usize>) -> Vec<u64> {
        words.map(|word| self.segments[segment].load(word, Ordering::Relaxed)).collect()
    }

    fn read(&self, mut into: &mut [u8]) {
        for window in &self.windows {
            let (bytes, after) = into.split_at_mut(window.words * WORD);
            self.segments[window.segment].read_bytes(window.first, bytes);
            into = after;
        }
    }

    /// The current image.
    #[must_use]
    pub fn image(&self) -> Image {
        let mut bytes = vec![0; self.scratch.len()];
        self.read(&mut bytes);
        Image(bytes)
    }

    /// Updates an image. Returns the previous image if it differs.
    pub fn refresh(&mut self, image: &mut Image) -> Option<Image> {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.read(&mut scratch);
        let previous = (scratch != image.0).then(|| Image(std::mem::replace(&mut image.0, scratch.clone())));
        self.scratch = scratch;
        previous
    }

    /// Writes an image of the same windows into the memory.
    pub fn restore(&self, image: &Image) {
        let mut rest = image.0.as_slice();
        for window in &self.windows {
            let (bytes, after) = rest.split_at(window.words * WORD);
            self.segments[window.segment].write_bytes(window.first, bytes);
            rest = after;
        }
    }

    /// A checksum for each segment over the bytes outside of all windows. An operation must not write there.
    pub fn outside(&self) -> Vec<u32> {
        let checksums = self.segments.iter().enumerate().map(|(number, segment)| {
            let mut bytes = vec![0; segment.words() * WORD];
            segment.read_bytes(0, &mut bytes);
            for window in self.windows.iter().filter(|window| window.segment == number) {
                bytes[window.first * WORD..][..window.words * WORD].fill(0);
            }
            crc32c::crc32c(&bytes)
        });
        checksums.collect()
    }
}

/// The largest number of torn forms of one step that are checked.
const MAX_CUTS: usize = 48;

/// The images between two images. A step that changes several words, such as a `pwrite`, can be torn by a
/// death: the kernel may stop between two pages. The words change in ascending order of addresses, as the
/// kernel copies.
#[must_use]
pub fn torn(before: &Image, after: &Image) -> Vec<Image> {
    let words = |image: &Image| image.0.chunks_exact(WORD).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (from, to) = (words(before), words(after));
    let changed: Vec<usize> = (0..to.len()).filter(|&word| from[word] != to[word]).collect();
    let interval = changed.len().div_ceil(MAX_CUTS).max(1);
    let cut = |words: usize| {
        let mut image = before.clone();
        for &word in &changed[..words] {
            image.0[word * WORD..][..WORD].copy_from_slice(&to[word]);
        }
        image
    };
    (1..changed.len()).step_by(interval).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_over_several_words_is_torn_between_any_two_of_them() {
        let (before, after) = (Image(vec![0; 32]), Image([vec![1; 24], vec![0; 8]].concat()));
        let torn = torn(&before, &after);
        assert_eq!(
            torn,
            [[vec![1; 8], vec![0; 24]].concat(), [vec![1; 16], vec![0; 16]].concat()].map(Image)
        );
    }
}
