//! Takes events in, and carries out what the heart decides: the one place that touches processes.

use super::{Shell, child::Stir, clock, errand::Errand, report, resume};
use crate::{
    control::{
        protocol::{Command, Ended, Reply, SUPERVISOR},
        server::Call,
    },
    display::error_chain,
    log::lifecycle,
    step::{
        self, Action, Charge, ClientId, Event, LogRecord, Look, Mark, Now, Panic, PostMortem, Refusal, State,
        Surroundings, Worker,
    },
    store::crashes::ExitArtifacts,
    store::high_water::Numbers,
};
use bulkhead_proto::{
    control::ToWorker, cursor::Doing, ids::Generation, link::Progress, pipe::Sent, snapshot::Summary,
};
use std::sync::Arc;

impl Surroundings for Shell {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn now(&self) -> Now {
        clock::now()
    }

    fn publish(&mut self) {
        self.reserve();
        let published =
            self.ledger.publish(&self.state).and_then(|()| self.board.publish(&step::status(&self.state)));
        if let Err(error) = published {
            // The state is bounded to fit: this is a fault of ours, and the boards show the former state.
            tracing::error!("the boards do not take the new state: {error}");
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
                    tracing::error!(generation = generation.0, "it cannot be sent a signal: {error}");
                }
            }
            Action::Look { generation } => return self.look(generation),
            Action::Examine(who) => {
                if let Some(child) = self.children.get(who.generation) {
                    let threads = child.examine();
                    lifecycle::write(&LogRecord::WorkerExamined { who, threads });
                }
            }
            Action::Answer { client, outcome, text } => self.answer(client, Reply::decided(&outcome, text)),
            Action::ReserveSeqs { next } => {
                self.seq_mark = self.seq_mark.max(next.min(self.memory.tail().next_seq));
                self.reserve();
            }
            Action::Drop { asker, id, seq, replayed_as } => self.drop_for(asker, id, seq, replayed_as),
            Action::NotReplayed { seq, why } => self.not_replayed(seq, &why),
            Action::SetAside(charge) => return self.set_aside(charge),
            Action::KickBells => self.memory.kick(),
            Action::Log(record) => lifecycle::write(&record),
            Action::Report(facts) => self.report(facts),
            Action::Save { settled } => return self.save(settled),
            Action::Exit { code } => self.exit = Some(code),
        }
        None
    }
}

impl Shell {
    /// Takes one event in, and all that carrying out its actions brings about.
    pub(super) fn take(&mut self, event: Event) {
        step::take(self, event);
    }

    /// Numbers are reserved on disk before they are given out. If the disk refuses, the service goes on, loudly: numbers
    /// would be given out twice only if the supervisor also died before the disk recovers.
    fn reserve(&mut self) {
        let next = Numbers {
            generation: self.state.next_generation,
            crash: self.state.next_crash,
            // What the API tells may come late, or die with it; what was given out stands in memory.
            seq: self.seq_mark.max(self.memory.tail().next_seq),
        };
        if let Err(error) = self.marks.reserve(next) {
            tracing::error!(
                event_name = "marks_failed",
                "numbers cannot be reserved on disk: {}",
                error_chain(&error)
            );
        }
    }

    fn spawn(&mut self, worker: &str, generation: Generation) -> Event {
        let Some((plan, worker)) = self.config.worker(worker) else {
            return Event::SpawnFailed { generation, error: "there is no such worker".into(), config: true };
        };
        match self.spawner.spawn(plan, worker, generation, &self.memory) {
            Ok(child) => {
                let pid = child.pid().as_raw_nonzero().get().unsigned_abs();
                self.children.add(generation, child);
                Event::Spawned { generation, pid }
            }
            Err(error) => Event::SpawnFailed { generation, error: error.text, config: error.config },
        }
    }

    /// A process that is gone meanwhile has nothing to show.
    fn look(&mut self, generation: Generation) -> Option<Event> {
        let had = self.children.get(generation)?.had();
        let Progress { owner, seq, steps, committed, pending } = self.memory.progress();
        let (mark, took_over) = (Mark { seq, steps, committed }, owner == generation);
        let look = Look { had, pending, took_over, mark, knocking: self.doze.is_knocked_at() };
        Some(Event::Looked { generation, look })
    }

    fn send(&mut self, generation: Generation, frame: ToWorker) -> Option<Event> {
        match self.children.get(generation)?.send(&frame) {
            // A pipe that is closed at the other end: its owner's death follows.
            Ok(Sent::Done | Sent::Closed) => None,
            Ok(Sent::Full) => Some(Event::PipeFull { generation, frame }),
            Err(error) => {
                tracing::error!(generation = generation.0, "a frame cannot be sent: {error}");
                None
            }
        }
    }

    /// The last that is heard of a process: what it still had to say, then its death.
    pub(super) fn bury(&mut self, generation: Generation) {
        let Some(mut child) = self.children.remove(generation) else { return };
        for stir in child.last_frames() {
            match stir {
                Stir::Frame(frame) => self.take(Event::Frame { generation, frame }),
                // It cannot be punished any more.
                Stir::BadFrame(_) | Stir::Output(_) | Stir::Gone => {}
            }
        }
        // Before it is reaped: until then nobody else works in its memory.
        let (mut post_mortem, event) = self.post_mortem(generation, child.memory_limit());
        let (exit, remains) = child.bury();
        post_mortem.out_of_memory = exit.is_kill() && self.oom_kills.rose();
        self.abandon_replays(generation);
        self.remains = Some((generation, ExitArtifacts { event, ..remains }));
        self.take(Event::Died { generation, exit, post_mortem });
        if !exit.is_kill() {
            self.oom_kills.catch_up();
        }
    }

    /// What shared memory tells, and the bytes of the event in hand. Only the generation that was activated may have written
    /// to the cursor's page.
    fn post_mortem(&self, generation: Generation, limit: Option<u64>) -> (PostMortem, Option<Vec<u8>>) {
        let found = self.memory.post_mortem();
        let process = self.state.workers.iter().flat_map(|worker| {
            worker
                .successor
                .iter()
                .chain([&worker.main])
                .filter_map(|is| is.process())
                .map(move |p| (worker.role, p))
        });
        let analysis = process.into_iter().any(|(role, process)| {
            role == bulkhead_proto::words::Role::Analytics
                && process.generation == generation
                && process.activated.is_some()
        });
        // One that died before it took the page over left its predecessor's hand there.
        let its_own = analysis && found.owner == generation;
        let last_words = found.last_words.filter(|words| analysis && words.generation == generation);
        let panic = last_words.map(|words| Panic {
            message: words.message,
            location: words.location,
            thread: words.thread,
        });
        let refused = found.refused.filter(|refused| analysis && refused.generation == generation);
        let signalled = found.signalled.filter(|(of, _)| analysis && *of == generation);
        let seen = PostMortem {
            in_hand: found.in_hand.filter(|_| its_own),
            loading: found.hand.doing == Doing::Load,
            committing: found.committing.filter(|_| its_own),
            committed: found.committed.min(found.accepted),
            head: found.accepted,
            panic,
            signalled: signalled.map(|(_, signal)| signal),
            refused: refused.map(|refused| Refusal { bytes: refused.bytes, limit }),
            out_of_memory: false,
        };
        (seen, found.payload.filter(|_| its_own))
    }

    fn set_aside(&mut self, charge: Charge) -> Option<Event> {
        let (store, memory, of) = (Arc::clone(&self.quarantine), Arc::clone(&self.memory), charge.clone());
        let work = move || {
            let result = store.insert(&memory, &of).map_err(|error| error_chain(&error));
            Event::SetAside { charge: of, result }
        };
        let broken = Event::SetAside {
            charge: charge.clone(),
            result: Err("the thread that stores broke off".into()),
        };
        let what = format!("storing event {}, before it is skipped,", charge.seq);
        match Errand::begin("quarantine", what, broken, work) {
            Ok(errand) => {
                self.setting_aside = Some(errand);
                None
            }
            Err(error) => Some(Event::SetAside { charge, result: Err(error.to_string()) }),
        }
    }

    fn save(&mut self, settled: bool) -> Option<Event> {
        let begun = self.state_dir.ensure_owned();
        match begun.and_then(|()| Ok(resume::save(&self.state_dir, &self.memory, settled)?)) {
            Ok(saving) => {
                self.saving = Some(saving);
                None
            }
            Err(error) => Some(Event::Saved { result: Err(error_chain(&error)) }),
        }
    }

    /// The snapshot is written, or cannot be.
    pub(super) fn saved(&mut self, settled: bool, saved: anyhow::Result<Summary>) {
        let numbers = (self.state.next_generation, self.state.next_crash);
        let end = |saved| resume::end(&self.state_dir, &saved, &self.marks, numbers, settled);
        let result = saved.and_then(end).map_err(|error| error_chain(&error));
        self.take(Event::Saved { result });
    }

    /// A command from the control socket.
    pub(super) fn call(&mut self, call: Call) {
        let Call { command, reply } = call;
        let worker = command.worker().map(str::to_owned);
        let command = match command {
            // A client that has left needs no reply.
            Command::Status => return drop(reply.send(self.status())),
            Command::Logs(logs) => return drop(reply.send(self.has_logs(logs.of.as_deref()))),
            Command::Reload => return self.reload("by command".to_owned(), Some(reply)),
            Command::Quarantine(what) => return self.quarantine(what, reply),
            Command::Crashes(what) => return self.show_crashes(what, reply),
            Command::Start(worker) => step::Command::Start(worker),
            Command::Stop(worker) => step::Command::Stop(worker),
            Command::Restart(worker) => step::Command::Restart(worker),
            Command::Fault(worker, kind) => step::Command::Fault(worker, kind),
        };
        self.dismiss_the_departed();
        let client = self.new_client();
        self.clients.insert(client, (worker, reply));
        self.take(Event::Command { client, command });
    }

    /// Clients that have left make room for those that come.
    fn dismiss_the_departed(&mut self) {
        let departed = self.clients.iter().filter(|(_, (_, reply))| reply.is_closed());
        let departed: Vec<_> = departed.map(|(client, _)| *client).collect();
        for client in departed {
            self.clients.remove(&client);
            self.take(Event::Left { client });
        }
    }

    pub(super) fn new_client(&mut self) -> ClientId {
        let client = self.next_client;
        self.next_client = ClientId(client.0.saturating_add(1));
        client
    }

    fn status(&self) -> Reply {
        let listen = self.spawner.address.to_string();
        let report = report::report(self.config.plan(), listen, &self.state, &self.memory);
        Reply { report: Some(report), ..Reply::new(Ended::Done, "") }
    }

    /// Whether there may be lines of this one in the log.
    fn has_logs(&self, of: Option<&str>) -> Reply {
        match of {
            Some(name) if name != SUPERVISOR && self.state.worker(name).is_none() => {
                Reply::new(Ended::NotFound, format!("{}, {SUPERVISOR}", self.state.unknown(name)))
            }
            Some(_) | None => Reply::new(Ended::Done, ""),
        }
    }

    fn answer(&mut self, client: ClientId, answer: Reply) {
        if self.reload_takes(client, &answer) {
            return;
        }
        if let Some((worker, reply)) = self.clients.remove(&client) {
            let known = self.state.workers.iter().find(|known| Some(&known.name) == worker.as_ref());
            let generation = known.and_then(Worker::running).map(|process| process.generation);
            let _ = reply.send(Reply { generation, ..answer });
        }
    }
}
