//! The brake: decides whether failed events are poison, or the program is wrong.
//!
//! A failed event is stored in quarantine, but its skip is committed only after a later event was applied. So a
//! program that can apply nothing skips nothing: after [`MAX_ROW`] failed events in a row, later events are tried
//! one at a time without a commit, at growing distances. If [`MAX_TRIALS`] of them fail as well, the brake
//! engages: the worker is parked, and the events return to the ring. A program that fails often, though not
//! always, is stopped by the share of failed events. If the events of one series fail while others are applied, the
//! series is isolated: its events are stored as they come, without further deaths.
//!
//! Only `start`, `restart` and a reload release the brake. The worker is not tried again before that.

use crate::core::{
    death::{attribute::Attribution, exited::ExitedProcess},
    model::{
        Action, BRAKE_WINDOW, Brake, FailingSeries, GenerationRef, IsolatedSeries, LogRecord, MAX_ROW,
        MAX_SERIES_ROW, MAX_TRIALS, MIN_FAILED, PoisonTracker, QuarantineRequest, StopRequest, SuspectEvent,
        SuspectState, WorkerId, WorkerSlotId,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{Isolation, MAX_SERIES_HINTS, ToWorker, Trial},
    ids::{Generation, Seq},
};
use std::mem;

/// Each trial goes this many times as far beyond the failed events as the one before.
const TRIAL_DISTANCE: u64 = 3;

impl IsolatedSeries {
    /// What a generation must know of it.
    pub(crate) fn isolation(&self) -> Isolation {
        Isolation { series: self.name.clone(), until: self.until.unwrap_or(Seq(u64::MAX)) }
    }
}

/// The brake engaged.
pub(in crate::core) struct Engaged {
    /// The reason.
    why: String,
    /// The events that must leave the quarantine: no generation has skipped them.
    release: Vec<Seq>,
}

impl Brake {
    /// Whether the program fails too often, with the reason. `percent`: the share of failed events that is too
    /// much.
    fn excess(&self, percent: u8) -> Option<String> {
        let last = self.failed.last()?;
        let judged = last.0.saturating_sub(self.since.unwrap_or_default().0).clamp(1, BRAKE_WINDOW);
        let failed = self.failed.len();
        let count = u64::try_from(failed).unwrap_or(u64::MAX);
        let too_many = failed >= MIN_FAILED && count.saturating_mul(100) >= judged * u64::from(percent);
        too_many.then(|| {
            format!("{failed} of the last {judged} events failed, and analytics.brake is {percent} %")
        })
    }
}

impl PoisonTracker {
    /// The failed events that are stored and whose skip no generation may have committed alone.
    fn tentative(&self) -> impl Iterator<Item = &SuspectEvent> {
        let proven = self.brake.proven_until;
        self.suspects.iter().filter(move |suspect| {
            let failed = matches!(suspect.state, SuspectState::Storing | SuspectState::Stored);
            failed && suspect.seq > proven
        })
    }

    /// The trial that the next generation makes, if later events are being tried.
    pub(in crate::core) fn trial(&self) -> Option<Trial> {
        let failed = self.brake.trials?;
        let after = self.tentative().map(|suspect| suspect.seq).max()?;
        let distance = TRIAL_DISTANCE.saturating_pow(failed);
        Some(Trial { after, target: Seq(after.0.saturating_add(distance)) })
    }

    /// Counts a failed event, once: it fails again if it could not be stored.
    fn count_failure(&mut self, seq: Seq, series: Option<&str>) {
        let Brake { failed, series: failing, .. } = &mut self.brake;
        if failed.contains(&seq) {
            return;
        }
        failed.retain(|earlier| earlier.0 + BRAKE_WINDOW > seq.0);
        failed.push(seq);
        let Some(name) = series else { return };
        let known = failing.iter().position(|series| series.name == name);
        let failures = known.map_or(0, |index| failing.remove(index).failures) + 1;
        if failing.len() >= MAX_SERIES_HINTS {
            failing.remove(0);
        }
        failing.push(FailingSeries { name: name.to_owned(), failures });
    }

    /// Whether the events of this series fail while others are applied.
    fn must_isolate(&self, name: &str) -> bool {
        let failing = |series: &FailingSeries| series.name == name && series.failures >= MAX_SERIES_ROW;
        self.brake.series.iter().any(failing) && self.tentative().count() < MAX_ROW
    }

    /// Judges the program after a death that was charged to an event. Returns why the brake must engage.
    fn judge(&mut self, attribution: &Attribution, series: Option<&str>, percent: u8) -> Option<String> {
        if attribution.trial {
            let failed = self.brake.trials? + 1;
            self.brake.trials = Some(failed);
            let row = self.tentative().count();
            return (failed >= MAX_TRIALS)
                .then(|| format!("{row} events in a row failed, and so did {failed} later ones"));
        }
        if !attribution.quarantine {
            return None;
        }
        self.count_failure(attribution.seq, series);
        if self.tentative().count() >= MAX_ROW {
            self.brake.trials = Some(0);
        }
        let isolated = self.brake.isolated.iter().filter(|series| series.until.is_none()).count();
        if isolated >= MAX_SERIES_HINTS && series.is_some_and(|series| self.must_isolate(series)) {
            return Some(format!(
                "{isolated} series are isolated, and the events of another one fail as well"
            ));
        }
        self.brake.excess(percent)
    }

    /// Engages the brake.
    fn engage(&mut self, why: String) -> Engaged {
        self.brake.engaged = Some(why.clone());
        self.brake.trials = None;
        let proven = self.brake.proven_until;
        // The event of the last death is not stored yet.
        self.suspects.retain(|suspect| suspect.state == SuspectState::Stored);
        for suspect in self.suspects.iter_mut().filter(|suspect| suspect.seq > proven) {
            suspect.state = SuspectState::Releasing;
        }
        Engaged { why, release: self.releasing().collect() }
    }

    fn releasing(&self) -> impl Iterator<Item = Seq> {
        let releasing = self.suspects.iter().filter(|suspect| suspect.state == SuspectState::Releasing);
        releasing.map(|suspect| suspect.seq)
    }
}

impl Transition<'_> {
    /// Judges the program after a death. If the brake engages, the event of this death is not quarantined.
    pub(in crate::core) fn judge(
        &mut self,
        exited: &ExitedProcess,
        attribution: &mut Option<Attribution>,
        series: Option<&str>,
    ) -> Option<Engaged> {
        let (Some(attribution), Some(percent)) = (attribution, self.state.policy.brake) else { return None };
        let worker = self.worker_mut(exited.slot_id.worker);
        // A generation that is being stopped or replaced says nothing about the program that comes.
        let engaged = worker.poison_tracker.brake.engaged.is_some();
        if engaged || exited.stop_request().is_some() || worker.is_outdated(exited.process.generation) {
            return None;
        }
        if attribution.trial {
            // Each trial has one death: the restart budget need not bound them.
            worker.restart_budget.clear();
        }
        let why = worker.poison_tracker.judge(attribution, series, percent)?;
        attribution.quarantine = false;
        Some(worker.poison_tracker.engage(why))
    }

    /// Reports that the brake engaged, and has the events of the ring leave the quarantine.
    pub(in crate::core) fn brake_engaged(
        &mut self,
        subject: GenerationRef,
        Engaged { why, release }: Engaged,
    ) {
        self.log(LogRecord::WorkerBraked { subject, why });
        if !release.is_empty() {
            self.actions.push(Action::Release(release));
        }
    }

    /// Isolates the series of a failed event, if it is at fault and not the event.
    pub(in crate::core) fn isolate_if_due(
        &mut self,
        id: WorkerId,
        request: &QuarantineRequest,
        series: Option<String>,
    ) {
        let Some(series) = series else { return };
        let tracker = &mut self.worker_mut(id).poison_tracker;
        if !tracker.must_isolate(&series) {
            return;
        }
        tracker.brake.series.retain(|failing| failing.name != series);
        tracker.brake.isolated.push(IsolatedSeries {
            name: series.clone(),
            until: None,
            crash: request.crash,
            cause: request.cause,
            detail: request.detail.clone(),
        });
        let why = format!("{}: {}", request.cause, request.detail);
        self.log(LogRecord::SeriesIsolated { subject: request.subject.clone(), series, why });
    }

    /// An event of a series whose last events failed was applied.
    pub(in crate::core) fn series_applied(&mut self, slot_id: WorkerSlotId, name: &str) {
        let tracker = &mut self.worker_mut(slot_id.worker).poison_tracker;
        tracker.brake.series.retain(|series| series.name != name);
    }

    /// The analysis must commit events of isolated series as skipped: they are stored first.
    pub(in crate::core) fn store_isolated(&mut self, slot_id: WorkerSlotId, through: Seq) {
        let Brake { isolated, stored_through, .. } =
            &mut self.worker_mut(slot_id.worker).poison_tracker.brake;
        *stored_through = through.max(*stored_through);
        // A generation that is being replaced still isolates without an end.
        isolated.iter_mut().for_each(|series| series.until = series.until.map(|until| until.max(through)));
        let isolated = isolated.clone();
        let Some(process) = self.process_mut(slot_id) else { return };
        if isolated.is_empty() || mem::replace(&mut process.storing_isolated, true) {
            let detail =
                "sent StoreIsolated, although no series is isolated or the one before is not answered";
            return self.kill_for(slot_id, Cause::Protocol, detail, true);
        }
        let Some(process) = self.state.process(slot_id) else { return };
        let subject = self.generation_ref(slot_id.worker, process);
        self.actions.push(Action::StoreIsolated { subject, through, isolated });
    }

    /// The events of isolated series are stored. If they cannot be stored, nothing can be skipped: the worker is parked. A
    /// generation that is being replaced waits until it is asked to stop, and commits nothing.
    pub(in crate::core) fn isolated_stored(&mut self, generation: Generation, result: Result<(), String>) {
        let Some(slot_id) = self.find(generation) else { return };
        if let Some(process) = self.process_mut(slot_id) {
            process.storing_isolated = false;
        }
        let Err(error) = result else {
            return self.actions.push(Action::Send { generation, frame: ToWorker::IsolatedStored });
        };
        let why = format!("the events of an isolated series cannot be stored: {error}");
        let worker = self.worker(slot_id.worker);
        if worker.poison_tracker.brake.engaged.is_some() || worker.is_outdated(generation) {
            return;
        }
        let Some(process) = self.state.process(slot_id) else { return };
        let subject = self.generation_ref(slot_id.worker, process);
        let engaged = self.worker_mut(slot_id.worker).poison_tracker.engage(why);
        self.brake_engaged(subject, engaged);
        self.begin_stop(slot_id, StopRequest::Brake);
    }

    /// The trial of this process has passed: the program can apply events, so the failed ones are poison.
    pub(in crate::core) fn trial_passed(&mut self, slot_id: WorkerSlotId) {
        if !self.state.process(slot_id).is_some_and(|process| process.trial) {
            return;
        }
        let tracker = &mut self.worker_mut(slot_id.worker).poison_tracker;
        let last = tracker.tentative().map(|suspect| suspect.seq).max();
        tracker.brake.proven_until = last.unwrap_or_default().max(tracker.brake.proven_until);
        tracker.brake.trials = None;
        if self.state.slot(slot_id).running().is_some() {
            self.begin_stop(slot_id, StopRequest::TrialPassed);
        }
    }

    /// The events have left the quarantine, except those in `kept`: these will be skipped after all.
    pub(in crate::core) fn released(&mut self, kept: &[Seq], error: Option<&str>) {
        for id in self.state.worker_ids() {
            let tracker = &mut self.worker_mut(id).poison_tracker;
            let count = tracker.releasing().count();
            tracker.suspects.retain_mut(|suspect| {
                let releasing = suspect.state == SuspectState::Releasing;
                if releasing {
                    suspect.state = SuspectState::Stored;
                }
                !releasing || kept.contains(&suspect.seq)
            });
            if count > 0 {
                self.log(LogRecord::EventsReleased {
                    released: count.saturating_sub(kept.len()),
                    error: error.map(str::to_owned),
                });
                self.advance_takeover(id);
            }
        }
    }

    /// A command or a reload starts a new program: what the old one did says nothing about it.
    pub(in crate::core) fn clear_brake(&mut self, id: WorkerId) {
        let brake = &mut self.worker_mut(id).poison_tracker.brake;
        let &mut Brake { proven_until, stored_through, .. } = brake;
        let mut isolated = mem::take(&mut brake.isolated);
        isolated.iter_mut().for_each(|series| series.until = series.until.or(Some(stored_through)));
        *brake = Brake { proven_until, stored_through, isolated, ..Brake::default() };
    }
}
