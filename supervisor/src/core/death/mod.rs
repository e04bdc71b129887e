//! Handles a death, in this order: take the process out of its slot (`exited`), classify the death (`classify`,
//! `oom`), attribute it to an event (`attribute`), decide about the next start (`decide`, `restart_budget`),
//! record it (`record`).

pub(in crate::core) mod attribute;
pub(in crate::core) mod classify;
mod decide;
pub(in crate::core) mod decision;
pub(in crate::core) mod exited;
pub(in crate::core) mod oom;
mod record;
mod restart_budget;
