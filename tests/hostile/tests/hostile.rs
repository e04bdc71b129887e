//! Runs every target on its corpus and on seeded bytes. The bytes are the same in every run. The second
//! thread of a concurrent target does the same work in every run, but its timing differs.

use bulkhead_hostile::targets::{ALL, find};
use std::{fs, path::Path};

/// The longest seeded input, in bytes.
const LONGEST: usize = 96;

fn run(name: &str) {
    let target = find(name).expect("a target of that name");
    for bytes in corpus(name) {
        (target.run)(&bytes);
    }
    let mut random = fastrand::Rng::with_seed(
        ALL.iter().map(|target| target.name).position(|of| of == name).expect("the target is listed") as u64,
    );
    for number in 0..target.inputs {
        let mut bytes = vec![0; random.usize(..LONGEST)];
        random.fill(&mut bytes);
        // Printed before a failure, so that the input can be run alone.
        println!("input {number}: {bytes:02x?}");
        (target.run)(&bytes);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).expect("a corpus for every target");
    let files = files.map(|file| fs::read(file.expect("a file").path()).expect("its bytes"));
    files.collect()
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })+

        #[test]
        fn every_target_is_tested() {
            let names: Vec<_> = ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}

targets!(
    consumer,
    consumer_concurrent,
    state,
    state_concurrent,
    cursor,
    cursor_concurrent,
    frames,
    frames_concurrent,
    seqlock,
    seqlock_concurrent,
    snapshot,
    snapshot_concurrent,
);
