//! What workers say. They are not trusted: what they may not say kills them.

use super::{
    Action, Asked, Is, LogRecord, Millis, Panic, Why,
    mutant::{self, Mutant},
    policy::{MAX_PANIC, START_GRACE, START_TIMEOUT},
    turn::{At, Turn},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, PROTOCOL, Phase, Request, ToWorker, allowed},
    ids::{Generation, Seq},
    text::cut,
};

/// The longest build text that is repeated to people, in bytes.
const MAX_BUILD: usize = 64;

impl Turn<'_> {
    pub(super) fn frame(&mut self, generation: Generation, frame: FromWorker) {
        let Some(at) = self.find(generation) else { return };
        let Some(phase) = self.state.is(at).and_then(phase) else { return };
        if !allowed(self.state.role(at.id), phase, &frame) && !mutant::is(Mutant::BelieveLiars) {
            let detail = format!("sent {}, which is not allowed {}", frame_name(&frame), phase_name(phase));
            self.condemn(at, Cause::Protocol, &detail, true);
            return;
        }
        match frame {
            FromWorker::Hello { protocol, build } => self.hello(at, protocol, &build),
            FromWorker::Ready => self.ready(at),
            FromWorker::Panicked { message, location, thread } => {
                let panic = Panic { message, location, thread }.cut(MAX_PANIC);
                if let Some(process) = self.process_mut(at) {
                    process.panic = Some(panic);
                }
            }
            // Kept by the shell, for the crash report.
            FromWorker::Backtrace { .. } => {}
            FromWorker::Request { id, request: Request::Fault { worker, kind } } => {
                self.fault_request(generation, id, &worker, kind);
            }
            FromWorker::Request { id, request: Request::RemoveQuarantined { seq, replayed_as } } => {
                self.actions.push(Action::Drop { asker: generation, id, seq, replayed_as });
            }
            FromWorker::ReplayFailed { seq, why } => self.actions.push(Action::NotReplayed { seq, why }),
            FromWorker::Pong { number, accept_polls: turns, busy } => self.ponged(at, number, turns, busy),
            FromWorker::Busy => self.rung(self.state.role(at.id)),
            FromWorker::SeqMark(next) => self.actions.push(Action::ReserveSeqs { next: Seq(next) }),
        }
    }

    fn hello(&mut self, at: At, protocol: u16, build: &str) {
        if protocol == PROTOCOL {
            if let Some(process) = self.process_mut(at) {
                process.greeted = true;
            }
            return;
        }
        let build = cut(build, MAX_BUILD);
        let detail = format!(
            "{build} speaks control protocol {protocol}, this supervisor speaks {PROTOCOL}: install both from one release"
        );
        self.condemn(at, Cause::Handshake, &detail, false);
    }

    pub(super) fn bad_frame(&mut self, generation: Generation, why: &str) {
        let Some(at) = self.find(generation) else { return };
        if !mutant::is(Mutant::BelieveLiars) {
            self.condemn(at, Cause::Protocol, &format!("sent a frame that cannot be read: {why}"), true);
        }
    }

    /// An answer that nobody reads is dropped: a flood of requests must not kill the API that passes them on.
    /// The other frames are so few that a worker without room for them is not reading at all.
    pub(super) fn pipe_full(&mut self, generation: Generation, frame: &ToWorker) {
        let Some(at) = self.find(generation) else { return };
        match frame {
            ToWorker::Answer { id, .. } => {
                self.warn(at, format!("does not read its answers: the one to its request {id} was dropped"));
            }
            ToWorker::Replay(seq) => {
                let why = "the API does not read its control pipe: try again".to_owned();
                self.actions.push(Action::NotReplayed { seq: *seq, why });
            }
            // End of file says the same, and the stop's deadline is set; no answer to a ping tells more than a full pipe.
            ToWorker::Drain | ToWorker::Ping(_) => {}
            // One that was told to hang before does not read the next one, and is found out by the vigil.
            ToWorker::Fault(kind) => {
                self.fault_dropped(at, *kind);
                self.warn(at, format!("does not read its control pipe: fault {kind} was dropped"));
            }
            ToWorker::Activate(_) => {
                self.condemn(at, Cause::Protocol, "does not read its control pipe", true);
            }
        }
    }

    fn warn(&mut self, at: At, text: String) {
        if let Some(process) = self.state.is(at).and_then(Is::process) {
            let who = self.who(at.id, process);
            self.log(LogRecord::WorkerWarning { who, text });
        }
    }

    /// Its time for a start is over. If that is noticed late, whoever stopped the supervisor may have stopped both, and what
    /// it has said since waits to be read.
    pub(super) fn start_expired(&mut self, at: At, deadline: Millis) {
        let now = self.now.mono;
        if now.since(deadline) <= START_GRACE {
            return self.start_timed_out(at);
        }
        let Is::Starting { process, .. } = self.take(at) else { return };
        self.put(at, Is::Starting { process, deadline: now.after(START_GRACE) });
    }

    /// It was not ready in time.
    fn start_timed_out(&mut self, at: At) {
        let greeted = self.state.is(at).and_then(Is::process).is_some_and(|process| process.greeted);
        let met = if greeted { "it said hello, but never that it is ready" } else { "it never said hello" };
        let detail = format!("not ready {} s after its start: {met}", START_TIMEOUT.as_secs());
        self.condemn(at, Cause::Handshake, &detail, true);
    }
}

/// How far it has come in the protocol; nothing without a process.
const fn phase(is: &Is) -> Option<Phase> {
    match is {
        Is::Starting { process, .. } if process.greeted => Some(Phase::Greeted),
        Is::Starting { .. } => Some(Phase::Spawned),
        Is::Standby { .. } => Some(Phase::Ready),
        Is::Running { .. } => Some(Phase::Active),
        // Asked to leave before it had said hello: the two have crossed.
        Is::Stopping { process, .. } if !process.greeted => Some(Phase::Spawned),
        Is::Stopping { .. } => Some(Phase::Draining),
        Is::Stopped | Is::Backoff { .. } | Is::Parked { .. } => None,
    }
}

const fn frame_name(frame: &FromWorker) -> &'static str {
    match frame {
        FromWorker::Hello { .. } => "Hello",
        FromWorker::Ready => "Ready",
        FromWorker::Panicked { .. } => "Panicked",
        FromWorker::Backtrace { .. } => "Backtrace",
        FromWorker::Request { .. } => "Request",
        FromWorker::ReplayFailed { .. } => "NotReplayed",
        FromWorker::SeqMark(_) => "SeqMark",
        FromWorker::Pong { .. } => "Pong",
        FromWorker::Busy => "Busy",
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Spawned => "before its Hello",
        Phase::Greeted => "between Hello and Ready",
        Phase::Ready => "before it is activated",
        Phase::Active => "while it is active",
        Phase::Draining => "once it was asked to leave",
    }
}

impl Why {
    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Asked(asked) => asked.text().to_owned(),
            Self::Condemned { cause, detail, .. } => format!("{cause}: {detail}"),
        }
    }
}

impl Asked {
    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Stop => "stop by command",
            Self::Restart => "restart by command",
            Self::Reload => "what it was started with has changed",
            Self::Remove => "it is no longer in the configuration",
            Self::Shutdown => "the supervisor is stopping",
        }
    }
}
