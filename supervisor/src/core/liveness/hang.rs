//! Hang detection: no progress while work is pending, measured in processor time that was available to the
//! process.
//!
//! A probe shows how far a process is, and how much processor time it could have used since the last probe.
//! The analysis itself writes its progress, so only increases count, and only up to limits that other processes
//! set: a loop that repeats values is no progress. Without commits, even steady steps count as a hang in the end.
//! The API makes progress by answering pings.
//!
//! An idle process is not probed. The runtime reports when work is available again.

use crate::{
    core::{
        model::{
            Action, HangDetector, Millis, Probe, Process, Progress, ProgressTracker, State, WorkerSlotId,
            policy::COMMIT_GRACE,
        },
        transition::Transition,
    },
    display::format_duration,
};
use bulkhead_proto::wire::{
    control::ToWorker,
    ids::{Generation, Seq},
    role::Role,
};
use std::time::Duration;

/// Checks per `hang_timeout`; more near the deadline. A hang is found at most `hang_timeout / 3` late.
const CHECKS_PER_TIMEOUT: u32 = 4;

/// A late probe counts at most this multiple of the interval. If the supervisor was suspended, its workers
/// may have been suspended too.
const MAX_SAMPLE_FACTOR: u32 = 2;

/// Divisor of the time without a commit while only the steps advance. A commit or a migration goes series by
/// series for a long time without reading an event. The time still counts, because the analysis itself reports
/// its steps.
const STEP_DISCOUNT: u32 = 10;

impl Probe {
    /// The progress of this process. Before it takes over the cursor page, the page shows its predecessor's.
    const fn own_progress(&self) -> Progress {
        if self.took_over { self.progress } else { Progress { seq: Seq(0), steps: 0, ..self.progress } }
    }
}

impl HangDetector {
    /// Starts watching.
    pub(in crate::core) fn begin(now: Millis, timeout: Duration) -> Self {
        Self::Watched(ProgressTracker {
            next: now.after(ProgressTracker::interval(timeout)),
            ..ProgressTracker::default()
        })
    }

    /// Whether the process shows no sign of a hang.
    pub(in crate::core) fn is_healthy(&self, timeout: Duration) -> bool {
        match self {
            Self::Idle => true,
            Self::Watched(tracker) => tracker.uncommitted_for < timeout,
        }
    }

    /// Brings the next probe forward to this time.
    pub(in crate::core) fn probe_before(&mut self, next: Millis) {
        match self {
            Self::Watched(tracker) => tracker.next = next.min(tracker.next),
            Self::Idle => {}
        }
    }

    /// Time of the next probe.
    pub(in crate::core) fn due(&self) -> Option<Millis> {
        match self {
            Self::Watched(tracker) => Some(tracker.next),
            Self::Idle => None,
        }
    }
}

impl Progress {
    /// The maximum of both, field by field.
    fn furthest(self, other: Self) -> Self {
        Self {
            seq: self.seq.max(other.seq),
            steps: self.steps.max(other.steps),
            committed: self.committed.max(other.committed),
        }
    }
}

impl ProgressTracker {
    /// The interval between two probes.
    pub(in crate::core) fn interval(timeout: Duration) -> Duration {
        (timeout / CHECKS_PER_TIMEOUT).max(Duration::from_millis(1))
    }

    /// Counts the probe of a process that has work. Returns a description of the hang, if there is one.
    fn count(&mut self, probe: &Probe, timeout: Duration, milestone: &str) -> Option<String> {
        let interval = Self::interval(timeout);
        let cpu_available = probe.cpu_available.min(interval * MAX_SAMPLE_FACTOR);
        let progress = probe.own_progress();
        let Some(best) = self.best else {
            self.best = Some(progress);
            return None;
        };
        let furthest = best.furthest(progress);
        let advanced = furthest != best;
        self.best = Some(furthest);
        // A process that has not taken over yet is limited by the commit timeout.
        self.stalled_for =
            if advanced || !probe.took_over { Duration::ZERO } else { self.stalled_for + cpu_available };
        let steps_alone = furthest.steps > best.steps && furthest.seq == best.seq;
        let counted = if steps_alone { cpu_available / STEP_DISCOUNT } else { cpu_available };
        self.uncommitted_for =
            if furthest.committed > best.committed { Duration::ZERO } else { self.uncommitted_for + counted };
        if self.stalled_for >= timeout {
            return Some(format!("no progress for {} with work pending", format_duration(self.stalled_for)));
        }
        if self.uncommitted_for >= Self::commit_timeout(timeout) {
            return Some(format!(
                "no {milestone} for {} with work pending",
                format_duration(self.uncommitted_for)
            ));
        }
        None
    }

    /// Time without a commit that counts as a hang.
    fn commit_timeout(timeout: Duration) -> Duration {
        timeout * 2 + COMMIT_GRACE
    }

    /// Schedules the next probe: in time for the end of the timeout, and not earlier if the process gets
    /// almost no processor time.
    fn schedule(&mut self, now: Millis, timeout: Duration) {
        let interval = Self::interval(timeout);
        let left = timeout
            .saturating_sub(self.stalled_for)
            .min(Self::commit_timeout(timeout).saturating_sub(self.uncommitted_for));
        self.next = now.after(left.clamp(interval / CHECKS_PER_TIMEOUT, interval));
    }
}

impl Transition<'_> {
    /// Work is available for the workers of this role.
    pub(in crate::core) fn on_work(&mut self, role: Role) {
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

    /// A probe is due.
    pub(in crate::core) fn probe(&mut self, slot_id: WorkerSlotId) {
        let (now, timeout) = (self.now.mono, self.worker(slot_id.worker).hang_timeout);
        let Some(process) = self.running_process(slot_id) else { return };
        if let HangDetector::Watched(tracker) = &mut process.hang_detector {
            tracker.schedule(now, timeout);
        }
        let generation = process.generation;
        self.actions.push(Action::Probe { generation });
    }

    pub(in crate::core) fn on_probe(&mut self, generation: Generation, probe: &Probe) {
        let Some(slot_id) = self.find(generation) else { return };
        let (now, timeout, role) =
            (self.now.mono, self.worker(slot_id.worker).hang_timeout, self.state.role(slot_id.worker));
        let Some(process) = self.running_process(slot_id) else { return };
        let hang_ordered = process.is_hang_ordered();
        let HangDetector::Watched(tracker) = &mut process.hang_detector else { return };
        let pings = &mut process.pings;
        let probe = match role {
            Role::Api => {
                pings.backlog_pending = probe.backlog_pending;
                Probe { took_over: true, progress: pings.progress(), ..*probe }
            }
            Role::Analytics | Role::Plain => *probe,
        };
        let has_work = role == Role::Api || probe.pending || hang_ordered;
        if !has_work {
            process.hang_detector = HangDetector::Idle;
            return;
        }
        let hang =
            tracker.count(&probe, timeout, if role == Role::Api { "connection accepted" } else { "commit" });
        tracker.schedule(now, timeout);
        if let Some(detail) = hang {
            self.abort_hung(slot_id, &detail);
        } else if role == Role::Api {
            pings.sent += 1;
            let frame = ToWorker::Ping(pings.sent);
            self.actions.push(Action::Send { generation, frame });
        }
    }

    pub(in crate::core) fn running_process(&mut self, slot_id: WorkerSlotId) -> Option<&mut Process> {
        self.process_mut(slot_id).filter(|process| process.is_running())
    }
}

impl Process {
    /// Whether a lasting fault was ordered. It is detected even without work.
    pub(in crate::core) fn is_hang_ordered(&self) -> bool {
        self.fault.is_some_and(|fault| fault.kind.is_lasting())
    }
}

impl State {
    /// Whether a worker of this role runs unwatched. If so, the runtime must report new work for it.
    #[must_use]
    pub fn is_idle(&self, role: Role) -> bool {
        self.slot_ids_of(role).into_iter().any(|slot_id| {
            let process = self.slot(slot_id).running();
            process.is_some_and(|process| process.hang_detector == HangDetector::Idle)
        })
    }
}
