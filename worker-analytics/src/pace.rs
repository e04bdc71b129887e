//! When to commit: often enough for people, seldom enough to be cheap.

use std::time::{Duration, Instant};

/// A commit is followed by this many times its own duration without one: so commits take 4 % of the time at most…
const CHEAP: u32 = 24;

/// …unless what is shown would become older than this. 100 ms is what a person notices; the rest is for the commit itself.
const FRESH: Duration = Duration::from_millis(80);

/// The events that may pass between two looks at the clock, which takes as long as a quick `apply` does.
const MOST_EVENTS: u32 = 16;

/// Every other event there is a glance at the kernel's coarse clock, which costs next to nothing: events that are suddenly
/// slow are noticed behind the second. So however slow they are, short of a hang, commits come as often as the supervisor
/// asks for: twice `hang_timeout` apart at most, and a second.
const GLANCE: u32 = 2;

/// By that clock, time for a look: longer than one of its ticks on any kernel.
const LATE: Duration = Duration::from_millis(20);

/// When that many events took longer than this, the clock is looked at more often.
const SLOW: Duration = Duration::from_millis(1);

/// Spaces the commits of one generation.
#[derive(Debug)]
pub(crate) struct Pace {
    due: Instant,
    looked: Instant,
    /// The coarse clock at the last look.
    glanced: Duration,
    stride: u32,
    left: u32,
}

impl Pace {
    /// The first commit is due at once: a successor shows as soon as possible that it moves on.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due: now, looked: now, glanced: Duration::ZERO, stride: 1, left: 1 }
    }

    /// How long until a commit is due; zero when it is.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// To be called after each event: true when it is time to look at the clock, and around.
    pub(crate) fn counts(&mut self, coarse: impl FnOnce() -> Duration) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0 || self.left.is_multiple_of(GLANCE) && coarse().saturating_sub(self.glanced) > LATE
    }

    /// Says what the clocks show. The stride to the next look follows the speed of the events.
    pub(crate) fn looks(&mut self, now: Instant, coarse: Duration) {
        self.glanced = coarse;
        let slow = now.saturating_duration_since(self.looked) > SLOW;
        self.stride = if slow { (self.stride / 2).max(1) } else { (self.stride * 2).min(MOST_EVENTS) };
        (self.left, self.looked) = (self.stride, now);
    }

    /// Says that a commit took from `start` to `end`.
    pub(crate) fn committed(&mut self, start: Instant, end: Instant) {
        self.due = end + (end.saturating_duration_since(start) * CHEAP).min(FRESH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commit_is_due_at_once() {
        let now = Instant::now();
        assert_eq!(Pace::new(now).wait(now), Duration::ZERO);
    }

    #[test]
    fn a_commit_is_followed_by_a_multiple_of_its_own_time_but_never_by_more_than_people_notice() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for (cost, wait) in [(10, 240), (1_000, 24_000), (50_000, 80_000)] {
            let end = start + Duration::from_micros(cost);
            pace.committed(start, end);
            assert_eq!(pace.wait(end), Duration::from_micros(wait));
            assert_eq!(pace.wait(end + FRESH), Duration::ZERO);
        }
    }

    #[test]
    fn the_clock_is_looked_at_seldom_when_events_are_quick_and_after_each_one_when_they_are_slow() {
        let zero = Instant::now();
        let mut now = zero;
        let mut pace = Pace::new(now);
        let mut events_until_a_look = |pace: &mut Pace, cost| {
            let mut events = 0;
            loop {
                (events, now) = (events + 1, now + cost);
                if pace.counts(|| now - zero) {
                    pace.looks(now, now - zero);
                    return events;
                }
            }
        };
        let quick = [0; 10].map(|_| events_until_a_look(&mut pace, Duration::from_nanos(100)));
        assert_eq!(quick, [1, 2, 4, 8, 16, 16, 16, 16, 16, 16]);
        let slow = [0; 6].map(|_| events_until_a_look(&mut pace, Duration::from_millis(2)));
        assert_eq!(slow, [12, 8, 4, 2, 1, 1]);
        let quick = [0; 5].map(|_| events_until_a_look(&mut pace, Duration::from_nanos(100)));
        assert_eq!(quick, [1, 2, 4, 8, 16]);
        assert_eq!(events_until_a_look(&mut pace, Duration::from_secs(4)), 2);
    }
}
