//! The invariants. The judge sees what the shell sees, events and actions, and keeps a record of its own;
//! of the heart's state it reads only what the ledger publishes for others to rely on.

use crate::record::{Command, Operator, Record};
use bulkhead_proto::{
    control::{FromWorker, Outcome, PROTOCOL, Phase, ToWorker, allowed},
    ids::{CrashId, Generation, Seq},
    words::{Cause, Role},
};
use bulkhead_supervisor::step::{
    Action, Event, Exit, LogRecord, Next, Policy, PostMortem, Signal, Spec, State, Wanted, WorkerId,
    policy::{
        IDLE_HEALTHY_AFTER, KILL_GRACE, PROBE_EVERY, SAVE_TIMEOUT, START_SPACING, START_TIMEOUT, TERM_GRACE,
    },
};
use std::{collections::BTreeMap, time::Duration};

/// How late the simulated shell may be in all: its ticks come up to a few milliseconds late, several of them in a row.
const SLACK: u64 = 100;

/// What is broken.
pub(crate) type Broken = String;

/// Milliseconds: on the supervisor's clock, which may jump, and on the simulation's, which does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) mono: u64,
    pub(crate) lived: u64,
}

/// What is known of a worker.
struct Known {
    role: Role,
    stop_timeout: u64,
    wanted: Wanted,
    /// Its configuration is wrong, and nobody has asked for another try.
    barred: bool,
    /// Likewise, or perhaps so: nobody can expect it to run.
    excused: bool,
    last_spawn: Option<u64>,
    /// Spawns for which nothing speaks but persistence.
    unexcused: Vec<u64>,
    committed: Seq,
    head: Seq,
}

/// What this turn is about.
#[derive(Default)]
struct Turn {
    died: Option<Generation>,
    progress: bool,
    offender: Option<Generation>,
    request: Option<(Generation, u64)>,
    command: Option<Operator>,
    refused: bool,
    kicked: bool,
    deaths: Vec<Generation>,
    spawned: Vec<usize>,
    requested: bool,
}

pub(crate) struct Judge {
    policy: Policy,
    workers: Vec<Known>,
    names: Vec<String>,
    pub(crate) records: BTreeMap<Generation, Record>,
    turn: Turn,
    now: Moment,
    booted: u64,
    api_was_active: bool,
    stopping: Option<u64>,
    signals: u32,
    gone: bool,
    crashes: u64,
    /// Asked, not answered.
    clients: BTreeMap<u64, u64>,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Fails the run with this text unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl Judge {
    pub(crate) fn new(policy: Policy, specs: &[Spec]) -> Self {
        let known = |spec: &Spec| Known {
            role: spec.role,
            stop_timeout: ms(spec.stop_timeout),
            wanted: Wanted::Running,
            barred: false,
            excused: false,
            last_spawn: None,
            unexcused: Vec::new(),
            committed: Seq(0),
            head: Seq(0),
        };
        Self {
            policy,
            workers: specs.iter().map(known).collect(),
            names: specs.iter().map(|spec| spec.name.clone()).collect(),
            records: BTreeMap::new(),
            turn: Turn::default(),
            now: Moment::default(),
            booted: 0,
            api_was_active: false,
            stopping: None,
            signals: 0,
            gone: false,
            crashes: 0,
            clients: BTreeMap::new(),
        }
    }

    pub(crate) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn is_excused(&self, worker: usize) -> bool {
        self.workers[worker].excused
    }

    fn living(&self) -> impl Iterator<Item = (Generation, &Record)> {
        self.records
            .iter()
            .filter(|(_, record)| !record.died)
            .map(|(generation, record)| (*generation, record))
    }

    fn siblings(&self, worker: usize) -> impl Iterator<Item = (Generation, &Record)> {
        self.living().filter(move |(_, record)| record.worker == worker)
    }

    /// Before the heart sees it.
    pub(crate) fn event(&mut self, event: &Event, now: Moment) {
        self.now = now;
        self.turn = Turn::default();
        match event {
            Event::Boot => self.booted = now.mono,
            Event::Spawned { generation, .. } => self.spawned(*generation),
            Event::SpawnFailed { generation, config, .. } => {
                self.died(
                    *generation,
                    if *config { Exit::Code(78) } else { Exit::Unknown },
                    &PostMortem::default(),
                );
            }
            Event::Frame { generation, frame } => self.frame(*generation, frame),
            Event::BadFrame { generation, .. } => self.offends(*generation),
            Event::Died { generation, exit, post_mortem } => self.died(*generation, *exit, post_mortem),
            Event::Command { client, command } => self.command(client.0, command),
            Event::StopSignal { .. } => {
                self.signals += 1;
                self.stopping.get_or_insert(now.lived);
            }
            Event::PipeFull { .. } | Event::Saved { .. } | Event::Tick => {}
        }
    }

    fn spawned(&mut self, generation: Generation) {
        if let Some(record) = self.records.get_mut(&generation) {
            if record.role == Role::Plain {
                record.ready = true;
                record.activated = Some(self.now.lived);
            }
        }
    }

    fn offends(&mut self, generation: Generation) {
        if self.records.get(&generation).is_some_and(|record| !record.died && record.killed.is_none()) {
            self.turn.offender = Some(generation);
        }
    }

    fn frame(&mut self, generation: Generation, frame: &FromWorker) {
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        let phase = if record.asked.is_some() && record.phase != Phase::Spawned {
            Phase::Draining
        } else {
            record.phase
        };
        if !allowed(record.role, phase, frame) {
            return self.offends(generation);
        }
        match frame {
            FromWorker::Hello { protocol, .. } if *protocol == PROTOCOL => record.phase = Phase::Greeted,
            FromWorker::Hello { .. } => {
                record.foreign = true;
                return self.offends(generation);
            }
            FromWorker::Ready => {
                record.ready = true;
                record.phase = if record.phase == Phase::Greeted { Phase::Ready } else { record.phase };
            }
            FromWorker::Request { id, .. } => self.turn.request = Some((generation, *id)),
            FromWorker::Panicked { .. } | FromWorker::SeqMark(_) => {}
        }
    }

    fn died(&mut self, generation: Generation, exit: Exit, seen: &PostMortem) {
        let lived = self.now.lived;
        let Some(record) = self.records.get_mut(&generation).filter(|record| !record.died) else { return };
        record.died = true;
        let record = record.clone();
        self.turn.died = Some(generation);
        let alone = self.siblings(record.worker).next().is_none();
        let worker = &mut self.workers[record.worker];
        if let Some(activated) = record.activated {
            self.turn.progress = match record.role {
                Role::Analytics => seen.committed > worker.committed,
                Role::Api => seen.head > worker.head,
                Role::Plain => false,
            };
            (worker.committed, worker.head) = (seen.committed, seen.head);
            let well = lived.saturating_sub(activated) >= ms(IDLE_HEALTHY_AFTER);
            if self.turn.progress || well || matches!(exit, Exit::Signal { number: 9, .. }) {
                worker.unexcused.clear();
            }
        }
        let asked = record.asked.is_some() || record.killed.is_some();
        let hopeless = record.foreign || exit == Exit::Code(78);
        let wanted = self.stopping.is_none() && worker.wanted == Wanted::Running;
        worker.excused |= hopeless;
        worker.barred |= hopeless && wanted && alone && (record.foreign || !asked);
    }

    fn command(&mut self, client: u64, command: &bulkhead_supervisor::step::Command) {
        self.clients.insert(client, self.now.lived);
        self.turn.command = Operator::new(client, command, &self.names);
        match &self.turn.command {
            Some(Operator { worker, command: Command::Start | Command::Stop | Command::Restart, .. }) => {
                let worker = &mut self.workers[*worker];
                worker.unexcused.clear();
                (worker.barred, worker.excused) = (false, false);
            }
            Some(Operator { command: Command::Fault, .. }) | None => {}
        }
    }

    /// Before it is carried out.
    pub(crate) fn action(&mut self, action: &Action) -> Result<(), Broken> {
        demand!(!self.gone, "it goes on after its exit: {action:?}");
        match action {
            Action::Spawn { worker, generation } => self.spawns(*worker, *generation),
            Action::Send { generation, frame } => self.sends(*generation, frame),
            Action::CloseControl { generation } => {
                self.known(*generation, "closes the control pipe").map(drop)
            }
            Action::Signal { generation, signal, group } => self.signals(*generation, *signal, *group),
            Action::Answer { client, outcome, text } => {
                demand!(
                    self.clients.remove(&client.0).is_some(),
                    "answers client {} twice: {text}",
                    client.0
                );
                demand!(!text.is_empty(), "answers client {} without a word", client.0);
                let own = self.turn.command.as_ref().is_some_and(|operator| operator.client == client.0);
                self.turn.refused |= own && *outcome != Outcome::Done;
                Ok(())
            }
            Action::Log(record) => self.logs(record),
            Action::KickBells => {
                self.turn.kicked = true;
                Ok(())
            }
            Action::Save { settled } => {
                demand!(
                    !settled || self.living().next().is_none(),
                    "saves as settled while processes are left"
                );
                Ok(())
            }
            Action::Exit { .. } => {
                self.gone = true;
                Ok(())
            }
            Action::ReserveSeqs { .. } => Ok(()),
        }
    }

    fn known(&mut self, generation: Generation, what: &str) -> Result<&mut Record, Broken> {
        match self.records.get_mut(&generation) {
            Some(record) if !record.died => Ok(record),
            Some(_) | None => Err(format!("{what} of generation {generation}, which is gone or never was")),
        }
    }

    fn spawns(&mut self, id: WorkerId, generation: Generation) -> Result<(), Broken> {
        let index = usize::from(id.0);
        let (now, policy) = (self.now.mono, self.policy.clone());
        let last = self.records.keys().next_back().copied().unwrap_or_default();
        demand!(generation > last, "generation {generation} was given out before");
        demand!(self.stopping.is_none(), "spawns while it is stopping");
        let early = !self.api_was_active && now < self.booted + ms(START_TIMEOUT);
        let worker = &mut self.workers[index];
        demand!(worker.role != Role::Plain || !early, "spawns a plain worker before the API is ready");
        demand!(!worker.barred, "tries again what is a matter of configuration");
        if let Some(last) = worker.last_spawn.replace(now) {
            demand!(now >= last + ms(START_SPACING), "spawns {} ms after the last time", now - last);
        }
        worker.unexcused.push(now);
        worker.unexcused.retain(|spawn| now - spawn < ms(policy.period));
        let spawns = u64::try_from(worker.unexcused.len()).unwrap_or(u64::MAX);
        let most = u64::from(policy.limit) + 2 + ms(policy.period) / ms(PROBE_EVERY);
        demand!(spawns <= most, "{spawns} spawns within {:?} that lead nowhere", policy.period);
        let role = worker.role;
        self.turn.spawned.push(index);
        self.records.insert(generation, Record::new(index, role, self.now.lived));
        Ok(())
    }

    fn sends(&mut self, generation: Generation, frame: &ToWorker) -> Result<(), Broken> {
        let lived = self.now.lived;
        let record = self.known(generation, "sends to a process")?.clone();
        match frame {
            ToWorker::Activate => {
                demand!(
                    record.ready && record.asked.is_none(),
                    "activates generation {generation}, which is not ready"
                );
                self.api_was_active |= record.role == Role::Api;
                let record = self.known(generation, "")?;
                record.activated = Some(lived);
                record.phase = Phase::Active;
            }
            ToWorker::Drain => {
                self.check_order(&record)?;
                self.check_replacement(generation, &record)?;
                self.known(generation, "")?.ask(lived);
            }
            ToWorker::Answer { id, .. } => {
                demand!(
                    self.turn.request.take() == Some((generation, *id)),
                    "answers request {id} that nobody made"
                );
            }
            ToWorker::Fault(_) => self.turn.requested = true,
        }
        Ok(())
    }

    /// A generation at work is retired only for one that is ready.
    fn check_replacement(&self, generation: Generation, record: &Record) -> Result<(), Broken> {
        let by_stop =
            self.turn.command.as_ref().is_some_and(|operator| {
                operator.worker == record.worker && operator.command == Command::Stop
            });
        let fine = record.activated.is_none()
            || by_stop
            || self.stopping.is_some()
            || self.siblings(record.worker).any(|(other, sibling)| other > generation && sibling.ready);
        demand!(fine, "retires generation {generation} before another one is ready");
        Ok(())
    }

    /// At the supervisor's end nobody at work leaves before those who may need it have left, or were given up.
    fn check_order(&self, record: &Record) -> Result<(), Broken> {
        let first = match record.role {
            Role::Api => Role::Plain,
            Role::Analytics => Role::Api,
            Role::Plain => return Ok(()),
        };
        if self.stopping.is_none() || record.activated.is_none() || record.asked.is_some() {
            return Ok(());
        }
        let waits = |other: &Record| {
            other.role == first && other.killed.is_none_or(|killed| self.now.mono < killed + ms(KILL_GRACE))
        };
        demand!(!self.living().any(|(_, other)| waits(other)), "stops {} before {first}", record.role);
        Ok(())
    }

    fn signals(&mut self, generation: Generation, signal: Signal, group: bool) -> Result<(), Broken> {
        let now = self.now;
        let record = self.known(generation, "signals a process")?;
        match signal {
            Signal::Term => record.ask(now.lived),
            Signal::Kill if group => record.kill(now),
            Signal::Kill => {}
        }
        Ok(())
    }

    fn logs(&mut self, record: &LogRecord) -> Result<(), Broken> {
        match record {
            LogRecord::WorkerDied { who, cause, crash, next, .. } => {
                demand!(crash.0 == self.crashes + 1, "crash {crash} follows {}", CrashId(self.crashes));
                self.crashes = crash.0;
                self.turn.deaths.push(who.generation);
                let parked = matches!(next, Next::Parked(Some(_)));
                demand!(!parked || !self.turn.progress, "parks a worker that makes progress");
                demand!(!parked || *cause != Cause::Requested, "parks a worker for a death that was ordered");
            }
            LogRecord::WorkerParked { .. }
            | LogRecord::WorkerStarted(_)
            | LogRecord::WorkerReady(_)
            | LogRecord::WorkerActivated(_)
            | LogRecord::WorkerStopping { .. }
            | LogRecord::WorkerSignalled { .. }
            | LogRecord::WorkerGivenUp(_)
            | LogRecord::WorkerProbed(_)
            | LogRecord::WorkerRecovered(_)
            | LogRecord::WorkerWarning { .. }
            | LogRecord::SupervisorStarted
            | LogRecord::SupervisorStopping { .. }
            | LogRecord::SupervisorStopped { .. } => {}
        }
        Ok(())
    }

    /// After the last action of a turn.
    pub(crate) fn end_of_turn(&mut self, state: &State, process_died: bool) -> Result<(), Broken> {
        let turn = std::mem::take(&mut self.turn);
        let deaths: Vec<Generation> = turn.died.into_iter().collect();
        if !self.gone || turn.died.is_none() {
            demand!(turn.deaths == deaths, "the deaths of {deaths:?} are told as {:?}", turn.deaths);
            demand!(!process_died || turn.died.is_none() || turn.kicked, "kicks no bell after a death");
        }
        if let Some(offender) = turn.offender {
            demand!(
                self.gone || self.records[&offender].killed.is_some(),
                "lets generation {offender} get away with a lie"
            );
        }
        demand!(turn.request.is_none(), "leaves a request unanswered: {:?}", turn.request);
        self.check_wanted(state, &turn)?;
        self.check_actives()?;
        self.check_overdue()
    }

    fn check_wanted(&mut self, state: &State, turn: &Turn) -> Result<(), Broken> {
        for (index, (known, worker)) in self.workers.iter_mut().zip(&state.workers).enumerate() {
            let order = turn.command.as_ref().filter(|operator| operator.worker == index);
            let target = order.and_then(|operator| operator.command.target());
            let carried_out = target.is_some() && !turn.refused;
            let may_be = worker.wanted == known.wanted && !carried_out || Some(worker.wanted) == target;
            demand!(
                may_be,
                "{} is wanted {:?} but was to be {:?}",
                worker.name,
                worker.wanted,
                target.unwrap_or(known.wanted)
            );
            known.wanted = worker.wanted;
        }
        for index in &turn.spawned {
            demand!(
                self.workers[*index].wanted == Wanted::Running,
                "spawns {}, which is not wanted",
                self.names[*index]
            );
        }
        Ok(())
    }

    fn check_actives(&self) -> Result<(), Broken> {
        for (index, worker) in self.workers.iter().enumerate() {
            let active = self.siblings(index).filter(|(_, record)| record.is_active()).count();
            demand!(active <= 1, "{active} active generations of {}", self.names[index]);
            let living = self.siblings(index).count();
            let most = if worker.role == Role::Plain { 1 } else { 2 };
            demand!(living <= most, "{living} generations of {} at once", self.names[index]);
        }
        let starting = self.living().filter(|(_, record)| record.is_starting()).count();
        let most = usize::try_from(self.policy.starts.max(1)).unwrap_or(usize::MAX);
        demand!(starting <= most, "{starting} workers are starting at once");
        Ok(())
    }

    /// Nothing lasts for ever.
    fn check_overdue(&self) -> Result<(), Broken> {
        if self.gone {
            return Ok(());
        }
        let lived = self.now.lived;
        for (generation, record) in self.living() {
            let start_ends = record.ordered + ms(START_TIMEOUT) + SLACK;
            demand!(
                !record.is_starting() || lived <= start_ends,
                "generation {generation} is starting for ever"
            );
            let grace = self.workers[record.worker].stop_timeout + ms(TERM_GRACE) + SLACK;
            let stop_ends = record.asked.map(|asked| asked + grace);
            let overdue = record.killed.is_none() && stop_ends.is_some_and(|ends| lived > ends);
            demand!(!overdue, "generation {generation} is stopping for ever");
        }
        if let Some(stopping) = self.stopping {
            let longest = self.workers.iter().map(|worker| worker.stop_timeout).max().unwrap_or(0);
            let stage = longest + ms(TERM_GRACE) + ms(KILL_GRACE);
            demand!(lived <= stopping + 3 * stage + ms(SAVE_TIMEOUT) + SLACK, "it is stopping for ever");
        }
        Ok(())
    }

    /// Once all has been calm for long enough for everything to recover.
    pub(crate) fn all_is_well(&self, state: &State) -> Result<(), Broken> {
        for (index, (known, worker)) in self.workers.iter().zip(&state.workers).enumerate() {
            let running = worker.running().is_some();
            let ought = known.wanted == Wanted::Running && !known.excused;
            demand!(running || !ought, "{} does not come back: {:?}", worker.name, worker.main);
            let left = self.siblings(index).count();
            demand!(
                known.wanted == Wanted::Running || left == 0,
                "{} does not go: {:?}",
                worker.name,
                worker.main
            );
        }
        self.nobody_waits()
    }

    pub(crate) fn nobody_waits(&self) -> Result<(), Broken> {
        demand!(self.clients.is_empty(), "clients wait for ever: {:?}", self.clients);
        Ok(())
    }
}
