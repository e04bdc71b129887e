//! What a slot becomes after a death.

use crate::core::model::{GenerationState, RestartDecision};

/// The next state of the slot, with the reason.
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
