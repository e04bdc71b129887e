//! The simulation: virtual time, a queue of scheduled events, and one run from boot to exit.

use crate::{
    checker::{Checker, Clocks, Violation},
    fault_profile::{FaultProfile, random_policy},
    operator,
    prng::Prng,
    process::{Poison, Process, SIGKILL, series_of},
};
use bulkhead_proto::wire::{
    codec,
    control::FromWorker,
    ids::{CrashId, Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    Action, DeathRecord, Event, ExitStatus, Identity, Millis, Now, PostMortem, RefusedAllocation,
    RestartDecision, State, WorkerSpec, next_deadline, status, transition,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A run of more transitions never ends.
const MAX_TRANSITIONS: u32 = 30_000;

/// The time for recovery after the faults have stopped, in milliseconds. It is longer than the longest
/// blocked exit, the retry of a parked worker and its start together.
const RECOVERY_TIME: u64 = 120_000;

/// What is scheduled to happen.
#[derive(Clone, Debug)]
pub(crate) enum SimEvent {
    Deliver(Event),
    /// The process sends this frame, if it is alive.
    SendFrame(Generation, FromWorker),
    /// The process sends bytes that are not a frame, if it is alive.
    SendGarbage(Generation),
    /// The process dies, if it is alive.
    Die(Generation, ExitStatus),
    /// The runtime has reaped the process.
    Reaped(Generation, ExitStatus),
    /// The process does its next portion of work.
    Work(Generation),
    /// An operator sends a command.
    OperatorCommand,
    /// A process is killed from outside the supervisor.
    ExternalKill,
    /// The supervisor's clocks jump.
    ClockJump,
    /// No faults from now on.
    StopFaults,
    /// Every worker must have recovered by now.
    CheckRecovered,
}

pub(crate) struct Simulation {
    pub(crate) prng: Prng,
    pub(crate) faults: FaultProfile,
    /// The workers that exist, or existed.
    pub(crate) worker_names: Vec<String>,
    pub(crate) state: State,
    pub(crate) checker: Checker,
    pub(crate) processes: BTreeMap<Generation, Process>,
    /// The last accepted event, and the last committed one.
    pub(crate) head: u64,
    pub(crate) committed: u64,
    /// The event that no analysis survives.
    pub(crate) poison: Option<Poison>,
    /// The share of events that the program of the analysis does not survive, in percent.
    pub(crate) failing_percent: u64,
    /// The series whose events the program does not survive.
    pub(crate) failing_series: Option<String>,
    pub(crate) faults_stopped: bool,
    /// Since when work is pending for the analysis, if it is.
    pub(crate) pending_since: Option<u64>,
    /// The wake-up for pending work is on its way to the supervisor.
    pub(crate) work_announced: bool,
    pub(crate) last_client: u64,
    pub(crate) transitions: u32,
    /// The names of log events, the causes and the decisions that occurred.
    pub(crate) covered: BTreeSet<&'static str>,
    /// The events and actions so far, if they are traced.
    pub(crate) trace: Option<Vec<String>>,
    queue: BTreeMap<(u64, u64), SimEvent>,
    scheduled: u64,
    now: u64,
    clock_offset: u64,
    unix_ms: u64,
}

impl Simulation {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut prng = Prng::new(seed);
        let faults = FaultProfile::draw(&mut prng);
        let policy = random_policy(&mut prng);
        let specs = random_specs(&mut prng, faults.hang_timeout);
        let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed };
        let start = Now { mono: Millis(50_000), unix_ms: 1_800_000_000_000 };
        let worker_names = specs.iter().map(|spec| spec.name.clone()).collect();
        let checker = Checker::new(policy.clone(), &specs);
        Self {
            prng,
            faults,
            worker_names,
            state: State::new(policy, specs, identity, start),
            checker,
            processes: BTreeMap::new(),
            head: 0,
            committed: 0,
            poison: None,
            failing_percent: 0,
            failing_series: None,
            faults_stopped: false,
            pending_since: None,
            work_announced: false,
            last_client: 0,
            transitions: 0,
            covered: BTreeSet::new(),
            trace: traced.then(Vec::new),
            queue: BTreeMap::new(),
            scheduled: 0,
            now: start.mono.0,
            clock_offset: 0,
            unix_ms: start.unix_ms,
        }
    }

    /// Runs from boot to exit: a period with faults, in half of the runs a period for recovery, then the
    /// shutdown.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let fault_period = self.prng.between(5_000, 40_000);
        operator::deploy(self);
        self.schedule(0, SimEvent::Deliver(Event::Boot));
        self.schedule(self.faults.mean_command_interval, SimEvent::OperatorCommand);
        self.schedule(self.faults.mean_kill_interval, SimEvent::ExternalKill);
        if self.faults.clock_jumps {
            self.schedule(fault_period / 2, SimEvent::ClockJump);
        }
        // Half of the runs end while faults occur, the other half after a recovery.
        if self.prng.percent(50) {
            self.schedule(fault_period, SimEvent::StopFaults);
            self.schedule(fault_period + RECOVERY_TIME, SimEvent::CheckRecovered);
            self.stop_at(fault_period + RECOVERY_TIME);
        } else {
            self.stop_at(fault_period);
        }
        while !self.checker.has_exited() {
            self.transitions += 1;
            if self.transitions > MAX_TRANSITIONS {
                return Err("the run does not end".to_owned());
            }
            self.advance()?;
        }
        self.checker.check_no_client_waits()
    }

    fn stop_at(&mut self, at: u64) {
        let signal =
            || SimEvent::Deliver(Event::StopSignal { origin: "SIGTERM".to_owned(), terminal: false });
        self.schedule(at + 1, signal());
        if self.prng.percent(10) {
            let delay = self.prng.below(8_000);
            self.schedule(at + 2 + delay, signal());
        }
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: SimEvent) {
        self.scheduled += 1;
        self.queue.insert((self.now.saturating_add(delay), self.scheduled), event);
    }

    /// Advances to the next scheduled event or the next deadline, whichever is earlier.
    fn advance(&mut self) -> Result<(), Violation> {
        let deadline =
            next_deadline(&self.state).map(|at| at.0.saturating_sub(self.clock_offset).max(self.now));
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        match (deadline, event) {
            (Some(deadline), event) if event.is_none_or(|at| deadline < at) => {
                let delay = if self.prng.percent(50) { self.prng.below(6) } else { 0 };
                self.now = (deadline + delay).min(event.unwrap_or(u64::MAX));
                self.tick_at_deadline()
            }
            (_, Some(_)) => {
                let Some(((at, _), event)) = self.queue.pop_first() else { return Ok(()) };
                self.now = at;
                self.dispatch(event)
            }
            (_, None) => {
                Err("no event and no deadline is left, but the supervisor has not exited".to_owned())
            }
        }
    }

    /// A tick at a deadline must change the state; otherwise the runtime would tick without end.
    fn tick_at_deadline(&mut self) -> Result<(), Violation> {
        let before = self.state.clone();
        self.deliver(Event::Tick)?;
        if before == self.state {
            Err("a tick at a deadline did not change the state".to_owned())
        } else {
            Ok(())
        }
    }

    /// The time on the simulation's clock, in milliseconds.
    pub(crate) const fn time(&self) -> u64 {
        self.now
    }

    pub(crate) fn clock(&self) -> Now {
        Now { mono: Millis(self.now + self.clock_offset), unix_ms: self.unix_ms + self.now }
    }

    pub(crate) fn deliver(&mut self, event: Event) -> Result<(), Violation> {
        // A caller may deliver several commands in a row, and the supervisor may have exited at the first.
        if self.checker.has_exited() {
            return Ok(());
        }
        let now = self.clock();
        self.checker.on_event(&event, Clocks { mono: now.mono.0, sim: self.now });
        self.record_trace(|| format!("{event:?}"));
        let process_died = matches!(event, Event::Died { .. });
        self.work_announced &= !matches!(event, Event::WorkAvailable(_));
        let actions = transition(&mut self.state, event, now);
        self.check_ledger()?;
        for action in actions {
            self.record_trace(|| format!("    {action:?}"));
            self.checker.on_action(&action)?;
            self.check_abort_is_justified(&action)?;
            self.execute(action);
        }
        self.checker.end_transition(&self.state, process_died)?;
        self.check_hangs_are_found()
    }

    /// In one percent of the transitions: the ledger decodes to the same state, and fits its page.
    fn check_ledger(&mut self) -> Result<(), Violation> {
        if !self.prng.percent(1) {
            return Ok(());
        }
        let mut page = vec![0; State::MAX_BYTES];
        let length = codec::encode(&self.state, &mut page).map_err(|error| error.to_string())?;
        let decoded: State = codec::decode(&page[..length]).map_err(|error| error.to_string())?;
        let rows = status(&self.state).workers.len();
        if decoded != self.state || rows < self.state.workers.len() {
            return Err("the ledger does not hold the state, or exceeds its size".to_owned());
        }
        Ok(())
    }

    pub(crate) fn record_trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>8} {}", line()));
        }
    }

    fn dispatch(&mut self, event: SimEvent) -> Result<(), Violation> {
        match event {
            SimEvent::Deliver(event) => self.deliver(event),
            SimEvent::SendFrame(generation, frame)
                if self.is_alive(generation) && self.can_send(generation, &frame) =>
            {
                self.deliver(Event::Frame { generation, frame })
            }
            SimEvent::SendGarbage(generation) if self.is_alive(generation) => {
                self.deliver(Event::BadFrame { generation, why: "not a frame".to_owned() })
            }
            SimEvent::Die(generation, exit) if self.is_alive(generation) => {
                if let Some(process) = self.processes.get_mut(&generation) {
                    process.alive = false;
                }
                let delay = self.prng.below(4);
                self.schedule(delay, SimEvent::Reaped(generation, exit));
                Ok(())
            }
            SimEvent::Work(generation) if self.is_alive(generation) => {
                self.do_work(generation);
                Ok(())
            }
            SimEvent::SendFrame(..) | SimEvent::SendGarbage(_) | SimEvent::Die(..) | SimEvent::Work(_) => {
                Ok(())
            }
            SimEvent::Reaped(generation, exit) => self.reap(generation, exit),
            SimEvent::OperatorCommand => operator::issue_command(self),
            SimEvent::ExternalKill => {
                operator::kill_random_process(self);
                Ok(())
            }
            SimEvent::ClockJump => {
                let max_jump = if self.prng.percent(50) { 3_000 } else { 3_600_000 };
                self.clock_offset += self.prng.below(max_jump);
                self.unix_ms -= self.prng.below(86_400_000);
                self.deliver(Event::Tick)
            }
            SimEvent::StopFaults => {
                self.stop_faults();
                Ok(())
            }
            SimEvent::CheckRecovered => self.checker.check_recovered(&self.state),
        }
    }

    pub(crate) fn is_alive(&self, generation: Generation) -> bool {
        self.processes.get(&generation).is_some_and(|process| process.alive)
    }

    /// Ends the faults. A random half of the processes, and every process with little CPU time, dies; every
    /// new process is honest. An operator starts the workers whose configuration was rejected.
    fn stop_faults(&mut self) {
        self.faults_stopped = true;
        (self.poison, self.failing_percent, self.failing_series) = (None, 0, None);
        let generations: Vec<Generation> = self.processes.keys().copied().collect();
        for generation in generations {
            // With a small share of CPU time, the hang would take too long to be found.
            let starved =
                self.processes.get(&generation).is_some_and(|process| process.truth.cpu_percent < 100);
            if starved || self.prng.percent(50) {
                self.schedule(0, SimEvent::Die(generation, ExitStatus::Signal { number: 11, core: false }));
            } else if let Some(process) = self.processes.get_mut(&generation) {
                process.profile.on_sigkill = process.profile.on_sigkill.min(5);
            }
        }
    }

    fn reap(&mut self, generation: Generation, exit: ExitStatus) -> Result<(), Violation> {
        let Some(process) = self.processes.remove(&generation) else { return Ok(()) };
        let found = self.post_mortem(&process);
        // A failed allocation that most processes survive.
        let refused = self.prng.percent(20).then_some(RefusedAllocation { bytes: 64 << 20, limit: None });
        let out_of_memory = found.out_of_memory || (exit == SIGKILL && self.prng.percent(5));
        let (committed, head) = (Seq(self.committed), Seq(self.head));
        let series = found.in_flight.or(found.committing).map(|seq| series_of(seq.0));
        let found = PostMortem { series, ..found };
        let post_mortem = Box::new(PostMortem { exit, committed, head, refused, out_of_memory, ..found });
        self.deliver(Event::Died { generation, post_mortem: post_mortem.clone() })?;
        // A late frame, or a second death, of a generation that is gone must have no effect.
        if self.prng.percent(10) {
            self.deliver(Event::Frame { generation, frame: FromWorker::Ready })?;
            self.deliver(Event::Died { generation, post_mortem })?;
        }
        Ok(())
    }

    pub(crate) fn execute(&mut self, action: Action) {
        match action {
            Action::Spawn { worker, generation } => self.spawn(&worker, generation),
            Action::Send { generation, frame } => self.on_frame(generation, frame),
            Action::CloseControl { generation } => self.on_control_closed(generation),
            Action::Signal { generation, signal, .. } => self.on_signal(generation, signal),
            Action::Probe { generation } => self.on_probe(generation),
            Action::Save { .. } => {
                let delay = if self.prng.percent(10) { 60_000 } else { self.prng.below(50) };
                let result = if self.prng.percent(10) { Err("disk full".to_owned()) } else { Ok(()) };
                self.schedule(delay, SimEvent::Deliver(Event::Saved { result }));
            }
            Action::Quarantine(request) => {
                let fails = !self.faults_stopped && self.prng.percent(self.faults.disk_fails);
                let delay = if fails && self.prng.percent(20) { 20_000 } else { self.prng.below(50) };
                let result = if fails { Err("disk full".to_owned()) } else { Ok(()) };
                self.schedule(delay, SimEvent::Deliver(Event::Quarantined { request, result }));
            }
            Action::StoreIsolated { subject, .. } => {
                let fails = !self.faults_stopped && self.prng.percent(self.faults.disk_fails / 4);
                let result = if fails { Err("disk full".to_owned()) } else { Ok(()) };
                let (delay, generation) = (self.prng.below(50), subject.generation);
                self.schedule(delay, SimEvent::Deliver(Event::IsolatedStored { generation, result }));
            }
            Action::Release(seqs) => {
                let fails = !self.faults_stopped && self.prng.percent(self.faults.disk_fails);
                let delay = self.prng.below(50);
                let (kept, error) =
                    if fails { (seqs, Some("disk full".to_owned())) } else { (Vec::new(), None) };
                self.schedule(delay, SimEvent::Deliver(Event::Released { kept, error }));
            }
            Action::Log(record) => drop(self.covered.insert(record.event_name())),
            Action::RecordDeath(record) => self.record_coverage(&record),
            Action::RemoveQuarantined { .. } | Action::ReplayFailed { .. } => {}
            Action::DumpThreads(_)
            | Action::Answer { .. }
            | Action::ReserveSeqs { .. }
            | Action::WakeAnalytics
            | Action::Exit { .. } => {}
        }
    }

    /// Records what occurred, for the coverage test.
    fn record_coverage(&mut self, record: &DeathRecord) {
        self.covered.insert("worker_died");
        self.covered.insert(record.report.cause.as_str());
        self.covered.insert(match record.next {
            RestartDecision::RestartNow => "restart now",
            RestartDecision::RestartIn(_) => "restart in",
            RestartDecision::Successor(_) => "successor",
            RestartDecision::NextStandby(_) => "next standby",
            RestartDecision::Predecessor(_) => "predecessor",
            RestartDecision::Parked(Some(_)) => "parked for a time",
            RestartDecision::Parked(None) => "parked for good",
            RestartDecision::Stopped => "stopped",
            RestartDecision::Shutdown => "shutdown",
        });
    }
}

fn random_specs(prng: &mut Prng, hang_timeout: u64) -> Vec<WorkerSpec> {
    let plain = prng.below(4);
    let names = [("api".to_owned(), Role::Api), ("analytics".to_owned(), Role::Analytics)];
    let others = (0..plain).map(|number| (format!("plain-{number}"), Role::Plain));
    names.into_iter().chain(others).map(|(name, role)| random_spec(prng, name, role, hang_timeout)).collect()
}

pub(crate) fn random_spec(prng: &mut Prng, name: String, role: Role, hang_timeout: u64) -> WorkerSpec {
    let stop_timeout = Duration::from_millis(*prng.pick(&[0, 100, 1_000, 5_000]));
    WorkerSpec { name, role, stop_timeout, hang_timeout: Duration::from_millis(hang_timeout) }
}
