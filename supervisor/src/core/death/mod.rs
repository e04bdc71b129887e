//! The path of a death through the core: the process is taken out of its slot (`exited`), its death is classified
//! (`classify`, `oom`), attributed to an event (`attribute`), held against the program (`brake`) and decided (`decide`,
//! `restart_budget`), and one record of it is made (`record`). The event is quarantined after that (`quarantine`).
//!
//! A [`PostMortem`] comes in, a [`crate::core::DeathRecord`] goes out. Each generation gets exactly one record.

pub(in crate::core) mod attribute;
mod brake;
pub(in crate::core) mod classify;
pub(in crate::core) mod decide;
pub(in crate::core) mod exited;
pub(in crate::core) mod oom;
mod path;
mod quarantine;
mod record;
mod restart_budget;
