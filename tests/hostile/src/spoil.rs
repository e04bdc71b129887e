//! Spoiling: single words of an honest memory, once before it is read, or over and over while it is.

use crate::input::Input;
use bulkhead_steps::{
    image::{Image, Windows},
    world::World,
};
use std::{
    collections::HashMap,
    hint,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// No more words than this are spoiled by one input.
const MOST: usize = 24;

/// Words, with the values that are to stand there.
#[derive(Clone, Debug, Default)]
pub struct Spoils(Vec<(usize, u64)>);

/// A value that is likely to hurt where `old` stood.
fn hurtful(old: u64, input: &mut Input<'_>) -> u64 {
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

impl Spoils {
    /// Takes words in these places of an image, until the input ends.
    pub fn take(input: &mut Input<'_>, honest: &Image, places: &[Range<usize>]) -> Self {
        let mut spoils = Self::default();
        while !input.is_empty() && spoils.0.len() < MOST {
            let places = &places[input.below(places.len())];
            let place = places.start + input.below(places.len());
            spoils.0.push((place, hurtful(honest.word(place), input)));
        }
        spoils
    }

    /// How many words.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What may stand in each spoiled place besides the honest value.
    #[must_use]
    pub fn by_place(&self) -> HashMap<usize, Vec<u64>> {
        let mut places = HashMap::<_, Vec<_>>::new();
        for &(place, value) in &self.0 {
            places.entry(place).or_default().push(value);
        }
        places
    }

    /// Spoils all of them.
    pub fn spoil(&self, windows: &Windows) {
        self.0.iter().for_each(|&(place, value)| windows.store(place, value));
    }

    /// Spoils one word after the other and makes it honest again, while `read` runs in this thread.
    pub fn while_reading<T>(&self, world: &World, honest: &Image, read: impl FnOnce() -> T) -> T {
        self.beside(world, honest, |_| {}, read)
    }

    /// As [`Self::while_reading`]; between two words, the second thread also does something else.
    pub fn beside<T>(
        &self,
        world: &World,
        honest: &Image,
        mut meanwhile: impl FnMut(usize) + Send,
        read: impl FnOnce() -> T,
    ) -> T {
        let (done, begun) = (&AtomicBool::new(false), &AtomicBool::new(false));
        // A panic of `read` must end the other thread as well, or nobody would ever hear of it.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        thread::scope(|scope| {
            let spoiler = scope.spawn(move || {
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) {
                    if let Some(&(place, value)) = self.0.get(turn % self.0.len().max(1)) {
                        world.windows.store(place, value);
                        pause(turn);
                        world.windows.store(place, honest.word(place));
                    }
                    meanwhile(turn);
                    begun.store(true, Ordering::Relaxed);
                    turn += 1;
                }
            });
            let ends = Ends(done);
            while !begun.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            let found = read();
            drop(ends);
            spoiler.join().expect("it only stores");
            found
        })
    }
}

/// Now and then long enough for a reader to come by, mostly not.
fn pause(turn: usize) {
    (0..turn * 7 % 64).for_each(|_| hint::spin_loop());
}
