//! What operators ask for. A command is checked against what is the case now; whatever crosses it later is settled
//! by `desired`, which commands and reloads alone change.

use crate::core::{
    commands::names::unkillable,
    model::{
        ClientId, Command, DesiredState, GenerationState, Goal, Millis, State, StopRequest, StopStage,
        SupervisorPhase, WorkerId, WorkerSlot, WorkerSlotId, policy::START_SPACING,
    },
    transition::Transition,
};
use bulkhead_proto::{control::Outcome, ids::Generation};

impl State {
    /// Why no command is carried out at this time, if so.
    #[must_use]
    pub const fn refusal(&self) -> Option<&'static str> {
        match self.phase {
            SupervisorPhase::Up => None,
            SupervisorPhase::New => Some("the supervisor is only just starting: try again"),
            SupervisorPhase::Stopping(_) | SupervisorPhase::Saving { .. } | SupervisorPhase::Gone => {
                Some("the supervisor is stopping")
            }
        }
    }
}

impl Transition<'_> {
    pub(in crate::core) fn command(&mut self, client: ClientId, command: &Command) {
        if let Some(why) = self.refusal() {
            return self.refuse(client, why.to_owned());
        }
        let name = command.worker();
        match (self.state.named(name), command) {
            (_, Command::Add(spec)) => self.add(client, spec),
            (None, _) => {
                let why = self.state.unknown_worker(name);
                self.answer(client, Outcome::NotFound(why.clone()), why);
            }
            (Some(id), Command::Fault(_, kind)) => match self.fault(id, *kind) {
                Ok((text, effect)) => {
                    self.answer(client, Outcome::Done, text);
                    self.actions.extend(effect);
                }
                Err(refusal) => self.answer(client, refusal.outcome(), refusal.text().to_owned()),
            },
            (Some(id), Command::Start(_)) => self.if_can_wait(id, client, Self::start),
            (Some(id), Command::Stop(_)) => self.if_can_wait(id, client, Self::stop),
            (Some(id), Command::Restart(_)) => self.if_can_wait(id, client, Self::restart),
            // There is one reload at a time: it is no crowd.
            (Some(id), Command::Replace(_)) => self.replace(id, client),
            (Some(id), Command::Remove(_)) => self.remove(id, client),
        }
    }

    fn if_can_wait(&mut self, id: WorkerId, client: ClientId, then: fn(&mut Self, WorkerId, ClientId)) {
        if self.can_wait(id, client) {
            then(self, id, client);
        }
    }

    /// Why no command is carried out at this time, if so.
    pub(in crate::core) const fn refusal(&self) -> Option<&'static str> {
        self.state.refusal()
    }

    pub(in crate::core) fn start(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest) = (worker.name.clone(), worker.generation);
        if let Some(process) = worker.running() {
            let text = format!("{name} is running already: generation {}", process.generation);
            return self.answer(client, Outcome::Done, text);
        }
        let (main, slot_state) = (WorkerSlotId { worker: id, slot: WorkerSlot::Main }, &worker.main);
        let after = match slot_state {
            GenerationState::Stopping { stage: StopStage::GivenUp, .. } => {
                self.set_desired(id, DesiredState::Running, "start");
                return self.refuse(client, unkillable(&name));
            }
            // One that is on its way already will do.
            GenerationState::Starting { process, .. } | GenerationState::Standby { process } => {
                before(process.generation)
            }
            GenerationState::Stopping { .. } | GenerationState::Running { .. } => match &worker.successor {
                Some(GenerationState::Starting { process, .. } | GenerationState::Standby { process }) => {
                    before(process.generation)
                }
                // It has died while its predecessor was leaving.
                Some(GenerationState::Backoff { .. } | GenerationState::Parked { .. }) => {
                    self.start_immediately(WorkerSlotId { worker: id, slot: WorkerSlot::Successor });
                    newest
                }
                Some(
                    GenerationState::Running { .. }
                    | GenerationState::Stopping { .. }
                    | GenerationState::Stopped,
                )
                | None => newest,
            },
            GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. } => {
                self.start_immediately(main);
                newest
            }
        };
        self.set_desired(id, DesiredState::Running, "start");
        self.add_waiter(id, client, Goal::Running { after });
    }

    fn stop(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, none) = (worker.name.clone(), worker.main == GenerationState::Stopped);
        let given_up = matches!(worker.main, GenerationState::Stopping { stage: StopStage::GivenUp, .. });
        self.set_desired(id, DesiredState::Stopped, "stop");
        self.begin_stop(WorkerSlotId { worker: id, slot: WorkerSlot::Successor }, StopRequest::Stop);
        self.begin_stop(WorkerSlotId { worker: id, slot: WorkerSlot::Main }, StopRequest::Stop);
        if given_up {
            self.refuse(client, unkillable(&name));
        } else if none {
            self.answer(client, Outcome::Done, format!("{name} is stopped already"));
        } else {
            self.add_waiter(id, client, Goal::Stopped);
        }
    }

    fn restart(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest) = (worker.name.clone(), worker.generation);
        let under_way = match (&worker.successor, &worker.main) {
            (None, _) => false,
            (
                Some(GenerationState::Backoff { .. } | GenerationState::Parked { .. }),
                GenerationState::Stopping { .. },
            ) => false,
            (Some(_), _) => worker.desired == DesiredState::Running,
        };
        if under_way {
            return self
                .refuse(client, format!("{name} is being replaced already: wait for the end of that"));
        }
        if matches!(worker.main, GenerationState::Stopping { stage: StopStage::GivenUp, .. }) {
            self.set_desired(id, DesiredState::Running, "restart");
            return self.refuse(client, unkillable(&name));
        }
        self.set_desired(id, DesiredState::Running, "restart");
        self.fail_waiters_if(id, "overtaken by `restart`", |_| true);
        self.begin_replacement(id, StopRequest::Restart);
        self.add_waiter(id, client, Goal::Running { after: newest });
    }

    /// Changes what is wanted. Who waits for the contrary waits in vain from here on.
    pub(in crate::core) fn set_desired(&mut self, id: WorkerId, desired: DesiredState, by: &str) {
        let worker = self.worker_mut(id);
        worker.desired = desired;
        if desired != DesiredState::Running {
            worker.replacement = None;
        }
        self.fail_waiters_if(id, &format!("overtaken by `{by}`"), |goal| match (goal, desired) {
            (Goal::Stopped, DesiredState::Running)
            | (Goal::Running { .. } | Goal::Replaced { .. }, DesiredState::Stopped | DesiredState::Removed) => true,
            (Goal::Stopped, DesiredState::Stopped | DesiredState::Removed)
            | (Goal::Running { .. } | Goal::Replaced { .. }, DesiredState::Running) => false,
        });
    }

    /// A new generation as soon as there is room. An operator who asks for it has seen the deaths before.
    pub(in crate::core) fn start_immediately(&mut self, slot_id: WorkerSlotId) {
        self.worker_mut(slot_id.worker).restart_budget.clear();
        let until = self.earliest_start(slot_id.worker);
        self.set_slot(slot_id, GenerationState::Backoff { until });
    }

    pub(in crate::core) fn earliest_start(&self, id: WorkerId) -> Millis {
        let worker = self.worker(id);
        if worker.generation == Generation(0) {
            return self.now.mono;
        }
        self.now.mono.max(worker.started.after(START_SPACING))
    }
}

const fn before(generation: Generation) -> Generation {
    Generation(generation.0.saturating_sub(1))
}
