//! Stops a process: asks it, then forces it. Each stage has a deadline.

use crate::core::{
    model::{
        Action, GenerationState, Goal, LogRecord, ProcessPhase, State, Stop, StopReason, StopRequest,
        StopStage, WorkerSignal, WorkerSlot, WorkerSlotId,
        policy::{ABORT_GRACE, KILL_GRACE, MAX_DETAIL, TERM_GRACE},
    },
    transition::Transition,
};
use bulkhead_proto::wire::{cause::Cause, control::ToWorker, ids::Generation, role::Role, text::cut};

impl Transition<'_> {
    /// Asks the process in this slot to stop. A slot without a process is stopped at once.
    pub(in crate::core) fn begin_stop(&mut self, slot_id: WorkerSlotId, request: StopRequest) {
        let Some(process) = self.process_mut(slot_id) else {
            *self.state.slot_mut(slot_id) = GenerationState::Stopped;
            return;
        };
        match &mut process.phase {
            ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Running => {
                self.request_stop(slot_id, request);
            }
            ProcessPhase::Stopping(Stop { why: StopReason::Requested(present), .. }) => *present = request,
            ProcessPhase::Stopping(Stop { why: StopReason::Killed { .. }, .. }) => {}
        }
    }

    /// The first stage. A plain worker understands only SIGTERM.
    fn request_stop(&mut self, slot_id: WorkerSlotId, request: StopRequest) {
        self.log_about(slot_id, |subject| LogRecord::WorkerStopping {
            subject,
            why: request.text().to_owned(),
        });
        let (since, worker) = (self.now.mono, self.worker(slot_id.worker));
        let stage = if worker.role == Role::Plain { StopStage::Term } else { StopStage::Drain };
        let deadline = Some(since.after(worker.stop_timeout));
        let Some(process) = self.process_mut(slot_id) else { return };
        let (generation, why) = (process.generation, StopReason::Requested(request));
        process.phase = ProcessPhase::Stopping(Stop { why, stage, deadline, since });
        if stage == StopStage::Term {
            self.actions.push(Action::Signal { generation, signal: WorkerSignal::Term, group: true });
        } else {
            self.actions.push(Action::Send { generation, frame: ToWorker::Drain });
            self.actions.push(Action::CloseControl { generation });
        }
    }

    /// Kills a process that violated a rule. A process that is being killed stays as it is.
    pub(in crate::core) fn kill_for(
        &mut self,
        slot_id: WorkerSlotId,
        cause: Cause,
        detail: &str,
        retry: bool,
    ) {
        self.kill_with(slot_id, WorkerSignal::Kill, cause, detail, retry);
    }

    /// Aborts a hung process, so that it can write a backtrace first.
    pub(in crate::core) fn abort_hung(&mut self, slot_id: WorkerSlotId, detail: &str) {
        self.kill_with(slot_id, WorkerSignal::Abort, Cause::Hang, detail, true);
    }

    fn kill_with(
        &mut self,
        slot_id: WorkerSlotId,
        signal: WorkerSignal,
        cause: Cause,
        detail: &str,
        retry: bool,
    ) {
        let now = self.now.mono;
        let Some(process) = self.process_mut(slot_id) else { return };
        let since = match &process.phase {
            ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Running => now,
            ProcessPhase::Stopping(Stop { stage: StopStage::Drain | StopStage::Term, since, .. }) => *since,
            ProcessPhase::Stopping(Stop {
                stage: StopStage::Abort | StopStage::Kill | StopStage::GivenUp,
                ..
            }) => return,
        };
        let why = StopReason::Killed { cause, detail: cut(detail, MAX_DETAIL).to_owned(), retry };
        let text = why.text();
        let aborts = signal == WorkerSignal::Abort;
        let (stage, grace) =
            if aborts { (StopStage::Abort, ABORT_GRACE) } else { (StopStage::Kill, KILL_GRACE) };
        let deadline = Some(now.after(grace));
        process.phase = ProcessPhase::Stopping(Stop { why, stage, deadline, since });
        if aborts && let Some(process) = self.state.process(slot_id) {
            self.actions.push(Action::DumpThreads(self.generation_ref(slot_id.worker, process)));
        }
        self.signal(slot_id, signal, text);
    }

    /// The next stage of a stop whose deadline has passed.
    pub(in crate::core) fn escalate(&mut self, slot_id: WorkerSlotId) {
        let now = self.now.mono;
        let Some(process) = self.process_mut(slot_id) else { return };
        let ProcessPhase::Stopping(stop) = &mut process.phase else { return };
        let overdue = format!("it did not exit in time ({})", stop.why.text());
        match stop.stage {
            StopStage::Drain => {
                (stop.stage, stop.deadline) = (StopStage::Term, Some(now.after(TERM_GRACE)));
                self.signal(slot_id, WorkerSignal::Term, overdue);
            }
            StopStage::Term | StopStage::Abort => {
                (stop.stage, stop.deadline) = (StopStage::Kill, Some(now.after(KILL_GRACE)));
                self.signal(slot_id, WorkerSignal::Kill, overdue);
            }
            StopStage::Kill | StopStage::GivenUp => {
                (stop.stage, stop.deadline) = (StopStage::GivenUp, None);
                let generation = process.generation;
                self.log_about(slot_id, LogRecord::WorkerGivenUp);
                let text = format!(
                    "generation {generation} of {} cannot be killed: it is stuck in the kernel; the supervisor will reap it when it dies",
                    self.worker(slot_id.worker).name
                );
                // A standby concerns only those that wait for its end.
                let standby = slot_id.slot == WorkerSlot::Standby;
                self.fail_waiters_if(slot_id.worker, &text, |goal| !standby || goal == Goal::Stopped);
            }
        }
    }

    fn signal(&mut self, slot_id: WorkerSlotId, signal: WorkerSignal, why: String) {
        self.log_about(slot_id, |subject| LogRecord::WorkerSignalled { subject, signal: signal.name(), why });
        // SIGKILL goes to the whole group: nothing that a worker started may outlive it.
        let group = signal == WorkerSignal::Kill;
        let process = self.state.process(slot_id);
        self.actions.extend(process.map(|process| Action::Signal {
            generation: process.generation,
            signal,
            group,
        }));
    }
}

impl State {
    /// Whether the processes of a plain worker may still stop by themselves, after the first one has exited.
    #[must_use]
    pub fn is_stopping_gently(&self, generation: Generation) -> bool {
        self.find(generation).is_some_and(|slot_id| {
            let stop = self.requested_stop(slot_id);
            self.role(slot_id.worker) == Role::Plain && stop.is_some_and(|stop| stop.stage == StopStage::Term)
        })
    }

    /// Whether this generation was asked to stop.
    #[must_use]
    pub fn is_stopping(&self, generation: Generation) -> bool {
        self.find(generation).is_some_and(|slot_id| self.requested_stop(slot_id).is_some())
    }

    fn requested_stop(&self, slot_id: WorkerSlotId) -> Option<&Stop> {
        self.process(slot_id)?.stop().filter(|stop| matches!(stop.why, StopReason::Requested(_)))
    }
}

impl WorkerSignal {
    /// Its name, from signal(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "SIGSTOP",
            Self::Abort => "SIGABRT",
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

impl StopReason {
    /// Describes the reason for people.
    pub(in crate::core) fn text(&self) -> String {
        match self {
            Self::Requested(request) => request.text().to_owned(),
            Self::Killed { cause, detail, .. } => format!("{cause}: {detail}"),
        }
    }
}

impl StopRequest {
    /// Describes the request for people.
    pub(in crate::core) const fn text(self) -> &'static str {
        match self {
            Self::Stop => "stop by command",
            Self::Restart => "restart by command",
            Self::Reload => "its settings changed",
            Self::Remove => "it is no longer configured",
            Self::Shutdown => "the supervisor is stopping",
            Self::TrialPassed => "its trial has passed",
            Self::Brake => "the brake is engaged",
            Self::Unneeded => "no standby is needed now",
        }
    }
}
