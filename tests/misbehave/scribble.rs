//! Random words in all the memory that an analysis may write.

use crate::Supervisor;
use bulkhead_proto::{
    shm::{
        access::{ReadWords as _, WriteWords as _},
        segment::{Kind, ReadWrite},
    },
    worker::fds::{FdName, InheritedFds},
};
use fastrand::Rng;
use std::{process::abort, sync::atomic::Ordering};

/// Scribbles as long as it lives, its pipes being open.
pub(crate) fn for_ever(_supervisor: Supervisor, fds: InheritedFds) {
    let pages = map(fds);
    let mut rng = Rng::with_seed(1);
    scribble(&pages, &mut rng);
    println!("scribbled");
    loop {
        let page = &pages[rng.usize(..pages.len())];
        page.store(rng.usize(..page.words()), word(&mut rng), Ordering::Relaxed);
    }
}

/// Scribbles over everything once, and dies of it.
pub(crate) fn and_die(_supervisor: Supervisor, fds: InheritedFds) {
    scribble(&map(fds), &mut Rng::with_seed(2));
    abort();
}

fn map(mut fds: InheritedFds) -> [ReadWrite; 2] {
    [(FdName::Cursor, Kind::Cursor), (FdName::State, Kind::State)]
        .map(|(name, kind)| ReadWrite::map(fds.take(name).unwrap(), kind).unwrap())
}

fn scribble(pages: &[ReadWrite], rng: &mut Rng) {
    for page in pages {
        for at in 0..page.words() {
            page.store(at, word(rng), Ordering::Relaxed);
        }
    }
}

/// Not only noise: small numbers pass more checks. Never 0: a table of zeroes is sound, and empty.
fn word(rng: &mut Rng) -> u64 {
    let bits = *rng.choice(&[1, 3, 8, 32, 62, 64]).unwrap_or(&64);
    (rng.u64(..) >> (64 - bits)).max(1)
}
