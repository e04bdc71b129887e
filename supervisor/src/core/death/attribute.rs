//! Which events the analysis may have died of: attempts, and setting aside.
//!
//! An attempt is charged at the death, before a successor is activated. One event alone is charged, or none: the one that
//! was being applied (or whose series was being loaded), or the one event of a commit. Behind a death in a commit of
//! several, the successor commits one by one, so that the next such death has one to blame.

use crate::core::{
    death::classify::Classification,
    model::{
        ExitStatus, GenerationRef, GenerationState, LogRecord, MAX_KILLS, PoisonTracker, PostMortem, Process,
        QuarantineRequest, State, SuspectEvent, SuspectState, WorkerId, WorkerSlot, WorkerSlotId,
    },
    mutant::{self, Mutant},
    transition::Transition,
};
use bulkhead_proto::{
    control::{Care, MAX_CARE},
    ids::Seq,
    words::{Cause, During, Role},
};

/// An event that is charged with a death.
pub(in crate::core) struct Attribution {
    /// Which one.
    pub(in crate::core) seq: Seq,
    /// What the dead one was doing with it.
    pub(in crate::core) during: During,
    /// It was tried so many times…
    pub(in crate::core) tried: u32,
    /// …of so many.
    pub(in crate::core) most: u32,
    /// It is to be stored: that was often enough.
    pub(in crate::core) charge: Option<QuarantineRequest>,
}

impl PoisonTracker {
    /// What the next generation is told.
    pub(in crate::core) fn recovery_hints(&self) -> Care {
        let with = |stored| {
            let those =
                self.suspects.iter().filter(move |suspect| (suspect.state == SuspectState::Stored) == stored);
            those.map(|suspect| suspect.seq).collect()
        };
        let skip = if mutant::is(Mutant::ForgetSkip) { Vec::new() } else { with(true) };
        let suspects = if mutant::is(Mutant::ForgetSuspects) { Vec::new() } else { with(false) };
        let single_commit_until =
            if mutant::is(Mutant::ForgetCaution) { Seq(0) } else { self.single_commit_until };
        Care { suspects, skip, cautious_to: single_commit_until }
    }

    /// Forgets what is behind a commit.
    fn prune(&mut self, committed: Seq) {
        self.suspects.retain(|suspect| suspect.seq > committed);
        if self.single_commit_until <= committed {
            self.single_commit_until = Seq(0);
        }
    }

    fn find(&mut self, seq: Seq) -> Option<&mut SuspectEvent> {
        self.suspects.iter_mut().find(|suspect| suspect.seq == seq)
    }

    /// The event that alone may have caused a death; a commit of several makes the successor cautious instead.
    fn attribution(&mut self, seen: &PostMortem) -> Option<(Seq, During)> {
        if let Some(seq) = seen.in_hand {
            return Some((seq, if seen.loading { During::Load } else { During::Apply }));
        }
        let seq = seen.committing?;
        let alone =
            seq <= self.single_commit_until || seq == seen.committed.next() || self.find(seq).is_some();
        if alone && !mutant::is(Mutant::BlameNoCommit) {
            return Some((seq, During::Commit));
        }
        self.single_commit_until = self.single_commit_until.max(seq);
        None
    }

    /// One more attempt, or kill. Where there is no room for a further suspect, caution up to it must do.
    fn record_attempt(&mut self, seq: Seq, killed: bool) -> Option<SuspectEvent> {
        if mutant::is(Mutant::ForgetCharge) {
            return None;
        }
        if self.find(seq).is_none() {
            if self.suspects.len() >= MAX_CARE {
                self.single_commit_until = self.single_commit_until.max(seq);
                return None;
            }
            self.suspects.push(SuspectEvent { seq, attempts: 0, kills: 0, state: SuspectState::Retrying });
        }
        let suspect = self.find(seq)?;
        let count = if killed { &mut suspect.kills } else { &mut suspect.attempts };
        *count = count.saturating_add(if mutant::is(Mutant::ChargeTwice) { 2 } else { 1 });
        Some(*suspect)
    }

    /// Whether it is being stored, or is stored and was not seen to be committed yet.
    fn is_quarantining(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.state != SuspectState::Retrying)
    }

    fn stores(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.state == SuspectState::Storing)
    }

    /// Whether nobody may be activated yet.
    pub(in crate::core) fn is_storing(&self) -> bool {
        self.suspects.iter().any(|suspect| suspect.state == SuspectState::Storing)
            && !mutant::is(Mutant::ActivateWhileStoring)
    }
}

impl Transition<'_> {
    /// Charges a death to the event that caused it, if it is known which one.
    pub(in crate::core) fn attribute_death(
        &mut self,
        id: WorkerId,
        dead: &Process,
        classification: &Classification,
        exit: ExitStatus,
        seen: &PostMortem,
    ) -> Option<Attribution> {
        if self.worker(id).role != Role::Analytics || dead.activated.is_none() {
            return None;
        }
        let requested = classification.cause == Cause::Requested && !mutant::is(Mutant::ChargeTheRequested);
        let poison_tracker = &mut self.worker_mut(id).poison_tracker;
        poison_tracker.prune(seen.committed);
        if requested {
            return None;
        }
        let (seq, during) = poison_tracker.attribution(seen)?;
        // One that is skipped kills nobody: its place was committed, and nothing of it.
        if poison_tracker.is_quarantining(seq) {
            return None;
        }
        // The kernel's own kill, for want of memory, has another cause, and counts in full.
        let by_signal = classification.cause == Cause::Signal || mutant::is(Mutant::TakeOomForKill);
        let killed = by_signal && exit.is_kill() && !mutant::is(Mutant::ChargeTheKilled);
        let SuspectEvent { attempts, kills, .. } = poison_tracker.record_attempt(seq, killed)?;
        let most = self.state.policy.max_attempts.max(1);
        let most_kills = most.max(MAX_KILLS);
        let (tried, of) = if killed { (kills, most_kills) } else { (attempts, most) };
        let mut attribution = Attribution { seq, during, tried, most: of, charge: None };
        if attempts >= most || kills >= most_kills {
            attribution.charge = self.quarantine_if_exhausted(
                id,
                dead,
                classification,
                &attribution,
                attempts.saturating_add(kills),
            );
        }
        Some(attribution)
    }

    /// An event was tried often enough, and is to be stored; unless it is already, or the supervisor's end is near: what is
    /// not stored before it is tried again behind it.
    fn quarantine_if_exhausted(
        &mut self,
        id: WorkerId,
        dead: &Process,
        classification: &Classification,
        &Attribution { seq, during, .. }: &Attribution,
        attempts: u32,
    ) -> Option<QuarantineRequest> {
        if self.refusal().is_some() {
            return None;
        }
        let suspect = self
            .worker_mut(id)
            .poison_tracker
            .find(seq)
            .filter(|suspect| suspect.state == SuspectState::Retrying)?;
        suspect.state =
            if mutant::is(Mutant::SkipUnstored) { SuspectState::Stored } else { SuspectState::Storing };
        let (who, crash) = (self.generation_ref(id, dead), self.state.next_crash);
        let Classification { cause, ref detail, .. } = *classification;
        Some(QuarantineRequest { who, seq, attempts, during, crash, cause, detail: detail.clone() })
    }

    /// An event is stored and skipped from now on; or it could not be stored, and is tried again.
    pub(in crate::core) fn quarantine_finished(
        &mut self,
        charge: QuarantineRequest,
        result: Result<(), String>,
    ) {
        let QuarantineRequest { seq, .. } = charge;
        let Some(id) = self.state.worker_ids().find(|id| self.worker(*id).poison_tracker.stores(seq)) else {
            return;
        };
        if let Some(suspect) = self.worker_mut(id).poison_tracker.find(seq) {
            suspect.state = if result.is_ok() { SuspectState::Stored } else { SuspectState::Retrying };
        }
        match result {
            Ok(()) => {
                self.log(LogRecord::EventQuarantined(charge));
                self.on_quarantined(id);
            }
            Err(why) => self.log(LogRecord::QuarantineFailed { charge, why }),
        }
        self.hand_over(WorkerSlotId { worker: id, slot: WorkerSlot::Main });
    }

    /// What a worker died of is set aside: that is progress, and nothing is left to wait for.
    fn on_quarantined(&mut self, id: WorkerId) {
        self.worker_mut(id).restart_budget.clear();
        let until = self.earliest_start(id);
        let worker = self.worker_mut(id);
        let (worker_name, generation) = (worker.name.clone(), worker.generation);
        match worker.main {
            GenerationState::Parked { probe: Some(_) } => {
                worker.main = GenerationState::Backoff { until };
                self.log(LogRecord::WorkerRecovered(GenerationRef {
                    worker: worker_name,
                    generation,
                    pid: None,
                }));
            }
            GenerationState::Backoff { .. } => worker.main = GenerationState::Backoff { until },
            GenerationState::Parked { probe: None }
            | GenerationState::Stopped
            | GenerationState::Starting { .. }
            | GenerationState::Standby { .. }
            | GenerationState::Running { .. }
            | GenerationState::Stopping { .. } => {}
        }
    }
}

impl State {
    /// Whether an event is being set aside: once its skip is committed, it has been.
    #[must_use]
    pub fn is_quarantining(&self, seq: Seq) -> bool {
        self.workers.iter().any(|worker| worker.poison_tracker.is_quarantining(seq))
    }

    /// Before [`super::Event::Boot`]: these pending events were set aside by an earlier run, and are skipped. No run leaves
    /// more than one behind; what is beyond [`MAX_CARE`] is left out.
    pub fn restore_quarantined(&mut self, stored: impl IntoIterator<Item = Seq>) {
        let suspect = |seq| SuspectEvent { seq, attempts: 0, kills: 0, state: SuspectState::Stored };
        let suspects: Vec<_> = stored.into_iter().take(MAX_CARE).map(suspect).collect();
        for worker in self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics) {
            worker.poison_tracker.suspects.clone_from(&suspects);
        }
    }
}

impl Attribution {
    /// What comes of it, for people.
    pub(in crate::core) fn text(&self) -> String {
        let Self { seq, tried, most, charge, .. } = self;
        let then = if charge.is_some() { "to be set aside" } else { "to be tried again" };
        // Once more than enough behind one that could not be stored.
        let tried = if tried > most {
            format!("{tried} times ({most} are enough)")
        } else {
            format!("{tried} of {most} times")
        };
        format!("event {seq} was tried {tried}: {then}")
    }
}
