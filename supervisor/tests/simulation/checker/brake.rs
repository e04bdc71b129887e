//! The checker's own record of the brake: which trials failed, whether the brake is engaged, and which events must leave the
//! quarantine.

use super::{Checker, Violation, WorkerModel};
use crate::{
    ensure::ensure,
    process::series_of,
    record::{CommandKind, IssuedCommand},
};
use bulkhead_proto::wire::{
    control::{MAX_SERIES_HINTS, RecoveryHints, Trial},
    ids::{Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{
    BRAKE_WINDOW, DesiredState, MAX_ROW, MAX_SERIES_ROW, MAX_TRIALS, MIN_FAILED,
};
use std::collections::BTreeSet;

/// What is known of the program of the analysis.
#[derive(Default)]
pub(super) struct BrakeModel {
    /// Events that reached their number of attempts.
    failed: BTreeSet<Seq>,
    /// An event was applied after the failed ones up to this one.
    proven_until: Seq,
    /// Failed trials in a row.
    trials_failed: u32,
    pub(super) engaged: bool,
    /// The brake engaged in this transition.
    pub(super) engaged_now: bool,
    /// The isolated series.
    isolated: BTreeSet<String>,
    /// The events of these series that may be stored and are not committed, up to the given one.
    stored: Vec<(String, Seq)>,
    /// Events of isolated series could not be stored.
    pub(super) storing_failed: bool,
    /// An analysis asked to have such events stored.
    store_requested: bool,
    /// Leaving the quarantine.
    releasing: BTreeSet<Seq>,
}

impl Checker {
    /// An analysis is activated with these hints.
    pub(super) fn check_brake_hints(&self, hints: &RecoveryHints) -> Result<(), Violation> {
        let (brake, stored) = (&self.brake, self.quarantined());
        ensure!(!brake.engaged, "activated an analysis while the brake is engaged");
        ensure!(brake.releasing.is_empty(), "activated an analysis while {:?} are released", brake.releasing);
        let enabled = self.policy.brake.is_some();
        ensure!(
            hints.proven_until == if enabled { brake.proven_until } else { Seq(u64::MAX) },
            "skips are proven until {}, expected {}",
            hints.proven_until,
            brake.proven_until
        );
        let endless = hints.isolated.iter().filter(|isolation| isolation.until == Seq(u64::MAX));
        let ordered: BTreeSet<String> = endless.map(|isolation| isolation.series.clone()).collect();
        for (series, through) in &brake.stored {
            let is_ordered = hints.isolated.iter().any(|isolation| isolation.concerns(series, *through));
            ensure!(is_ordered, "did not order to skip the stored events of {series} up to {through}");
        }
        ensure!(ordered == brake.isolated, "ordered to isolate {ordered:?}, expected {:?}", brake.isolated);
        let Some(Trial { after, target }) = hints.trial else { return Ok(()) };
        let row: Vec<_> = stored.iter().filter(|seq| **seq > brake.proven_until).collect();
        ensure!(enabled, "ordered a trial without a brake");
        ensure!(row.len() >= MAX_ROW, "ordered a trial after only {} failed events", row.len());
        ensure!(row.last() == Some(&&after) && target > after, "ordered a trial of {target} after {row:?}");
        Ok(())
    }

    /// An event reached its number of attempts.
    pub(super) fn record_failed(&mut self, seq: Seq) {
        self.brake.failed.insert(seq);
    }

    /// A trial died of its event.
    pub(super) fn record_failed_trial(&mut self) {
        self.brake.trials_failed += 1;
        let analyses = self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics);
        analyses.for_each(|worker| worker.unproductive_spawns.clear());
    }

    /// A process said that its trial has passed.
    pub(super) fn on_trial_passed(&mut self, generation: Generation) {
        if self.records.get(&generation).is_some_and(|record| record.is_trial) {
            let last = self.quarantined().last().copied().unwrap_or_default();
            self.brake.proven_until = self.brake.proven_until.max(last);
            self.brake.trials_failed = 0;
        }
    }

    /// Storing an event failed: the row is shorter, and is tried again.
    pub(super) fn end_trials(&mut self) {
        self.brake.trials_failed = 0;
    }

    pub(super) fn on_series_isolated(&mut self, series: &str) -> Result<(), Violation> {
        let failed = self.brake.failed.iter().filter(|seq| series_of(seq.0) == series).count();
        ensure!(failed >= MAX_SERIES_ROW as usize, "isolated {series} after {failed} failed events");
        self.brake.isolated.insert(series.to_owned());
        Ok(())
    }

    /// An analysis asks to have events of isolated series stored.
    pub(super) fn on_store_isolated(&mut self, generation: Generation) {
        let process = self.records.get(&generation).filter(|record| !record.died);
        if !process.is_some_and(|record| record.isolates && !record.storing_isolated) {
            return self.record_violation(generation);
        }
        self.brake.store_requested = true;
        if let Some(record) = self.records.get_mut(&generation) {
            record.storing_isolated = true;
        }
    }

    pub(super) fn check_store_isolated(&mut self, through: Seq) -> Result<(), Violation> {
        ensure!(std::mem::take(&mut self.brake.store_requested), "stored events of isolated series unasked");
        let stored = self.brake.isolated.iter().map(|series| (series.clone(), through));
        self.brake.stored.extend(stored);
        Ok(())
    }

    /// The committed events need no order any more.
    pub(super) fn forget_stored(&mut self, committed: Seq) {
        self.brake.stored.retain(|(_, through)| *through > committed);
    }

    pub(super) fn on_braked(&mut self) -> Result<(), Violation> {
        let brake = &mut self.brake;
        ensure!(!brake.engaged, "engaged the brake twice");
        let last = brake.failed.last().copied().unwrap_or_default();
        let recent = brake.failed.iter().filter(|seq| seq.0 + BRAKE_WINDOW > last.0).count();
        ensure!(
            brake.trials_failed >= MAX_TRIALS
                || recent >= MIN_FAILED
                || brake.storing_failed
                || brake.isolated.len() >= MAX_SERIES_HINTS,
            "engaged the brake after {} failed trials and {recent} failed events",
            brake.trials_failed
        );
        (brake.engaged, brake.engaged_now, brake.trials_failed) = (true, true, 0);
        self.forget_attempts();
        let analyses = self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics);
        analyses.for_each(|worker| worker.may_be_down = true);
        Ok(())
    }

    /// Only events that no generation has skipped may leave the quarantine.
    pub(super) fn check_release(&mut self, seqs: &[Seq]) -> Result<(), Violation> {
        let stored = self.quarantined();
        for seq in seqs {
            ensure!(stored.contains(seq), "released event {seq}, which is not stored, or was skipped");
        }
        self.brake.releasing = seqs.iter().copied().collect();
        Ok(())
    }

    pub(super) fn on_released(&mut self, kept: &[Seq]) {
        let released = std::mem::take(&mut self.brake.releasing);
        self.forget_quarantined(|seq| released.contains(&seq) && !kept.contains(&seq));
    }

    /// Commands that start a new program release the brake. `start` has no effect on a running worker.
    pub(super) fn on_new_program(&mut self) {
        let Some(IssuedCommand { worker, command, .. }) = self.transition.command else { return };
        let worker = &self.workers[worker];
        let starts = match command {
            CommandKind::Restart => true,
            CommandKind::Start => self.brake.engaged,
            CommandKind::Replace => worker.desired == DesiredState::Running,
            CommandKind::Stop | CommandKind::Fault | CommandKind::Add | CommandKind::Remove => false,
        };
        // A reload that waits for a process that cannot be killed has begun all the same.
        let begun = !self.transition.command_refused || command == CommandKind::Replace;
        if starts && worker.role == Role::Analytics && begun {
            self.clear_brake();
        }
    }

    pub(super) fn on_reload(&mut self) {
        let running =
            |worker: &WorkerModel| worker.role == Role::Analytics && worker.desired == DesiredState::Running;
        if self.brake.engaged && self.workers.iter().any(running) {
            self.clear_brake();
        }
    }

    fn clear_brake(&mut self) {
        (self.brake.engaged, self.brake.trials_failed, self.brake.storing_failed) = (false, 0, false);
        self.brake.failed.clear();
        self.brake.isolated.clear();
    }

    /// The brake engages when enough trials have failed, and then nothing is spawned.
    pub(super) fn check_brake(&mut self) -> Result<(), Violation> {
        self.on_new_program();
        let overdue = self.brake.trials_failed >= MAX_TRIALS && self.policy.brake.is_some();
        ensure!(!overdue, "the brake is not engaged after {} failed trials", self.brake.trials_failed);
        let spawned =
            self.transition.spawned.iter().any(|index| self.workers[*index].role == Role::Analytics);
        ensure!(!(spawned && self.brake.engaged), "spawned an analysis while the brake is engaged");
        Ok(())
    }
}
