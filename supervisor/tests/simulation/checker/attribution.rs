//! The checker's own record of which deaths count against which event, and the checks that follow from it:
//! causes, quarantine, recovery hints.

use super::{Checker, Violation};
use crate::{
    ensure::ensure,
    process::{SIGABRT, SIGKILL},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::RecoveryHints,
    ids::{Generation, Seq},
    role::Role,
};
use bulkhead_supervisor::core::{ExitStatus, MAX_KILLS, PostMortem, QuarantineRequest};
use std::collections::{BTreeMap, BTreeSet};

/// The deaths per event, and what followed from them.
#[derive(Default)]
pub(super) struct Attribution {
    /// Deaths and kills, by event.
    attempts: BTreeMap<Seq, (u32, u32)>,
    /// Up to this event, each commit must hold one event.
    single_commit_until: Seq,
    /// Stored in quarantine, and not yet committed as skipped.
    quarantined: BTreeSet<Seq>,
    /// Ordered to be stored; the result is not known yet.
    being_stored: Option<Seq>,
    /// The exit status and the post-mortem of this transition's death, unless the death was requested.
    death: Option<(ExitStatus, PostMortem)>,
    /// The event that was charged in this transition.
    charged: Option<Seq>,
    store_ordered: bool,
}

impl Checker {
    pub(super) fn reset_attribution(&mut self) {
        (self.attribution.death, self.attribution.charged, self.attribution.store_ordered) =
            (None, None, false);
    }

    /// Begins the attribution of an active analysis' death. The log record of the same transition shows
    /// whether the death was requested.
    pub(super) fn begin_attribution(&mut self, exit: ExitStatus, post_mortem: &PostMortem) {
        self.forget_stored(post_mortem.committed);
        let attribution = &mut self.attribution;
        attribution.attempts.retain(|seq, _| *seq > post_mortem.committed);
        attribution.quarantined.retain(|seq| *seq > post_mortem.committed);
        if attribution.single_commit_until <= post_mortem.committed {
            attribution.single_commit_until = Seq(0);
        }
        attribution.death = Some((exit, post_mortem.clone()));
    }

    /// The cause is `oom` if, and only if, memory was exhausted. A requested fault, or what the process
    /// itself reported, takes precedence.
    pub(super) fn check_cause(&self, cause: Cause) -> Result<(), Violation> {
        let Some((exit, post_mortem)) = &self.attribution.death else { return Ok(()) };
        let out_of_memory = (*exit == SIGABRT && post_mortem.refused.is_some())
            || (*exit == SIGKILL && post_mortem.out_of_memory);
        ensure!(cause != Cause::Oom || out_of_memory, "logged the cause oom for {exit:?}: {post_mortem:?}");
        let misclassified = out_of_memory && matches!(cause, Cause::Signal | Cause::Exit | Cause::Unknown);
        ensure!(!misclassified, "logged the cause {cause} for exhausted memory: {exit:?}, {post_mortem:?}");
        Ok(())
    }

    pub(super) fn charge_recorded_death(&mut self, generation: Generation, cause: Cause) {
        let is_analysis = self.records.get(&generation).is_some_and(|record| record.role == Role::Analytics);
        let attribution = &mut self.attribution;
        let death = attribution.death.take().filter(|_| is_analysis && cause != Cause::Requested);
        let Some((exit, post_mortem)) = death else { return };
        let from_outside = exit == SIGKILL && !post_mortem.out_of_memory && cause == Cause::Signal;
        if self.records.get(&generation).is_some_and(|record| record.is_trial) {
            if post_mortem.in_flight.is_some() && !from_outside && self.is_judged(generation) {
                self.record_failed_trial();
            }
            return;
        }
        let attribution = &mut self.attribution;
        let is_attributable = |seq: &Seq| {
            let recorded = attribution.attempts.contains_key(seq) || attribution.quarantined.contains(seq);
            recorded || *seq <= attribution.single_commit_until || post_mortem.committed.next() == *seq
        };
        match (post_mortem.in_flight, post_mortem.committing) {
            (Some(seq), _) => attribution.charged = Some(seq),
            (None, Some(seq)) if is_attributable(&seq) => attribution.charged = Some(seq),
            (None, Some(seq)) => attribution.single_commit_until = attribution.single_commit_until.max(seq),
            (None, None) => {}
        }
        if let Some(seq) = attribution.charged {
            let (deaths, kills) = attribution.attempts.entry(seq).or_default();
            *if from_outside { &mut *kills } else { &mut *deaths } += 1;
            let counts = (*deaths, *kills);
            if self.is_due(counts) {
                self.record_failed(seq);
            }
        }
    }

    pub(super) fn check_quarantine_request(&mut self, request: &QuarantineRequest) -> Result<(), Violation> {
        let QuarantineRequest { seq, attempts, .. } = request;
        let (deaths, kills) = self.attribution.attempts.get(seq).copied().unwrap_or_default();
        ensure!(
            deaths + kills == *attempts,
            "quarantined event {seq} with {attempts} attempts, expected {deaths} + {kills}"
        );
        ensure!(
            self.is_due((deaths, kills)),
            "quarantined event {seq} after only {deaths} deaths and {kills} kills"
        );
        let attribution = &mut self.attribution;
        ensure!(
            attribution.being_stored.is_none(),
            "ordered to store event {seq} while {:?} is being stored",
            attribution.being_stored
        );
        ensure!(!attribution.quarantined.contains(seq), "ordered to store event {seq} again");
        (attribution.being_stored, attribution.store_ordered) = (Some(*seq), true);
        Ok(())
    }

    pub(super) fn on_store_result(&mut self, seq: Seq, quarantined: bool) {
        self.attribution.being_stored = None;
        if !quarantined {
            self.end_trials();
        } else {
            self.attribution.quarantined.insert(seq);
            let is_analysis = self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics);
            is_analysis.for_each(|worker| worker.unproductive_spawns.clear());
        }
    }

    /// The stored events that no generation has skipped.
    pub(super) const fn quarantined(&self) -> &BTreeSet<Seq> {
        &self.attribution.quarantined
    }

    pub(super) fn forget_quarantined(&mut self, forget: impl Fn(Seq) -> bool) {
        self.attribution.quarantined.retain(|seq| !forget(*seq));
        self.attribution.attempts.retain(|seq, _| !forget(*seq));
    }

    /// The brake engaged: only stored events are still suspect.
    pub(super) fn forget_attempts(&mut self) {
        let quarantined = &self.attribution.quarantined;
        self.attribution.attempts.retain(|seq, _| quarantined.contains(seq));
    }

    /// Whether this death says something about the program.
    fn is_judged(&self, generation: Generation) -> bool {
        self.records.get(&generation).is_some_and(|record| {
            record.stop_requested_at.is_none_or(|_| record.aborted_at.is_some() || record.killed_at.is_some())
                && generation > self.workers[record.worker].outdated_through
        })
    }

    /// An analysis is activated with these recovery hints.
    pub(super) fn check_recovery_hints(&self, hints: &RecoveryHints) -> Result<(), Violation> {
        let attribution = &self.attribution;
        ensure!(
            attribution.being_stored.is_none(),
            "activated an analysis before {:?} was stored",
            attribution.being_stored
        );
        for seq in &hints.skip {
            ensure!(
                attribution.quarantined.contains(seq),
                "ordered the analysis to skip event {seq}, which is not stored"
            );
        }
        for seq in &attribution.quarantined {
            ensure!(
                hints.skip.contains(seq),
                "did not order the analysis to skip event {seq}, which is stored"
            );
        }
        for seq in attribution.attempts.keys() {
            let isolated =
                hints.suspects.contains(seq) || hints.skip.contains(seq) || *seq <= hints.single_commit_until;
            ensure!(isolated, "did not order the analysis to isolate the suspect event {seq}");
        }
        ensure!(
            attribution.single_commit_until <= hints.single_commit_until,
            "did not ask for single commits up to event {}",
            attribution.single_commit_until
        );
        Ok(())
    }

    /// An event that has reached its number of attempts must be quarantined, except during shutdown.
    pub(super) fn check_quarantine_due(&self) -> Result<(), Violation> {
        let attribution = &self.attribution;
        let Some(seq) = attribution.charged.filter(|seq| !attribution.quarantined.contains(seq)) else {
            return Ok(());
        };
        let counts = attribution.attempts.get(&seq).copied().unwrap_or_default();
        let is_allowed = !self.is_due(counts)
            || attribution.store_ordered
            || self.stopping_since.is_some()
            || self.brake.engaged_now;
        ensure!(is_allowed, "did not quarantine event {seq} after {counts:?} deaths and kills");
        Ok(())
    }

    /// A kill may come from outside, so more kills than deaths are needed.
    fn is_due(&self, (deaths, kills): (u32, u32)) -> bool {
        let max_attempts = self.policy.max_attempts;
        deaths >= max_attempts || kills >= max_attempts.max(MAX_KILLS)
    }
}
