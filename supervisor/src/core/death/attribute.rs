//! Attribution: which event a death is charged to, and when that event is quarantined.
//!
//! A death is charged before a successor is activated. It is charged to one event or to none: the event that
//! was being applied, the event whose series was being loaded, or the only event of a commit. After a death
//! in a commit of several events the successor commits after each event, so that the next such death can be
//! attributed.

use crate::core::{
    death::classify::Classification,
    model::{
        ExitStatus, GenerationRef, GenerationState, LogRecord, MAX_KILLS, PoisonTracker, PostMortem, Process,
        QuarantineRequest, State, SuspectEvent, SuspectState, WorkerId, WorkerSlot, WorkerSlotId,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::{MAX_HINTS, RecoveryHints},
    ids::Seq,
    role::Role,
};

/// The event that a death is charged to.
pub(in crate::core) struct Attribution {
    /// The event.
    pub(in crate::core) seq: Seq,
    /// What the process was doing with it.
    pub(in crate::core) during: Operation,
    /// Number of attempts, this one included.
    pub(in crate::core) count: u32,
    /// Number of attempts that quarantines the event.
    pub(in crate::core) limit: u32,
    /// The order to store the event; set if the limit is reached.
    pub(in crate::core) request: Option<QuarantineRequest>,
}

impl PoisonTracker {
    /// What the next generation needs to know.
    pub(in crate::core) fn recovery_hints(&self) -> RecoveryHints {
        let with = |stored| {
            let those =
                self.suspects.iter().filter(move |suspect| (suspect.state == SuspectState::Stored) == stored);
            those.map(|suspect| suspect.seq).collect()
        };
        RecoveryHints {
            suspects: with(false),
            skip: with(true),
            single_commit_until: self.single_commit_until,
        }
    }

    /// Removes committed events.
    fn prune(&mut self, committed: Seq) {
        self.suspects.retain(|suspect| suspect.seq > committed);
        if self.single_commit_until <= committed {
            self.single_commit_until = Seq(0);
        }
    }

    fn find(&mut self, seq: Seq) -> Option<&mut SuspectEvent> {
        self.suspects.iter_mut().find(|suspect| suspect.seq == seq)
    }

    /// The only event that can have caused the death. After a death in a commit of several events there is
    /// none: the successor then commits after each event.
    fn attribution(&mut self, post_mortem: &PostMortem) -> Option<(Seq, Operation)> {
        if let Some(seq) = post_mortem.in_flight {
            return Some((seq, if post_mortem.loading { Operation::Load } else { Operation::Apply }));
        }
        let seq = post_mortem.committing?;
        let is_only_event = seq <= self.single_commit_until
            || seq == post_mortem.committed.next()
            || self.find(seq).is_some();
        if is_only_event {
            return Some((seq, Operation::Commit));
        }
        self.single_commit_until = self.single_commit_until.max(seq);
        None
    }

    /// Counts one more attempt, or kill. If there is no room for another suspect, the events up to this one
    /// are committed one at a time.
    fn record_attempt(&mut self, seq: Seq, killed: bool) -> Option<SuspectEvent> {
        if self.find(seq).is_none() {
            if self.suspects.len() >= MAX_HINTS {
                self.single_commit_until = self.single_commit_until.max(seq);
                return None;
            }
            self.suspects.push(SuspectEvent { seq, attempts: 0, kills: 0, state: SuspectState::Retrying });
        }
        let suspect = self.find(seq)?;
        let count = if killed { &mut suspect.kills } else { &mut suspect.attempts };
        *count = count.saturating_add(1);
        Some(*suspect)
    }

    /// Whether the event is being stored, or is stored while its skip is not known to be committed.
    fn is_quarantining(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.state != SuspectState::Retrying)
    }

    fn is_storing_event(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.state == SuspectState::Storing)
    }

    /// Whether no generation may be activated because an event is being stored.
    pub(in crate::core) fn is_storing(&self) -> bool {
        self.suspects.iter().any(|suspect| suspect.state == SuspectState::Storing)
    }
}

impl Transition<'_> {
    /// Charges a death to the event that caused it, if one event did.
    pub(in crate::core) fn attribute_death(
        &mut self,
        id: WorkerId,
        dead: &Process,
        classification: &Classification,
        exit: ExitStatus,
        post_mortem: &PostMortem,
    ) -> Option<Attribution> {
        if self.worker(id).role != Role::Analytics || dead.activated.is_none() {
            return None;
        }
        let poison_tracker = &mut self.worker_mut(id).poison_tracker;
        poison_tracker.prune(post_mortem.committed);
        if classification.cause == Cause::Requested {
            return None;
        }
        let (seq, during) = poison_tracker.attribution(post_mortem)?;
        // A skipped event cannot kill: only its position is committed.
        if poison_tracker.is_quarantining(seq) {
            return None;
        }
        // A SIGKILL by the OOM killer has another cause, and counts as an attempt.
        let killed = classification.cause == Cause::Signal && exit.is_kill();
        let SuspectEvent { attempts, kills, .. } = poison_tracker.record_attempt(seq, killed)?;
        let limit = self.state.policy.max_attempts.max(1);
        let kill_limit = limit.max(MAX_KILLS);
        let (count, of) = if killed { (kills, kill_limit) } else { (attempts, limit) };
        let mut attribution = Attribution { seq, during, count, limit: of, request: None };
        if attempts >= limit || kills >= kill_limit {
            attribution.request = self.quarantine_if_exhausted(
                id,
                dead,
                classification,
                &attribution,
                attempts.saturating_add(kills),
            );
        }
        Some(attribution)
    }

    /// Requests the quarantine of an event that has reached its limit. Does nothing if the request was made
    /// before, or if the supervisor is stopping: an event that is not stored by then is tried again by the
    /// next run.
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
        suspect.state = SuspectState::Storing;
        let (subject, crash) = (self.generation_ref(id, dead), self.state.next_crash);
        let Classification { cause, ref detail, .. } = *classification;
        Some(QuarantineRequest { subject, seq, attempts, during, crash, cause, detail: detail.clone() })
    }

    /// The event is stored, and will be skipped; or it could not be stored, and is tried again.
    pub(in crate::core) fn quarantine_finished(
        &mut self,
        request: QuarantineRequest,
        result: Result<(), String>,
    ) {
        let QuarantineRequest { seq, .. } = request;
        let Some(id) =
            self.state.worker_ids().find(|id| self.worker(*id).poison_tracker.is_storing_event(seq))
        else {
            return;
        };
        if let Some(suspect) = self.worker_mut(id).poison_tracker.find(seq) {
            suspect.state = if result.is_ok() { SuspectState::Stored } else { SuspectState::Retrying };
        }
        match result {
            Ok(()) => {
                self.log(LogRecord::EventQuarantined(request));
                self.on_quarantined(id);
            }
            Err(why) => self.log(LogRecord::QuarantineFailed { request, why }),
        }
        self.advance_takeover(WorkerSlotId { worker: id, slot: WorkerSlot::Main });
    }

    /// The cause of the deaths is removed: the budget is cleared and the next generation need not wait.
    fn on_quarantined(&mut self, id: WorkerId) {
        self.worker_mut(id).restart_budget.clear();
        let until = self.earliest_start(id);
        let worker = self.worker_mut(id);
        let (worker_name, generation) = (worker.name.clone(), worker.generation);
        match worker.main {
            GenerationState::Parked { retry_at: Some(_) } => {
                worker.main = GenerationState::Backoff { until };
                self.log(LogRecord::WorkerRecovered(GenerationRef {
                    worker: worker_name,
                    generation,
                    pid: None,
                }));
            }
            GenerationState::Backoff { .. } => worker.main = GenerationState::Backoff { until },
            GenerationState::Parked { retry_at: None }
            | GenerationState::Stopped
            | GenerationState::Starting { .. }
            | GenerationState::Standby { .. }
            | GenerationState::Running { .. }
            | GenerationState::Stopping { .. } => {}
        }
    }
}

impl State {
    /// Whether an event is being quarantined. The answer is false again once its skip is committed.
    #[must_use]
    pub fn is_quarantining(&self, seq: Seq) -> bool {
        self.workers.iter().any(|worker| worker.poison_tracker.is_quarantining(seq))
    }

    /// Before [`crate::core::Event::Boot`]: marks pending events that an earlier run quarantined, so that
    /// they are skipped. A run leaves at most one; those beyond `MAX_HINTS` are ignored.
    pub fn restore_quarantined(&mut self, stored: impl IntoIterator<Item = Seq>) {
        let suspect = |seq| SuspectEvent { seq, attempts: 0, kills: 0, state: SuspectState::Stored };
        let suspects: Vec<_> = stored.into_iter().take(MAX_HINTS).map(suspect).collect();
        for worker in self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics) {
            worker.poison_tracker.suspects.clone_from(&suspects);
        }
    }
}

impl Attribution {
    /// Describes the attribution for people.
    pub(in crate::core) fn text(&self) -> String {
        let Self { seq, count, limit, request, .. } = self;
        let then = if request.is_some() { "quarantined next" } else { "tried again" };
        // The count exceeds the limit after a quarantine that failed.
        let count = if count > limit {
            format!("attempt {count} (limit {limit})")
        } else {
            format!("attempt {count} of {limit}")
        };
        format!("event {seq}: {count}; {then}")
    }
}
