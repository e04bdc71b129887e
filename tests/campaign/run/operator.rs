//! An operator who deploys a wrong program of the analysis, and puts the right one back.

use super::{Context, writer::Writer};
use crate::{
    deploy_schedule::{self, Step, WrongProgram},
    plan::Plan,
    records::{Answer, Deploy},
};
use bulkhead_proto::wire::{quarantine::Entry, series::FAULT_PREFIX};
use bulkhead_tests::{CliOutput, event_id::EventId, eventually, log::LogReader};
use fastrand::Rng;
use serde::Deserialize;
use std::time::Instant;

/// The operator, and the series of the current window that fails.
pub(super) struct Operator<'a> {
    context: &'a Context<'a>,
    plan: &'a Plan,
    rng: Rng,
    /// The number of deploys that are mended.
    mended: usize,
    /// The number of events of the failing series, and the seq of the last one.
    series_events: usize,
    last_seq: u64,
    current: Option<Current>,
}

/// The wrong program that is deployed.
struct Current {
    program: WrongProgram,
    at: u64,
    /// Reads the log from the activation of the wrong program.
    log: LogReader,
}

impl<'a> Operator<'a> {
    pub(super) fn new(context: &'a Context<'a>, plan: &'a Plan, rng: Rng) -> Self {
        Self { context, plan, rng, mended: 0, series_events: 0, last_seq: 0, current: None }
    }

    /// Carries out the next step of a deploy.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::PostToSeries => self.post_to_series(),
            Step::Deploy(program) => self.deploy(program),
            Step::AwaitJudgement => self.await_judgement(),
            Step::Mend => self.mend(),
        }
    }

    fn series_event(&self, index: usize) -> EventId {
        EventId::in_one_series(deploy_schedule::series_writer(self.mended), index)
    }

    fn post_to_series(&mut self) {
        let EventId { writer, number } = self.series_event(self.series_events);
        self.series_events += 1;
        let mut writer = Writer::new(writer, self.context, &self.plan.poisons, self.rng.fork());
        if let Answer::Accepted(seq, _) = writer.send(number, 1, || {}) {
            self.last_seq = seq;
        }
    }

    fn deploy(&mut self, program: WrongProgram) {
        let key = program.configuration(&self.series_event(0).series());
        let (at, log) = self.reload(&self.plan.configuration_with(&key));
        self.current = Some(Current { program, at, log });
    }

    /// Waits until the wrong program is parked, or the failing series is isolated and its events are quarantined.
    fn await_judgement(&mut self) {
        let Some(Current { program, log, .. }) = &mut self.current else { return };
        let judged = if program.is_parked() { "worker_braked" } else { "series_isolated" };
        log.wait_for_worker(judged, "analytics");
        if !program.is_parked() {
            self.wait_until_committed(self.last_seq);
        }
    }

    fn mend(&mut self) {
        let Some(Current { program, at, .. }) = self.current.take() else { return };
        let (mended, _) = self.reload(&self.plan.configuration());
        let quarantined = self.quarantined();
        let last = quarantined.iter().map(|entry| entry.seq.0).max();
        self.wait_until_committed(last.unwrap_or_default());
        let replay_began = self.context.us(Instant::now());
        let replayed = replayed(&self.context.bulkhead.cli(self.replay_command()));
        let replay = (replay_began, self.context.us(Instant::now()));
        let series = Some(self.series_event(0).series()).filter(|_| !program.is_parked());
        let deploy = Deploy { program, at, mended, series, quarantined, replay, replayed };
        self.context.deploys.write(&deploy);
        self.mended += 1;
        self.series_events = 0;
    }

    /// Changes the configuration and waits until the analysis that it names is active. Returns when that began, and a
    /// reader of the log after the activation. An operator reads the last crash report first. To name the frames of
    /// one takes seconds in a debug build, while further reports wait.
    fn reload(&self, configuration: &str) -> (u64, LogReader) {
        let bulkhead = self.context.bulkhead;
        bulkhead.wait_for_crash_reports();
        let (at, mut log) = (self.context.us(Instant::now()), bulkhead.log().from_now());
        bulkhead.fixture().write_config(configuration);
        let output = bulkhead.cli(&["reload"]);
        // A program that dies at once may be reported as failed.
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
        log.wait_for("the reload", |line| line.is("reloading"));
        log.wait_for_worker("worker_activated", "analytics");
        (at, log)
    }

    /// The events in quarantine that are not poison.
    fn quarantined(&self) -> Vec<Entry> {
        let items = self.context.bulkhead.client().all_items("/v1/quarantine?limit=100");
        let entries = items.iter().map(|item| Entry::deserialize(item).unwrap());
        let is_poison =
            |entry: &Entry| entry.event.as_ref().is_some_and(|event| event.series.starts_with(FAULT_PREFIX));
        entries.filter(|entry| !is_poison(entry)).collect()
    }

    /// The command that replays the quarantine. Poison events stay there: they would kill again.
    fn replay_command(&self) -> &'static [&'static str] {
        let all = &["quarantine", "replay", "--all", "--series", "w"];
        if self.plan.poisons.is_empty() { &all[..3] } else { all }
    }

    fn wait_until_committed(&self, seq: u64) {
        let client = self.context.bulkhead.client();
        eventually(self.context.bulkhead.log(), "the skips of the quarantined events", || {
            client.get_json("/v1/stats")["committed_seq"].as_u64() >= Some(seq)
        });
    }
}

/// The number of events that were replayed.
fn replayed(output: &CliOutput) -> u64 {
    let count = output.stdout.split_once(' ').and_then(|(count, _)| count.parse().ok());
    count.filter(|_| output.code == Some(0)).unwrap_or_else(|| panic!("{output:?}"))
}
