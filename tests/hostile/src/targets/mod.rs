//! The targets, by name.

mod board;
mod consumer;
mod cursor;
mod frames;
mod snapshot;
mod state;

use crate::honest::Honest;

/// One target: it takes any bytes, and panics when a property does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, that of its fuzz target and of its corpus.
    pub name: &'static str,
    /// What it does with the bytes.
    pub run: fn(&[u8]),
    /// How many seeded inputs the tests give it: about a second of them.
    pub inputs: usize,
}

/// All of them; those that end in `_beside` have a second thread.
pub const ALL: &[Target] = &[
    Target { name: "consumer", run: consumer::alone, inputs: 3_000 },
    Target { name: "consumer_beside", run: consumer::beside, inputs: 40 },
    Target { name: "state", run: state::alone, inputs: 1_500 },
    Target { name: "state_beside", run: state::beside, inputs: 60 },
    Target { name: "cursor", run: cursor::alone, inputs: 3_000 },
    Target { name: "cursor_beside", run: cursor::beside, inputs: 80 },
    Target { name: "frames", run: frames::alone, inputs: 50_000 },
    Target { name: "frames_beside", run: frames::beside, inputs: 400 },
    Target { name: "board", run: board::alone, inputs: 3_000 },
    Target { name: "board_beside", run: board::beside, inputs: 80 },
    Target { name: "snapshot", run: snapshot::alone, inputs: 300 },
    Target { name: "snapshot_beside", run: snapshot::beside, inputs: 40 },
];

/// The target of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

thread_local! {
    static HONEST: Honest = Honest::new().expect("no honest memory");
}

/// Runs `work` on this thread's honest memory, which it may spoil.
fn with_honest<T>(work: impl FnOnce(&Honest) -> T) -> T {
    HONEST.with(|honest| {
        honest.restore();
        work(honest)
    })
}
