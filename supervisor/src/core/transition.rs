//! One transition of the core: the state, the time, and the actions so far. The other modules add methods.

use crate::core::model::{
    Action, ClientId, Event, GenerationRef, LogRecord, Now, Process, State, SupervisorPhase, Worker,
    WorkerId, WorkerSlotId,
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation, role::Role};

/// The order in which workers are started.
pub(in crate::core) const START_ORDER: [Role; 3] = [Role::Api, Role::Analytics, Role::Plain];

pub(in crate::core) struct Transition<'a> {
    pub(in crate::core) state: &'a mut State,
    pub(in crate::core) now: Now,
    pub(in crate::core) actions: Vec<Action>,
}

impl Transition<'_> {
    /// Handles the event, then does everything that has become possible or due.
    pub(in crate::core) fn run(&mut self, event: Event) {
        if self.state.phase == SupervisorPhase::Gone && !matches!(event, Event::Command { .. }) {
            return;
        }
        self.dispatch(event);
        self.expire();
        self.advance_shutdown();
        self.advance_replacements();
        self.keep_standbys();
        self.start_due();
        self.complete_waiters();
        self.gc_removed();
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Boot => self.boot(),
            Event::Spawned { generation, pid } => self.spawned(generation, pid),
            Event::SpawnFailed { generation, error, config } => self.spawn_failed(generation, &error, config),
            Event::Frame { generation, frame } => self.frame(generation, frame),
            Event::BadFrame { generation, why } => self.bad_frame(generation, &why),
            Event::PipeFull { generation, frame } => self.pipe_full(generation, &frame),
            Event::WorkAvailable(role) => self.on_work(role),
            Event::Probed { generation, probe } => self.on_probe(generation, &probe),
            Event::Died { generation, post_mortem } => self.died(generation, *post_mortem),
            Event::Command { client, command } => self.command(client, &command),
            Event::ClientGone { client } => self.client_gone(client),
            Event::Configured { policy, specs } => self.configured(policy, &specs),
            Event::StopSignal { origin, terminal } => self.stop_signal(origin, terminal),
            Event::Quarantined { request, result } => self.quarantine_finished(request, result),
            Event::IsolatedStored { generation, result } => self.isolated_stored(generation, result),
            Event::Released { kept, error } => self.released(&kept, error.as_deref()),
            Event::Saved { result } => self.saved(result),
            Event::Tick => {}
        }
    }

    pub(in crate::core) fn log(&mut self, record: LogRecord) {
        self.actions.push(Action::Log(record));
    }

    pub(in crate::core) fn answer(&mut self, client: ClientId, outcome: RequestOutcome, text: String) {
        self.actions.push(Action::Answer { client, outcome, text });
    }

    pub(in crate::core) fn refuse(&mut self, client: ClientId, why: String) {
        self.answer(client, RequestOutcome::Conflict(why.clone()), why);
    }

    pub(in crate::core) fn worker(&self, id: WorkerId) -> &Worker {
        &self.state.workers[usize::from(id.0)]
    }

    pub(in crate::core) fn worker_mut(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.state.workers[usize::from(id.0)]
    }

    /// The slot of a generation's process, if it still has one.
    pub(in crate::core) fn find(&self, generation: Generation) -> Option<WorkerSlotId> {
        self.state.find(generation)
    }

    pub(in crate::core) fn process_mut(&mut self, slot_id: WorkerSlotId) -> Option<&mut Process> {
        self.state.slot_mut(slot_id).process_mut()
    }

    /// Logs a line about the process in this slot, if there is one.
    pub(in crate::core) fn log_about(
        &mut self,
        slot_id: WorkerSlotId,
        line: impl FnOnce(GenerationRef) -> LogRecord,
    ) {
        if let Some(process) = self.state.process(slot_id) {
            let subject = self.generation_ref(slot_id.worker, process);
            self.log(line(subject));
        }
    }

    pub(in crate::core) fn generation_ref(&self, id: WorkerId, process: &Process) -> GenerationRef {
        GenerationRef {
            worker: self.worker(id).name.clone(),
            generation: process.generation,
            pid: process.pid,
        }
    }
}

/// Handles one event and returns the actions, in order. The caller publishes `state` before it carries any action
/// out: see [`super::drive`].
#[must_use]
pub fn transition(state: &mut State, event: Event, now: Now) -> Vec<Action> {
    let mut transition = Transition { state, now, actions: Vec::new() };
    transition.run(event);
    transition.actions
}
