//! A death, in order: taken out of its slot (`exited`), classified, attributed to an event, decided,
//! recorded.

pub(in crate::core) mod attribute;
pub(in crate::core) mod classify;
mod decide;
pub(in crate::core) mod decision;
pub(in crate::core) mod exited;
pub(in crate::core) mod oom;
mod record;
mod restart_budget;
