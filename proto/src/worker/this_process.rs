//! The cursor page of this process, which is an analysis, for code that can be called from anywhere: an allocator, a
//! signal handler, a panic hook.

use crate::{shm::segment::ReadWrite, wire::ids::Generation};
use rustix::process::{Pid, getpid};
use std::sync::{Arc, OnceLock};

static THIS_PROCESS: OnceLock<Registration> = OnceLock::new();

#[derive(Debug)]
struct Registration {
    page: Arc<ReadWrite>,
    generation: Generation,
    /// A forked child inherits this value, but not the mapping of the page.
    pid: Pid,
}

/// Registers the cursor page of this process and its generation. Permanent: a later call changes nothing.
pub fn register(page: Arc<ReadWrite>, generation: Generation) {
    let _ = THIS_PROCESS.set(Registration { page, generation, pid: getpid() });
}

/// The cursor page of this process and its generation. `None` in a forked child. Neither allocates nor locks.
#[must_use]
pub fn cursor_page() -> Option<(&'static ReadWrite, Generation)> {
    let registered = THIS_PROCESS.get().filter(|registered| registered.pid == getpid())?;
    Some((&registered.page, registered.generation))
}
