//! The path of a death through the core: taken out of its slot, classified, attributed, decided, recorded.
//! Each generation gets exactly one crash number and one `worker_died` line.

use crate::core::{
    death::{
        attribute::Attribution,
        classify::{Classification, StopProgress, classify},
        exited::ExitedProcess,
    },
    model::{
        Action, DeathRecord, ExitStatus, GenerationRef, GenerationState, Goal, LogRecord, Panic, PostMortem,
        RestartDecision, StopReason,
    },
    transition::Transition,
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Operation,
        ids::{CrashId, Generation},
        role::Role,
        status::CrashRow,
    },
};

/// What is known of the death.
struct Death {
    classification: Classification,
    /// Whether the generation made progress.
    progress: bool,
    exit: Option<ExitStatus>,
    panic: Option<Panic>,
    signalled: Option<SignalInfo>,
    during: Option<Operation>,
    attribution: Option<Attribution>,
}

impl Transition<'_> {
    /// A process has exited.
    pub(in crate::core) fn died(
        &mut self,
        generation: Generation,
        exit: ExitStatus,
        post_mortem: &PostMortem,
    ) {
        let Some(exited) = self.take_process(generation) else { return };
        let role = self.state.role(exited.slot_id.worker);
        let stopping = exited.stopping.as_ref().map(|(why, stage, _)| StopProgress { why, stage: *stage });
        let classification = classify(role, &exited.process, stopping.as_ref(), exit, post_mortem, self.now);
        let left = exited.stopping.is_some();
        let progress = self.made_progress(
            exited.slot_id.worker,
            &exited.process,
            classification.cause,
            left,
            exit,
            post_mortem,
        );
        if exited.process.activated.is_some() {
            let restart_budget = &mut self.worker_mut(exited.slot_id.worker).restart_budget;
            (restart_budget.committed, restart_budget.head) = (post_mortem.committed, post_mortem.head);
        }
        let attribution =
            self.attribute_death(exited.slot_id.worker, &exited.process, &classification, exit, post_mortem);
        let request = attribution.as_ref().and_then(|attribution| attribution.request.clone());
        let panic = post_mortem.panic.clone().or_else(|| exited.process.panic.clone());
        let (signalled, during) = (post_mortem.signalled, during(post_mortem));
        let death =
            Death { classification, progress, exit: Some(exit), panic, signalled, during, attribution };
        self.conclude_death(&exited, death);
        self.actions.extend(request.map(Action::Quarantine));
        self.actions.push(Action::WakeAnalytics);
        if role == Role::Api {
            // The API may have died after accepting an event and before notifying us.
            self.on_work(Role::Analytics);
        }
        self.advance_takeover(exited.slot_id);
    }

    /// A process could not be spawned. Counts as a death.
    pub(in crate::core) fn spawn_failed(&mut self, generation: Generation, error: &str, config: bool) {
        let Some(exited) = self.take_process(generation) else { return };
        let classification = Classification::spawn_failed(error, config);
        let death = Death {
            classification,
            progress: false,
            exit: None,
            panic: None,
            signalled: None,
            during: None,
            attribution: None,
        };
        self.conclude_death(&exited, death);
        self.advance_takeover(exited.slot_id);
    }

    fn take_process(&mut self, generation: Generation) -> Option<ExitedProcess> {
        let slot_id = self.find(generation)?;
        match self.take_slot(slot_id) {
            GenerationState::Starting { process, .. }
            | GenerationState::Standby { process }
            | GenerationState::Running { process } => {
                Some(ExitedProcess { slot_id, process, stopping: None })
            }
            GenerationState::Stopping { process, why, stage, since, .. } => {
                Some(ExitedProcess { slot_id, process, stopping: Some((why, stage, since)) })
            }
            GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. } => {
                None
            }
        }
    }

    /// Decides what happens next, and records the death.
    fn conclude_death(&mut self, exited: &ExitedProcess, death: Death) {
        let id = exited.slot_id.worker;
        let classification = &death.classification;
        let recovers = death.progress && self.worker(id).restart_budget.on_probation;
        let parked_before = matches!(self.worker(id).successor, Some(GenerationState::Parked { .. }));
        let (next, why) = self.decide(exited, classification, death.progress);
        let subject = self.generation_ref(id, &exited.process);
        let text = format!(
            "generation {} of {} died: {}: {}; {next}",
            subject.generation, subject.worker, classification.cause, classification.detail
        );
        self.record_death(exited, subject.clone(), death, next, &why);
        self.replacement_failed(id, exited.process.generation);
        if recovers {
            self.log(LogRecord::WorkerRecovered(subject.clone()));
        }
        if let RestartDecision::Parked(retry_in) = next {
            if !parked_before {
                let deaths = self.worker(id).restart_budget.failures;
                self.log(LogRecord::WorkerParked { subject, deaths, retry_in });
            }
            // Includes clients whose generation was not spawned yet: a parked worker starts none.
            self.fail_waiters_if(id, &text, |goal| {
                matches!(goal, Goal::Running { .. } | Goal::Replaced { .. })
            });
        }
        self.fail_waiters_of(id, exited.process.generation, &text);
    }

    fn record_death(
        &mut self,
        exited: &ExitedProcess,
        subject: GenerationRef,
        death: Death,
        next: RestartDecision,
        why: &str,
    ) {
        let crash = self.state.next_crash;
        self.state.next_crash = CrashId(crash.0.saturating_add(1));
        let Death {
            classification: Classification { cause, detail, seq, .. },
            exit,
            panic,
            signalled,
            during,
            attribution,
            ..
        } = death;
        let seq = attribution.as_ref().map(|attribution| attribution.seq).or(seq);
        let at_ms = self.now.unix_ms;
        self.worker_mut(exited.slot_id.worker).last_crash =
            Some(CrashRow { id: crash, cause, detail: detail.clone(), seq, at_ms });
        let uptime = self.now.mono.since(exited.process.started);
        let stop_duration = match &exited.stopping {
            Some((StopReason::Requested(_), _, since)) => Some(self.now.mono.since(*since)),
            Some((StopReason::Killed { .. }, ..)) | None => None,
        };
        let record = DeathRecord {
            subject: subject.clone(),
            role: self.state.role(exited.slot_id.worker),
            crash,
            at_ms,
            uptime,
            cause,
            detail: detail.clone(),
            panic,
            signalled,
            exit,
            seq,
            during: attribution.as_ref().map(|attribution| attribution.during).or(during),
            attempts: attribution.as_ref().map(|attribution| (attribution.count, attribution.limit)),
            next,
            why: attribution.map(|attribution| attribution.text() + "; ").unwrap_or_default() + why,
        };
        self.log(LogRecord::WorkerDied { subject, cause, detail, seq, crash, next, uptime, stop_duration });
        self.actions.push(Action::StoreReport(Box::new(record)));
    }
}

/// What the process was doing when it died, as far as known.
pub(in crate::core) fn during(post_mortem: &PostMortem) -> Option<Operation> {
    match (post_mortem.in_flight, post_mortem.committing) {
        (Some(_), _) if post_mortem.loading => Some(Operation::Load),
        (Some(_), _) => Some(Operation::Apply),
        (None, Some(_)) => Some(Operation::Commit),
        (None, None) => None,
    }
}
