//! Faults planted in the heart, one at a time, to show that the simulator finds them. Without the feature `mutants`,
//! [`is`] is a constant `false`, and all of them are compiled out.

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the name says what goes wrong")]
pub enum Mutant {
    ActAfterDeath,
    ActivateWhileStoring,
    BelieveLiars,
    BlameNoCommit,
    ChargeTheOperator,
    ChargeTheKilled,
    ChargeTheRequested,
    ChargeTwice,
    DrainTooEarly,
    ForgetAnswer,
    ForgetCaution,
    ForgetCharge,
    ForgetDeath,
    ForgetKick,
    ForgetSkip,
    ForgetSuspects,
    ForgetTooEarly,
    ForgetWanted,
    IgnoreProgress,
    LaunchInShutdown,
    LeaveRemoved,
    LoseRenewal,
    NeverBackOff,
    NeverKill,
    NeverPark,
    NeverTimeOut,
    PlainFirst,
    RetryConfig,
    ReuseGeneration,
    SkipUnstored,
    StartAllAtOnce,
    StartStopped,
    StopAllAtOnce,
    TickForEver,
    TwoActive,
    TwoAnswers,
}

impl Mutant {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::ActAfterDeath,
        Self::ActivateWhileStoring,
        Self::BelieveLiars,
        Self::BlameNoCommit,
        Self::ChargeTheOperator,
        Self::ChargeTheKilled,
        Self::ChargeTheRequested,
        Self::ChargeTwice,
        Self::DrainTooEarly,
        Self::ForgetAnswer,
        Self::ForgetCaution,
        Self::ForgetCharge,
        Self::ForgetDeath,
        Self::ForgetKick,
        Self::ForgetSkip,
        Self::ForgetSuspects,
        Self::ForgetTooEarly,
        Self::ForgetWanted,
        Self::IgnoreProgress,
        Self::LaunchInShutdown,
        Self::LeaveRemoved,
        Self::LoseRenewal,
        Self::NeverBackOff,
        Self::NeverKill,
        Self::NeverPark,
        Self::NeverTimeOut,
        Self::PlainFirst,
        Self::RetryConfig,
        Self::ReuseGeneration,
        Self::SkipUnstored,
        Self::StartAllAtOnce,
        Self::StartStopped,
        Self::StopAllAtOnce,
        Self::TickForEver,
        Self::TwoActive,
        Self::TwoAnswers,
    ];
}

#[cfg(feature = "mutants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants this fault in every later turn of this thread, or none.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether this fault is planted.
#[cfg(feature = "mutants")]
pub(super) fn is(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether this fault is planted: never.
#[cfg(not(feature = "mutants"))]
pub(super) const fn is(_: Mutant) -> bool {
    false
}
