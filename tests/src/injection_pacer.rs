//! Spreads fault injections over a load: the load generators neither finish before the injections, nor wait for each one.

use crate::log::DEADLINE;
use fastrand::Rng;
use std::sync::{Condvar, Mutex, MutexGuard};

/// The number of injections that may be due and not yet done. Work continues while a fault is injected.
const MAX_OVERDUE: usize = 2;

/// A known amount of work, with a threshold for each injection at a random place in it.
pub struct InjectionPacer {
    thresholds: Vec<usize>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    begun: usize,
    done: usize,
    injected: usize,
    /// The work cannot continue before the next injection.
    stalled: bool,
}

impl InjectionPacer {
    /// A pacer for this amount of work and this number of injections.
    #[must_use]
    pub fn new(work: usize, injections: usize, rng: &mut Rng) -> Self {
        let mut thresholds: Vec<usize> = (0..injections).map(|_| rng.usize(..work * 9 / 10)).collect();
        thresholds.sort_unstable();
        Self { thresholds, progress: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until a load generator may begin this amount of work.
    pub fn begin_work(&self, amount: usize) {
        let mut progress = self.wait(|progress| {
            self.thresholds
                .get(progress.injected + MAX_OVERDUE)
                .is_none_or(|threshold| progress.begun <= *threshold)
        });
        progress.begun += amount;
    }

    /// Records that this amount of work is done.
    pub fn end_work(&self, amount: usize) {
        self.progress.lock().unwrap().done += amount;
        self.changed.notify_all();
    }

    /// Records that the work cannot continue before the next injection, which is due at once.
    pub fn stall(&self) {
        self.progress.lock().unwrap().stalled = true;
        self.changed.notify_all();
    }

    /// Calls `inject` for each injection when it is due.
    pub fn inject_each<I>(&self, injections: impl IntoIterator<Item = I>, mut inject: impl FnMut(I)) {
        for injection in injections {
            self.wait_until_due();
            inject(injection);
            self.record_injection();
        }
    }

    fn wait_until_due(&self) {
        drop(self.wait(|progress| {
            let threshold = self.thresholds.get(progress.injected);
            progress.stalled || threshold.is_none_or(|threshold| progress.done >= *threshold)
        }));
    }

    fn record_injection(&self) {
        let mut progress = self.progress.lock().unwrap();
        progress.injected += 1;
        progress.stalled = false;
        drop(progress);
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Progress) -> bool) -> MutexGuard<'_, Progress> {
        let progress = self.progress.lock().unwrap();
        let (progress, waited) =
            self.changed.wait_timeout_while(progress, DEADLINE, |progress| !until(progress)).unwrap();
        assert!(
            !waited.timed_out(),
            "work and injections wait for each other: did one of their threads fail?"
        );
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injection_is_due_at_once_when_the_work_has_stalled() {
        let pacer = InjectionPacer::new(1_000, 2, &mut Rng::with_seed(1));
        assert!(pacer.thresholds[0] > 0);
        let mut injected = Vec::new();
        pacer.stall();
        pacer.inject_each([1], |injection| injected.push(injection));
        assert_eq!(injected, [1]);
        assert!(!pacer.progress.lock().unwrap().stalled, "the next one waits for work again");
    }
}
