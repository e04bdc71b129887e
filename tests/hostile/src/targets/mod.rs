//! The targets, by name.

mod consumer;
mod cursor;
mod frames;
mod seqlock;
mod snapshot;
mod state;

use crate::honest::Honest;

/// One target: takes any bytes, and panics when a property does not hold.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the target, of its fuzz binary and of its corpus directory.
    pub name: &'static str,
    /// Runs the target on these bytes.
    pub run: fn(&[u8]),
    /// The number of seeded inputs in the tests; they take about a second.
    pub inputs: usize,
}

/// All targets. Those with the suffix `_concurrent` use a second thread.
pub const ALL: &[Target] = &[
    Target { name: "consumer", run: consumer::alone, inputs: 3_000 },
    Target { name: "consumer_concurrent", run: consumer::concurrent, inputs: 40 },
    Target { name: "state", run: state::alone, inputs: 1_500 },
    Target { name: "state_concurrent", run: state::concurrent, inputs: 60 },
    Target { name: "cursor", run: cursor::alone, inputs: 3_000 },
    Target { name: "cursor_concurrent", run: cursor::concurrent, inputs: 80 },
    Target { name: "frames", run: frames::alone, inputs: 50_000 },
    Target { name: "frames_concurrent", run: frames::concurrent, inputs: 400 },
    Target { name: "seqlock", run: seqlock::alone, inputs: 3_000 },
    Target { name: "seqlock_concurrent", run: seqlock::concurrent, inputs: 80 },
    Target { name: "snapshot", run: snapshot::alone, inputs: 300 },
    Target { name: "snapshot_concurrent", run: snapshot::concurrent, inputs: 40 },
];

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}

thread_local! {
    static HONEST: Honest = Honest::new().expect("the honest memory can be created");
}

/// Runs `work` on this thread's honest memory. `work` may corrupt it.
fn with_honest<T>(work: impl FnOnce(&Honest) -> T) -> T {
    HONEST.with(|honest| {
        honest.restore();
        work(honest)
    })
}
