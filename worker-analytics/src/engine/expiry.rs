//! The expiry of series: a series that got no event for `analytics.expire` ends. Its next event begins it anew.
//!
//! What is counted does not depend on when this process looks: an event that arrives too late begins its series anew, whether
//! the series was removed before or not. The sweep (`sweep.rs`) removes series that have ended from the table. It compares
//! times of arrival, also with events that are still in the ring, so a late analysis removes nothing too early.

use std::{mem, ops::Range, time::Duration};

/// The slots that one step looks at. A step takes less than a millisecond.
const STEP_SLOTS: u32 = 256;

/// Rounds over the table are at least this part of `analytics.expire` apart, and so are the end of a series and its removal.
const ROUNDS_PER_EXPIRY: i64 = 16;

/// The shortest time between two rounds, in milliseconds.
const MIN_INTERVAL: i64 = 1_000;

/// When series expire, and how far the sweep has come. Times are Unix milliseconds.
#[derive(Debug)]
pub(super) struct Expiry {
    /// The configured time; `None`: series do not expire.
    after: Option<i64>,
    /// When the next step is due.
    due_at: i64,
    /// The first slot of the next step.
    next_slot: u32,
    /// The oldest last arrival that this round found.
    oldest: i64,
    /// Series that were removed since the last report.
    removed: u64,
}

impl Expiry {
    pub(super) fn new(after_ms: Option<u64>) -> Self {
        let after = after_ms.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
        Self { after, due_at: i64::MIN, next_slot: 0, oldest: i64::MAX, removed: 0 }
    }

    /// Whether a series with this last arrival has ended at `now`.
    pub(super) fn has_ended(&self, last_arrival: i64, now: i64) -> bool {
        self.after.is_some_and(|after| now.saturating_sub(last_arrival) >= after)
    }

    /// Counts a series that was removed.
    pub(super) const fn count(&mut self) {
        self.removed += 1;
    }

    /// The time until the next step of the sweep; `None`: there is none.
    pub(super) fn due_in(&self, now: i64) -> Option<Duration> {
        let (after, wait) = (self.after?, self.due_at.saturating_sub(now));
        // A longer wait was never set: the clock was set back meanwhile.
        let wait = if wait > after.saturating_add(self.interval()) { 0 } else { wait };
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)))
    }

    /// The slots of the next step, if it is due, among this many.
    pub(super) fn next_step(&self, slots: u32, now: i64) -> Option<Range<u32>> {
        self.due_in(now).filter(Duration::is_zero)?;
        Some(self.next_slot..self.next_slot.saturating_add(STEP_SLOTS).min(slots))
    }

    /// Whether a series with this last arrival ended a whole interval ago: no event in the ring belongs to it, if none of them
    /// arrived earlier than `now` by more than the interval of the rounds.
    pub(super) fn is_removable(&mut self, last_arrival: i64, now: i64) -> bool {
        let removable = self.has_ended(last_arrival, now.saturating_sub(self.interval()));
        if !removable {
            self.oldest = self.oldest.min(last_arrival);
        }
        removable
    }

    /// The slots before `end` have been looked at.
    pub(super) fn end_step(&mut self, end: u32, slots: u32, now: i64) {
        self.next_slot = end;
        if end >= slots {
            self.end_round(now);
        }
    }

    fn interval(&self) -> i64 {
        (self.after.unwrap_or(0) / ROUNDS_PER_EXPIRY).max(MIN_INTERVAL)
    }

    fn end_round(&mut self, now: i64) {
        let (after, interval) = (self.after.unwrap_or(0), self.interval());
        let next_end = self.oldest.min(now).saturating_add(after).saturating_add(interval);
        self.due_at = next_end.max(now.saturating_add(interval));
        (self.next_slot, self.oldest) = (0, i64::MAX);
        let removed = mem::take(&mut self.removed);
        if removed > 0 {
            tracing::info!(
                event_name = "series_expired",
                series = removed,
                "series_expired: {removed} series got no event for analytics.expire, and are removed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    #[test]
    fn without_a_configured_time_nothing_ends() {
        let expiry = Expiry::new(None);
        assert!(!expiry.has_ended(0, i64::MAX));
        assert_eq!(expiry.due_in(0), None);
    }

    #[test]
    fn a_series_ends_exactly_after_the_configured_time() {
        let expiry = Expiry::new(Some(1_000));
        assert!(!expiry.has_ended(0, 999));
        assert!(expiry.has_ended(0, 1_000));
        assert!(!expiry.has_ended(i64::MAX, i64::MIN), "the clock was set back");
    }

    #[test]
    fn the_next_round_is_due_when_the_oldest_series_is_safely_past_its_end() {
        let mut expiry = Expiry::new(Some(32 * DAY as u64));
        assert_eq!(expiry.due_in(0), Some(Duration::ZERO), "the first round begins at once");
        let now = 100 * DAY;
        expiry.oldest = now - DAY;
        expiry.end_round(now);
        assert_eq!(expiry.due_in(now), Some(Duration::from_millis((31 + 2) * DAY as u64)));
        // A series that ended a moment ago waits for the next round.
        expiry.oldest = now - 32 * DAY;
        expiry.end_round(now);
        assert_eq!(expiry.due_in(now), Some(Duration::from_millis(2 * DAY as u64)));
        // The clock was set back by more than the longest wait: this one is over.
        assert_eq!(expiry.due_in(now - 40 * DAY), Some(Duration::ZERO));
        // Without a series, the next one can end after the configured time at the earliest.
        expiry.end_round(now);
        assert_eq!(expiry.due_in(now), Some(Duration::from_millis(34 * DAY as u64)));
    }
}
