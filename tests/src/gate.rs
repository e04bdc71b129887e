//! Spreads blows over work: the workers neither finish before the blows are struck, nor wait for each one.

use crate::log::DEADLINE;
use fastrand::Rng;
use std::sync::{Condvar, Mutex, MutexGuard};

/// So many marks may be passed before the blow that belongs to the first of them: work goes on while a blow falls.
const AHEAD: usize = 2;

/// Work of a known amount, with a mark for each blow at a random place in it.
pub struct Gate {
    marks: Vec<usize>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    begun: usize,
    done: usize,
    blows: usize,
}

impl Gate {
    /// So much work and so many blows.
    #[must_use]
    pub fn new(work: usize, blows: usize, rng: &mut Rng) -> Self {
        let mut marks: Vec<usize> = (0..blows).map(|_| rng.usize(..work * 9 / 10)).collect();
        marks.sort_unstable();
        Self { marks, progress: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until this much more work may be begun.
    pub fn begin(&self, amount: usize) {
        let mut progress = self.wait(|progress| {
            self.marks.get(progress.blows + AHEAD).is_none_or(|mark| progress.begun <= *mark)
        });
        progress.begun += amount;
    }

    /// This much work is done.
    pub fn done(&self, amount: usize) {
        self.progress.lock().unwrap().done += amount;
        self.changed.notify_all();
    }

    /// Strikes so many blows, each when it is due.
    pub fn each_due<B>(&self, blows: impl IntoIterator<Item = B>, mut strike: impl FnMut(B)) {
        for blow in blows {
            self.due();
            strike(blow);
            self.struck();
        }
    }

    /// Waits until it is time for the next blow.
    fn due(&self) {
        drop(self.wait(|progress| self.marks.get(progress.blows).is_none_or(|mark| progress.done >= *mark)));
    }

    /// A blow was struck.
    fn struck(&self) {
        self.progress.lock().unwrap().blows += 1;
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Progress) -> bool) -> MutexGuard<'_, Progress> {
        let progress = self.progress.lock().unwrap();
        let (progress, waited) =
            self.changed.wait_timeout_while(progress, DEADLINE, |progress| !until(progress)).unwrap();
        assert!(!waited.timed_out(), "work and blows wait for each other: did one of their threads fail?");
        progress
    }
}
