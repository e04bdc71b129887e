//! The path of a death, from one stop to the next.

use crate::core::{
    death::{
        attribute::Attribution,
        classify::{Classification, classify},
        decide::{Decision, Rules, decide},
        exited::ExitedProcess,
        record::Conclusion,
    },
    model::{
        Action, GenerationRef, GenerationState, Goal, LogRecord, PostMortem, QuarantineRequest,
        RestartDecision, State, WorkerSlot,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{cause::Cause, crash::Report, ids::Generation, role::Role};
use std::mem;

impl Transition<'_> {
    /// A process has exited.
    pub(in crate::core) fn died(&mut self, generation: Generation, post_mortem: PostMortem) {
        let Some(exited) = self.take_process(generation) else { return };
        let role = self.state.role(exited.slot_id.worker);
        let classification = classify(role, &exited, &post_mortem, self.now);
        let slot_id = exited.slot_id;
        self.conclude_death(&exited, classification, post_mortem);
        self.actions.push(Action::WakeAnalytics);
        if role == Role::Api {
            // The API may have died after accepting an event and before notifying us.
            self.on_work(Role::Analytics);
        }
        self.advance_takeover(slot_id.worker);
    }

    /// A process could not be spawned. Counts as a death.
    pub(in crate::core) fn spawn_failed(&mut self, generation: Generation, error: &str, config: bool) {
        let Some(exited) = self.take_process(generation) else { return };
        let classification = Classification::spawn_failed(error, config);
        self.conclude_death(&exited, classification, PostMortem::default());
        self.advance_takeover(exited.slot_id.worker);
    }

    fn take_process(&mut self, generation: Generation) -> Option<ExitedProcess> {
        let slot_id = self.find(generation)?;
        match mem::take(self.state.slot_mut(slot_id)) {
            GenerationState::Live(process) => Some(ExitedProcess { slot_id, process: *process }),
            GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. } => {
                None
            }
        }
    }

    /// Attributes the death, decides what happens next, records both, and does what follows.
    fn conclude_death(
        &mut self,
        exited: &ExitedProcess,
        classification: Classification,
        post_mortem: PostMortem,
    ) {
        let (id, now) = (exited.slot_id.worker, self.now.mono);
        let worker = self.worker_mut(id);
        let was_parked = matches!(worker.successor, GenerationState::Parked { .. });
        let was_on_probation = worker.restart_budget.on_probation;
        let (role, cause) = (worker.role, classification.cause);
        let progress = worker.restart_budget.record_progress(role, exited, cause, &post_mortem, now);
        let mut attribution = self.attribute(exited, cause, &post_mortem);
        let engaged = self.judge(exited, &mut attribution, post_mortem.series.as_deref());
        let Decision { slot_state, next, why } = self.decide(exited, &classification, progress);
        *self.state.slot_mut(exited.slot_id) = slot_state;
        let conclusion = Conclusion { classification, attribution, next, why };
        let series = post_mortem.series.clone();
        let record = self.record_death(exited, post_mortem, conclusion);
        let (subject, text) = (self.generation_ref(id, &exited.process), summary(&record.report));
        let quarantine = attribution.filter(|attribution| attribution.quarantine);
        let request =
            quarantine.map(|attribution| quarantine_request(subject.clone(), attribution, &record.report));
        self.actions.push(Action::RecordDeath(Box::new(record)));

        self.replacement_failed(id, exited.process.generation);
        if progress && was_on_probation {
            self.log(LogRecord::WorkerRecovered(subject.clone()));
        }
        if let RestartDecision::Parked(retry_in) = next {
            let deaths = self.worker(id).restart_budget.failures;
            let braked = self.worker(id).poison_tracker.brake.engaged.is_some();
            if !was_parked && !braked {
                self.log(LogRecord::WorkerParked { subject: subject.clone(), deaths, retry_in });
            }
            // Includes clients whose generation was not spawned yet: a parked worker starts none.
            self.fail_waiters_if(id, &text, |goal| {
                matches!(goal, Goal::Running { .. } | Goal::Replaced { .. })
            });
        }
        if exited.slot_id.slot != WorkerSlot::Standby {
            self.fail_waiters_of(id, exited.process.generation, &text);
        }
        if let Some(engaged) = engaged {
            self.brake_engaged(subject, engaged);
        }
        if let Some(request) = request {
            self.isolate_if_due(id, &request, series);
            self.actions.push(Action::Quarantine(request));
        }
    }

    /// Only the active analysis can have died of an event.
    fn attribute(
        &mut self,
        exited: &ExitedProcess,
        cause: Cause,
        post_mortem: &PostMortem,
    ) -> Option<Attribution> {
        let (may_quarantine, max_attempts) = (self.state.refusal().is_none(), self.state.policy.max_attempts);
        let worker = self.worker_mut(exited.slot_id.worker);
        if worker.role != Role::Analytics || exited.process.activated.is_none() {
            return None;
        }
        if exited.process.trial {
            return worker.poison_tracker.attribute_trial(cause, post_mortem);
        }
        worker.poison_tracker.attribute(cause, post_mortem, max_attempts, may_quarantine)
    }

    fn decide(
        &mut self,
        exited: &ExitedProcess,
        classification: &Classification,
        progress: bool,
    ) -> Decision {
        let State { policy, phase, jitter, workers, .. } = &mut *self.state;
        let rules = Rules { policy, phase, jitter, now: self.now.mono };
        let worker = &mut workers[usize::from(exited.slot_id.worker.0)];
        decide(worker, exited, classification, progress, rules)
    }
}

fn quarantine_request(
    subject: GenerationRef,
    attribution: Attribution,
    report: &Report,
) -> QuarantineRequest {
    QuarantineRequest {
        subject,
        seq: attribution.seq,
        attempts: attribution.all_attempts,
        during: attribution.during,
        crash: report.id,
        cause: report.cause,
        detail: report.detail.clone(),
    }
}

/// The death in one line, for clients that waited for the worker.
fn summary(report: &Report) -> String {
    let Report { generation, worker, cause, detail, decision, .. } = report;
    format!("generation {generation} of {worker} died: {cause}: {detail}; {decision}")
}
