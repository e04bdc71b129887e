//! What the kernel shows of processes.

mod oom_kills;
pub(super) mod threads;

pub(super) use oom_kills::OomKills;
