//! Induced deaths. Refused unless the configuration enables them.

use super::{
    Action, Induced, Is, Signal, Turn, Worker, WorkerId,
    policy::FAULT_EFFECT,
    turn::{At, Lane},
    vigil::Vigil,
};
use bulkhead_proto::wire::{
    control::{MAX_TEXT, RequestOutcome, ToWorker},
    fault::FaultKind,
    ids::Generation,
    role::Role,
    text::cut,
};

/// Why a fault is not induced.
pub(super) enum Refusal {
    NotFound(String),
    Conflict(String),
}

impl Refusal {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::NotFound(why) | Self::Conflict(why) => why,
        }
    }

    /// Cut so that it fits a frame.
    pub(super) fn outcome(&self) -> RequestOutcome {
        match self {
            Self::NotFound(why) => RequestOutcome::NotFound(cut(why, MAX_TEXT).to_owned()),
            Self::Conflict(why) => RequestOutcome::Conflict(cut(why, MAX_TEXT).to_owned()),
        }
    }
}

impl Turn<'_> {
    /// What a worker asks for on behalf of somebody else; the answer goes before the effect, which may hit the asker.
    pub(super) fn fault_request(&mut self, asker: Generation, request: u64, name: &str, kind: FaultKind) {
        let effect = match (self.not_now(), self.state.named(name)) {
            (Some(why), _) => Err(Refusal::Conflict(why.to_owned())),
            (None, None) => Err(Refusal::NotFound(self.state.unknown(name))),
            (None, Some(id)) => self.fault(id, kind),
        };
        let (outcome, effect) = match effect {
            Ok((_, effect)) => (RequestOutcome::Done, effect),
            Err(refusal) => (refusal.outcome(), None),
        };
        let frame = ToWorker::Answer { id: request, outcome };
        self.actions.push(Action::Send { generation: asker, frame });
        self.actions.extend(effect);
    }

    /// Charges the death that comes to whoever ordered it; what brings it about, if it must still be done, is returned, with a
    /// line for people.
    pub(super) fn fault(
        &mut self,
        id: WorkerId,
        kind: FaultKind,
    ) -> Result<(String, Option<Action>), Refusal> {
        let at = self.victim(id, kind)?;
        let Worker { name, hang_timeout, .. } = self.worker(id);
        let (name, vigil) = (name.clone(), Vigil::begin(self.now.mono, *hang_timeout));
        // What makes a process do nothing lasts until its death. Before the others, it may finish what it has in hand.
        let effect = FAULT_EFFECT + *hang_timeout * 2;
        let until = (!kind.is_lasting()).then(|| self.now.mono.after(effect));
        let Some(process) = self.process_mut(at) else {
            return Err(Refusal::Conflict(format!("{name} has no process")));
        };
        // It is told once: if that is dropped, it was not told at all.
        let is_told = kind == FaultKind::Hang && process.fault.is_some_and(|fault| fault.kind == kind);
        // One that hangs cannot carry out another, and no other comes before SIGKILL.
        let done_for = |fault: Induced| fault.kind.is_lasting() || fault.kind == FaultKind::Kill;
        if !process.fault.is_some_and(done_for) || kind == FaultKind::Kill {
            process.fault = Some(Induced { kind, until });
        }
        // It shall be found out although there is no work.
        if kind.is_lasting() && process.vigil == Vigil::Resting {
            process.vigil = vigil;
        }
        let generation = process.generation;
        let effect = match kind {
            FaultKind::Kill => Action::Signal { generation, signal: Signal::Kill, group: false },
            FaultKind::Freeze => Action::Signal { generation, signal: Signal::Stop, group: false },
            FaultKind::Panic
            | FaultKind::Abort
            | FaultKind::Segv
            | FaultKind::Exit
            | FaultKind::Oom
            | FaultKind::Hang
            | FaultKind::StackOverflow => Action::Send { generation, frame: ToWorker::Fault(kind) },
        };
        let effect = (!is_told).then_some(effect);
        Ok((format!("fault {kind} goes to {name}, generation {generation}"), effect))
    }

    /// Its pipe has taken no order to hang: it does not hang for one.
    pub(super) fn fault_dropped(&mut self, at: At, kind: FaultKind) {
        if let Some(process) = self.process_mut(at) {
            process.fault.take_if(|fault| kind == FaultKind::Hang && fault.kind == kind);
        }
    }

    fn victim(&self, id: WorkerId, kind: FaultKind) -> Result<At, Refusal> {
        let worker = self.worker(id);
        let name = &worker.name;
        if !self.state.policy.faults {
            let why = "faults are not enabled: set `enabled = true` under `[faults]` in the configuration";
            return Err(Refusal::NotFound(why.to_owned()));
        }
        if worker.role == Role::Plain && kind != FaultKind::Kill {
            let why = format!("{name} is a plain worker and knows only the fault `kill`, not `{kind}`");
            return Err(Refusal::Conflict(why));
        }
        let lane = match worker.successor {
            Some(Is::Running { .. }) => Lane::Successor,
            Some(Is::Stopped | Is::Starting { .. } | Is::Standby { .. } | Is::Stopping { .. })
            | Some(Is::Backoff { .. } | Is::Parked { .. })
            | None => Lane::Main,
        };
        let at = At { id, lane };
        let refusal = match self.state.is(at) {
            Some(Is::Running { .. }) => return Ok(at),
            // Its pipe may not be read yet, but SIGKILL needs no reader.
            Some(Is::Starting { .. } | Is::Standby { .. }) if kind == FaultKind::Kill => return Ok(at),
            Some(Is::Starting { .. } | Is::Standby { .. }) => "is starting",
            Some(Is::Stopping { .. }) => "is stopping",
            Some(Is::Backoff { .. }) => "is about to be restarted",
            Some(Is::Parked { .. }) => "is parked",
            Some(Is::Stopped) | None => "is stopped",
        };
        Err(Refusal::Conflict(format!("{name} {refusal}: a fault needs a running one")))
    }
}
