//! Worker processes: spawning, output, control pipes, reaping.

mod descendants;
mod memory_limit;
pub(super) mod orphans;
mod output;
mod output_tail;
mod outside_group;
mod post_mortem;
mod process;
pub(super) mod spawn;
mod spawn_error;
mod table;
mod token_fd;

pub(super) use orphans::PreexistingChildren;
pub(super) use outside_group::OutsideGroup;
pub(super) use process::ChildEvent;
pub(super) use spawn::Spawner;
pub(super) use table::Children;
