//! What becomes of a place whose generation is gone, and why.

use crate::core::{
    death::classify::Classification,
    death::decision::Decision,
    death::exited::ExitedProcess,
    model::{DesiredState, GenerationState, RestartDecision, StopReason, SupervisorPhase, WorkerSlot},
    mutant::{self, Mutant},
    transition::Transition,
};
use bulkhead_proto::words::Cause;
use std::time::Duration;

impl Transition<'_> {
    /// What becomes of the place that has become free, and why.
    pub(in crate::core) fn decide(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> (RestartDecision, String) {
        let Decision { slot_state, next, why } = match exited.slot_id.slot {
            WorkerSlot::Main => self.decide_main(exited, classification, progress),
            WorkerSlot::Successor => self.decide_successor(exited, classification, progress),
        };
        self.set_slot(exited.slot_id, slot_state);
        (next, why)
    }

    fn decide_main(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        let alone = self.decide_alone(exited, classification, progress);
        let asked = matches!(exited.leaving, Some((StopReason::Requested(_), ..)));
        let successor = self.worker_mut(exited.slot_id.worker).successor.take();
        match successor {
            Some(
                living @ (GenerationState::Starting { .. }
                | GenerationState::Standby { .. }
                | GenerationState::Running { .. }
                | GenerationState::Stopping { .. }),
            ) => {
                // Where the tally would have parked the worker, this one is its probe.
                self.worker_mut(exited.slot_id.worker).restart_budget.on_probation |=
                    matches!(alone.slot_state, GenerationState::Parked { .. });
                let next = next_with_successor(&living, alone.next);
                Decision::new((living, next), "its successor is there already")
            }
            // It has died while its predecessor was leaving, and its own next try is planned.
            Some(GenerationState::Backoff { until }) if asked => {
                let next = RestartDecision::restart_in(until.since(self.now.mono));
                Decision::new(
                    (GenerationState::Backoff { until }, next),
                    "its successor has died, and is tried again",
                )
            }
            // The service has moved on meanwhile, so it is not hopeless.
            Some(GenerationState::Parked { probe: Some(_) }) if asked && progress => {
                self.worker_mut(exited.slot_id.worker).restart_budget.clear();
                alone
            }
            Some(GenerationState::Parked { probe }) if asked => {
                let next = RestartDecision::Parked(probe.map(|probe| probe.since(self.now.mono)));
                Decision::new((GenerationState::Parked { probe }, next), "its successor is parked")
            }
            // Not spawned yet, and its place is not needed any more.
            Some(
                GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. },
            )
            | None => alone,
        }
    }

    /// A new generation that cannot start leaves the old one working. One that dies while the old one is leaving
    /// already is its worker's only hope, and treated so.
    fn decide_successor(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        if let GenerationState::Running { process } = &self.worker(exited.slot_id.worker).main {
            let next = RestartDecision::Predecessor(process.generation);
            // The place of a successor is empty when it is stopped.
            return Decision::new((GenerationState::Stopped, next), "it was to replace one that still works");
        }
        self.decide_alone(exited, classification, progress)
    }

    /// What a worker does after a death if it is alone.
    fn decide_alone(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        let id = exited.slot_id.worker;
        if self.state.phase != SupervisorPhase::Up && !mutant::is(Mutant::LaunchInShutdown) {
            return Decision::new(
                (GenerationState::Stopped, RestartDecision::Shutdown),
                "the supervisor is stopping",
            );
        }
        let unwanted = match self.worker(id).desired {
            DesiredState::Running => None,
            DesiredState::Stopped => Some("it was stopped by command"),
            DesiredState::Removed => Some("it is no longer in the configuration"),
        };
        if let Some(why) = unwanted.filter(|_| !mutant::is(Mutant::ForgetWanted)) {
            return Decision::new((GenerationState::Stopped, RestartDecision::Stopped), why);
        }
        match &exited.leaving {
            // It was on its way out anyhow, and is wanted again.
            Some((StopReason::Requested(asked), ..)) => {
                let why = format!("it was asked to leave ({}), and its worker shall run", asked.text());
                return Decision::new(self.retry_after(id, Duration::ZERO), why);
            }
            Some((StopReason::Killed { .. }, ..)) | None => {}
        }
        // How it died says nothing about the one that was to replace it.
        if self.worker(id).is_outdated(exited.process.generation) {
            let why = "it was to be replaced anyhow";
            return Decision::new(self.retry_after(id, Duration::ZERO), why);
        }
        if !classification.retry && !mutant::is(Mutant::RetryConfig) {
            let parked = (GenerationState::Parked { probe: None }, RestartDecision::Parked(None));
            return Decision::new(parked, "trying again cannot help");
        }
        if classification.cause == Cause::Requested && !mutant::is(Mutant::ChargeTheOperator) {
            let again = self.retry_after(id, self.state.policy.initial);
            return Decision::new(again, "it was asked for, and is held against nobody");
        }
        self.count_death(id, progress)
    }
}

/// What comes after a death where a successor is there already, instead of what was decided without it.
fn next_with_successor(successor: &GenerationState, otherwise: RestartDecision) -> RestartDecision {
    match successor {
        GenerationState::Starting { process, .. }
        | GenerationState::Standby { process }
        | GenerationState::Running { process } => RestartDecision::Successor(process.generation),
        // On its way out as well: the worker comes back after that.
        GenerationState::Stopping { .. }
        | GenerationState::Stopped
        | GenerationState::Backoff { .. }
        | GenerationState::Parked { .. } => match otherwise {
            RestartDecision::Parked(_) => RestartDecision::RestartNow,
            RestartDecision::RestartNow
            | RestartDecision::RestartIn(_)
            | RestartDecision::Successor(_)
            | RestartDecision::Predecessor(_)
            | RestartDecision::Stopped
            | RestartDecision::Shutdown => otherwise,
        },
    }
}
