//! What the supervisor observes of the workers: whether work is available, how far they are, what the kernel
//! killed. Nothing here polls: a probe is taken only when the core orders one.

mod idle;
mod oom_kills;
pub(super) mod threads;

pub(super) use idle::IdleWaiter;
pub(super) use oom_kills::OomKills;

/// The observers.
#[derive(Debug)]
pub(super) struct Probes {
    pub(super) idle: IdleWaiter,
    pub(super) oom_kills: OomKills,
}
