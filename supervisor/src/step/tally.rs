//! Back-off and parking: deaths without progress, and what counts as progress.

use super::{
    Exit, Is, LogRecord, Millis, Next, PostMortem, Process, Turn, WorkerId,
    decision::Decision,
    mutant::{self, Mutant},
    policy::{BACKOFF_STEP, HEALTHY_AFTER, IDLE_HEALTHY_AFTER, MAX_LIMIT, PROBE_EVERY, START_SPACING},
    span,
};
use crate::step::Tally;
use bulkhead_proto::wire::{cause::Cause, role::Role};
use std::time::Duration;

/// After so many doublings every sane `max` is reached.
const MAX_DOUBLINGS: u32 = 20;

impl Tally {
    /// Forgets the deaths.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.streak = 0;
        self.probing = false;
    }
}

impl Turn<'_> {
    /// Whether this generation has moved something on since its worker's last death, or was well; one that hung was not,
    /// however long it was there. `left`: it was asked to leave, or killed for what it did.
    pub(super) fn progressed(
        &self,
        id: WorkerId,
        process: &Process,
        cause: Cause,
        left: bool,
        exit: Exit,
        seen: &PostMortem,
    ) -> bool {
        let Some(activated) = process.activated else { return false };
        let ran = self.now.mono.since(activated);
        let worker = self.worker(id);
        // SIGKILL is nothing that a program does to itself: unless it is ours, or the kernel's, it is an operator's, and no
        // bad sign.
        let killed = exit.is_kill() && !seen.out_of_memory && !left;
        let well = killed || ran >= IDLE_HEALTHY_AFTER;
        let moved = match worker.role {
            Role::Analytics => {
                seen.committed > worker.tally.committed || (seen.committed == seen.head && well)
            }
            Role::Api => seen.head > worker.tally.head || killed,
            Role::Plain => false,
        };
        let healthy = ran >= HEALTHY_AFTER && cause != Cause::Hang;
        (moved || healthy) && !mutant::is(Mutant::IgnoreProgress)
    }

    /// The next try after a death that is to be counted.
    pub(super) fn charge(&mut self, id: WorkerId, progress: bool) -> Decision {
        if progress {
            self.worker_mut(id).tally.clear();
            let again = self.retry_after(id, self.state.policy.initial);
            return Decision::new(again, "there was progress since the last death");
        }
        let now = self.now.mono;
        let (period, limit) = (self.state.policy.period, self.state.policy.limit.clamp(1, MAX_LIMIT));
        let tally = &mut self.worker_mut(id).tally;
        tally.recent.retain(|death| now.since(*death) < period);
        tally.recent.push(now);
        tally.streak = tally.streak.saturating_add(1);
        let deaths = u32::try_from(tally.recent.len()).unwrap_or(u32::MAX);
        if (tally.probing || deaths >= limit) && !mutant::is(Mutant::NeverPark) {
            tally.recent.clear();
            let why = if tally.probing {
                "it was tried while parked, and died without progress".to_owned()
            } else {
                format!("{deaths} deaths without progress within {}", span(period))
            };
            let parked = Is::Parked { probe: Some(now.after(PROBE_EVERY)) };
            return Decision::new((parked, Next::Parked(Some(PROBE_EVERY))), why);
        }
        let streak = tally.streak;
        let delay = self.backoff(streak);
        let why = match streak {
            1 => "first death without progress".to_owned(),
            _ => format!("{streak} deaths in a row without progress"),
        };
        Decision::new(self.retry_after(id, delay), why)
    }

    /// A new generation after this delay, but not before the spacing of starts allows it.
    pub(super) fn retry_after(&mut self, id: WorkerId, delay: Duration) -> (Is, Next) {
        let now = self.now.mono;
        let spaced = if mutant::is(Mutant::NeverBackOff) {
            Millis(0)
        } else {
            self.worker(id).started.after(START_SPACING)
        };
        let until = now.after(delay).max(spaced);
        let delay = until.since(now);
        (Is::Backoff { until }, Next::restart_in(delay))
    }

    /// The delay after so many deaths in a row: `initial`, then doubling steps with jitter (half of it is random, so
    /// that workers that died together do not come back together), never more than `max`.
    fn backoff(&mut self, streak: u32) -> Duration {
        let (initial, max) = (self.state.policy.initial, self.state.policy.max);
        if mutant::is(Mutant::NeverBackOff) {
            return Duration::ZERO;
        }
        if streak <= 1 {
            return initial.min(max);
        }
        let doublings = (streak - 2).min(MAX_DOUBLINGS);
        let whole = initial.max(BACKOFF_STEP).saturating_mul(1 << doublings).min(max);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        let random = self.random() % half.saturating_add(1);
        whole.saturating_sub(Duration::from_millis(random))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): one word of state, good enough to spread restarts.
    fn random(&mut self) -> u64 {
        self.state.jitter = self.state.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state.jitter;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// When a probe counts as healthy.
    pub(super) fn recovered(&mut self, id: WorkerId) {
        self.worker_mut(id).tally.clear();
        if let Some(process) = self.worker(id).main.process() {
            let who = self.who(id, process);
            self.log(LogRecord::WorkerRecovered(who));
        }
    }
}
