//! Quarantined events: what operators and the API may do with them. The core takes no part in it.

mod removal;
mod requests;

pub(super) use removal::Removals;
