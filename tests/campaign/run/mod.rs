//! Executes the plan and records everything. Judges nothing.

mod fault_injector;
mod operator;
mod reader;
mod writer;

use crate::{
    options::Options,
    plan::{Plan, READERS, WRITERS, Window},
    records::{self, LogLine, RecordFile, Run, Stats},
};
use bulkhead_tests::{
    Bulkhead, Fixture, event_id::SeriesTotals, http::Client, injection_pacer::InjectionPacer, process,
};
use fastrand::Rng;
use fault_injector::FaultInjector;
use operator::Operator;
use serde::Deserialize;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use writer::Writer;

/// The value of `Context::window` between windows.
const BETWEEN_WINDOWS: usize = usize::MAX;

/// A run fails when it takes longer than the planned duration times this factor, plus the extra time.
const TIME_LIMIT_FACTOR: u32 = 10;
const TIME_LIMIT_EXTRA: Duration = Duration::from_secs(120);

/// What all clients share.
struct Context<'a> {
    bulkhead: &'a Bulkhead,
    started: Instant,
    deadline: Instant,
    requests: RecordFile,
    reads: RecordFile,
    kills: RecordFile,
    fault_commands: RecordFile,
    deploys: RecordFile,
    /// The index of the current window.
    window: AtomicUsize,
    /// The number of events that each writer has begun to post.
    sent: [AtomicUsize; WRITERS],
    stop_readers: AtomicBool,
}

impl Context<'_> {
    /// Microseconds since the start of the run.
    fn us(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.started))
    }

    fn window(&self) -> Option<usize> {
        Some(self.window.load(Ordering::Relaxed)).filter(|window| *window != BETWEEN_WINDOWS)
    }

    fn assert_in_time(&self) {
        assert!(
            Instant::now() < self.deadline,
            "the campaign exceeds its time limit; the log:\n{}",
            self.bulkhead.log().dump()
        );
    }
}

/// Stops the readers when it is dropped, on success and on panic.
struct StopReadersOnDrop<'a>(&'a AtomicBool);

impl Drop for StopReadersOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the campaign and leaves its records in a directory, which is created anew.
pub(crate) fn run(options: &Options, plan: &Plan, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let bulkhead = Fixture::new(&plan.configuration()).start();
    let started = Instant::now();
    let context = Context {
        bulkhead: &bulkhead,
        started,
        deadline: started + plan.duration() * TIME_LIMIT_FACTOR + TIME_LIMIT_EXTRA,
        requests: RecordFile::create(directory, records::REQUESTS),
        reads: RecordFile::create(directory, records::READS),
        kills: RecordFile::create(directory, records::KILLS),
        fault_commands: RecordFile::create(directory, records::FAULT_COMMANDS),
        deploys: RecordFile::create(directory, records::DEPLOYS),
        window: AtomicUsize::new(BETWEEN_WINDOWS),
        sent: Default::default(),
        stop_readers: AtomicBool::new(false),
    };
    run_windows(&context, plan);
    drop(context);
    let elapsed = started.elapsed();
    let stats = bulkhead.wait_until_committed();
    save_final_state(&bulkhead.client(), directory);
    bulkhead.wait_for_crash_reports();
    let tree = process::tree(bulkhead.pid());
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    let log = RecordFile::create(directory, records::LOG);
    for line in stopped.log.matching(|_| true) {
        let at = micros(line.read_at().saturating_duration_since(started));
        log.write(&LogLine { at, fields: line.fields().cloned().unwrap_or_else(|| line.raw().into()) });
    }
    RecordFile::create(directory, records::RUN).write(&Run {
        seed: options.seed,
        events: plan.events(),
        kills: options.kills,
        api_kills: options.api_kills(),
        poisons: plan.poisons.len(),
        fault_commands: plan.fault_commands(),
        deploys: plan.deploys(),
        windows: plan.windows.iter().map(|window| window.kind).collect(),
        took_us: micros(elapsed),
        stats: stats_of(&stats),
        stopped: stopped.status.success(),
        left_processes: process::alive(&tree),
    });
}

fn run_windows(context: &Context<'_>, plan: &Plan) {
    let mut rng = plan.rng.clone();
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(number, context, &plan.poisons, rng.fork())).collect();
    let operator = Operator::new(context, plan, rng.fork());
    let mut injector = FaultInjector::new(context, operator, rng.fork());
    thread::scope(|scope| {
        let _stop_readers = StopReadersOnDrop(&context.stop_readers);
        for number in 0..READERS {
            let rng = rng.fork();
            scope.spawn(move || reader::run(number, context, rng));
        }
        for (index, window) in plan.windows.iter().enumerate() {
            let interval = Duration::from_secs_f64(WRITERS as f64 / plan.rate_in(window));
            context.window.store(index, Ordering::Relaxed);
            run_window(window, interval, &mut writers, &mut injector, &mut rng);
            context.window.store(BETWEEN_WINDOWS, Ordering::Relaxed);
        }
    });
}

/// Runs one window: posts its events, injects its faults, and waits until both workers have recovered.
fn run_window(
    window: &Window,
    interval: Duration,
    writers: &mut [Writer],
    injector: &mut FaultInjector<'_>,
    rng: &mut Rng,
) {
    let gate = InjectionPacer::new(window.events(), window.injections.len(), rng);
    thread::scope(|scope| {
        for (writer, quota) in writers.iter_mut().zip(&window.quotas) {
            // The ring stays full until the parked program is replaced.
            let on_full = || {
                if window.parks() {
                    gate.stall();
                }
            };
            let gate = &gate;
            scope.spawn(move || writer.post_events(*quota, interval, gate, on_full));
        }
        gate.inject_each(&window.injections, |injection| injector.inject(*injection));
        injector.wait_recovered();
    });
    injector.wait_committed();
}

/// Records the series and the quarantine entries at the end.
fn save_final_state(client: &Client, directory: &Path) {
    let file = RecordFile::create(directory, records::SERIES);
    client.all_items("/v1/series?limit=1000").iter().for_each(|item| file.write(&SeriesTotals::of(item)));
    let file = RecordFile::create(directory, records::QUARANTINE);
    client.all_items("/v1/quarantine?limit=100").iter().for_each(|item| file.write(item));
}

/// The counters of an answer of `/v1/stats`.
fn stats_of(answer: &serde_json::Value) -> Stats {
    Stats::deserialize(answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}
