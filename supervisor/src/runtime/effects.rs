//! Carries out the actions of the core. The only place that touches processes.

use super::{
    blocking_task::BlockingTask, child::ChildEvent, clock, event_loop::Supervisor, recovery, status,
};
use crate::{
    control::{
        protocol::{CommandOutcome, ControlCommand, Reply, SUPERVISOR},
        server::ClientRequest,
    },
    core::{
        self, Action, ClientId, Effects, Event, LogRecord, Now, Panic, PostMortem, Probe, Progress,
        QuarantineRequest, RefusedAllocation, State, Worker,
    },
    display::error_chain,
    log::lifecycle,
    store::{crashes::ExitArtifacts, high_water::Numbers},
};
use bulkhead_proto::{
    shm::{cursor::Activity, memory::AnalyticsProgress, snapshot::Summary},
    wire::{control::ToWorker, ids::Generation, role::Role},
    worker::pipe::Sent,
};
use std::sync::Arc;

impl Effects for Supervisor {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn now(&self) -> Now {
        clock::now()
    }

    fn publish(&mut self) {
        self.reserve();
        let published = self
            .ledger
            .publish(&self.state)
            .and_then(|()| self.status_page.publish(&core::status(&self.state)));
        if let Err(error) = published {
            // The state is bounded to fit, so this is a bug. Readers keep seeing the previous state.
            tracing::error!("cannot publish the new state: {error}");
        }
    }

    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event> {
        match action {
            Action::Spawn { worker, generation } => return Some(self.spawn(&worker, generation)),
            Action::Send { generation, frame } => return self.send(generation, frame),
            Action::CloseControl { generation } => {
                if let Some(child) = self.children.get(generation) {
                    child.close_control();
                }
            }
            Action::Signal { generation, signal, group } => {
                if let Some(child) = self.children.get(generation)
                    && let Err(error) = child.signal(signal, group)
                {
                    tracing::error!(generation = generation.0, "cannot send a signal: {error}");
                }
            }
            Action::Probe { generation } => return self.probe(generation),
            Action::DumpThreads(subject) => {
                if let Some(child) = self.children.get(subject.generation) {
                    let threads = child.dump_threads();
                    lifecycle::write(&LogRecord::WorkerThreadsDumped { subject, threads });
                }
            }
            Action::Answer { client, outcome, text } => {
                self.answer(client, Reply::from_outcome(&outcome, text));
            }
            Action::ReserveSeqs { next } => {
                self.seq_high_water = self.seq_high_water.max(next.min(self.memory.tail().next_seq));
                self.reserve();
            }
            Action::RemoveQuarantined { requester, id, seq, replayed_as } => {
                self.remove_for_api(requester, id, seq, replayed_as);
            }
            Action::ReplayFailed { seq, why } => self.replay_failed(seq, &why),
            Action::Quarantine(request) => return self.quarantine_event(request),
            Action::WakeAnalytics => self.memory.wake_analytics(),
            Action::Log(record) => lifecycle::write(&record),
            Action::StoreReport(death_record) => self.report(death_record),
            Action::Save { settled } => return self.save(settled),
            Action::Exit { code } => self.exit = Some(code),
        }
        None
    }
}

impl Supervisor {
    /// Handles one event, and all events that its actions return.
    pub(super) fn drive(&mut self, event: Event) {
        core::drive(self, event);
    }

    /// Reserves numbers on disk before they are used. If the disk refuses, the service continues with an
    /// error in the log: numbers would be reused only if the supervisor died as well before the disk
    /// recovers.
    fn reserve(&mut self) {
        let next = Numbers {
            generation: self.state.next_generation,
            crash: self.state.next_crash,
            // The API's report may be late, or lost with the API; shared memory has what was used.
            seq: self.seq_high_water.max(self.memory.tail().next_seq),
        };
        if let Err(error) = self.marks.reserve(next) {
            tracing::error!(
                event_name = "marks_failed",
                "cannot reserve numbers on disk: {}",
                error_chain(&error)
            );
        }
    }

    fn spawn(&mut self, worker: &str, generation: Generation) -> Event {
        let Some((config, worker)) = self.config.worker(worker) else {
            return Event::SpawnFailed { generation, error: "no such worker".into(), config: true };
        };
        match self.spawner.spawn(config, worker, generation, &self.memory) {
            Ok(child) => {
                let pid = child.pid().as_raw_nonzero().get().unsigned_abs();
                self.children.add(generation, child);
                Event::Spawned { generation, pid }
            }
            Err(error) => Event::SpawnFailed { generation, error: error.text, config: error.config },
        }
    }

    /// Probes a process. A process that is gone meanwhile has no result.
    fn probe(&mut self, generation: Generation) -> Option<Event> {
        let cpu_available = self.children.get(generation)?.cpu_available();
        let AnalyticsProgress { owner, seq, steps, committed, pending } = self.memory.progress();
        let (progress, took_over) = (Progress { seq, steps, committed }, owner == generation);
        let probe = Probe {
            cpu_available,
            pending,
            took_over,
            progress,
            backlog_pending: self.idle_waiter.has_backlog(),
        };
        Some(Event::Probed { generation, probe })
    }

    fn send(&mut self, generation: Generation, frame: ToWorker) -> Option<Event> {
        match self.children.get(generation)?.send(&frame) {
            // The other end is closed: the death of its owner follows.
            Ok(Sent::Done | Sent::Closed) => None,
            Ok(Sent::Full) => Some(Event::PipeFull { generation, frame }),
            Err(error) => {
                tracing::error!(generation = generation.0, "cannot send a frame: {error}");
                None
            }
        }
    }

    /// Handles the exit of a process: its last frames, then its death.
    pub(super) fn reap(&mut self, generation: Generation) {
        let Some(mut child) = self.children.remove(generation) else { return };
        for event in child.drain_frames() {
            match event {
                ChildEvent::Frame(frame) => self.drive(Event::Frame { generation, frame }),
                // The process is gone: a bad frame has no consequence.
                ChildEvent::BadFrame(_) | ChildEvent::Output(_) | ChildEvent::Exited => {}
            }
        }
        // Before the reap: until then no other process works in its memory.
        let (mut post_mortem, event) = self.post_mortem(generation, child.memory_limit());
        let (exit, exit_artifacts) = child.reap();
        post_mortem.out_of_memory = exit.is_kill() && self.oom_kills.increased();
        self.fail_replays_of(generation);
        self.exit_artifacts = Some((generation, ExitArtifacts { event, ..exit_artifacts }));
        self.drive(Event::Died { generation, exit, post_mortem });
        if !exit.is_kill() {
            self.oom_kills.reset();
        }
    }

    /// What shared memory shows, and the bytes of the event in flight. Only the activated generation can have
    /// written to the cursor page.
    fn post_mortem(&self, generation: Generation, limit: Option<u64>) -> (PostMortem, Option<Vec<u8>>) {
        let found = self.memory.post_mortem();
        let processes = self.state.workers.iter().flat_map(|worker| {
            worker
                .successor
                .iter()
                .chain([&worker.main])
                .filter_map(|state| state.process())
                .map(move |process| (worker.role, process))
        });
        let analysis = processes.into_iter().any(|(role, process)| {
            role == Role::Analytics && process.generation == generation && process.activated.is_some()
        });
        // A process that died before it took over the page left its predecessor's values there.
        let owns_page = analysis && found.owner == generation;
        let panic_record = found.panic_record.filter(|record| analysis && record.generation == generation);
        let panic = panic_record.map(|record| Panic {
            message: record.message,
            location: record.location,
            thread: record.thread,
        });
        let refused = found.allocation_failure.filter(|refused| analysis && refused.generation == generation);
        let signalled = found.signal.filter(|(owner, _)| analysis && *owner == generation);
        let post_mortem = PostMortem {
            in_flight: found.in_flight.filter(|_| owns_page),
            loading: found.claimed.activity == Activity::Load,
            committing: found.committing.filter(|_| owns_page),
            committed: found.committed.min(found.accepted),
            head: found.accepted,
            panic,
            signalled: signalled.map(|(_, signal)| signal),
            refused: refused.map(|refused| RefusedAllocation { bytes: refused.bytes, limit }),
            out_of_memory: false,
        };
        (post_mortem, found.payload.filter(|_| owns_page))
    }

    fn quarantine_event(&mut self, request: QuarantineRequest) -> Option<Event> {
        let (store, memory, copy) = (Arc::clone(&self.quarantine), Arc::clone(&self.memory), request.clone());
        let work = move || {
            let result = store.insert(&memory, &copy).map_err(|error| error_chain(&error));
            Event::Quarantined { request: copy, result }
        };
        let panicked = Event::Quarantined {
            request: request.clone(),
            result: Err("the storing thread panicked".into()),
        };
        let what = format!("storing event {} in quarantine", request.seq);
        match BlockingTask::begin("quarantine", what, panicked, work) {
            Ok(task) => {
                self.quarantine_task = Some(task);
                None
            }
            Err(error) => Some(Event::Quarantined { request, result: Err(error.to_string()) }),
        }
    }

    fn save(&mut self, settled: bool) -> Option<Event> {
        let owned = self.state_dir.ensure_owned();
        match owned.and_then(|()| Ok(recovery::save(&self.state_dir, &self.memory, settled)?)) {
            Ok(saving) => {
                self.saving = Some(saving);
                None
            }
            Err(error) => Some(Event::Saved { result: Err(error_chain(&error)) }),
        }
    }

    /// The snapshot was written, or failed.
    pub(super) fn on_saved(&mut self, settled: bool, saved: anyhow::Result<Summary>) {
        let numbers = (self.state.next_generation, self.state.next_crash);
        let end = |saved| recovery::finish_save(&self.state_dir, &saved, &self.marks, numbers, settled);
        let result = saved.and_then(end).map_err(|error| error_chain(&error));
        self.drive(Event::Saved { result });
    }

    /// Handles a command from the control socket.
    pub(super) fn on_client_request(&mut self, request: ClientRequest) {
        let ClientRequest { command, reply } = request;
        let worker = command.worker().map(str::to_owned);
        let command = match command {
            // A client that has disconnected needs no reply.
            ControlCommand::Status => return drop(reply.send(self.status())),
            ControlCommand::Logs(logs) => return drop(reply.send(self.has_logs(logs.of.as_deref()))),
            ControlCommand::Reload => return self.reload("by command".to_owned(), Some(reply)),
            ControlCommand::Quarantine(what) => return self.quarantine(what, reply),
            ControlCommand::Crashes(what) => return self.show_crashes(what, reply),
            ControlCommand::Start(worker) => core::Command::Start(worker),
            ControlCommand::Stop(worker) => core::Command::Stop(worker),
            ControlCommand::Restart(worker) => core::Command::Restart(worker),
            ControlCommand::Fault(worker, kind) => core::Command::Fault(worker, kind),
        };
        self.drop_closed_clients();
        let client = self.new_client();
        self.clients.insert(client, (worker, reply));
        self.drive(Event::Command { client, command });
    }

    /// Removes disconnected clients, to make room for others.
    fn drop_closed_clients(&mut self) {
        let disconnected = self.clients.iter().filter(|(_, (_, reply))| reply.is_closed());
        let disconnected: Vec<_> = disconnected.map(|(client, _)| *client).collect();
        for client in disconnected {
            self.clients.remove(&client);
            self.drive(Event::ClientGone { client });
        }
    }

    pub(super) fn new_client(&mut self) -> ClientId {
        let client = self.next_client;
        self.next_client = ClientId(client.0.saturating_add(1));
        client
    }

    fn status(&self) -> Reply {
        let listen = self.spawner.address.to_string();
        let report = status::collect(self.config.current(), listen, &self.state, &self.memory);
        Reply { report: Some(report), ..Reply::new(CommandOutcome::Done, "") }
    }

    /// Replies whether this worker can have lines in the log.
    fn has_logs(&self, worker: Option<&str>) -> Reply {
        match worker {
            Some(name) if name != SUPERVISOR && self.state.worker(name).is_none() => Reply::new(
                CommandOutcome::NotFound,
                format!("{}, {SUPERVISOR}", self.state.unknown_worker(name)),
            ),
            Some(_) | None => Reply::new(CommandOutcome::Done, ""),
        }
    }

    fn answer(&mut self, client: ClientId, answer: Reply) {
        if self.on_reload_answer(client, &answer) {
            return;
        }
        if let Some((worker, reply)) = self.clients.remove(&client) {
            let known = self.state.workers.iter().find(|known| Some(&known.name) == worker.as_ref());
            let generation = known.and_then(Worker::running).map(|process| process.generation);
            let _ = reply.send(Reply { generation, ..answer });
        }
    }
}
