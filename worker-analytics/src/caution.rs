//! Which events an analysis takes care with, because a predecessor died of them, perhaps.

use bulkhead_proto::wire::{control::RecoveryHints, ids::Seq};

/// The orders of the supervisor, with a quick answer for the usual event, which none of them concerns.
#[derive(Debug)]
pub(crate) struct Caution {
    care: RecoveryHints,
    /// No order concerns an event behind this one.
    last: Seq,
}

impl Caution {
    pub(crate) fn new(care: RecoveryHints) -> Self {
        let named = care.suspects.iter().chain(&care.skip).copied().max().unwrap_or_default();
        Self { last: named.max(care.single_commit_until), care }
    }

    /// Whether to commit right before this event and right after it.
    pub(crate) fn concerns(&self, seq: Seq) -> bool {
        seq <= self.last && (seq <= self.care.single_commit_until || self.suspects(seq) || self.skips(seq))
    }

    /// Whether it is not to be applied.
    pub(crate) fn skips(&self, seq: Seq) -> bool {
        self.care.skip.contains(&seq)
    }

    fn suspects(&self, seq: Seq) -> bool {
        self.care.suspects.contains(&seq)
    }
}
