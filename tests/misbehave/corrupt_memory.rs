//! Writes random words to all shared memory that an analysis may write.

use crate::control_pipes::ControlPipes;
use bulkhead_proto::{
    shm::{
        access::{ReadWords as _, WriteWords as _},
        segment::{Kind, ReadWrite},
    },
    worker::fds::{FdName, InheritedFds},
};
use fastrand::Rng;
use std::{process::abort, sync::atomic::Ordering};

/// Overwrites all segments once, then random words until the process is killed. The pipes stay open.
pub(crate) fn corrupt_forever(_pipes: ControlPipes, fds: InheritedFds) {
    let segments = map(fds);
    let mut rng = Rng::with_seed(1);
    overwrite(&segments, &mut rng);
    println!("memory corrupted");
    loop {
        let segment = &segments[rng.usize(..segments.len())];
        segment.store(rng.usize(..segment.words()), random_word(&mut rng), Ordering::Relaxed);
    }
}

/// Overwrites all segments once and aborts.
pub(crate) fn corrupt_and_die(_pipes: ControlPipes, fds: InheritedFds) {
    overwrite(&map(fds), &mut Rng::with_seed(2));
    abort();
}

fn map(mut fds: InheritedFds) -> [ReadWrite; 2] {
    [(FdName::Cursor, Kind::Cursor), (FdName::State, Kind::State)]
        .map(|(name, kind)| ReadWrite::map(fds.take(name).unwrap(), kind).unwrap())
}

fn overwrite(segments: &[ReadWrite], rng: &mut Rng) {
    for segment in segments {
        for index in 0..segment.words() {
            segment.store(index, random_word(rng), Ordering::Relaxed);
        }
    }
}

/// A word of random length: small numbers pass more checks than random bits. Never 0: a table of zeroes is valid and
/// empty.
fn random_word(rng: &mut Rng) -> u64 {
    let bits = *rng.choice(&[1, 3, 8, 32, 62, 64]).unwrap_or(&64);
    (rng.u64(..) >> (64 - bits)).max(1)
}
