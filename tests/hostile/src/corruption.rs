//! Corruption: single words of an honest memory are overwritten, once before it is read, or repeatedly while
//! it is read.

use crate::input::Input;
use bulkhead_steps::{
    fixture::MemoryFixture,
    image::{Image, Windows},
};
use std::{
    collections::HashMap,
    hint,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// The largest number of words that one input corrupts.
const MAX_WORDS: usize = 24;

/// Words by their position in an image, with the values that overwrite them.
#[derive(Clone, Debug, Default)]
pub struct Corruption(Vec<(usize, u64)>);

/// A value that is likely to cause an error in place of `old`.
fn corrupt_value(old: u64, input: &mut Input<'_>) -> u64 {
    match input.byte() % 12 {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => old.wrapping_add(1),
        4 => old.wrapping_sub(1),
        5 => old ^ (1 << (input.byte() % 64)),
        6 => old << 8,
        7 => old >> 1,
        8 => old.wrapping_add(8),
        9 => old | 1 << 63,
        10 => old.rotate_left(32),
        _ => input.number(),
    }
}

impl Corruption {
    /// Chooses words in these ranges of an image, until the input ends.
    pub fn take(input: &mut Input<'_>, honest: &Image, ranges: &[Range<usize>]) -> Self {
        let mut corruption = Self::default();
        while !input.is_empty() && corruption.0.len() < MAX_WORDS {
            let ranges = &ranges[input.below(ranges.len())];
            let position = ranges.start + input.below(ranges.len());
            corruption.0.push((position, corrupt_value(honest.word(position), input)));
        }
        corruption
    }

    /// The number of words.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values that may be at each corrupted position besides the honest one.
    #[must_use]
    pub fn values_by_position(&self) -> HashMap<usize, Vec<u64>> {
        let mut ranges = HashMap::<_, Vec<_>>::new();
        for &(position, value) in &self.0 {
            ranges.entry(position).or_default().push(value);
        }
        ranges
    }

    /// Overwrites all words.
    pub fn apply(&self, windows: &Windows) {
        self.0.iter().for_each(|&(position, value)| windows.store(position, value));
    }

    /// Overwrites one word after the other and restores it, while `read` runs in this thread.
    pub fn while_reading<T>(&self, fixture: &MemoryFixture, honest: &Image, read: impl FnOnce() -> T) -> T {
        self.concurrently_with(fixture, honest, |_| {}, read)
    }

    /// As [`Self::while_reading`]; between two words, the second thread also calls `meanwhile`.
    pub fn concurrently_with<T>(
        &self,
        fixture: &MemoryFixture,
        honest: &Image,
        mut meanwhile: impl FnMut(usize) + Send,
        read: impl FnOnce() -> T,
    ) -> T {
        let (done, started) = (&AtomicBool::new(false), &AtomicBool::new(false));
        // A panic of `read` must end the other thread too; otherwise the scope would never return.
        struct SetOnDrop<'a>(&'a AtomicBool);
        impl Drop for SetOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    if let Some(&(position, value)) = self.0.get(round % self.0.len().max(1)) {
                        fixture.windows.store(position, value);
                        pause(round);
                        fixture.windows.store(position, honest.word(position));
                    }
                    meanwhile(round);
                    started.store(true, Ordering::Relaxed);
                    round += 1;
                }
            });
            let guard = SetOnDrop(done);
            while !started.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            let result = read();
            drop(guard);
            writer.join().expect("the writer thread does not panic");
            result
        })
    }
}

/// Waits, sometimes long enough for a reader to see the value, mostly not.
fn pause(round: usize) {
    (0..round * 7 % 64).for_each(|_| hint::spin_loop());
}
