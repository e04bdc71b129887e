//! When to commit: often enough that readers see fresh results, seldom enough that commits cost little.

use std::time::{Duration, Instant};

/// After a commit, the next one waits for this many times the commit's duration, at most [`UNNOTICED_PAUSE`].
const PAUSE_PER_COST: u32 = 24;

/// A pause of this length is not noticed: a person notices a delay of 100 ms, and 20 ms of that are left for the commit
/// itself. Up to it, commits take at most 4 % of the time.
const UNNOTICED_PAUSE: Duration = Duration::from_millis(80);

/// The next commit waits for at least this many times the commit's duration: with many changed series, results become older
/// before throughput falls. Commits take at most 10 % of the time.
const LEAST_PAUSE_PER_COST: u32 = 9;

/// The longest pause between two commits, whatever they cost. Shorter than what the supervisor allows without a commit.
const MAX_PAUSE: Duration = Duration::from_millis(800);

/// The most events between two reads of the exact clock. One read takes as long as one fast `apply`.
const MAX_BATCH: u32 = 16;

/// After every second event, the kernel's coarse clock is read, at almost no cost. So events that suddenly
/// become slow are noticed after two of them. However slow events are (short of a hang), commits come at
/// least as often as the supervisor requires: no more than twice `hang_timeout` plus one second apart.
const COARSE_CHECK_EVENTS: u32 = 2;

/// When the coarse clock has advanced by more than this, the exact clock is read. Longer than one tick on any
/// kernel.
const COARSE_LIMIT: Duration = Duration::from_millis(20);

/// A batch that took longer than this halves the batch limit; a faster one doubles it.
const SLOW_BATCH: Duration = Duration::from_millis(1);

/// Schedules the commits of one generation.
#[derive(Debug)]
pub(crate) struct CommitScheduler {
    due_at: Instant,
    /// The exact clock at its last read.
    checked_at: Instant,
    /// The coarse clock at the same moment.
    checked_at_coarse: Duration,
    /// The events of one batch: the exact clock is read after each batch.
    batch_limit: u32,
    /// The events left in this batch.
    remaining: u32,
}

impl CommitScheduler {
    /// The first commit is due immediately: a successor should show progress as early as possible.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due_at: now, checked_at: now, checked_at_coarse: Duration::ZERO, batch_limit: 1, remaining: 1 }
    }

    /// The time until a commit is due; zero if it is due.
    pub(crate) fn due_in(&self, now: Instant) -> Duration {
        self.due_at.saturating_duration_since(now)
    }

    /// Counts one event; call it after each. `true`: the batch ends here, call [`Self::on_batch_end`].
    pub(crate) fn on_event(&mut self, coarse: impl FnOnce() -> Duration) -> bool {
        self.remaining = self.remaining.saturating_sub(1);
        self.remaining == 0
            || self.remaining.is_multiple_of(COARSE_CHECK_EVENTS)
                && coarse().saturating_sub(self.checked_at_coarse) > COARSE_LIMIT
    }

    /// Starts a new batch with the current times. Its limit follows the speed of the events.
    pub(crate) fn on_batch_end(&mut self, now: Instant, coarse: Duration) {
        self.checked_at_coarse = coarse;
        let slow = now.saturating_duration_since(self.checked_at) > SLOW_BATCH;
        self.batch_limit =
            if slow { (self.batch_limit / 2).max(1) } else { (self.batch_limit * 2).min(MAX_BATCH) };
        (self.remaining, self.checked_at) = (self.batch_limit, now);
    }

    /// Schedules the next commit after one that ran from `start` to `end`.
    pub(crate) fn on_commit(&mut self, start: Instant, end: Instant) {
        let cost = end.saturating_duration_since(start);
        let fresh = (cost * PAUSE_PER_COST).min(UNNOTICED_PAUSE);
        self.due_at = end + fresh.max(cost * LEAST_PAUSE_PER_COST).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commit_is_due_at_once() {
        let now = Instant::now();
        assert_eq!(CommitScheduler::new(now).due_in(now), Duration::ZERO);
    }

    #[test]
    fn a_pause_follows_the_cost_of_the_commit_first_for_freshness_then_for_throughput() {
        let start = Instant::now();
        let mut scheduler = CommitScheduler::new(start);
        for (cost, pause) in [
            (10, 240),
            (1_000, 24_000),
            (4_000, 80_000),
            (8_000, 80_000),
            (20_000, 180_000),
            (200_000, 800_000),
        ] {
            let end = start + Duration::from_micros(cost);
            scheduler.on_commit(start, end);
            assert_eq!(scheduler.due_in(end), Duration::from_micros(pause));
            assert_eq!(scheduler.due_in(end + MAX_PAUSE), Duration::ZERO);
        }
    }

    #[test]
    fn batches_grow_while_events_are_fast_and_shrink_to_one_when_they_are_slow() {
        let zero = Instant::now();
        let mut now = zero;
        let mut scheduler = CommitScheduler::new(now);
        let mut batch_length = |scheduler: &mut CommitScheduler, cost| {
            let mut events = 0;
            loop {
                (events, now) = (events + 1, now + cost);
                if scheduler.on_event(|| now - zero) {
                    scheduler.on_batch_end(now, now - zero);
                    return events;
                }
            }
        };
        let fast = [0; 10].map(|_| batch_length(&mut scheduler, Duration::from_nanos(100)));
        assert_eq!(fast, [1, 2, 4, 8, 16, 16, 16, 16, 16, 16]);
        let slow = [0; 6].map(|_| batch_length(&mut scheduler, Duration::from_millis(2)));
        assert_eq!(slow, [12, 8, 4, 2, 1, 1]);
        let fast = [0; 5].map(|_| batch_length(&mut scheduler, Duration::from_nanos(100)));
        assert_eq!(fast, [1, 2, 4, 8, 16]);
        assert_eq!(batch_length(&mut scheduler, Duration::from_secs(4)), 2);
    }
}
