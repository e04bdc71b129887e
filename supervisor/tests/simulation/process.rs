//! Simulated processes: what they do without being asked, and how they react to frames and signals.

use crate::{
    fault_profile::ProcessProfile,
    progress::GroundTruth,
    simulator::{SimEvent, Simulation},
};
use bulkhead_proto::{
    wire::{
        control::{FromWorker, PROTOCOL, RecoveryHints, Request, ToWorker},
        fault::FaultKind,
        ids::{Generation, Seq},
        role::Role,
    },
    worker::fault::{self, Ending},
};
use bulkhead_supervisor::core::{Event, ExitStatus, PostMortem, WorkerSignal};

pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) profile: ProcessProfile,
    pub(crate) alive: bool,
    pub(crate) active: bool,
    pub(crate) hints: RecoveryHints,
    /// What shared memory shows after its death, if the process dies in the way that is scheduled.
    pub(crate) death: Option<PostMortem>,
    pub(crate) truth: GroundTruth,
}

/// An event that kills every analysis process that applies or commits it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poison {
    pub(crate) seq: u64,
    /// The commit that includes the event kills, not its application.
    pub(crate) in_commit: bool,
}

pub(crate) const SIGABRT: ExitStatus = ExitStatus::Signal { number: 6, core: false };
pub(crate) const SIGSEGV: ExitStatus = ExitStatus::Signal { number: 11, core: false };
pub(crate) const SIGKILL: ExitStatus = ExitStatus::Signal { number: 9, core: false };

impl Simulation {
    pub(crate) fn spawn(&mut self, worker: &str, generation: Generation) {
        let slot = self.state.workers.iter().find(|slot| slot.name == worker);
        let role = slot.expect("the core only spawns workers of its state").role;
        if !self.faults_stopped && self.prng.percent(self.faults.spawn_fails) {
            let config = self.prng.percent(10);
            let delay = self.prng.below(3);
            let failed =
                Event::SpawnFailed { generation, error: "simulated spawn failure".to_owned(), config };
            return self.schedule(delay, SimEvent::Deliver(failed));
        }
        let profile = if self.faults_stopped {
            ProcessProfile::honest(&mut self.prng)
        } else {
            ProcessProfile::draw(&mut self.prng, &self.faults)
        };
        let pid = u32::try_from(1_000 + generation.0 % 1_000_000).expect("a small number");
        let spawn_delay = self.prng.below(3);
        self.schedule(spawn_delay, SimEvent::Deliver(Event::Spawned { generation, pid }));
        self.schedule_own_events(generation, role, spawn_delay, &profile);
        let active = role == Role::Plain;
        let truth = GroundTruth::new(profile.pattern, profile.cpu_percent);
        let hints = RecoveryHints::default();
        let process = Process { role, profile, alive: true, active, hints, death: None, truth };
        self.processes.insert(generation, process);
    }

    /// Schedules what the process does without being asked: its handshake, its protocol violation, its death.
    fn schedule_own_events(
        &mut self,
        generation: Generation,
        role: Role,
        spawn_delay: u64,
        profile: &ProcessProfile,
    ) {
        if let Some((age, exit)) = profile.death {
            self.schedule(spawn_delay + age + 1, SimEvent::Die(generation, exit));
        }
        if role == Role::Plain {
            return;
        }
        let Some(hello) = profile.hello else { return };
        let protocol = if profile.wrong_protocol { PROTOCOL + 1 } else { PROTOCOL };
        let frame = FromWorker::Hello { protocol, build: "simulated".to_owned() };
        self.schedule(spawn_delay + hello, SimEvent::SendFrame(generation, frame));
        if let Some(ready) = profile.ready {
            self.schedule(
                spawn_delay + hello + ready + 1,
                SimEvent::SendFrame(generation, FromWorker::Ready),
            );
        }
        if let Some(age) = profile.protocol_violation {
            let violation = self.random_violation(generation);
            self.schedule(spawn_delay + age, violation);
        }
    }

    fn random_violation(&mut self, generation: Generation) -> SimEvent {
        let frame = match self.prng.below(8) {
            0 => return SimEvent::SendGarbage(generation),
            1 => FromWorker::Hello { protocol: PROTOCOL, build: "again".to_owned() },
            2 => FromWorker::Ready,
            3 => FromWorker::SeqMark(self.prng.next()),
            4 => self.random_request(),
            5 => FromWorker::Busy,
            6 => FromWorker::Pong {
                number: self.prng.below(1_000),
                accept_polls: 0,
                busy: self.prng.percent(50),
            },
            _ => FromWorker::Panicked {
                message: "false alarm".repeat(100),
                location: "nowhere".to_owned(),
                thread: "simulated".to_owned(),
            },
        };
        SimEvent::SendFrame(generation, frame)
    }

    fn random_request(&mut self) -> FromWorker {
        if self.prng.percent(20) {
            let request = Request::RemoveQuarantined { seq: Seq(self.prng.below(100)), replayed_as: None };
            return FromWorker::Request { id: self.prng.next(), request };
        }
        let worker = self.prng.pick(&self.worker_names).clone();
        let kind = *self.prng.pick(FaultKind::ALL);
        FromWorker::Request { id: self.prng.next(), request: Request::Fault { worker, kind } }
    }

    /// Does one portion of work and schedules the next: the API accepts events and sends requests, the
    /// analysis commits or dies at the poison event.
    pub(crate) fn do_work(&mut self, generation: Generation) {
        let now = self.time();
        let Some(process) = self.processes.get(&generation) else { return };
        match process.role {
            Role::Api => {
                self.accept_connections(generation);
                self.head += self.prng.below(20);
                if self.poison.is_none() && !self.faults_stopped && self.prng.percent(self.faults.poison / 10)
                {
                    let in_commit = self.prng.percent(30);
                    self.poison = Some(Poison { seq: self.head + 1, in_commit });
                }
                if self.prng.percent(2) && !self.faults_stopped {
                    let frame = self.random_request();
                    self.schedule(0, SimEvent::SendFrame(generation, frame));
                }
            }
            Role::Analytics if process.truth.works_alone(now) => {
                let target = self.head.min(self.committed + self.prng.below(60));
                self.apply_and_commit(generation, target);
            }
            Role::Analytics => {}
            Role::Plain => return,
        }
        let pause =
            if self.faults_stopped { self.prng.between(2_000, 8_000) } else { self.prng.between(20, 400) };
        self.schedule(pause, SimEvent::Work(generation));
    }

    /// Applies and commits events up to `target`, or dies at the poison event before that. A poison event in
    /// the list of events to skip does no harm.
    pub(crate) fn apply_and_commit(&mut self, generation: Generation, target: u64) {
        let Some(hints) = self.processes.get(&generation).map(|process| process.hints.clone()) else {
            return;
        };
        let skipped = |poison: &Poison| hints.skip.contains(&Seq(poison.seq));
        let Some(Poison { seq, in_commit }) = self.poison.filter(|poison| poison.seq <= target) else {
            return self.commit_to(generation, target);
        };
        if self.poison.as_ref().is_some_and(skipped) || seq <= self.committed {
            self.poison = None;
            return self.commit_to(generation, target);
        }
        let isolated = hints.suspects.contains(&Seq(seq)) || Seq(seq) <= hints.single_commit_until;
        let before = if isolated { seq - 1 } else { self.prng.between(self.committed, seq - 1) };
        self.commit_to(generation, self.committed.max(before));
        let last = if isolated { seq } else { self.prng.between(seq, target) };
        let death = if in_commit {
            PostMortem { committing: Some(Seq(last)), ..PostMortem::default() }
        } else {
            PostMortem { in_flight: Some(Seq(seq)), loading: self.prng.percent(10), ..PostMortem::default() }
        };
        // The three ways to die: a crash, a failed allocation, the kernel's OOM killer.
        let exit = *self.prng.pick(&[SIGSEGV, SIGSEGV, SIGABRT, SIGKILL]);
        let death = PostMortem { out_of_memory: exit == SIGKILL, ..death };
        if let Some(process) = self.processes.get_mut(&generation) {
            process.death.get_or_insert(death);
        }
        self.schedule(0, SimEvent::Die(generation, exit));
    }

    fn commit_to(&mut self, generation: Generation, target: u64) {
        let now = self.time();
        if target > self.committed
            && let Some(process) = self.processes.get_mut(&generation)
        {
            process.truth.record_commit(now);
        }
        self.committed = target;
    }

    /// What shared memory shows after the death of this process: what it died at, or else a random position
    /// at which it could have been.
    pub(crate) fn post_mortem(&mut self, process: &Process) -> PostMortem {
        if process.role != Role::Analytics || !process.active || self.head == self.committed {
            return PostMortem::default();
        }
        if let Some(death) = &process.death {
            return death.clone();
        }
        let RecoveryHints { suspects, skip, single_commit_until } = &process.hints;
        let isolated = |seq: &u64| {
            suspects.contains(&Seq(*seq)) || skip.contains(&Seq(*seq)) || Seq(*seq) <= *single_commit_until
        };
        // The process cannot be beyond the next commit that it must make.
        let limit = self.head.min(self.committed + 10);
        let end = (self.committed + 1..=limit).find(isolated).unwrap_or(limit);
        let seq = Seq(self.prng.between(self.committed + 1, end));
        match self.prng.below(3) {
            0 => PostMortem::default(),
            1 if !skip.contains(&seq) => PostMortem { in_flight: Some(seq), ..PostMortem::default() },
            _ => PostMortem { committing: Some(seq), ..PostMortem::default() },
        }
    }

    pub(crate) fn on_frame(&mut self, generation: Generation, frame: ToWorker) {
        if !self.is_alive(generation) {
            return;
        }
        if !self.faults_stopped && self.prng.percent(1) {
            return self.schedule(0, SimEvent::Deliver(Event::PipeFull { generation, frame }));
        }
        let now = self.time();
        let Some(process) = self.processes.get_mut(&generation) else { return };
        if let ToWorker::Fault(kind) = frame {
            process.truth.hang_ordered |= kind.is_lasting();
        }
        match frame {
            ToWorker::Activate(hints) => {
                process.active = true;
                process.truth.activate(now);
                process.hints = hints;
                let pause = self.prng.below(100);
                self.schedule(pause, SimEvent::Work(generation));
            }
            ToWorker::Ping(number) => self.on_ping(generation, number),
            ToWorker::Drain => self.on_control_closed(generation),
            ToWorker::Fault(kind) if process.profile.executes_faults => {
                let exit = match fault::ending(kind) {
                    Ending::Code(code) => ExitStatus::Code(code),
                    Ending::Signal(number) => ExitStatus::Signal { number, core: false },
                    Ending::Never => return process.truth.hang_from(now),
                };
                let delay = self.prng.below(30);
                self.schedule(delay, SimEvent::Die(generation, exit));
            }
            ToWorker::Fault(_) | ToWorker::Answer { .. } | ToWorker::Replay(_) => {}
        }
    }

    /// `Drain` and end of file have the same meaning.
    pub(crate) fn on_control_closed(&mut self, generation: Generation) {
        let Some(on_drain) = self.processes.get(&generation).and_then(|process| process.profile.on_drain)
        else {
            return;
        };
        self.schedule(on_drain, SimEvent::Die(generation, ExitStatus::Code(0)));
    }

    pub(crate) fn on_signal(&mut self, generation: Generation, signal: WorkerSignal) {
        let Some(profile) = self.processes.get(&generation).map(|process| process.profile.clone()) else {
            return;
        };
        let now = self.time();
        match (signal, profile.on_sigterm) {
            (WorkerSignal::Stop, _) => {
                if let Some(process) = self.processes.get_mut(&generation) {
                    process.truth.hang_ordered = true;
                    process.truth.hang_from(now);
                }
            }
            (WorkerSignal::Abort, _) => {
                if let Some(delay) = profile.on_sigabrt {
                    self.schedule(
                        delay,
                        SimEvent::Die(generation, ExitStatus::Signal { number: 6, core: false }),
                    );
                }
            }
            (WorkerSignal::Kill, _) => self.schedule(profile.on_sigkill, SimEvent::Die(generation, SIGKILL)),
            (WorkerSignal::Term, Some(delay)) => {
                let exit = if self.prng.percent(50) {
                    ExitStatus::Code(0)
                } else {
                    ExitStatus::Signal { number: 15, core: false }
                };
                self.schedule(delay, SimEvent::Die(generation, exit));
            }
            (WorkerSignal::Term, None) => {}
        }
    }
}
