//! Asking a process to leave, and making it leave. Never waits for ever.

use super::{
    Action, Asked, Is, LogRecord, Millis, Process, Signal, Stage, Why,
    mutant::{self, Mutant},
    policy::{ABORT_GRACE, KILL_GRACE, MAX_DETAIL, TERM_GRACE},
    turn::{At, Turn},
};
use bulkhead_proto::wire::{cause::Cause, control::ToWorker, role::Role, text::cut};

impl Turn<'_> {
    /// Asks whatever is at that place to leave; what has no process is stopped at once.
    pub(super) fn begin_stop(&mut self, at: At, asked: Asked) {
        let is = match self.take(at) {
            Is::Starting { process, .. } | Is::Standby { process } | Is::Running { process } => {
                self.ask(at, process, asked)
            }
            Is::Stopping { process, why: Why::Asked(_), stage, deadline, since } => {
                Is::Stopping { process, why: Why::Asked(asked), stage, deadline, since }
            }
            is @ Is::Stopping { .. } => is,
            Is::Stopped | Is::Backoff { .. } | Is::Parked { .. } => Is::Stopped,
        };
        self.put(at, is);
    }

    /// The first stage. A plain worker knows no other word than SIGTERM.
    fn ask(&mut self, at: At, process: Process, asked: Asked) -> Is {
        let (generation, since) = (process.generation, self.now.mono);
        let who = self.who(at.id, &process);
        self.log(LogRecord::WorkerStopping { who, why: asked.text().to_owned() });
        let stage = match self.state.role(at.id) {
            Role::Api | Role::Analytics => {
                self.actions.push(Action::Send { generation, frame: ToWorker::Drain });
                self.actions.push(Action::CloseControl { generation });
                Stage::Drain
            }
            Role::Plain => {
                self.actions.push(Action::Signal { generation, signal: Signal::Term, group: true });
                Stage::Term
            }
        };
        let deadline = Some(since.after(self.worker(at.id).stop_timeout));
        Is::Stopping { process, why: Why::Asked(asked), stage, deadline, since }
    }

    /// Kills a process for what it did. One that is being killed already stays as it is.
    pub(super) fn condemn(&mut self, at: At, cause: Cause, detail: &str, retry: bool) {
        self.end(at, Signal::Kill, cause, detail, retry);
    }

    /// Ends a process that hangs, which may leave a trace of that first.
    pub(super) fn abort(&mut self, at: At, detail: &str) {
        self.end(at, Signal::Abort, Cause::Hang, detail, true);
    }

    fn end(&mut self, at: At, signal: Signal, cause: Cause, detail: &str, retry: bool) {
        let now = self.now.mono;
        let (process, since) = match self.take(at) {
            Is::Starting { process, .. } | Is::Standby { process } | Is::Running { process } => {
                (process, now)
            }
            Is::Stopping { process, stage: Stage::Drain | Stage::Term, since, .. } => (process, since),
            is @ (Is::Stopping { stage: Stage::Abort | Stage::Kill | Stage::GivenUp, .. }
            | Is::Stopped
            | Is::Backoff { .. }
            | Is::Parked { .. }) => return self.put(at, is),
        };
        let why = Why::Condemned { cause, detail: cut(detail, MAX_DETAIL).to_owned(), retry };
        let (stage, grace) = match signal {
            Signal::Abort => {
                self.actions.push(Action::Examine(self.who(at.id, &process)));
                (Stage::Abort, ABORT_GRACE)
            }
            Signal::Stop | Signal::Term | Signal::Kill => (Stage::Kill, KILL_GRACE),
        };
        self.signal(at, &process, signal, &why);
        self.put(at, Is::Stopping { process, why, stage, deadline: Some(now.after(grace)), since });
    }

    /// The next stage of a stop whose deadline has passed.
    pub(super) fn escalate(&mut self, at: At) {
        let now = self.now.mono;
        let is = match self.take(at) {
            Is::Stopping { process, why, stage, since, .. } => {
                let (stage, deadline) = self.next_stage(at, &process, &why, stage, now);
                Is::Stopping { process, why, stage, deadline, since }
            }
            is @ (Is::Stopped
            | Is::Starting { .. }
            | Is::Standby { .. }
            | Is::Running { .. }
            | Is::Backoff { .. }
            | Is::Parked { .. }) => is,
        };
        self.put(at, is);
    }

    fn next_stage(
        &mut self,
        at: At,
        process: &Process,
        why: &Why,
        stage: Stage,
        now: Millis,
    ) -> (Stage, Option<Millis>) {
        match stage {
            Stage::Drain => {
                self.signal(at, process, Signal::Term, why);
                (Stage::Term, Some(now.after(TERM_GRACE)))
            }
            Stage::Term if mutant::is(Mutant::NeverKill) => (Stage::Term, None),
            Stage::Abort if mutant::is(Mutant::SpareTheAborted) => (Stage::Abort, None),
            Stage::Term | Stage::Abort => {
                self.signal(at, process, Signal::Kill, why);
                (Stage::Kill, Some(now.after(KILL_GRACE)))
            }
            Stage::Kill | Stage::GivenUp => {
                let who = self.who(at.id, process);
                let text = format!(
                    "generation {} of {} cannot be killed: it is stuck in the kernel; it will be taken care of when it dies",
                    who.generation, who.worker
                );
                self.log(LogRecord::WorkerGivenUp(who));
                self.disappoint_all(at.id, &text);
                (Stage::GivenUp, None)
            }
        }
    }

    fn signal(&mut self, at: At, process: &Process, signal: Signal, why: &Why) {
        // SIGKILL goes to the group: what a worker has started must not outlive it.
        let group = signal == Signal::Kill;
        let who = self.who(at.id, process);
        self.log(LogRecord::WorkerSignalled { who, signal: signal.name(), why: why.text() });
        self.actions.push(Action::Signal { generation: process.generation, signal, group });
    }
}

impl Signal {
    /// Its name in signal(7).
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
