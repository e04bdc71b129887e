//! The decision after a death: what becomes of the slot, and why. A function of the worker and of the
//! service's rules.

use crate::core::{
    death::{classify::Classification, exited::ExitedProcess},
    model::{
        DesiredState, GenerationState, Millis, Policy, Process, ProcessPhase, RestartDecision,
        SupervisorPhase, Worker, WorkerSlot,
        policy::{PARKED_RETRY_INTERVAL, STANDBY_RETRY_INTERVAL, START_SPACING},
    },
};
use bulkhead_proto::wire::cause::Cause;
use std::{mem, time::Duration};

/// What a decision depends on, beside the worker.
pub(in crate::core) struct Rules<'a> {
    pub(in crate::core) policy: &'a Policy,
    pub(in crate::core) phase: &'a SupervisorPhase,
    pub(in crate::core) jitter: &'a mut u64,
    pub(in crate::core) now: Millis,
}

/// The next state of the slot, with the reason.
pub(in crate::core) struct Decision {
    pub(in crate::core) slot_state: GenerationState,
    pub(in crate::core) next: RestartDecision,
    pub(in crate::core) why: String,
}

impl Decision {
    fn new((slot_state, next): (GenerationState, RestartDecision), why: impl Into<String>) -> Self {
        Self { slot_state, next, why: why.into() }
    }

    fn stopped(next: RestartDecision, why: impl Into<String>) -> Self {
        Self::new((GenerationState::Stopped, next), why)
    }

    /// Parked without a retry.
    fn parked(why: impl Into<String>) -> Self {
        Self::new((GenerationState::Parked { retry_at: None }, RestartDecision::Parked(None)), why)
    }
}

/// Decides what becomes of the slot of a process that has exited.
pub(in crate::core) fn decide(
    worker: &mut Worker,
    exited: &ExitedProcess,
    classification: &Classification,
    progress: bool,
    rules: Rules<'_>,
) -> Decision {
    match (exited.slot_id.slot, worker.main.running()) {
        // A successor that dies leaves a running predecessor in place. If the predecessor is stopping already,
        // the death is decided as if the successor were alone.
        (WorkerSlot::Successor, Some(process)) => {
            let next = RestartDecision::Predecessor(process.generation);
            Decision::stopped(next, "its predecessor is still running")
        }
        (WorkerSlot::Successor, None) => decide_alone(worker, exited, classification, progress, rules),
        (WorkerSlot::Standby, _) => decide_standby(worker, exited, classification, &rules),
        (WorkerSlot::Main, _) => decide_main(worker, exited, classification, progress, rules),
    }
}

/// Decides for the main slot. A live successor moves into it.
fn decide_main(
    worker: &mut Worker,
    exited: &ExitedProcess,
    classification: &Classification,
    progress: bool,
    rules: Rules<'_>,
) -> Decision {
    let now = rules.now;
    let alone = decide_alone(worker, exited, classification, progress, rules);
    let alone = with_standby(worker, alone, now);
    let requested = exited.stop_request().is_some();
    match mem::take(&mut worker.successor) {
        GenerationState::Live(process) => {
            // If the worker would be parked, the successor is its retry.
            worker.restart_budget.on_probation |= matches!(alone.slot_state, GenerationState::Parked { .. });
            let next = next_with_successor(&process, alone.next);
            Decision::new((GenerationState::Live(process), next), "a successor is already started")
        }
        // The successor died while its predecessor was stopping; its own retry is scheduled.
        GenerationState::Backoff { until } if requested => {
            let next = RestartDecision::restart_in(until.since(now));
            Decision::new((GenerationState::Backoff { until }, next), "the successor died and is tried again")
        }
        // The worker made progress meanwhile, so parking does not apply.
        GenerationState::Parked { retry_at: Some(_) } if requested && progress => {
            worker.restart_budget.clear();
            alone
        }
        GenerationState::Parked { retry_at } if requested => {
            let next = RestartDecision::Parked(retry_at.map(|retry_at| retry_at.since(now)));
            Decision::new((GenerationState::Parked { retry_at }, next), "the successor is parked")
        }
        // Not spawned yet, and no longer needed.
        GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. } => alone,
    }
}

/// A start that is due at once takes the standby.
fn with_standby(worker: &Worker, alone: Decision, now: Millis) -> Decision {
    match (&alone.slot_state, worker.usable_standby()) {
        (GenerationState::Backoff { until }, Some(standby)) if *until <= now => {
            Decision { next: RestartDecision::Successor(standby.generation), ..alone }
        }
        _ => alone,
    }
}

/// Decides for a standby: the main slot is not affected.
fn decide_standby(
    worker: &Worker,
    exited: &ExitedProcess,
    classification: &Classification,
    rules: &Rules<'_>,
) -> Decision {
    if *rules.phase != SupervisorPhase::Up {
        return Decision::stopped(RestartDecision::Shutdown, "the supervisor is stopping");
    }
    if exited.stop_request().is_some() || worker.desired != DesiredState::Running {
        return Decision::stopped(RestartDecision::Stopped, "the standby was asked to stop");
    }
    if !classification.retry {
        let parked = (GenerationState::Parked { retry_at: None }, RestartDecision::Stopped);
        return Decision::new(
            parked,
            "it was the standby, and a retry cannot help: the worker continues without one",
        );
    }
    let until = rules.now.after(STANDBY_RETRY_INTERVAL);
    let next = RestartDecision::NextStandby(STANDBY_RETRY_INTERVAL);
    Decision::new(
        (GenerationState::Backoff { until }, next),
        "it was the standby: the worker is not affected",
    )
}

/// Decides without regard to the other slot.
fn decide_alone(
    worker: &mut Worker,
    exited: &ExitedProcess,
    classification: &Classification,
    progress: bool,
    Rules { policy, phase, jitter, now }: Rules<'_>,
) -> Decision {
    if *phase != SupervisorPhase::Up {
        return Decision::stopped(RestartDecision::Shutdown, "the supervisor is stopping");
    }
    match worker.desired {
        DesiredState::Running => {}
        DesiredState::Stopped => return Decision::stopped(RestartDecision::Stopped, "stopped by command"),
        DesiredState::Removed => {
            return Decision::stopped(RestartDecision::Stopped, "the worker is no longer configured");
        }
    }
    if let Some(why) = &worker.poison_tracker.brake.engaged {
        return Decision::parked(format!("the brake is engaged: {why}"));
    }
    // The process was stopping, and the worker was started again meanwhile.
    if let Some(request) = exited.stop_request() {
        let why = format!("a requested stop is complete ({}), and the worker is to run", request.text());
        return Decision::new(retry_after(worker, Duration::ZERO, now), why);
    }
    // The death of an outdated generation says nothing about its replacement.
    if worker.is_outdated(exited.process.generation) {
        return Decision::new(retry_after(worker, Duration::ZERO, now), "the generation was being replaced");
    }
    if !classification.retry {
        return Decision::parked("a retry cannot help");
    }
    if classification.cause == Cause::Requested {
        let why = "the death was requested and does not count";
        return Decision::new(retry_after(worker, policy.initial, now), why);
    }
    match worker.restart_budget.count_death(progress, policy, jitter, now) {
        (Some(delay), why) => Decision::new(retry_after(worker, delay, now), why),
        (None, why) => {
            let parked = GenerationState::Parked { retry_at: Some(now.after(PARKED_RETRY_INTERVAL)) };
            Decision::new((parked, RestartDecision::Parked(Some(PARKED_RETRY_INTERVAL))), why)
        }
    }
}

/// A new generation after this delay, and not before [`START_SPACING`] allows it. A standby is started already; the next one is
/// spaced from it.
fn retry_after(worker: &Worker, delay: Duration, now: Millis) -> (GenerationState, RestartDecision) {
    let spaced = worker.started.after(START_SPACING);
    let earliest = if worker.usable_standby().is_some() { now } else { spaced };
    let until = now.after(delay).max(earliest);
    (GenerationState::Backoff { until }, RestartDecision::restart_in(until.since(now)))
}

/// The decision if a live successor exists. `otherwise` is the decision without it.
fn next_with_successor(successor: &Process, otherwise: RestartDecision) -> RestartDecision {
    match (&successor.phase, otherwise) {
        (ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Running, _) => {
            RestartDecision::Successor(successor.generation)
        }
        // The successor is stopping as well; the worker starts again after that.
        (ProcessPhase::Stopping(_), RestartDecision::Parked(_)) => RestartDecision::RestartNow,
        (ProcessPhase::Stopping(_), _) => otherwise,
    }
}
