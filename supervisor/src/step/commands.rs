//! What operators ask for. A command is checked against what is the case now; whatever crosses it later is settled
//! by `wanted`, which commands and reloads alone change.

use super::{
    Asked, Command, Course, Goal, Is, Millis, Stage, State, Turn, Wanted, WorkerId,
    event::ClientId,
    policy::START_SPACING,
    turn::{At, Lane},
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation};

impl State {
    /// Why no command is carried out at this time, if so.
    #[must_use]
    pub const fn not_now(&self) -> Option<&'static str> {
        match self.course {
            Course::Up => None,
            Course::New => Some("the supervisor is only just starting: try again"),
            Course::Stopping(_) | Course::Saving { .. } | Course::Gone => Some("the supervisor is stopping"),
        }
    }
}

impl Turn<'_> {
    pub(super) fn command(&mut self, client: ClientId, command: &Command) {
        if let Some(why) = self.not_now() {
            return self.refuse(client, why.to_owned());
        }
        let name = command.worker();
        match (self.state.named(name), command) {
            (_, Command::Add(spec)) => self.add(client, spec),
            (None, _) => {
                let why = self.state.unknown(name);
                self.answer(client, RequestOutcome::NotFound(why.clone()), why);
            }
            (Some(id), Command::Fault(_, kind)) => match self.fault(id, *kind) {
                Ok((text, effect)) => {
                    self.answer(client, RequestOutcome::Done, text);
                    self.actions.extend(effect);
                }
                Err(refusal) => self.answer(client, refusal.outcome(), refusal.text().to_owned()),
            },
            (Some(id), Command::Start(_)) => self.if_may_wait(id, client, Self::start),
            (Some(id), Command::Stop(_)) => self.if_may_wait(id, client, Self::stop),
            (Some(id), Command::Restart(_)) => self.if_may_wait(id, client, Self::restart),
            // There is one reload at a time: it is no crowd.
            (Some(id), Command::Replace(_)) => self.replace(id, client),
            (Some(id), Command::Remove(_)) => self.remove(id, client),
        }
    }

    fn if_may_wait(&mut self, id: WorkerId, client: ClientId, then: fn(&mut Self, WorkerId, ClientId)) {
        if self.may_wait(id, client) {
            then(self, id, client);
        }
    }

    /// Why no command is carried out at this time, if so.
    pub(super) const fn not_now(&self) -> Option<&'static str> {
        self.state.not_now()
    }

    pub(super) fn start(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest) = (worker.name.clone(), worker.generation);
        if let Some(process) = worker.running() {
            let text = format!("{name} is running already: generation {}", process.generation);
            return self.answer(client, RequestOutcome::Done, text);
        }
        let (main, is) = (At { id, lane: Lane::Main }, &worker.main);
        let after = match is {
            Is::Stopping { stage: Stage::GivenUp, .. } => {
                self.want(id, Wanted::Running, "start");
                return self.refuse(client, stuck(&name));
            }
            // One that is on its way already will do.
            Is::Starting { process, .. } | Is::Standby { process } => before(process.generation),
            Is::Stopping { .. } | Is::Running { .. } => match &worker.successor {
                Some(Is::Starting { process, .. } | Is::Standby { process }) => before(process.generation),
                // It has died while its predecessor was leaving.
                Some(Is::Backoff { .. } | Is::Parked { .. }) => {
                    self.start_afresh(At { id, lane: Lane::Successor });
                    newest
                }
                Some(Is::Running { .. } | Is::Stopping { .. } | Is::Stopped) | None => newest,
            },
            Is::Stopped | Is::Backoff { .. } | Is::Parked { .. } => {
                self.start_afresh(main);
                newest
            }
        };
        self.want(id, Wanted::Running, "start");
        self.wait(id, client, Goal::Running { after });
    }

    fn stop(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, none) = (worker.name.clone(), worker.main == Is::Stopped);
        let given_up = matches!(worker.main, Is::Stopping { stage: Stage::GivenUp, .. });
        self.want(id, Wanted::Stopped, "stop");
        self.begin_stop(At { id, lane: Lane::Successor }, Asked::Stop);
        self.begin_stop(At { id, lane: Lane::Main }, Asked::Stop);
        if given_up {
            self.refuse(client, stuck(&name));
        } else if none {
            self.answer(client, RequestOutcome::Done, format!("{name} is stopped already"));
        } else {
            self.wait(id, client, Goal::Stopped);
        }
    }

    fn restart(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let (name, newest) = (worker.name.clone(), worker.generation);
        let under_way = match (&worker.successor, &worker.main) {
            (None, _) => false,
            (Some(Is::Backoff { .. } | Is::Parked { .. }), Is::Stopping { .. }) => false,
            (Some(_), _) => worker.wanted == Wanted::Running,
        };
        if under_way {
            return self
                .refuse(client, format!("{name} is being replaced already: wait for the end of that"));
        }
        if matches!(worker.main, Is::Stopping { stage: Stage::GivenUp, .. }) {
            self.want(id, Wanted::Running, "restart");
            return self.refuse(client, stuck(&name));
        }
        self.want(id, Wanted::Running, "restart");
        self.disappoint_if(id, "overtaken by `restart`", |_| true);
        self.begin_renewal(id, Asked::Restart);
        self.wait(id, client, Goal::Running { after: newest });
    }

    /// Changes what is wanted. Who waits for the contrary waits in vain from here on.
    pub(super) fn want(&mut self, id: WorkerId, wanted: Wanted, by: &str) {
        let worker = self.worker_mut(id);
        worker.wanted = wanted;
        if wanted != Wanted::Running {
            worker.renewal = None;
        }
        self.disappoint_if(id, &format!("overtaken by `{by}`"), |goal| match (goal, wanted) {
            (Goal::Stopped, Wanted::Running)
            | (Goal::Running { .. } | Goal::Replaced { .. }, Wanted::Stopped | Wanted::Removed) => true,
            (Goal::Stopped, Wanted::Stopped | Wanted::Removed)
            | (Goal::Running { .. } | Goal::Replaced { .. }, Wanted::Running) => false,
        });
    }

    /// A new generation as soon as there is room. An operator who asks for it has seen the deaths before.
    pub(super) fn start_afresh(&mut self, at: At) {
        self.worker_mut(at.id).tally.clear();
        let until = self.soon(at.id);
        self.put(at, Is::Backoff { until });
    }

    pub(super) fn soon(&self, id: WorkerId) -> Millis {
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

pub(super) fn stuck(name: &str) -> String {
    format!(
        "the last process of {name} cannot be killed: it is stuck in the kernel; nothing can be done before it dies"
    )
}
