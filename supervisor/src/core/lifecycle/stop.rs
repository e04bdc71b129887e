//! Stops a process: asks it, then forces it. Each stage has a deadline.

use crate::core::{
    model::{
        Action, GenerationState, LogRecord, Millis, Process, StopReason, StopRequest, StopStage,
        WorkerSignal, WorkerSlotId,
        policy::{ABORT_GRACE, KILL_GRACE, MAX_DETAIL, TERM_GRACE},
    },
    transition::Transition,
};
use bulkhead_proto::wire::{cause::Cause, control::ToWorker, role::Role, text::cut};

impl Transition<'_> {
    /// Asks the process in this slot to stop. A slot without a process is stopped at once.
    pub(in crate::core) fn begin_stop(&mut self, slot_id: WorkerSlotId, request: StopRequest) {
        let slot_state = match self.take_slot(slot_id) {
            GenerationState::Starting { process, .. }
            | GenerationState::Standby { process }
            | GenerationState::Running { process } => self.request_stop(slot_id, process, request),
            GenerationState::Stopping { process, why: StopReason::Requested(_), stage, deadline, since } => {
                GenerationState::Stopping {
                    process,
                    why: StopReason::Requested(request),
                    stage,
                    deadline,
                    since,
                }
            }
            unchanged @ GenerationState::Stopping { .. } => unchanged,
            GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. } => {
                GenerationState::Stopped
            }
        };
        self.set_slot(slot_id, slot_state);
    }

    /// The first stage. A plain worker understands only SIGTERM.
    fn request_stop(
        &mut self,
        slot_id: WorkerSlotId,
        process: Process,
        request: StopRequest,
    ) -> GenerationState {
        let (generation, since) = (process.generation, self.now.mono);
        let subject = self.generation_ref(slot_id.worker, &process);
        self.log(LogRecord::WorkerStopping { subject, why: request.text().to_owned() });
        let stage = match self.state.role(slot_id.worker) {
            Role::Api | Role::Analytics => {
                self.actions.push(Action::Send { generation, frame: ToWorker::Drain });
                self.actions.push(Action::CloseControl { generation });
                StopStage::Drain
            }
            Role::Plain => {
                self.actions.push(Action::Signal { generation, signal: WorkerSignal::Term, group: true });
                StopStage::Term
            }
        };
        let deadline = Some(since.after(self.worker(slot_id.worker).stop_timeout));
        GenerationState::Stopping { process, why: StopReason::Requested(request), stage, deadline, since }
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
        let (process, since) = match self.take_slot(slot_id) {
            GenerationState::Starting { process, .. }
            | GenerationState::Standby { process }
            | GenerationState::Running { process } => (process, now),
            GenerationState::Stopping {
                process, stage: StopStage::Drain | StopStage::Term, since, ..
            } => (process, since),
            unchanged @ (GenerationState::Stopping {
                stage: StopStage::Abort | StopStage::Kill | StopStage::GivenUp,
                ..
            }
            | GenerationState::Stopped
            | GenerationState::Backoff { .. }
            | GenerationState::Parked { .. }) => return self.set_slot(slot_id, unchanged),
        };
        let why = StopReason::Killed { cause, detail: cut(detail, MAX_DETAIL).to_owned(), retry };
        let (stage, grace) = match signal {
            WorkerSignal::Abort => {
                self.actions.push(Action::DumpThreads(self.generation_ref(slot_id.worker, &process)));
                (StopStage::Abort, ABORT_GRACE)
            }
            WorkerSignal::Stop | WorkerSignal::Term | WorkerSignal::Kill => (StopStage::Kill, KILL_GRACE),
        };
        self.signal(slot_id, &process, signal, why.text());
        self.set_slot(
            slot_id,
            GenerationState::Stopping { process, why, stage, deadline: Some(now.after(grace)), since },
        );
    }

    /// The next stage of a stop whose deadline has passed.
    pub(in crate::core) fn escalate(&mut self, slot_id: WorkerSlotId) {
        let now = self.now.mono;
        let slot_state = match self.take_slot(slot_id) {
            GenerationState::Stopping { process, why, stage, since, .. } => {
                let (stage, deadline) = self.next_stage(slot_id, &process, &why, stage, now);
                GenerationState::Stopping { process, why, stage, deadline, since }
            }
            unchanged @ (GenerationState::Stopped
            | GenerationState::Starting { .. }
            | GenerationState::Standby { .. }
            | GenerationState::Running { .. }
            | GenerationState::Backoff { .. }
            | GenerationState::Parked { .. }) => unchanged,
        };
        self.set_slot(slot_id, slot_state);
    }

    fn next_stage(
        &mut self,
        slot_id: WorkerSlotId,
        process: &Process,
        why: &StopReason,
        stage: StopStage,
        now: Millis,
    ) -> (StopStage, Option<Millis>) {
        match stage {
            StopStage::Drain => {
                self.signal(slot_id, process, WorkerSignal::Term, overdue(why));
                (StopStage::Term, Some(now.after(TERM_GRACE)))
            }
            StopStage::Term | StopStage::Abort => {
                self.signal(slot_id, process, WorkerSignal::Kill, overdue(why));
                (StopStage::Kill, Some(now.after(KILL_GRACE)))
            }
            StopStage::Kill | StopStage::GivenUp => {
                let subject = self.generation_ref(slot_id.worker, process);
                let text = format!(
                    "generation {} of {} cannot be killed: it is stuck in the kernel; the supervisor will reap it when it dies",
                    subject.generation, subject.worker
                );
                self.log(LogRecord::WorkerGivenUp(subject));
                self.fail_waiters(slot_id.worker, &text);
                (StopStage::GivenUp, None)
            }
        }
    }

    fn signal(&mut self, slot_id: WorkerSlotId, process: &Process, signal: WorkerSignal, why: String) {
        // SIGKILL goes to the whole group: nothing that a worker started may outlive it.
        let group = signal == WorkerSignal::Kill;
        let subject = self.generation_ref(slot_id.worker, process);
        self.log(LogRecord::WorkerSignalled { subject, signal: signal.name(), why });
        self.actions.push(Action::Signal { generation: process.generation, signal, group });
    }
}

/// The reason of a signal to a process that outlived a stage of its stop.
fn overdue(why: &StopReason) -> String {
    format!("it did not exit in time ({})", why.text())
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
        }
    }
}
