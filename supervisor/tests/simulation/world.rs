//! Virtual time: a queue of what will happen, and the run from boot to exit.

use crate::{
    judge::{Broken, Judge, Moment},
    operator,
    prng::Prng,
    process::{Poison, Process, SIGKILL},
    weather::{Weather, policy},
};
use bulkhead_proto::wire::{
    control::FromWorker,
    ids::{CrashId, Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    Action, Event, ExitStatus, Identity, LogRecord, Millis, Now, PostMortem, RefusedAllocation,
    RestartDecision, State, WorkerSpec, next_deadline, status, transition,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A run that has not come to its end by then never will.
const MAX_TURNS: u32 = 30_000;

/// How long everything is given to recover once the weather is fine. Longer than a stuck process, its probe and its start together.
const CALM: u64 = 120_000;

/// What will happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Event(Event),
    /// The process says this, if it still lives.
    Says(Generation, FromWorker),
    /// The process sends rubbish, if it still lives.
    Babbles(Generation),
    /// The process dies, if it still lives.
    Dies(Generation, ExitStatus),
    /// The shell has found it dead.
    Reaped(Generation, ExitStatus),
    /// The process gets on with its work.
    Works(Generation),
    /// An operator types.
    Operator,
    /// Somebody kills a process, past the supervisor.
    Killer,
    /// The supervisor's clocks jump.
    Jump,
    /// From here on the weather is fine.
    Calm,
    /// By now all must be well.
    Well,
}

pub(crate) struct World {
    pub(crate) prng: Prng,
    pub(crate) weather: Weather,
    /// Of the workers that there are, or were.
    pub(crate) names: Vec<String>,
    pub(crate) state: State,
    pub(crate) judge: Judge,
    pub(crate) processes: BTreeMap<Generation, Process>,
    /// The last event that was accepted, and the last that was committed.
    pub(crate) head: u64,
    pub(crate) committed: u64,
    /// The event that no analysis survives.
    pub(crate) poison: Option<Poison>,
    pub(crate) calm: bool,
    /// Since when there has been something to do for the analysis, if there is.
    pub(crate) pending_since: Option<u64>,
    /// The supervisor is about to hear of it.
    pub(crate) rung: bool,
    pub(crate) clients: u64,
    pub(crate) turns: u32,
    /// What the log told of: names of lines, causes, decisions.
    pub(crate) seen: BTreeSet<&'static str>,
    /// What happened, when somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    now: u64,
    jumped: u64,
    unix_ms: u64,
}

impl World {
    pub(crate) fn new(seed: u64, told: bool) -> Self {
        let mut prng = Prng::new(seed);
        let weather = Weather::draw(&mut prng);
        let policy = policy(&mut prng);
        let specs = specs(&mut prng, weather.hang_timeout);
        let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed };
        let begin = Now { mono: Millis(50_000), unix_ms: 1_800_000_000_000 };
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        let judge = Judge::new(policy.clone(), &specs);
        Self {
            prng,
            weather,
            names,
            state: State::new(policy, specs, identity, begin),
            judge,
            processes: BTreeMap::new(),
            head: 0,
            committed: 0,
            poison: None,
            calm: false,
            pending_since: None,
            rung: false,
            clients: 0,
            turns: 0,
            seen: BTreeSet::new(),
            story: told.then(Vec::new),
            queue: BTreeMap::new(),
            queued: 0,
            now: begin.mono.0,
            jumped: 0,
            unix_ms: begin.unix_ms,
        }
    }

    /// A storm, a calm, and the end.
    pub(crate) fn run(&mut self) -> Result<(), Broken> {
        let storm = self.prng.between(5_000, 40_000);
        self.later(0, Happening::Event(Event::Boot));
        self.later(self.weather.commands_every, Happening::Operator);
        self.later(self.weather.kills_every, Happening::Killer);
        if self.weather.jumps {
            self.later(storm / 2, Happening::Jump);
        }
        // Half of the runs end in the storm, half after a calm.
        if self.prng.percent(50) {
            self.later(storm, Happening::Calm);
            self.later(storm + CALM, Happening::Well);
            self.stop_at(storm + CALM);
        } else {
            self.stop_at(storm);
        }
        while !self.judge.is_gone() {
            self.turns += 1;
            if self.turns > MAX_TURNS {
                return Err("it never comes to rest".to_owned());
            }
            self.next()?;
        }
        self.judge.nobody_waits()
    }

    fn stop_at(&mut self, at: u64) {
        let signal = || Happening::Event(Event::StopSignal { origin: "SIGTERM".to_owned() });
        self.later(at + 1, signal());
        if self.prng.percent(10) {
            let again = self.prng.below(8_000);
            self.later(at + 2 + again, signal());
        }
    }

    pub(crate) fn later(&mut self, delay: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now.saturating_add(delay), self.queued), happening);
    }

    /// The next happening, or the next deadline, whichever is first.
    fn next(&mut self) -> Result<(), Broken> {
        let deadline = next_deadline(&self.state).map(|at| at.0.saturating_sub(self.jumped).max(self.now));
        let happening = self.queue.first_key_value().map(|((at, _), _)| *at);
        match (deadline, happening) {
            (Some(deadline), happening) if happening.is_none_or(|at| deadline < at) => {
                let late = if self.prng.percent(50) { self.prng.below(6) } else { 0 };
                self.now = (deadline + late).min(happening.unwrap_or(u64::MAX));
                self.due_tick()
            }
            (_, Some(_)) => {
                let Some(((at, _), happening)) = self.queue.pop_first() else { return Ok(()) };
                self.now = at;
                self.happens(happening)
            }
            (_, None) => Err("nothing is left to happen, and it is not gone".to_owned()),
        }
    }

    /// A tick at a deadline must do something, or the shell would tick for ever.
    fn due_tick(&mut self) -> Result<(), Broken> {
        let before = self.state.clone();
        self.turn(Event::Tick)?;
        if before == self.state {
            Err("a deadline has passed, and nothing came of it".to_owned())
        } else {
            Ok(())
        }
    }

    /// On the simulation's clock.
    pub(crate) const fn time(&self) -> u64 {
        self.now
    }

    pub(crate) fn clock(&self) -> Now {
        Now { mono: Millis(self.now + self.jumped), unix_ms: self.unix_ms + self.now }
    }

    pub(crate) fn turn(&mut self, event: Event) -> Result<(), Broken> {
        // Several commands come at once, and the first may have been its last turn.
        if self.judge.is_gone() {
            return Ok(());
        }
        let now = self.clock();
        self.judge.event(&event, Moment { mono: now.mono.0, lived: self.now });
        self.tell(|| format!("{event:?}"));
        let process_died = matches!(event, Event::Died { .. });
        self.rung &= !matches!(event, Event::WorkAvailable(_));
        let actions = transition(&mut self.state, event, now);
        self.check_ledger()?;
        for action in actions {
            self.tell(|| format!("    {action:?}"));
            self.judge.action(&action)?;
            self.check_condemned(&action)?;
            self.carry_out(action);
        }
        self.judge.end_of_turn(&self.state, process_died)?;
        self.check_hangs()
    }

    /// Now and then: what is published is the state, and it fits.
    fn check_ledger(&mut self) -> Result<(), Broken> {
        if !self.prng.percent(1) {
            return Ok(());
        }
        let configuration = bincode::config::standard();
        let bytes = bincode::encode_to_vec(&self.state, configuration).map_err(|error| error.to_string())?;
        let (back, _): (State, usize) =
            bincode::decode_from_slice(&bytes, configuration).map_err(|error| error.to_string())?;
        let rows = status(&self.state).workers.len();
        if back != self.state || bytes.len() > State::MAX_BYTES || rows < self.state.workers.len() {
            return Err("the ledger does not hold the state".to_owned());
        }
        Ok(())
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now:>8} {}", line()));
        }
    }

    fn happens(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Event(event) => self.turn(event),
            Happening::Says(generation, frame)
                if self.lives(generation) && self.may_say(generation, &frame) =>
            {
                self.turn(Event::Frame { generation, frame })
            }
            Happening::Babbles(generation) if self.lives(generation) => {
                self.turn(Event::BadFrame { generation, why: "rubbish".to_owned() })
            }
            Happening::Dies(generation, exit) if self.lives(generation) => {
                if let Some(process) = self.processes.get_mut(&generation) {
                    process.alive = false;
                }
                let notice = self.prng.below(4);
                self.later(notice, Happening::Reaped(generation, exit));
                Ok(())
            }
            Happening::Works(generation) if self.lives(generation) => {
                self.work(generation);
                Ok(())
            }
            Happening::Says(..) | Happening::Babbles(_) | Happening::Dies(..) | Happening::Works(_) => Ok(()),
            Happening::Reaped(generation, exit) => self.reaped(generation, exit),
            Happening::Operator => operator::types(self),
            Happening::Killer => {
                operator::kills(self);
                Ok(())
            }
            Happening::Jump => {
                let most = if self.prng.percent(50) { 3_000 } else { 3_600_000 };
                self.jumped += self.prng.below(most);
                self.unix_ms -= self.prng.below(86_400_000);
                self.turn(Event::Tick)
            }
            Happening::Calm => {
                self.clear_up();
                Ok(())
            }
            Happening::Well => self.judge.all_is_well(&self.state),
        }
    }

    pub(crate) fn lives(&self, generation: Generation) -> bool {
        self.processes.get(&generation).is_some_and(|process| process.alive)
    }

    /// No more bad luck: whoever is stuck or starved dies, and whoever comes is honest. An operator puts configurations right.
    fn clear_up(&mut self) {
        self.calm = true;
        self.poison = None;
        let stuck: Vec<Generation> = self.processes.keys().copied().collect();
        for generation in stuck {
            // It would take one that gets next to no time for ever to be found hanging.
            let starved = self.processes.get(&generation).is_some_and(|process| process.truth.share < 100);
            if starved || self.prng.percent(50) {
                self.later(0, Happening::Dies(generation, ExitStatus::Signal { number: 11, core: false }));
            } else if let Some(process) = self.processes.get_mut(&generation) {
                process.temper.kill = process.temper.kill.min(5);
            }
        }
    }

    fn reaped(&mut self, generation: Generation, exit: ExitStatus) -> Result<(), Broken> {
        let Some(process) = self.processes.remove(&generation) else { return Ok(()) };
        let found = self.found(&process);
        // A refusal that most get over.
        let refused = self.prng.percent(20).then_some(RefusedAllocation { bytes: 64 << 20, limit: None });
        let out_of_memory = found.out_of_memory || (exit == SIGKILL && self.prng.percent(5));
        let (committed, head) = (Seq(self.committed), Seq(self.head));
        let post_mortem = PostMortem { committed, head, refused, out_of_memory, ..found };
        self.turn(Event::Died { generation, exit, post_mortem: post_mortem.clone() })?;
        // What comes late from a generation that is gone must mean nothing.
        if self.prng.percent(10) {
            self.turn(Event::Frame { generation, frame: FromWorker::Ready })?;
            self.turn(Event::Died { generation, exit, post_mortem })?;
        }
        Ok(())
    }

    pub(crate) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn { worker, generation } => self.spawn(&worker, generation),
            Action::Send { generation, frame } => self.receives(generation, frame),
            Action::CloseControl { generation } => self.loses_control(generation),
            Action::Signal { generation, signal, .. } => self.is_signalled(generation, signal),
            Action::Probe { generation } => self.looks(generation),
            Action::Save { .. } => {
                let delay = if self.prng.percent(10) { 60_000 } else { self.prng.below(50) };
                let result = if self.prng.percent(10) { Err("disk full".to_owned()) } else { Ok(()) };
                self.later(delay, Happening::Event(Event::Saved { result }));
            }
            Action::Quarantine(charge) => {
                let bad = !self.calm && self.prng.percent(self.weather.bad_disk);
                let delay = if bad && self.prng.percent(20) { 20_000 } else { self.prng.below(50) };
                let result = if bad { Err("disk full".to_owned()) } else { Ok(()) };
                self.later(delay, Happening::Event(Event::Quarantined { request: charge, result }));
            }
            Action::Log(record) => self.note(&record),
            Action::RemoveQuarantined { .. } | Action::ReplayFailed { .. } => {}
            Action::StoreReport(_)
            | Action::DumpThreads(_)
            | Action::Answer { .. }
            | Action::ReserveSeqs { .. }
            | Action::WakeAll
            | Action::Exit { .. } => {}
        }
    }

    /// For the test that nothing is left untried.
    fn note(&mut self, record: &LogRecord) {
        self.seen.insert(record.event_name());
        let LogRecord::WorkerDied { cause, next, .. } = record else { return };
        self.seen.insert(cause.as_str());
        self.seen.insert(match next {
            RestartDecision::RestartNow => "restart now",
            RestartDecision::RestartIn(_) => "restart in",
            RestartDecision::Successor(_) => "successor",
            RestartDecision::Predecessor(_) => "predecessor",
            RestartDecision::Parked(Some(_)) => "parked for a time",
            RestartDecision::Parked(None) => "parked for good",
            RestartDecision::Stopped => "stopped",
            RestartDecision::Shutdown => "shutdown",
        });
    }
}

fn specs(prng: &mut Prng, hang_timeout: u64) -> Vec<WorkerSpec> {
    let plain = prng.below(4);
    let names = [("api".to_owned(), Role::Api), ("analytics".to_owned(), Role::Analytics)];
    let others = (0..plain).map(|number| (format!("plain-{number}"), Role::Plain));
    names.into_iter().chain(others).map(|(name, role)| spec(prng, name, role, hang_timeout)).collect()
}

pub(crate) fn spec(prng: &mut Prng, name: String, role: Role, hang_timeout: u64) -> WorkerSpec {
    let stop_timeout = Duration::from_millis(*prng.pick(&[0, 100, 1_000, 5_000]));
    WorkerSpec { name, role, stop_timeout, hang_timeout: Duration::from_millis(hang_timeout) }
}
