//! The decision after a death: what becomes of the slot, and why.

use crate::core::{
    death::{classify::Classification, decision::Decision, exited::ExitedProcess},
    model::{DesiredState, GenerationState, RestartDecision, StopReason, SupervisorPhase, WorkerSlot},
    transition::Transition,
};
use bulkhead_proto::wire::cause::Cause;
use std::time::Duration;

impl Transition<'_> {
    /// Decides what becomes of the slot.
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

    /// Decides for the main slot. A live successor moves into it.
    fn decide_main(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        let alone = self.decide_alone(exited, classification, progress);
        let requested = matches!(exited.stopping, Some((StopReason::Requested(_), ..)));
        let successor = self.worker_mut(exited.slot_id.worker).successor.take();
        match successor {
            Some(
                live_successor @ (GenerationState::Starting { .. }
                | GenerationState::Standby { .. }
                | GenerationState::Running { .. }
                | GenerationState::Stopping { .. }),
            ) => {
                // If the worker would be parked, the successor is its retry.
                self.worker_mut(exited.slot_id.worker).restart_budget.on_probation |=
                    matches!(alone.slot_state, GenerationState::Parked { .. });
                let next = next_with_successor(&live_successor, alone.next);
                Decision::new((live_successor, next), "a successor is already started")
            }
            // The successor died while its predecessor was stopping; its own retry is scheduled.
            Some(GenerationState::Backoff { until }) if requested => {
                let next = RestartDecision::restart_in(until.since(self.now.mono));
                Decision::new(
                    (GenerationState::Backoff { until }, next),
                    "the successor died and is tried again",
                )
            }
            // The worker made progress meanwhile, so parking does not apply.
            Some(GenerationState::Parked { retry_at: Some(_) }) if requested && progress => {
                self.worker_mut(exited.slot_id.worker).restart_budget.clear();
                alone
            }
            Some(GenerationState::Parked { retry_at }) if requested => {
                let next = RestartDecision::Parked(retry_at.map(|retry_at| retry_at.since(self.now.mono)));
                Decision::new((GenerationState::Parked { retry_at }, next), "the successor is parked")
            }
            // Not spawned yet, and no longer needed.
            Some(
                GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. },
            )
            | None => alone,
        }
    }

    /// A successor that dies leaves a running predecessor in place. If the predecessor is stopping already,
    /// the death is decided as if the successor were alone.
    fn decide_successor(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        if let GenerationState::Running { process } = &self.worker(exited.slot_id.worker).main {
            let next = RestartDecision::Predecessor(process.generation);
            // A stopped successor leaves its slot empty.
            return Decision::new((GenerationState::Stopped, next), "its predecessor is still running");
        }
        self.decide_alone(exited, classification, progress)
    }

    /// Decides without regard to the other slot.
    fn decide_alone(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        let id = exited.slot_id.worker;
        if self.state.phase != SupervisorPhase::Up {
            return Decision::new(
                (GenerationState::Stopped, RestartDecision::Shutdown),
                "the supervisor is stopping",
            );
        }
        let unwanted = match self.worker(id).desired {
            DesiredState::Running => None,
            DesiredState::Stopped => Some("stopped by command"),
            DesiredState::Removed => Some("the worker is no longer configured"),
        };
        if let Some(why) = unwanted {
            return Decision::new((GenerationState::Stopped, RestartDecision::Stopped), why);
        }
        match &exited.stopping {
            // The process was stopping, and the worker was started again meanwhile.
            Some((StopReason::Requested(request), ..)) => {
                let why =
                    format!("a requested stop is complete ({}), and the worker is to run", request.text());
                return Decision::new(self.retry_after(id, Duration::ZERO), why);
            }
            Some((StopReason::Killed { .. }, ..)) | None => {}
        }
        // The death of an outdated generation says nothing about its replacement.
        if self.worker(id).is_outdated(exited.process.generation) {
            let why = "the generation was being replaced";
            return Decision::new(self.retry_after(id, Duration::ZERO), why);
        }
        if !classification.retry {
            let parked = (GenerationState::Parked { retry_at: None }, RestartDecision::Parked(None));
            return Decision::new(parked, "a retry cannot help");
        }
        if classification.cause == Cause::Requested {
            let again = self.retry_after(id, self.state.policy.initial);
            return Decision::new(again, "the death was requested and does not count");
        }
        self.count_death(id, progress)
    }
}

/// The decision if a live successor exists. `otherwise` is the decision without it.
fn next_with_successor(successor: &GenerationState, otherwise: RestartDecision) -> RestartDecision {
    match successor {
        GenerationState::Starting { process, .. }
        | GenerationState::Standby { process }
        | GenerationState::Running { process } => RestartDecision::Successor(process.generation),
        // The successor is stopping as well; the worker starts again after that.
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
