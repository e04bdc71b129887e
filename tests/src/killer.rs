//! A killer: strikes a worker at seeded random moments of its life.

use crate::{Bulkhead, bulkhead::eventually, log::Reading, process::Signal};
use fastrand::Rng;

/// The most pauses of the CPU between the moment that was waited for and the blow: about a millisecond, several times
/// what applying or committing a batch takes.
const MOST_PAUSES: u32 = 30_000;

/// Lets a random time pass, up to about a millisecond, on the CPU.
pub fn pause(rng: &mut Rng) {
    for _ in 0..rng.u32(..MOST_PAUSES) {
        std::hint::spin_loop();
    }
}

/// The moments of a life that a blow may follow.
#[derive(Clone, Copy)]
enum Moment {
    /// The process was started: it is booting.
    Started,
    /// It was activated: it scrubs, or begins to work.
    Activated,
    /// It has committed something new since it was activated, or has nothing to commit.
    Progressed,
}

/// Kills one worker again and again.
pub struct Killer<'a> {
    bulkhead: &'a Bulkhead,
    worker: &'static str,
    story: Reading,
    rng: Rng,
}

impl<'a> Killer<'a> {
    /// A killer of this worker, whose moments follow from the seed.
    #[must_use]
    pub fn new(bulkhead: &'a Bulkhead, worker: &'static str, rng: Rng) -> Self {
        Self { bulkhead, worker, story: bulkhead.log().from_start(), rng }
    }

    /// Kills the next generation at a random moment of its life, and waits for the report of its death.
    pub fn strike(&mut self) {
        let moment = *self.rng.choice(&[Moment::Started, Moment::Activated, Moment::Progressed]).unwrap();
        let started = self.story.wait_for_living(self.worker);
        // Its successor may be started while it still lives.
        let mut life = self.story.clone();
        let analysed = self.analysed();
        if !matches!(moment, Moment::Started) {
            life.wait_for("its activation", |line| line.tells_of("worker_activated", &started));
        }
        if matches!(moment, Moment::Progressed) {
            self.progressed(analysed);
        }
        pause(&mut self.rng);
        self.bulkhead.signal_worker(started.pid(), Signal::SIGKILL);
        life.wait_for("the death of the generation that was killed", |line| {
            line.tells_of("worker_died", &started)
        });
    }

    fn progressed(&self, before: u64) {
        let client = self.bulkhead.client();
        eventually(self.bulkhead.log(), "progress of the analysis", || {
            let stats = client.json("/v1/stats");
            stats["pending"] == 0 || stats["analysed"].as_u64().unwrap() > before
        });
    }

    fn analysed(&self) -> u64 {
        self.bulkhead.client().json("/v1/stats")["analysed"].as_u64().unwrap()
    }
}
