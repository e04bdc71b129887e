//! Lookup of workers by name.

use crate::{
    core::model::{DesiredState, State, Worker, WorkerId},
    suggest::closest,
};
use bulkhead_proto::wire::text::cut;

/// Maximum length of an unknown name in an answer, in bytes.
const MAX_ECHO: usize = 64;

impl State {
    /// The worker of this name. Includes a removed worker until it is deleted.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == name)
    }

    /// The index of the worker of this name. Excludes removed workers, even while their process is stopping.
    pub(in crate::core) fn named(&self, name: &str) -> Option<WorkerId> {
        let index = self.workers.iter().position(|worker| worker.name == name && worker.is_configured())?;
        u8::try_from(index).ok().map(WorkerId)
    }

    /// The error for an unknown name, with the known names.
    #[must_use]
    pub fn unknown_worker(&self, name: &str) -> String {
        let configured = self.workers.iter().filter(|worker| worker.is_configured());
        let known: Vec<&str> = configured.map(|worker| worker.name.as_str()).collect();
        let name = cut(name, MAX_ECHO);
        let offer = match closest(name, known.iter().copied()) {
            Some(nearest) => format!(": did you mean {nearest:?}? Workers"),
            None => "; workers".to_owned(),
        };
        format!("unknown worker {name:?}{offer}: {}", known.join(", "))
    }
}

impl Worker {
    fn is_configured(&self) -> bool {
        self.desired != DesiredState::Removed
    }
}

/// The refusal of a command to a worker whose process survived SIGKILL.
pub(in crate::core) fn unkillable(name: &str) -> String {
    format!("the last process of {name} cannot be killed: it is stuck in the kernel; wait until it dies")
}
