//! Processes that are looked at: what they show, and the truth about who hangs.

use crate::{
    demand::demand,
    judge::Broken,
    process::Process,
    world::{Happening, World},
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

/// How late the simulated shell may be in all.
const SLACK: u64 = 100;

/// How a process gets on with its work. Spans in milliseconds of the time that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It moves on between any two looks.
    Brisk,
    /// Every event, and every answer to a ping, takes it so long: less than is a hang.
    Slow(u64),
    /// From that age on it does nothing.
    Hangs(u64),
    /// It seems to move on, and never commits.
    Drips,
    /// Step by step it prepares a commit, which takes it so long.
    Commits(u64),
    /// It shows less and less, and never commits.
    Backwards,
}

/// The truth about a process at work, in milliseconds of the time that it got since it was activated.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) manner: Manner,
    /// Of a hundred milliseconds, it gets so many.
    pub(crate) share: u64,
    /// It was told to hang.
    pub(crate) ordered: bool,
    /// An API that has said that it has no connections.
    pub(crate) quiet: bool,
    /// When it was activated, on the simulation's clock; not yet, at first.
    since: u64,
    /// When it was last looked at.
    looked: u64,
    /// When it last got further, or had nothing to do.
    moved: u64,
    /// When it last committed, or had nothing to do.
    committed: u64,
    /// Since when the supervisor watches it, if it does.
    watched: Option<u64>,
    /// What it shows.
    shows: (u64, u64),
}

impl Truth {
    pub(crate) fn new(manner: Manner, share: u64) -> Self {
        Self {
            manner,
            share,
            ordered: false,
            quiet: false,
            since: u64::MAX,
            looked: 0,
            moved: 0,
            committed: 0,
            watched: None,
            shows: (0, 1_000_000),
        }
    }

    pub(crate) fn begins(&mut self, now: u64) {
        self.since = now;
    }

    /// The time that it got so far.
    pub(crate) fn had(&self, now: u64) -> u64 {
        now.saturating_sub(self.since) * self.share / 100
    }

    /// Whether it does nothing at this time.
    pub(crate) fn hangs(&self, now: u64) -> bool {
        matches!(self.manner, Manner::Hangs(age) if self.had(now) >= age)
    }

    pub(crate) fn stop(&mut self, now: u64) {
        self.manner = Manner::Hangs(self.had(now));
    }

    /// It has committed.
    pub(crate) fn commits(&mut self, now: u64) {
        let had = self.had(now);
        (self.moved, self.committed) = (had, had);
    }

    /// Whether it works by itself, and not only when it is looked at.
    pub(crate) fn is_busy(&self, now: u64) -> bool {
        match self.manner {
            Manner::Brisk | Manner::Hangs(_) => !self.hangs(now),
            Manner::Slow(_) | Manner::Drips | Manner::Commits(_) | Manner::Backwards => false,
        }
    }
}

impl World {
    /// Takes a look, for the supervisor.
    pub(crate) fn looks(&mut self, generation: Generation) {
        if !self.lives(generation) {
            return;
        }
        let Some(role) = self.processes.get(&generation).map(|process| process.role) else { return };
        if role == Role::Analytics {
            self.gets_on(generation);
        }
        let (now, head, committed) = (self.time(), self.head, self.committed);
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        let had = truth.had(now);
        let span = Duration::from_millis(had.saturating_sub(truth.looked));
        truth.looked = had;
        let (seq, steps) = truth.shows;
        let mark = Progress { seq: Seq(seq.min(head)), steps, committed: Seq(committed) };
        let (delay, knocking) = (self.prng.below(3), self.prng.percent(50));
        let look = Probe {
            cpu_available: span,
            pending: head != committed,
            took_over: true,
            progress: mark,
            backlog_pending: knocking,
        };
        self.later(delay, Happening::Event(Event::Probed { generation, probe: look }));
    }

    /// What an analysis has done since the last look.
    fn gets_on(&mut self, generation: Generation) {
        let (now, head, committed) = (self.time(), self.head, self.committed);
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        if head == committed {
            return truth.commits(now);
        }
        if truth.hangs(now) {
            return;
        }
        let (had, (seq, steps)) = (truth.had(now), truth.shows);
        match truth.manner {
            Manner::Brisk | Manner::Hangs(_) => {
                truth.commits(now);
                self.analyse(generation, head);
            }
            Manner::Slow(pace) => {
                let events = (had - truth.moved) / pace;
                if events > 0 {
                    self.analyse(generation, head.min(committed + events));
                }
            }
            Manner::Drips => {
                let next = (seq + 1).max(committed).min(head);
                if next > seq {
                    (truth.shows, truth.moved) = ((next, steps), had);
                }
            }
            Manner::Commits(takes) if had - truth.committed >= takes => {
                truth.commits(now);
                self.analyse(generation, head);
            }
            Manner::Commits(_) => (truth.shows, truth.moved) = ((seq, steps + 1), had),
            Manner::Backwards => truth.shows = (seq.saturating_sub(1), steps.saturating_sub(1)),
        }
    }

    /// An API is pinged.
    pub(crate) fn is_pinged(&mut self, generation: Generation, number: u64) {
        let now = self.time();
        let busy = self.prng.percent(20);
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        let takes = match truth.manner {
            Manner::Slow(pace) => pace,
            Manner::Brisk | Manner::Hangs(_) | Manner::Drips | Manner::Commits(_) | Manner::Backwards => 1,
        };
        if !truth.hangs(now) {
            let delay = takes * 100 / truth.share;
            self.later(
                delay,
                Happening::Says(generation, FromWorker::Pong { number, accept_polls: number, busy }),
            );
        }
    }

    /// It says something, if it can.
    pub(crate) fn may_say(&mut self, generation: Generation, frame: &FromWorker) -> bool {
        let now = self.time();
        let Some(Process { truth, role, .. }) = self.processes.get_mut(&generation) else { return false };
        if let FromWorker::Pong { busy, .. } = frame
            && *role == Role::Api
        {
            if truth.hangs(now) {
                return false;
            }
            truth.quiet = !busy;
            truth.moved = truth.had(now);
        }
        true
    }

    /// Connections come: to an API that can say so, or to one that cannot.
    pub(crate) fn connections_come(&mut self, generation: Generation) {
        let now = self.time();
        let Some(Process { truth, .. }) = self.processes.get_mut(&generation) else { return };
        if truth.hangs(now) {
            if self.state.is_idle(Role::Api) {
                self.later(0, Happening::Event(Event::WorkAvailable(Role::Api)));
            }
        } else if std::mem::take(&mut truth.quiet) {
            self.later(0, Happening::Says(generation, FromWorker::Busy));
        }
    }

    /// Nobody is ended for a hang who does not hang.
    pub(crate) fn check_condemned(&self, action: &Action) -> Result<(), Broken> {
        let Action::Signal { generation, signal: WorkerSignal::Abort, .. } = action else { return Ok(()) };
        let Some(Process { truth, .. }) = self.processes.get(generation) else { return Ok(()) };
        let (had, timeout) = (truth.had(self.time()), self.weather.hang_timeout);
        let still = had - truth.moved >= timeout;
        let dry = truth.manner == Manner::Drips && had - truth.committed >= driest(timeout);
        demand!(
            truth.ordered || still || dry,
            "ends generation {generation} for a hang, which does not hang: {truth:?}, had {had}"
        );
        Ok(())
    }

    /// After each turn: whoever hangs while there is work is found out in time.
    pub(crate) fn check_hangs(&mut self) -> Result<(), Broken> {
        let (now, timeout) = (self.time(), self.weather.hang_timeout);
        self.pending_since = (self.head != self.committed).then(|| self.pending_since.unwrap_or(now));
        // The bell that the supervisor waits for.
        if self.pending_since.is_some() && self.state.is_idle(Role::Analytics) && !self.rung {
            self.rung = true;
            let delay = self.prng.below(3);
            self.later(delay, Happening::Event(Event::WorkAvailable(Role::Analytics)));
        }
        let at_work = self.state.workers.iter().filter_map(|worker| worker.running());
        for process in at_work {
            let Some(Process { truth, role, alive: true, .. }) = self.processes.get_mut(&process.generation)
            else {
                continue;
            };
            let had = truth.had(now);
            let begun = match (role, &process.hang_detector) {
                (Role::Api, HangDetector::Watched(_)) if truth.hangs(now) => {
                    *truth.watched.get_or_insert(had)
                }
                (Role::Analytics, _) => match self.pending_since {
                    Some(pending) => truth.had(pending),
                    None => continue,
                },
                (Role::Api | Role::Plain, _) => {
                    truth.watched = None;
                    continue;
                }
            };
            let (last, most) = match truth.manner {
                Manner::Drips => (truth.committed, driest(timeout)),
                Manner::Brisk
                | Manner::Slow(_)
                | Manner::Hangs(_)
                | Manner::Commits(_)
                | Manner::Backwards => (truth.moved, timeout),
            };
            let hung = had.saturating_sub(begun.max(last));
            demand!(
                hung <= most + timeout / 3 + SLACK,
                "generation {} hangs for {hung} of {timeout} ms: {truth:?}, had {had}",
                process.generation
            );
        }
        Ok(())
    }
}

pub(crate) fn driest(timeout: u64) -> u64 {
    2 * timeout + u64::try_from(COMMIT_GRACE.as_millis()).expect("a short time")
}
