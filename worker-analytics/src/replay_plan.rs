//! Which events the analysis commits alone or skips, because a previous generation died while it applied
//! them.

use bulkhead_proto::wire::{control::RecoveryHints, ids::Seq};

/// The recovery hints of the supervisor, with a fast check for events that no hint concerns, which are nearly
/// all.
#[derive(Debug)]
pub(crate) struct ReplayPlan {
    hints: RecoveryHints,
    /// No hint concerns an event with a greater seq.
    last_affected: Seq,
}

impl ReplayPlan {
    pub(crate) fn new(hints: RecoveryHints) -> Self {
        let last_listed = hints.suspects.iter().chain(&hints.skip).copied().max().unwrap_or_default();
        Self { last_affected: last_listed.max(hints.single_commit_until), hints }
    }

    /// Whether to commit directly before and directly after this event.
    pub(crate) fn isolates(&self, seq: Seq) -> bool {
        seq <= self.last_affected
            && (seq <= self.hints.single_commit_until || self.is_suspect(seq) || self.skips(seq))
    }

    /// Whether this event is quarantined: it is counted as skipped and not applied.
    pub(crate) fn skips(&self, seq: Seq) -> bool {
        self.hints.skip.contains(&seq)
    }

    /// Whether this event of this series goes to quarantine instead of being applied.
    pub(crate) fn is_isolated(&self, series: &str, seq: Seq) -> bool {
        self.hints.isolated.iter().any(|isolation| isolation.concerns(series, seq))
    }

    /// Whether the supervisor must know when an event of this series is applied. `true` once for each such series.
    pub(crate) fn stop_watching(&mut self, series: &str) -> bool {
        let watched = self.hints.watched.iter().position(|watched| watched == series);
        watched.map(|index| self.hints.watched.swap_remove(index)).is_some()
    }

    /// Whether the skip of this event may be committed before a later event is applied.
    pub(crate) fn is_proven(&self, seq: Seq) -> bool {
        seq <= self.hints.proven_until
    }

    fn is_suspect(&self, seq: Seq) -> bool {
        self.hints.suspects.contains(&seq)
    }
}
