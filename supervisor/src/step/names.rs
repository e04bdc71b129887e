//! Workers by name.

use super::{State, WorkerId};
use bulkhead_proto::control::cut;

/// The longest part of an unknown name that is repeated to whoever asked, in bytes.
const MAX_ECHO: usize = 64;

/// How alike two names must be (Jaro-Winkler, 0 to 1) to be offered as a likely slip.
const ALIKE: f64 = 0.8;

impl State {
    /// The worker of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<WorkerId> {
        self.ids().find(|id| self.workers.get(usize::from(id.0)).is_some_and(|worker| worker.name == name))
    }

    /// Tells whoever asked for a worker that is not there which ones there are.
    #[must_use]
    pub fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.workers.iter().map(|worker| worker.name.as_str()).collect();
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
