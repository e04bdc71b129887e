//! How simulated processes make progress, what a probe shows of it, and whether the supervisor finds every
//! hang and no other.

use crate::{
    checker::Violation,
    ensure::ensure,
    process::Process,
    simulator::{SimEvent, Simulation},
};
use bulkhead_proto::wire::{
    control::FromWorker,
    ids::{Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    Action, Event, HangDetector, Probe, Progress, WorkerSignal, policy::COMMIT_GRACE,
};
use std::time::Duration;

/// How late the simulated runtime may be in total, in milliseconds.
const SLACK: u64 = 100;

/// How a process makes progress. Times are in milliseconds of CPU time that the process gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkPattern {
    /// Makes progress between any two probes.
    Steady,
    /// Each event, and each answer to a ping, takes this long. That is less than a hang.
    SlowEvents(u64),
    /// Does nothing from this age on.
    HangsAt(u64),
    /// Shows progress, but never commits.
    NeverCommits,
    /// Prepares each commit in steps; the commit takes this long.
    SlowCommits(u64),
    /// Shows positions that go backwards, and never commits.
    Regresses,
}

/// What a running process really does, in milliseconds of the CPU time that it got since its activation.
#[derive(Clone, Debug)]
pub(crate) struct GroundTruth {
    pub(crate) pattern: WorkPattern,
    /// The share of CPU time that the process gets, in percent.
    pub(crate) cpu_percent: u64,
    /// The process was ordered to hang.
    pub(crate) hang_ordered: bool,
    /// The API has reported that it has no connections.
    pub(crate) idle_reported: bool,
    /// When the process was activated, on the simulation's clock; `u64::MAX` before that.
    activated_at: u64,
    /// When the process was last probed.
    probed_at: u64,
    /// When the result of the last probe arrives. Results of one process arrive in order, as in the runtime, which takes
    /// each probe before it handles the next event.
    probe_arrives_at: u64,
    /// When the process last made progress, or had nothing to do.
    progressed_at: u64,
    /// When the process last committed, or had nothing to do.
    committed_at: u64,
    /// When the supervisor began to watch the process, if it does.
    watched_since: Option<u64>,
    /// The read position and the number of steps that the process shows.
    published: (u64, u64),
}

impl GroundTruth {
    pub(crate) fn new(pattern: WorkPattern, cpu_percent: u64) -> Self {
        Self {
            pattern,
            cpu_percent,
            hang_ordered: false,
            idle_reported: false,
            activated_at: u64::MAX,
            probed_at: 0,
            probe_arrives_at: 0,
            progressed_at: 0,
            committed_at: 0,
            watched_since: None,
            published: (0, 1_000_000),
        }
    }

    pub(crate) fn activate(&mut self, now: u64) {
        self.activated_at = now;
    }

    /// The CPU time that the process has got so far.
    pub(crate) fn cpu_time(&self, now: u64) -> u64 {
        now.saturating_sub(self.activated_at) * self.cpu_percent / 100
    }

    /// Whether the process does nothing at this time.
    pub(crate) fn is_hung(&self, now: u64) -> bool {
        matches!(self.pattern, WorkPattern::HangsAt(age) if self.cpu_time(now) >= age)
    }

    pub(crate) fn hang_from(&mut self, now: u64) {
        self.pattern = WorkPattern::HangsAt(self.cpu_time(now));
    }

    /// Records a commit.
    /// The process waits while it holds a skip, and counts a step.
    pub(crate) fn record_wait(&mut self, now: u64) {
        (self.published.1, self.progressed_at) = (self.published.1 + 1, self.cpu_time(now));
    }

    pub(crate) fn record_commit(&mut self, now: u64) {
        let cpu_time = self.cpu_time(now);
        (self.progressed_at, self.committed_at) = (cpu_time, cpu_time);
    }

    /// Whether the process works between probes. The other patterns advance only when they are probed.
    pub(crate) fn works_alone(&self, now: u64) -> bool {
        match self.pattern {
            WorkPattern::Steady | WorkPattern::HangsAt(_) => !self.is_hung(now),
            WorkPattern::SlowEvents(_)
            | WorkPattern::NeverCommits
            | WorkPattern::SlowCommits(_)
            | WorkPattern::Regresses => false,
        }
    }
}

impl Simulation {
    /// Probes the process for the supervisor.
    pub(crate) fn on_probe(&mut self, generation: Generation) {
        if !self.is_alive(generation) {
            return;
        }
        let Some(role) = self.processes.get(&generation).map(|process| process.role) else { return };
        if role == Role::Analytics {
            self.advance_analysis(generation);
        }
        let (now, head, committed) = (self.time(), self.head, self.committed);
        let (delay, knocking) = (self.prng.below(3), self.prng.percent(50));
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        let delay = truth.probe_arrives_at.saturating_sub(now).max(delay);
        truth.probe_arrives_at = now.saturating_add(delay);
        let cpu_time = truth.cpu_time(now);
        let span = Duration::from_millis(cpu_time.saturating_sub(truth.probed_at));
        truth.probed_at = cpu_time;
        let (seq, steps) = truth.published;
        let progress = Progress { seq: Seq(seq.min(head)), steps, committed: Seq(committed) };
        let probe = Probe {
            cpu_available: span,
            pending: head != committed,
            took_over: true,
            progress,
            backlog_pending: knocking,
        };
        self.schedule(delay, SimEvent::Deliver(Event::Probed { generation, probe }));
    }

    /// Does what an analysis has done since the last probe.
    fn advance_analysis(&mut self, generation: Generation) {
        let (now, head, committed) = (self.time(), self.head, self.committed);
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        if head == committed {
            return truth.record_commit(now);
        }
        if truth.is_hung(now) {
            return;
        }
        let (cpu_time, (seq, steps)) = (truth.cpu_time(now), truth.published);
        match truth.pattern {
            WorkPattern::Steady | WorkPattern::HangsAt(_) => {
                truth.record_commit(now);
                self.apply_and_commit(generation, head);
            }
            WorkPattern::SlowEvents(per_event) => {
                let events = (cpu_time - truth.progressed_at) / per_event;
                if events > 0 {
                    self.apply_and_commit(generation, head.min(committed + events));
                }
            }
            WorkPattern::NeverCommits => {
                let next = (seq + 1).max(committed).min(head);
                if next > seq {
                    (truth.published, truth.progressed_at) = ((next, steps), cpu_time);
                }
            }
            WorkPattern::SlowCommits(duration) if cpu_time - truth.committed_at >= duration => {
                truth.record_commit(now);
                self.apply_and_commit(generation, head);
            }
            WorkPattern::SlowCommits(_) => {
                (truth.published, truth.progressed_at) = ((seq, steps + 1), cpu_time);
            }
            WorkPattern::Regresses => truth.published = (seq.saturating_sub(1), steps.saturating_sub(1)),
        }
    }

    /// Answers a ping to an API, unless the process hangs.
    pub(crate) fn on_ping(&mut self, generation: Generation, number: u64) {
        let now = self.time();
        let busy = self.prng.percent(20);
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        let duration = match truth.pattern {
            WorkPattern::SlowEvents(per_event) => per_event,
            WorkPattern::Steady
            | WorkPattern::HangsAt(_)
            | WorkPattern::NeverCommits
            | WorkPattern::SlowCommits(_)
            | WorkPattern::Regresses => 1,
        };
        if !truth.is_hung(now) {
            let delay = duration * 100 / truth.cpu_percent;
            self.schedule(
                delay,
                SimEvent::SendFrame(generation, FromWorker::Pong { number, accept_polls: number, busy }),
            );
        }
    }

    /// Whether the process can send this frame. A process that hangs cannot.
    pub(crate) fn can_send(&mut self, generation: Generation, frame: &FromWorker) -> bool {
        let now = self.time();
        let Some(Process { truth, role, .. }) = self.processes.get_mut(&generation) else { return false };
        if let FromWorker::Pong { busy, .. } = frame
            && *role == Role::Api
        {
            if truth.is_hung(now) {
                return false;
            }
            truth.idle_reported = !busy;
            truth.progressed_at = truth.cpu_time(now);
        }
        true
    }

    /// Connections arrive. A working API reports that it is busy; a hung API cannot, so the
    /// supervisor's wake-up is the only sign of work.
    pub(crate) fn accept_connections(&mut self, generation: Generation) {
        let now = self.time();
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        if truth.is_hung(now) {
            if self.state.is_idle(Role::Api) {
                self.schedule(0, SimEvent::Deliver(Event::WorkAvailable(Role::Api)));
            }
        } else if std::mem::take(&mut truth.idle_reported) {
            self.schedule(0, SimEvent::SendFrame(generation, FromWorker::Busy));
        }
    }

    /// Only a process that hangs may be aborted for a hang.
    pub(crate) fn check_abort_is_justified(&self, action: &Action) -> Result<(), Violation> {
        let Action::Signal { generation, signal: WorkerSignal::Abort, .. } = action else { return Ok(()) };
        let Some(Process { truth, .. }) = self.processes.get(generation) else { return Ok(()) };
        let (cpu_time, timeout) = (truth.cpu_time(self.time()), self.faults.hang_timeout);
        let stalled = cpu_time - truth.progressed_at >= timeout;
        let uncommitted = truth.pattern == WorkPattern::NeverCommits
            && cpu_time - truth.committed_at >= commit_timeout(timeout);
        ensure!(
            truth.hang_ordered || stalled || uncommitted,
            "aborted generation {generation}, which does not hang: {truth:?}, CPU time {cpu_time}"
        );
        Ok(())
    }

    /// After each transition: a process that hangs while work is pending must be found in time.
    pub(crate) fn check_hangs_are_found(&mut self) -> Result<(), Violation> {
        let (now, timeout) = (self.time(), self.faults.hang_timeout);
        self.pending_since = (self.head != self.committed).then(|| self.pending_since.unwrap_or(now));
        // The wake-up that the supervisor waits for.
        if self.pending_since.is_some() && self.state.is_idle(Role::Analytics) && !self.work_announced {
            self.work_announced = true;
            let delay = self.prng.below(3);
            self.schedule(delay, SimEvent::Deliver(Event::WorkAvailable(Role::Analytics)));
        }
        let running = self.state.workers.iter().filter_map(|worker| worker.running());
        for process in running {
            let Some(Process { truth, role, alive: true, .. }) = self.processes.get_mut(&process.generation)
            else {
                continue;
            };
            let cpu_time = truth.cpu_time(now);
            let hung_since = match (role, &process.hang_detector) {
                (Role::Api, HangDetector::Watched(_)) if truth.is_hung(now) => {
                    *truth.watched_since.get_or_insert(cpu_time)
                }
                (Role::Analytics, _) => match self.pending_since {
                    Some(pending) => truth.cpu_time(pending),
                    None => continue,
                },
                (Role::Api | Role::Plain, _) => {
                    truth.watched_since = None;
                    continue;
                }
            };
            let (last_progress, limit) = match truth.pattern {
                WorkPattern::NeverCommits => (truth.committed_at, commit_timeout(timeout)),
                WorkPattern::Steady
                | WorkPattern::SlowEvents(_)
                | WorkPattern::HangsAt(_)
                | WorkPattern::SlowCommits(_)
                | WorkPattern::Regresses => (truth.progressed_at, timeout),
            };
            let hung = cpu_time.saturating_sub(hung_since.max(last_progress));
            ensure!(
                hung <= limit + timeout / 3 + SLACK,
                "generation {} has hung for {hung} ms, hang_timeout is {timeout} ms: {truth:?}, CPU time {cpu_time}",
                process.generation
            );
        }
        Ok(())
    }
}

pub(crate) fn commit_timeout(timeout: u64) -> u64 {
    2 * timeout + u64::try_from(COMMIT_GRACE.as_millis()).expect("a short time")
}
