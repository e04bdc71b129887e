//! The core without a runtime: the tests feed events and inspect actions.

use crate::core::{
    Action, ClientId, Command, DeathRecord, Event, ExitStatus, GenerationState, Identity, Millis, Now,
    Policy, PostMortem, Probe, RestartDecision, State, Worker, WorkerSpec, policy::START_SPACING, transition,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, PROTOCOL, RequestOutcome, ToWorker},
    ids::{CrashId, Generation, Seq},
    role::Role,
};
use std::time::Duration;

pub(super) const API: &str = "api";
pub(super) const ANALYTICS: &str = "analytics";
pub(super) const PLAIN: &str = "collector";

pub(super) const SIGKILL: ExitStatus = ExitStatus::Signal { number: 9, core: false };
pub(super) const SIGABRT: ExitStatus = ExitStatus::Signal { number: 6, core: false };
pub(super) const SIGSEGV: ExitStatus = ExitStatus::Signal { number: 11, core: false };

/// The event of a death.
pub(super) fn died(generation: Generation, exit: ExitStatus, post_mortem: PostMortem) -> Event {
    Event::Died { generation, post_mortem: Box::new(PostMortem { exit, ..post_mortem }) }
}

pub(super) struct Fixture {
    pub(super) state: State,
    pub(super) now: Now,
    /// The actions of the last event.
    pub(super) last: Vec<Action>,
    client: u64,
}

/// An API, an analysis and a plain worker with this `hang_timeout`.
pub(super) fn specs(hang_timeout: Duration) -> Vec<WorkerSpec> {
    let stop_timeout = Duration::from_secs(5);
    [(API, Role::Api), (ANALYTICS, Role::Analytics), (PLAIN, Role::Plain)]
        .map(|(name, role)| WorkerSpec { name: name.to_owned(), role, stop_timeout, hang_timeout })
        .into()
}

impl Fixture {
    /// Not booted: an API, an analysis and a plain worker. The policy is the built-in one with faults
    /// enabled; the quarantine is empty.
    pub(super) fn new() -> Self {
        Self::with(Policy { faults: true, max_attempts: u32::MAX, ..Policy::default() })
    }

    pub(super) fn with(policy: Policy) -> Self {
        let now = Now { mono: Millis(1_000_000), unix_ms: 1_700_000_000_000 };
        let specs = specs(Duration::from_secs(5));
        let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 7 };
        Self { state: State::new(policy, specs, identity, now), now, last: Vec::new(), client: 0 }
    }

    /// All workers are running: generations 1, 2 and 3.
    pub(super) fn running() -> Self {
        Self::new().up()
    }

    /// All workers are running and idle.
    pub(super) fn idle() -> Self {
        let mut fixture = Self::running();
        fixture.advance(Duration::from_secs(5) / 4);
        for generation in [Generation(1), Generation(2)] {
            fixture.feed(Event::Probed { generation, probe: Probe::default() });
        }
        fixture.receive(Generation(1), FromWorker::Pong { number: 1, accept_polls: 0, busy: false });
        fixture
    }

    pub(super) fn up(mut self) -> Self {
        self.feed(Event::Boot);
        self.become_ready(Generation(1));
        self.become_ready(Generation(2));
        self.spawned(Generation(3));
        self
    }

    pub(super) fn feed(&mut self, event: Event) -> &[Action] {
        self.last = transition(&mut self.state, event, self.now);
        &self.last
    }

    pub(super) fn spawned(&mut self, generation: Generation) {
        let pid = 100 + u32::try_from(generation.0).unwrap();
        self.feed(Event::Spawned { generation, pid });
    }

    pub(super) fn receive(&mut self, generation: Generation, frame: FromWorker) {
        self.feed(Event::Frame { generation, frame });
    }

    pub(super) fn hello(&mut self, generation: Generation) {
        self.receive(generation, FromWorker::Hello { protocol: PROTOCOL, build: "test 1".to_owned() });
    }

    /// Spawned, `Hello`, `Ready`.
    pub(super) fn become_ready(&mut self, generation: Generation) {
        self.spawned(generation);
        self.hello(generation);
        self.receive(generation, FromWorker::Ready);
    }

    /// Dies without progress, with an event in flight.
    pub(super) fn die(&mut self, generation: Generation, exit: ExitStatus) {
        self.die_at(generation, exit, Seq(0));
    }

    /// Dies with this last committed event, and more accepted ones.
    pub(super) fn die_at(&mut self, generation: Generation, exit: ExitStatus, committed: Seq) {
        let in_flight = Some(committed.next());
        let post_mortem =
            PostMortem { in_flight, committed, head: Seq(committed.0 + 10), ..PostMortem::default() };
        self.feed(died(generation, exit, post_mortem));
    }

    pub(super) fn command(&mut self, command: Command) -> ClientId {
        self.client += 1;
        let client = ClientId(self.client);
        self.feed(Event::Command { client, command });
        client
    }

    /// Time passes, and the runtime sends a tick.
    pub(super) fn advance(&mut self, span: Duration) -> &[Action] {
        self.now.mono = self.now.mono.after(span);
        self.now.unix_ms += u64::try_from(span.as_millis()).unwrap();
        self.feed(Event::Tick)
    }

    /// Lets time pass until the delay of the analysis has passed, for a limited time.
    pub(super) fn end_backoff(&mut self) {
        for _ in 0..1_000 {
            if !matches!(self.slot_state(ANALYTICS), GenerationState::Backoff { .. }) {
                return;
            }
            self.advance(START_SPACING);
        }
        unreachable!("the analysis is never started: {:?}", self.slot_state(ANALYTICS));
    }

    pub(super) fn worker(&self, name: &str) -> &Worker {
        self.state.workers.iter().find(|worker| worker.name == name).unwrap()
    }

    pub(super) fn worker_mut(&mut self, name: &str) -> &mut Worker {
        self.state.workers.iter_mut().find(|worker| worker.name == name).unwrap()
    }

    pub(super) fn slot_state(&self, name: &str) -> &GenerationState {
        &self.worker(name).main
    }

    /// The generations that the last event's actions spawn.
    pub(super) fn spawns(&self) -> Vec<Generation> {
        let spawned = |action: &Action| match action {
            Action::Spawn { generation, .. } => Some(*generation),
            _ => None,
        };
        self.last.iter().filter_map(spawned).collect()
    }

    pub(super) fn sent(&self, generation: Generation, frame: &ToWorker) -> bool {
        self.last.contains(&Action::Send { generation, frame: frame.clone() })
    }

    /// The answer of the last event's actions to this client.
    pub(super) fn answer(&self, client: ClientId) -> Option<RequestOutcome> {
        self.last.iter().find_map(|action| match action {
            Action::Answer { client: to, outcome, .. } if *to == client => Some(outcome.clone()),
            _ => None,
        })
    }

    /// The only death in the last event's actions.
    pub(super) fn death(&self) -> (Cause, String, RestartDecision) {
        let DeathRecord { report, next, .. } = self.death_record();
        (report.cause, report.detail, next)
    }

    /// The only death record in the last event's actions.
    pub(super) fn death_record(&self) -> DeathRecord {
        let records = self.last.iter().filter_map(|action| match action {
            Action::RecordDeath(record) => Some((**record).clone()),
            _ => None,
        });
        let records: Vec<_> = records.collect();
        assert_eq!(records.len(), 1, "expected one death: {:?}", self.last);
        records[0].clone()
    }
}
