//! The cursor's page of the analysis that this process is, for code that may be called from anywhere: an allocator, a handler
//! of signals, a panic hook.

use crate::{shm::segment::ReadWrite, wire::ids::Generation};
use rustix::process::{Pid, getpid};
use std::sync::{Arc, OnceLock};

static OWN: OnceLock<OwnPage> = OnceLock::new();

#[derive(Debug)]
struct OwnPage {
    page: Arc<ReadWrite>,
    generation: Generation,
    /// A child that forks inherits these words, but not the page: there, nothing is mapped at its address.
    pid: Pid,
}

/// From now on this process is the analysis at work, as that generation, and the page is its own. Holds for good: a later
/// call changes nothing.
pub fn register(page: Arc<ReadWrite>, generation: Generation) {
    let _ = OWN.set(OwnPage { page, generation, pid: getpid() });
}

/// The page of this process, and its generation; none in a child that it has forked. Neither allocates nor locks.
#[must_use]
pub fn cursor_page() -> Option<(&'static ReadWrite, Generation)> {
    let own = OWN.get().filter(|own| own.pid == getpid())?;
    Some((&own.page, own.generation))
}
