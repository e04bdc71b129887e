//! Simulated processes: what they do without being asked, and how they react to frames and signals.

use crate::{
    fault_profile::ProcessProfile,
    progress::GroundTruth,
    simulator::{SimEvent, Simulation},
};
use bulkhead_proto::{
    wire::{
        control::{FromWorker, PROTOCOL, RecoveryHints, Request, ToWorker, Trial},
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
    /// It holds a skip and has waited for a later event.
    pub(crate) waited: bool,
    /// What the commit covers that waits until isolated events are stored.
    pub(crate) waiting_commit: Option<u64>,
}

/// An event that kills every analysis process that applies or commits it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poison {
    pub(crate) seq: u64,
    /// The commit that includes the event kills, not its application.
    pub(crate) in_commit: bool,
}

/// The number of series. Consecutive events belong to different ones.
const SERIES: u64 = 6;

/// The series of an event.
pub(crate) fn series_of(seq: u64) -> String {
    format!("series-{}", seq % SERIES)
}

fn is_isolated(hints: &RecoveryHints, seq: u64) -> bool {
    hints.isolated.iter().any(|isolation| isolation.concerns(&series_of(seq), Seq(seq)))
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
        let process = Process {
            role,
            profile,
            alive: true,
            active,
            hints,
            death: None,
            truth,
            waited: false,
            waiting_commit: None,
        };
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
        if self.processes.get(&generation).is_some_and(|process| process.waiting_commit.is_some()) {
            return;
        }
        if let Some(trial) = hints.trial {
            return self.try_event(generation, trial);
        }
        let skipped = |seq: u64| hints.skip.contains(&Seq(seq));
        let passed_over = |seq: u64| skipped(seq) || is_isolated(&hints, seq);
        let failing = (self.committed + 1..=target).find(|seq| self.is_failing(*seq) && !passed_over(*seq));
        self.poison = self
            .poison
            .filter(|poison| poison.seq > target || !passed_over(poison.seq) && poison.seq > self.committed);
        let isolated = |seq: &u64| is_isolated(&hints, *seq);
        let last = failing.map_or(target, |failing| failing - 1);
        if let Some(seq) = (self.committed + 1..=last).rev().find(isolated) {
            // The next commit waits until the supervisor has stored these events.
            if let Some(process) = self.processes.get_mut(&generation) {
                process.waiting_commit = Some(last);
            }
            return self.schedule(
                0,
                SimEvent::SendFrame(generation, FromWorker::StoreIsolated { through: Seq(seq) }),
            );
        }
        let Some(seq) = failing else {
            return self.commit_or_wait(generation, &hints, target);
        };
        let in_commit = self.poison.is_some_and(|poison| poison.seq == seq && poison.in_commit);
        let isolated = hints.suspects.contains(&Seq(seq)) || Seq(seq) <= hints.single_commit_until;
        let before = if isolated { seq - 1 } else { self.prng.between(self.committed, seq - 1) };
        let before = self.last_committable(&hints, before);
        self.commit_to(generation, before);
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

    /// Whether no analysis survives this event: it is the poison event, or the program is wrong.
    fn is_failing(&self, seq: u64) -> bool {
        let by_program = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.poison.is_some_and(|poison| poison.seq == seq)
            || by_program % 100 < self.failing_percent
            || self.failing_series.as_ref().is_some_and(|series| *series == series_of(seq))
    }

    /// Reports the watched series of which an event was committed, each once.
    fn report_applied(&mut self, generation: Generation, committed: std::ops::RangeInclusive<u64>) {
        let Some(process) = self.processes.get_mut(&generation) else { return };
        let skip = process.hints.skip.clone();
        let mut applied = committed.filter(|seq| !skip.contains(&Seq(*seq))).map(series_of);
        let applied: Vec<String> = process
            .hints
            .watched
            .iter()
            .filter(|name| applied.any(|series| series == **name))
            .cloned()
            .collect();
        process.hints.watched.retain(|name| !applied.contains(name));
        for name in applied {
            self.schedule(0, SimEvent::SendFrame(generation, FromWorker::SeriesApplied(name)));
        }
    }

    /// A skip that is not proven is committed only with a later event; at the end of the ring, after a while.
    fn last_committable(&self, hints: &RecoveryHints, target: u64) -> u64 {
        let skipped = |seq: u64| hints.skip.contains(&Seq(seq)) && Seq(seq) > hints.proven_until;
        // An event of an isolated series proves nothing either.
        let held = |seq: u64| skipped(seq) || is_isolated(hints, seq);
        let mut uncommitted = self.committed + 1..=target;
        if !uncommitted.clone().any(skipped) {
            return target;
        }
        uncommitted.rfind(|seq| !held(*seq)).unwrap_or(self.committed)
    }

    /// Commits what may be committed. If that is nothing, waits once, and then commits the skips.
    fn commit_or_wait(&mut self, generation: Generation, hints: &RecoveryHints, target: u64) {
        let (now, committed, committable) =
            (self.time(), self.committed, self.last_committable(hints, target));
        let Some(process) = self.processes.get_mut(&generation) else { return };
        let waited = std::mem::take(&mut process.waited);
        if committable > committed || waited {
            return self.commit_to(generation, if waited { target } else { committable });
        }
        process.waited = true;
        process.truth.record_wait(now);
    }

    /// Tries one event and commits nothing.
    fn try_event(&mut self, generation: Generation, trial: Trial) {
        let seq = trial.target.0.min(self.head);
        let delay = self.prng.below(20);
        if seq > trial.after.0 && self.is_failing(seq) {
            let death = PostMortem { in_flight: Some(Seq(seq)), ..PostMortem::default() };
            if let Some(process) = self.processes.get_mut(&generation) {
                process.death.get_or_insert(death);
            }
            return self.schedule(delay, SimEvent::Die(generation, SIGSEGV));
        }
        self.schedule(delay, SimEvent::SendFrame(generation, FromWorker::TrialPassed));
    }

    fn commit_to(&mut self, generation: Generation, target: u64) {
        let now = self.time();
        if target > self.committed
            && let Some(process) = self.processes.get_mut(&generation)
        {
            process.truth.record_commit(now);
            self.report_applied(generation, self.committed + 1..=target);
        }
        self.committed = target;
    }

    /// The isolated events are stored: the commit that waited for that is made.
    fn on_isolated_stored(&mut self, generation: Generation) {
        let Some(process) = self.processes.get_mut(&generation) else { return };
        let (target, hints) = (process.waiting_commit.take(), process.hints.clone());
        if let Some(target) = target.filter(|target| *target > self.committed) {
            self.commit_or_wait(generation, &hints, target);
        }
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
        let RecoveryHints {
            suspects,
            skip,
            proven_until,
            single_commit_until,
            trial,
            isolated: _,
            watched: _,
        } = &process.hints;
        if trial.is_some() {
            return PostMortem::default();
        }
        let held = |seq: u64| skip.contains(&Seq(seq)) && Seq(seq) > *proven_until;
        let isolated = |seq: &u64| {
            let proves = *seq > 1 && held(*seq - 1);
            let alone = suspects.contains(&Seq(*seq)) || skip.contains(&Seq(*seq));
            !held(*seq) && (alone || proves || Seq(*seq) <= *single_commit_until)
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
            ToWorker::IsolatedStored => self.on_isolated_stored(generation),
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
