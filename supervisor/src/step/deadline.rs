//! Everything that happens because time has passed: in one place, so that what is waited for is also done.

use super::{
    Course, Is, Millis, Process, State, Turn,
    mutant::{self, Mutant},
    policy::HEALTHY_AFTER,
    turn::{At, Lane},
};

/// When the shell must send [`super::Event::Tick`] at the latest; nothing, if only an event can change anything. What is due but has no room is no deadline: room is made by an event.
#[must_use]
pub fn next_deadline(state: &State) -> Option<Millis> {
    let own = match state.course {
        Course::New | Course::Gone => return None,
        Course::Up => state.plain_wait,
        Course::Stopping(_) => None,
        Course::Saving { deadline } => Some(deadline),
    };
    let launch = |at: At| match state.course {
        Course::Up => {
            state.is(at).and_then(Is::due).filter(|_| state.may_start(at) || mutant::is(Mutant::TickForEver))
        }
        Course::New | Course::Stopping(_) | Course::Saving { .. } | Course::Gone => None,
    };
    state.places().flat_map(|at| [state.expiry(at), launch(at)]).flatten().chain(own).min()
}

impl Turn<'_> {
    /// Does what is overdue, apart from launching. One stage a turn: after a jump of time the next stage gets its own span.
    pub(super) fn expire(&mut self) {
        // A second signal may have ended all in this very turn.
        if self.state.course == Course::Gone {
            return;
        }
        let now = self.now.mono;
        for at in self.state.places() {
            if self.state.expiry(at).is_some_and(|expiry| expiry <= now) {
                self.expired(at);
            }
        }
        if self.state.plain_wait.is_some_and(|until| until <= now) {
            self.state.plain_wait = None;
        }
        match self.state.course {
            Course::Saving { deadline } if deadline <= now => self.saving_timed_out(),
            Course::Saving { .. } | Course::New | Course::Up | Course::Stopping(_) | Course::Gone => {}
        }
    }

    fn expired(&mut self, at: At) {
        match self.state.is(at) {
            Some(Is::Starting { deadline, .. }) => self.start_expired(at, *deadline),
            Some(Is::Stopping { .. }) => self.escalate(at),
            Some(Is::Running { .. }) => self.ripened(at),
            Some(Is::Stopped | Is::Standby { .. } | Is::Backoff { .. } | Is::Parked { .. }) | None => {}
        }
    }
}

impl State {
    /// When a running probe will have proved itself; one that may be hanging proves nothing yet.
    fn proof(&self, at: At, process: &Process) -> Option<Millis> {
        let worker = &self.workers[usize::from(at.id.0)];
        let probing = at.lane == Lane::Main && worker.tally.probing;
        let sound = probing && process.vigil.is_sound(worker.hang_timeout);
        process.activated.filter(|_| sound).map(|activated| activated.after(HEALTHY_AFTER))
    }

    /// When the state at that place ends by itself, launching apart.
    fn expiry(&self, at: At) -> Option<Millis> {
        match self.is(at)? {
            Is::Starting { .. } if mutant::is(Mutant::NeverTimeOut) => None,
            Is::Starting { deadline, .. } => Some(*deadline),
            Is::Stopping { deadline, .. } => *deadline,
            Is::Running { process } => {
                [self.proof(at, process), process.vigil.due()].into_iter().flatten().min()
            }
            Is::Stopped | Is::Standby { .. } | Is::Backoff { .. } | Is::Parked { .. } => None,
        }
    }
}

impl Turn<'_> {
    /// A probe has proved itself, or a look is due.
    fn ripened(&mut self, at: At) {
        let now = self.now.mono;
        let Some(Is::Running { process }) = self.state.is(at) else { return };
        let proved = self.state.proof(at, process).is_some_and(|proof| proof <= now);
        let look = process.vigil.due().is_some_and(|due| due <= now);
        if proved {
            self.recovered(at.id);
        }
        if look {
            self.look(at);
        }
    }
}

impl Is {
    /// When the next generation may be spawned here, if none is there.
    pub(super) const fn due(&self) -> Option<Millis> {
        match self {
            Self::Backoff { until } => Some(*until),
            Self::Parked { probe } => *probe,
            Self::Stopped
            | Self::Starting { .. }
            | Self::Standby { .. }
            | Self::Running { .. }
            | Self::Stopping { .. } => None,
        }
    }
}
