//! A fault injector: kills a worker at seeded random points of its run.

use crate::{Bulkhead, eventually, log::LogReader, process::Signal};
use fastrand::Rng;

/// The maximum of spin-loop hints between a kill point and the kill: about one millisecond, several times the time to
/// apply or commit a batch.
const MAX_SPINS: u32 = 30_000;

/// Spins for a random time of up to about one millisecond.
pub fn random_delay(rng: &mut Rng) {
    for _ in 0..rng.u32(..MAX_SPINS) {
        std::hint::spin_loop();
    }
}

/// The point of a generation's run after which it is killed.
#[derive(Clone, Copy)]
enum KillPoint {
    /// The process was started and boots.
    Started,
    /// The generation was activated: it scrubs the state table, or begins to work.
    Activated,
    /// The generation has made a commit, or has nothing to commit.
    Committed,
}

/// Kills each generation of one worker.
pub struct WorkerKiller<'a> {
    bulkhead: &'a Bulkhead,
    worker: &'static str,
    log: LogReader,
    rng: Rng,
}

impl<'a> WorkerKiller<'a> {
    /// A killer of this worker. `rng` determines the kill points.
    #[must_use]
    pub fn new(bulkhead: &'a Bulkhead, worker: &'static str, rng: Rng) -> Self {
        Self { bulkhead, worker, log: bulkhead.log().from_start(), rng }
    }

    /// Kills the next generation at a random point of its run, and waits until its death is logged.
    pub fn kill_next_generation(&mut self) {
        let point =
            *self.rng.choice(&[KillPoint::Started, KillPoint::Activated, KillPoint::Committed]).unwrap();
        let started = self.log.wait_for_live_generation(self.worker);
        // Its own reader: the next generation may be started before this one dies.
        let mut generation_log = self.log.clone();
        let analysed = self.analysed();
        if !matches!(point, KillPoint::Started) {
            generation_log.wait_for("the activation of the generation", |line| {
                line.is_generation_event("worker_activated", &started)
            });
        }
        if matches!(point, KillPoint::Committed) {
            self.wait_for_commit(analysed);
        }
        random_delay(&mut self.rng);
        self.bulkhead.signal_worker(started.pid(), Signal::SIGKILL);
        generation_log.wait_for("the death of the generation that was killed", |line| {
            line.is_generation_event("worker_died", &started)
        });
    }

    fn wait_for_commit(&self, analysed_before: u64) {
        let client = self.bulkhead.client();
        eventually(self.bulkhead.log(), "a commit of the analysis", || {
            let stats = client.get_json("/v1/stats");
            stats["pending"] == 0 || stats["analysed"].as_u64().unwrap() > analysed_before
        });
    }

    fn analysed(&self) -> u64 {
        self.bulkhead.client().get_json("/v1/stats")["analysed"].as_u64().unwrap()
    }
}
