//! One turn of the heart: the state, the time, and the actions so far. The other files add what a turn can do.

use super::{
    Action, Course, Is, LogRecord, Now, Process, State, Who, Worker, WorkerId,
    event::{ClientId, Event},
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation, role::Role};

/// The order in which workers are started; they are stopped in the reverse order of what they need of each other.
pub(super) const START_ORDER: [Role; 3] = [Role::Api, Role::Analytics, Role::Plain];

/// One of a worker's two places for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Main,
    Successor,
}

/// The place of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) id: WorkerId,
    pub(super) lane: Lane,
}

pub(super) struct Turn<'a> {
    pub(super) state: &'a mut State,
    pub(super) now: Now,
    pub(super) actions: Vec<Action>,
}

impl Turn<'_> {
    /// Takes the event in, then does all that has become possible or due.
    pub(super) fn run(&mut self, event: Event) {
        if self.state.course == Course::Gone && !matches!(event, Event::Command { .. }) {
            return;
        }
        self.take_in(event);
        self.expire();
        self.advance_shutdown();
        self.renew();
        self.launch();
        self.answer_the_content();
        self.forget();
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Boot => self.boot(),
            Event::Spawned { generation, pid } => self.spawned(generation, pid),
            Event::SpawnFailed { generation, error, config } => self.spawn_failed(generation, &error, config),
            Event::Frame { generation, frame } => self.frame(generation, frame),
            Event::BadFrame { generation, why } => self.bad_frame(generation, &why),
            Event::PipeFull { generation, frame } => self.pipe_full(generation, &frame),
            Event::Rung(role) => self.rung(role),
            Event::Looked { generation, look } => self.looked(generation, &look),
            Event::Died { generation, exit, post_mortem } => self.died(generation, exit, &post_mortem),
            Event::Command { client, command } => self.command(client, &command),
            Event::Left { client } => self.left(client),
            Event::Configured { policy, specs } => self.configured(policy, &specs),
            Event::StopSignal { origin } => self.stop_signal(origin),
            Event::SetAside { charge, result } => self.set_aside(charge, result),
            Event::Saved { result } => self.saved(result),
            Event::Tick => {}
        }
    }

    pub(super) fn log(&mut self, record: LogRecord) {
        self.actions.push(Action::Log(record));
    }

    pub(super) fn answer(&mut self, client: ClientId, outcome: RequestOutcome, text: String) {
        self.actions.push(Action::Answer { client, outcome, text });
    }

    pub(super) fn refuse(&mut self, client: ClientId, why: String) {
        self.answer(client, RequestOutcome::Conflict(why.clone()), why);
    }

    pub(super) fn worker(&self, id: WorkerId) -> &Worker {
        &self.state.workers[usize::from(id.0)]
    }

    pub(super) fn worker_mut(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.state.workers[usize::from(id.0)]
    }

    /// Where that generation's process is, if there still is one.
    pub(super) fn find(&self, generation: Generation) -> Option<At> {
        self.state.places().find(|at| {
            self.state.is(*at).and_then(Is::process).is_some_and(|process| process.generation == generation)
        })
    }

    /// Takes a place's content out; every caller puts something back.
    pub(super) fn take(&mut self, at: At) -> Is {
        let worker = self.worker_mut(at.id);
        match at.lane {
            Lane::Main => std::mem::replace(&mut worker.main, Is::Stopped),
            Lane::Successor => worker.successor.take().unwrap_or(Is::Stopped),
        }
    }

    pub(super) fn put(&mut self, at: At, is: Is) {
        let worker = self.worker_mut(at.id);
        match at.lane {
            Lane::Main => worker.main = is,
            Lane::Successor => worker.successor = if is == Is::Stopped { None } else { Some(is) },
        }
    }

    pub(super) fn process_mut(&mut self, at: At) -> Option<&mut Process> {
        let worker = self.worker_mut(at.id);
        match at.lane {
            Lane::Main => worker.main.process_mut(),
            Lane::Successor => worker.successor.as_mut().and_then(Is::process_mut),
        }
    }

    pub(super) fn who(&self, id: WorkerId, process: &Process) -> Who {
        Who { worker: self.worker(id).name.clone(), generation: process.generation, pid: process.pid }
    }
}

impl State {
    /// Every worker, in the order of the configuration.
    pub(super) fn ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..u8::try_from(self.workers.len()).unwrap_or(u8::MAX)).map(WorkerId)
    }

    /// Every place of every worker.
    pub(super) fn places(&self) -> impl Iterator<Item = At> + use<> {
        self.ids().flat_map(|id| [At { id, lane: Lane::Main }, At { id, lane: Lane::Successor }])
    }

    /// The places of the workers of a role.
    pub(super) fn places_of(&self, role: Role) -> Vec<At> {
        self.places().filter(|at| self.role(at.id) == role).collect()
    }

    pub(super) fn role(&self, id: WorkerId) -> Role {
        self.workers[usize::from(id.0)].role
    }

    /// What is at that place; nothing, if it is the empty place of a successor.
    pub(super) fn is(&self, at: At) -> Option<&Is> {
        let worker = &self.workers[usize::from(at.id.0)];
        match at.lane {
            Lane::Main => Some(&worker.main),
            Lane::Successor => worker.successor.as_ref(),
        }
    }
}
