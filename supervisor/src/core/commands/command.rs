//! Operator commands. A command is checked against the present state and sets `desired`. Later events follow
//! `desired`, which only commands and reloads change.

use crate::core::{
    commands::names::unkillable,
    model::{
        ClientId, Command, DesiredState, GenerationState, Goal, Millis, Process, State, StopRequest,
        SupervisorPhase, WorkerId, WorkerSlotId, policy::START_SPACING,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation};

impl State {
    /// The reason why no command is accepted at present.
    #[must_use]
    pub const fn refusal(&self) -> Option<&'static str> {
        match self.phase {
            SupervisorPhase::Up => None,
            SupervisorPhase::New => Some("the supervisor is starting: try again"),
            SupervisorPhase::Stopping(_) | SupervisorPhase::Saving { .. } | SupervisorPhase::Gone => {
                Some("the supervisor is stopping")
            }
        }
    }
}

impl Transition<'_> {
    pub(in crate::core) fn command(&mut self, client: ClientId, command: &Command) {
        if let Some(why) = self.state.refusal() {
            return self.refuse(client, why.to_owned());
        }
        let name = command.worker();
        match (self.state.named(name), command) {
            (_, Command::Add(spec)) => self.add(client, spec),
            (None, _) => {
                let why = self.state.unknown_worker(name);
                self.answer(client, RequestOutcome::NotFound(why.clone()), why);
            }
            (Some(id), Command::Fault(_, kind)) => match self.fault(id, *kind) {
                Ok((text, effect)) => {
                    self.answer(client, RequestOutcome::Done, text);
                    self.actions.extend(effect);
                }
                Err(refusal) => self.answer(client, refusal.outcome(), refusal.text().to_owned()),
            },
            (Some(id), Command::Start(_)) => self.if_can_wait(id, client, Self::start),
            (Some(id), Command::Stop(_)) => self.if_can_wait(id, client, Self::stop),
            (Some(id), Command::Restart(_)) => self.if_can_wait(id, client, Self::restart),
            // Exempt from the limit: only one reload runs at a time.
            (Some(id), Command::Replace(_)) => self.replace(id, client),
            (Some(id), Command::Remove(_)) => self.remove(id, client),
        }
    }

    fn if_can_wait(&mut self, id: WorkerId, client: ClientId, then: fn(&mut Self, WorkerId, ClientId)) {
        if self.can_wait(id, client) {
            then(self, id, client);
        }
    }

    pub(in crate::core) fn start(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest) = (worker.name.clone(), worker.generation);
        if let Some(process) = worker.running() {
            let text = format!("{name} is already running: generation {}", process.generation);
            return self.answer(client, RequestOutcome::Done, text);
        }
        let after_standby =
            worker.usable_standby().map_or(newest, |standby| predecessor_of(standby.generation));
        let after = match (&worker.main, &worker.successor) {
            (GenerationState::Live(process), _) if process.is_given_up() => {
                self.set_desired(id, DesiredState::Running, "start");
                return self.refuse(client, unkillable(&name));
            }
            // A start in progress counts.
            (GenerationState::Live(process), _) | (_, GenerationState::Live(process))
                if process.is_starting() =>
            {
                predecessor_of(process.generation)
            }
            // The successor died while its predecessor was stopping.
            (GenerationState::Live(_), GenerationState::Backoff { .. } | GenerationState::Parked { .. }) => {
                self.start_immediately(id.successor());
                newest
            }
            // The process is stopping; its standby may take over.
            (GenerationState::Live(_), GenerationState::Live(_) | GenerationState::Stopped) => after_standby,
            (
                GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. },
                _,
            ) => {
                self.start_immediately(id.main());
                after_standby
            }
        };
        self.set_desired(id, DesiredState::Running, "start");
        if self.worker(id).poison_tracker.brake.engaged.is_some() {
            self.clear_brake(id);
        }
        self.add_waiter(id, client, Goal::Running { after });
    }

    fn stop(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, already_stopped) = (worker.name.clone(), worker.is_stopped());
        let given_up = worker.is_given_up() || worker.standby.process().is_some_and(Process::is_given_up);
        self.set_desired(id, DesiredState::Stopped, "stop");
        self.begin_stop(id.standby(), StopRequest::Stop);
        self.begin_stop(id.successor(), StopRequest::Stop);
        self.begin_stop(id.main(), StopRequest::Stop);
        if given_up {
            self.refuse(client, unkillable(&name));
        } else if already_stopped {
            self.answer(client, RequestOutcome::Done, format!("{name} is already stopped"));
        } else {
            self.add_waiter(id, client, Goal::Stopped);
        }
    }

    fn restart(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest, given_up) = (worker.name.clone(), worker.generation, worker.is_given_up());
        let under_way = match (&worker.successor, &worker.main) {
            (GenerationState::Stopped, _) => false,
            (
                GenerationState::Backoff { .. } | GenerationState::Parked { .. },
                GenerationState::Live(process),
            ) if process.stop().is_some() => false,
            (
                GenerationState::Backoff { .. } | GenerationState::Parked { .. } | GenerationState::Live(_),
                _,
            ) => worker.desired == DesiredState::Running,
        };
        if under_way {
            return self.refuse(client, format!("{name} is already being replaced: wait until that is done"));
        }
        self.set_desired(id, DesiredState::Running, "restart");
        if given_up {
            return self.refuse(client, unkillable(&name));
        }
        self.fail_waiters_if(id, "superseded by `restart`", |_| true);
        self.clear_brake(id);
        self.begin_replacement(id, StopRequest::Restart);
        self.add_waiter(id, client, Goal::Running { after: newest });
    }

    /// Changes the desired state. Clients that wait for the opposite fail.
    pub(in crate::core) fn set_desired(&mut self, id: WorkerId, desired: DesiredState, by: &str) {
        let worker = self.worker_mut(id);
        worker.resumes |= worker.desired != DesiredState::Running && desired == DesiredState::Running;
        worker.desired = desired;
        if desired != DesiredState::Running {
            worker.replacement = None;
        }
        self.fail_waiters_if(id, &format!("superseded by `{by}`"), |goal| match (goal, desired) {
            (Goal::Stopped, DesiredState::Running)
            | (Goal::Running { .. } | Goal::Replaced { .. }, DesiredState::Stopped | DesiredState::Removed) => true,
            (Goal::Stopped, DesiredState::Stopped | DesiredState::Removed)
            | (Goal::Running { .. } | Goal::Replaced { .. }, DesiredState::Running) => false,
        });
    }

    /// Schedules a new generation for the earliest time, and clears the restart budget: the operator knows of the
    /// deaths.
    pub(in crate::core) fn start_immediately(&mut self, slot_id: WorkerSlotId) {
        self.worker_mut(slot_id.worker).restart_budget.clear();
        let until = self.earliest_start(slot_id.worker);
        *self.state.slot_mut(slot_id) = GenerationState::Backoff { until };
    }

    pub(in crate::core) fn earliest_start(&self, id: WorkerId) -> Millis {
        let worker = self.worker(id);
        if worker.generation == Generation(0) {
            return self.now.mono;
        }
        self.now.mono.max(worker.started.after(START_SPACING))
    }
}

/// With this generation as `after`, the goal is reached by `generation` itself.
const fn predecessor_of(generation: Generation) -> Generation {
    Generation(generation.0.saturating_sub(1))
}
