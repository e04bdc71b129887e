//! Kills workers, and commands faults, when the plan says so.

use super::{Context, operator::Operator};
use crate::{
    plan::{Injection, KillTime, Target},
    records::{FaultCommand, Kill},
};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{
    CliOutput,
    log::{Line, LogReader},
    process::Signal,
    worker_killer,
};
use fastrand::Rng;
use std::time::Instant;

/// One worker, as the fault injector sees it.
struct TargetWorker {
    worker: &'static str,
    /// Reads the starts of generations in the log; each generation is killed once.
    starts: LogReader,
    /// Reads the activations.
    activations: LogReader,
    /// The newest generation that was killed, or commanded to die, since the last recovery.
    killed: Option<u64>,
}

/// Kills both workers.
pub(super) struct FaultInjector<'a> {
    context: &'a Context<'a>,
    analytics: TargetWorker,
    api: TargetWorker,
    /// Reads the deaths of generations that were commanded to die; `commanded` is the one whose death is
    /// expected.
    deaths: LogReader,
    commanded: Option<u64>,
    operator: Operator<'a>,
    rng: Rng,
}

impl TargetWorker {
    fn new(context: &Context<'_>, worker: &'static str) -> Self {
        let log = context.bulkhead.log();
        Self { worker, starts: log.from_start(), activations: log.from_start(), killed: None }
    }

    /// Waits for a generation that was not killed yet, at this point of its start. A generation that dies of
    /// something else before that is skipped.
    fn next_target(&mut self, time: KillTime) -> Line {
        loop {
            let started = self.starts.wait_for_live_generation(self.worker);
            if time == KillTime::Immediately {
                return started;
            }
            let is_its_event = |line: &Line| {
                ["worker_activated", "worker_died"]
                    .iter()
                    .any(|event| line.is_generation_event(event, &started))
            };
            if self
                .starts
                .wait_for("the activation or death of the generation", is_its_event)
                .is("worker_activated")
            {
                return started;
            }
        }
    }

    fn kill(&mut self, started: &Line, context: &Context<'_>) {
        let generation = started.number("generation").unwrap();
        let at = context.us(Instant::now());
        context.bulkhead.signal_worker(started.pid(), Signal::SIGKILL);
        context.kills.write(&Kill { at, worker: self.worker.to_owned(), generation, pid: started.pid() });
        self.killed = self.killed.max(Some(generation));
    }

    /// Waits until a generation that was not killed is active.
    fn wait_recovered(&mut self) {
        let Some(killed) = self.killed.take() else { return };
        let worker = self.worker;
        self.activations.wait_for("the recovery from the last kill", |line| {
            line.is_worker_event("worker_activated", worker) && line.number("generation") > Some(killed)
        });
    }
}

impl<'a> FaultInjector<'a> {
    pub(super) fn new(context: &'a Context<'a>, operator: Operator<'a>, rng: Rng) -> Self {
        let target = |worker| TargetWorker::new(context, worker);
        let (analytics, api) = (target("analytics"), target("api"));
        let deaths = context.bulkhead.log().from_start();
        Self { context, analytics, api, deaths, commanded: None, operator, rng }
    }

    /// Kills the workers of an injection, or commands its fault. Does not wait for the deaths. Or carries out a step of the
    /// operator.
    pub(super) fn inject(&mut self, Injection { target, time }: Injection) {
        self.context.assert_in_time();
        let mut targets = match target {
            Target::Analytics => vec![&mut self.analytics],
            Target::Api => vec![&mut self.api],
            Target::Both => vec![&mut self.analytics, &mut self.api],
            Target::FaultCommand(kind) => return self.command_fault(kind),
            Target::Operator(step) => return self.operator.take(step),
        };
        let started: Vec<Line> = targets.iter_mut().map(|target| target.next_target(time)).collect();
        worker_killer::random_delay(&mut self.rng);
        for (target, started) in targets.into_iter().zip(&started) {
            target.kill(started, self.context);
        }
    }

    /// Commands a fault of the analysis. A command that is refused, because no generation could execute it,
    /// is repeated after the next activation and not in a loop: each command starts a process, which must not
    /// slow the reads down. Commands one fault at a time: a generation that got two would report only the
    /// second.
    fn command_fault(&mut self, kind: FaultKind) {
        if let Some(commanded) = self.commanded.take() {
            self.deaths.wait_for("the death of the generation that got the fault", |line| {
                line.is_worker_event("worker_died", "analytics")
                    && line.number("generation") == Some(commanded)
            });
        }
        while self.commanded.is_none() {
            self.context.assert_in_time();
            let mut new_activations = self.context.bulkhead.log().from_now();
            let at = self.context.us(Instant::now());
            let output = self.context.bulkhead.cli(&["fault", "analytics", kind.as_str()]);
            self.commanded = accepted_by(&output);
            self.context.fault_commands.write(&FaultCommand { at, kind, generation: self.commanded });
            if self.commanded.is_none() {
                new_activations.wait_for("an active analysis that can execute the fault", |line| {
                    line.is_worker_event("worker_activated", "analytics")
                });
            }
        }
        self.analytics.killed = self.analytics.killed.max(self.commanded);
    }

    /// Waits until both workers are active.
    pub(super) fn wait_recovered(&mut self) {
        self.analytics.wait_recovered();
        self.api.wait_recovered();
    }

    /// Waits until all posted events are committed or quarantined.
    pub(super) fn wait_committed(&self) {
        self.context.bulkhead.wait_until_committed();
    }
}

/// The generation that got the fault, as the command printed it; `None` if the command was refused.
fn accepted_by(output: &CliOutput) -> Option<u64> {
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    let named = || output.stdout.trim_end().rsplit_once("generation ")?.1.parse().ok();
    (output.code == Some(0))
        .then(|| named().unwrap_or_else(|| panic!("the output names no generation: {output:?}")))
}
