//! Carries the plan out and writes everything down; judges nothing.

mod read;
mod strike;
mod write;

use crate::{
    options::Options,
    plan::{Plan, READERS, WRITERS, Window},
    records::{self, Journal, Run, Stats, Told},
};
use bulkhead_tests::{
    Bulkhead, Fixture, event_id::SeriesTotals, http::Client, injection_pacer::InjectionPacer, process,
};
use fastrand::Rng;
use serde::Deserialize;
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use strike::Striker;
use write::Writer;

/// Between windows.
const NOWHERE: usize = usize::MAX;

/// A run that takes so many times as long as planned, and this long in addition, is over.
const PATIENCE: u32 = 10;
const PATIENCE_BESIDES: Duration = Duration::from_secs(120);

/// What all clients share.
struct Stage<'a> {
    bulkhead: &'a Bulkhead,
    began: Instant,
    ends: Instant,
    requests: Journal,
    reads: Journal,
    kills: Journal,
    orders: Journal,
    /// The window that is on.
    window: AtomicUsize,
    /// How many events each writer has begun to post.
    begun: [AtomicUsize; WRITERS],
    over: AtomicBool,
}

impl Stage<'_> {
    /// Microseconds since the run began.
    fn us(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.began))
    }

    fn window(&self) -> Option<usize> {
        Some(self.window.load(Ordering::Relaxed)).filter(|window| *window != NOWHERE)
    }

    fn assert_in_time(&self) {
        assert!(Instant::now() < self.ends, "it takes too long; the log:\n{}", self.bulkhead.log().dump());
    }
}

/// Tells the readers that it is over, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the campaign and leaves its records in a directory, which is made anew.
pub(crate) fn run(options: &Options, plan: &Plan, directory: &Path) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let bulkhead = Fixture::new(&plan.configuration()).start();
    let began = Instant::now();
    let stage = Stage {
        bulkhead: &bulkhead,
        began,
        ends: began + plan.duration() * PATIENCE + PATIENCE_BESIDES,
        requests: Journal::create(directory, records::REQUESTS),
        reads: Journal::create(directory, records::READS),
        kills: Journal::create(directory, records::KILLS),
        orders: Journal::create(directory, records::ORDERS),
        window: AtomicUsize::new(NOWHERE),
        begun: Default::default(),
        over: AtomicBool::new(false),
    };
    perform(&stage, plan);
    drop(stage);
    let took = began.elapsed();
    let stats = bulkhead.wait_until_committed();
    save(&bulkhead.client(), directory);
    let tree = process::tree(bulkhead.pid());
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    let story = Journal::create(directory, records::STORY);
    for line in stopped.log.matching(|_| true) {
        let at = micros(line.read_at().saturating_duration_since(began));
        story.write(&Told { at, line: line.fields().cloned().unwrap_or_else(|| line.raw().into()) });
    }
    Journal::create(directory, records::RUN).write(&Run {
        seed: options.seed,
        events: options.events,
        kills: options.kills,
        api_kills: options.api_kills(),
        poisons: plan.poisons.len(),
        orders: plan.orders(),
        windows: plan.windows.iter().map(|window| window.kind).collect(),
        took_us: micros(took),
        stats: stats_of(&stats),
        stopped: stopped.status.success(),
        left: process::alive(&tree),
    });
}

fn perform(stage: &Stage<'_>, plan: &Plan) {
    let mut rng = plan.rng.clone();
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer::new(number, stage, &plan.poisons, rng.fork())).collect();
    let mut striker = Striker::new(stage, rng.fork());
    thread::scope(|scope| {
        let _over = Over(&stage.over);
        for number in 0..READERS {
            let rng = rng.fork();
            scope.spawn(move || read::read(number, stage, rng));
        }
        let interval = Duration::from_secs_f64(WRITERS as f64 / plan.rate);
        for (place, window) in plan.windows.iter().enumerate() {
            stage.window.store(place, Ordering::Relaxed);
            play(window, interval, &mut writers, &mut striker, &mut rng);
            stage.window.store(NOWHERE, Ordering::Relaxed);
        }
    });
}

/// Plays one window to its end: its events are posted, its blows struck, and everybody is well again.
fn play(
    window: &Window,
    interval: Duration,
    writers: &mut [Writer],
    striker: &mut Striker<'_>,
    rng: &mut Rng,
) {
    let gate = InjectionPacer::new(window.quotas.iter().sum(), window.blows.len(), rng);
    thread::scope(|scope| {
        for (writer, quota) in writers.iter_mut().zip(&window.quotas) {
            scope.spawn(|| writer.write(*quota, interval, &gate));
        }
        gate.inject_each(&window.blows, |blow| striker.strike(*blow));
        striker.calm();
    });
    striker.settle();
}

/// What was counted and what was set aside, at the end.
fn save(client: &Client, directory: &Path) {
    let journal = Journal::create(directory, records::FINAL);
    client.all_items("/v1/series?limit=1000").iter().for_each(|item| journal.write(&SeriesTotals::of(item)));
    let journal = Journal::create(directory, records::SET_ASIDE);
    client.all_items("/v1/quarantine?limit=100").iter().for_each(|item| journal.write(item));
}

/// The figures of an answer of `/v1/stats`.
fn stats_of(answer: &serde_json::Value) -> Stats {
    Stats::deserialize(answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}
