//! What a slot becomes after a death.

use crate::core::model::{GenerationState, RestartDecision};

/// What its place is from now on, and why.
pub(in crate::core) struct Decision {
    pub(in crate::core) slot_state: GenerationState,
    pub(in crate::core) next: RestartDecision,
    pub(in crate::core) why: String,
}

impl Decision {
    pub(in crate::core) fn new(
        (slot_state, next): (GenerationState, RestartDecision),
        why: impl Into<String>,
    ) -> Self {
        Self { slot_state, next, why: why.into() }
    }
}
