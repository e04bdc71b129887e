//! Workers by name.

use super::{State, Wanted, Worker, WorkerId};
use bulkhead_proto::wire::text::cut;

/// The longest part of an unknown name that is repeated to whoever asked, in bytes.
const MAX_ECHO: usize = 64;

/// How alike two names must be (Jaro-Winkler, 0 to 1) to be offered as a likely slip.
const ALIKE: f64 = 0.8;

impl State {
    /// The worker of this name, if there is one; also one that was removed, until it is forgotten.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.name == name)
    }

    /// The place of the worker of this name. One that was removed is none any more, though its process may still be leaving.
    pub(super) fn named(&self, name: &str) -> Option<WorkerId> {
        let place = self.workers.iter().position(|worker| worker.name == name && worker.is_there())?;
        u8::try_from(place).ok().map(WorkerId)
    }

    /// Tells whoever asked for a worker that is not there which ones there are.
    #[must_use]
    pub fn unknown(&self, name: &str) -> String {
        let there = self.workers.iter().filter(|worker| worker.is_there());
        let known: Vec<&str> = there.map(|worker| worker.name.as_str()).collect();
        let name = cut(name, MAX_ECHO);
        let alike = |known: &&&str| strsim::jaro_winkler(known, name);
        let nearest = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
        let slip = nearest.filter(|nearest| alike(nearest) >= ALIKE);
        let offer = match slip {
            Some(nearest) => format!(": did you mean {nearest:?}? There are"),
            None => "; there are".to_owned(),
        };
        format!("there is no worker {name:?}{offer}: {}", known.join(", "))
    }
}

impl Worker {
    fn is_there(&self) -> bool {
        self.wanted != Wanted::Removed
    }
}
