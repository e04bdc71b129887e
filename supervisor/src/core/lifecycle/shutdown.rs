//! The supervisor's orderly stop. Plain workers stop first, because they may use the API; then the API, so
//! that no more events are accepted; then the analysis, which commits what it has read; then the state
//! is saved.

use crate::core::{
    model::{
        Action, GenerationState, LogRecord, StopRequest, SupervisorPhase, WorkerSignal, WorkerSlot,
        WorkerSlotId,
        policy::{FORCE_AFTER, SAVE_TIMEOUT},
    },
    transition::Transition,
};
use bulkhead_proto::wire::role::Role;

impl Transition<'_> {
    /// The first stop signal begins the orderly stop. Another one ends everything at once if a terminal sent it, or if it
    /// comes some time after the first.
    pub(in crate::core) fn stop_signal(&mut self, origin: String, terminal: bool) {
        match self.state.phase {
            SupervisorPhase::New => self.exit_with(None),
            SupervisorPhase::Up => self.begin_shutdown(origin),
            SupervisorPhase::Stopping(_) | SupervisorPhase::Saving { .. } => {
                let since = self.state.stopping_since.map(|since| self.now.mono.since(since));
                if terminal || since.is_none_or(|since| since >= FORCE_AFTER) {
                    self.exit_immediately(&origin);
                } else {
                    self.log(LogRecord::StopSignalIgnored { origin });
                }
            }
            SupervisorPhase::Gone => {}
        }
    }

    fn begin_shutdown(&mut self, origin: String) {
        self.log(LogRecord::SupervisorStopping { why: origin });
        self.state.phase = SupervisorPhase::Stopping(Role::Plain);
        self.state.stopping_since = Some(self.now.mono);
        for id in self.state.worker_ids() {
            self.fail_waiters(id, "the supervisor is stopping");
        }
        for slot_id in self.state.slot_ids() {
            match self.state.slot(slot_id) {
                GenerationState::Stopped
                | GenerationState::Backoff { .. }
                | GenerationState::Parked { .. } => {
                    *self.state.slot_mut(slot_id) = GenerationState::Stopped;
                }
                // A restart in progress is given up.
                GenerationState::Live(process)
                    if slot_id.slot != WorkerSlot::Main && process.is_starting() =>
                {
                    self.begin_stop(slot_id, StopRequest::Shutdown);
                }
                GenerationState::Live(_) => {}
            }
        }
        self.stop_role(Role::Plain);
    }

    /// Continues as soon as nothing is left to wait for.
    pub(in crate::core) fn advance_shutdown(&mut self) {
        while let SupervisorPhase::Stopping(role) = self.state.phase {
            if !self.state.slot_ids_of(role).into_iter().all(|slot_id| self.is_gone_or_given_up(slot_id)) {
                return;
            }
            let next = match role {
                Role::Plain => Role::Api,
                Role::Api => Role::Analytics,
                Role::Analytics => return self.begin_saving(),
            };
            self.state.phase = SupervisorPhase::Stopping(next);
            self.stop_role(next);
        }
    }

    fn stop_role(&mut self, role: Role) {
        for slot_id in self.state.slot_ids_of(role) {
            self.begin_stop(slot_id, StopRequest::Shutdown);
        }
    }

    fn is_gone_or_given_up(&self, slot_id: WorkerSlotId) -> bool {
        match self.state.slot(slot_id) {
            GenerationState::Stopped => true,
            GenerationState::Live(process) => process.is_given_up(),
            GenerationState::Backoff { .. } | GenerationState::Parked { .. } => false,
        }
    }

    fn begin_saving(&mut self) {
        self.state.phase = SupervisorPhase::Saving { deadline: self.now.mono.after(SAVE_TIMEOUT) };
        let settled = !self.any_process_left();
        self.actions.push(Action::Save { settled });
    }

    fn any_process_left(&self) -> bool {
        self.state.slot_ids().any(|slot_id| self.state.process(slot_id).is_some())
    }

    /// Saving is finished, or failed.
    pub(in crate::core) fn saved(&mut self, result: Result<(), String>) {
        if !matches!(self.state.phase, SupervisorPhase::Saving { .. }) {
            return;
        }
        let problem = match result {
            Err(error) => Some(format!("nothing was saved: {error}")),
            Ok(()) if self.any_process_left() => Some("a process that cannot be killed remains".to_owned()),
            Ok(()) => None,
        };
        self.exit_with(problem);
    }

    /// Saving took too long.
    pub(in crate::core) fn saving_timed_out(&mut self) {
        self.exit_with(Some(format!("nothing was saved within {} s", SAVE_TIMEOUT.as_secs())));
    }

    fn exit_immediately(&mut self, origin: &str) {
        let processes = self.state.slot_ids().filter_map(|slot_id| self.state.process(slot_id));
        self.actions.extend(processes.map(|process| Action::Signal {
            generation: process.generation,
            signal: WorkerSignal::Kill,
            group: true,
        }));
        self.exit_with(Some(format!(
            "{origin}, a second stop signal: all workers were killed and nothing was saved"
        )));
    }

    fn exit_with(&mut self, problem: Option<String>) {
        self.state.phase = SupervisorPhase::Gone;
        let code = u8::from(problem.is_some());
        self.log(LogRecord::SupervisorStopped { problem });
        self.actions.push(Action::Exit { code });
    }
}
