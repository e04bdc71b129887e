//! The restart budget: how many deaths without progress are allowed, the back-off between restarts, and what
//! counts as progress.

use crate::{
    core::{
        death::exited::ExitedProcess,
        model::{
            Millis, Policy, PostMortem, RestartBudget,
            policy::{BACKOFF_STEP, HEALTHY_AFTER, IDLE_HEALTHY_AFTER, MAX_LIMIT},
        },
    },
    display::{format_count, format_duration},
};
use bulkhead_proto::{
    splitmix64::random,
    wire::{cause::Cause, role::Role},
};
use std::time::Duration;

/// Enough doublings to reach any sane `max`.
const MAX_DOUBLINGS: u32 = 20;

impl RestartBudget {
    /// Forgets all deaths.
    pub(in crate::core) fn clear(&mut self) {
        self.recent.clear();
        self.failures = 0;
        self.on_probation = false;
    }

    /// Whether the generation made progress since the last death of its worker, or was healthy. A hung
    /// generation was not healthy, however long it ran. Records how far an active generation came.
    pub(in crate::core) fn record_progress(
        &mut self,
        role: Role,
        exited: &ExitedProcess,
        cause: Cause,
        post_mortem: &PostMortem,
        now: Millis,
    ) -> bool {
        let Some(activated) = exited.process.activated else { return false };
        let ran = now.since(activated);
        // A program does not SIGKILL itself. If neither the supervisor nor the kernel's OOM killer sent it,
        // an operator did: the program is not at fault.
        let killed =
            post_mortem.exit.is_kill() && !post_mortem.out_of_memory && exited.process.stop().is_none();
        let not_at_fault = killed || ran >= IDLE_HEALTHY_AFTER;
        let &PostMortem { committed, head, .. } = post_mortem;
        let advanced = match role {
            Role::Analytics => committed > self.committed || (committed == head && not_at_fault),
            Role::Api => head > self.head || killed,
            Role::Plain => false,
        };
        (self.committed, self.head) = (committed, head);
        advanced || (ran >= HEALTHY_AFTER && cause != Cause::Hang)
    }

    /// Counts a death. Returns the delay until the next start, or `None` if the worker is to be parked, and the
    /// reason.
    pub(in crate::core) fn count_death(
        &mut self,
        progress: bool,
        policy: &Policy,
        jitter: &mut u64,
        now: Millis,
    ) -> (Option<Duration>, String) {
        if progress {
            self.clear();
            return (Some(policy.initial), "progress since the last death".to_owned());
        }
        self.recent.retain(|death| now.since(*death) < policy.period);
        self.recent.push(now);
        self.failures = self.failures.saturating_add(1);
        let deaths = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if self.on_probation {
            self.recent.clear();
            return (None, "the retry of a parked worker died without progress".to_owned());
        }
        if deaths >= policy.limit.clamp(1, MAX_LIMIT) {
            self.recent.clear();
            let (deaths, period) = (format_count(deaths, "death"), format_duration(policy.period));
            return (None, format!("{deaths} without progress within {period}"));
        }
        let why = match self.failures {
            1 => "first death without progress".to_owned(),
            failures => format!("{failures} deaths in a row without progress"),
        };
        (Some(backoff(self.failures, policy, jitter)), why)
    }
}

/// The delay after this number of consecutive deaths: `initial`, then doubling steps, at most `max`. Half
/// of each step is random, so that workers that died together restart apart.
fn backoff(failures: u32, &Policy { initial, max, .. }: &Policy, jitter: &mut u64) -> Duration {
    if failures <= 1 {
        return initial.min(max);
    }
    let doublings = (failures - 2).min(MAX_DOUBLINGS);
    let whole = initial.max(BACKOFF_STEP).saturating_mul(1 << doublings).min(max);
    let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    whole.saturating_sub(Duration::from_millis(random(jitter) % half.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_that_of_splitmix64() {
        let mut state = 0;
        let outputs = [(); 3].map(|()| random(&mut state));
        assert_eq!(outputs, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn the_later_half_of_each_delay_is_random() {
        let policy = Policy { initial: Duration::ZERO, max: Duration::from_secs(3600), ..Policy::default() };
        let whole = BACKOFF_STEP * 8;
        let mut jitter = 0;
        let delays = [(); 100].map(|()| backoff(5, &policy, &mut jitter));
        assert!(delays.iter().all(|delay| (whole / 2..=whole).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay < whole * 5 / 8), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay > whole * 7 / 8), "{delays:?}");
    }
}
