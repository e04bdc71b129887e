//! The supervisor's own end: plain workers first, for they may use the API; then the API, so that nothing more is
//! accepted; then the analysis, which commits what it has read; then the rest is saved.

use super::{
    Action, Asked, Course, Is, LogRecord, Signal, Stage, Turn,
    mutant::{self, Mutant},
    policy::SAVE_TIMEOUT,
    turn::{At, Lane},
};
use bulkhead_proto::wire::role::Role;

impl Turn<'_> {
    pub(super) fn stop_signal(&mut self, origin: String) {
        match self.state.course {
            Course::New => self.leave(None),
            Course::Up => self.begin_shutdown(origin),
            Course::Stopping(_) | Course::Saving { .. } => self.leave_at_once(&origin),
            Course::Gone => {}
        }
    }

    fn begin_shutdown(&mut self, origin: String) {
        self.log(LogRecord::SupervisorStopping { why: origin });
        self.state.course = Course::Stopping(Role::Plain);
        for id in self.state.ids() {
            self.disappoint_all(id, "the supervisor is stopping");
        }
        for at in self.state.places() {
            match self.state.is(at) {
                Some(Is::Backoff { .. } | Is::Parked { .. }) => self.put(at, Is::Stopped),
                // No restart is completed any more.
                Some(Is::Starting { .. } | Is::Standby { .. }) if at.lane == Lane::Successor => {
                    self.begin_stop(at, Asked::Shutdown);
                }
                Some(Is::Starting { .. } | Is::Standby { .. })
                | Some(Is::Stopped | Is::Running { .. } | Is::Stopping { .. })
                | None => {}
            }
        }
        self.stop_role(Role::Plain);
        if mutant::is(Mutant::StopAllAtOnce) {
            self.stop_role(Role::Api);
            self.stop_role(Role::Analytics);
        }
    }

    /// Goes on as soon as nothing is left to wait for.
    pub(super) fn advance_shutdown(&mut self) {
        while let Course::Stopping(role) = self.state.course {
            if !self.state.places_of(role).into_iter().all(|at| self.settled(at)) {
                return;
            }
            let next = match role {
                Role::Plain => Role::Api,
                Role::Api => Role::Analytics,
                Role::Analytics => return self.begin_saving(),
            };
            self.state.course = Course::Stopping(next);
            self.stop_role(next);
        }
    }

    fn stop_role(&mut self, role: Role) {
        for at in self.state.places_of(role) {
            self.begin_stop(at, Asked::Shutdown);
        }
    }

    fn settled(&self, at: At) -> bool {
        match self.state.is(at) {
            None | Some(Is::Stopped | Is::Stopping { stage: Stage::GivenUp, .. }) => true,
            Some(Is::Stopping { stage: Stage::Drain | Stage::Abort | Stage::Term | Stage::Kill, .. })
            | Some(Is::Starting { .. } | Is::Standby { .. } | Is::Running { .. })
            | Some(Is::Backoff { .. } | Is::Parked { .. }) => false,
        }
    }

    fn begin_saving(&mut self) {
        self.state.course = Course::Saving { deadline: self.now.mono.after(SAVE_TIMEOUT) };
        let settled = !self.anyone_left();
        self.actions.push(Action::Save { settled });
    }

    fn anyone_left(&self) -> bool {
        self.state.places().any(|at| self.state.is(at).is_some_and(|is| is.process().is_some()))
    }

    pub(super) fn saved(&mut self, result: Result<(), String>) {
        match self.state.course {
            Course::Saving { .. } => {}
            Course::New | Course::Up | Course::Stopping(_) | Course::Gone => return,
        }
        let trouble = match result {
            Err(error) => Some(format!("nothing was saved: {error}")),
            Ok(()) if self.anyone_left() => {
                Some("a process that cannot be killed was left behind".to_owned())
            }
            Ok(()) => None,
        };
        self.leave(trouble);
    }

    /// Saving takes too long.
    pub(super) fn saving_timed_out(&mut self) {
        self.leave(Some(format!("nothing was saved within {} s", SAVE_TIMEOUT.as_secs())));
    }

    fn leave_at_once(&mut self, origin: &str) {
        let living: Vec<_> =
            self.state.places().filter_map(|at| Some(self.state.is(at)?.process()?.generation)).collect();
        for generation in living {
            self.actions.push(Action::Signal { generation, signal: Signal::Kill, group: true });
        }
        self.leave(Some(format!("{origin}, a second time: everything was killed and nothing saved")));
    }

    fn leave(&mut self, trouble: Option<String>) {
        self.state.course = Course::Gone;
        let code = u8::from(trouble.is_some());
        self.log(LogRecord::SupervisorStopped { trouble });
        self.actions.push(Action::Exit { code });
    }
}
