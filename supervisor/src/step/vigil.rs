//! Hangs: no progress while there is work, judged by the time that a process could have worked.
//!
//! A look shows how far a process is, and what it had of the machine since the last one. What it shows is the analysis'
//! own word: only what rises counts, and only up to what others own, so that running in circles is standing still; and
//! however busily its words rise, without a commit it gets nowhere. The API moves on by answering pings.
//! Without work nobody is looked at; the shell hears when there is some again.

use super::{
    Action, Is, Millis, Process, State, Turn,
    mutant::{self, Mutant},
    policy::COMMIT_GRACE,
    span,
    turn::At,
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    cause::Cause,
    control::ToWorker,
    ids::{Generation, Seq},
    role::Role,
};
use std::time::Duration;

/// So many looks a `hang_timeout`, and so many times as many near its end: a hang is noticed a third of it late, at most.
const LOOKS: u32 = 4;

/// A look that comes late counts at most so many times the span between two: whoever stopped the supervisor may have
/// stopped them all.
const LATE: u32 = 2;

/// A commit, or a migration, moves on from series to series for a long time, and no event is read meanwhile. Such time
/// counts so many times less than other time without a commit; it counts, for the steps are the analysis' own word.
const PATIENCE: u32 = 10;

/// Whether a process at work is watched.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Vigil {
    /// There is no work: [`super::Event::Rung`] will tell.
    Resting,
    /// There is some, or there may be.
    Watching(Watch),
}

/// What is known of a process that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Watch {
    /// When it is looked at next.
    pub next: Millis,
    /// How far it was at most. None before the first look.
    best: Option<Mark>,
    /// It could have worked so long without getting further.
    still: Duration,
    /// It could have worked so long without a commit.
    dry: Duration,
}

/// The pings of one process, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pings {
    /// The last one that it was sent.
    sent: u64,
    /// The last one that it answered.
    answered: u64,
    /// The last one that it answered while no connection waited to be accepted, or one more had been.
    served: u64,
    /// What it said last of its door: see [`bulkhead_proto::wire::control::FromWorker::Pong`].
    turns: u64,
    /// Whether connections waited at the last look.
    knocking: bool,
}

impl Pings {
    /// Of a process that was not pinged.
    pub const NONE: Self = Self { sent: 0, answered: 0, served: 0, turns: 0, knocking: false };

    /// Takes an answer in that was asked for.
    fn answered(&mut self, number: u64, turns: u64) {
        self.answered = self.answered.max(number);
        if !self.knocking || turns > self.turns {
            self.served = self.answered;
        }
        self.turns = self.turns.max(turns);
    }

    /// How far it is.
    const fn mark(&self) -> Mark {
        Mark { seq: Seq(self.answered), steps: 0, committed: Seq(self.served) }
    }
}

/// How far a process is. For the API, each ping that it answers is an event, and a commit if it leaves nobody at the door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// The event in hand, or the last one; 0 if that cannot be true.
    pub seq: Seq,
    /// The steps that it counts itself, where an event takes many: series that were loaded, migrated, or made ready for a commit.
    pub steps: u64,
    /// The last event that is part of the state.
    pub committed: Seq,
}

/// What a look shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How long it could have worked since the last look: the time that passed, less what it spent waiting for a processor.
    pub had: Duration,
    /// Whether events wait for it. Of no meaning for the API, which tells by its pongs.
    pub pending: bool,
    /// Whether the mark is its own: it has taken the cursor's page over.
    pub took_over: bool,
    /// How far it is.
    pub mark: Mark,
    /// Whether connections wait to be accepted. Of no meaning for the analysis.
    pub knocking: bool,
}

impl Look {
    /// How far it is itself. On a page that it has not taken over yet stands how far its predecessor was.
    const fn own_mark(&self) -> Mark {
        if self.took_over { self.mark } else { Mark { seq: Seq(0), steps: 0, ..self.mark } }
    }
}

impl Vigil {
    /// Begins to watch.
    pub(super) fn begin(now: Millis, timeout: Duration) -> Self {
        Self::Watching(Watch { next: now.after(Watch::every(timeout)), ..Watch::default() })
    }

    /// Whether nothing speaks for a hang.
    pub(super) fn is_sound(&self, timeout: Duration) -> bool {
        match self {
            Self::Resting => true,
            Self::Watching(watch) => watch.dry < timeout,
        }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<Millis> {
        match self {
            Self::Watching(watch) if !mutant::is(Mutant::NeverLook) => Some(watch.next),
            Self::Watching(_) | Self::Resting => None,
        }
    }
}

impl Mark {
    /// The furthest of both, word by word.
    fn furthest(self, other: Self) -> Self {
        Self {
            seq: self.seq.max(other.seq),
            steps: self.steps.max(other.steps),
            committed: self.committed.max(other.committed),
        }
    }
}

impl Watch {
    /// The span between two looks.
    pub(super) fn every(timeout: Duration) -> Duration {
        (timeout / LOOKS).max(Duration::from_millis(1))
    }

    /// Counts what a look shows of a process that has work. Says what is wrong with it, if anything is.
    fn count(&mut self, look: &Look, timeout: Duration, result: &str) -> Option<String> {
        let every = Self::every(timeout);
        let had = if mutant::is(Mutant::CountTheClock) { every } else { look.had.min(every * LATE) };
        let mark = look.own_mark();
        let Some(best) = self.best else {
            self.best = Some(mark);
            return None;
        };
        let furthest = best.furthest(mark);
        let moved = furthest != best || mutant::is(Mutant::BelieveBackwards) && mark != best;
        self.best = Some(if mutant::is(Mutant::BelieveBackwards) { mark } else { furthest });
        // One that has not even begun has its commit's time for that.
        self.still = if moved || !look.took_over { Duration::ZERO } else { self.still + had };
        let steps_alone = furthest.steps > best.steps && furthest.seq == best.seq;
        let counts = if steps_alone && !mutant::is(Mutant::HurryCommits) { had / PATIENCE } else { had };
        self.dry = if furthest.committed > best.committed { Duration::ZERO } else { self.dry + counts };
        if self.still >= timeout {
            return Some(format!("no progress for {} while there was work", span(self.still)));
        }
        if self.dry >= Self::driest(timeout) && !mutant::is(Mutant::IgnoreDrips) {
            return Some(format!("no {result} for {} while there was work", span(self.dry)));
        }
        None
    }

    /// So long without a commit is a hang.
    fn driest(timeout: Duration) -> Duration {
        timeout * 2 + COMMIT_GRACE
    }

    /// When to look again: soon enough to see the end of its time, and no sooner if it gets next to none.
    fn plan(&mut self, now: Millis, timeout: Duration) {
        let every = Self::every(timeout);
        let left = timeout.saturating_sub(self.still).min(Self::driest(timeout).saturating_sub(self.dry));
        self.next = now.after(left.clamp(every / LOOKS, every));
    }
}

impl Turn<'_> {
    /// There is work for the workers of this role.
    pub(super) fn rung(&mut self, role: Role) {
        if mutant::is(Mutant::ForgetRing) {
            return;
        }
        let now = self.now.mono;
        for at in self.state.places_of(role) {
            let timeout = self.worker(at.id).hang_timeout;
            if let Some(process) = self.at_work(at).filter(|process| process.vigil == Vigil::Resting) {
                process.vigil = Vigil::begin(now, timeout);
            }
        }
    }

    /// A look is due.
    pub(super) fn look(&mut self, at: At) {
        let (now, timeout) = (self.now.mono, self.worker(at.id).hang_timeout);
        let Some(process) = self.at_work(at) else { return };
        if let Vigil::Watching(watch) = &mut process.vigil {
            watch.plan(now, timeout);
        }
        let generation = process.generation;
        self.actions.push(Action::Look { generation });
    }

    pub(super) fn looked(&mut self, generation: Generation, look: &Look) {
        let Some(at) = self.find(generation) else { return };
        let (now, timeout, role) = (self.now.mono, self.worker(at.id).hang_timeout, self.state.role(at.id));
        let told_to_hang = self.is_told_to_hang(at);
        let Some(process) = self.at_work(at) else { return };
        let Vigil::Watching(watch) = &mut process.vigil else { return };
        let pings = &mut process.pings;
        let look = match role {
            Role::Api => {
                pings.knocking = look.knocking;
                Look { took_over: true, mark: pings.mark(), ..*look }
            }
            Role::Analytics | Role::Plain => *look,
        };
        let works = role == Role::Api || look.pending || told_to_hang || mutant::is(Mutant::CondemnTheIdle);
        if !works {
            process.vigil = Vigil::Resting;
            return;
        }
        let hang =
            watch.count(&look, timeout, if role == Role::Api { "connection accepted" } else { "commit" });
        watch.plan(now, timeout);
        if let Some(detail) = hang {
            self.abort(at, &detail);
        } else if role == Role::Api {
            pings.sent += 1;
            let frame = ToWorker::Ping(pings.sent);
            self.actions.push(Action::Send { generation, frame });
        }
    }

    /// An API has answered.
    pub(super) fn ponged(&mut self, at: At, number: u64, turns: u64, busy: bool) {
        let told_to_hang = self.is_told_to_hang(at);
        // One that is leaving is not watched any more.
        let Some(process) = self.at_work(at) else { return };
        if number > process.pings.sent && !mutant::is(Mutant::BelieveLiars) {
            let detail = format!("answered ping {number}, which it was never sent");
            return self.condemn(at, Cause::Protocol, &detail, true);
        }
        process.pings.answered(number, turns);
        if !busy && process.pings.served == process.pings.answered && !told_to_hang {
            process.vigil = Vigil::Resting;
        }
    }

    /// Whether a fault that lasts was ordered: that is found out although there is no work.
    fn is_told_to_hang(&self, at: At) -> bool {
        let process = self.state.is(at).and_then(Is::process);
        process.and_then(|process| process.fault).is_some_and(|fault| fault.kind.is_lasting())
    }

    fn at_work(&mut self, at: At) -> Option<&mut Process> {
        self.state.is(at).is_some_and(Is::is_running).then(|| self.process_mut(at)).flatten()
    }
}

impl State {
    /// Whether a worker of this role is at work and not watched: somebody must tell when there is work for it.
    #[must_use]
    pub fn rests(&self, role: Role) -> bool {
        let resting =
            |is: &Is| is.is_running() && is.process().is_some_and(|process| process.vigil == Vigil::Resting);
        self.places_of(role).into_iter().any(|at| self.is(at).is_some_and(resting))
    }
}
