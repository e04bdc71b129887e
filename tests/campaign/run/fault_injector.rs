//! Kills workers at their marks.

use super::Stage;
use crate::{
    plan::{Blow, Moment, Target},
    records::{Kill, Order},
};
use bulkhead_proto::words::FaultKind;
use bulkhead_tests::{
    Said, killer,
    log::{Line, Reading},
    process::Signal,
};
use fastrand::Rng;
use std::time::Instant;

/// One worker as its killer knows it.
struct Victim {
    worker: &'static str,
    /// Follows the starts of generations; each is killed once.
    story: Reading,
    /// Follows their recoveries.
    recovery: Reading,
    /// The newest one that was killed, or commanded to die, since it has recovered.
    killed: Option<u64>,
}

/// Kills both workers.
pub(super) struct Striker<'a> {
    stage: &'a Stage<'a>,
    analytics: Victim,
    api: Victim,
    /// Follows the deaths of those who were commanded to die, and which one is to come.
    deaths: Reading,
    ordered: Option<u64>,
    rng: Rng,
}

impl Victim {
    fn new(stage: &Stage<'_>, worker: &'static str) -> Self {
        let log = stage.bulkhead.log();
        Self { worker, story: log.from_start(), recovery: log.from_start(), killed: None }
    }

    /// Waits for a generation that was not killed yet, at this moment of its life. What dies before of something else is
    /// left alone.
    fn await_moment(&mut self, moment: Moment) -> Line {
        loop {
            let started = self.story.wait_for_living(self.worker);
            if moment == Moment::AtOnce {
                return started;
            }
            let told = |line: &Line| {
                ["worker_activated", "worker_died"].iter().any(|event| line.tells_of(event, &started))
            };
            if self.story.wait_for("its activation or death", told).is("worker_activated") {
                return started;
            }
        }
    }

    fn kill(&mut self, started: &Line, stage: &Stage<'_>) {
        let generation = started.number("generation").unwrap();
        let at = stage.us(Instant::now());
        stage.bulkhead.signal_worker(started.pid(), Signal::SIGKILL);
        stage.kills.write(&Kill { at, worker: self.worker.to_owned(), generation, pid: started.pid() });
        self.killed = self.killed.max(Some(generation));
    }

    /// Waits until a generation is active that was not killed.
    fn recover(&mut self) {
        let Some(killed) = self.killed.take() else { return };
        let worker = self.worker;
        self.recovery.wait_for("the recovery from the last kill", |line| {
            line.tells("worker_activated", worker) && line.number("generation") > Some(killed)
        });
    }
}

impl<'a> Striker<'a> {
    pub(super) fn new(stage: &'a Stage<'a>, rng: Rng) -> Self {
        let victim = |worker| Victim::new(stage, worker);
        let deaths = stage.bulkhead.log().from_start();
        Self { stage, analytics: victim("analytics"), api: victim("api"), deaths, ordered: None, rng }
    }

    /// Kills whom it is meant for; does not wait for the death.
    pub(super) fn strike(&mut self, Blow { target, moment }: Blow) {
        self.stage.assert_in_time();
        let mut victims = match target {
            Target::Analytics => vec![&mut self.analytics],
            Target::Api => vec![&mut self.api],
            Target::Both => vec![&mut self.analytics, &mut self.api],
            Target::Order(kind) => return self.order(kind),
        };
        let started: Vec<Line> = victims.iter_mut().map(|victim| victim.await_moment(moment)).collect();
        killer::pause(&mut self.rng);
        for (victim, started) in victims.into_iter().zip(&started) {
            victim.kill(started, self.stage);
        }
    }

    /// Commands a fault of the analysis, again if nobody is who could carry it out and as soon as somebody is: each command is a
    /// process of its own, and must not be what the reads wait for. One at a time: a generation that got two would tell of
    /// the second alone.
    fn order(&mut self, kind: FaultKind) {
        if let Some(ordered) = self.ordered.take() {
            self.deaths.wait_for("the death of whom a fault was commanded", |line| {
                line.tells("worker_died", "analytics") && line.number("generation") == Some(ordered)
            });
        }
        while self.ordered.is_none() {
            self.stage.assert_in_time();
            let mut lives = self.stage.bulkhead.log().from_now();
            let at = self.stage.us(Instant::now());
            let said = self.stage.bulkhead.say(&["fault", "analytics", kind.as_str()]);
            self.ordered = obeyed_by(&said);
            self.stage.orders.write(&Order { at, kind, generation: self.ordered });
            if self.ordered.is_none() {
                lives.wait_for("somebody who can carry a fault out", |line| {
                    line.tells("worker_activated", "analytics")
                });
            }
        }
        self.analytics.killed = self.analytics.killed.max(self.ordered);
    }

    /// Waits until both workers are well.
    pub(super) fn calm(&mut self) {
        self.analytics.recover();
        self.api.recover();
    }

    /// Waits until all is committed that was posted, and what is poison among it is set aside.
    pub(super) fn settle(&self) {
        self.stage.bulkhead.settled();
    }
}

/// The generation that a command says that the fault goes to; none when it was refused.
fn obeyed_by(said: &Said) -> Option<u64> {
    assert!(matches!(said.code, Some(0 | 1)), "{said:?}");
    let named = || said.out.trim_end().rsplit_once("generation ")?.1.parse().ok();
    (said.code == Some(0)).then(|| named().unwrap_or_else(|| panic!("it names no generation: {said:?}")))
}
