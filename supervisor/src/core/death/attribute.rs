//! Attribution: which event a death is charged to, and when that event is quarantined.
//!
//! A death is charged before a successor is activated. It is charged to one event or to none: the event that
//! was being applied, the event whose series was being loaded, or the only event of a commit. After a death
//! in a commit of several events the successor commits after each event, so that the next such death can be
//! attributed.

use crate::core::model::{
    IsolatedSeries, MAX_KILLS, MAX_TRIALS, PoisonTracker, PostMortem, SuspectEvent, SuspectState,
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::{MAX_HINTS, RecoveryHints},
    ids::Seq,
};
use std::fmt;

/// The event that a death is charged to.
#[derive(Clone, Copy)]
pub(in crate::core) struct Attribution {
    pub(in crate::core) seq: Seq,
    /// What the process was doing with it.
    pub(in crate::core) during: Operation,
    /// Number of attempts of the kind that this one is, this one included.
    pub(in crate::core) attempts: u32,
    /// Number of such attempts at which the event is quarantined.
    pub(in crate::core) limit: u32,
    /// Number of attempts of both kinds.
    pub(in crate::core) all_attempts: u32,
    /// Whether the event is quarantined now.
    pub(in crate::core) quarantine: bool,
    /// Whether the process only tried the event: see [`crate::core::model::Brake`]. Then the numbers count
    /// trials, of several events.
    pub(in crate::core) trial: bool,
}

impl PoisonTracker {
    /// Charges the death of an active analysis to the event that caused it, if one event did. `may_quarantine`:
    /// whether events may be quarantined at present.
    pub(in crate::core) fn attribute(
        &mut self,
        cause: Cause,
        post_mortem: &PostMortem,
        max_attempts: u32,
        may_quarantine: bool,
    ) -> Option<Attribution> {
        self.prune(post_mortem.committed);
        if cause == Cause::Requested {
            return None;
        }
        let (seq, during) = self.only_suspect(post_mortem)?;
        if self.is_quarantining(seq) {
            return None;
        }
        let killed = cause == Cause::Signal && post_mortem.exit.is_kill();
        let suspect = self.record_attempt(seq, killed)?;
        let limit = max_attempts.max(1);
        let kill_limit = limit.max(MAX_KILLS);
        let quarantine = may_quarantine && (suspect.attempts >= limit || suspect.kills >= kill_limit);
        if quarantine {
            suspect.state = SuspectState::Storing;
        }
        let SuspectEvent { attempts, kills, .. } = *suspect;
        let all_attempts = attempts.saturating_add(kills);
        let (attempts, limit) = if killed { (kills, kill_limit) } else { (attempts, limit) };
        Some(Attribution { seq, during, attempts, limit, all_attempts, quarantine, trial: false })
    }

    /// Charges the death of a trial. A death that was caused from outside says nothing.
    pub(in crate::core) fn attribute_trial(
        &self,
        cause: Cause,
        post_mortem: &PostMortem,
    ) -> Option<Attribution> {
        let killed = cause == Cause::Signal && post_mortem.exit.is_kill();
        let (seq, during) = (post_mortem.in_flight?, post_mortem.during()?);
        let attempts = self.brake.trials? + 1;
        let charged = cause != Cause::Requested && !killed;
        charged.then_some(Attribution {
            seq,
            during,
            attempts,
            limit: MAX_TRIALS,
            all_attempts: attempts,
            quarantine: false,
            trial: true,
        })
    }

    /// What a successor must know of these events. `brake`: whether the brake is enabled.
    pub(in crate::core) fn recovery_hints(&self, brake: bool) -> RecoveryHints {
        let with = |stored| {
            let those =
                self.suspects.iter().filter(move |suspect| (suspect.state == SuspectState::Stored) == stored);
            those.map(|suspect| suspect.seq).collect()
        };
        RecoveryHints {
            suspects: with(false),
            skip: with(true),
            proven_until: if brake { self.brake.proven_until } else { Seq(u64::MAX) },
            single_commit_until: self.single_commit_until,
            isolated: self.brake.isolated.iter().map(IsolatedSeries::isolation).collect(),
            watched: self.brake.series.iter().map(|series| series.name.clone()).collect(),
            trial: self.trial().filter(|_| brake),
        }
    }

    /// Whether the event is being stored, or is stored while its skip is not known to be committed.
    pub(in crate::core) fn is_quarantining(&self, seq: Seq) -> bool {
        self.suspects.iter().any(|suspect| suspect.seq == seq && suspect.state != SuspectState::Retrying)
    }

    /// Whether no generation may be activated because an event is being stored or released.
    pub(in crate::core) fn is_storing(&self) -> bool {
        let changing =
            |suspect: &SuspectEvent| matches!(suspect.state, SuspectState::Storing | SuspectState::Releasing);
        self.suspects.iter().any(changing)
    }

    pub(in crate::core) fn find(&mut self, seq: Seq) -> Option<&mut SuspectEvent> {
        self.suspects.iter_mut().find(|suspect| suspect.seq == seq)
    }

    /// Removes committed events.
    fn prune(&mut self, committed: Seq) {
        self.suspects.retain(|suspect| suspect.seq > committed);
        self.brake.isolated.retain(|series| series.until.is_none_or(|until| until > committed));
        if self.single_commit_until <= committed {
            self.single_commit_until = Seq(0);
        }
    }

    /// The only event that can have caused the death. After a death in a commit of several events there is
    /// none: the successor then commits after each event.
    fn only_suspect(&mut self, post_mortem: &PostMortem) -> Option<(Seq, Operation)> {
        let during = post_mortem.during()?;
        if let Some(seq) = post_mortem.in_flight {
            return Some((seq, during));
        }
        let seq = post_mortem.committing?;
        let is_only_event = seq <= self.single_commit_until
            || seq == post_mortem.committed.next()
            || self.find(seq).is_some();
        if is_only_event {
            return Some((seq, during));
        }
        self.single_commit_until = self.single_commit_until.max(seq);
        None
    }

    /// Counts one more attempt, or kill. If there is no room for another suspect, the events up to this one
    /// are committed one at a time.
    fn record_attempt(&mut self, seq: Seq, killed: bool) -> Option<&mut SuspectEvent> {
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
        Some(suspect)
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, attempts, limit, .. } = self;
        if self.trial {
            return write!(f, "event {seq}: trial {attempts} of {limit} failed");
        }
        let then = if self.quarantine { "quarantined next" } else { "tried again" };
        if attempts > limit {
            write!(f, "event {seq}: attempt {attempts} (limit {limit}); {then}")
        } else {
            write!(f, "event {seq}: attempt {attempts} of {limit}; {then}")
        }
    }
}
