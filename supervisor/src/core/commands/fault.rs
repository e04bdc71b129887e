//! Fault injection. Refused unless the configuration enables them.

use crate::core::{
    model::{
        Action, GenerationState, HangDetector, PendingFault, ProcessPhase, Worker, WorkerId, WorkerSignal,
        WorkerSlotId, policy::FAULT_EFFECT,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{
    control::{MAX_TEXT, RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::Generation,
    role::Role,
    text::cut,
};

/// Why a fault is refused.
pub(in crate::core) enum FaultRefusal {
    NotFound(String),
    Conflict(String),
}

impl FaultRefusal {
    pub(in crate::core) fn text(&self) -> &str {
        match self {
            Self::NotFound(why) | Self::Conflict(why) => why,
        }
    }

    /// The outcome with its text cut to fit a frame.
    pub(in crate::core) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::NotFound(why) => RequestOutcome::NotFound(cut(why, MAX_TEXT).to_owned()),
            Self::Conflict(why) => RequestOutcome::Conflict(cut(why, MAX_TEXT).to_owned()),
        }
    }
}

impl Transition<'_> {
    /// A worker forwards the request of an HTTP client. The answer is sent before the effect, which may hit
    /// the requester.
    pub(in crate::core) fn fault_request(
        &mut self,
        requester: Generation,
        request: u64,
        name: &str,
        kind: FaultKind,
    ) {
        let effect = match (self.state.refusal(), self.state.named(name)) {
            (Some(why), _) => Err(FaultRefusal::Conflict(why.to_owned())),
            (None, None) => Err(FaultRefusal::NotFound(self.state.unknown_worker(name))),
            (None, Some(id)) => self.fault(id, kind),
        };
        let (outcome, effect) = match effect {
            Ok((_, effect)) => (RequestOutcome::Done, effect),
            Err(refusal) => (refusal.outcome(), None),
        };
        let frame = ToWorker::Answer { id: request, outcome };
        self.actions.push(Action::Send { generation: requester, frame });
        self.actions.extend(effect);
    }

    /// Marks the next death as requested. Returns a line for the operator, and the action that injects the
    /// fault if one is still needed.
    pub(in crate::core) fn fault(
        &mut self,
        id: WorkerId,
        kind: FaultKind,
    ) -> Result<(String, Option<Action>), FaultRefusal> {
        let slot_id = self.fault_target(id, kind)?;
        let Worker { name, hang_timeout, .. } = self.worker(id);
        let (name, hang_detector) = (name.clone(), HangDetector::begin(self.now.mono, *hang_timeout));
        // A lasting fault has no time limit. Before any other fault takes effect, the process may finish its
        // event in flight.
        let effect = FAULT_EFFECT + *hang_timeout * 2;
        let until = (!kind.is_lasting()).then(|| self.now.mono.after(effect));
        let Some(process) = self.process_mut(slot_id) else {
            return Err(FaultRefusal::Conflict(format!("{name} has no process")));
        };
        // A hang is ordered once. `fault_dropped` removes an order that was not delivered.
        let already_sent = kind == FaultKind::Hang && process.fault.is_some_and(|fault| fault.kind == kind);
        // A hung process cannot carry out another fault, and no fault takes effect before a pending SIGKILL.
        let is_final = |fault: PendingFault| fault.kind.is_lasting() || fault.kind == FaultKind::Kill;
        if !process.fault.is_some_and(is_final) || kind == FaultKind::Kill {
            process.fault = Some(PendingFault { kind, until });
        }
        // The hang must be detected even without work.
        if kind.is_lasting() && process.hang_detector == HangDetector::Idle {
            process.hang_detector = hang_detector;
        }
        let generation = process.generation;
        let effect = match kind {
            FaultKind::Kill => Action::Signal { generation, signal: WorkerSignal::Kill, group: false },
            FaultKind::Freeze => Action::Signal { generation, signal: WorkerSignal::Stop, group: false },
            FaultKind::Panic
            | FaultKind::Abort
            | FaultKind::Segv
            | FaultKind::Exit
            | FaultKind::Oom
            | FaultKind::Hang
            | FaultKind::StackOverflow => Action::Send { generation, frame: ToWorker::Fault(kind) },
        };
        let effect = (!already_sent).then_some(effect);
        Ok((format!("fault {kind} sent to {name}, generation {generation}"), effect))
    }

    /// The pipe was full: the fault was not delivered. A hang has no time limit, so it is removed; the others
    /// expire.
    pub(in crate::core) fn fault_dropped(&mut self, slot_id: WorkerSlotId, kind: FaultKind) {
        if let Some(process) = self.process_mut(slot_id) {
            process.fault.take_if(|fault| kind == FaultKind::Hang && fault.kind == kind);
        }
    }

    fn fault_target(&self, id: WorkerId, kind: FaultKind) -> Result<WorkerSlotId, FaultRefusal> {
        let worker = self.worker(id);
        let name = &worker.name;
        if !self.state.policy.faults {
            let why = "faults are not enabled: set `enabled = true` under `[faults]` in the configuration";
            return Err(FaultRefusal::NotFound(why.to_owned()));
        }
        if worker.role == Role::Plain && kind != FaultKind::Kill {
            let why = format!("{name} is a plain worker and supports only the fault `kill`, not `{kind}`");
            return Err(FaultRefusal::Conflict(why));
        }
        let slot_id = if worker.successor.running().is_some() { id.successor() } else { id.main() };
        let refusal = match self.state.slot(slot_id) {
            GenerationState::Live(process) => match process.phase {
                ProcessPhase::Running => return Ok(slot_id),
                // The process may not read its pipe yet, but SIGKILL needs no reader.
                ProcessPhase::Starting { .. } | ProcessPhase::Standby if kind == FaultKind::Kill => {
                    return Ok(slot_id);
                }
                ProcessPhase::Starting { .. } | ProcessPhase::Standby => "is starting",
                ProcessPhase::Stopping(_) => "is stopping",
            },
            GenerationState::Backoff { .. } => "is waiting to restart",
            GenerationState::Parked { .. } => "is parked",
            GenerationState::Stopped => "is stopped",
        };
        Err(FaultRefusal::Conflict(format!("{name} {refusal}: a fault needs a running worker")))
    }
}
