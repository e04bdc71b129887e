//! Quarantined events: what operators and the API may do with them. The core takes no part in it.

mod removal;
mod removal_queue;
mod requests;

pub(super) use removal_queue::Removals;
