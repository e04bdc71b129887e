//! Simulated processes: what they do by themselves, and how they take what is done to them.

use crate::{
    watched::Truth,
    weather::Temper,
    world::{Happening, World},
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
    pub(crate) temper: Temper,
    pub(crate) alive: bool,
    pub(crate) active: bool,
    pub(crate) care: RecoveryHints,
    /// What it dies with, if it dies of that.
    pub(crate) dying: Option<PostMortem>,
    pub(crate) truth: Truth,
}

/// An event that no analysis survives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Poison {
    pub(crate) seq: u64,
    /// It is not the event's application that kills, but the commit of what it leaves.
    pub(crate) in_commit: bool,
}

pub(crate) const SIGABRT: ExitStatus = ExitStatus::Signal { number: 6, core: false };
pub(crate) const SIGSEGV: ExitStatus = ExitStatus::Signal { number: 11, core: false };
pub(crate) const SIGKILL: ExitStatus = ExitStatus::Signal { number: 9, core: false };

impl World {
    pub(crate) fn spawn(&mut self, worker: &str, generation: Generation) {
        let known = self.state.workers.iter().find(|known| known.name == worker);
        let role = known.expect("the heart knows whom it spawns").role;
        if !self.calm && self.prng.percent(self.weather.unborn) {
            let config = self.prng.percent(10);
            let delay = self.prng.below(3);
            let failed = Event::SpawnFailed { generation, error: "no luck".to_owned(), config };
            return self.later(delay, Happening::Event(failed));
        }
        let temper = if self.calm {
            Temper::honest(&mut self.prng)
        } else {
            Temper::draw(&mut self.prng, &self.weather)
        };
        let pid = u32::try_from(1_000 + generation.0 % 1_000_000).expect("a small number");
        let birth = self.prng.below(3);
        self.later(birth, Happening::Event(Event::Spawned { generation, pid }));
        self.plan(generation, role, birth, &temper);
        let active = role == Role::Plain;
        let truth = Truth::new(temper.manner, temper.share);
        let care = RecoveryHints::default();
        let newborn = Process { role, temper, alive: true, active, care, dying: None, truth };
        self.processes.insert(generation, newborn);
    }

    /// What it will do by itself.
    fn plan(&mut self, generation: Generation, role: Role, birth: u64, temper: &Temper) {
        if let Some((age, exit)) = temper.death {
            self.later(birth + age + 1, Happening::Dies(generation, exit));
        }
        if role == Role::Plain {
            return;
        }
        let Some(hello) = temper.hello else { return };
        let protocol = if temper.foreign { PROTOCOL + 1 } else { PROTOCOL };
        let frame = FromWorker::Hello { protocol, build: "simulated".to_owned() };
        self.later(birth + hello, Happening::Says(generation, frame));
        if let Some(ready) = temper.ready {
            self.later(birth + hello + ready + 1, Happening::Says(generation, FromWorker::Ready));
        }
        if let Some(age) = temper.lie {
            let lie = self.lie(generation);
            self.later(birth + age, lie);
        }
    }

    fn lie(&mut self, generation: Generation) -> Happening {
        let frame = match self.prng.below(8) {
            0 => return Happening::Babbles(generation),
            1 => FromWorker::Hello { protocol: PROTOCOL, build: "again".to_owned() },
            2 => FromWorker::Ready,
            3 => FromWorker::SeqMark(self.prng.next()),
            4 => self.request(),
            5 => FromWorker::Busy,
            6 => FromWorker::Pong {
                number: self.prng.below(1_000),
                accept_polls: 0,
                busy: self.prng.percent(50),
            },
            _ => FromWorker::Panicked {
                message: "only joking".repeat(100),
                location: "nowhere".to_owned(),
                thread: "liar".to_owned(),
            },
        };
        Happening::Says(generation, frame)
    }

    fn request(&mut self) -> FromWorker {
        if self.prng.percent(20) {
            let request = Request::RemoveQuarantined { seq: Seq(self.prng.below(100)), replayed_as: None };
            return FromWorker::Request { id: self.prng.next(), request };
        }
        let worker = self.prng.pick(&self.names).clone();
        let kind = *self.prng.pick(FaultKind::ALL);
        FromWorker::Request { id: self.prng.next(), request: Request::Fault { worker, kind } }
    }

    /// A while of work: the API accepts and asks, the analysis commits and dies of poison.
    pub(crate) fn work(&mut self, generation: Generation) {
        let now = self.time();
        let Some(process) = self.processes.get(&generation) else { return };
        match process.role {
            Role::Api => {
                self.connections_come(generation);
                self.head += self.prng.below(20);
                if self.poison.is_none() && !self.calm && self.prng.percent(self.weather.poison / 10) {
                    let in_commit = self.prng.percent(30);
                    self.poison = Some(Poison { seq: self.head + 1, in_commit });
                }
                if self.prng.percent(2) && !self.calm {
                    let frame = self.request();
                    self.later(0, Happening::Says(generation, frame));
                }
            }
            Role::Analytics if process.truth.is_busy(now) => {
                let reached = self.head.min(self.committed + self.prng.below(60));
                self.analyse(generation, reached);
            }
            Role::Analytics => {}
            Role::Plain => return,
        }
        let pause = if self.calm { self.prng.between(2_000, 8_000) } else { self.prng.between(20, 400) };
        self.later(pause, Happening::Works(generation));
    }

    /// Applies and commits up to there, or dies of poison on the way. What it is told to skip kills nobody.
    pub(crate) fn analyse(&mut self, generation: Generation, reached: u64) {
        let Some(care) = self.processes.get(&generation).map(|process| process.care.clone()) else { return };
        let skipped = |poison: &Poison| care.skip.contains(&Seq(poison.seq));
        let Some(Poison { seq, in_commit }) = self.poison.filter(|poison| poison.seq <= reached) else {
            return self.commits(generation, reached);
        };
        if self.poison.as_ref().is_some_and(skipped) || seq <= self.committed {
            self.poison = None;
            return self.commits(generation, reached);
        }
        let careful = care.suspects.contains(&Seq(seq)) || Seq(seq) <= care.single_commit_until;
        let before = if careful { seq - 1 } else { self.prng.between(self.committed, seq - 1) };
        self.commits(generation, self.committed.max(before));
        let last = if careful { seq } else { self.prng.between(seq, reached) };
        let dying = if in_commit {
            PostMortem { committing: Some(Seq(last)), ..PostMortem::default() }
        } else {
            PostMortem { in_hand: Some(Seq(seq)), loading: self.prng.percent(10), ..PostMortem::default() }
        };
        // Of a crash, of a refusal of memory, or of the kernel's want of it.
        let exit = *self.prng.pick(&[SIGSEGV, SIGSEGV, SIGABRT, SIGKILL]);
        let dying = PostMortem { out_of_memory: exit == SIGKILL, ..dying };
        if let Some(process) = self.processes.get_mut(&generation) {
            process.dying.get_or_insert(dying);
        }
        self.later(0, Happening::Dies(generation, exit));
    }

    fn commits(&mut self, generation: Generation, reached: u64) {
        let now = self.time();
        if reached > self.committed
            && let Some(process) = self.processes.get_mut(&generation)
        {
            process.truth.commits(now);
        }
        self.committed = reached;
    }

    /// What shared memory shows of a process that is gone: what it died of, or whatever it was about.
    pub(crate) fn found(&mut self, process: &Process) -> PostMortem {
        if process.role != Role::Analytics || !process.active || self.head == self.committed {
            return PostMortem::default();
        }
        if let Some(dying) = &process.dying {
            return dying.clone();
        }
        let RecoveryHints { suspects, skip, single_commit_until } = &process.care;
        let careful = |seq: &u64| {
            suspects.contains(&Seq(*seq)) || skip.contains(&Seq(*seq)) || Seq(*seq) <= *single_commit_until
        };
        // No further than the next commit that it must make.
        let most = self.head.min(self.committed + 10);
        let stop = (self.committed + 1..=most).find(careful).unwrap_or(most);
        let seq = Seq(self.prng.between(self.committed + 1, stop));
        match self.prng.below(3) {
            0 => PostMortem::default(),
            1 if !skip.contains(&seq) => PostMortem { in_hand: Some(seq), ..PostMortem::default() },
            _ => PostMortem { committing: Some(seq), ..PostMortem::default() },
        }
    }

    pub(crate) fn receives(&mut self, generation: Generation, frame: ToWorker) {
        if !self.lives(generation) {
            return;
        }
        if !self.calm && self.prng.percent(1) {
            return self.later(0, Happening::Event(Event::PipeFull { generation, frame }));
        }
        let now = self.time();
        let Some(process) = self.processes.get_mut(&generation) else { return };
        if let ToWorker::Fault(kind) = frame {
            process.truth.ordered |= kind.is_lasting();
        }
        match frame {
            ToWorker::Activate(care) => {
                process.active = true;
                process.truth.begins(now);
                process.care = care;
                let pause = self.prng.below(100);
                self.later(pause, Happening::Works(generation));
            }
            ToWorker::Ping(number) => self.is_pinged(generation, number),
            ToWorker::Drain => self.loses_control(generation),
            ToWorker::Fault(kind) if process.temper.obeys_faults => {
                let exit = match fault::ending(kind) {
                    Ending::Code(code) => ExitStatus::Code(code),
                    Ending::Signal(number) => ExitStatus::Signal { number, core: false },
                    Ending::Never => return process.truth.stop(now),
                };
                let delay = self.prng.below(30);
                self.later(delay, Happening::Dies(generation, exit));
            }
            ToWorker::Fault(_) | ToWorker::Answer { .. } | ToWorker::Replay(_) => {}
        }
    }

    /// `Drain` and end of file mean the same.
    pub(crate) fn loses_control(&mut self, generation: Generation) {
        let Some(drain) = self.processes.get(&generation).and_then(|process| process.temper.drain) else {
            return;
        };
        self.later(drain, Happening::Dies(generation, ExitStatus::Code(0)));
    }

    pub(crate) fn is_signalled(&mut self, generation: Generation, signal: WorkerSignal) {
        let Some(temper) = self.processes.get(&generation).map(|process| process.temper.clone()) else {
            return;
        };
        let now = self.time();
        match (signal, temper.term) {
            (WorkerSignal::Stop, _) => {
                if let Some(process) = self.processes.get_mut(&generation) {
                    process.truth.ordered = true;
                    process.truth.stop(now);
                }
            }
            (WorkerSignal::Abort, _) => {
                if let Some(delay) = temper.abort {
                    self.later(
                        delay,
                        Happening::Dies(generation, ExitStatus::Signal { number: 6, core: false }),
                    );
                }
            }
            (WorkerSignal::Kill, _) => self.later(temper.kill, Happening::Dies(generation, SIGKILL)),
            (WorkerSignal::Term, Some(delay)) => {
                let exit = if self.prng.percent(50) {
                    ExitStatus::Code(0)
                } else {
                    ExitStatus::Signal { number: 15, core: false }
                };
                self.later(delay, Happening::Dies(generation, exit));
            }
            (WorkerSignal::Term, None) => {}
        }
    }
}
