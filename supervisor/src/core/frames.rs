//! Frames from workers. A frame that the protocol does not allow gets its sender killed.

use crate::core::{
    model::{
        Action, LogRecord, Process, ProcessPhase, WorkerSlotId, cut_panic,
        policy::{MAX_DETAIL, MAX_PANIC},
    },
    transition::Transition,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, PROTOCOL, Phase, Request, ToWorker, allowed},
    crash::Panic,
    ids::{Generation, Seq},
    text::cut,
};

/// Maximum length of a build text in messages, in bytes.
const MAX_BUILD: usize = 64;

impl Transition<'_> {
    pub(in crate::core) fn frame(&mut self, generation: Generation, frame: FromWorker) {
        let Some(slot_id) = self.find(generation) else { return };
        let Some(phase) = self.state.process(slot_id).map(phase) else { return };
        if !allowed(self.state.role(slot_id.worker), phase, &frame) {
            let detail = format!("sent {}, which is not allowed {}", frame_name(&frame), phase_name(phase));
            self.kill_for(slot_id, Cause::Protocol, &detail, true);
            return;
        }
        match frame {
            FromWorker::Hello { protocol, build } => self.hello(slot_id, protocol, &build),
            FromWorker::Ready => self.ready(slot_id),
            FromWorker::Panicked { message, location, thread } => {
                let panic = cut_panic(&Panic { message, location, thread }, MAX_PANIC);
                if let Some(process) = self.process_mut(slot_id) {
                    process.panic = Some(panic);
                }
            }
            FromWorker::Failed { error } => {
                if let Some(process) = self.process_mut(slot_id) {
                    process.error = Some(cut(&error, MAX_DETAIL).to_owned());
                }
            }
            FromWorker::TrialPassed => self.trial_passed(slot_id),
            FromWorker::StoreIsolated { through } => self.store_isolated(slot_id, through),
            FromWorker::SeriesApplied(name) => self.series_applied(slot_id, &name),
            // The runtime keeps the backtrace for the crash report.
            FromWorker::Backtrace { .. } => {}
            FromWorker::Request { id, request: Request::Fault { worker, kind } } => {
                self.fault_request(generation, id, &worker, kind);
            }
            FromWorker::Request { id, request: Request::RemoveQuarantined { seq, replayed_as } } => {
                self.actions.push(Action::RemoveQuarantined { requester: generation, id, seq, replayed_as });
            }
            FromWorker::ReplayFailed { seq, why } => self.actions.push(Action::ReplayFailed { seq, why }),
            FromWorker::Pong { number, accept_polls, busy } => {
                self.on_pong(slot_id, number, accept_polls, busy);
            }
            FromWorker::Busy => self.on_work(self.state.role(slot_id.worker)),
            FromWorker::SeqMark(next) => self.actions.push(Action::ReserveSeqs { next: Seq(next) }),
        }
    }

    fn hello(&mut self, slot_id: WorkerSlotId, protocol: u16, build: &str) {
        if protocol == PROTOCOL {
            if let Some(process) = self.process_mut(slot_id) {
                process.greeted = true;
            }
            return;
        }
        let build = cut(build, MAX_BUILD);
        let detail = format!(
            "{build} speaks control protocol {protocol}, this supervisor speaks {PROTOCOL}: install both from one release"
        );
        self.kill_for(slot_id, Cause::Handshake, &detail, false);
    }

    pub(in crate::core) fn bad_frame(&mut self, generation: Generation, why: &str) {
        let Some(slot_id) = self.find(generation) else { return };
        let detail = format!("sent a frame that cannot be read: {why}");
        self.kill_for(slot_id, Cause::Protocol, &detail, true);
    }

    /// Handles a full control pipe. An answer that does not fit is dropped: a flood of requests must not kill
    /// the API that forwards them. The other frames are few; a worker without room for them does not read at
    /// all.
    pub(in crate::core) fn pipe_full(&mut self, generation: Generation, frame: &ToWorker) {
        let Some(slot_id) = self.find(generation) else { return };
        match frame {
            ToWorker::Answer { id, .. } => {
                self.warn(
                    slot_id,
                    format!("does not read its control pipe: the answer to its request {id} was dropped"),
                );
            }
            ToWorker::Replay(seq) => {
                let why = "the API does not read its control pipe: try again".to_owned();
                self.actions.push(Action::ReplayFailed { seq: *seq, why });
            }
            // End of file means the same as `Drain`, and the stop has a deadline. An unanswered ping is found
            // by the hang detector.
            ToWorker::Drain | ToWorker::Ping(_) => {}
            // A worker that hangs does not read this order. The hang detector finds it.
            ToWorker::Fault(kind) => {
                self.fault_dropped(slot_id, *kind);
                self.warn(slot_id, format!("does not read its control pipe: fault {kind} was dropped"));
            }
            ToWorker::Activate(_) | ToWorker::IsolatedStored => {
                self.kill_for(slot_id, Cause::Protocol, "does not read its control pipe", true);
            }
        }
    }

    fn warn(&mut self, slot_id: WorkerSlotId, text: String) {
        self.log_about(slot_id, |subject| LogRecord::WorkerWarning { subject, text });
    }
}

/// The protocol phase of a process.
const fn phase(process: &Process) -> Phase {
    match process.phase {
        ProcessPhase::Starting { .. } if process.greeted => Phase::Greeted,
        ProcessPhase::Starting { .. } => Phase::Spawned,
        ProcessPhase::Standby => Phase::Ready,
        ProcessPhase::Running => Phase::Active,
        // It was asked to stop before its `Hello` arrived.
        ProcessPhase::Stopping(_) if !process.greeted => Phase::Spawned,
        ProcessPhase::Stopping(_) => Phase::Draining,
    }
}

const fn frame_name(frame: &FromWorker) -> &'static str {
    match frame {
        FromWorker::Hello { .. } => "Hello",
        FromWorker::Ready => "Ready",
        FromWorker::Panicked { .. } => "Panicked",
        FromWorker::Backtrace { .. } => "Backtrace",
        FromWorker::Request { .. } => "Request",
        FromWorker::ReplayFailed { .. } => "ReplayFailed",
        FromWorker::TrialPassed => "TrialPassed",
        FromWorker::StoreIsolated { .. } => "StoreIsolated",
        FromWorker::SeriesApplied(_) => "SeriesApplied",
        FromWorker::Failed { .. } => "Failed",
        FromWorker::SeqMark(_) => "SeqMark",
        FromWorker::Pong { .. } => "Pong",
        FromWorker::Busy => "Busy",
    }
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Spawned => "before Hello",
        Phase::Greeted => "between Hello and Ready",
        Phase::Ready => "before activation",
        Phase::Active => "after activation",
        Phase::Draining => "while stopping",
    }
}
