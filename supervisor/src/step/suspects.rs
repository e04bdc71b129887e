//! Which events the analysis may have died of: attempts, and setting aside.
//!
//! An attempt is charged at the death, before a successor is activated. One event alone is charged, or none: the one that
//! was being applied (or whose series was being loaded), or the one event of a commit. Behind a death in a commit of
//! several, the successor commits one by one, so that the next such death has one to blame.

use super::{
    Exit, Is, LogRecord, Process, State, Turn, Who, WorkerId,
    diagnosis::Verdict,
    event::PostMortem,
    mutant::{self, Mutant},
    turn::{At, Lane},
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::{MAX_HINTS, RecoveryHints},
    ids::{CrashId, Seq},
    role::Role,
};

/// SIGKILL comes from outside as a rule, and says little about the event in hand: so many of them set it aside, if
/// `max_attempts` is not more. Fewer than park a worker by default, and more than chance, or an operator, brings together.
pub const MAX_KILLS: u32 = 8;

/// What an analysis is suspected to die of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Suspicion {
    /// Events beyond the last commit, at most [`MAX_HINTS`].
    pub suspects: Vec<Suspect>,
    /// A commit of several events was died of: one at a time up to here.
    pub single_commit_until: Seq,
}

/// One event under suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Suspect {
    /// Which one.
    pub seq: Seq,
    /// So many generations died of it.
    pub attempts: u32,
    /// So many more were killed with it in hand: see [`MAX_KILLS`].
    pub kills: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Fate {
    /// It is tried again.
    Tried,
    /// It is being stored. Nobody is activated meanwhile, who could only die of it again.
    Storing,
    /// It is stored, and skipped from here on.
    Stored,
}

/// What is stored with an event that is set aside: the last death that it was charged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which generation died.
    pub who: Who,
    /// The event.
    pub seq: Seq,
    /// Generations that died of it, or were killed with it in hand, this one included.
    pub attempts: u32,
    /// What that one was doing with it.
    pub during: Operation,
    /// The number of its crash report.
    pub crash: CrashId,
    /// Why it died.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
}

/// An event that is charged with a death.
pub(super) struct Blame {
    /// Which one.
    pub(super) seq: Seq,
    /// What the dead one was doing with it.
    pub(super) during: Operation,
    /// It was tried so many times…
    pub(super) tried: u32,
    /// …of so many.
    pub(super) most: u32,
    /// It is to be stored: that was often enough.
    pub(super) charge: Option<Charge>,
}

impl Suspicion {
    /// What the next generation is told.
    pub(super) fn care(&self) -> RecoveryHints {
        let with = |stored| {
            let those = self.suspects.iter().filter(move |suspect| (suspect.fate == Fate::Stored) == stored);
            those.map(|suspect| suspect.seq).collect()
        };
        let skip = if mutant::is(Mutant::ForgetSkip) { Vec::new() } else { with(true) };
        let suspects = if mutant::is(Mutant::ForgetSuspects) { Vec::new() } else { with(false) };
        let single_commit_until =
            if mutant::is(Mutant::ForgetCaution) { Seq(0) } else { self.single_commit_until };
        RecoveryHints { suspects, skip, single_commit_until }
    }

    /// Forgets what is behind a commit.
    fn prune(&mut self, committed: Seq) {
        self.suspects.retain(|suspect| suspect.seq > committed);
        if self.single_commit_until <= committed {
            self.single_commit_until = Seq(0);
        }
    }

    fn find(&mut self, seq: Seq) -> Option<&mut Suspect> {
        self.suspects.iter_mut().find(|suspect| suspect.seq == seq)
    }

    /// The event that alone may have caused a death; a commit of several makes the successor cautious instead.
    fn blame(&mut self, seen: &PostMortem) -> Option<(Seq, Operation)> {
        if let Some(seq) = seen.in_hand {
            return Some((seq, if seen.loading { Operation::Load } else { Operation::Apply }));
        }
        let seq = seen.committing?;
        let alone =
            seq <= self.single_commit_until || seq == seen.committed.next() || self.find(seq).is_some();
        if alone && !mutant::is(Mutant::BlameNoCommit) {
            return Some((seq, Operation::Commit));
        }
        self.single_commit_until = self.single_commit_until.max(seq);
        None
    }

    /// One more attempt, or kill. Where there is no room for a further suspect, caution up to it must do.
    fn charge(&mut self, seq: Seq, killed: bool) -> Option<Suspect> {
        if mutant::is(Mutant::ForgetCharge) {
            return None;
        }
        if self.find(seq).is_none() {
            if self.suspects.len() >= MAX_HINTS {
                self.single_commit_until = self.single_commit_until.max(seq);
                return None;
            }
            self.suspects.push(Suspect { seq, attempts: 0, kills: 0, fate: Fate::Tried });
        }
        let suspect = self.find(seq)?;
        let count = if killed { &mut suspect.kills } else { &mut suspect.attempts };
        *count = count.saturating_add(if mutant::is(Mutant::ChargeTwice) { 2 } else { 1 });
        Some(*suspect)
    }

    /// Whether it is being stored, or is stored and was not seen to be committed yet.
    fn sets_aside(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.fate != Fate::Tried)
    }

    fn stores(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.fate == Fate::Storing)
    }

    /// Whether nobody may be activated yet.
    pub(super) fn is_storing(&self) -> bool {
        self.suspects.iter().any(|suspect| suspect.fate == Fate::Storing)
            && !mutant::is(Mutant::ActivateWhileStoring)
    }
}

impl Turn<'_> {
    /// Charges a death to the event that caused it, if it is known which one.
    pub(super) fn accuse(
        &mut self,
        id: WorkerId,
        dead: &Process,
        verdict: &Verdict,
        exit: Exit,
        seen: &PostMortem,
    ) -> Option<Blame> {
        if self.worker(id).role != Role::Analytics || dead.activated.is_none() {
            return None;
        }
        let requested = verdict.cause == Cause::Requested && !mutant::is(Mutant::ChargeTheRequested);
        let suspicion = &mut self.worker_mut(id).suspicion;
        suspicion.prune(seen.committed);
        if requested {
            return None;
        }
        let (seq, during) = suspicion.blame(seen)?;
        // One that is skipped kills nobody: its place was committed, and nothing of it.
        if suspicion.sets_aside(seq) {
            return None;
        }
        // The kernel's own kill, for want of memory, has another cause, and counts in full.
        let by_signal = verdict.cause == Cause::Signal || mutant::is(Mutant::TakeOomForKill);
        let killed = by_signal && exit.is_kill() && !mutant::is(Mutant::ChargeTheKilled);
        let Suspect { attempts, kills, .. } = suspicion.charge(seq, killed)?;
        let most = self.state.policy.max_attempts.max(1);
        let most_kills = most.max(MAX_KILLS);
        let (tried, of) = if killed { (kills, most_kills) } else { (attempts, most) };
        let mut blame = Blame { seq, during, tried, most: of, charge: None };
        if attempts >= most || kills >= most_kills {
            blame.charge = self.sentence(id, dead, verdict, &blame, attempts.saturating_add(kills));
        }
        Some(blame)
    }

    /// An event was tried often enough, and is to be stored; unless it is already, or the supervisor's end is near: what is
    /// not stored before it is tried again behind it.
    fn sentence(
        &mut self,
        id: WorkerId,
        dead: &Process,
        verdict: &Verdict,
        &Blame { seq, during, .. }: &Blame,
        attempts: u32,
    ) -> Option<Charge> {
        if self.not_now().is_some() {
            return None;
        }
        let suspect =
            self.worker_mut(id).suspicion.find(seq).filter(|suspect| suspect.fate == Fate::Tried)?;
        suspect.fate = if mutant::is(Mutant::SkipUnstored) { Fate::Stored } else { Fate::Storing };
        let (who, crash) = (self.who(id, dead), self.state.next_crash);
        let Verdict { cause, ref detail, .. } = *verdict;
        Some(Charge { who, seq, attempts, during, crash, cause, detail: detail.clone() })
    }

    /// An event is stored and skipped from now on; or it could not be stored, and is tried again.
    pub(super) fn set_aside(&mut self, charge: Charge, result: Result<(), String>) {
        let Charge { seq, .. } = charge;
        let Some(id) = self.state.ids().find(|id| self.worker(*id).suspicion.stores(seq)) else { return };
        if let Some(suspect) = self.worker_mut(id).suspicion.find(seq) {
            suspect.fate = if result.is_ok() { Fate::Stored } else { Fate::Tried };
        }
        match result {
            Ok(()) => {
                self.log(LogRecord::EventQuarantined(charge));
                self.relieve(id);
            }
            Err(why) => self.log(LogRecord::QuarantineFailed { charge, why }),
        }
        self.hand_over(At { id, lane: Lane::Main });
    }

    /// What a worker died of is set aside: that is progress, and nothing is left to wait for.
    fn relieve(&mut self, id: WorkerId) {
        self.worker_mut(id).tally.clear();
        let until = self.soon(id);
        let worker = self.worker_mut(id);
        let (worker_name, generation) = (worker.name.clone(), worker.generation);
        match worker.main {
            Is::Parked { probe: Some(_) } => {
                worker.main = Is::Backoff { until };
                self.log(LogRecord::WorkerRecovered(Who { worker: worker_name, generation, pid: None }));
            }
            Is::Backoff { .. } => worker.main = Is::Backoff { until },
            Is::Parked { probe: None }
            | Is::Stopped
            | Is::Starting { .. }
            | Is::Standby { .. }
            | Is::Running { .. }
            | Is::Stopping { .. } => {}
        }
    }
}

impl State {
    /// Whether an event is being set aside: once its skip is committed, it has been.
    #[must_use]
    pub fn sets_aside(&self, seq: Seq) -> bool {
        self.workers.iter().any(|worker| worker.suspicion.sets_aside(seq))
    }

    /// Before [`super::Event::Boot`]: these pending events were set aside by an earlier run, and are skipped. No run leaves
    /// more than one behind; what is beyond [`MAX_HINTS`] is left out.
    pub fn remember_set_aside(&mut self, stored: impl IntoIterator<Item = Seq>) {
        let suspect = |seq| Suspect { seq, attempts: 0, kills: 0, fate: Fate::Stored };
        let suspects: Vec<_> = stored.into_iter().take(MAX_HINTS).map(suspect).collect();
        for worker in self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics) {
            worker.suspicion.suspects.clone_from(&suspects);
        }
    }
}
