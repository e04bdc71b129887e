//! Hangs: no progress while there is work, judged by the time that a process could have worked.
//!
//! A look shows how far a process is, and what it had of the machine since the last one. What it shows is the analysis'
//! own word: only what rises counts, and only up to what others own, so that running in circles is standing still; and
//! however busily its words rise, without a commit it gets nowhere. The API moves on by answering pings.
//! Without work nobody is looked at; the shell hears when there is some again.

use crate::core::{
    model::{
        Action, GenerationState, HangDetector, Millis, Probe, Process, Progress, ProgressTracker, State,
        WorkerSlotId, policy::COMMIT_GRACE, span,
    },
    mutant::{self, Mutant},
    transition::Transition,
};
use bulkhead_proto::{
    control::ToWorker,
    ids::{Generation, Seq},
    words::Role,
};
use std::time::Duration;

/// So many looks a `hang_timeout`, and so many times as many near its end: a hang is noticed a third of it late, at most.
const CHECKS_PER_TIMEOUT: u32 = 4;

/// A look that comes late counts at most so many times the span between two: whoever stopped the supervisor may have
/// stopped them all.
const MAX_SAMPLE_FACTOR: u32 = 2;

/// A commit, or a migration, moves on from series to series for a long time, and no event is read meanwhile. Such time
/// counts so many times less than other time without a commit; it counts, for the steps are the analysis' own word.
const STEP_DISCOUNT: u32 = 10;

impl Probe {
    /// How far it is itself. On a page that it has not taken over yet stands how far its predecessor was.
    const fn own_progress(&self) -> Progress {
        if self.took_over { self.progress } else { Progress { seq: Seq(0), steps: 0, ..self.progress } }
    }
}

impl HangDetector {
    /// Begins to watch.
    pub(in crate::core) fn begin(now: Millis, timeout: Duration) -> Self {
        Self::Watched(ProgressTracker {
            next: now.after(ProgressTracker::every(timeout)),
            ..ProgressTracker::default()
        })
    }

    /// Whether nothing speaks for a hang.
    pub(in crate::core) fn is_healthy(&self, timeout: Duration) -> bool {
        match self {
            Self::Idle => true,
            Self::Watched(tracker) => tracker.uncommitted_for < timeout,
        }
    }

    /// When the next look is due.
    pub(in crate::core) fn due(&self) -> Option<Millis> {
        match self {
            Self::Watched(tracker) if !mutant::is(Mutant::NeverLook) => Some(tracker.next),
            Self::Watched(_) | Self::Idle => None,
        }
    }
}

impl Progress {
    /// The furthest of both, word by word.
    fn furthest(self, other: Self) -> Self {
        Self {
            seq: self.seq.max(other.seq),
            steps: self.steps.max(other.steps),
            committed: self.committed.max(other.committed),
        }
    }
}

impl ProgressTracker {
    /// The span between two looks.
    pub(in crate::core) fn every(timeout: Duration) -> Duration {
        (timeout / CHECKS_PER_TIMEOUT).max(Duration::from_millis(1))
    }

    /// Counts what a look shows of a process that has work. Says what is wrong with it, if anything is.
    fn count(&mut self, look: &Probe, timeout: Duration, result: &str) -> Option<String> {
        let every = Self::every(timeout);
        let cpu_available = if mutant::is(Mutant::CountTheClock) {
            every
        } else {
            look.cpu_available.min(every * MAX_SAMPLE_FACTOR)
        };
        let progress = look.own_progress();
        let Some(best) = self.best else {
            self.best = Some(progress);
            return None;
        };
        let furthest = best.furthest(progress);
        let moved = furthest != best || mutant::is(Mutant::BelieveBackwards) && progress != best;
        self.best = Some(if mutant::is(Mutant::BelieveBackwards) { progress } else { furthest });
        // One that has not even begun has its commit's time for that.
        self.stalled_for =
            if moved || !look.took_over { Duration::ZERO } else { self.stalled_for + cpu_available };
        let steps_alone = furthest.steps > best.steps && furthest.seq == best.seq;
        let counts = if steps_alone && !mutant::is(Mutant::HurryCommits) {
            cpu_available / STEP_DISCOUNT
        } else {
            cpu_available
        };
        self.uncommitted_for =
            if furthest.committed > best.committed { Duration::ZERO } else { self.uncommitted_for + counts };
        if self.stalled_for >= timeout {
            return Some(format!("no progress for {} while there was work", span(self.stalled_for)));
        }
        if self.uncommitted_for >= Self::commit_timeout(timeout) && !mutant::is(Mutant::IgnoreDrips) {
            return Some(format!("no {result} for {} while there was work", span(self.uncommitted_for)));
        }
        None
    }

    /// So long without a commit is a hang.
    fn commit_timeout(timeout: Duration) -> Duration {
        timeout * 2 + COMMIT_GRACE
    }

    /// When to look again: soon enough to see the end of its time, and no sooner if it gets next to none.
    fn plan(&mut self, now: Millis, timeout: Duration) {
        let every = Self::every(timeout);
        let left = timeout
            .saturating_sub(self.stalled_for)
            .min(Self::commit_timeout(timeout).saturating_sub(self.uncommitted_for));
        self.next = now.after(left.clamp(every / CHECKS_PER_TIMEOUT, every));
    }
}

impl Transition<'_> {
    /// There is work for the workers of this role.
    pub(in crate::core) fn on_work(&mut self, role: Role) {
        if mutant::is(Mutant::ForgetRing) {
            return;
        }
        let now = self.now.mono;
        for slot_id in self.state.slot_ids_of(role) {
            let timeout = self.worker(slot_id.worker).hang_timeout;
            if let Some(process) =
                self.running_process(slot_id).filter(|process| process.hang_detector == HangDetector::Idle)
            {
                process.hang_detector = HangDetector::begin(now, timeout);
            }
        }
    }

    /// A look is due.
    pub(in crate::core) fn probe(&mut self, slot_id: WorkerSlotId) {
        let (now, timeout) = (self.now.mono, self.worker(slot_id.worker).hang_timeout);
        let Some(process) = self.running_process(slot_id) else { return };
        if let HangDetector::Watched(tracker) = &mut process.hang_detector {
            tracker.plan(now, timeout);
        }
        let generation = process.generation;
        self.actions.push(Action::Probe { generation });
    }

    pub(in crate::core) fn on_probe(&mut self, generation: Generation, look: &Probe) {
        let Some(slot_id) = self.find(generation) else { return };
        let (now, timeout, role) =
            (self.now.mono, self.worker(slot_id.worker).hang_timeout, self.state.role(slot_id.worker));
        let hang_ordered = self.is_hang_ordered(slot_id);
        let Some(process) = self.running_process(slot_id) else { return };
        let HangDetector::Watched(tracker) = &mut process.hang_detector else { return };
        let pings = &mut process.pings;
        let look = match role {
            Role::Api => {
                pings.backlog_pending = look.backlog_pending;
                Probe { took_over: true, progress: pings.progress(), ..*look }
            }
            Role::Analytics | Role::Plain => *look,
        };
        let works = role == Role::Api || look.pending || hang_ordered || mutant::is(Mutant::CondemnTheIdle);
        if !works {
            process.hang_detector = HangDetector::Idle;
            return;
        }
        let hang =
            tracker.count(&look, timeout, if role == Role::Api { "connection accepted" } else { "commit" });
        tracker.plan(now, timeout);
        if let Some(detail) = hang {
            self.abort_hung(slot_id, &detail);
        } else if role == Role::Api {
            pings.sent += 1;
            let frame = ToWorker::Ping(pings.sent);
            self.actions.push(Action::Send { generation, frame });
        }
    }

    /// Whether a fault that lasts was ordered: that is found out although there is no work.
    pub(in crate::core) fn is_hang_ordered(&self, slot_id: WorkerSlotId) -> bool {
        let process = self.state.slot(slot_id).and_then(GenerationState::process);
        process.and_then(|process| process.fault).is_some_and(|fault| fault.kind.is_lasting())
    }

    pub(in crate::core) fn running_process(&mut self, slot_id: WorkerSlotId) -> Option<&mut Process> {
        self.state
            .slot(slot_id)
            .is_some_and(GenerationState::is_running)
            .then(|| self.process_mut(slot_id))
            .flatten()
    }
}

impl State {
    /// Whether a worker of this role is at work and not watched: somebody must tell when there is work for it.
    #[must_use]
    pub fn is_idle(&self, role: Role) -> bool {
        let resting = |slot_state: &GenerationState| {
            slot_state.is_running()
                && slot_state.process().is_some_and(|process| process.hang_detector == HangDetector::Idle)
        };
        self.slot_ids_of(role).into_iter().any(|slot_id| self.slot(slot_id).is_some_and(resting))
    }
}
