//! The restart budget: back-off and parking, and what counts as progress.

use crate::{
    core::{
        death::decision::Decision,
        model::{
            ExitStatus, GenerationState, LogRecord, Millis, PostMortem, Process, RestartBudget,
            RestartDecision, WorkerId,
            policy::{
                BACKOFF_STEP, HEALTHY_AFTER, IDLE_HEALTHY_AFTER, MAX_LIMIT, PARKED_RETRY_INTERVAL,
                START_SPACING,
            },
        },
        mutant::{self, Mutant},
        transition::Transition,
    },
    display::{format_count, format_duration},
};
use bulkhead_proto::wire::{cause::Cause, role::Role};
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
}

impl Transition<'_> {
    /// Whether the generation made progress since the last death of its worker, or was healthy. A hung
    /// generation was not healthy, however long it ran.
    pub(in crate::core) fn made_progress(
        &self,
        id: WorkerId,
        process: &Process,
        cause: Cause,
        was_stopping: bool,
        exit: ExitStatus,
        post_mortem: &PostMortem,
    ) -> bool {
        let Some(activated) = process.activated else { return false };
        let ran = self.now.mono.since(activated);
        let worker = self.worker(id);
        // A program does not SIGKILL itself. If neither the supervisor nor the kernel's OOM killer sent it,
        // an operator did: the program is not at fault.
        let killed = exit.is_kill() && !post_mortem.out_of_memory && !was_stopping;
        let not_at_fault = killed || ran >= IDLE_HEALTHY_AFTER;
        let advanced = match worker.role {
            Role::Analytics => {
                post_mortem.committed > worker.restart_budget.committed
                    || (post_mortem.committed == post_mortem.head && not_at_fault)
            }
            Role::Api => post_mortem.head > worker.restart_budget.head || killed,
            Role::Plain => false,
        };
        let healthy = ran >= HEALTHY_AFTER && cause != Cause::Hang;
        (advanced || healthy) && !mutant::is(Mutant::IgnoreProgress)
    }

    /// Counts a death, and decides about the next start.
    pub(in crate::core) fn count_death(&mut self, id: WorkerId, progress: bool) -> Decision {
        if progress {
            self.worker_mut(id).restart_budget.clear();
            let retry = self.retry_after(id, self.state.policy.initial);
            return Decision::new(retry, "progress since the last death");
        }
        let now = self.now.mono;
        let (period, limit) = (self.state.policy.period, self.state.policy.limit.clamp(1, MAX_LIMIT));
        let restart_budget = &mut self.worker_mut(id).restart_budget;
        restart_budget.recent.retain(|death| now.since(*death) < period);
        restart_budget.recent.push(now);
        restart_budget.failures = restart_budget.failures.saturating_add(1);
        let deaths = u32::try_from(restart_budget.recent.len()).unwrap_or(u32::MAX);
        if (restart_budget.on_probation || deaths >= limit) && !mutant::is(Mutant::NeverPark) {
            restart_budget.recent.clear();
            let why = if restart_budget.on_probation {
                "the retry of a parked worker died without progress".to_owned()
            } else {
                format!(
                    "{} without progress within {}",
                    format_count(deaths, "death"),
                    format_duration(period)
                )
            };
            let parked = GenerationState::Parked { retry_at: Some(now.after(PARKED_RETRY_INTERVAL)) };
            return Decision::new((parked, RestartDecision::Parked(Some(PARKED_RETRY_INTERVAL))), why);
        }
        let failures = restart_budget.failures;
        let delay = self.backoff(failures);
        let why = match failures {
            1 => "first death without progress".to_owned(),
            _ => format!("{failures} deaths in a row without progress"),
        };
        Decision::new(self.retry_after(id, delay), why)
    }

    /// A new generation after this delay, and not before [`START_SPACING`] allows it.
    pub(in crate::core) fn retry_after(
        &mut self,
        id: WorkerId,
        delay: Duration,
    ) -> (GenerationState, RestartDecision) {
        let now = self.now.mono;
        let earliest = if mutant::is(Mutant::NeverBackOff) {
            Millis(0)
        } else {
            self.worker(id).started.after(START_SPACING)
        };
        let until = now.after(delay).max(earliest);
        let delay = until.since(now);
        (GenerationState::Backoff { until }, RestartDecision::restart_in(delay))
    }

    /// The delay after this number of consecutive deaths: `initial`, then doubling steps, at most `max`. Half
    /// of each step is random, so that workers that died together restart apart.
    fn backoff(&mut self, failures: u32) -> Duration {
        let (initial, max) = (self.state.policy.initial, self.state.policy.max);
        if mutant::is(Mutant::NeverBackOff) {
            return Duration::ZERO;
        }
        if failures <= 1 {
            return initial.min(max);
        }
        let doublings = (failures - 2).min(MAX_DOUBLINGS);
        let whole = initial.max(BACKOFF_STEP).saturating_mul(1 << doublings).min(max);
        let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
        let random = self.random() % half.saturating_add(1);
        whole.saturating_sub(Duration::from_millis(random))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): one word of state, good enough for jitter.
    fn random(&mut self) -> u64 {
        self.state.jitter = self.state.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state.jitter;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A retried generation has passed its probation.
    pub(in crate::core) fn on_recovered(&mut self, id: WorkerId) {
        self.worker_mut(id).restart_budget.clear();
        if let Some(process) = self.worker(id).main.process() {
            let subject = self.generation_ref(id, process);
            self.log(LogRecord::WorkerRecovered(subject));
        }
    }
}
