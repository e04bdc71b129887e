//! What an event may be held to account for, and what follows from that: the judge keeps a ledger of its own.

use super::{Broken, Judge};
use crate::{
    demand::demand,
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

/// Who is to blame, and what became of it.
#[derive(Default)]
pub(super) struct Blame {
    /// Deaths, by event, and kills.
    attempts: BTreeMap<Seq, (u32, u32)>,
    /// One commit an event, up to here.
    single_commit_until: Seq,
    /// Stored, and not committed as skipped yet.
    stored: BTreeSet<Seq>,
    /// Ordered to be stored, and not answered.
    storing: Option<Seq>,
    /// What the death of this turn is, if nobody asked for it.
    death: Option<(ExitStatus, PostMortem)>,
    /// The event that this turn has charged.
    charged: Option<Seq>,
    ordered: bool,
}

impl Judge {
    pub(super) fn blame_turn_begins(&mut self) {
        (self.blame.death, self.blame.charged, self.blame.ordered) = (None, None, false);
    }

    /// An analysis that was at work is gone; the log will tell whether anybody asked for it.
    pub(super) fn blame_death(&mut self, exit: ExitStatus, seen: &PostMortem) {
        let blame = &mut self.blame;
        blame.attempts.retain(|seq, _| *seq > seen.committed);
        blame.stored.retain(|seq| *seq > seen.committed);
        if blame.single_commit_until <= seen.committed {
            blame.single_commit_until = Seq(0);
        }
        blame.death = Some((exit, seen.clone()));
    }

    /// A death for want of memory is one, and no other is. What it was told to do, or told itself, goes before.
    pub(super) fn check_cause(&self, cause: Cause) -> Result<(), Broken> {
        let Some((exit, seen)) = &self.blame.death else { return Ok(()) };
        let starved =
            (*exit == SIGABRT && seen.refused.is_some()) || (*exit == SIGKILL && seen.out_of_memory);
        demand!(cause != Cause::Oom || starved, "takes {exit:?} for a want of memory: {seen:?}");
        let mistaken = starved && matches!(cause, Cause::Signal | Cause::Exit | Cause::Unknown);
        demand!(!mistaken, "takes a want of memory for {cause}: {exit:?}, {seen:?}");
        Ok(())
    }

    pub(super) fn blame_told(&mut self, generation: Generation, cause: Cause) {
        let analysis = self.records.get(&generation).is_some_and(|record| record.role == Role::Analytics);
        let blame = &mut self.blame;
        let death = blame.death.take().filter(|_| analysis && cause != Cause::Requested);
        let Some((exit, seen)) = death else { return };
        let one_of = |seq: &Seq| {
            let known = blame.attempts.contains_key(seq) || blame.stored.contains(seq);
            known || *seq <= blame.single_commit_until || seen.committed.next() == *seq
        };
        match (seen.in_hand, seen.committing) {
            (Some(seq), _) => blame.charged = Some(seq),
            (None, Some(seq)) if one_of(&seq) => blame.charged = Some(seq),
            (None, Some(seq)) => blame.single_commit_until = blame.single_commit_until.max(seq),
            (None, None) => {}
        }
        if let Some(seq) = blame.charged {
            let (died, killed) = blame.attempts.entry(seq).or_default();
            let from_outside = exit == SIGKILL && !seen.out_of_memory && cause == Cause::Signal;
            *if from_outside { killed } else { died } += 1;
        }
    }

    pub(super) fn orders_to_store(&mut self, charge: &QuarantineRequest) -> Result<(), Broken> {
        let QuarantineRequest { seq, attempts, .. } = charge;
        let (died, killed) = self.blame.attempts.get(seq).copied().unwrap_or_default();
        demand!(
            died + killed == *attempts,
            "event {seq} is charged with {attempts} deaths, not {died} + {killed}"
        );
        demand!(
            self.is_due((died, killed)),
            "event {seq} is set aside after {died} deaths and {killed} kills"
        );
        let blame = &mut self.blame;
        demand!(blame.storing.is_none(), "stores {seq} while {:?} is being stored", blame.storing);
        demand!(!blame.stored.contains(seq), "stores {seq} again");
        (blame.storing, blame.ordered) = (Some(*seq), true);
        Ok(())
    }

    pub(super) fn store_answered(&mut self, seq: Seq, stored: bool) {
        self.blame.storing = None;
        if stored {
            self.blame.stored.insert(seq);
            let analysis = self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics);
            analysis.for_each(|worker| worker.unexcused.clear());
        }
    }

    /// An analysis begins to work, with this care.
    pub(super) fn check_care(&self, care: &RecoveryHints) -> Result<(), Broken> {
        let blame = &self.blame;
        demand!(blame.storing.is_none(), "activates an analysis before {:?} is stored", blame.storing);
        for seq in &care.skip {
            demand!(blame.stored.contains(seq), "skips event {seq}, which is not stored");
        }
        for seq in &blame.stored {
            demand!(care.skip.contains(seq), "does not skip event {seq}, which is stored");
        }
        for seq in blame.attempts.keys() {
            let careful =
                care.suspects.contains(seq) || care.skip.contains(seq) || *seq <= care.single_commit_until;
            demand!(careful, "takes no care of event {seq}, a suspect");
        }
        demand!(
            blame.single_commit_until <= care.single_commit_until,
            "commits more than one event below {}",
            blame.single_commit_until
        );
        Ok(())
    }

    /// Whoever has killed often enough is stored, unless all is ending.
    pub(super) fn check_blame(&self) -> Result<(), Broken> {
        let blame = &self.blame;
        let Some(seq) = blame.charged.filter(|seq| !blame.stored.contains(seq)) else { return Ok(()) };
        let due = blame.attempts.get(&seq).copied().unwrap_or_default();
        let fine = !self.is_due(due) || blame.ordered || self.stopping.is_some();
        demand!(fine, "event {seq} has so many deaths and kills, {due:?}, and is not set aside");
        Ok(())
    }

    /// A kill may have come from outside: it takes many.
    fn is_due(&self, (died, killed): (u32, u32)) -> bool {
        let most = self.policy.max_attempts;
        died >= most || killed >= most.max(MAX_KILLS)
    }
}
